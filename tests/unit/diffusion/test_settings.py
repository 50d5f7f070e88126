"""`diffusion settings` shows everything but secrets, and so does whatever else is printed."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from diffusion import settings as view
from diffusion.settings_command import show_settings
from diffusion.system import environment_of
from infra.settings import PREFIX, Settings, SettingsError, load

FILE = Path(__file__)
OWN = "a-secret-that-nobody-may-see"

SECRETS = [
    (section, name)
    for section, field in Settings.model_fields.items()
    for name, inner in field.annotation.model_fields.items()
    if inner.annotation is SecretStr
]


def secret_of(section: str, name: str) -> str:
    return f"{OWN}-{section}-{name}-with-32-bytes-or-more"


@pytest.fixture
def everything_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """Each secret has a value of its own, and all are allowed."""
    monkeypatch.chdir(tmp_path)
    for section, name in SECRETS:
        monkeypatch.setenv(f"{PREFIX}{section}_{name}".upper(), secret_of(section, name))
    files = {"cert_file": FILE, "key_file": FILE}
    return load(
        kafka={"security_protocol": "SASL_SSL", "sasl_username": "me", **files},
        cassandra={"tls": True, "username": "me", **files},
        api={f"tls_{name}": file for name, file in files.items()},
    )


def test_there_are_secrets_of_every_kind() -> None:
    assert {
        ("kafka", "sasl_password"),
        ("kafka", "key_password"),
        ("cassandra", "password"),
        ("cassandra", "key_password"),
        ("api", "jwt_secret"),
        ("api", "cursor_secret"),
        ("api", "tls_key_password"),
    } <= set(SECRETS)


def test_nothing_that_sounds_secret_is_anything_else() -> None:
    for section, field in Settings.model_fields.items():
        for name in field.annotation.model_fields:
            if any(word in name for word in ("password", "secret", "token")):
                assert (section, name) in SECRETS


def printed(settings: Settings, capsys: pytest.CaptureFixture[str]) -> Iterator[str]:
    found = view.listed(settings)
    view.show(found)
    yield capsys.readouterr().out
    yield orjson.dumps(view.as_json(found)).decode()
    yield repr(settings)
    yield str(settings)
    yield settings.model_dump_json()
    yield repr(settings.kafka)


def test_no_secret_is_shown(everything_set: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    for section, name in SECRETS:
        value = getattr(getattr(everything_set, section), name).get_secret_value()
        assert value == secret_of(section, name), "each is really there"
    for text in printed(everything_set, capsys):
        assert OWN not in text
        assert "sasl_username" in text


def test_every_setting_is_listed_with_what_sets_it(everything_set: Settings) -> None:
    told = view.as_json(view.listed(everything_set))
    for section, field in Settings.model_fields.items():
        assert set(told[section]) == set(field.annotation.model_fields)
        for name, one in told[section].items():
            assert one["variable"] == f"DIFFUSION_{section}_{name}".upper()
            expected = getattr(getattr(everything_set, section), name)
            if (section, name) in SECRETS:
                assert one["value"] == "set"
            elif isinstance(expected, Path):
                assert one["value"] == str(expected)
            else:
                assert one["value"] == expected


def test_what_nobody_set_is_said_to_be_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIFFUSION_API_PORT", "81")
    show_settings(json=True)
    told = orjson.loads(capsys.readouterr().out)
    assert told["api"]["port"] == {"value": 81, "default": False, "variable": "DIFFUSION_API_PORT"}
    assert told["api"]["host"]["default"]
    assert all(told[section][name]["value"] == "not set" for section, name in SECRETS)
    show_settings()
    lines = capsys.readouterr().out.splitlines()
    (line,) = (line for line in lines if line.startswith("api.port"))
    assert line.split() == ["api.port", "81", "not", "the", "default", "DIFFUSION_API_PORT"]


@pytest.mark.parametrize(("section", "name"), SECRETS)
def test_no_refusal_repeats_a_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, section: str, name: str
) -> None:
    """Whatever else is wrong, in the section of the secret or with itself."""
    monkeypatch.chdir(tmp_path)
    variable = f"{PREFIX}{section}_{name}".upper()
    for wrong in ({section: {name: [OWN]}}, {section: {"no_such": OWN}}, {"log": {"x": OWN}}):
        monkeypatch.setenv(variable, secret_of(section, name))
        check_refused(wrong)


@pytest.mark.parametrize(
    "name",
    ["sasl.password", "ssl.key.password", "ssl.key.pem", "ssl.keystore.password", "sasl.x.secret"],
)
@pytest.mark.parametrize("source", ["environment", "broken environment", "file"])
def test_no_refusal_repeats_a_secret_option(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, source: str
) -> None:
    monkeypatch.chdir(tmp_path)
    text = orjson.dumps({name: OWN}).decode()
    if source == "file":
        (tmp_path / "diffusion.toml").write_text(f'[kafka.options]\n"{name}" = "{OWN}"\n')
    else:
        broken = source == "broken environment"
        monkeypatch.setenv("DIFFUSION_KAFKA_OPTIONS", text[:-1] if broken else text)
    check_refused({})


def test_a_file_that_cannot_be_read_is_a_sentence_without_its_contents(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "diffusion.toml").write_text(f'[api]\njwt_secret = "{OWN}" "{OWN}"\n')
    check_refused({})


def check_refused(overrides: dict[str, Any]) -> None:
    """Neither the sentence nor a traceback, causes included, has the secret."""
    with pytest.raises(SettingsError) as caught:
        load(**overrides)
    assert OWN not in str(caught.value)
    assert OWN not in "".join(traceback.format_exception(caught.value))


def test_a_child_has_the_settings_of_its_parent(
    everything_set: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"options": {"socket.keepalive.enable": "true"}}
    parent = everything_set.model_copy(
        update={"kafka": everything_set.kafka.model_copy(update=options)}
    )
    for name, text in environment_of(parent).items():
        monkeypatch.setenv(name, text)
    assert load() == parent
