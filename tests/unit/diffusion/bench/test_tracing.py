"""The benchmark of tracing: what it compares, and what it judges."""

from __future__ import annotations

import itertools
import os

import httpx

from diffusion.bench.tracing import (
    ENDPOINT,
    SAMPLED_RATIO_MAX,
    WAYS,
    Cost,
    Outcome,
    _Turn,
    collector,
    costs,
    headers,
)
from infra.settings import Settings
from schemas.trace_context import contexts_of


def test_each_way_is_what_its_name_says() -> None:
    said = {way.name: way.settings(Settings()).tracing for way in WAYS}
    assert [(name, one.enabled, one.sample_ratio) for name, one in said.items()] == [
        ("off", False, 0.0),
        ("ids", False, 0.0),
        ("sampled", True, 0.01),
        ("all", True, 1.0),
    ]


def test_ids_are_of_one_write_each_and_so_many_are_sampled() -> None:
    found = [contexts_of(one) for one in itertools.islice(headers(0.25, 1), 4_000)]
    assert {len(one) for one in found} == {1}
    assert len({one[0].trace_id for one in found}) == 4_000
    assert 900 < sum(one[0].sampled for one in found) < 1_100
    assert not any(one[0].sampled for one in map(contexts_of, itertools.islice(headers(0, 1), 99)))


def test_ratios_are_those_of_medians() -> None:
    turns = {
        ("sync", "off"): [_Turn(1.0, 900), _Turn(9.0, 100), _Turn(2.0, 800)],
        ("sync", "all"): [_Turn(3.0, 700), _Turn(3.0, 700), _Turn(3.0, 700)],
    }
    off, everything = costs(turns)
    assert (off.cpu_ms, off.ratio, off.per_second) == (2.0, 1.0, 800)
    assert (everything.ratio, everything.rounds) == (1.5, (3.0, 3.0, 3.0))


def test_what_is_held() -> None:
    def outcome(ratio: float, *wrong: str, sent: int = 1) -> dict[str, bool]:
        cost = Cost("sync", "sampled", 1.0, 1.0, ratio, (1.0,))
        beside = Cost("sync", "all", 1.0, 1.0, 9.0, (1.0,))
        return Outcome((cost, beside), sent, wrong, "").held

    assert outcome(SAMPLED_RATIO_MAX) == {
        "sync_sampled": True,
        "correct": True,
        "spans_sent": True,
    }
    assert not outcome(SAMPLED_RATIO_MAX + 0.01)["sync_sampled"]
    assert not outcome(1.0, "status 503")["correct"]
    assert not outcome(1.0, sent=0)["spans_sent"]


def test_the_collector_is_where_the_variable_says() -> None:
    before = os.environ.get(ENDPOINT)
    with collector() as taken:
        assert httpx.post(f"{os.environ[ENDPOINT]}/v1/traces", content=b"12345").status_code == 200
    assert taken == [5]
    assert os.environ.get(ENDPOINT) == before
