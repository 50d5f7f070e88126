"""How far an import is: a small file beside the input, `FILE.progress`.

It says up to which byte everything is delivered, and is written only after Kafka has confirmed
that. So a kill at any moment leaves a place that is not too far; what was written behind it is
written again, which is harmless (`diffusion.importing.plan`). The new file takes the place of the
old one in one step, after it is on the disk: there is always a whole one.

Bytes of another file would be no place in this one, so it also says which file it is of.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from schemas.errors import PermanentError

HEAD_BYTES: Final = 65_536
"""Of the input, hashed: another export of the same size differs in its first conversations."""

Count = Annotated[int, Meta(ge=0)]


class Source(Struct, frozen=True):
    """Which file it is."""

    size: Count
    mtime_ns: int
    head_sha256: str


class Progress(Struct, frozen=True):
    """What was done up to `offset`, in bytes of the input; `rejected_bytes` of `FILE.rejected`
    belong to it.
    """

    source: Source
    offset: Count = 0
    lines: Count = 0
    events: Count = 0
    memberships: Count = 0
    rejected: Count = 0
    rejected_bytes: Count = 0


def path_of(file: Path) -> Path:
    """Where the progress of an import is kept."""
    return file.with_name(f"{file.name}.progress")


def source_of(file: Path) -> Source:
    """Look at a file; raises `PermanentError` if it cannot be read."""
    try:
        with file.open("rb") as opened:
            head = hashlib.sha256(opened.read(HEAD_BYTES)).hexdigest()
            found = os.fstat(opened.fileno())
    except OSError as error:
        raise PermanentError(f"{file} cannot be read: {error.strerror}.") from error
    return Source(found.st_size, found.st_mtime_ns, head)


def start(file: Path, *, resume: bool) -> Progress:
    """Where to begin. Raises `PermanentError` if the file was begun and is not to be resumed, or is
    another one by now.
    """
    source, path = source_of(file), path_of(file)
    try:
        held = msgspec.json.decode(path.read_bytes(), type=Progress)
    except FileNotFoundError:
        return Progress(source)
    except (OSError, msgspec.MsgspecError) as error:
        raise PermanentError(f"{path} cannot be read: {error}. Delete it to start anew.") from error
    if not resume:
        raise PermanentError(
            f"{path} says that an import of {file.name} was begun and came to byte {held.offset:,} "
            f"of {held.source.size:,}. Go on with --resume, or delete it to start anew."
        )
    if held.source != source:
        raise PermanentError(
            f"{file} is not the file whose import was begun: its size, time or first bytes differ. "
            f"Put that one back, or delete {path} to import this one from the start."
        )
    return held


def save(file: Path, progress: Progress) -> None:
    """Write it down, in one step and to the disk."""
    path = path_of(file)
    new = path.with_name(f"{path.name}.new")
    with new.open("wb") as opened:
        opened.write(msgspec.json.encode(progress))
        opened.flush()
        os.fsync(opened.fileno())
    new.replace(path)
    # The name is in the folder, which is not on the disk by itself. A crash of the machine that
    # undoes it leaves the file of before, which is a place, too.
