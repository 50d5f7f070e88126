"""The errors of the contract. Whose fault it is decides the branch.

    DiffusionError
    ├── InputError          the other side sent what the contract does not allow
    │   ├── DecodeError     bytes that are not a record of this contract
    │   └── TokenError      a cursor or page token that this server did not issue in this form
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


class TokenError(InputError):
    """A cursor or page token that is damaged, forged, or from another version of the format."""


class RetryableError(DiffusionError):
    """Something outside is away or overloaded; the same call may succeed later."""


class PermanentError(DiffusionError):
    """A state that retrying does not mend; the message says what a person has to do."""
