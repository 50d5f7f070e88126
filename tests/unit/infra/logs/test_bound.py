"""The bound of lines alike: some pass, the rest is counted, and nothing is told twice."""

from __future__ import annotations

from infra.logs.bound import Bound, Kind, LeftOut, kind_of

ONE, OTHER = Kind("a", 30, "x"), Kind("b", 30, "x")


def test_so_many_pass_in_a_window_and_the_rest_is_told_when_it_is_over() -> None:
    bound = Bound(lines_max=3, window_s=10)
    assert [bound.admits(ONE, 1.0) for _ in range(5)] == [True] * 3 + [False] * 2
    assert bound.over(10.9) == []
    assert bound.over(11.0) == [LeftOut(ONE, 2)]
    assert bound.over(11.0) == []
    assert bound.admits(ONE, 11.0)


def test_kinds_are_counted_apart() -> None:
    bound = Bound(lines_max=1, window_s=10)
    assert bound.admits(ONE, 0)
    assert bound.admits(OTHER, 5)
    assert not bound.admits(OTHER, 6)
    assert bound.over(10) == []
    assert bound.over(15) == [LeftOut(OTHER, 1)]


def test_a_window_in_which_nothing_was_left_out_is_not_told() -> None:
    bound = Bound(lines_max=1, window_s=10)
    bound.admits(ONE, 0)
    assert bound.over(0, all_of_them=True) == []


def test_at_the_end_all_is_told() -> None:
    bound = Bound(lines_max=1, window_s=10)
    for kind in (ONE, OTHER, ONE, OTHER, OTHER):
        bound.admits(kind, 0)
    assert bound.over(0, all_of_them=True) == [LeftOut(ONE, 1), LeftOut(OTHER, 2)]


def test_what_is_counted_is_bounded_too() -> None:
    bound = Bound(lines_max=1, window_s=10, kinds_max=5)
    told = []
    for number in range(100):
        kind = Kind("a", 30, str(number))
        told += bound.over(0)
        bound.admits(kind, 0)
        bound.admits(kind, 0)
        assert len(bound._windows) <= 5
    told += bound.over(0, all_of_them=True)
    assert [one.lines for one in told] == [1] * 100, "and nothing is forgotten untold"


def test_lines_that_differ_by_numbers_alone_are_alike() -> None:
    assert kind_of("a", 30, "node 7 at 10.0.0.1:9092") == kind_of("a", 30, "node 8 at 10.0.0.2:1")
    assert kind_of("a", 30, "node") != kind_of("a", 40, "node")
    assert kind_of("a", 30, KeyError("who")).template == "KeyError", "and no value of an object"
