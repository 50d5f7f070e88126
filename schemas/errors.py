"""The errors of the contract. Whose fault it is decides the branch.

    DiffusionError
    ├── InputError          the other side sent what the contract does not allow
    │   ├── DecodeError     bytes that are not a record of this contract
    │   │   └── NewerRecordError  a record of a version that this program does not know yet
    │   ├── UnreadableError  a body or frame of the sync protocol that cannot be read
    │   ├── TooLargeError   a body or frame above its bound, packed or unpacked
    │   ├── UnsupportedVersionError  a protocol version that this side does not speak
    │   ├── TokenError      a cursor or page token that this server did not issue in this form
    │   └── RefusedTokenError  the same as the client gets it, with a reason in one word
    ├── RetryableError      the world is away for now: the same call may succeed later
    └── PermanentError      a state that needs a person: wrong settings, a log that does not fit

A programmer's error is an `assert` and no part of this tree.
"""

from __future__ import annotations


class DiffusionError(Exception):
    """Root of all errors raised by this distribution."""


class InputError(DiffusionError):
    """The other side sent something that the contract does not allow."""


class DecodeError(InputError):
    """Bytes that are not a record of this contract; the message says where and why."""


class NewerRecordError(DecodeError):
    """A record that says it is newer than this program; the message says what to upgrade."""


class UnreadableError(InputError):
    """A body or frame that is damaged, cut off, or does not fit its type; the message says what."""


class TooLargeError(InputError):
    """A body or frame larger than its bound, as it came or unpacked."""


class UnsupportedVersionError(InputError):
    """A protocol version that this side does not speak; `supported` are those that it does."""

    def __init__(self, message: str, supported: tuple[int, ...]) -> None:
        super().__init__(message)
        self.supported = supported


class TokenError(InputError):
    """A cursor or page token that is damaged, forged, or from another version of the format."""


class RefusedTokenError(InputError):
    """A token that the client must forget; `reason` says why (`schemas.protocol.Reason`)."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class RetryableError(DiffusionError):
    """Something outside is away or overloaded; the same call may succeed later."""


class PermanentError(DiffusionError):
    """A state that retrying does not mend; the message says what a person has to do."""
