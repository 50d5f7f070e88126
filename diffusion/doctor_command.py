"""The command `diffusion doctor`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from diffusion.output import Json, print_json

if TYPE_CHECKING:
    from diffusion.doctor.judge import Finding

STYLES: Final = {"ok": "green", "warning": "yellow", "wrong": "bold red"}


def doctor(*, json: Json = False) -> None:
    """Check everything an installation rests on, and say what to do. Changes nothing.

    Servers of this machine, secrets, limits, topics, tables, clocks, releases. Exit code 1 if
    something is wrong; warnings alone are 0.
    """
    from diffusion.doctor.judge import findings
    from diffusion.doctor.look import collect
    from infra.settings import load

    found = findings(collect(load()))
    if json:
        print_json({"findings": [asdict(one) for one in found]})
    else:
        _show(found)
    if any(one.verdict == "wrong" for one in found):
        sys.exit(1)


def _show(found: list[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in ("", "", "found; what to do"):
        table.add_column(column)
    for one in found:
        said = Text(one.said)
        if one.advice:
            said.append(f"\n{one.advice}", style="bold")
        table.add_row(Text(one.verdict, style=STYLES[one.verdict]), Text(one.name), said)
    Console().print(table)
