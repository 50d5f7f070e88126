"""What the benchmark of growth calls flat, what it draws, and what it is filled with."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from diffusion.bench import growth_members, growth_users, growth_windows
from diffusion.bench.growth import Outcome
from diffusion.bench.growth_cost import Spent, middle
from diffusion.bench.growth_fit import (
    EXPONENT_MAX,
    RATIO_MAX,
    Point,
    Series,
    exponent,
    is_flat,
    ratio,
)
from diffusion.bench.growth_page import page
from diffusion.bench.growth_plot import PANELS, draw
from infra.settings import Settings
from schemas.cursor import Cursor, unseal
from schemas.events import MembersJoined
from schemas.partitioner import partition_of
from schemas.versions import window_start
from syncapi.auth import cursor_key

SIZES = (10, 100, 1_000, 10_000)


def series(name: str, **costs: tuple[float, ...]) -> Series:
    points = tuple(
        Point(x, {cost: values[place] for cost, values in costs.items()})
        for place, x in enumerate(SIZES)
    )
    return Series(name, "sizes", points, flat=tuple(costs))


@pytest.mark.parametrize("slope", [-0.5, 0.0, 0.1, 1.0, 2.0])
def test_the_exponent_of_a_power_is_found(slope: float) -> None:
    assert exponent([(x, 7.0 * x**slope) for x in SIZES]) == pytest.approx(slope)


def test_what_grows_with_the_size_is_not_flat_and_noise_is() -> None:
    assert not is_flat([(x, 5.0 * x) for x in SIZES])
    assert not is_flat([(x, 5.0 * x**0.2) for x in SIZES])
    assert is_flat([(x, 5.0) for x in SIZES])
    assert is_flat([(10, 5.0), (100, 4.0), (1_000, 6.0), (10_000, 5.5)])
    assert is_flat([(x, 5.0 / x) for x in SIZES])
    assert is_flat([(10, 5.0)])


def test_even_the_logarithm_of_the_size_would_be_noticed() -> None:
    from math import log

    curve = [(x, log(x)) for x in (10, 100, 1_000, 10_000, 50_000)]
    assert exponent(curve) > EXPONENT_MAX
    assert ratio(curve) > RATIO_MAX
    assert not is_flat(curve)


def test_either_the_exponent_or_the_ratio_says_that_a_cost_is_flat() -> None:
    short = [(10, 5.0), (20, 7.0)]
    assert exponent(short) > EXPONENT_MAX
    assert ratio(short) <= RATIO_MAX
    assert is_flat(short)
    one_dear = [(10, 5.0), (100, 9.0), (1_000, 5.0), (10_000, 5.0)]
    assert ratio(one_dear) > RATIO_MAX
    assert is_flat(one_dear)


def outcome() -> Outcome:
    members = series("members", cpu_us_per_mark=(30.0, 28.0, 29.0, 27.0))
    points = [
        replace(one, costs={**one.costs, "marks_per_message": float(one.x)})
        for one in members.points[:3]
    ]
    read = Point(10_000, {"read_cpu_us_per_message": 90.0, "read_marks_per_message": 1.0})
    return Outcome(
        series=(
            replace(members, points=(*points, read)),
            series("users", sync_0_cpu_ms=(1.0, 1.1, 1.0, 1.1)),
        ),
        units={"index_bytes_per_row": 90.0},
        members_max=5_000,
        seconds=600.4,
        machine="two cores",
        differences=(),
    )


def test_each_bound_is_judged_by_itself() -> None:
    good = outcome()
    assert all(good.held.values())
    steep = series("users", sync_0_cpu_ms=(1.0, 10.0, 100.0, 1_000.0))
    told = replace(
        good.series[0],
        points=(*good.series[0].points, Point(20_000, {"read_marks_per_message": 9.0})),
    )
    for broken, name in (
        (replace(good, differences=("x",)), "correct"),
        (replace(good, series=(good.series[0], steep)), "users: sync_0_cpu_ms"),
        (replace(good, series=(told, good.series[1])), "members: READ tells nobody"),
    ):
        assert [one for one, holds in broken.held.items() if not holds] == [name]


def test_the_json_has_a_point_for_each_size_and_an_exponent_for_each_cost() -> None:
    found = outcome().as_json()
    members, users = found["series"]
    assert [point["x"] for point in users["points"]] == list(SIZES)
    assert users["points"][1]["sync_0_cpu_ms"] == 1.1
    assert set(users["exponent"]) == {"sync_0_cpu_ms"}
    # Measured at one size only: there is no line through it.
    assert set(members["exponent"]) == {"cpu_us_per_mark", "marks_per_message"}
    assert found["seconds"] == 600


def test_of_several_rounds_the_median_counts() -> None:
    rounds = [Spent(10, 1.0, cpu_ms, 40.0 - cpu_ms) for cpu_ms in (30.0, 10.0, 20.0)]
    assert middle(rounds).cpu_ms == 20.0
    assert middle(rounds, by="cassandra_us").cassandra_ms == 20.0
    assert middle(rounds).wall_us == pytest.approx(100_000)


def test_every_size_of_group_tells_as_many_members() -> None:
    for size in (10, 1_000):
        plan = growth_members.Plan(size, 6_000, seed="1", members_max=1_000)
        assert len(plan.groups) * size == 6_000
        first, second = list(plan.messages(0)), list(plan.messages(1))
        assert len({one.conversation_id for one in first}) == len(first) == len(plan.groups)
        assert {one.seq for one in first} == {1}
        assert {one.seq for one in second} == {2}
        joined = Counter(user for join in plan.joins() for user in join.user_ids)
        assert sum(joined.values()) == 6_000
        assert all(isinstance(join, MembersJoined) for join in plan.joins())


def test_groups_that_are_read_get_messages_in_turns() -> None:
    plan = growth_members.Plan(2_000, 6_000, seed="1", members_max=1_000)
    messages = [one for number in range(2) for one in plan.messages(number)]
    by_group: dict[str, list[int]] = {}
    for one in messages:
        by_group.setdefault(one.conversation_id, []).append(one.seq)
    assert len(by_group) == 3
    assert len(messages) >= 2 * growth_members.READ_EVENTS
    assert all(seqs == list(range(1, len(seqs) + 1)) for seqs in by_group.values())


def test_rows_are_as_many_at_every_number_of_users_and_none_is_of_who_syncs() -> None:
    for size in (1_000, 100_000):
        rows = [
            (user, one.conversation_id)
            for one in growth_users.spread(size, 0, 2_560, seed=1)
            for user in one.users
        ]
        assert len(set(rows)) == len(rows) == 2_560
        quiet = growth_users.sampled(size)
        assert len(set(quiet)) == growth_users.SAMPLED
        assert not {user for user, _ in rows} & set(quiet)
    smaller = {growth_users.user(number) for number in range(1_000)}
    assert not smaller & set(growth_users.sampled(10_000))


def test_a_cursor_from_the_past_stands_in_the_middle_of_the_windows() -> None:
    settings = Settings()
    partitions = settings.kafka.change_partitions
    names = growth_windows.users(partitions)
    assert {partition_of(one, partitions) for one in names} == {growth_windows.PARTITION}
    past = growth_windows.Past(names[0], 6, settings, epoch=1)
    cursor = unseal(past.cursor(), Cursor, cursor_key(settings.api))
    assert cursor.window_ms == past.window_ms(2)
    assert cursor.window_ms == window_start(cursor.window_ms, settings.log.window_ms)
    assert past.rows_since == 3 * growth_windows.ROWS_PER_WINDOW == len(past.changed_since())


def test_a_picture_is_drawn_of_all_series(tmp_path: Path) -> None:
    found = outcome().as_json()
    names = {name: panel.costs for name, panel in PANELS.items()}
    found["series"] = [
        series(name, **dict.fromkeys(costs, (1.0, 1.1, 1.2, 1.0))).as_json()
        for name, costs in names.items()
    ]
    draw(found, tmp_path / "docs" / "growth.png")
    head = (tmp_path / "docs" / "growth.png").read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(head[16:20], "big") == 1_200


def test_a_page_has_a_table_for_each_series_and_what_was_judged() -> None:
    text = page(outcome().as_json(), "growth.png")
    assert "](growth.png)" in text
    assert "| sizes | 10 | 100 | 1,000 | 10,000 | exponent |" in text
    assert "| `sync_0_cpu_ms` \\* | 1 | 1.1 | 1 | 1.1 | +0.01 |" in text
    assert "| `read_cpu_us_per_message` |  |  |  | 90 |  |" in text
    assert "| correct | yes |" in text
    assert "`index_bytes_per_row` | 90 |" in text
