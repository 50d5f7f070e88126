"""The command `diffusion import`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from diffusion.output import Json, fail, print_json

if TYPE_CHECKING:
    from diffusion.importing.run import Rejection

SHOWN_MAX: Final = 20
"""Bad lines told of by number and reason; all of them are put aside."""


def import_(
    file: Path, *, resume: Annotated[bool, Parameter(negative=())] = False, json: Json = False
) -> None:
    """Write conversations, members and read state that exist already (docs/import.md).

    How far it is, is kept in FILE.progress. Lines that cannot be used go to FILE.rejected and do
    not stop it; exit code 1 if there are any.

    Parameters
    ----------
    file
        One JSON object a line.
    resume
        Go on where an import of the same file ended, killed or not.

    """
    from diffusion.console import Console
    from diffusion.importing import progress
    from diffusion.importing.run import rejected_path, run
    from diffusion.writing import producer_for
    from infra.settings import load

    console, told = Console(), list["Rejection"]()
    start = progress.start(file, resume=resume)

    def on_rejected(one: Rejection) -> None:
        if len(told) < SHOWN_MAX:
            told.append(one)
            console.say(f"line {one.line:,}: {one.reason}")

    with (
        producer_for(load().kafka) as producer,
        console.progress(f"importing {file.name}, bytes", start.source.size) as update,
    ):
        update(completed=start.offset)
        done = run(
            file,
            producer,
            start,
            on_progress=lambda at: update(completed=at.offset),
            on_rejected=on_rejected,
        )
    if json:
        print_json(
            {
                "lines": done.lines,
                "events": done.events,
                "memberships": done.memberships,
                "rejected": done.rejected,
                "reasons": [one._asdict() for one in told],
            }
        )
    else:
        console.say(
            f"{done.lines:,} lines with {done.memberships:,} memberships are written, as "
            f"{done.events:,} events. `diffusion status` shows when devices can see all of them."
        )
    if done.rejected:
        fail(
            f"{done.rejected:,} lines could not be used. They are in {rejected_path(file)}: mend "
            "them there, and import that file."
        )
