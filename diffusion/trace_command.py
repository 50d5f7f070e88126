"""The command `diffusion trace`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from diffusion.output import Json, fail, print_json


def trace(
    user: str | None = None,
    conversation: str | None = None,
    *,
    at: Annotated[str | None, Parameter(negative=())] = None,
    json: Json = False,
) -> None:
    """Find which writes made a row that a user was told of: their trace ids and records.

    Writes have an id if the backend gave them one (docs/tracing.md).

    Parameters
    ----------
    user
        Whose row.
    conversation
        Of which conversation.
    at
        In place of both, a change record: PARTITION/OFFSET, as a span of a sync names it.

    """
    from diffusion import row_trace
    from infra.settings import load

    if at is not None:
        found = row_trace.at(load(), at)
    elif user is not None and conversation is not None:
        found = row_trace.fetch(load(), user, conversation)
    else:
        fail("Give a user and a conversation, or --at PARTITION/OFFSET.")
        return
    if json:
        print_json({"steps": [one.as_json() for one in found]})
    else:
        row_trace.show(found)
