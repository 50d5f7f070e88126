"""What the correction benchmark calls held, and how repetitions become a line."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs

from diffusion.bench.accounting import Alternatives, Exchange, RootCost
from diffusion.bench.correction import Case, Mended, Outcome, case_of, held
from schemas.protocol import SyncRequest, SyncResponse
from sdk.client import SyncReport

ROOT = RootCost(23, 23)
REPORT = SyncReport(
    path="correction",
    reason="digest_mismatch",
    total=None,
    round_trips=2,
    bytes_up=300,
    bytes_down=700,
    entries=1,
    modules=0,
    enqueued=1,
    removed=0,
    seconds=0.1,
)


def mended(trips: int, size: int, others: Alternatives) -> Mended:
    """`size` bytes are those of the device's id, and some more."""
    request = SyncRequest("d" * size)
    return Mended(
        structs.replace(REPORT, round_trips=trips, bytes_up=size),
        (Exchange(request, SyncResponse("correction")),),
        float(trips),
        others,
    )


def case(conversations: int, differing: int, trips: int = 2, size: int = 900) -> Case:
    found = case_of(conversations, differing, [mended(trips, 10, Alternatives(1, 2, 3))], 1.0)
    return replace(found, bytes_without_payload=size)


GOOD = (
    case(1_000, 100),
    case(10_000, 0, 1, 199),
    case(10_000, 1, 2, 1_112),
    case(10_000, 10, 2, 3_300),
    case(10_000, 100, 2, 14_000),
    case(50_000, 1_000, 3, 60_000),
)


def test_of_repetitions_the_worst_is_told_and_the_median() -> None:
    found = case_of(
        10_000,
        10,
        [
            mended(2, 100, Alternatives(10, 20, 30)),
            mended(4, 120, Alternatives(11, None, 33)),
            mended(2, 110, Alternatives(12, 22, None)),
        ],
        4.0,
    )
    assert (found.round_trips, found.round_trips_median) == (4, 2)
    assert found.bytes == 120 + 700
    assert found.bytes_without_payload - found.bytes_without_payload_median == 10
    assert (found.listing_bytes, found.sketch_bytes, found.one_trip_bytes) == (12, 22, 33)
    assert found.alternatives_failed == 2
    assert found.milliseconds_median == 2.0
    assert found.negentropy_bytes == 6_670
    assert case(1_000, 1_000).negentropy_bytes is None


def test_what_is_within_all_bounds_is_held() -> None:
    found = held(GOOD, ROOT)
    assert set(found) == {
        "bytes_of_root", "bytes_1_differ", "bytes_10_differ", "bytes_100_differ",
        "trips_to_10000", "trips_to_100000",
    }  # fmt: skip
    assert all(found.values())


@pytest.mark.parametrize(
    ("name", "worse"),
    [
        ("bytes_1_differ", case(10_000, 1, 2, 1_113)),
        ("bytes_10_differ", case(10_000, 10, 2, 3_301)),
        ("bytes_100_differ", case(10_000, 100, 2, 14_001)),
        ("trips_to_10000", case(1_000, 10, 3)),
        ("trips_to_100000", case(50_000, 10, 4)),
    ],
)
def test_each_bound_is_missed_by_a_little_more(name: str, worse: Case) -> None:
    found = held((*GOOD, worse), ROOT)
    assert [one for one, holds in found.items() if not holds] == [name]


def test_a_root_may_cost_24_bytes() -> None:
    assert not held(GOOD, RootCost(25, 23))["bytes_of_root"]


def test_a_store_that_is_not_as_the_server_has_it_is_a_missed_bound() -> None:
    outcome = Outcome(GOOD, ROOT, ("a difference",))
    assert outcome.held["correct"] is False
    assert outcome.as_json()["root_bytes"] == {"request": 23, "answer": 23}
    assert replace(outcome, differences=()).held["correct"]
