"""Settings by which servers are known to us, and we to them: parts of `kafka` and `cassandra`.

TLS is all or nothing: certificates are always verified, names of hosts included, and there is no
setting to leave that out. What does not make sense together is refused when a program starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final, Literal, Self

from pydantic import FilePath, SecretStr, model_validator

from infra.section import Section

SECURITY_OPTIONS: Final = ("security.protocol", "sasl.", "ssl.", "enable.sasl.", "enable.ssl.")
"""How librdkafka's options of this kind begin. They are not taken from `kafka.options`: Faust does
not know them, so a stream worker would go without."""


class TlsFiles(Section):
    """Files of TLS, all in PEM."""

    section: ClassVar[str]
    """What the section is called, for sentences."""

    ca_file: FilePath | None = None
    """Certificates of the authorities that may vouch for the servers; without it, those that the
    system trusts."""
    cert_file: FilePath | None = None
    """Our own certificate and what leads to its authority, where the servers ask for one."""
    key_file: FilePath | None = None
    key_password: SecretStr = SecretStr("")
    """Of the key, if it is encrypted."""

    @model_validator(mode="after")
    def _files_go_together(self) -> Self:
        name = self.section
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError(f"{name}.cert_file and {name}.key_file go together: set both")
        if self.key_password.get_secret_value() and self.key_file is None:
            raise ValueError(f"{name}.key_password is set: set {name}.key_file, too")
        return self

    def tls_only(self) -> str | None:
        """Name a setting that only TLS has a use for and that is set; None if there is none."""
        names = ("ca_file", "cert_file", "key_file")
        return next((name for name in names if getattr(self, name) is not None), None)


class KafkaSecurity(TlsFiles):
    """How the brokers are spoken to: with TLS or without, with a password or without."""

    section = "kafka"

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """Of the brokers' listener. `SSL` is TLS, whose client certificate, if there is one, is who we
    are; `SASL_` adds a name and a password."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    """How the password is proven. PLAIN hands it over, SCRAM does not."""
    sasl_username: str = ""
    sasl_password: SecretStr = SecretStr("")

    @property
    def tls(self) -> bool:
        """Whether the line is encrypted."""
        return self.security_protocol in {"SSL", "SASL_SSL"}

    @property
    def sasl(self) -> bool:
        """Whether we give a name and a password."""
        return self.security_protocol in {"SASL_PLAINTEXT", "SASL_SSL"}

    @model_validator(mode="after")
    def _protocol_fits(self) -> Self:
        protocol = f"kafka.security_protocol is {self.security_protocol}"
        needless = None if self.tls else self.tls_only()
        if needless is not None:
            raise ValueError(
                f"{protocol}, which has no use for kafka.{needless}: set SSL or SASL_SSL"
            )
        password = bool(self.sasl_password.get_secret_value())
        if self.sasl and not (self.sasl_username and password):
            raise ValueError(f"{protocol}: set kafka.sasl_username and kafka.sasl_password")
        if not self.sasl and (self.sasl_username or password):
            raise ValueError(
                f"{protocol}, which has no use for kafka.sasl_username and kafka.sasl_password: "
                "set SASL_SSL"
            )
        if self.security_protocol == "SASL_PLAINTEXT" and self.sasl_mechanism == "PLAIN":
            raise ValueError(
                f"{protocol} and kafka.sasl_mechanism is PLAIN, by which everybody on the way can "
                "read the password: set SASL_SSL, or a SCRAM mechanism"
            )
        return self


class CassandraSecurity(TlsFiles):
    """How the nodes are spoken to: with TLS or without, with a password or without."""

    section = "cassandra"

    tls: bool = False
    """Speak TLS. The certificate of a node must name the address that the driver connects to: the
    node's `rpc_address` or `broadcast_rpc_address`, because it resolves contact points first."""
    username: str = ""
    password: SecretStr = SecretStr("")
    """Readable on the way without `tls`."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        needless = None if self.tls else self.tls_only()
        if needless is not None:
            raise ValueError(
                f"cassandra.tls is false, which has no use for cassandra.{needless}: set it to true"
            )
        if bool(self.username) != bool(self.password.get_secret_value()):
            raise ValueError("cassandra.username and cassandra.password go together")
        return self


def free_options(options: Mapping[str, str]) -> None:
    """Raise `ValueError` if there is one among them that a setting stands for; tells no value."""
    taken = sorted(name for name in options if name.lower().startswith(SECURITY_OPTIONS))
    if taken:
        raise ValueError(
            f"{', '.join(taken)}: set kafka.security_protocol, kafka.ca_file, kafka.cert_file, "
            "kafka.key_file, kafka.key_password, kafka.sasl_mechanism, kafka.sasl_username and "
            "kafka.sasl_password instead, which all clients understand"
        )
