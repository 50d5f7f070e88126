"""From what was found to findings: ok, a warning, or wrong, each with what to do. PURE.

Wrong is what loses or hides something, or keeps a program from working. A warning is what will do
so in time, or after the next fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from diffusion.doctor.facts import Cassandra, Facts, Kafka, Machine, Secrets
from schemas.limits import CHANGE_RECORD_BYTES_MAX
from schemas.topics import CHANGES, DEAD_LETTER_SUFFIX, Layout

Verdict = Literal["ok", "warning", "wrong"]

CLOCK_WARNING_MS: Final = 1_000
"""What machines are apart whose clocks are kept by nobody."""

CLOCK_WRONG_MS: Final = 30_000
"""As far as the clocks of tokens may be apart (`api.jwt_leeway_s`), and half of the minute that the
read side allows for (`syncapi.delta.READ_SIDE_MARGIN_MS`)."""

DISK_WARNING_FACTOR: Final = 5
"""Free space, as a multiple of what a start needs, under which a busy week may not fit."""

RECORD_ROOM_BYTES: Final = 100_000
"""Of a batch around the largest record: headers, keys and what does not compress."""

CASSANDRA_MIN: Final = 5
"""The major release that the tables are written for."""

FOREVER: Final = -1


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. `advice` is empty if there is nothing to do."""

    name: str
    verdict: Verdict
    said: str
    advice: str = ""


def findings(facts: Facts) -> list[Finding]:
    """Judge everything; what could not be looked at is a finding, too."""
    found: list[Finding] = []
    if facts.machine is not None:
        found += _machine(facts.machine)
    found += _files(facts.open_files, facts.open_files_wanted)
    found += _secrets(facts.secrets)
    if isinstance(facts.kafka, str):
        found.append(Finding("kafka", "wrong", facts.kafka, "Nothing of it was looked at."))
    else:
        found += _kafka(facts.kafka, facts.retention_ms)
    if isinstance(facts.cassandra, str):
        found.append(Finding("cassandra", "wrong", facts.cassandra, "Nothing of it was looked at."))
    else:
        found += _cassandra(facts.cassandra)
    return found


# This machine.


def _machine(machine: Machine) -> Iterator[Finding]:
    if machine.java is None:
        yield Finding("java", "ok", "The Java runtime is there.")
    else:
        yield Finding("java", "wrong", machine.java, "Run ./dev, or install the `local` extra.")
    for one in machine.ports:
        name = f"port {one.port}"
        if one.holder is None:
            yield Finding(name, "ok", f"Free for {one.name}, or its own.")
        else:
            advice = f"Stop it, or set {one.name} to another port."
            yield Finding(name, "wrong", f"{one.holder} has the port of {one.name}.", advice)
    free, least = machine.free_bytes, machine.free_bytes_min
    said = f"{free / 2**30:,.1f} GB are free at {machine.folder}."
    if free < least:
        advice = f"Make room: servers do not start with less than {least / 2**30:,.1f} GB."
        yield Finding("disk", "wrong", said, advice)
    elif free < least * DISK_WARNING_FACTOR:
        yield Finding("disk", "warning", said, "Make room, or set local.data_dir to another disk.")
    else:
        yield Finding("disk", "ok", said)


def _files(allowed: int | None, wanted: int) -> Iterator[Finding]:
    if allowed is None or allowed >= wanted:
        yield Finding("open files", "ok", f"A process may have the {wanted:,} that the API needs.")
        return
    yield Finding(
        "open files",
        "warning",
        f"A process may have {allowed:,}; the API needs {wanted:,} at its limit of connections.",
        "Raise the hard limit (`ulimit -Hn`, LimitNOFILE= in systemd), or lower "
        "api.connections_max.",
    )


def _secrets(secrets: Secrets) -> Iterator[Finding]:
    found = list(_bad_secrets(secrets))
    yield from found or [Finding("secrets", "ok", "None is left at its default.")]


def _bad_secrets(secrets: Secrets) -> Iterator[Finding]:
    if secrets.development_jwt:
        yield Finding(
            "api.jwt_secret",
            "warning",
            "It is the one for development, which everybody knows; the API takes it on loopback.",
            "Set DIFFUSION_API_JWT_SECRET, or DIFFUSION_API_JWT_KEYS_FILE, before others can reach "
            "the API, by a proxy too.",
        )
    if secrets.cassandra_default:
        yield Finding(
            "cassandra.password",
            "wrong",
            "It is the one with which Cassandra is shipped.",
            "Make a role of its own in Cassandra, and change the password of `cassandra`.",
        )
    for name, clear in (("kafka", secrets.kafka_clear), ("cassandra", secrets.cassandra_clear)):
        if clear:
            advice = "Leave it so only in a network that is yours alone; SECURITY.md has the rest."
            said = "It is spoken to over the network without TLS."
            yield Finding(f"{name} TLS", "warning", said, advice)


# Kafka.


def _kafka(kafka: Kafka, retention_ms: int) -> Iterator[Finding]:
    yield Finding("kafka", "ok", f"{kafka.brokers} brokers answer.")
    for name, wanted in kafka.wanted.items():
        layout = kafka.found.get(name)
        if layout is None:
            yield Finding(
                f"topic {name}", "wrong", "It does not exist.", "Run `diffusion migrate`."
            )
            continue
        bad = [*_layout(name, wanted, layout, kafka.brokers), *_config(name, wanted, layout)]
        bad += _reach(name, wanted, layout, retention_ms)
        yield from bad or [Finding(f"topic {name}", "ok", "As this release makes it.")]
    yield from _broker_clock(kafka)


def _layout(name: str, wanted: Layout, layout: Layout, brokers: int) -> Iterator[Finding]:
    topic, letters = f"topic {name}", name.endswith(DEAD_LETTER_SUFFIX)
    if layout.partitions != wanted.partitions and not letters:
        yield Finding(
            topic,
            "warning",
            f"It has {layout.partitions} partitions; the settings say {wanted.partitions}.",
            "Set DIFFUSION_KAFKA_WRITE_PARTITIONS and DIFFUSION_KAFKA_CHANGE_PARTITIONS to what "
            "there is: they count only when a topic is made.",
        )
    if layout.replicas < min(wanted.replicas, brokers) or (layout.replicas == 1 < brokers):
        yield Finding(
            topic,
            "warning",
            f"It has {layout.replicas} replicas on {brokers} brokers.",
            "Add replicas (kafka-reassign-partitions), and set DIFFUSION_KAFKA_REPLICATION_FACTOR.",
        )
    in_sync = int(layout.config.get("min.insync.replicas", 1))
    if in_sync > layout.replicas:
        yield Finding(
            topic,
            "wrong",
            f"min.insync.replicas is {in_sync}, of {layout.replicas} replicas: nothing can be "
            "written.",
            "Lower it, or add replicas.",
        )
    elif in_sync < min(2, layout.replicas):
        yield Finding(
            topic,
            "warning" if letters else "wrong",
            "min.insync.replicas is 1: what was acknowledged is lost with one broker.",
            _alter(name, "min.insync.replicas", "2"),
        )
    elif in_sync == layout.replicas > 1:
        yield Finding(
            topic,
            "warning",
            f"All {in_sync} replicas must be in sync: one broker away stops what writes here.",
            "Add a replica.",
        )


def _config(name: str, wanted: Layout, layout: Layout) -> Iterator[Finding]:
    for key, why in (
        ("cleanup.policy", "records are thrown away that are still needed"),
        ("message.timestamp.type", "windows and activity are taken from these times"),
        ("unclean.leader.election.enable", "offsets may be given a second time"),
    ):
        must, have = wanted.config.get(key), layout.config.get(key)
        if must is not None and have is not None and must != have:
            said = f"{key} is {have}, and must be {must}: {why}."
            yield Finding(f"topic {name}", "wrong", said, _alter(name, key, must))
    largest = int(layout.config.get("max.message.bytes", 2**31 - 1))
    least = CHANGE_RECORD_BYTES_MAX + RECORD_ROOM_BYTES
    if largest < least:
        yield Finding(
            f"topic {name}",
            "wrong",
            f"max.message.bytes is {largest:,}: records may be as long as {least:,}.",
            _alter(name, "max.message.bytes", str(least)),
        )


def _reach(name: str, wanted: Layout, layout: Layout, retention_ms: int) -> Iterator[Finding]:
    """Records that go too early. What the index is built from must outlive a device's absence."""
    must = int(wanted.config.get("retention.ms", FOREVER))
    have = int(layout.config.get("retention.ms", must))
    if have == FOREVER or (must != FOREVER and have >= must):
        return
    said = f"retention.ms is {have:,}."
    advice = _alter(name, "retention.ms", str(must))
    if name == CHANGES.name and have < retention_ms:
        said += f" The index reaches back {retention_ms:,} ms, and could not be built again."
        yield Finding(f"topic {name}", "wrong", said, advice)
    elif name.endswith(DEAD_LETTER_SUFFIX):
        said += " Dead letters are lost that nobody has looked at yet."
        yield Finding(f"topic {name}", "warning", said, advice)
    else:
        said += f" This release makes it with {must:,}."
        yield Finding(f"topic {name}", "warning", said, advice)


def _alter(name: str, key: str, value: str) -> str:
    return f"kafka-configs --alter --topic {name} --add-config {key}={value}"


def _broker_clock(kafka: Kafka) -> Iterator[Finding]:
    """Only a clock that is ahead shows by the newest change: one behind looks like a pause."""
    if kafka.newest_ms is None:
        yield Finding("kafka clock", "ok", "There is no change yet by which it could be seen.")
        return
    # A change that is on its way while we look is no clock that is ahead.
    ahead = kafka.newest_ms - kafka.at_ms
    yield _clock("kafka clock", max(0, ahead), "ahead of ours")


# Cassandra.


def _cassandra(cassandra: Cassandra) -> Iterator[Finding]:
    releases = ", ".join(sorted(cassandra.releases))
    old = [one for one in cassandra.releases if int(one.split(".")[0]) < CASSANDRA_MIN]
    if old:
        advice = f"Upgrade to {CASSANDRA_MIN}.0 or later."
        yield Finding("cassandra", "wrong", f"Nodes run {releases}.", advice)
    elif len(cassandra.releases) > 1:
        advice = "Finish the upgrade of the nodes; no schema changes until then."
        yield Finding("cassandra", "warning", f"Nodes run {releases}.", advice)
    else:
        yield Finding("cassandra", "ok", f"{cassandra.nodes} nodes run {releases}.")
    off = max(0, abs(cassandra.ahead_ms) - cassandra.blur_ms)
    way = "ahead of ours" if cassandra.ahead_ms > 0 else "behind ours"
    yield _clock("cassandra clock", off, way)
    if cassandra.replicas is None:
        yield Finding("keyspace", "wrong", "It does not exist.", "Run `diffusion migrate`.")
        return
    yield _replicas(cassandra.replicas, cassandra.nodes)
    yield _version(cassandra)
    yield from _tables(cassandra)


def _replicas(replicas: int, nodes: int) -> Finding:
    said = f"It has {replicas} replicas in our datacenter, on {nodes} nodes."
    if not replicas:
        advice = "Set DIFFUSION_CASSANDRA_LOCAL_DATACENTER to one that has, or ALTER KEYSPACE."
        return Finding("keyspace", "wrong", said, advice)
    if replicas > nodes or replicas == 2:
        advice = "ALTER KEYSPACE: 3 on three nodes and more. A quorum of 2 is both of them."
        return Finding("keyspace", "warning", said, advice)
    if replicas == 1 < nodes:
        advice = "ALTER KEYSPACE to 3 replicas, then repair: one node away hides what it has."
        return Finding("keyspace", "warning", said, advice)
    return Finding("keyspace", "ok", said)


def _version(cassandra: Cassandra) -> Finding:
    said = f"The tables are of version {cassandra.version}, "
    if cassandra.refusal is not None:
        return Finding("schema", "wrong", said + cassandra.refusal, "Programs refuse to start.")
    if cassandra.version > cassandra.version_wanted:
        said += f"this program is of {cassandra.version_wanted}, which goes together."
        return Finding("schema", "warning", said, "Upgrade the programs (docs/upgrades.md).")
    return Finding("schema", "ok", f"{said}and so is this program.")


def _tables(cassandra: Cassandra) -> Iterator[Finding]:
    # Without a version that is ours, tables that are missing are no news.
    missing = sorted(cassandra.tables_wanted - cassandra.default_ttls.keys())
    if missing and cassandra.refusal is None:
        advice = "Restore them from a snapshot: the version says that they were made."
        yield Finding("tables", "wrong", f"Missing: {', '.join(missing)}.", advice)
    expiring = sorted(name for name, ttl in cassandra.default_ttls.items() if ttl)
    for name in expiring:
        said = f"{name} has a default_time_to_live: rows are lost that must stay."
        yield Finding("tables", "wrong", said, f"ALTER TABLE {name} WITH default_time_to_live = 0.")
    if not missing and not expiring:
        yield Finding("tables", "ok", "All are there, and none loses rows by itself.")


def _clock(name: str, off_ms: int, way: str) -> Finding:
    said = f"It is {off_ms / 1_000:,.1f} s {way}."
    if off_ms < CLOCK_WARNING_MS:
        return Finding(name, "ok", "It agrees with ours, as far as can be seen.")
    verdict: Verdict = "wrong" if off_ms > CLOCK_WRONG_MS else "warning"
    return Finding(name, verdict, said, "Have NTP keep the clocks of all machines.")
