"""The command `diffusion chaos`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from diffusion.output import Json, fail, print_json


def chaos(
    *,
    minutes: Annotated[float, Parameter(help="How long faults are injected.")] = 20.0,
    seed: Annotated[int, Parameter(help="Draws the faults, their times and the load.")] = 1,
    json: Json = False,
) -> None:
    """Hurt the whole system under load in every way, and check every device against an oracle.

    Starts servers and programs of its own, kills, freezes and restarts all of them, takes servers
    away and their disks, and makes the lines to them slow, flaky and silent. Exit code 1 if
    anything was lost, came back to life or went back, or stood still for a minute.
    """
    from diffusion.chaos.report import show
    from diffusion.chaos.run import run
    from diffusion.console import Console
    from infra.settings import load

    outcome = run(load(), minutes=minutes, seed=seed, console=Console())
    if json:
        print_json(outcome.as_json())
    else:
        show(outcome)
    if not outcome.good:
        fail("The system did not come through unharmed: see what is printed above.")
