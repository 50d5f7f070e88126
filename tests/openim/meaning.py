"""What the maker of OpenIM records meant (`maker/main.go`), as write events for the oracle.

Made of the maker's own words and nothing else: no record is looked at here, so what the tap makes
of the records can only agree by being right.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from schemas.events import MembersJoined, MembersLeft, Message, Read, WriteEvent

GOLDEN = Path(__file__).parents[1] / "data" / "openim_records.jsonl.gz"
"""2,000 records, made by `go run . -records 2000 -seed 2`."""


class Made(NamedTuple):
    """A record of the push topic."""

    key: bytes
    value: bytes


@dataclass(slots=True)
class Story:
    """Records in the order of the topic; what was before them; what they meant."""

    records: list[Made] = field(default_factory=list)
    before: list[WriteEvent] = field(default_factory=list)
    meant: list[WriteEvent] = field(default_factory=list)
    broken: int = 0


def story(lines: Iterable[bytes], *, history: bool) -> Story:
    """Read what the maker wrote. `history`: whether who joins sees what was written before."""
    told = Story()
    for line in map(orjson.loads, lines):
        if "key" in line:
            told.records.append(Made(line["key"].encode(), base64.b64decode(line["value"])))
            told.broken += line.get("broken", False)
        elif "before" in line:
            told.before += _membership(line, line["before"], history=True)
        else:
            told.meant += _event(line, history=history)
    return told


@cache
def golden(*, history: bool) -> Story:
    """The records of the checkout."""
    with gzip.open(GOLDEN) as lines:
        return story(lines, history=history)


def _event(line: dict[str, Any], *, history: bool) -> Iterator[WriteEvent]:
    match line["meant"]:
        case "message":
            to = tuple(line["to"]) if "to" in line else None
            yield Message(line["conversation"], line["seq"], line["from"], line["at"], to)
        case "read":
            yield Read(line["who"], line["conversation"], line["upto"])
        case what:
            yield from _membership(line, what, history=history)


def _membership(line: dict[str, Any], what: str, *, history: bool) -> Iterator[WriteEvent]:
    room, notices = f"sg_{line['group']}", f"n_{line['group']}"
    who, at, seq = tuple(line["who"]), line["at"], line["seq"]
    if what == "joined":
        yield MembersJoined(room, who, seq, at, history or line.get("founding", False))
        yield MembersJoined(notices, who, 0, at)
    else:
        # Who leaves a group is told of no notice of it any more (docs/openim.md).
        yield MembersLeft(room, who, seq, at, line["how"])
        yield MembersLeft(notices, who, 0, at, line["how"])
