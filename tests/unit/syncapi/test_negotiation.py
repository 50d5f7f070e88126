"""Which forms four headers come to, by RFC 9110, and that no header is more than a refusal."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.encoding import Coding, Format, codings
from schemas.errors import InputError
from syncapi.negotiation import (
    HEADER_CHARS_MAX,
    MEDIA_TYPES,
    Agreement,
    HeaderTooLong,
    NotAcceptable,
    UnsupportedContent,
    agree,
)

JSON, MSGPACK = Format.JSON, Format.MSGPACK
IDENTITY, DEFLATE, ZSTD, GZIP = Coding.IDENTITY, Coding.DEFLATE, Coding.ZSTD, Coding.GZIP
ALL = (ZSTD, DEFLATE, GZIP, IDENTITY)


def forms(**headers: str) -> Agreement:
    return agree(
        [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    )


def test_who_says_nothing_speaks_json_uncompressed() -> None:
    assert agree([]) == Agreement(JSON, IDENTITY, JSON, (IDENTITY,))
    assert agree([(b"host", b"x"), (b"cookie", b"a" * 5_000)]) == agree([])


# The request.


@pytest.mark.parametrize(
    ("content_type", "form"),
    [
        ("application/json", JSON),
        ("Application/JSON; charset=utf-8", JSON),
        ("", JSON),
        (" ", JSON),
        ("application/msgpack", MSGPACK),
        ("application/x-msgpack", MSGPACK),
        ("application/vnd.msgpack ;v=5", MSGPACK),
    ],
)
def test_a_request_is_in_the_format_that_it_says(content_type: str, form: Format) -> None:
    found = forms(content_type=content_type)
    assert (found.request_format, found.answer_format) == (form, form)


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application",
        "*/*",
        "application/*",
        "application/json, application/msgpack",
        "application/jsonx",
        "\u00e9",
    ],
)
def test_an_unknown_format_is_refused_with_the_known_ones(content_type: str) -> None:
    with pytest.raises(UnsupportedContent, match="application/msgpack") as caught:
        forms(content_type=content_type)
    assert caught.value.headers == {"Accept": "application/json, application/msgpack"}


@pytest.mark.parametrize(
    ("content_encoding", "coding"),
    [
        ("", IDENTITY),
        ("identity", IDENTITY),
        ("ZSTD", ZSTD),
        (" deflate ", DEFLATE),
        ("gzip", GZIP),
        ("x-gzip", GZIP),
    ],
)
def test_a_request_is_in_the_coding_that_it_says(content_encoding: str, coding: Coding) -> None:
    assert forms(content_encoding=content_encoding).request_coding is coding


@pytest.mark.parametrize("content_encoding", ["br", "gzip, zstd", "gzip;q=1", "*", "compress"])
def test_an_unknown_coding_is_refused_with_the_known_ones(content_encoding: str) -> None:
    with pytest.raises(UnsupportedContent, match="zstd") as caught:
        forms(content_encoding=content_encoding)
    assert caught.value.headers == {"Accept-Encoding": "zstd, deflate, gzip, identity"}


def test_a_header_that_is_sent_twice_is_one_list() -> None:
    twice = [(b"accept", b"text/html"), (b"accept", b"application/msgpack")]
    assert agree(twice).answer_format is MSGPACK
    with pytest.raises(UnsupportedContent):
        agree([(b"content-type", b"application/json"), (b"content-type", b"application/msgpack")])


# The answer's format.


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("application/json", JSON),
        ("application/msgpack", MSGPACK),
        ("application/x-msgpack", MSGPACK),
        ("APPLICATION/MSGPACK", MSGPACK),
        ("application/json, application/problem+json", JSON),
        ("application/msgpack, application/json;q=0.9", MSGPACK),
        ("application/msgpack;q=0.5, application/json;q=0.9", JSON),
        ("application/msgpack;q=0.5, */*;q=0.1", MSGPACK),
        ("application/msgpack;q=0.5, */*", JSON),
        ("application/msgpack, application/json", JSON),
        ("application/json;q=0, */*", MSGPACK),
        ("application/json;q=0, application/*;q=0.001", MSGPACK),
        ("text/html, image/gif, *; q=.2, */*; q=.2", JSON),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", JSON),
        ("application/json;version=1;q=0.2, application/msgpack ; Q=0.3", MSGPACK),
        (",, application/msgpack ,", MSGPACK),
    ],
)
def test_an_answer_has_the_format_of_most_weight(accept: str, form: Format) -> None:
    assert forms(accept=accept).answer_format is form


def test_of_equal_formats_the_answer_has_the_requests() -> None:
    for accept in ("*/*", "application/json, application/msgpack", "application/*;q=0.1"):
        assert forms(accept=accept, content_type="application/msgpack").answer_format is MSGPACK


@pytest.mark.parametrize(
    "accept",
    [
        "text/html",
        "application/problem+json",
        "*/*;q=0",
        "application/json;q=0",
        "application/json;q=0.000, application/msgpack;q=0",
        "application/json;q=high",
        "application/json;q=",
        "application/json;q=-1",
        "application/json;q=nan",
        "text/*",
        "nonsense",
    ],
)
def test_a_client_that_takes_no_format_is_told(accept: str) -> None:
    with pytest.raises(NotAcceptable, match=MEDIA_TYPES):
        forms(accept=accept)


# The answer's coding.


@pytest.mark.parametrize(
    ("accept_encoding", "found"),
    [
        ("", (IDENTITY,)),
        ("identity", (IDENTITY,)),
        ("br", (IDENTITY,)),
        ("gzip", (GZIP, IDENTITY)),
        ("gzip, deflate", (DEFLATE, GZIP, IDENTITY)),
        ("gzip, deflate, br, zstd", ALL),
        ("GZIP, ZSTD", (ZSTD, GZIP, IDENTITY)),
        ("zstd;q=0.5, gzip", (GZIP, ZSTD, IDENTITY)),
        ("gzip;q=0.5, identity", (IDENTITY, GZIP)),
        ("gzip;q=0.5, identity;q=0.4", (GZIP, IDENTITY)),
        ("*", ALL),
        ("*;q=0.5, gzip", (GZIP, ZSTD, DEFLATE, IDENTITY)),
        ("zstd;q=0, *", (DEFLATE, GZIP, IDENTITY)),
        ("x-gzip", (GZIP, IDENTITY)),
        ("gzip;q=0", (IDENTITY,)),
        ("gzip;q=x", (IDENTITY,)),
        ("identity;q=0, gzip", (GZIP,)),
        ("identity;q=0, *", (ZSTD, DEFLATE, GZIP)),
        ("*;q=0, gzip", (GZIP,)),
        ("*;q=0, identity;q=0.1", (IDENTITY,)),
    ],
)
def test_codings_are_offered_in_the_order_of_their_weight(
    accept_encoding: str, found: tuple[Coding, ...]
) -> None:
    assert forms(accept_encoding=accept_encoding).answer_codings == found


@pytest.mark.parametrize(
    "accept_encoding", ["*;q=0", "identity;q=0", "identity;q=0, br", "*;q=0, br"]
)
def test_a_client_that_takes_no_coding_is_told(accept_encoding: str) -> None:
    with pytest.raises(NotAcceptable, match="zstd, deflate, gzip, identity"):
        forms(accept_encoding=accept_encoding)


# Whatever comes.


@pytest.mark.parametrize(
    "name", [b"content-type", b"content-encoding", b"accept", b"accept-encoding"]
)
def test_a_header_has_a_bound(name: bytes) -> None:
    for length in (HEADER_CHARS_MAX + 1, 10**6):
        with pytest.raises(HeaderTooLong, match=name.decode()):
            agree([(name, b"x" * length)])
    with pytest.raises(HeaderTooLong):
        agree([(name, b"x" * HEADER_CHARS_MAX)] * 2)


element = st.builds(
    "{}{}{}".format,
    st.sampled_from(
        [
            "gzip",
            "zstd",
            "identity",
            "*",
            "*/*",
            "application/json",
            "application/msgpack",
            "br",
            "",
        ]
    ),
    st.sampled_from(["", ";q=", "; Q = ", ";x=1;q=", ";"]),
    st.sampled_from(["", "0", "1", "0.5", ".5", "1.5", "9", "x", "\u00b2", "nan"]),
)
values = st.lists(element, max_size=5).map(",".join) | st.text(
    st.characters(max_codepoint=0xFF), max_size=40
)


@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ("content-type", "content-encoding", "accept", "accept-encoding"), values
        ),
    )
)
def test_no_header_is_more_than_a_refusal(headers: dict[str, Any]) -> None:
    with suppress(InputError):
        found = agree([(name.encode(), value.encode("latin-1")) for name, value in headers.items()])
        assert found.answer_codings
        assert set(found.answer_codings) <= set(codings())
        assert found.request_coding in codings()
