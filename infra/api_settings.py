"""Settings of the sync API: the section `api`."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

from pydantic import Field, FilePath, SecretStr, field_validator, model_validator

from infra.section import Port, Section

DEVELOPMENT_SECRET = "development-only-secret-not-for-production"  # noqa: S105  # refused off loopback
"""Signs tokens on a developer's machine; the API refuses it on any address but loopback."""

SECRET_BYTES_MIN = 32
"""RFC 7518 section 3.2: a key for HS256 is at least as long as the hash."""

LEEWAY_S = 30
"""Half a minute: what machines whose clocks are kept by NTP are apart at worst."""


class ApiSettings(Section):
    """The sync API."""

    host: str = "127.0.0.1"
    port: Port = 18_080
    tls_cert_file: FilePath | None = None
    """Certificate in PEM, and what leads to its authority: the API then speaks TLS and nothing
    else. Without it, TLS is a proxy's business. Read when the process starts."""
    tls_key_file: FilePath | None = None
    tls_key_password: SecretStr = SecretStr("")
    """Of the key, if it is encrypted."""
    jwt_secret: SecretStr = SecretStr(DEVELOPMENT_SECRET)
    """HS256 secret of the bearer tokens; the token's `sub` is the user id."""
    jwt_keys_file: Path | None = None
    """A key set (RFC 7517) in place of the secret: HS256, RS256 or EdDSA. It is read again when it
    changes, so keys are rotated by writing it anew."""
    jwt_audience: str = "diffusion-sync"
    jwt_leeway_s: int = Field(default=LEEWAY_S, ge=0, le=300)
    """Clocks of the issuer and of this service may differ by so much."""
    jwt_device_required: bool = False
    """Refuse tokens that do not say for which device (`device_id`) they are. Those that do are good
    for that device only, in any case."""
    cursor_secret: SecretStr = SecretStr("")
    """Authenticates cursors; all instances share it. Empty: derived from `jwt_secret`."""
    rows_per_sync_max: int = Field(default=20_000, ge=100, le=1_000_000)
    """Change rows read for one answer; a user with more is corrected in full."""
    changes_per_delta_max: int = Field(default=2_000, ge=1, le=100_000)
    """Changed conversations told by one delta, over all its pages; each page reads all their rows
    again, so with more of them the snapshot costs less, and shows the list sooner."""
    device_ttl_days: float = Field(default=90.0, ge=2, le=1_825)
    """How long the last cursor of a device that does not return is kept, for operators. At
    least two days, because a device with nothing new is noted once a day."""
    connections_max: int = Field(default=5_000, ge=1, le=100_000)
    """Persistent connections of one process: at 27 KB each, 135 MB; at 50 KB, if it speaks TLS
    itself, 250 MB. More get 503."""
    connections_per_user_max: int = Field(default=8, ge=1, le=1_000)
    """Of one user in one process: a phone, a tablet, computers and tabs. More get 429."""
    user_rate: float = Field(default=20.0, ge=0, le=100_000)
    """Syncs and frames of one user a second, after a burst; 0: as many as he likes. More get 429.
    An app makes one after a poke, of which there is one a second; 20 are 2 to 4 % of a core."""
    user_burst: int = Field(default=300, ge=1, le=1_000_000)
    """At once. The most that is right: eight devices fetching 15,000 conversations each anew."""
    address_rate: float = Field(default=100.0, ge=0, le=100_000)
    """Tokens of one address (of IPv6: one /64) that turn out not to be valid, a second, after a
    burst; 0: as many as come. More are not checked, and get 429: 1 % of a core, where checking all
    would be all of it. Thousands may share an address: what is valid does not count, and tokens
    that were seen to be go on being answered."""
    address_burst: int = Field(default=2_000, ge=1, le=1_000_000)
    """At once: the tokens of a whole campus may expire in one night."""
    trusted_proxies: str = ""
    """Addresses and networks, with commas between them, whose `X-Forwarded-For` is believed. Empty:
    nobody's, because whoever is believed can be anybody. All who come through a proxy that is not
    here count as one address; through one on this machine, as none."""
    requests_max: int = Field(default=1_000, ge=0, le=100_000)
    """Syncs under way in one process, over both transports; 0: as many as come. More get 503. A
    process answers about 1,000 a second, so that who is let in waits about a second (Little's law);
    fewer are let in while the event loop is late (`syncapi/overload.py`)."""
    idle_s: float = Field(default=3_600.0, gt=0, le=86_400)
    """A connection without a frame of the client for so long is closed; an app that is used sends
    one."""
    pokes: bool = True
    """Tell connected users when something changed for them. Needs Kafka; without, they ask."""
    page: bool | None = None
    """Show the page of live figures at `/`. It names nobody, but says how much there is to do: by
    default it is for whoever asks from this machine itself and through no proxy; True: for whoever
    reaches the API; False: for nobody."""
    figures_targets: str = ""
    """Of which processes the page tells besides: a file as `diffusion targets` writes it for
    Prometheus, or a pattern of such files. Empty: of this process alone; where `diffusion up` runs
    the servers, of all programs of this machine."""
    drain_s: float = Field(default=10.0, ge=0, le=300)
    """Requests under way are given so long when the process is asked to end."""
    reconnect_spread_s: float = Field(default=30.0, ge=0, le=3_600)
    """Connections of a process that ends are told to come back spread over so long: 5,000 of them
    are 170 handshakes a second for those that stay."""

    @property
    def url(self) -> str:
        """Where a client on this machine finds it."""
        scheme = "http" if self.tls_cert_file is None else "https"
        return f"{scheme}://{self.host}:{self.port}"

    @property
    def device_ttl_s(self) -> int:
        """`device_ttl_days` in seconds."""
        return int(self.device_ttl_days * 86_400)

    def unlimited(self) -> ApiSettings:
        """Return the same without limits of rate and load, for whoever measures how much it can."""
        off = {"user_rate": 0.0, "address_rate": 0.0, "requests_max": 0}
        return self.model_copy(update=off)

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies_are_addresses(cls, text: str) -> str:
        """A name, or `*`, would be taken by the server for one that no peer has, or for all."""
        for part in text.split(",") if text else ():
            try:
                ip_network(part.strip())
            except ValueError as error:
                raise ValueError(f"api.trusted_proxies: {error}") from error
        return text

    @model_validator(mode="after")
    def _tls_files_go_together(self) -> ApiSettings:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("api.tls_cert_file and api.tls_key_file go together: set both")
        if self.tls_key_password.get_secret_value() and self.tls_key_file is None:
            raise ValueError("api.tls_key_password is set: set api.tls_key_file, too")
        return self

    @model_validator(mode="after")
    def _secret_is_long_enough(self) -> ApiSettings:
        secret = self.jwt_secret.get_secret_value()
        if len(secret.encode()) < SECRET_BYTES_MIN:
            raise ValueError(f"api.jwt_secret must have at least {SECRET_BYTES_MIN} bytes")
        loopback = self.host in {"127.0.0.1", "::1", "localhost"}
        if self.jwt_keys_file is not None:
            if not self.cursor_secret.get_secret_value() and not loopback:
                raise ValueError("set api.cursor_secret: with api.jwt_keys_file there is no other")
            return self
        if secret == DEVELOPMENT_SECRET and not loopback:
            raise ValueError(
                f"api.host is {self.host}: set api.jwt_secret to a secret of your own first"
            )
        return self
