"""An import: read lines, write their events, note the place. Bounded: a line at a time, and what
the producer keeps.

The order at a checkpoint is the law of resuming: flush, then `FILE.rejected` to the disk, then
`FILE.progress`. Each may be further than the next and never less far.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, Protocol

from msgspec.structs import replace

from diffusion.importing import plan, progress
from diffusion.importing.progress import Progress
from schemas.errors import InputError, PermanentError
from schemas.events import WriteEvent
from schemas.imports import LINE_BYTES_MAX, ConversationLine, ImportLine

CHECKPOINT_EVENTS: Final = 5_000
"""Events between two places: a good part of a second of writing, of which a flush takes some
milliseconds."""


class Producer(Protocol):
    """Of `sdk.backend.WriteProducer`, what an import needs."""

    def send(self, event: WriteEvent) -> None:
        """Accept an event."""

    def flush(self) -> None:
        """Wait until all is delivered; raises if anything was lost."""


class Rejection(NamedTuple):
    """A line that is no line of an import; lines are numbered from 1."""

    line: int
    reason: str


def rejected_path(file: Path) -> Path:
    """Where lines go that cannot be imported, as they are: mend them and import that file."""
    return file.with_name(f"{file.name}.rejected")


def run(
    file: Path,
    producer: Producer,
    at: Progress,
    *,
    on_progress: Callable[[Progress], None] = lambda _: None,
    on_rejected: Callable[[Rejection], None] = lambda _: None,
    checkpoint_events: int = CHECKPOINT_EVENTS,
) -> Progress:
    """Import a file from a place on (`progress.start`); returns what was done in all.

    Raises what the producer raises: what was noted is delivered then, and the import can be
    resumed. Raises `PermanentError` if the file was changed meanwhile, or if nothing can be written
    beside it.
    """
    if at.offset == at.source.size:
        return at  # and the bad lines, which may be being mended, are left alone
    with _sentences(file), _rejects(file, at) as rejects, file.open("rb") as source:
        progress.save(file, at)
        source.seek(at.offset)
        noted = at.events
        while text := source.readline(LINE_BYTES_MAX + 1):
            number = at.lines + 1
            try:
                line = _line(text)
                done = _write(line, producer) if line is not None else 0
            except InputError as error:
                on_rejected(Rejection(number, str(error)))
                size = _reject(text, source, rejects)
                at = replace(at, rejected=at.rejected + 1, rejected_bytes=rejects.tell())
            else:
                size = len(text)
                members = len(line.members) if isinstance(line, ConversationLine) else 0
                at = replace(at, events=at.events + done, memberships=at.memberships + members)
            at = replace(at, offset=at.offset + size, lines=number)
            if at.events - noted >= checkpoint_events:
                _note(file, producer, rejects, at)
                noted = at.events
                on_progress(at)
        _note(file, producer, rejects, at)
        on_progress(at)
    if progress.source_of(file) != at.source:
        raise PermanentError(
            f"{file} was changed while it was imported, so that lines may be missing. Export it "
            "again under another name, and import that."
        )
    return at


@contextmanager
def _sentences(file: Path) -> Iterator[None]:
    """What the system refuses becomes a sentence."""
    try:
        yield
    except OSError as error:
        raise PermanentError(
            f"{error.filename or file}: {error.strerror}. How far an import is, and lines that "
            "cannot be used, are kept beside the file: see that there is room and that its folder "
            "can be written to, and run it with --resume."
        ) from error


def _line(text: bytes) -> ImportLine | None:
    """Decode; None for an empty line."""
    if len(text) > LINE_BYTES_MAX:
        raise InputError(f"longer than {LINE_BYTES_MAX:,} bytes; give the members in several lines")
    return plan.decode(text) if text.strip() else None


def _write(line: ImportLine, producer: Producer) -> int:
    count = 0
    for event in plan.events(line):
        producer.send(event)
        count += 1
    return count


def _reject(text: bytes, source: BinaryIO, rejects: BinaryIO) -> int:
    """Put a line aside whole, however long it is; returns its length."""
    size = 0
    while text:
        rejects.write(text)
        size += len(text)
        if text.endswith(b"\n"):
            return size
        text = source.readline(LINE_BYTES_MAX)
    rejects.write(b"\n")  # the last line of the input has none, and another may follow it here
    return size


@contextmanager
def _rejects(file: Path, at: Progress) -> Iterator[BinaryIO]:
    """`FILE.rejected` as it was at that place: what came behind it will come again."""
    path = rejected_path(file)
    path.touch()
    with path.open("r+b") as opened:
        opened.truncate(min(at.rejected_bytes, path.stat().st_size))
        opened.seek(0, os.SEEK_END)
        yield opened
    if not path.stat().st_size:
        path.unlink()


def _note(file: Path, producer: Producer, rejects: BinaryIO, at: Progress) -> None:
    producer.flush()
    rejects.flush()
    os.fsync(rejects.fileno())
    progress.save(file, at)
