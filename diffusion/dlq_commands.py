"""The commands of `diffusion dlq`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from diffusion.output import Json, print_json
from schemas.errors import PermanentError

if TYPE_CHECKING:
    from diffusion.dlq import DeadLetters

dlq = App(name="dlq", help="Dead letters: look at them, write them again, let them go.")

Topic = Annotated[str, Parameter(help="conversation-writes, user-writes, changes or openim.")]
Upto = Annotated[int | None, Parameter(help="The last number; without it, all that are waiting.")]


@contextmanager
def _opened() -> Iterator[DeadLetters]:
    from diffusion.dlq import DeadLetters
    from infra.settings import load

    letters = DeadLetters(load().kafka)
    try:
        yield letters
    finally:
        letters.close()


@dlq.command(name="list")
def list_(topic: Topic = "", *, limit: int = 20, json: Json = False) -> None:
    """Say how many are waiting, and show the first of them.

    Parameters
    ----------
    limit
        Letters shown of each topic.

    """
    from diffusion import dlq as dead

    with _opened() as letters:
        names = [dead.topic_of(topic)] if topic else list(dead.NAMES.values())
        lines = [letters.line(name) for name in names]
        first = [
            letter
            for line in lines
            for letter in letters.read(line.topic, line.first, min(line.end, line.first + limit))
        ]
    if json:
        print_json(
            {
                "waiting": {line.topic: line.waiting for line in lines},
                "letters": [letter.as_json() for letter in first],
            }
        )
    else:
        dead.show_lines(lines, first)


@dlq.command
def show(topic: Topic, number: int) -> None:
    """Print one letter whole, as JSON."""
    from diffusion.dlq import topic_of

    with _opened() as letters:
        name = topic_of(topic)
        line = letters.line(name)
        if not 0 <= number < line.end:
            raise PermanentError(f"{name} has dead letters up to number {line.end - 1}.")
        (found,) = letters.read(name, number, number + 1)
        print_json(found.as_json())


@dlq.command
def replay(topic: Topic, *, upto: Upto = None) -> None:
    """Write letters to their topic again, in their order, and be done with them.

    They happen now: a join, a leave or a setting that was overtaken since would overtake in turn.
    Messages and read markers may be late. Stops at the first that cannot be used still.
    """
    from diffusion.console import Console
    from diffusion.dlq import topic_of

    with _opened() as letters:
        name = topic_of(topic)
        end = letters.line(name).end if upto is None else upto + 1
        count = letters.replay(name, end)
    Console().say(f"{count:,} dead letters were written to {name} again.")


@dlq.command
def drop(topic: Topic, *, upto: Upto = None) -> None:
    """Be done with letters without writing them again. They stay in Kafka."""
    from diffusion.console import Console
    from diffusion.dlq import topic_of

    with _opened() as letters:
        name = topic_of(topic)
        end = letters.line(name).end if upto is None else upto + 1
        count = letters.drop(name, end)
    Console().say(f"{count:,} dead letters of {name} were dropped.")
