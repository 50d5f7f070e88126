"""Settings: environment over file over defaults, and a sentence for everything that does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from infra.api_settings import DEVELOPMENT_SECRET, SECRET_BYTES_MIN
from infra.settings import (
    CONFIG_VARIABLE,
    DEFAULT_CONFIG,
    LogSettings,
    Settings,
    SettingsError,
    load,
)

OWN_SECRET = "s" * SECRET_BYTES_MIN


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder, and no variable of ours."""
    import os

    for name in list(os.environ):
        if name.upper().startswith("DIFFUSION_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(**overrides: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        load(**overrides)
    return str(caught.value)


# Where a value comes from.


def test_without_anything_the_defaults_hold() -> None:
    assert load() == Settings()
    assert load().kafka.bootstrap_servers == "127.0.0.1:19092"


@pytest.mark.parametrize(
    ("variable", "value", "read", "expected"),
    [
        ("DIFFUSION_KAFKA_BOOTSTRAP_SERVERS", "k:1", lambda s: s.kafka.bootstrap_servers, "k:1"),
        ("DIFFUSION_CASSANDRA_CONTACT_POINTS", "a, b", lambda s: s.cassandra.hosts, ["a", "b"]),
        ("DIFFUSION_LOG_RETENTION_HOURS", "24", lambda s: s.log.retention_ms, 86_400_000),
        ("DIFFUSION_POLICY_MEMBERS_RETURN", "399", lambda s: s.policy.members_return, 399),
        ("DIFFUSION_STREAM_BATCH_RECORDS", "7", lambda s: s.stream.batch_records, 7),
        ("DIFFUSION_MATERIALIZER_ROWS_PER_STATEMENT", "9", lambda s: s.materializer.rows_per_statement, 9),
        ("DIFFUSION_API_ROWS_PER_SYNC_MAX", "100", lambda s: s.api.rows_per_sync_max, 100),
        ("DIFFUSION_API_DEVICE_TTL_DAYS", "2.5", lambda s: s.api.device_ttl_s, 216_000),
        ("DIFFUSION_LOCAL_KAFKA_CONTROLLER_PORT", "5", lambda s: s.local.kafka_controller_port, 5),
        ("diffusion_api_port", "81", lambda s: s.api.port, 81),
    ],
)  # fmt: skip
def test_a_variable_is_named_after_its_section_and_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, read: Any, expected: Any
) -> None:
    monkeypatch.setenv(variable, value)
    assert read(load()) == expected


def test_every_setting_has_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A nonsense value in each is refused by its name: so each is read."""
    for section, field in Settings.model_fields.items():
        for name, inner in field.annotation.model_fields.items():
            if any(free in str(inner.annotation) for free in ("str", "Str", "Path")):
                continue
            variable = f"DIFFUSION_{section}_{name}".upper()
            monkeypatch.setenv(variable, "nonsense")
            assert f"{section}.{name}" in refused()
            monkeypatch.delenv(variable)


def test_the_file_of_the_folder_is_read(nothing_set: Path) -> None:
    (nothing_set / DEFAULT_CONFIG).write_text("[api]\nport = 81\n[log]\nretention_hours = 24\n")
    assert (load().api.port, load().log.retention_hours) == (81, 24)


def test_a_named_file_is_read_instead(nothing_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (nothing_set / DEFAULT_CONFIG).write_text("[api]\nport = 81\n")
    (nothing_set / "other.toml").write_text("[api]\nport = 82\n")
    monkeypatch.setenv(CONFIG_VARIABLE, str(nothing_set / "other.toml"))
    assert load().api.port == 82


def test_a_named_file_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, "/nowhere.toml")
    assert "/nowhere.toml" in refused()


def test_arguments_over_environment_over_file_over_defaults(
    nothing_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (nothing_set / DEFAULT_CONFIG).write_text(
        '[api]\nport = 81\njwt_audience = "file"\n[stream]\nbatch_records = 1\n'
    )
    monkeypatch.setenv("DIFFUSION_API_PORT", "82")
    found = load(stream={"batch_records": 3})
    assert found.stream.batch_records == 3
    assert found.api.port == 82
    assert found.api.jwt_audience == "file", "one variable of a section leaves the rest to the file"
    assert found.api.drain_s == Settings().api.drain_s


def test_settings_do_not_change_while_a_program_runs() -> None:
    with pytest.raises(ValidationError):
        load().api.port = 1


# What is refused.


@pytest.mark.parametrize(
    "variable",
    [
        "DIFFUSION_KAFKA_BOOTSTRAP",
        "DIFFUSION_API_JWTSECRET",
        "DIFFUSION_KAFAK_PORT",
        "DIFFUSION_PORT",
        "DIFFUSION_X",
    ],
)
def test_an_unknown_variable_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """A typing error that is silent is a setting that is not set."""
    monkeypatch.setenv(variable, "1")
    found = refused().lower()
    assert variable.lower() in found or variable.split("_", 2)[2].lower() in found


@pytest.mark.parametrize("text", ["[api]\nprot = 1\n", "[apis]\nport = 1\n", "port = 1\n"])
def test_an_unknown_name_in_the_file_is_refused(nothing_set: Path, text: str) -> None:
    (nothing_set / DEFAULT_CONFIG).write_text(text)
    assert "not permitted" in refused()


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"log": {"retention_hours": 1, "window_minutes": 31}}, "log.window_minutes"),
        ({"log": {"retention_hours": 0}}, "log.retention_hours"),
        ({"log": {"window_minutes": 0.000001}}, "log.window_minutes"),
        ({"log": {"window_minutes": -1}}, "log.window_minutes"),
        ({"policy": {"members_max": 2, "members_return": 3}}, "policy.members_return"),
        ({"policy": {"members_max": 400, "members_return": 400}}, "policy.members_return"),
        ({"policy": {"members_max": 10_001}}, "policy.members_max"),
        ({"api": {"jwt_secret": "short"}}, "api.jwt_secret"),
        ({"api": {"jwt_secret": ""}}, "api.jwt_secret"),
        ({"api": {"host": "0.0.0.0"}}, "api.jwt_secret"),
        ({"api": {"host": "example.org"}}, "api.jwt_secret"),
        ({"api": {"port": 70_000}}, "api.port"),
        ({"api": {"device_ttl_days": 1}}, "api.device_ttl_days"),
        ({"kafka": {"change_partitions": 0}}, "kafka.change_partitions"),
        ({"kafka": {"change_partitions": 10_001}}, "kafka.change_partitions"),
        ({"kafka": {"session_timeout_s": 1}}, "kafka.session_timeout_s"),
        ({"cassandra": {"keyspace": "a; DROP"}}, "cassandra.keyspace"),
        ({"cassandra": {"keyspace": "Upper"}}, "cassandra.keyspace"),
        ({"cassandra": {"request_timeout_s": 0}}, "cassandra.request_timeout_s"),
        ({"materializer": {"rows_per_statement": 201}}, "materializer.rows_per_statement"),
        ({"stream": {"batch_records": "many"}}, "stream.batch_records"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_name(overrides: Any, named: str) -> None:
    message = refused(**overrides)
    assert message.startswith("The settings do not fit: ")
    assert named in message


def test_everything_wrong_is_told_at_once() -> None:
    message = refused(api={"port": -1}, stream={"batch_records": 0})
    assert "api.port" in message
    assert "stream.batch_records" in message


def test_the_development_secret_stays_on_this_machine() -> None:
    for host in ("127.0.0.1", "::1", "localhost"):
        assert load(api={"host": host}).api.jwt_secret.get_secret_value() == DEVELOPMENT_SECRET
    assert load(api={"host": "0.0.0.0", "jwt_secret": OWN_SECRET}).api.host == "0.0.0.0"


@pytest.mark.parametrize(
    "text", ["", "10.0.0.1", "10.0.0.1, 192.168.0.0/16", "fd00::/8,2001:db8::1"]
)
def test_proxies_are_addresses_and_networks(text: str) -> None:
    assert load(api={"trusted_proxies": text}).api.trusted_proxies == text


@pytest.mark.parametrize("text", ["*", "proxy", "10.0.0.1/8", "10.0.0.1,", "10.0.0.1 10.0.0.2"])
def test_what_could_be_anybody_is_no_proxy(text: str) -> None:
    assert "api.trusted_proxies" in refused(api={"trusted_proxies": text})


def test_an_api_without_limits_is_the_same_otherwise() -> None:
    api = load(api={"port": 81, "user_burst": 5}).api
    unlimited = api.unlimited()
    assert (unlimited.user_rate, unlimited.address_rate, unlimited.requests_max) == (0, 0, 0)
    changed = {"user_rate", "address_rate", "requests_max"}
    assert unlimited.model_dump(exclude=changed) == api.model_dump(exclude=changed)


def test_a_secret_is_measured_in_bytes() -> None:
    half = "\N{GRINNING FACE}" * (SECRET_BYTES_MIN // 4)
    assert load(api={"jwt_secret": half}).api.jwt_secret.get_secret_value() == half


def test_no_secret_shows_in_a_printed_setting_or_in_a_refusal() -> None:
    found = load(
        api={"jwt_secret": OWN_SECRET}, cassandra={"username": "me", "password": "hunter2"}
    )
    assert OWN_SECRET not in repr(found)
    assert "hunter2" not in repr(found)
    assert "shortsecret" not in refused(api={"jwt_secret": "shortsecret"})


@given(st.floats(0, 8_760), st.floats(0, 1_440))
def test_a_log_that_is_accepted_has_windows_and_outlives_them(hours: float, minutes: float) -> None:
    try:
        log = LogSettings(retention_hours=hours, window_minutes=minutes)
    except ValidationError:
        return
    assert 0 < log.window_ms <= log.retention_ms // 2
