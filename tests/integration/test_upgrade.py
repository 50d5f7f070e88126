"""Programs of two releases side by side: a rolling upgrade, and the way back, while writes flow.

The older ones are the sources of a commit, taken from the history and run as they were.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Self

import orjson
import pytest

from diffusion import verify
from diffusion.migrate import migrate
from diffusion.processes import Child, Processes, worker
from diffusion.system import System, environment_of, wait_ready
from infra.cassandra.schema import SCHEMA_COMPAT_VERSION, SCHEMA_VERSION
from infra.cassandra.session import Session
from infra.local.ports import free_ports
from infra.settings import CassandraSettings
from schemas import ids
from schemas.events import (
    ConversationCleared,
    ConversationDeleted,
    ConversationSettings,
    DiffusionOverride,
    MembersJoined,
    MembersLeft,
    Message,
    Read,
    UserConversationSettings,
    WriteEvent,
)
from sdk.client import NetworkError
from tests.integration.support import NOW_MS, World, wait_until
from tests.integration.writing import WRITES_PER_SECOND, Writing

PREVIOUS: Final = "f84a49909a5584d922dafe6eca90be186555e710"
"""The commit that stands for the release before this one: of the same major version, and with
tables of this version or the one before."""

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("schemas", "infra", "streams", "consumers", "syncapi", "sdk", "diffusion")
WORK: Final = {
    "stream-worker": "diffusion_stream_events_total",
    "materializer": "diffusion_materializer_records_total",
}


NAMES: Final = """
from infra.settings import Settings
for section, field in Settings.model_fields.items():
    for name in field.annotation.model_fields:
        print(f"DIFFUSION_{section}_{name}".upper())
"""


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the older sources."""
    archive = subprocess.run(
        ["git", "archive", PREVIOUS, *PACKAGES], cwd=ROOT, capture_output=True, check=False
    )
    if archive.returncode != 0:
        pytest.skip(
            f"commit {PREVIOUS} is not in this clone: fetch the history to run two versions"
        )
    folder = tmp_path_factory.mktemp("previous")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")
    return folder


class Rolling:
    """The processes of a system, each of the present or of the older sources. Use it as a context
    manager: at its end all are of the present ones.
    """

    def __init__(self, system: System, previous: Path) -> None:
        self.system = system
        self.environment = environment_of(system.settings)
        # The current folder, which has the present sources, would come first otherwise.
        older = {"PYTHONPATH": str(previous), "PYTHONSAFEPATH": "1"}
        known = known_to(older)
        self.older = {
            name: self.environment[name] for name in known & set(self.environment)
        } | older
        self._are_older: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name in sorted(self._are_older):
            self._start(name, older=False)

    @property
    def processes(self) -> Processes:
        return self.system.processes

    def put(self, name: str, *, older: bool) -> None:
        """Run it by these sources in place of what runs, and wait until it works."""
        self._start(name, older=older)
        if name == "api":
            wait_ready(self.system.url, self.processes)
        else:
            metric = WORK[kind_of(name)]
            wait_until(lambda: self.processes.counted(metric, of=name) > 0, f"{name} works")

    def _start(self, name: str, *, older: bool) -> None:
        (self._are_older.add if older else self._are_older.discard)(name)
        log = self.processes.log(name)
        self.processes.retire(name)
        environment = self.older if older else self.environment
        if name == "api":
            url = f"{self.system.url}/metrics"
            child = Child(name, ("api",), environment, log, url)
        else:
            (port,) = free_ports(1)
            child = worker(kind_of(name), name, port, environment=environment, log=log)
        self.processes.start(child)

    def older_command(self, *arguments: str) -> Any:
        """What a command of the older sources prints as JSON."""
        done = self.run([*arguments, "--json"], self.older)
        assert done.returncode == 0, done.stderr
        return orjson.loads(done.stdout)

    @staticmethod
    def run(
        arguments: list[str], environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "diffusion", *arguments],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


def known_to(sources: Mapping[str, str]) -> set[str]:
    """Variables of the settings that these sources know: a program refuses any other, so each
    release is configured in its own words.
    """
    told = subprocess.run(
        [sys.executable, "-c", NAMES],
        env={**os.environ, **sources},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(told.stdout.split())


def kind_of(name: str) -> str:
    """The command that a process runs: its name without a number."""
    return name.rpartition("-")[0] or name


@contextmanager
def tables_of_the_next_release(settings: CassandraSettings) -> Iterator[None]:
    """Tables as the next release may leave them: more columns, one more table, one version more."""
    session = Session(settings)
    keyspace = settings.keyspace
    version = f"INSERT INTO {keyspace}.schema_versions (id, version, compat_version) VALUES"
    try:
        for table in ("inbox", "conversation_heads", "changes_by_user", "members_by_conversation"):
            session.run_ddl(f"ALTER TABLE {keyspace}.{table} ADD IF NOT EXISTS (colour text)")
        session.run_ddl(f"CREATE TABLE IF NOT EXISTS {keyspace}.colours (id int PRIMARY KEY)")
        session.run_ddl(f"{version} (1, {SCHEMA_VERSION + 1}, {SCHEMA_COMPAT_VERSION})")
        yield
    finally:
        session.run_ddl(f"{version} (1, {SCHEMA_VERSION}, {SCHEMA_COMPAT_VERSION})")
        session.close()


def step_events(unique: Callable[[str], str], step: int) -> list[WriteEvent]:
    """One of each kind, on state that an earlier step, and so perhaps another release, has left."""
    people = [unique(f"step{number}") for number in range(6)]
    room, busy = ids.group(unique("stepped")), ids.group(unique("busy"))
    ann, bob, eve = people[:3]
    at_ms, seq = NOW_MS + step * 1_000, 2 * step
    joining = people[5:] if step else people
    everybody = [] if step else [MembersJoined(busy, tuple(people), seq, at_ms)]
    override: DiffusionOverride = "always_write" if step % 2 else "always_read"
    return [
        MembersJoined(room, tuple(joining), seq, at_ms, history=step % 2 == 0),
        *everybody,
        ConversationSettings(busy, override),
        *(
            Message(one, seq + more, people[step % 6], at_ms + more)
            for more in (1, 2)
            for one in (room, busy)
        ),
        MembersLeft(room, (people[5],), seq + 2, at_ms + 3, "quit"),
        Read(ann, room, seq + 1),
        Read(ann, busy, seq + 1),
        UserConversationSettings(bob, room, pinned=step % 2 == 0),
        UserConversationSettings(bob, busy, muted=step % 2 == 1),
        ConversationCleared(eve, room, seq + 1),
        ConversationDeleted(people[4], busy, seq + 2, at_ms + 4),
    ]


def test_a_rolling_upgrade_and_the_way_back_while_writes_flow(
    system: System, previous: Path, unique: Callable[[str], str], tmp_path: Path
) -> None:
    rolling, names = Rolling(system, previous), sorted(system.processes.names())
    # Materializers, then stream workers, then the API: the order of docs/upgrades.md.
    kinds = ("materializer", "stream-worker", "api")
    order = [name for kind in kinds for name in names if kind_of(name) == kind]
    world, stepping = World(system), World(system)
    steps = iter(range(100))

    def step(name: str, *, older: bool) -> None:
        rolling.put(name, older=older)
        stepping.write(*step_events(unique, next(steps)), settle=False)
        with suppress(NetworkError):
            phone.sync()

    with (
        rolling,
        Writing(world, unique) as writing,
        world.device(writing.users[0]) as phone,
    ):
        # The way back: what the present programs wrote is read by the older ones.
        for name in reversed(order):
            step(name, older=True)
        user, store = writing.users[1], tmp_path / "older.db"
        first = rolling.older_command("sync", user, "--store", str(store), "--limit", "100")
        assert first["report"]["path"] == "full"
        with tables_of_the_next_release(system.settings.cassandra):
            # Nothing is taken back by a program that knows less.
            migrate(system.settings, lambda _: None)
            for name in order:
                step(name, older=False)
            before = writing.written
            wait_until(lambda: writing.written > before + WRITES_PER_SECOND, "writes go on")
    assert writing.error is None
    system.wait_quiet()
    people = [unique(f"step{number}") for number in range(6)]
    for one, users in ((world, writing.users), (stepping, people)):
        verdict = verify.fresh_devices(system, one.oracle, users)
        assert (verdict.differences, verdict.converged) == ([], len(users))
    with world.device(user, store) as upgraded:
        assert upgraded.sync().path == "delta"
        assert world.differences(upgraded, user) == []
        shown = {one.conversation_id: one.unread for one in upgraded.conversations(limit=100)}
    older = rolling.older_command("sync", user, "--limit", "100")
    assert {one["conversation_id"]: one["unread"] for one in older["conversations"]} == shown
    assert len(shown) == len(writing.rooms)


def test_the_older_programs_are_those_of_the_history(system: System, previous: Path) -> None:
    rolling = Rolling(system, previous)
    done = subprocess.run(
        [sys.executable, "-c", "import streams, infra, schemas; print(streams.__file__)"],
        env={**os.environ, **rolling.older},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(done.stdout.strip()).is_relative_to(previous)
