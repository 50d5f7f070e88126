"""The tap on real servers: records made with OpenIM's own protocol package, to devices of its users.

The maker (`tests/openim/maker`) needs Go and its modules; without them these tests are skipped. How
many records: `OPENIM_RECORDS` (20,000; by hand 100,000).
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from diffusion import verify
from diffusion.processes import Child
from diffusion.system import System, environment_of
from infra.kafka.admin import Admin
from infra.local.ports import free_ports
from infra.openim_settings import OpenimSettings
from schemas.topics import OPENIM_RECORDS, dead_letters
from sdk.backend import WriteProducer
from tests.integration.support import World, make_topic, wait_until
from tests.openim.meaning import GOLDEN, Story, story

MAKER = Path(__file__).parents[1] / "openim" / "maker"
RECORDS = int(os.environ.get("OPENIM_RECORDS", "20000"))
PARTITIONS = 8
"""As OpenIM's compose file makes its topics."""

USERS = 400
BUILD_TIMEOUT_S = 600
PATIENCE_S = 600.0
NAME = "openim-tap"


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    go = shutil.which("go")
    if go is None:
        pytest.skip("Go is not installed: no records can be made with OpenIM's package")
    program = tmp_path_factory.mktemp("maker") / "maker"
    built = subprocess.run(
        [go, "build", "-o", str(program), "."],
        cwd=MAKER,
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT_S,
    )
    if built.returncode:
        pytest.skip(f"OpenIM's package cannot be had: {built.stderr[-500:]}")
    return program


def made(maker: Path, *, records: int, users: int) -> bytes:
    arguments = ["-records", str(records), "-users", str(users)]
    return subprocess.run([maker, *arguments], capture_output=True, check=True).stdout


def test_the_golden_records_are_what_the_maker_makes(maker: Path) -> None:
    with gzip.open(GOLDEN) as lines:
        assert made(maker, records=2_000, users=60) == lines.read()


@pytest.fixture
def tapped(system: System, tmp_path: Path) -> Iterator[tuple[System, OpenimSettings]]:
    """The system with a tap beside it, on a topic of its own in the same Kafka."""
    kafka = system.settings.kafka.bootstrap_servers
    openim = OpenimSettings(
        bootstrap_servers=kafka,
        topic="toPush",
        history_for_new_members=False,
        # Small, so that there are many commits to be killed between.
        batch_records=500,
        metrics_port=free_ports(1)[0],
    )
    make_topic(kafka, openim.topic, PARTITIONS)
    settings = system.settings.model_copy(update={"openim": openim})
    child = Child(
        NAME,
        (NAME,),
        environment_of(settings),
        tmp_path / "tap.log",
        f"http://127.0.0.1:{openim.metrics_port}/metrics",
    )
    system.processes.start(child)
    yield system, openim
    system.processes.retire(NAME)


def send(told: Story, openim: OpenimSettings, killed_at: set[int], system: System) -> list[int]:
    """Write the records as OpenIM's producer does, by FNV-1a of the key; kill the tap on the way.

    How many records it had not committed each time.
    """
    behind: list[int] = []
    producer = Producer(
        {
            "bootstrap.servers": openim.bootstrap_servers,
            "partitioner": "fnv1a_random",
            "enable.idempotence": True,
            "linger.ms": 5,
        }
    )
    for number, record in enumerate(told.records):
        while True:
            try:
                producer.produce(openim.topic, record.value, record.key)
                break
            except BufferError:
                producer.poll(0.1)
        if number in killed_at:
            producer.flush()
            wait_until(lambda: counted(system) > 0, "the tap tells", PATIENCE_S)
            with Admin(system.settings.kafka) as admin:
                behind.append(admin.lag(openim.group, [openim.topic]))
            system.processes.kill(NAME)
    producer.flush()
    return behind


def counted(system: System) -> float:
    return system.processes.counted("diffusion_openim_records_total", of=NAME)


def test_states_are_those_that_the_maker_meant(
    maker: Path, tapped: tuple[System, OpenimSettings]
) -> None:
    system, openim = tapped
    told = story(made(maker, records=RECORDS, users=USERS).splitlines(), history=False)
    world = World(system)
    with WriteProducer(system.settings.kafka.bootstrap_servers) as producer:
        for event in told.before:
            producer.send(event)
    system.wait_quiet()
    world.oracle.replay(told.before + told.meant)
    dead_before = letters(system)
    restarts = system.processes.restarts()
    began = time.monotonic()
    behind = send(told, openim, {RECORDS * part // 10 for part in (3, 5, 7)}, system)
    with Admin(system.settings.kafka) as admin:
        wait_until(lambda: admin.lag(openim.group, [openim.topic]) == 0, "all told", PATIENCE_S)
    told_s = time.monotonic() - began
    system.wait_quiet()
    settled_s = time.monotonic() - began
    assert system.processes.restarts() >= restarts + 3
    assert max(behind) > 0, "it was killed while it had work to do"
    users = sorted(world.oracle.users())
    verdict = verify.fresh_devices(system, world.oracle, users)
    print(
        f"{len(told.records):,} records told in {told_s:.1f} s, readable in {settled_s:.1f} s, "
        f"{verdict.converged:,} of {verdict.checked:,} users agree"
    )
    assert verdict.differences == []
    assert verdict.converged == verdict.checked >= USERS
    # Each that is broken is a letter; those of a batch that was repeated, once more.
    assert letters(system) - dead_before >= told.broken > 0


def letters(system: System) -> int:
    with Admin(system.settings.kafka) as admin:
        return sum(admin.end_offsets(dead_letters(OPENIM_RECORDS)).values())
