"""The doctor on real servers: what is well is found to be, and what is bent is found."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import orjson
import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
)

from diffusion.system import System, environment_of
from infra.cassandra.session import Session
from schemas.topics import CHANGES


def examined(system: System, **more: str) -> tuple[int, list[dict[str, Any]]]:
    done = subprocess.run(
        [sys.executable, "-m", "diffusion", "doctor", "--json"],
        env=os.environ | environment_of(system.settings) | more,
        capture_output=True,
        timeout=120,
    )
    return done.returncode, orjson.loads(done.stdout)["findings"]


def wrong(findings: list[dict[str, Any]]) -> list[str]:
    return [f"{one['name']}: {one['said']}" for one in findings if one["verdict"] == "wrong"]


def alter(system: System, key: str, value: str) -> None:
    client = AdminClient({"bootstrap.servers": system.settings.kafka.bootstrap_servers})
    entry = ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, CHANGES.name, incremental_configs=[entry])
    for future in client.incremental_alter_configs([resource]).values():
        future.result()


def test_what_this_release_made_is_well(system: System) -> None:
    code, findings = examined(system)
    assert (code, wrong(findings)) == (0, [])
    names = {one["name"] for one in findings}
    assert {"java", "disk", "kafka clock", "cassandra clock", "schema", "tables"} <= names
    assert f"topic {CHANGES.name}" in names


def test_what_is_bent_in_kafka_is_found(system: System) -> None:
    alter(system, "message.timestamp.type", "CreateTime")
    try:
        code, findings = examined(system)
    finally:
        alter(system, "message.timestamp.type", "LogAppendTime")
    assert code == 1
    (said,) = wrong(findings)
    assert "message.timestamp.type is CreateTime" in said


def test_what_is_bent_in_cassandra_is_found(system: System) -> None:
    keyspace = system.settings.cassandra.keyspace
    session = Session(system.settings.cassandra)
    try:
        session.run_ddl(f"ALTER TABLE {keyspace}.inbox WITH default_time_to_live = 60")
        code, findings = examined(system)
    finally:
        session.run_ddl(f"ALTER TABLE {keyspace}.inbox WITH default_time_to_live = 0")
        session.close()
    assert code == 1
    (said,) = wrong(findings)
    assert "inbox has a default_time_to_live" in said


@pytest.mark.parametrize(
    ("variable", "value", "name"),
    [
        ("DIFFUSION_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1", "kafka"),
        ("DIFFUSION_CASSANDRA_KEYSPACE", "nobodys", "keyspace"),
    ],
)
def test_what_is_not_there_is_a_finding_and_the_rest_is_looked_at(
    system: System, variable: str, value: str, name: str
) -> None:
    code, findings = examined(system, **{variable: value})
    assert code == 1
    assert name in {one["name"] for one in findings if one["verdict"] == "wrong"}
    assert "cassandra clock" in {one["name"] for one in findings}
