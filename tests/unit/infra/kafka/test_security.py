"""How brokers are spoken to, in librdkafka's words, and what of its complaints is kept."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError, Producer

from infra.kafka.config import common, consumer, own, producer
from infra.kafka.security import REFUSAL_STANDS_S, Complaints, options
from infra.settings import KafkaSettings, SettingsError
from tests.certificates import KEY_PASSWORD, Authority, Signed

SASL = {"sasl_username": "me", "sasl_password": "hunter2"}
VERIFIED = {
    "enable.ssl.certificate.verification": "true",
    "ssl.endpoint.identification.algorithm": "https",
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def signed(authority: Authority) -> Signed:
    return authority.sign()


def settings(protocol: str, **more: Any) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers="k:1", security_protocol=protocol, **more)


def test_nothing_is_said_of_what_is_plain() -> None:
    assert options(settings("PLAINTEXT")) == {}


def test_tls_is_verified_whatever_else_is_set(authority: Authority) -> None:
    assert options(settings("SSL")) == {"security.protocol": "SSL", **VERIFIED}
    found = options(settings("SSL", ca_file=authority.file))
    assert found == {
        "security.protocol": "SSL",
        "ssl.ca.location": str(authority.file),
        **VERIFIED,
    }


def test_a_certificate_of_our_own_goes_with_its_key(authority: Authority, signed: Signed) -> None:
    files = {"cert_file": signed.certificate, "key_file": signed.encrypted_key}
    mine = settings("SSL", ca_file=authority.file, **files, key_password=KEY_PASSWORD)
    assert options(mine) == {
        "security.protocol": "SSL",
        "ssl.ca.location": str(authority.file),
        "ssl.certificate.location": str(signed.certificate),
        "ssl.key.location": str(signed.encrypted_key),
        "ssl.key.password": KEY_PASSWORD,
        **VERIFIED,
    }
    plain = settings("SSL", cert_file=signed.certificate, key_file=signed.key)
    assert "ssl.key.password" not in options(plain)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_password_goes_with_its_mechanism(mechanism: str) -> None:
    told = {
        "sasl.mechanism": mechanism,
        "sasl.username": "me",
        "sasl.password": "hunter2",
    }
    over_tls = settings("SASL_SSL", sasl_mechanism=mechanism, **SASL)
    assert options(over_tls) == {"security.protocol": "SASL_SSL", **VERIFIED, **told}
    if mechanism != "PLAIN":
        plain = settings("SASL_PLAINTEXT", sasl_mechanism=mechanism, **SASL)
        assert options(plain) == {"security.protocol": "SASL_PLAINTEXT", **told}


def test_every_client_has_them_and_librdkafka_takes_them(
    authority: Authority, signed: Signed
) -> None:
    files = {"cert_file": signed.certificate, "key_file": signed.encrypted_key}
    found = settings("SASL_SSL", ca_file=authority.file, **files, key_password=KEY_PASSWORD, **SASL)
    said = options(found)
    for told in (own(found), common(found, "c"), producer(found, "c"), consumer(found, "c", "g")):
        assert said.items() <= told.items()
    Producer(common(found, "c") | {"log_level": 0})


def test_a_file_that_will_not_do_is_a_sentence_before_librdkafka_sees_it(signed: Signed) -> None:
    found = settings("SSL", cert_file=signed.certificate, key_file=signed.encrypted_key)
    with pytest.raises(SettingsError, match=r"kafka\.key_file"):
        options(found)


def complaint(code: int, text: str) -> KafkaError:
    return KafkaError(code, text)


def test_the_complaint_that_says_what_to_do_is_kept_and_told_once() -> None:
    complaints = Complaints()
    assert complaints.take() is None
    complaints.hear(complaint(KafkaError._TRANSPORT, "broken"))
    complaints.hear(complaint(KafkaError._SSL, "who are you?"))
    complaints.hear(complaint(KafkaError._TRANSPORT, "certificate verify failed"))
    complaints.hear(complaint(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
    last = complaints.take()
    assert last is not None
    assert (last.code(), last.str()) == (KafkaError._SSL, "who are you?")
    assert complaints.take() is None


def test_a_refusal_of_yesterday_does_not_hide_why_a_broker_is_away_today() -> None:
    now = 0.0
    complaints = Complaints(lambda: now)
    complaints.hear(complaint(KafkaError._AUTHENTICATION, "no such user"))
    now = REFUSAL_STANDS_S + 1
    complaints.hear(complaint(KafkaError._TRANSPORT, "Connection refused"))
    last = complaints.take()
    assert last is not None
    assert last.str() == "Connection refused"
