"""Workers come and go while writes flow: nothing is lost, little is done twice, nobody waits long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition

from diffusion import verify
from diffusion.processes import Child, worker
from diffusion.system import System, environment_of, wait_ready
from infra.kafka.admin import Admin
from infra.kafka.config import common
from infra.local.ports import free_ports
from schemas.changes import ReadChange
from schemas.codec import decode_change
from schemas.topics import CHANGES
from sdk.client import NetworkError
from streams.app import COMMIT_INTERVAL_S
from tests.integration.support import World, wait_until
from tests.integration.writing import USERS, WRITES_PER_SECOND, Writing

HANDOVERS = 6
"""Of stream workers: two are restarted, which takes a leave and a join each; one joins and leaves."""

REPEATED_MAX = int(HANDOVERS * COMMIT_INTERVAL_S * WRITES_PER_SECOND / 2)
"""Reads done twice: at each handover what was done since the last commit, which others repeat."""

EVENTS = "diffusion_stream_events_total"


def another(system: System, kind: str, name: str, folder: Path) -> Child:
    (port,) = free_ports(1)
    environment = environment_of(system.settings)
    return worker(kind, name, port, environment=environment, log=folder / f"{name}.log")


@contextmanager
def started(system: System, *children: Child) -> Iterator[None]:
    for child in children:
        system.processes.start(child)
    try:
        for child in children:
            name = child.name
            wait_until(lambda name=name: system.processes.answers(name), f"{name} starts")
        yield
    finally:
        for child in children:
            with suppress(KeyError):
                system.processes.retire(child.name)


def read_changes(system: System, since: dict[int, int], users: set[str]) -> int:
    """Read markers of these users in the change log since then."""
    ends = Admin(system.settings.kafka).end_offsets(CHANGES.name)
    consumer = Consumer(
        common(system.settings.kafka, "test")
        | {"group.id": "test-scale-out", "enable.auto.commit": False}
    )
    places = [TopicPartition(CHANGES.name, partition, at) for partition, at in since.items()]
    consumer.assign(places)
    left = sum(ends[partition] - at for partition, at in since.items())
    found = 0
    while left > 0:
        messages = consumer.consume(1_000, timeout=5.0)
        assert messages, f"{left} records of the change log do not come"
        for record in messages:
            assert record.error() is None
            left -= 1
            change = decode_change(record.value())
            found += isinstance(change, ReadChange) and change.users[0] in users
    consumer.close()
    return found


def test_every_process_is_restarted_and_others_join_and_leave_while_writes_flow(
    system: System, unique: Callable[[str], str], tmp_path: Path
) -> None:
    world, processes = World(system), system.processes
    since = Admin(system.settings.kafka).end_offsets(CHANGES.name)
    restarts = processes.restarts()
    with Writing(world, unique) as writing, world.device(writing.users[0]) as phone:
        phone.sync()
        for name in processes.names():
            processes.end(name)
            wait_until(lambda name=name: processes.answers(name), f"{name} is back")
            if name == "api":
                wait_ready(system.url, processes)
            with suppress(NetworkError):
                phone.sync()
        assert processes.restarts() == restarts + len(processes.names())
        more = (
            another(system, "stream-worker", "stream-worker-3", tmp_path),
            another(system, "materializer", "materializer-3", tmp_path),
        )
        with started(system, *more):
            for metric in (EVENTS, "diffusion_materializer_records_total"):
                name = "stream-worker-3" if metric is EVENTS else "materializer-3"
                wait_until(
                    lambda name=name, metric=metric: processes.counted(metric, of=name) > 0,
                    f"{name} is given work",
                )
        # They left again, still while writes flow.
        before = writing.written
        wait_until(lambda: writing.written > before + WRITES_PER_SECOND, "writes go on")
    assert writing.error is None
    system.wait_quiet()
    assert processes.counted("diffusion_stream_lag_records") == 0
    assert processes.counted("diffusion_materializer_oldest_unapplied_seconds") == 0
    with world.device(writing.users[1]) as fresh:
        fresh.sync()
        assert world.differences(fresh, writing.users[1]) == []
    verdict = verify.fresh_devices(system, world.oracle, writing.users)
    assert (verdict.differences, verdict.converged) == ([], USERS)
    repeated = read_changes(system, since, set(writing.readers)) - writing.reads
    assert 0 <= repeated <= REPEATED_MAX
