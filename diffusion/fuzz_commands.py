"""The command `diffusion fuzz`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, Parameter

from diffusion.output import Json, fail, print_json

if TYPE_CHECKING:
    from diffusion.fuzz.api import Outcome as ApiOutcome
    from diffusion.fuzz.pipeline import Outcome as PipelineOutcome

fuzz = App(name="fuzz", help="Hostile records and requests: nothing may fall over or be lost.")

THROUGH_KAFKA: Final = 3_000
"""Records that go through real servers too, where there are some."""

FAILURES: Final = Path("fuzz-failures")


@fuzz.default
def run(  # the options of a command
    *,
    records: int = 100_000,
    requests: int = 0,
    seed: int = 1,
    first: int = 0,
    minutes: Annotated[float | None, Parameter(help="Begin nothing more after so long.")] = None,
    failures: Path = FAILURES,
    json: Json = False,
) -> None:
    """Send what no backend and no client should, and account for all of it.

    Records go through decoder, diffusion and materializer over models. Requests go to a real API
    over servers that are started for it, and some records through these. Exit code 1 if a law was
    broken.

    Parameters
    ----------
    seed
        The same seed draws the same records and requests.
    first
        The number of the first record, and of the first request.
    failures
        Folder for records that broke a law, each with its bytes and how to run it alone.

    """
    from diffusion.console import Console
    from diffusion.fuzz import runs

    with Console().progress("records", total=records) as update:
        found = runs.fuzz(
            seed, first, records, minutes=minutes, on_records=lambda done: update(completed=done)
        )
    if found.failures:
        runs.write_out(found.failures, failures)
    told: dict[str, Any] = {"seed": seed, "records": found.as_json()}
    held = not found.failures
    if not json:
        runs.show(found)
    if requests:
        api, pipeline = _on_servers(seed, first, requests, minutes)
        told |= {"requests": api.as_json(), "through_kafka": pipeline.as_json()}
        held = held and api.held and pipeline.held
        if not json:
            runs.show_outcome(f"{requests:,} requests", api.as_json())
            runs.show_outcome(f"{THROUGH_KAFKA:,} records through Kafka", pipeline.as_json())
    if json:
        print_json(told)
    if not held:
        fail(
            "A law was broken. Run the number alone: "
            f"diffusion fuzz --seed {seed} --first NUMBER --records 1 (or --requests 1)"
        )


def _on_servers(
    seed: int, first: int, count: int, minutes: float | None
) -> tuple[ApiOutcome, PipelineOutcome]:
    from diffusion.console import Console
    from diffusion.demo import one_of_each, servers
    from diffusion.fuzz import api, pipeline
    from infra.settings import load

    console = Console()
    # Little else is sent than what cannot be read: here that is to be put aside, all of it.
    aside = {"dead_share_max": 1.0}
    with (
        servers(load(stream=aside, materializer=aside), console) as (settings, folder),
        one_of_each(settings, folder, console) as system,
        console.progress("requests", total=count) as update,
    ):
        found = api.run(
            system,
            seed,
            first,
            count,
            minutes=minutes,
            on_requests=lambda done: update(completed=done),
        )
        return found, pipeline.run(system, seed, first, THROUGH_KAFKA)
