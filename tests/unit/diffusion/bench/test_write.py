"""What the benchmark of writing counts, and how it judges."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from diffusion.bench import children, drain, naive, stage_one
from diffusion.bench.write import Outcome, Rates, Replay
from schemas.events import Message

GOOD = Outcome(
    limit=Rates((900.0, 1_000.0, 1_100.0)),
    best=(100, 32),
    materializer=Rates((800.0, 900.0, 950.0)),
    stock=Rates((10.0,)),
    stream=Rates((151.0,)),
    naive=Rates((10.0,)),
    pipeline=Replay(10, 6_000, 10.0, 1_000, 4_000, 1_000),
    peak_memory_mb={"api": 90.0},
    machine="two cores",
    users_checked=2,
    differences=(),
)


def test_the_median_counts_and_the_spread_is_told() -> None:
    told = GOOD.as_json()
    assert told["limit"] == {
        "rows_per_second": 1_000.0,
        "min": 900.0,
        "max": 1_100.0,
        "rows_per_batch": 100,
        "batches_in_flight": 32,
    }
    assert told["materializer"]["ratio_to_limit"] == 0.9
    assert told["pipeline"]["marks_per_second"] == 600.0
    assert told["pipeline"]["ratio_to_naive"] == 60.0
    assert told["stream"] | {"ratio_to_stock": 15.1} == told["stream"]
    assert set(told) >= {"naive", "peak_memory_mb", "machine", "held", "differences"}


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("materializer", replace(GOOD, materializer=Rates((790.0,)))),
        ("stream", replace(GOOD, stream=Rates((149.0,)))),
        ("pipeline", replace(GOOD, naive=Rates((13.0,)))),
        ("correct", replace(GOOD, differences=("x",))),
    ],
)
def test_each_bound_is_judged_by_itself(name: str, broken: Outcome) -> None:
    assert all(GOOD.held.values())
    assert [one for one, holds in broken.held.items() if not holds] == [name]


def test_groups_of_a_trace_have_all_their_members_from_the_beginning(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("group,sender,sent_at_s\n1,1,1082040961\n1,2,1082040962\n2,3,1082040963\n")
    found = naive.read(trace, 10)
    assert [len(users) for users in found.members.values()] == [2, 1]
    assert [message.seq for message in found.messages] == [1, 2, 1]
    assert found.marks == 2 + 2 + 1
    assert {join.conversation_id for join in found.joins()} == set(found.members)
    assert naive.read(trace, 2).marks == 2 + 2


def test_rows_to_drain_are_distinct_pairs_and_others_in_another_round() -> None:
    pairs = Counter(
        (user, one.conversation_id)
        for number in (0, 1)
        for one in drain.conversations(number, 1_024, seed=1)
        for user in one.members
    )
    assert len(pairs) == 2 * 1_024
    assert set(pairs.values()) == {1}


def test_messages_of_chats_name_both_sides_and_go_on_from_round_to_round() -> None:
    last: dict[str, int] = {}
    for number in (0, 1):
        for message in stage_one.messages(number, 5_000, seed=1):
            assert isinstance(message, Message)
            assert message.sender_id in (message.members or ())
            assert message.seq > last.get(message.conversation_id, 0)
            last[message.conversation_id] = message.seq


def test_a_part_of_a_benchmark_runs_in_a_process_of_its_own() -> None:
    found, peak = children.run(sum, [1, 2, 3])
    assert found == 6
    assert peak > 2**20
    with pytest.raises(ZeroDivisionError):
        children.run(divmod, 1, 0)
