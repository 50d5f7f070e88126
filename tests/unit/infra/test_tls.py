"""TLS contexts: what is verified, from which version on, and a sentence for files that will not do."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from infra.api_settings import ApiSettings
from infra.security_settings import CassandraSecurity
from infra.settings import CassandraSettings, KafkaSettings, SettingsError
from infra.tls import client_context, server_context
from tests.certificates import KEY_PASSWORD, Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


def of_cassandra(**files: Any) -> CassandraSettings:
    return CassandraSettings(tls=True, **files)


def of_api(**files: Any) -> ApiSettings:
    return ApiSettings(**files)


def test_clients_verify_authority_and_name(authority: Authority) -> None:
    kafka = KafkaSettings(security_protocol="SSL", ca_file=authority.file)
    for context in (client_context(of_cassandra(ca_file=authority.file)), client_context(kafka)):
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        assert len(context.get_ca_certs()) == 1, "a file is in place of the system's, not beside"


def test_without_a_file_the_system_says_whom_to_trust() -> None:
    context = client_context(of_cassandra())
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_the_api_speaks_no_old_version(authority: Authority) -> None:
    signed = authority.sign()
    context = server_context(of_api(tls_cert_file=signed.certificate, tls_key_file=signed.key))
    assert context is not None
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_without_files_the_api_speaks_no_tls() -> None:
    assert server_context(of_api()) is None


def test_an_encrypted_key_is_opened_by_its_password(authority: Authority) -> None:
    signed = authority.sign()
    files = {"cert_file": signed.certificate, "key_file": signed.encrypted_key}
    client_context(of_cassandra(**files, key_password=KEY_PASSWORD))
    served = {f"tls_{name}": path for name, path in files.items()}
    assert server_context(of_api(**served, tls_key_password=KEY_PASSWORD)) is not None


@pytest.mark.parametrize("password", ["", "not the one"])
def test_a_key_that_does_not_open_is_a_sentence_and_asks_nobody(
    authority: Authority, password: str
) -> None:
    signed = authority.sign()
    files = {"cert_file": signed.certificate, "key_file": signed.encrypted_key}
    with pytest.raises(SettingsError) as of_client:
        client_context(of_cassandra(**files, key_password=password))
    served = {f"tls_{name}": path for name, path in files.items()}
    with pytest.raises(SettingsError) as of_server:
        server_context(of_api(**served, tls_key_password=password))
    for caught, names in (
        (of_client, ("cassandra.cert_file", "cassandra.key_file")),
        (of_server, ("api.tls_cert_file", "api.tls_key_file")),
    ):
        assert all(name in str(caught.value) for name in names)
        assert str(signed.encrypted_key) in str(caught.value)
        assert not password or password not in str(caught.value)


def test_a_key_of_another_certificate_is_a_sentence(authority: Authority) -> None:
    one, other = authority.sign(), authority.sign("localhost")
    with pytest.raises(SettingsError, match=r"api\.tls_key_file .*(?i:mismatch)"):
        server_context(of_api(tls_cert_file=one.certificate, tls_key_file=other.key))


def test_a_file_that_is_no_certificate_is_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "authority.pem"
    file.write_text("no certificate")
    with pytest.raises(SettingsError, match=rf"cassandra\.ca_file {file} cannot be used"):
        client_context(of_cassandra(ca_file=file))


def test_there_is_no_setting_that_turns_verification_off() -> None:
    names = {*KafkaSettings.model_fields, *CassandraSecurity.model_fields}
    assert not {name for name in names if "verif" in name or "insecure" in name or "check" in name}
