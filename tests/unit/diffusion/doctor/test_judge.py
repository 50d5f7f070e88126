"""Each finding, by the one fact that makes it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import pytest

from diffusion.doctor.facts import Cassandra, Facts, Kafka, Machine, Port, Secrets
from diffusion.doctor.judge import CLOCK_WARNING_MS, CLOCK_WRONG_MS, Finding, findings
from schemas.topics import CHANGES, Layout, dead_letters

NOW_MS: Final = 1_700_000_000_000
WEEK_MS: Final = 7 * 86_400_000
DEAD: Final = dead_letters(CHANGES.name)
CONFIG: Final = {
    "cleanup.policy": "delete",
    "retention.ms": str(2 * WEEK_MS),
    "message.timestamp.type": "LogAppendTime",
    "min.insync.replicas": "2",
    "unclean.leader.election.enable": "false",
}
SHAPE: Final = Layout(16, 3, CONFIG)
ALONE: Final = Layout(16, 1, CONFIG | {"min.insync.replicas": "1"})
LETTERS: Final = Layout(
    1, 3, {"cleanup.policy": "delete", "retention.ms": "-1", "min.insync.replicas": "2"}
)
LONELY: Final = Layout(1, 1, LETTERS.config | {"min.insync.replicas": "1"})

MACHINE: Final = Machine(ports=(Port("kafka_port", 19_092),), free_bytes=2**40)
KAFKA: Final = Kafka(
    brokers=3,
    wanted={CHANGES.name: SHAPE, DEAD: LETTERS},
    found={CHANGES.name: SHAPE, DEAD: LETTERS},
    newest_ms=NOW_MS,
    at_ms=NOW_MS,
)
CASSANDRA: Final = Cassandra(
    releases=frozenset({"5.0.4"}),
    nodes=3,
    ahead_ms=3,
    blur_ms=2,
    replicas=3,
    version=3,
    version_wanted=3,
    tables_wanted=frozenset({"inbox"}),
    default_ttls={"inbox": 0, "schema_locks": 0},
)
WELL: Final = Facts(MACHINE, KAFKA, CASSANDRA, Secrets(), 100_000, 5_512, WEEK_MS)


def changes(**config: str) -> Facts:
    """The topic of changes, otherwise set."""
    return shape(
        SHAPE._replace(
            config=CONFIG | {key.replace("_", "."): value for key, value in config.items()}
        )
    )


def shape(found: Layout | None) -> Facts:
    return kafka(found={**KAFKA.found, CHANGES.name: found})


def kafka(**facts: Any) -> Facts:
    return replace(WELL, kafka=replace(KAFKA, **facts))


def cassandra(**facts: Any) -> Facts:
    return replace(WELL, cassandra=replace(CASSANDRA, **facts))


def machine(**facts: Any) -> Facts:
    return replace(WELL, machine=replace(MACHINE, **facts))


def secrets(**facts: bool) -> Facts:
    return replace(WELL, secrets=Secrets(**facts))


def letters(partitions: int = 1, **config: str) -> Facts:
    """The topic of dead letters, otherwise made."""
    named = {key.replace("_", "."): value for key, value in config.items()}
    found = LETTERS._replace(partitions=partitions, config={**LETTERS.config, **named})
    return kafka(found={**KAFKA.found, DEAD: found})


def bad(facts: Facts) -> list[Finding]:
    return [one for one in findings(facts) if one.verdict != "ok"]


T = f"topic {CHANGES.name}"
CASES: list[tuple[Facts, str, str, str]] = [
    (machine(java="It is missing."), "java", "wrong", "missing"),
    (
        machine(ports=(Port("kafka_port", 9, "cat (process 1)"),)),
        "port 9",
        "wrong",
        "cat (process 1)",
    ),
    (machine(free_bytes=2**29), "disk", "wrong", "0.5 GB are free"),
    (machine(free_bytes=2**31), "disk", "warning", "2.0 GB are free"),
    (replace(WELL, open_files=1_024), "open files", "warning", "may have 1,024"),
    (secrets(development_jwt=True), "api.jwt_secret", "warning", "everybody knows"),
    (secrets(cassandra_default=True), "cassandra.password", "wrong", "is shipped"),
    (secrets(kafka_clear=True), "kafka TLS", "warning", "without TLS"),
    (secrets(cassandra_clear=True), "cassandra TLS", "warning", "without TLS"),
    (replace(WELL, kafka="It is away."), "kafka", "wrong", "It is away."),
    (replace(WELL, cassandra="It is away."), "cassandra", "wrong", "It is away."),
    (shape(None), T, "wrong", "does not exist"),
    (shape(SHAPE._replace(partitions=8)), T, "warning", "8 partitions; the settings say 16"),
    (shape(ALONE), T, "warning", "1 replicas on 3 brokers"),
    (changes(cleanup_policy="compact"), T, "wrong", "cleanup.policy is compact"),
    (changes(message_timestamp_type="CreateTime"), T, "wrong", "must be LogAppendTime"),
    (changes(unclean_leader_election_enable="true"), T, "wrong", "a second time"),
    (changes(min_insync_replicas="1"), T, "wrong", "lost with one broker"),
    (changes(min_insync_replicas="3"), T, "warning", "one broker away"),
    (changes(min_insync_replicas="4"), T, "wrong", "nothing can be written"),
    (changes(max_message_bytes="500000"), T, "wrong", "500,000"),
    (changes(retention_ms=str(WEEK_MS - 1)), T, "wrong", "could not be built again"),
    (changes(retention_ms=str(WEEK_MS)), T, "warning", "makes it with"),
    (letters(retention_ms="1000"), f"topic {DEAD}", "warning", "Dead letters are lost"),
    (letters(min_insync_replicas="1"), f"topic {DEAD}", "warning", "lost with one broker"),
    (kafka(newest_ms=NOW_MS + CLOCK_WARNING_MS), "kafka clock", "warning", "1.0 s ahead"),
    (kafka(newest_ms=NOW_MS + CLOCK_WRONG_MS + 1), "kafka clock", "wrong", "30.0 s ahead"),
    (cassandra(releases=frozenset({"4.1.9"})), "cassandra", "wrong", "4.1.9"),
    (cassandra(releases=frozenset({"5.0.4", "5.0.5"})), "cassandra", "warning", "5.0.4, 5.0.5"),
    (cassandra(ahead_ms=CLOCK_WARNING_MS + 2), "cassandra clock", "warning", "1.0 s ahead"),
    (cassandra(ahead_ms=-CLOCK_WRONG_MS - 3), "cassandra clock", "wrong", "30.0 s behind"),
    (cassandra(replicas=None), "keyspace", "wrong", "does not exist"),
    (cassandra(replicas=0), "keyspace", "wrong", "0 replicas"),
    (cassandra(replicas=1), "keyspace", "warning", "1 replicas in our datacenter, on 3 nodes"),
    (cassandra(replicas=2), "keyspace", "warning", "2 replicas"),
    (cassandra(replicas=5), "keyspace", "warning", "on 3 nodes"),
    (cassandra(version=2, refusal="too old"), "schema", "wrong", "too old"),
    (cassandra(version=4), "schema", "warning", "which goes together"),
    (cassandra(default_ttls={}), "tables", "wrong", "Missing: inbox"),
    (cassandra(default_ttls={"inbox": 60}), "tables", "wrong", "inbox has a default_time"),
]


@pytest.mark.parametrize(
    ("facts", "name", "verdict", "words"),
    CASES,
    ids=[f"{verdict} {name}: {words}" for _, name, verdict, words in CASES],
)
def test_one_bad_fact_is_one_finding_with_something_to_do(
    facts: Facts, name: str, verdict: str, words: str
) -> None:
    (found,) = bad(facts)
    assert (found.name, found.verdict) == (name, verdict)
    assert words in found.said
    assert found.advice


@pytest.mark.parametrize(
    "facts",
    [
        WELL,
        replace(WELL, machine=None),
        replace(WELL, open_files=None),
        changes(retention_ms="-1"),
        changes(retention_ms=str(3 * WEEK_MS)),
        kafka(newest_ms=None),
        kafka(newest_ms=NOW_MS - WEEK_MS),
        kafka(newest_ms=NOW_MS + CLOCK_WARNING_MS - 1),
        cassandra(ahead_ms=-CLOCK_WARNING_MS, blur_ms=CLOCK_WARNING_MS),
        cassandra(nodes=1, replicas=1),
        letters(partitions=3),
    ],
    ids=range(11),
)
def test_what_is_well_is_nothing_but_ok(facts: Facts) -> None:
    assert bad(facts) == []


def test_one_broker_may_have_one_replica() -> None:
    shapes = {CHANGES.name: ALONE, DEAD: LONELY}
    assert bad(kafka(brokers=1, wanted=shapes, found=shapes)) == []


def test_servers_of_somebody_else_are_not_looked_for_here() -> None:
    names = {one.name for one in findings(replace(WELL, machine=None))}
    assert names.isdisjoint({"java", "disk", "port 19092"})


def test_everything_that_is_looked_at_has_a_finding() -> None:
    names = [one.name for one in findings(WELL)]
    assert len(names) == len(set(names)), "and one only, where all is well"
    assert {T, f"topic {DEAD}", "schema", "tables", "keyspace", "secrets", "java"} <= set(names)
