"""Everything over TLS and with passwords, on real servers; and who comes otherwise is told why not."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from pydantic import SecretStr

from diffusion.migrate import migrate
from diffusion.processes import Child, Processes, worker
from diffusion.system import environment_of, wait_quiet
from diffusion.writing import producer_for
from infra.api_settings import ApiSettings
from infra.cassandra.session import Session, StoreRefused, StoreUnavailable
from infra.clock import now_ms
from infra.kafka import admin
from infra.kafka.admin import Admin, BrokerRefused, BrokerUnavailable
from infra.local.ports import free_ports
from infra.settings import CassandraSettings, KafkaSettings, LocalSettings, Settings
from schemas import ids
from schemas.errors import PermanentError, RetryableError
from schemas.events import Message
from sdk.backend import ProducerSettings
from sdk.client import NetworkError, SyncClient
from sdk.client.events import State, StateChanged
from syncapi.auth import issue
from tests.certificates import KEY_PASSWORD, Authority
from tests.integration.secure_servers import PASSWORD, USER, Secure, secure_servers
from tests.integration.support import NOW_MS

PATIENCE_S = 60.0
WRONG = "not the password at all"
SECRET = "a secret for tokens, with bytes enough for HS256"


def until(true: Callable[[], bool], look: Callable[[], object] = lambda: None) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        look()
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


@dataclass(frozen=True)
class Running:
    """The system, and who signed the certificates of all of it."""

    settings: Settings
    secure: Secure

    @property
    def url(self) -> str:
        return self.settings.api.url

    def token(self, user: str) -> str:
        return issue(self.settings.api, user, now_ms=now_ms(), lifetime_s=600)

    def client(self, user: str, **options: Any) -> SyncClient:
        trusted = {"url": self.url, "ca_file": self.secure.authority.file}
        return SyncClient(**{**trusted, "token": self.token(user), "store": ":memory:", **options})


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    with secure_servers(tmp_path_factory.mktemp("secure")) as found:
        yield found


@pytest.fixture(scope="module")
def system(secure: Secure, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    logs = tmp_path_factory.mktemp("logs")
    (port,) = free_ports(1)
    signed = secure.authority.sign()
    settings = Settings(
        kafka=kafka(secure),
        cassandra=secure.cassandra,
        api=ApiSettings(
            port=port,
            jwt_secret=SECRET,
            tls_cert_file=signed.certificate,
            tls_key_file=signed.encrypted_key,
            tls_key_password=KEY_PASSWORD,
        ),
        local=LocalSettings(manage=False),
    )
    migrate(settings, print)
    variables = environment_of(settings)
    with Processes() as processes:
        for kind in ("stream-worker", "materializer"):
            log = logs / f"{kind}.log"
            processes.start(worker(kind, kind, 0, environment=variables, log=log))
        processes.start(Child("api", ("api",), variables, logs / "api.log", ""))
        until(lambda: is_ready(settings, secure), processes.check)
        yield Running(settings, secure)
    for log in logs.iterdir():
        assert "Traceback" not in log.read_text(), log.read_text()


def is_ready(settings: Settings, secure: Secure) -> bool:
    try:
        return httpx.get(
            f"{settings.api.url}/readyz", verify=secure.authority.believing()
        ).is_success
    except httpx.TransportError:
        return False


def kafka(secure: Secure, **changed: Any) -> KafkaSettings:
    lets_in = {
        "bootstrap_servers": secure.kafka,
        "security_protocol": "SASL_SSL",
        "ca_file": secure.authority.file,
        "sasl_username": USER,
        "sasl_password": PASSWORD,
    }
    return KafkaSettings(**{**lets_in, **changed})


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that signed nothing here."""
    return Authority(tmp_path_factory.mktemp("stranger"))


def test_a_write_goes_all_the_way(system: Running, tmp_path: Path) -> None:
    chat = ids.one_to_one("ann", "bob")
    with producer_for(system.settings.kafka) as producer:
        producer.send(Message(chat, 3, "ann", NOW_MS, ("ann", "bob")))
    wait_quiet(system.settings)
    with system.client("bob") as client:
        assert client.sync().path == "full"
        assert client.unread_total() == 3

    async def asynchronously() -> None:
        async with system.client("bob", store=tmp_path / "bob.db") as client:
            assert (await client.sync()).path == "full"
            assert client.unread_total() == 3

    asyncio.run(asynchronously())


def test_a_poke_comes_over_the_connection(system: Running) -> None:
    eve = ids.one_to_one("eve", "fay")
    events: list[Any] = []

    def is_live() -> bool:
        return any(
            isinstance(one, StateChanged) and one.after is State.LIVE for one in list(events)
        )

    with system.client("fay", on_event=events.append) as client:
        client.follow()
        until(is_live, client.check)
        with producer_for(system.settings.kafka) as producer:
            producer.send(Message(eve, 1, "eve", NOW_MS, ("eve", "fay")))
        until(lambda: client.unread_total() == 1, client.check)

    async def asynchronously() -> None:
        events.clear()
        async with system.client("fay", on_event=events.append) as client:
            await client.follow()
            await asyncio.to_thread(until, is_live)
            assert client.unread_total() == 1

    asyncio.run(asynchronously())


# Kafka.


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is refused is refused at once, and the client goes on trying until time is up."""
    monkeypatch.setattr(admin, "REQUEST_TIMEOUT_S", 3.0)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
def test_kafka_lets_in_who_knows_the_password(secure: Secure, mechanism: str) -> None:
    Admin(kafka(secure, sasl_mechanism=mechanism)).ping()


def test_kafka_lets_in_who_has_a_certificate(secure: Secure) -> None:
    mine = secure.authority.sign("backend.example.org")
    found = KafkaSettings(
        bootstrap_servers=secure.kafka_mutual,
        security_protocol="SSL",
        ca_file=secure.authority.file,
        cert_file=mine.certificate,
        key_file=mine.encrypted_key,
        key_password=KEY_PASSWORD,
    )
    Admin(found).ping()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("wrong", "refusal", "advice"),
    [
        ("authority", BrokerRefused, "DIFFUSION_KAFKA_CA_FILE"),
        ("name", BrokerRefused, "DIFFUSION_KAFKA_CA_FILE"),
        ("password", BrokerRefused, "DIFFUSION_KAFKA_SASL_PASSWORD"),
        ("plain password", BrokerRefused, "DIFFUSION_KAFKA_SASL_PASSWORD"),
        ("no TLS", BrokerUnavailable, "DIFFUSION_KAFKA_SECURITY_PROTOCOL"),
    ],
)
def test_kafka_refuses_whoever_else(
    secure: Secure, stranger: Authority, wrong: str, refusal: type[Exception], advice: str
) -> None:
    settings = {
        "authority": kafka(secure, ca_file=stranger.file),
        "name": kafka(secure, bootstrap_servers=secure.kafka.replace("127.0.0.1", "localhost")),
        "password": kafka(secure, sasl_password=WRONG),
        "plain password": kafka(secure, sasl_password=WRONG, sasl_mechanism="PLAIN"),
        "no TLS": KafkaSettings(bootstrap_servers=secure.kafka),
    }[wrong]
    with pytest.raises(refusal, match=advice) as caught:
        Admin(settings).ping()
    assert secure.kafka.rpartition(":")[2] in str(caught.value)
    assert WRONG not in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "refusal", "advice"),
    [
        ("authority", PermanentError, "ssl.ca.location"),
        ("password", PermanentError, "sasl.password"),
        ("no TLS", RetryableError, r"security\.protocol"),
    ],
)
def test_a_backend_is_told_why_it_is_refused(
    secure: Secure, stranger: Authority, wrong: str, refusal: type[Exception], advice: str
) -> None:
    settings = {
        "authority": kafka(secure, ca_file=stranger.file),
        "password": kafka(secure, sasl_password=WRONG),
        "no TLS": KafkaSettings(bootstrap_servers=secure.kafka),
    }[wrong]
    with pytest.raises(refusal, match=advice) as caught:
        producer_for(settings, settings=ProducerSettings(connect_timeout_s=3.0))
    assert WRONG not in str(caught.value)


# Cassandra.


@pytest.mark.parametrize(
    ("wrong", "refusal", "advice"),
    [
        ("authority", StoreRefused, "DIFFUSION_CASSANDRA_CA_FILE"),
        ("password", StoreRefused, "DIFFUSION_CASSANDRA_PASSWORD"),
        ("no password", StoreRefused, "DIFFUSION_CASSANDRA_PASSWORD"),
        ("no TLS", StoreUnavailable, "DIFFUSION_CASSANDRA_TLS"),
    ],
)
def test_cassandra_refuses_whoever_else(
    secure: Secure, stranger: Authority, wrong: str, refusal: type[Exception], advice: str
) -> None:
    lets_in = {
        "port": secure.cassandra_port,
        "tls": True,
        "ca_file": secure.authority.file,
        "username": USER,
        "password": PASSWORD,
    }
    changed: dict[str, dict[str, Any]] = {
        "authority": {"ca_file": stranger.file},
        "password": {"password": WRONG},
        "no password": {"username": "", "password": ""},
        "no TLS": {"tls": False, "ca_file": None},
    }
    with pytest.raises(refusal, match=advice) as caught:
        Session(CassandraSettings(**{**lets_in, **changed[wrong]}))
    assert WRONG not in str(caught.value)


def command(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "diffusion", *arguments],
        env={**os.environ, **environment_of(settings)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def test_commands_speak_as_the_settings_say(system: Running) -> None:
    shown = command(system.settings, "status", "--json")
    assert shown.returncode == 0, shown.stderr
    states = {one["name"]: one["state"] for one in orjson.loads(shown.stdout)}
    assert states["kafka"] == states["cassandra"] == "answers"
    ca_file = str(system.secure.authority.file)
    synced = command(system.settings, "sync", "nobody", "--ca-file", ca_file, "--json")
    assert synced.returncode == 0, synced.stderr
    told = command(system.settings, "settings", "--json")
    for secret in (PASSWORD, SECRET, KEY_PASSWORD):
        assert secret not in told.stdout + told.stderr


def test_a_program_that_is_refused_says_so_in_a_sentence(system: Running) -> None:
    cassandra = system.settings.cassandra.model_copy(update={"password": SecretStr(WRONG)})
    settings = system.settings.model_copy(update={"cassandra": cassandra})
    done = command(settings, "stream-worker")
    assert done.returncode == 1
    assert "Set DIFFUSION_CASSANDRA_USERNAME and DIFFUSION_CASSANDRA_PASSWORD" in done.stderr
    assert "Traceback" not in done.stderr
    assert WRONG not in done.stderr


# The API.


@pytest.mark.parametrize(
    ("wrong", "advice"),
    [
        ("authority", "give its own as `ca_file`"),
        ("no authority", "give its own as `ca_file`"),
        ("name", "a name that the certificate has"),
        ("no TLS", "its address begins with https://"),
    ],
)
@pytest.mark.parametrize("awaits", [False, True])
def test_a_device_believes_no_other_server(
    system: Running, stranger: Authority, wrong: str, advice: str, *, awaits: bool
) -> None:
    changed: dict[str, dict[str, Any]] = {
        "authority": {"ca_file": stranger.file},
        "no authority": {"ca_file": None},
        "name": {"url": system.url.replace("127.0.0.1", "localhost")},
        "no TLS": {"url": system.url.replace("https", "http"), "ca_file": None},
    }
    client = system.client("ann", **changed[wrong])

    def blocking() -> None:
        with client:
            client.sync()

    async def asynchronously() -> None:
        async with client as other:
            await other.sync()

    with pytest.raises(NetworkError, match=advice):
        asyncio.run(asynchronously()) if awaits else blocking()
