"""Numbers about a client, made of its events: a hook for whatever an app counts with. Pure.

    client = SyncClient(url, token=token, on_event=Meter(send))

`send` is called with the metric, the value, and the values of its labels in their order: add to a
counter, or observe in a histogram. No label names a user or a conversation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Literal

from msgspec import Struct

from sdk.client.events import (
    ClientEvent,
    FullPutOff,
    PageApplied,
    StateChanged,
    StoreSetAside,
    SyncFailed,
    SyncFinished,
)


class Metric(Struct, frozen=True):
    """A number with a name, as Prometheus and OpenTelemetry know them."""

    name: str
    kind: Literal["counter", "histogram"]
    labels: tuple[str, ...]
    help: str


SYNCS: Final = Metric(
    "diffusion_client_syncs_total", "counter", ("path", "reason"), "Syncs that were completed."
)
FAILURES: Final = Metric(
    "diffusion_client_failures_total", "counter", ("error",), "Syncs that failed, by error."
)
SYNC_SECONDS: Final = Metric(
    "diffusion_client_sync_seconds", "histogram", ("path",), "How long completed syncs took."
)
ROUND_TRIPS: Final = Metric(
    "diffusion_client_round_trips_total", "counter", (), "Answers of completed syncs."
)
BYTES: Final = Metric(
    "diffusion_client_bytes_total", "counter", ("direction",), "Bytes of completed syncs."
)
ENQUEUED: Final = Metric(
    "diffusion_client_enqueued_total", "counter", (), "Entries put into the pending queue."
)
CONVERSATIONS: Final = Metric(
    "diffusion_client_conversations_total", "counter", ("path",), "Conversations in answers."
)
STATES: Final = Metric(
    "diffusion_client_states_total", "counter", ("state",), "Times that a state was entered."
)
ALARMS: Final = Metric(
    "diffusion_client_alarms_total",
    "counter",
    ("alarm",),
    "Full corrections put off, and stores set aside.",
)

METRICS: Final = (
    SYNCS,
    FAILURES,
    SYNC_SECONDS,
    ROUND_TRIPS,
    BYTES,
    ENQUEUED,
    CONVERSATIONS,
    STATES,
    ALARMS,
)

Measured = tuple[Metric, float, tuple[str, ...]]


def measure(event: ClientEvent) -> Iterator[Measured]:
    """Say what an event adds to which metric."""
    match event:
        case SyncFinished(_, report):
            yield SYNCS, 1, (report.path, report.reason or "")
            yield SYNC_SECONDS, report.seconds, (report.path,)
            yield ROUND_TRIPS, report.round_trips, ()
            yield BYTES, report.bytes_up, ("up",)
            yield BYTES, report.bytes_down, ("down",)
        case SyncFailed(_, error, _):
            yield FAILURES, 1, (type(error).__name__,)
        case PageApplied(_, path, conversations, enqueued, _, _):
            yield CONVERSATIONS, conversations, (path,)
            yield ENQUEUED, enqueued, ()
        case StateChanged(_, after):
            yield STATES, 1, (after.value,)
        case FullPutOff():
            yield ALARMS, 1, ("full_put_off",)
        case StoreSetAside():
            yield ALARMS, 1, ("store_set_aside",)


class Meter:
    """A listener (`on_event`) that hands over what events measure.

    >>> def send(metric, value, labels):
    ...     if metric is SYNCS:
    ...         print(metric.name, value, labels)
    >>> with SyncClient(url, token=token, store="im.db", on_event=Meter(send)) as client:
    ...     report = client.sync()
    diffusion_client_syncs_total 1 ('full', 'fresh')
    """

    def __init__(self, send: Callable[[Metric, float, tuple[str, ...]], None]) -> None:
        self._send = send

    def __call__(self, event: ClientEvent) -> None:
        """Hand over what this event measures."""
        for metric, value, labels in measure(event):
            self._send(metric, value, labels)
