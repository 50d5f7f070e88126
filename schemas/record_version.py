"""The version of a record on Kafka: `major.minor` in its field `v`. Without one it is 1.0.

It holds for write events, change records and dead letters, each of which is a `Versioned`.

* A writer names the oldest version that has what it says. So what 1.0 can say has no `v`: it costs
  no byte and no look, and is what was written before there were versions.
* A newer minor version adds: optional fields that a reader may pass by, and types. It is read, and
  fields that are not known are passed by. Where it does not decode (a type that is not known), it
  is refused.
* A newer major version means something else by what is there. It is refused, also if it decodes:
  the pattern of `v` is checked by the decoder, and knows one major version.

What is refused, and says that it is newer, is refused with a sentence that tells what to upgrade.
What happens to it then is its reader's to say: `schemas.codec`, `consumers.materializer`.

Fields that are not known are passed by also in a record of this version. Backends put fields of
their own into events, the published JSON Schemas allow it, and refusing it now would refuse what
is in the log already. A required field that is misspelt is missing, and so refused; for an optional
one (`history`) a backend in another language tests what it writes against `schemas/json/`.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

MAJOR: Final = 1
MINOR: Final = 0

OLDEST: Final = "1.0"
"""What a record without `v` is of."""

_NUMBER: Final = "(?:0|[1-9][0-9]{0,3})"

RecordVersion = Annotated[
    str,
    Meta(
        pattern=f"^{MAJOR}[.]{_NUMBER}$",
        description="Version of the contract that has what is said here, if it is not 1.0.",
    ),
]

_VERSION: Final = re.compile(rf"({_NUMBER})\.({_NUMBER})")


class Versioned(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Base of what travels in records of its own."""

    v: RecordVersion = OLDEST


class _Said(Struct, gc=False):
    """Of a record, what it says of its version; nothing else need be readable."""

    v: str = OLDEST


_decoder: Final = msgspec.json.Decoder(_Said)


def is_newer(v: str) -> bool:
    """Whether a version, well formed, is newer than what this program knows."""
    return _parsed(v) > (MAJOR, MINOR)


def refusal(value: bytes, reason: str, upgrade: str) -> str | None:
    """Say why a record that does not decode, for `reason`, is refused, and what to `upgrade`.

    None if it does not say that it is newer than this program: then `reason` is all.
    """
    try:
        version = _parsed(_decoder.decode(value).v)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if version <= (MAJOR, MINOR):
        return None
    # Of another major version, what the decoder stumbles over first says nothing.
    why = f" ({reason})" if version[0] == MAJOR else ""
    said = ".".join(map(str, version))
    return f"version {said} is newer than {MAJOR}.{MINOR}, which this program knows{why}: {upgrade}"


def _parsed(v: str) -> tuple[int, int]:
    """Major and minor; those of the oldest for what is no version, and so is not newer."""
    found = _VERSION.fullmatch(v)
    return (int(found[1]), int(found[2])) if found else (0, 0)
