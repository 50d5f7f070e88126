"""What the documents tell people to type works: every command and every block of code.

Shell blocks are run as they stand, line by line, by bash, in a folder that looks like a checkout
and against the servers of the tests. Long benchmarks are run by the command line itself in a
smaller size. How each command is tested is the table `tests/documented.py`, which
`tests/unit/documents` holds complete.
"""

from __future__ import annotations

import gzip
import importlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from confluent_kafka.admin import AdminClient

from diffusion.cli import app
from diffusion.demo import own_servers
from diffusion.dlq import DeadLetters, topic_of
from diffusion.local import managed
from diffusion.system import System, environment_of
from infra.local.ports import free_ports
from infra.settings import Settings
from schemas.codec import encode_event
from schemas.events import Message, Read
from sdk.backend import WriteProducer
from tests import documents
from tests.documented import CODE, TABLE, Reduced, Run, Started
from tests.integration.support import NOW_MS, wait_until
from tests.integration.test_dlq import put

ROOT = Path(__file__).parents[2]
BASH_TIMEOUT_S = 120
LETTERS = 3
"""Dead letters that wait, of each topic whose letters the documents show, replay and drop."""

REPLAYED, SHOWN = 77_000_001, 78_000_001
"""The first numbers of the people in small traces; nobody else in the tests has them."""

SECRET = "only-for-the-tests-of-the-documents"


def trace(path: Path, header: str, rows: list[tuple[int, int, int]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "\n".join(",".join(map(str, row)) for row in rows)
    path.write_bytes(gzip.compress(f"{header}\n{lines}\n".encode()))


def write_traces(folder: Path, first: int) -> None:
    """Small ones of both kinds, of twenty people."""
    began_s = 1_082_040_961
    private = [
        (first + number % 20, first + (number * 7 + 3) % 20, began_s + number * 60)
        for number in range(300)
        if number % 20 != (number * 7 + 3) % 20
    ]
    group = [(first, first + number % 9, began_s + number * 30) for number in range(200)]
    trace(folder / "private_messages.csv.gz", "sender,recipient,sent_at_s", private)
    trace(folder / "group_messages.csv.gz", "group,sender,sent_at_s", group)


class Checkout:
    """A folder that looks like a checkout, in which bash runs what the documents say."""

    def __init__(self, system: System, folder: Path) -> None:
        self.system, self.folder = system, folder
        self.run_at: dict[str, str] = {}
        self.last_letters = letters(system)
        self.environment = os.environ | environment_of(system.settings)
        self._script(folder / "dev", f'exec {shlex.quote(sys.executable)} -m diffusion "$@"')
        self._script(folder / ".venv/bin/python", f'exec {shlex.quote(sys.executable)} "$@"')
        (folder / "infra").symlink_to(ROOT / "infra")
        write_traces(folder / "tests/data", REPLAYED)
        (folder / "etc/prometheus").mkdir(parents=True)
        for name in ("ca.pem", "api.pem", "api.key"):
            self._file(folder / "etc/im" / name, "")
        imported = [
            one.text for one in documents.blocks("json") if one.document == "docs/import.md"
        ]
        self._file(folder / "conversations.ndjson", "".join(imported))
        (first,) = (
            one.text for one in documents.blocks("python") if one.document == "docs/start.md"
        )
        self._file(folder / "first.py", self.here(first))

    @staticmethod
    def _file(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def _script(self, path: Path, line: str) -> None:
        self._file(path, f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)

    def here(self, text: str) -> str:
        """The names of the documents' servers, files and secrets replaced by ones that are here."""
        settings = self.system.settings
        servers = settings.kafka.bootstrap_servers
        for theirs, ours in {
            "kafka-1:9092,kafka-2:9092": servers,
            "127.0.0.1:19092": servers,
            "10.0.0.5,10.0.0.6": settings.cassandra.contact_points,
            "CASSANDRA_PORT=9042": f"CASSANDRA_PORT={settings.cassandra.port}",
            "DATACENTER=dc1": f"DATACENTER={settings.cassandra.local_datacenter}",
            "REPLICATION_FACTOR=3": "REPLICATION_FACTOR=1",
            "SECRET=...": f"SECRET={SECRET}",
            "PASSWORD=...": f"PASSWORD={SECRET}",
            ", ...}": "}",
            "/etc/": f"{self.folder}/etc/",
            "sync 1000000009": f"sync {1_000_000_000 + REPLAYED}",
        }.items():
            text = text.replace(theirs, ours)
        for topic, number in self.last_letters.items():
            text = re.sub(rf"\b({topic} (?:--upto )?)\d+", rf"\g<1>{number}", text)
        return text

    def bash(self, *lines: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", "\n".join(map(self.here, lines))],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=BASH_TIMEOUT_S,
        )

    def start_and_end(self, how: Started, *lines: str) -> None:
        """Start it, wait until each process is ready, and end all of them by SIGTERM."""
        base = consecutive_ports(how.processes)
        environment = self.environment | {how.port: str(base)}
        text = "\n".join([*lines[:-1], f"exec {lines[-1]}"])
        running = subprocess.Popen(
            ["bash", "-c", self.here(text)],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            for port in range(base, base + how.processes):
                wait_until(lambda port=port: is_ready(port), f"{lines[-1]} at {port} is ready")
            assert running.poll() is None
            running.send_signal(signal.SIGTERM)
            running.communicate(timeout=BASH_TIMEOUT_S)
            wait_until(lambda: not any(map(is_ready, range(base, base + how.processes))), "ended")
        finally:
            running.kill()
            running.communicate()


def consecutive_ports(count: int) -> int:
    for base in iter(lambda: free_ports(1)[0], None):
        try:
            for port in range(base, base + count):
                socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return base
    raise AssertionError


def is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def checkout(system: System, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    made = Checkout(system, tmp_path_factory.mktemp("checkout"))
    for block in documents.blocks("python"):
        run_code(block, made)
    made.bash(".venv/bin/python first.py").check_returncode()
    system.wait_quiet()
    return made


def run_code(block: documents.Block, here: Checkout) -> None:
    """Code of a backend; that of `docs/start.md` is run as the file that it says."""
    name = f"{block.document}: {block.text.splitlines()[0]}"
    if CODE[name] != "run" or block.document == "docs/start.md":
        return
    servers = here.system.settings.kafka.bootstrap_servers
    outbox = Outbox()
    given = {
        "WriteProducer": WriteProducer,
        "servers": servers,
        "outbox": outbox,
        "request": REQUEST,
    }
    exec(compile(here.here(block.text), name, "exec"), given)
    if "outbox" in block.text:
        assert outbox.waiting == []


REQUEST = SimpleNamespace(
    headers={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
)
"""What a backend is asked, as `docs/tracing.md` uses one."""


class Outbox:
    """A table of events that a backend has yet to tell, as `docs/feed.md` uses one."""

    def __init__(self) -> None:
        self.waiting = [
            Message("si_olga_omar", seq, "olga", NOW_MS, ("olga", "omar")) for seq in (1, 2, 3)
        ]

    def next(self, count: int) -> list[Message]:
        return self.waiting[: min(count, 2)]

    def done(self, batch: list[Message]) -> None:
        del self.waiting[: len(batch)]


def letters(system: System) -> dict[str, int]:
    """Put some dead letters that can be used behind what other tests left, which is let go; the
    numbers of the last ones.
    """
    found, last = DeadLetters(system.settings.kafka), {}
    for name, event in (
        ("conversation-writes", Message("si_olga_omar", 4, "olga", NOW_MS, ("olga", "omar"))),
        ("user-writes", Read("omar", "si_olga_omar", 1)),
    ):
        topic = topic_of(name)
        found.drop(topic, found.line(topic).end)
        for _ in range(LETTERS):
            put(system, topic, encode_event(event))
        last[name] = found.line(topic).end - 1
    found.close()
    return last


def is_run_here(text: str) -> bool:
    return text.startswith("export ") or isinstance(
        TABLE[text.removesuffix("&").rstrip()], Run | Started
    )


BLOCKS = [
    (block, commands)
    for block, commands in documents.shell_blocks()
    if any(is_run_here(one.text) for one in commands)
]


@pytest.mark.parametrize(
    ("block", "commands"), BLOCKS, ids=[f"{block.document}:{block.line}" for block, _ in BLOCKS]
)
def test_a_block_runs(
    checkout: Checkout, block: documents.Block, commands: list[documents.Command]
) -> None:
    exports: list[str] = []
    for command in commands:
        text = command.text.removesuffix("&").rstrip()
        if text.startswith("export "):
            exports.append(text)
            continue
        how = TABLE[text]
        here = f"{block.document}:{block.line}"
        if not exports and checkout.run_at.setdefault(text, here) != here:
            continue  # run already, in another block
        if isinstance(how, Started):
            checkout.start_and_end(how, *exports, text)
        elif isinstance(how, Run):
            done = checkout.bash(*exports, text)
            assert done.returncode == how.code, f"{command.place}: {text}\n{done.stderr}"
            assert how.says in done.stdout + done.stderr, f"{command.place}: {done.stdout}"
            assert "Traceback" not in done.stderr
    if exports:
        exported_settings_are_taken(checkout, exports)


def exported_settings_are_taken(checkout: Checkout, exports: list[str]) -> None:
    """Every variable that is exported is a setting, and its value fits."""
    done = checkout.bash(*exports, "./dev settings --json")
    assert done.returncode == 0, done.stderr
    sections = orjson.loads(done.stdout)
    known = {one["variable"]: one["value"] for some in sections.values() for one in some.values()}
    names = re.findall(r"\b(DIFFUSION_[A-Z_]+)=", " ".join(exports))
    assert names
    for name in names:
        assert known[name] not in (None, "", "not set"), name


def test_nothing_that_is_run_here_stops_the_servers_of_the_tests() -> None:
    for text, how in TABLE.items():
        if isinstance(how, Run):
            assert not re.match(r"\./dev (down|up)\b", text)


REDUCED = {text: how for text, how in TABLE.items() if isinstance(how, Reduced)}
Own = Callable[..., AbstractContextManager[Any]]


def given(value: Any) -> Own:
    """A context that gives what is there already, whatever it is asked for."""

    @contextmanager
    def context(*_: Any, **__: Any) -> Iterator[Any]:
        yield value

    return context


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Own]:
    """Another pair of servers, empty each time that it is asked for."""
    settings = own_servers(Settings(), tmp_path_factory.mktemp("second") / "data")
    local = managed(settings)
    assert local is not None
    local.up()
    times = 0

    @contextmanager
    def emptied(*_: Any) -> Iterator[tuple[Settings, Path]]:
        nonlocal times
        times += 1
        client = AdminClient({"bootstrap.servers": settings.kafka.bootstrap_servers})
        topics = [name for name in client.list_topics(timeout=30).topics if name[0] != "_"]
        for future in client.delete_topics(topics).values() if topics else ():
            future.result()
        wait_until(
            lambda: not set(topics) & set(client.list_topics(timeout=30).topics), "topics are gone"
        )
        groups = {
            "stream_group": f"streams-{times}",
            "materializer_group": f"materializer-{times}",
        }
        yield (
            settings.model_copy(
                update={
                    "cassandra": settings.cassandra.model_copy(
                        update={"keyspace": f"emptied_{times}"}
                    ),
                    "kafka": settings.kafka.model_copy(update=groups),
                }
            ),
            tmp_path_factory.mktemp("emptied"),
        )

    try:
        yield emptied
    finally:
        local.down()


@pytest.mark.parametrize("text", [text for text, how in REDUCED.items() if not how.servers])
def test_a_long_command_runs_smaller(
    text: str,
    system: System,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    """On the system of the tests, in place of one that the command would start."""
    for name, value in environment_of(system.settings).items():
        monkeypatch.setenv(name, value)
    for name, value in {
        "diffusion.bench.stage.own": (system.settings, tmp_path),
        "diffusion.bench.stage.pairs": system,
        "diffusion.bench.storm.pairs": system,
        "diffusion.bench.growth_conversations.pairs": system,
        "diffusion.bench.latency.one_of_each": system,
        "diffusion.bench.connect.own_system": system,
        "diffusion.bench.soak.running": system,
        "diffusion.demo.own_system": system,
    }.items():
        replace(monkeypatch, name, given(value))
    # Waited for so that times are those of a day: they are not looked at here.
    replace(monkeypatch, "diffusion.bench.stage.outlast", lambda *_: None)
    judge(run(text, tmp_path, monkeypatch, capsysbinary))


@pytest.mark.parametrize("text", [text for text, how in REDUCED.items() if how.servers])
def test_a_long_command_runs_smaller_on_servers_of_its_own(
    text: str,
    second: Own,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    replace(monkeypatch, "diffusion.bench.stage.own", second)
    replace(monkeypatch, "diffusion.bench.stage.outlast", lambda *_: None)
    judge(run(text, tmp_path, monkeypatch, capsysbinary))


def replace(monkeypatch: pytest.MonkeyPatch, name: str, value: Any) -> None:
    module, _, attribute = name.rpartition(".")
    monkeypatch.setattr(importlib.import_module(module), attribute, value)


def run(
    text: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> tuple[int, dict[str, Any]]:
    """Exit code, and what `--json` prints."""
    how = REDUCED[text]
    for name, value in how.constants.items():
        replace(monkeypatch, name, value)
    if how.here:
        replace(monkeypatch, "diffusion.bench.children.run", lambda work, *some: (work(*some), 0))
    write_traces(folder / "traces", SHOWN)
    arguments = how.arguments.format(traces=folder / "traces", folder=folder).split()
    code = 0
    try:
        app([*arguments, "--json"], result_action="return_value")
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    out, err = capsysbinary.readouterr()
    assert out, err.decode()
    return code, orjson.loads(out)


def judge(found: tuple[int, dict[str, Any]]) -> None:
    """What was measured is right. How fast it was says nothing in this size, beside other tests."""
    code, told = found
    assert not told.get("differences"), told["differences"]
    if "held" in told:
        held = told["held"]
        assert held if isinstance(held, bool) else held["correct"]
    elif "traces" in told:
        assert [one["name"] for one in told["traces"]][:2] == ["private", "group"]
    else:
        assert code == 0, told
