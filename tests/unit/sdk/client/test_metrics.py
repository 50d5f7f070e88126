"""Every event is measured, by metrics that say what they are and name nobody."""

from __future__ import annotations

from collections import Counter
from typing import get_args

import pytest

from sdk.client import SyncClient
from sdk.client.errors import NetworkError
from sdk.client.events import (
    ClientEvent,
    FullPutOff,
    PathTaken,
    StoreSetAside,
    SyncStarted,
)
from sdk.client.metrics import METRICS, Meter, Metric, measure
from tests.unit.sdk.client.support import Scripted, entry, first

SILENT = {PathTaken, SyncStarted}
"""Told again, with more, when the sync ends."""


def test_a_sync_is_counted_as_its_report_says() -> None:
    counted: Counter[tuple[str, tuple[str, ...]]] = Counter()

    def send(metric: Metric, value: float, labels: tuple[str, ...]) -> None:
        assert len(labels) == len(metric.labels)
        counted[metric.name, labels] += value  # type: ignore[assignment]

    wire = Scripted(first(entry("a"), entry("b"), cursor="c1"), NetworkError("cut"))
    with SyncClient(user_id="u1", transport=wire, store=":memory:", on_event=Meter(send)) as client:
        report = client.sync()
        with pytest.raises(NetworkError):
            client.sync()
    assert counted["diffusion_client_syncs_total", ("full", "fresh")] == 1
    assert counted["diffusion_client_bytes_total", ("down",)] == report.bytes_down
    assert counted["diffusion_client_round_trips_total", ()] == 1
    assert counted["diffusion_client_enqueued_total", ()] == 2
    assert counted["diffusion_client_failures_total", ("NetworkError",)] == 1
    assert counted["diffusion_client_states_total", ("full",)] == 1


def test_alarms_are_counted_and_names_are_well_formed() -> None:
    assert [m[2] for m in measure(FullPutOff(1, "expired", 5))] == [("full_put_off",)]
    assert [m[2] for m in measure(StoreSetAside("p", "w", 0))] == [("store_set_aside",)]
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.name.startswith("diffusion_client_")
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert not {"user", "conversation", "device"} & set(metric.labels)
    assert set(get_args(ClientEvent)) > SILENT
