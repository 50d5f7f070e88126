"""Correlation ids: read as the standard says, bounded, and the sampled ones first."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.trace_context import (
    CONTEXTS_MAX,
    HEADER,
    LOOKED_AT_MAX,
    SOURCE_HEADER,
    Collected,
    Origin,
    TraceContext,
    contexts_of,
    few,
    given_headers,
    headers_of,
    headers_of_change,
    origins_of,
    parse,
    place,
)

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TEXT = f"00-{TRACE}-{SPAN}-01"


def context(number: int, *, sampled: bool = False) -> TraceContext:
    return TraceContext(f"{number:032x}", f"{number:016x}", int(sampled))


def test_a_context_is_read_and_written() -> None:
    found = parse(TEXT)
    assert found == TraceContext(TRACE, SPAN, 1)
    assert found.sampled
    assert str(found) == TEXT
    assert parse(TEXT.encode()) == found
    unsampled = parse(TEXT[:-1] + "2")
    assert unsampled is not None
    assert not unsampled.sampled


def test_a_later_version_is_cut_back_to_what_is_known() -> None:
    found = parse(f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be")
    assert str(found) == TEXT


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "user-ann",
        TEXT.upper(),
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"{TEXT}-more",
        f"{TEXT}\n",
        f" {TEXT}",
        f"cc-{TRACE}-{SPAN}-01-{'x' * 200}",
    ],
)
def test_what_is_no_context_is_none(text: str | None) -> None:
    assert parse(text) is None


@given(st.one_of(st.text(), st.binary()))
def test_nothing_breaks_it(text: str | bytes) -> None:
    assert parse(text) is None


def test_few_are_kept_one_a_trace() -> None:
    many = [context(number) for number in (1, 2, 2, 3, 4, 5, 6)]
    assert few(many) == tuple(context(number) for number in (1, 2, 3, 4))
    assert few(many, 2) == (context(1), context(2))


def test_a_sampled_one_takes_the_place_of_one_that_is_not() -> None:
    collected = Collected(2)
    collected.extend([context(1), context(2, sampled=True), context(3, sampled=True)])
    assert collected.found() == (context(2, sampled=True), context(3, sampled=True))
    collected.add(context(4, sampled=True))
    assert {one.trace_id for one in collected.found()} == {f"{2:032x}", f"{3:032x}"}


@given(st.lists(st.tuples(st.integers(1, 20), st.booleans())), st.integers(1, 8))
def test_the_bound_holds_and_none_that_is_sampled_is_lost_to_one_that_is_not(
    drawn: list[tuple[int, bool]], most: int
) -> None:
    contexts = [context(number, sampled=sampled) for number, sampled in drawn]
    found = few(contexts, most)
    assert len(found) == min(most, len({one.trace_id for one in contexts}))
    first = {one.trace_id: one for one in reversed(contexts)}
    sampled = sum(one.sampled for one in first.values())
    assert sum(one.sampled for one in found) >= min(most, sampled)


def test_headers_go_there_and_back() -> None:
    assert headers_of(()) == []
    assert contexts_of(headers_of([context(1), context(2)])) == (context(1), context(2))
    origins = (Origin(context(1), place("t", 3, 12)), Origin(context(2), place("t", 3, 13)))
    headers = headers_of_change(origins)
    assert [name for name, _ in headers] == [HEADER, SOURCE_HEADER] * 2
    assert origins_of(headers) == origins
    assert origins_of(dict(headers[:2])) == origins[:1], "some clients give a mapping"


def test_headers_of_others_are_passed_by() -> None:
    theirs = [("other", b"x"), (HEADER, None), (HEADER, b"nonsense"), (SOURCE_HEADER, b"t/1/2")]
    assert origins_of(theirs) == ()
    assert origins_of([*theirs, (HEADER, TEXT)]) == (Origin(TraceContext(TRACE, SPAN, 1), "t/1/2"),)
    assert origins_of([(HEADER, TEXT)]) == (Origin(TraceContext(TRACE, SPAN, 1), ""),)
    assert origins_of(None) == origins_of(()) == ()


def test_a_record_with_very_many_headers_is_bounded() -> None:
    flood = [(HEADER, str(context(number)).encode()) for number in range(1, 1_000)]
    assert len(contexts_of(flood)) == CONTEXTS_MAX


def test_of_very_many_the_sampled_ones_are_kept_and_no_more_than_some_are_looked_at() -> None:
    mixed = [(HEADER, str(context(number, sampled=number > 4)).encode()) for number in range(1, 9)]
    assert all(one.sampled for one in contexts_of(mixed))

    def endless() -> Iterator[tuple[str, object]]:
        for number in range(LOOKED_AT_MAX):
            yield HEADER, str(context(number + 1)).encode()
        raise AssertionError("more than that are looked at")

    assert len(contexts_of(endless())) == CONTEXTS_MAX


@pytest.mark.parametrize("error", [SystemError, UnicodeDecodeError("utf-8", b"x", 0, 1, "bad")])
def test_headers_that_a_client_cannot_give_are_none(error: Exception) -> None:
    def headers() -> None:
        raise error

    assert given_headers(headers) is None
    assert given_headers(lambda: [(HEADER, TEXT)]) == [(HEADER, TEXT)]
