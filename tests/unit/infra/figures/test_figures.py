"""Every figure comes from a metric that is declared, and from the right one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from infra import metrics
from infra.figures import figures as module
from infra.figures.counting import START, Pair, Seen, Window
from infra.figures.figures import ProcessFigures, answering, figures, is_ours

SOURCE = Path(module.__file__).read_text()
SAMPLES = {sample for one in metrics.declared() for sample in one.samples()}
HISTOGRAMS = {one.name for one in metrics.declared() if one.kind == "histogram"}


def looks(**told: tuple[float, float]) -> Window:
    """A process seen twice, two seconds apart; names with their labels: `name__label__value`."""
    samples = []
    for place in range(2):
        found: dict[str, list[tuple[dict[str, str], float]]] = {}
        for text, values in told.items():
            name, *labels = text.split("__")
            has = dict(zip(labels[::2], labels[1::2], strict=True))
            found.setdefault(name, []).append((has, values[place]))
        samples.append(found)
    return Window([Pair(Seen(12.0, samples[1]), Seen(10.0, samples[0]))])


def test_all_names_are_declared() -> None:
    asked = set(re.findall(r"\"(diffusion_\w+)\"", SOURCE))
    assert len(asked) > 20
    assert asked <= SAMPLES | HISTOGRAMS


def test_volume() -> None:
    window = looks(
        diffusion_stream_events_total__type__message=(100, 120),
        diffusion_stream_events_total__type__read=(10, 30),
        diffusion_stream_marks_total__kind__message=(0, 400),
        diffusion_materializer_rows_total__table__inbox=(0, 10),
        diffusion_materializer_rows_total__table__changes_by_user=(0, 90),
        diffusion_stream_saved_marks_total=(5, 7),
        diffusion_stream_folded_marks_total=(0, 4),
        diffusion_materializer_coalesced_marks_total=(0, 6),
        diffusion_stream_changes_total__kind__message=(0, 8),
    )
    volume = figures(window, (), 0).volume
    assert volume.events_per_s == 20
    assert volume.events_by_type == {"message": 10, "read": 10}
    assert (volume.marks_per_s, volume.marks_per_event) == (200, 10)
    assert (volume.rows_per_s, volume.rows_per_event) == (50, 2.5)
    assert volume.rows_by_table == {"inbox": 5, "changes_by_user": 45}
    assert (volume.saved_per_s, volume.folded_per_s, volume.coalesced_per_s) == (1, 2, 3)
    assert volume.changes_per_s == 4
    assert (volume.events_total, volume.marks_total, volume.rows_total) == (150, 400, 100)
    assert (volume.saved_total, volume.folded_total, volume.coalesced_total) == (7, 4, 6)


def test_what_an_event_costs_is_not_known_without_events() -> None:
    window = looks(
        diffusion_stream_events_total__type__message=(100, 100),
        diffusion_stream_marks_total__kind__message=(0, 400),
    )
    assert figures(window, (), 0).volume.marks_per_event is None


def test_lateness_is_that_of_the_latest_and_dead_letters_are_those_of_both_stages() -> None:
    window = looks(
        diffusion_stream_lag_records__topic__a=(0, 3),
        diffusion_stream_lag_records__topic__b=(0, 4),
        diffusion_stream_oldest_undone_seconds__topic__a=(0, 2.5),
        diffusion_stream_oldest_undone_seconds__topic__b=(0, 1.5),
        diffusion_materializer_lag_records=(9, 8),
        diffusion_materializer_oldest_unapplied_seconds=(9, 7.5),
        diffusion_stream_dead_letters_total__topic__a=(1, 2),
        diffusion_materializer_dead_letters_total=(0, 5),
    )
    late = figures(window, (), 0).lateness
    assert (late.stream_records, late.stream_oldest_s) == (7, 2.5)
    assert (late.change_records, late.change_oldest_s) == (8, 7.5)
    assert (late.dead_letters_total, late.dead_letters_per_s) == (7, 3)


def test_syncs_by_path_and_by_the_reason_that_is_one() -> None:
    window = looks(
        diffusion_api_syncs_total__path__delta__reason__none=(0, 20),
        diffusion_api_syncs_total__path__full__reason__fresh=(0, 4),
        diffusion_api_errors_total__status__401=(0, 2),
        diffusion_api_errors_total__status__503=(0, 6),
        diffusion_api_answer_bytes_sum__path__delta=(0, 1_000),
        diffusion_api_answer_bytes_count__path__delta=(0, 10),
        diffusion_api_pokes_total__outcome__sent=(0, 8),
        diffusion_api_pokes_total__outcome__coalesced=(0, 80),
    )
    sync = figures(window, (), 0).sync
    assert sync.by_path == {"delta": 10, "full": 2}
    assert sync.by_reason == {"fresh": 2}
    assert (sync.answers_per_s, sync.answers_total) == (12, 24)
    assert (sync.refused_per_s, sync.failed_per_s) == (1, 3)
    assert (sync.answer_bytes, sync.bytes_per_s) == (100, 500)
    assert sync.pokes_per_s == 4


def test_without_a_process_nothing_is_known() -> None:
    found = figures(Window([]), (), 7, "Nobody is here.")
    assert found.volume.events_per_s is None
    assert found.sync.refused_per_s is None
    assert found.tap is None
    assert found.seconds is None
    assert (found.at_ms, found.missing) == (7, "Nobody is here.")


def test_there_is_a_tap_where_one_counts() -> None:
    window = looks(
        diffusion_openim_lag_records=(9, 4),
        diffusion_openim_records_total__content__chat__outcome__told=(0, 6),
        diffusion_openim_oldest_untold_seconds=(0, 1),
    )
    tap = figures(window, (), 0).tap
    assert tap is not None
    assert (tap.records_per_s, tap.lag_records, tap.oldest_s) == (3, 4, 1)


@pytest.mark.parametrize(("stopped", "state"), [(0, "up"), (1, "stopped")])
def test_a_process_that_stands_says_what_to_do(stopped: float, state: str) -> None:
    samples = {
        START: [({}, 100.0)],
        "diffusion_process_stopped": [({}, stopped)],
        "process_resident_memory_bytes": [({}, 5e7)],
        "process_cpu_seconds_total": [({}, 8.0)],
    }
    before = samples | {"process_cpu_seconds_total": [({}, 7.0)]}
    pair = Pair(Seen(12, samples), Seen(10, before))
    found = answering("api", "api", "here:1", pair, at_ms=160_000)
    assert (found.state, found.uptime_s, found.cores, found.resident_bytes) == (state, 60, 0.5, 5e7)
    assert bool(found.problem) == bool(found.advice) == bool(stopped)
    assert is_ours(samples)
    assert not is_ours({START: [({}, 100.0)]})


def test_processes_are_handed_on() -> None:
    one = ProcessFigures(name="api", program="api", state="down")
    assert figures(Window([]), [one], 0).processes == (one,)
