"""Correlation ids: the W3C trace context of a write, which its records carry as headers. No I/O.

A record of a write topic has a header `traceparent` for the write it was made of, and more of the
same name if it was made of several. A change record has those of the writes that it tells of, each
with the place of the source record beside it. Rows of Cassandra have none: a row's version is the
offset of its change record, whose headers have them (`diffusion trace`).

Without a header nothing is written, and nothing is looked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Final, NamedTuple, TypeAlias

HEADER: Final = "traceparent"
"""As over HTTP (W3C Trace Context, section 3.2), so that whoever knows one knows the other."""

SOURCE_HEADER: Final = "diffusion-source"
"""`topic/partition/offset` of a source record, one for each `traceparent`, in the same order."""

CONTEXTS_MAX: Final = 4
"""Of one record. A record of 500 events may be made of 500 requests; four of them lead there, and
take half a kilobyte. Those that are sampled are kept first: only they can be looked up."""

LINKS_MAX: Final = 32
"""Of one batch of records: what its span links to, and its line in the log names."""

LOOKED_AT_MAX: Final = 64
"""Headers of one record. Ours have eight; a record may have thousands, which would take a tenth of
a second to read."""

TEXT_CHARS_MAX: Final = 128
"""55 now; a later version of the standard may be longer, and is cut back to what we know."""

SAMPLED: Final = 0x01

Headers: TypeAlias = list[tuple[str, bytes]]
Found: TypeAlias = Mapping[str, object] | Iterable[tuple[str, object]] | None
"""Headers of a record, in the forms in which clients of Kafka give them."""

_FORM: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class TraceContext(NamedTuple):
    """One span of one trace: 32 and 16 hexadecimal digits, and the flags."""

    trace_id: str
    span_id: str
    flags: int = 0

    @property
    def sampled(self) -> bool:
        """Whether its spans are kept somewhere."""
        return bool(self.flags & SAMPLED)

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"


class Origin(NamedTuple):
    """A write that a change tells of: its context, and the place of its record."""

    context: TraceContext
    source: str


def parse(text: str | bytes | None) -> TraceContext | None:
    """Read a header; None for what is no trace context, which is nobody's fault here.

    >>> parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").sampled
    True
    """
    if text is None or len(text) > TEXT_CHARS_MAX:
        return None
    plain = text.decode("latin-1") if isinstance(text, bytes) else text
    found = _FORM.fullmatch(plain)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more is not None):
        return None
    if not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return TraceContext(trace_id, span_id, int(flags, 16))


class Collected:
    """A bounded number of contexts, one a trace, in the order in which they came. Once it is full a
    sampled one takes the place of one that is not.
    """

    __slots__ = ("_found", "_most", "_unsampled")

    def __init__(self, most: int = CONTEXTS_MAX) -> None:
        self._most = most
        self._found: dict[str, TraceContext] = {}
        self._unsampled: list[str] = []

    def add(self, new: TraceContext) -> None:
        """Take one more, or pass it by."""
        found = self._found
        if new.trace_id in found:
            return
        if len(found) >= self._most:
            if not new.sampled or not self._unsampled:
                return
            del found[self._unsampled.pop()]
        found[new.trace_id] = new
        if not new.sampled:
            self._unsampled.append(new.trace_id)

    def extend(self, contexts: Iterable[TraceContext]) -> None:
        """Take many."""
        for one in contexts:
            self.add(one)

    def found(self) -> tuple[TraceContext, ...]:
        """What was kept."""
        return tuple(self._found.values())


def few(contexts: Iterable[TraceContext], most: int = CONTEXTS_MAX) -> tuple[TraceContext, ...]:
    """What `Collected` keeps of many."""
    collected = Collected(most)
    collected.extend(contexts)
    return collected.found()


def given_headers(headers: Callable[[], Found]) -> Found:
    """What a client's `headers()` gives; None where it cannot: confluent-kafka raises for a name
    that is no UTF-8, and ours are.
    """
    try:
        return headers()
    except (SystemError, UnicodeDecodeError):
        return None


def contexts_of(headers: Found) -> tuple[TraceContext, ...]:
    """The contexts in a record's headers, at most `CONTEXTS_MAX`."""
    return tuple(one.context for one in origins_of(headers))


def origins_of(headers: Found) -> tuple[Origin, ...]:
    """The contexts in a record's headers, at most `CONTEXTS_MAX`, each with its source, where there
    is one. Of foreign records the first `LOOKED_AT_MAX` headers are looked at.
    """
    if not headers:
        return ()
    found: list[TraceContext] = []
    sources: list[str] = []
    given = headers.items() if isinstance(headers, Mapping) else headers
    for name, value in islice(given, LOOKED_AT_MAX):
        if not isinstance(value, str | bytes):
            continue
        if name == HEADER and (context := parse(value)) is not None:
            found.append(context)
        elif name == SOURCE_HEADER:
            sources.append(value.decode("utf-8", "replace") if isinstance(value, bytes) else value)
    paired = sources if len(sources) == len(found) else [""] * len(found)
    return few_origins(map(Origin, found, paired))


def few_origins(origins: Iterable[Origin]) -> tuple[Origin, ...]:
    """What `few` keeps of many, each with the source that came first with it."""
    sources: dict[TraceContext, str] = {}
    for context, source in origins:
        sources.setdefault(context, source)
    return tuple(Origin(one, sources[one]) for one in few(sources))


def headers_of(contexts: Iterable[TraceContext]) -> Headers:
    """Headers of a write record."""
    return [(HEADER, str(one).encode()) for one in contexts]


def headers_of_change(origins: Iterable[Origin]) -> Headers:
    """Headers of a change record."""
    headers: Headers = []
    for context, source in origins:
        headers.append((HEADER, str(context).encode()))
        headers.append((SOURCE_HEADER, source.encode()))
    return headers


def place(topic: str, partition: int, offset: int) -> str:
    """Name a record."""
    return f"{topic}/{partition}/{offset}"
