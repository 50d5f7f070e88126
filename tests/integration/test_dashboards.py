"""The dashboard and the rules, against a real Prometheus that scrapes the running system.

What they ask for must be there while the system works: a metric that was renamed, a label that no
longer is, a panel of something that is never set show as nothing, and nobody misses nothing.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from diffusion.processes import Child
from diffusion.system import System, environment_of
from diffusion.targets import JOBS, address_of, addresses
from infra import metrics
from infra.dashboards.panels import Panel
from infra.dashboards.rows import ROWS
from infra.kafka.delivery import Delivery
from infra.local.errors import PrometheusMissingError
from infra.local.ports import free_ports, is_free
from infra.local.prometheus import Tools, tools
from infra.local.settings import default_cache_dir
from infra.settings import Settings
from schemas import ids, topics
from schemas.events import (
    ConversationCleared,
    ConversationDeleted,
    ConversationSettings,
    DiffusionOverride,
    MembersJoined,
    MembersLeft,
    Message,
    ModuleChanged,
    Read,
    UserConversationSettings,
    WriteEvent,
)
from schemas.limits import ROOT_BYTES
from tests.integration.conftest import MEMBERS_MAX
from tests.integration.prometheus import FOLDER, Prometheus, watching
from tests.integration.support import NOW_MS, World, make_topic, wait_until
from tests.integration.test_connect import Phone, phone

Unique = Callable[[str], str]

ROUNDS = 3
TOGETHER = 10
"""Messages of one conversation in a round, so that some are folded."""

FLEET = 2
PANELS = [panel for row in ROWS for panel in row.panels]
NAMES = re.compile(r"\b(?:diffusion_[a-z0-9_]+|process_[a-z_]+|up)\b(?!\()")
COUNTED = (
    "diffusion_stream_events_total",
    "diffusion_stream_marks_total",
    "diffusion_materializer_marks_total",
    "diffusion_api_syncs_total",
    "diffusion_api_closes_total",
)
"""Must be in Prometheus as the processes tell it, when all is quiet."""

OURS = frozenset({"__name__", "job", "instance", "le"})
"""Labels that Prometheus gives."""


@pytest.fixture(scope="module")
def programs() -> Tools:
    try:
        return tools(Settings().local.cache_dir or default_cache_dir())
    except PrometheusMissingError as error:
        pytest.skip(str(error))


def test_the_alerts_fire_when_they_should(programs: Tools) -> None:
    for arguments in (("check", "rules", "rules.yml"), ("test", "rules", "rules_test.yml")):
        done = subprocess.run(
            [programs.promtool, *arguments], cwd=FOLDER, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


class Load:
    """Everything that writes, reads and fails, a little of each in every round."""

    def __init__(self, world: World, unique: Unique) -> None:
        self.world = world
        self.ann, self.bob, self.eve = (unique(name) for name in ("ann", "bob", "eve"))
        crowd = [unique(f"member{number:02}") for number in range(MEMBERS_MAX + 5)]
        self.crowd = [self.ann, *crowd]
        self.chat = ids.one_to_one(self.ann, self.bob)
        self.other = ids.one_to_one(self.ann, self.eve)
        self.large, self.switching = ids.group(unique("large")), ids.group(unique("switching"))
        self.delivery = Delivery(world.system.settings.kafka, "test")
        self.number = 0

    def found(self) -> None:
        """Groups: one too large to be diffused, one that is switched by its backend."""
        self.world.write(
            MembersJoined(self.large, tuple(self.crowd), 0, NOW_MS),
            MembersJoined(self.switching, tuple(self.crowd[:12]), 0, NOW_MS),
        )

    def round(self) -> None:
        self.number += 1
        for topic in (topics.CONVERSATION_WRITES, topics.USER_WRITES, topics.CHANGES):
            self.delivery.produce(topic.name, 0, b'{"type":"nonsense"}')
        self.delivery.flush()
        self.world.write(*self._events())
        with self.world.device(self.ann) as device:
            device.sync()
        httpx.post(f"{self.world.system.url}/v1/sync", json={"device_id": "d"})

    def _events(self) -> Iterator[WriteEvent]:
        first = (self.number - 1) * TOGETHER + 1
        last, at_ms = first + TOGETHER - 1, NOW_MS + self.number
        for seq in range(first, last + 1):
            yield Message(self.chat, seq, self.bob, at_ms, (self.ann, self.bob))
            yield Message(self.large, seq, self.crowd[1], at_ms)
            yield Message(self.switching, seq, self.crowd[1], at_ms)
        yield Message(self.other, self.number, self.eve, at_ms, (self.ann, self.eve))
        yield Read(self.ann, self.chat, last)
        yield UserConversationSettings(self.ann, self.chat, pinned=bool(self.number % 2))
        yield ConversationCleared(self.ann, self.chat, first)
        yield ConversationDeleted(self.ann, self.other, self.number, at_ms)
        yield ModuleChanged(self.ann, "friends", self.bob, "update", self.number)
        way: DiffusionOverride = "always_read" if self.number % 2 else "always_write"
        yield ConversationSettings(self.switching, way)
        yield MembersLeft(self.large, (self.crowd[-1],), last, at_ms, "quit")
        yield MembersJoined(self.large, (self.crowd[-1],), last, at_ms + 1)

    def connected(self, device: Phone) -> None:
        """What a device asks over its connection: news, some of them, and what differs."""
        device.answer(device.send(None))
        device.sync(changes_max=1)
        told = device.sync()
        while told.has_more:
            told = device.sync()
        device.sync(root=bytes(ROOT_BYTES))


@contextmanager
def fleet(system: System, log: Path) -> Iterator[Mapping[str, Sequence[str]]]:
    """Two more stream workers, by one command; yields where they serve their metrics."""
    port = next(one for one in free_ports(50) if is_free(one + 1))
    stream = system.settings.stream.model_copy(update={"metrics_port": port})
    settings = system.settings.model_copy(update={"stream": stream})
    command = [sys.executable, "-m", "diffusion", "stream-worker", "--processes", str(FLEET)]
    with log.open("wb") as output:
        parent = subprocess.Popen(
            command,
            env=os.environ | environment_of(settings),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield addresses(settings, {"stream-worker": FLEET}, api=False)
    finally:
        parent.send_signal(signal.SIGTERM)
        parent.wait(60)


@contextmanager
def tapped(system: System, log: Path) -> Iterator[Mapping[str, Sequence[str]]]:
    """A tap on a topic in which nothing is written; yields where it serves its metrics."""
    (port,) = free_ports(1)
    topic, servers = "test-nothing-to-push", system.settings.kafka.bootstrap_servers
    make_topic(servers, topic)
    own = system.settings.openim.model_copy(
        update={"bootstrap_servers": servers, "topic": topic, "metrics_port": port}
    )
    settings = system.settings.model_copy(update={"openim": own})
    url = f"http://127.0.0.1:{port}/metrics"
    name = "openim-tap"
    system.processes.start(Child(name, (name,), environment_of(settings), log, url))
    try:
        yield addresses(settings, {}, api=False, openim_tap=True)
    finally:
        system.processes.retire(name)


def everywhere(system: System, more: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Addresses of all processes, by program."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, url in system.processes.metrics_urls().items():
        found[next(kind for kind in JOBS if name.startswith(kind))].append(address_of(url))
    for kind, some in more.items():
        found[kind] += some
    return found


def total(found: Mapping[str, Sequence[str]], name: str) -> float:
    """Sum of a metric over all processes, as they say it now."""
    texts = (httpx.get(f"http://{one}/metrics").text for some in found.values() for one in some)
    return sum(
        float(line.rpartition(" ")[2])
        for text in texts
        for line in text.splitlines()
        if re.match(rf"{name}[ {{]", line)
    )


@pytest.fixture(scope="module")
def watched(
    programs: Tools, system: System, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Prometheus, float, float]]:
    """A Prometheus, and from when to when there was load."""
    folder = tmp_path_factory.mktemp("prometheus")
    load = Load(World(system), lambda name: f"dashboards-{name}")
    with ExitStack() as stack:
        more = stack.enter_context(fleet(system, folder / "fleet.log"))
        stack.enter_context(tapped(system, folder / "tap.log"))
        found = everywhere(system, more)
        prometheus = stack.enter_context(watching(programs, folder, found))
        processes = sum(map(len, found.values()))
        wait_until(lambda: prometheus.number("sum(up)") == processes, "all are scraped")
        started_s = time.time()
        load.found()
        with phone(system, load.ann) as standing:
            for _ in range(ROUNDS):
                load.round()
                load.connected(standing)
            standing.poked()
        system.wait_quiet()
        wait_until(
            lambda: all(
                prometheus.number(f"sum({name})") == total(found, name) for name in COUNTED
            ),
            "the last scrape",
        )
        yield prometheus, started_s, time.time()


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.title)
def test_a_panel_shows_something(watched: tuple[Prometheus, float, float], panel: Panel) -> None:
    prometheus, since_s, until_s = watched
    for query in panel.queries:
        found = prometheus.values(query.expr, since_s, until_s)
        assert found, query.expr
        assert panel.quiet or max(found) > 0, query.expr


def test_every_rule_is_evaluated_and_what_it_asks_for_exists(
    watched: tuple[Prometheus, float, float],
) -> None:
    prometheus, since_s, until_s = watched
    rules = prometheus.rules()
    assert {rule["type"] for rule in rules} == {"recording", "alerting"}
    for rule in rules:
        assert (rule["health"], rule.get("lastError")) == ("ok", None), rule
        for name in NAMES.findall(rule["query"]):
            assert prometheus.series(name), (rule["name"], name)
        if rule["type"] == "recording":
            assert prometheus.values(rule["name"], since_s, until_s), rule["name"]


def test_every_metric_is_exported_by_its_program_alone_with_the_labels_declared(
    watched: tuple[Prometheus, float, float],
) -> None:
    prometheus, _, _ = watched
    seen: set[str] = set()
    known = {sample: one for one in metrics.declared() for sample in one.samples()}
    jobs = {
        "stream": "stream-worker",
        "materializer": "materializer",
        "api": "api",
        "openim": "openim-tap",
    }
    for series in prometheus.series('{__name__=~"diffusion_.+"}'):
        one = known[series["__name__"]]
        seen.add(one.name)
        assert one.part not in jobs or series["job"] == JOBS[jobs[one.part]], series
        own = {label: value for label, value in series.items() if label not in OURS}
        assert own.keys() == one.labels.keys(), series
        assert all(value in one.labels[label] for label, value in own.items()), series
    assert seen == {one.name for one in metrics.declared()}


def test_processes_of_one_command_are_counted_each_and_together(
    watched: tuple[Prometheus, float, float],
) -> None:
    prometheus, _, _ = watched
    workers = JOBS["stream-worker"]
    assert prometheus.number(f'count(up{{job="{workers}"}} == 1)') == 2 + FLEET
    assert prometheus.number(f'count(process_start_time_seconds{{job="{workers}"}})') == 2 + FLEET
