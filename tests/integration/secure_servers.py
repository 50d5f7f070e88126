"""Kafka and Cassandra that let nobody in without TLS and a password, started as ours are.

What `infra.local` would start is taken, and changed before it is started: Kafka has two listeners
more, one for SASL over TLS and one for certificates of clients, and its own for whoever starts it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

import orjson
from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from pydantic import SecretStr

from infra.cassandra.session import Session
from infra.local import data_dir, lifecycle
from infra.local.cassandra_server import cassandra_plan
from infra.local.jar_lock import read_lock
from infra.local.jars import class_path
from infra.local.java import java_executable
from infra.local.kafka_server import kafka_plan
from infra.local.plan import Plan, Runtime
from infra.local.ports import accepts, free_ports
from infra.local.settings import LocalSettings
from infra.settings import CassandraSettings
from schemas.errors import DiffusionError
from tests.certificates import Authority, Signed

USER, PASSWORD = "diffusion", "correct horse battery staple"
START_TIMEOUT_S = 180.0

_LISTENERS = """
listeners=BROKER://{host}:{port},CONTROLLER://{host}:{controller},SECURE://{host}:{secure},\
MUTUAL://{host}:{mutual}
advertised.listeners=BROKER://{host}:{port},SECURE://{host}:{secure},MUTUAL://{host}:{mutual}
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL,MUTUAL:SSL
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.truststore.type=PEM
ssl.truststore.location={authority}
listener.name.mutual.ssl.client.auth=required
listener.name.secure.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.secure.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}="{password}";
listener.name.secure.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
"""

_ENCRYPTION = """
client_encryption_options:
  enabled: true
  optional: false
  require_client_auth: false
  ssl_context_factory:
    class_name: org.apache.cassandra.security.PEMBasedSslContextFactory
  keystore: {keystore}
  truststore: {authority}
"""


@dataclass(frozen=True)
class Secure:
    """Where they are, and who signed their certificate."""

    authority: Authority
    kafka: str
    """Address of the listener that wants TLS and a password."""
    kafka_mutual: str
    """Of the one that wants the certificate of a client."""
    cassandra_port: int

    @property
    def cassandra(self) -> CassandraSettings:
        """Settings that Cassandra lets in."""
        return CassandraSettings(
            port=self.cassandra_port,
            tls=True,
            ca_file=self.authority.file,
            username=USER,
            password=PASSWORD,
        )


@contextmanager
def secure_servers(folder: Path) -> Iterator[Secure]:
    """Start both, with one certificate, and end them."""
    authority = Authority(folder / "certificates")
    signed = authority.sign()
    kafka, controller, secure, mutual, cassandra, storage = free_ports(6)
    settings = LocalSettings(
        data_dir=folder / "data",
        kafka_port=kafka,
        kafka_controller_port=controller,
        cassandra_port=cassandra,
        cassandra_storage_port=storage,
        start_timeout_s=START_TIMEOUT_S,
    )
    data_dir.prepare(settings.data_dir)
    found = Secure(authority, f"127.0.0.1:{secure}", f"127.0.0.1:{mutual}", cassandra)
    plans = (
        _kafka(settings, authority, signed, (secure, mutual)),
        _cassandra(settings, found, signed),
    )
    with ExitStack() as stack:
        for plan in plans:
            stack.callback(lifecycle.stop, plan.server)
            context = lifecycle.StartContext(
                timeout_s=START_TIMEOUT_S, progress=print, cancelled=Event()
            )
            lifecycle.start(plan, context)
        _make_users(kafka, found)
        yield found


def _runtime(settings: LocalSettings, name: str) -> Runtime:
    jars = class_path(read_lock()[name], settings.cache_dir, on_progress=print)
    return Runtime(settings, java_executable(), jars)


def _changed(plan: Plan, name: str, change: Callable[[str], str]) -> Plan:
    """The same plan with another text in the file of that name."""
    files = {path: change(text) if path.name == name else text for path, text in plan.files.items()}
    assert files != plan.files
    return replace(plan, files=files)


def _kafka(
    settings: LocalSettings, authority: Authority, signed: Signed, ports: tuple[int, int]
) -> Plan:
    more = _LISTENERS.format(
        host="127.0.0.1",
        port=settings.kafka_port,
        controller=settings.kafka_controller_port,
        secure=ports[0],
        mutual=ports[1],
        keystore=signed.both,
        authority=authority.file,
        user=USER,
        password=PASSWORD,
    )
    # Of two lines for one name, the later one holds.
    return _changed(
        kafka_plan(_runtime(settings, "kafka")), "kafka.properties", lambda text: text + more
    )


def _cassandra(settings: LocalSettings, found: Secure, signed: Signed) -> Plan:
    def change(text: str) -> str:
        more = _ENCRYPTION.format(
            keystore=orjson.dumps(str(signed.both)).decode(),
            authority=orjson.dumps(str(found.authority.file)).decode(),
        )
        return text.replace("AllowAllAuthenticator", "PasswordAuthenticator") + more

    def answers(port: int, _timeout_s: float) -> bool:
        if not accepts(port, 1.0):
            return False
        try:
            Session(_first(found.cassandra)).close()
        except DiffusionError:
            return False
        return True

    plan = _changed(cassandra_plan(_runtime(settings, "cassandra")), "cassandra.yaml", change)
    return replace(plan, server=replace(plan.server, answers=answers))


def _first(settings: CassandraSettings) -> CassandraSettings:
    """As the user whom Cassandra makes for itself."""
    return settings.model_copy(update={"username": "cassandra", "password": SecretStr("cassandra")})


def _make_users(kafka_port: int, found: Secure) -> None:
    admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{kafka_port}"})
    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4_096)
    wanted = UserScramCredentialUpsertion(USER, info, PASSWORD.encode())
    for made in admin.alter_user_scram_credentials([wanted]).values():
        made.result(timeout=30)
    session = Session(_first(found.cassandra))
    try:
        session.run_ddl(
            f"CREATE ROLE {USER} WITH PASSWORD = '{PASSWORD}' AND LOGIN = true AND SUPERUSER = true"
        )
    finally:
        session.close()
