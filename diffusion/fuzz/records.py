"""One record of a number: its topic, what came before it, and its bytes. Drawn from seed and number
alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from diffusion.fuzz import mutate, samples
from schemas import topics
from schemas.codec import encode_change, encode_event, join_events
from schemas.events import MembersJoined, Message
from schemas.limits import EVENTS_PER_RECORD_MAX, MEMBERS_PER_EVENT_MAX

CONVERSATIONS: Final = topics.CONVERSATION_WRITES.name
USERS: Final = topics.USER_WRITES.name
CHANGES: Final = topics.CHANGES.name

AT_MS: Final = 1_700_000_000_000
ARRAY_LONG: Final = 10_000
"""Events in an array that is far too long."""

BEFORE_SHARE: Final = 0.1
"""Records that find conversations with members and modes."""


class Specimen(NamedTuple):
    """A record. `before`: good records that a worker took before; `kind` says how it was made."""

    topic: str
    value: bytes | None
    kind: str
    before: tuple[bytes, ...] = ()


def specimen(seed: int, number: int) -> Specimen:
    """Draw the record of a number."""
    rng = random.Random(f"record/{seed}/{number}")  # noqa: S311  # to be drawn again
    topic = rng.choice((CONVERSATIONS, CONVERSATIONS, USERS, CHANGES))
    ((kind, make),) = rng.choices(_KINDS, _WEIGHTS)
    before = _before(rng) if topic == CONVERSATIONS and rng.random() < BEFORE_SHARE else ()
    return Specimen(topic, make(rng, topic), kind, before)


def _good(rng: random.Random, topic: str) -> Any:
    if topic == CHANGES:
        return samples.change(rng)
    return samples.conversation_event(rng) if topic == CONVERSATIONS else samples.user_event(rng)


def _bytes(rng: random.Random, topic: str) -> bytes:
    good = _good(rng, topic)
    return encode_change(good) if topic == CHANGES else encode_event(good)


def _several(rng: random.Random, topic: str) -> bytes:
    return join_events([_bytes(rng, topic) for _ in range(rng.randint(2, 12))])


def _valid(rng: random.Random, topic: str) -> bytes:
    return _bytes(rng, topic) if rng.random() < 0.5 else _several(rng, topic)


def _mutated(rng: random.Random, topic: str) -> bytes:
    return mutate.fields(rng, _good(rng, topic))


def _mixed(rng: random.Random, topic: str) -> bytes:
    """Good and bad in one array."""
    return join_events(
        [
            _bytes(rng, topic) if rng.random() < 0.6 else _mutated(rng, topic)
            for _ in range(rng.randint(2, 10))
        ]
    )


def _damaged(rng: random.Random, topic: str) -> bytes:
    return mutate.data(rng, _valid(rng, topic))


def _glued(rng: random.Random, topic: str) -> bytes:
    """Pieces of good records, one after the other."""
    pieces = []
    for _ in range(rng.randint(2, 4)):
        whole = _valid(rng, rng.choice((topic, topic, CONVERSATIONS, USERS, CHANGES)))
        begin = rng.randrange(len(whole))
        pieces.append(whole[begin : rng.randint(begin, len(whole))])
    return b"".join(pieces)


def _foreign(rng: random.Random, topic: str) -> bytes:
    """Good records of another topic."""
    return _valid(rng, rng.choice([one for one in (CONVERSATIONS, USERS, CHANGES) if one != topic]))


def _long(rng: random.Random, topic: str) -> bytes:
    """Arrays about as long as they may be, and far longer."""
    count = rng.choice((EVENTS_PER_RECORD_MAX, EVENTS_PER_RECORD_MAX + 1, ARRAY_LONG))
    one = rng.choice((b"{}", b"1", _bytes(rng, topic), _mutated(rng, topic)))
    return b"[" + b",".join([one] * count) + b"]"


def swelling(joins: int) -> bytes:
    """A conversation that grows by a thousand with every join, and writes in between."""
    events = []
    for number in range(joins):
        users = tuple(f"{number:x}.{other:x}" for other in range(MEMBERS_PER_EVENT_MAX))
        events.append(encode_event(MembersJoined("sg_fz-swelling", users, 0, AT_MS)))
        events.append(encode_event(Message("sg_fz-swelling", number + 1, users[0], AT_MS)))
    return join_events(events)


def _noise(rng: random.Random, _topic: str) -> bytes:
    return rng.randbytes(rng.choice((1, 2, 8, 60, 1_000)))


def _bare(rng: random.Random, _topic: str) -> bytes | None:
    """Nothing, and values that are no events."""
    return rng.choice(
        (None, b"", b" ", b"null", b"0", b'""', b"{}", b"[]", b"[[]]", b"[{}]", b"[,]", b"[null]",
         b"[" * mutate.DEEP, b"]", b"[" * mutate.DEEP + b"]" * mutate.DEEP, b'"' * 1_001,
         b'{"a":' * mutate.DEEP, b"\x00" * 100, b"a" * mutate.MEGABYTE,
         b"{" + b" " * 800_000 + b"}")
    )  # fmt: skip


_MADE: Final[dict[str, tuple[Callable[[random.Random, str], bytes | None], float]]] = {
    "valid": (_valid, 15),
    "mutated": (_mutated, 35),
    "mixed": (_mixed, 15),
    "damaged": (_damaged, 15),
    "glued": (_glued, 8),
    "foreign": (_foreign, 3),
    "noise": (_noise, 6),
    "bare": (_bare, 1),
    "long": (_long, 0.5),
    "swelling": (lambda rng, _: swelling(rng.choice((20, 60))), 0.01),
}
"""How records are made, and in which proportion."""

_KINDS: Final = tuple((kind, make) for kind, (make, _) in _MADE.items())
_WEIGHTS: Final = tuple(weight for _, weight in _MADE.values())


def _before(rng: random.Random) -> tuple[bytes, ...]:
    """Members for the conversations, and some events, so that a record finds modes and members."""
    joins = []
    for conversation in rng.sample(samples.CONVERSATIONS, 2):
        (count,) = rng.choices((0, 3, 30, MEMBERS_PER_EVENT_MAX), (20, 60, 20, 0.2))
        if count:
            users = tuple(f"fz-{number}" for number in range(count))
            joins.append(encode_event(MembersJoined(conversation, users, 0, AT_MS)))
    events = [encode_event(samples.conversation_event(rng)) for _ in range(rng.randint(1, 8))]
    return (join_events(joins + events),)
