"""What a client sent, and what it takes: format and coding of both bodies, from four headers.

By RFC 9110: q-values, `*`, `identity;q=0`, the most particular media range. Pure. An app sends the
same headers with every request, so what they come to is remembered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from schemas.encoding import CODINGS, FORMATS, Coding, Format, codings
from schemas.errors import InputError

HEADER_CHARS_MAX: Final = 1_024
"""Of each header that is read here; what browsers send is under 200."""

AGREEMENTS_MAX: Final = 256
"""Agreements remembered. Apps send a handful of header sets; at worst this is a megabyte."""

MEDIA_TYPES: Final = ", ".join(form.value for form in Format)

_NAMES: Final = (b"content-type", b"content-encoding", b"accept", b"accept-encoding")
_Q: Final = re.compile(r"[01](\.[0-9]{0,3})?|\.[0-9]{1,3}")
"""RFC 9110's, and `.2`, which every Java client says."""

_UNLISTED: Final = 1e-6
"""Weight of `identity` when it is not named: acceptable, below whatever is."""


class HeaderTooLong(InputError):
    """A header that has to be read is longer than any honest one."""


class NotAcceptable(InputError):
    """The client takes no answer in any form that there is."""


class UnsupportedContent(InputError):
    """The body is in a form that is not known; `headers` of the answer name those that are."""

    def __init__(self, message: str, headers: dict[str, str]) -> None:
        super().__init__(message)
        self.headers = headers


@dataclass(frozen=True, slots=True)
class Agreement:
    """Forms of a request and of its answer.

    `answer_codings` are those that the client takes, the one that it should get first; there is at
    least one. Without `IDENTITY` the answer must be compressed, however short.
    """

    request_format: Format
    request_coding: Coding
    answer_format: Format
    answer_codings: tuple[Coding, ...]


def agree(headers: Iterable[tuple[bytes, bytes]]) -> Agreement:
    """Read the forms out of raw headers, names in lower case.

    Raises `UnsupportedContent`, `NotAcceptable` and `HeaderTooLong`.
    """
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _NAMES:
            found[name] = found[name] + b", " + value if name in found else value
    for name, value in found.items():
        if len(value) > HEADER_CHARS_MAX:
            raise HeaderTooLong(
                f"The header `{name.decode()}` is longer than {HEADER_CHARS_MAX:,} characters."
            )
    return _agree(*(found.get(name, b"").decode("latin-1").lower() for name in _NAMES))


@lru_cache(AGREEMENTS_MAX)
def _agree(
    content_type: str, content_encoding: str, accept: str, accept_encoding: str
) -> Agreement:
    request_format = _content_format(content_type)
    return Agreement(
        request_format,
        _content_coding(content_encoding),
        _answer_format(accept, request_format),
        _answer_codings(accept_encoding),
    )


def _content_format(content_type: str) -> Format:
    """Format of the body; JSON when nothing is said. `charset` is not looked at: it is UTF-8."""
    name = content_type.partition(";")[0].strip()
    if not name:
        return Format.JSON
    if name not in FORMATS:
        raise UnsupportedContent(
            f"The body's Content-Type is not known: send one of {MEDIA_TYPES}.",
            {"Accept": MEDIA_TYPES},
        )
    return FORMATS[name]


def _content_coding(content_encoding: str) -> Coding:
    name = content_encoding.strip()
    coding = CODINGS.get(name) if name else Coding.IDENTITY
    if coding is None or coding not in codings():
        names = ", ".join(one.token for one in codings())
        raise UnsupportedContent(
            f"The body's Content-Encoding is not known: send at most one of {names}.",
            {"Accept-Encoding": names},
        )
    return coding


def _answer_format(accept: str, default: Format) -> Format:
    """The format with the greatest weight; of equal ones, the request's."""
    if not accept.strip():
        return default
    weights = _weights(accept)
    chosen: Format = max((default, *Format), key=lambda form: _weight(form, weights))
    if not _weight(chosen, weights):
        raise NotAcceptable(f"An answer can be had as {MEDIA_TYPES}: `Accept` allows neither.")
    return chosen


def _weight(form: Format, weights: dict[str, float]) -> float:
    """Weight of a format, by the most particular range that it is in; 0: not acceptable.

    Answers carry the registered name of the format, by whichever name it was asked for.
    """
    exact = [weights[name] for name, known in FORMATS.items() if known is form and name in weights]
    return max(exact) if exact else weights.get("application/*", weights.get("*/*", 0.0))


def _answer_codings(accept_encoding: str) -> tuple[Coding, ...]:
    """Codings that the client takes, best first. Whoever says nothing gets none."""
    if not accept_encoding.strip():
        return (Coding.IDENTITY,)
    weights = _weights(accept_encoding)
    named = {CODINGS[name]: weight for name, weight in weights.items() if name in CODINGS}
    others = weights.get("*")
    unlisted = _UNLISTED if others is None else others
    taken = {
        coding: named.get(
            coding, unlisted if coding is Coding.IDENTITY else 0.0 if others is None else others
        )
        for coding in codings()
    }
    best = sorted((coding for coding in taken if taken[coding]), key=lambda one: -taken[one])
    if not best:
        names = ", ".join(one.token for one in codings())
        raise NotAcceptable(f"An answer can be had as {names}: `Accept-Encoding` allows none.")
    return tuple(best)


def _weights(value: str) -> dict[str, float]:
    """Take a list of `name;q=weight` apart. What is no weight counts as 0: not acceptable."""
    found: dict[str, float] = {}
    for element in value.split(","):
        name, *parameters = (part.strip() for part in element.split(";"))
        weight = 1.0
        for parameter in parameters:
            key, _, text = parameter.partition("=")
            if key.strip() == "q":
                weight = min(1.0, float(text)) if _Q.fullmatch(text.strip()) else 0.0
        if name:
            found[name] = weight
    return found
