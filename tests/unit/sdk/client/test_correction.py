"""What a round of a correction asks, what it makes of answers, and what it costs.

The server's side is `ModelServer`; here, where its answers would be in the way, what it holds.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas import digests, sketch
from schemas.conversations import ConversationState, OwnState
from schemas.digests import WHOLE
from schemas.limits import CURSOR_CHARS_MAX, RANGE_BITS_MAX, REQUEST_BYTES_MAX
from schemas.protocol import (
    Correction,
    KeyRange,
    RangeDigests,
    RangeRows,
    SyncRequest,
    SyncResponse,
)
from sdk.client import NetworkError, SyncClient, SyncReport
from sdk.client.correction import LISTING_BYTES_MAX, Differences
from sdk.client.errors import InvalidAnswerError
from sdk.client.limits import (
    CHECKED_DELTAS_PER_SYNC_MAX,
    CORRECTIONS_PER_SYNC_MAX,
    CUT_CORRECTIONS_PER_SYNC_MAX,
    FULL_EVERY_MS,
    SPLITS_PER_ROUND_MAX,
)
from sdk.client.rows import UPSERT, row_of
from tests.unit.sdk.client.support import T0, ModelServer, correction, digest_rows, entry


def states(count: int, changed: int = 0) -> list[ConversationState]:
    return [
        ConversationState(f"sg_{n}", n + 1, T0 + n + (n < changed), read_seq=n % 3)
        for n in range(count)
    ]


def told(theirs: list[ConversationState], bits: int | None = None) -> tuple[RangeDigests, ...]:
    rows = digest_rows(theirs)
    return (digests.parts(WHOLE, rows, bits or digests.bits_for(len(rows))),)


def differences(
    held: list[ConversationState], theirs: list[ConversationState], bits: int | None = None
) -> Differences:
    made = Differences(lambda: held)
    made.compare(told(theirs, bits), None)
    return made


# What is asked.


@pytest.mark.parametrize(("count", "changed"), [(10_000, 1), (10_000, 10), (10_000, 100), (500, 1)])
def test_few_differences_among_many_rows_are_sketched_or_listed_by_cost(
    count: int, changed: int
) -> None:
    held, theirs = states(count), states(count, changed)
    asked = differences(held, theirs).ask()
    assert asked is not None
    rows = digest_rows(theirs)
    if asked.sketch is not None:
        decoded = sketch.decode(asked.sketch, rows)
        assert decoded is not None
        found = decoded.changed
    else:
        found = [i for one in asked.listed for i in digests.compare_listed(one, rows)[0]]
    assert sorted(found) == sorted(f"sg_{n}" for n in range(changed))
    # What listing the differing ranges would have cost instead.
    mine = digest_rows(held)
    ranges = digests.differing(told(theirs)[0], mine)
    listing = sum(len(digests.listed(one, mine).rows) for one in ranges)
    assert len(msgspec.msgpack.encode(asked)) < listing + 5 * changed + 200


def test_without_parts_they_are_asked_for() -> None:
    made = Differences(lambda: states(50))
    assert made.ask() == Correction()
    made.compare(told(states(50, 3)), Correction())
    assert made.ask() != Correction()
    made.begin()
    assert made.ask() == Correction()


def test_a_small_state_is_listed() -> None:
    asked = differences(states(5), states(5, 1)).ask()
    assert asked is not None
    assert asked.sketch is None
    assert len(asked.listed) == 1


def test_parts_that_are_equal_though_the_roots_are_not_are_looked_at_as_a_whole() -> None:
    """A change that hides from 32 bits, or one that the server took back meanwhile."""
    held = states(500)
    made = differences(held, held)
    asked = made.ask()
    assert asked is not None
    assert asked.sketch is not None
    assert len(asked.sketch) == sketch.sketch_bytes(sketch.PLACES)
    made.undecoded()
    asked = made.ask()
    assert asked is not None
    assert [one.range for one in asked.listed] == [WHOLE]


def test_after_a_sketch_that_was_too_small_the_differing_ranges_are_listed() -> None:
    held, theirs = states(2_000), states(2_000, 5)
    made = differences(held, theirs)
    before = made.ask()
    assert before is not None
    assert before.sketch is not None
    made.undecoded()
    asked = made.ask()
    assert asked is not None
    assert asked.sketch is None
    ranges = digests.differing(told(theirs)[0], digest_rows(held))
    assert [one.range for one in asked.listed] == ranges
    made.compare(told(theirs), None)
    again = made.ask()
    assert again == before, "the next round begins anew"


def test_a_range_of_which_nothing_is_held_is_listed_all_the_same() -> None:
    asked = differences([], states(3)).ask()
    assert asked is not None
    assert all(one.rows == b"" for one in asked.listed)
    assert asked.listed


def no_sketches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdk.client.correction.sketch.cheaper_by_sketch", lambda *_: False)


def test_large_ranges_are_split_when_not_all_can_be_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    no_sketches(monkeypatch)
    monkeypatch.setattr("sdk.client.correction.LISTING_BYTES_MAX", 1_000)
    monkeypatch.setattr("sdk.client.correction.LISTED_ROWS_MAX", 20)
    held, theirs = states(300), states(300, 8)
    made = differences(held, theirs, bits=2)
    rows, mine, splits = digest_rows(theirs), digest_rows(held), 0
    while True:
        asked = made.ask()
        assert asked is not None
        if not asked.split:
            break
        splits += 1
        assert not asked.listed
        assert all(len(digests.rows_in(one, mine)) > 20 for one in asked.split)
        made.compare(tuple(digests.parts(one, rows, 2) for one in asked.split), asked)
    assert 1 <= splits <= SPLITS_PER_ROUND_MAX
    found = [i for one in asked.listed for i in digests.compare_listed(one, rows)[0]]
    assert sorted(found) == sorted(f"sg_{n}" for n in range(8))


def test_what_the_server_did_not_split_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    no_sketches(monkeypatch)
    monkeypatch.setattr("sdk.client.correction.LISTING_BYTES_MAX", 1_500)
    monkeypatch.setattr("sdk.client.correction.LISTED_ROWS_MAX", 20)
    held, theirs = states(300), states(300, 300)
    made = differences(held, theirs, bits=2)
    asked = made.ask()
    assert asked is not None
    assert len(asked.split) == 4
    # There was room for one only.
    made.compare((digests.parts(asked.split[0], digest_rows(theirs), 1),), asked)
    again = made.ask()
    assert again is not None
    assert set(asked.split[1:]) <= set(again.split)


def test_what_does_not_fit_is_left_to_the_next_round(monkeypatch: pytest.MonkeyPatch) -> None:
    no_sketches(monkeypatch)
    monkeypatch.setattr("sdk.client.correction.LISTING_BYTES_MAX", 400)
    made = differences(states(200), states(200, 200), bits=4)
    asked = made.ask()
    assert asked is not None
    assert 1 <= len(asked.listed) < 16
    monkeypatch.setattr("sdk.client.correction.LISTING_BYTES_MAX", 30)
    assert made.ask() is None


@pytest.mark.parametrize("bits", [7, 12])
def test_the_longest_list_fits_into_a_request_in_either_form(
    monkeypatch: pytest.MonkeyPatch, bits: int
) -> None:
    no_sketches(monkeypatch)
    asked = differences(states(25_000), states(25_000, 25_000), bits).ask()
    assert asked is not None
    assert sum(len(one.rows) for one in asked.listed) > LISTING_BYTES_MAX // 3
    request = SyncRequest(
        "\U0001f600" * 128, cursor="c" * CURSOR_CHARS_MAX, root=bytes(16), correct=asked
    )
    for encoder in (msgspec.json, msgspec.msgpack):
        assert len(encoder.encode(request)) <= REQUEST_BYTES_MAX


def test_a_round_ends_also_if_nothing_is_found_and_nothing_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sdk.client.correction.LISTING_BYTES_MAX", 100)
    held = states(300)
    made, asked = differences(held, held), None
    for _ in range(3 + SPLITS_PER_ROUND_MAX):
        asked = made.ask()
        if asked is None:
            break
        if asked.sketch is not None:
            made.undecoded()
        else:
            made.compare(tuple(digests.parts(r, digest_rows(held), 2) for r in asked.split), asked)
    assert asked is None


def test_a_range_of_the_finest_bits_is_not_split(monkeypatch: pytest.MonkeyPatch) -> None:
    no_sketches(monkeypatch)
    monkeypatch.setattr("sdk.client.correction.LISTING_BYTES_MAX", 10)
    monkeypatch.setattr("sdk.client.correction.LISTED_ROWS_MAX", 0)
    held = states(20)
    made = differences(held, [])
    asked = made.ask()
    while asked is not None and asked.split:
        assert all(one.bits < RANGE_BITS_MAX for one in asked.split)
        made.compare(tuple(digests.parts(one, [], 12) for one in asked.split), asked)
        asked = made.ask()
    assert asked is None


# What is refused.


def broken_parts() -> list[tuple[RangeDigests, ...]]:
    good = told(states(50))[0]
    return [
        (RangeDigests(WHOLE, b"123"),),
        (RangeDigests(WHOLE, bytes(4)),),
        (RangeDigests(WHOLE, bytes(12)),),
        (good, good),
        (good, RangeDigests(KeyRange(1, 0), bytes(8))),
        (RangeDigests(KeyRange(1, 0), bytes(8)),),
    ]


@pytest.mark.parametrize("parts", broken_parts(), ids=range(6))
def test_parts_that_are_none_change_nothing(parts: tuple[RangeDigests, ...]) -> None:
    made = differences(states(50), states(50, 3))
    before = made.ask()
    for asked in (None, Correction(split=(KeyRange(2, 1),))):
        with pytest.raises(InvalidAnswerError):
            made.compare(parts, asked)
    assert made.ask() == before


@pytest.mark.parametrize(
    ("asked", "gone"),
    [(Correction(sketch=b"x"), bytes(7)), (Correction(listed=(RangeRows(WHOLE, b""),)), bytes(7))],
)
def test_what_is_gone_must_be_whole_hashes(asked: Correction, gone: bytes) -> None:
    with pytest.raises(InvalidAnswerError):
        differences(states(9), states(9, 1)).removed(asked, correction(gone=gone))


# What is removed.


def test_of_a_listing_what_has_no_counterpart_and_no_replacement_is_removed() -> None:
    held = states(9)
    made = differences(held, states(8, 1))
    by_id = {row.conversation_id: row for row in digest_rows(held)}
    gone = digests.row_hash(by_id["sg_0"]) + digests.row_hash(by_id["sg_8"])
    listed = Correction(listed=(digests.listed(WHOLE, digest_rows(held)),))
    answer = correction(entry("sg_0", 1, 1), gone=gone)
    assert made.removed(listed, answer) == ("sg_8",)
    assert made.removed(listed, replace(answer, has_more=True)) == ()
    half = KeyRange(1, 1 - (by_id["sg_8"].key >> 63))
    other = Correction(listed=(digests.listed(half, digest_rows(held)),))
    assert made.removed(other, answer) == (), "a hash counts in the ranges that were listed only"


def test_of_a_sketch_what_the_server_does_not_know_is_removed() -> None:
    held = states(9)
    made = differences(held, states(8, 1))
    key = digests.key_of("sg_8")
    gone = sketch.gone_bytes([sketch.id_of(key), 12_345])
    assert made.removed(Correction(sketch=b"x"), correction(gone=gone)) == ("sg_8",)


# The whole ladder, against a server.


class Damage:
    """What may have happened to a store: rows that changed, are missing, or should not be there."""

    def __init__(self, client: SyncClient, rng: random.Random) -> None:
        self.db = client._store._db
        self.held = client.state()
        self.rng = rng

    def change(self, conversation_id: str) -> None:
        state = self.held[conversation_id]
        damaged = self.rng.choice(
            [
                replace(state, max_seq=state.max_seq + self.rng.randrange(1, 9)),
                replace(state, read_seq=state.read_seq + 1),
                replace(state, active_at_ms=state.active_at_ms + 1),
                replace(state, own=replace(state.own, pinned=not state.own.pinned)),
                replace(state, own=replace(state.own, min_seq=state.own.min_seq + 3)),
            ]
        )
        self.db.execute(UPSERT, row_of(damaged, 1))

    def miss(self, conversation_id: str) -> None:
        self.db.execute("DELETE FROM conversations WHERE conversation_id = ?", (conversation_id,))

    def add(self, conversation_id: str) -> None:
        self.db.execute(UPSERT, row_of(ConversationState(conversation_id, 5, T0), 1))

    def some(self, changed: int, missing: int, extra: int) -> None:
        ids = self.rng.sample(sorted(self.held), min(len(self.held), changed + missing))
        for conversation_id in ids[:changed]:
            self.change(conversation_id)
        for conversation_id in ids[changed:]:
            self.miss(conversation_id)
        for number in range(extra):
            self.add(f"extra_{number}")


def opened(server: ModelServer, **options: Any) -> SyncClient:
    # More than an hour passes with every look at the clock: full corrections are never put off.
    hours = itertools.count(T0, FULL_EVERY_MS)
    return SyncClient(
        user_id="u1",
        device_id="phone",
        store=":memory:",
        transport=server,
        clock=lambda: next(hours),
        verify_every_s=0,
        **options,
    )


def server_of(count: int) -> ModelServer:
    server = ModelServer()
    for number in range(count):
        own = OwnState(pinned=True) if number % 17 == 3 else None
        server.change(f"sg_{number}", number + 1, read_seq=number % 5, own=own)
    return server


ROUND_TRIPS_MAX = CHECKED_DELTAS_PER_SYNC_MAX + (
    CORRECTIONS_PER_SYNC_MAX + CUT_CORRECTIONS_PER_SYNC_MAX
) * (4 + SPLITS_PER_ROUND_MAX)
"""Requests before a full correction: the first deltas; and in every round a delta, the parts, finer
parts, a sketch that is too small, and the rows."""


@dataclass
class Case:
    count: int
    changed: int
    missing: int
    extra: int
    seed: int
    options: dict[str, int]
    bits: int | None = None
    concurrent: int = 0
    asked: list[SyncRequest] = field(default_factory=list)


def repaired(case: Case) -> tuple[SyncReport, ModelServer, SyncClient]:
    """Damage a store, verify it, and be sure that it is the server's in bounded time."""
    server, rng = server_of(case.count), random.Random(case.seed)
    client = opened(server, **case.options)
    client.sync()
    Damage(client, rng).some(case.changed, case.missing, case.extra)
    server.bits = case.bits
    news = case.concurrent

    def write(request: SyncRequest) -> None:
        nonlocal news
        case.asked.append(request)
        if news:
            news -= 1
            number = rng.randrange(case.count + 3)
            server.change(f"sg_{number}", 1_000 + news, own=OwnState(muted=bool(news % 2)))

    server.lost = write
    report = client.sync(verify=True)
    return report, server, client


def check(case: Case) -> SyncReport:
    report, server, client = repaired(case)
    with client:
        before = [r for r in case.asked if r.page is None and r.cursor is not None]
        assert len(before) <= ROUND_TRIPS_MAX
        server.lost = lambda _: None
        if case.concurrent:
            # What changed after the last answer comes as always.
            while client.sync().path != "nothing":
                pass
        assert client.state() == server.states
        assert client.sync(verify=True).path == "nothing"
        assert {e.conversation_id for e in client.pending(1_000)} <= set(client.state())
    return report


@settings(max_examples=60, deadline=None)
@given(
    st.builds(
        Case,
        count=st.integers(0, 250),
        changed=st.integers(0, 30),
        missing=st.integers(0, 15),
        extra=st.integers(0, 15),
        seed=st.integers(0, 2**32),
        options=st.fixed_dictionaries(
            {
                "page_max": st.sampled_from([3, 20, 500]),
                "bytes_max": st.sampled_from([8_192, 524_288]),
            }
        ),
        bits=st.sampled_from([None, 1, 2, 6]),
        concurrent=st.sampled_from([0, 0, 1, 4, 40]),
    )
)
def test_any_damage_ends_in_the_servers_state(case: Case) -> None:
    check(case)


@settings(max_examples=40, deadline=None)
@given(
    st.builds(
        Case,
        count=st.integers(20, 200),
        changed=st.integers(0, 20),
        missing=st.integers(0, 10),
        extra=st.integers(0, 10),
        seed=st.integers(0, 2**32),
        options=st.just({"page_max": 50}),
        bits=st.sampled_from([1, 2]),
        concurrent=st.sampled_from([0, 3]),
    ),
    st.sampled_from([100, 400, 2_000]),
    st.booleans(),
)
def test_any_damage_is_mended_also_by_splitting_and_in_pieces(
    case: Case, room: int, sketches: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sdk.client.correction.LISTING_BYTES_MAX", room)
        patch.setattr("sdk.client.correction.LISTED_ROWS_MAX", 8)
        if not sketches:
            no_sketches(patch)
        check(case)


@pytest.mark.parametrize("damage", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (3, 2, 2), (60, 0, 30)])
@pytest.mark.parametrize("count", [40, 600])
def test_without_disturbance_one_round_is_enough(count: int, damage: tuple[int, int, int]) -> None:
    for seed in range(5):
        report = check(Case(count, *damage, seed=seed, options={}))
        # One more, if a sketch was too small.
        assert (report.path, report.round_trips <= 3) == ("correction", True)
        assert report.entries <= damage[0] + damage[1] + 2
        assert report.removed == damage[2]


def test_a_sketch_that_is_too_small_is_followed_by_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdk.client.correction.sketch.cells_for", lambda _: sketch.PLACES)
    case = Case(600, 20, 0, 0, seed=1, options={})
    assert check(case).round_trips == 3
    kinds = [
        r.correct and (r.correct.sketch is not None, len(r.correct.listed)) for r in case.asked
    ]
    assert kinds[1] == (True, 0)
    assert kinds[2] is not None
    assert kinds[2][1] > 0


def test_frames_that_hold_part_of_the_rows_are_applied_and_it_goes_on() -> None:
    case = Case(400, 25, 5, 5, seed=2, options={"page_max": 10})
    report = check(case)
    assert (report.path, report.removed) == ("correction", 5)
    assert report.entries == 30, "no row was told twice"


def test_damage_of_nearly_everything_is_a_full_correction_in_the_end() -> None:
    report = check(Case(200, 150, 40, 0, seed=3, options={"page_max": 4}))
    assert (report.path, report.reason, report.total) == ("full", "fresh", 200)


def test_a_busy_user_is_verified_all_the_same() -> None:
    """The server changes between any two requests: every delta has news, and every root is new."""
    paths = set()
    for seed in range(10):
        paths.add(check(Case(60, 5, 3, 2, seed=seed, options={}, concurrent=1_000)).path)
    assert paths == {"correction"}


def test_a_server_that_does_not_verify_is_believed() -> None:
    server = server_of(30)
    server.verifies = False
    with opened(server) as client:
        client.sync()
        Damage(client, random.Random(1)).some(1, 0, 0)
        assert client.sync(verify=True).round_trips == 1


def test_a_correction_that_breaks_off_is_begun_anew() -> None:
    for stop in range(1, 4):
        server = server_of(100)
        with opened(server, page_max=4) as client:
            client.sync()
            Damage(client, random.Random(4)).some(6, 2, 2)
            count = 0

            def cut(request: SyncRequest, stop: int = stop) -> None:
                nonlocal count
                count += 1
                if count == stop:
                    raise NetworkError("cut")

            server.lost = cut
            with pytest.raises(NetworkError):
                client.sync(verify=True)
            server.lost = lambda _: None
            # What the store has is not worse for it, and the cursor goes on as ever.
            server.change("sg_1", 2_000)
            assert client.sync().path == "delta"
            client.sync(verify=True)
            assert client.state() == server.states


def test_an_answer_that_is_no_correction_changes_nothing() -> None:
    server = server_of(50)
    with opened(server) as client:
        client.sync()
        Damage(client, random.Random(5)).some(3, 0, 0)
        before = client.state()
        good = server._correct

        def bad(*arguments: Any) -> SyncResponse:
            return replace(good(*arguments), gone=b"12345678901")

        server._correct = bad  # type: ignore[method-assign]
        with pytest.raises(InvalidAnswerError):
            client.sync(verify=True)
        assert client.state() == before
        server._correct = good  # type: ignore[method-assign]
        assert client.sync(verify=True).path == "correction"
