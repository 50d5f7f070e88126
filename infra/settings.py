"""Settings of every program: environment, then `diffusion.toml`, then the defaults below.

`DIFFUSION_<SECTION>_<NAME>` in the environment, `name` under `[section]` in the file. The file is
`diffusion.toml` in the current folder, or the one that `DIFFUSION_CONFIG` names. Values are checked
together when a program starts; a wrong one is refused with a sentence.
"""

from __future__ import annotations

import os
from pathlib import Path
from tomllib import TOMLDecodeError
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import SettingsError as SourceError

from infra.api_settings import ApiSettings
from infra.openim_settings import OpenimSettings
from infra.section import Port, Section
from infra.security_settings import CassandraSecurity, KafkaSecurity, free_options
from infra.tracing import TracingSettings
from schemas.errors import PermanentError
from schemas.limits import PARTITIONS_MAX

PREFIX = "DIFFUSION_"
CONFIG_VARIABLE = "DIFFUSION_CONFIG"
DEFAULT_CONFIG = "diffusion.toml"

Partitions = Annotated[int, Field(ge=1, le=PARTITIONS_MAX)]

WINDOW_MS_MIN = 1_000
"""Windows are cut by the brokers' clocks; shorter ones would make a row of every message."""


class SettingsError(PermanentError):
    """Settings that do not fit; the message names the variable and the reason."""


class KafkaSettings(KafkaSecurity):
    """Where Kafka is, and the shape of the topics that `diffusion migrate` creates."""

    bootstrap_servers: str = "127.0.0.1:19092"
    write_partitions: Partitions = 8
    """Partitions of each write topic: the most stream workers that can share the work."""
    change_partitions: Partitions = 16
    """Partitions of the change log: the most materializers, and the most records a change
    becomes."""
    replication_factor: int = Field(default=1, ge=1, le=9)
    stream_group: str = "diffusion-streams"
    materializer_group: str = "diffusion-materializer"
    session_timeout_s: float = Field(default=10.0, ge=6, le=300)
    """A worker that is silent so long loses its partitions. Short, because replays are harmless."""
    options: dict[str, str] = Field(default_factory=dict)
    """Further librdkafka options, given to every client of ours but Faust, which is another one.
    How the brokers are spoken to is not among them (`infra.security_settings`)."""

    @field_validator("options")
    @classmethod
    def _options_are_free(cls, options: dict[str, str]) -> dict[str, str]:
        free_options(options)
        return options


class CassandraSettings(CassandraSecurity):
    """Where Cassandra is, and how it is spoken to."""

    contact_points: str = "127.0.0.1"
    port: Port = 19042
    keyspace: str = Field(default="diffusion", pattern=r"^[a-z][a-z0-9_]{0,47}$")
    local_datacenter: str = "datacenter1"
    replication_factor: int = Field(default=1, ge=1, le=9)
    request_timeout_s: float = Field(default=10.0, gt=0, le=50)
    """At most 50 s: with two minutes of trying and a minute of clock skew, a head must land within
    the margin by which the read side looks back (`syncapi.planner.READ_SIDE_MARGIN_MS`)."""

    @property
    def hosts(self) -> list[str]:
        """The contact points, apart."""
        return [host.strip() for host in self.contact_points.split(",") if host.strip()]


class LogSettings(Section):
    """The change log: how long it reaches back, and how coarse its windows are. And, under the same
    word, what the programs log.
    """

    retention_hours: float = Field(default=168.0, gt=0, le=8_760)
    """A device away for longer is corrected in full. A week covers a holiday without the phone."""
    window_minutes: float = Field(default=10.0, gt=0, le=1_440)
    """Fixed per epoch. A busy conversation costs one row a window, not one a message."""
    format: Literal["console", "json"] = "console"
    """How the programs log: lines for a person, or one JSON object a line (docs/tracing.md)."""
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "WARNING"
    """What they log: this and worse. Libraries are never heard below INFO, where they would name
    users."""

    @field_validator("level", mode="before")
    @classmethod
    def _level_in_any_case(cls, level: Any) -> Any:
        return level.upper() if isinstance(level, str) else level

    @property
    def retention_ms(self) -> int:
        """Retention in milliseconds."""
        return int(self.retention_hours * 3_600_000)

    @property
    def window_ms(self) -> int:
        """Length of a window in milliseconds."""
        return int(self.window_minutes * 60_000)

    @model_validator(mode="after")
    def _window_inside_retention(self) -> LogSettings:
        if self.window_ms < WINDOW_MS_MIN:
            raise ValueError(f"log.window_minutes must be at least {WINDOW_MS_MIN} ms")
        if self.window_ms * 2 > self.retention_ms:
            raise ValueError("log.window_minutes must be at most half of log.retention_hours")
        return self


MARK_SHARE_MAX = 0.9
"""Up to here no constant activity makes the policy switch more than twice (tests/unit/streams)."""


class PolicySettings(Section):
    """Who is diffused: by size, by activity, and what that costs. Costs are in rows written."""

    members_max: int = Field(default=5_000, ge=2, le=10_000)
    """Members above which a conversation is read-diffused whatever it costs: a single message then
    makes no more rows than a materializer writes in a second."""
    members_return: int = Field(default=4_000, ge=1, le=10_000)
    """Members at which such a conversation may return; below `members_max`, so that a group at the
    edge does not switch with every join."""
    small_members: int = Field(default=8, ge=1, le=1_000)
    """Up to so many, a conversation is always diffused and its activity is not kept: a switch could
    not save what keeping count costs."""
    rows_per_second_max: float = Field(default=5_000.0, gt=0, le=1_000_000)
    """Rows a second that one conversation may cost, and the pace of fences, mass joins and mass
    leaves in one worker: half of what one materializer writes."""
    dwell_seconds: float = Field(default=300.0, ge=0, le=86_400)
    """Time after a switch in which cost alone does not switch again: half a window."""
    sync_rate_per_hour: float = Field(default=4.0, gt=0, le=3_600)
    """Syncs an hour of an average member, over the day: reading is paid for by each of them."""
    row_cost: float = Field(default=1.0, gt=0)
    """One row of one user in the change index: the unit."""
    mark_cost: float = Field(default=0.05, ge=0)
    """One user named by a change whose row exists: decoding and folding, without the write."""
    check_cost: float = Field(default=0.5, gt=0)
    """One head looked at by one sync: 27,000 heads a second were read where 21,000 rows were
    written, and a good part of them comes from the cache."""
    sweep_seconds: float = Field(default=30.0, ge=0.1, le=3_600)
    """How often a worker looks for conversations that should return without a message."""

    @model_validator(mode="after")
    def _thresholds_in_order(self) -> PolicySettings:
        if self.members_return >= self.members_max:
            raise ValueError(
                "policy.members_return must be below policy.members_max: a group between them "
                "would switch with every join and leave"
            )
        if self.mark_cost > MARK_SHARE_MAX * self.row_cost:
            raise ValueError(
                f"policy.mark_cost must be at most {MARK_SHARE_MAX} of policy.row_cost: a mark is "
                "cheaper than the row it is folded into, and a policy told otherwise would flap"
            )
        if self.small_members > self.members_return:
            raise ValueError("policy.small_members must be at most policy.members_return")
        return self


DEAD_SHARE_MAX = 0.5
"""Most of it: a broken backend among several is put aside, a broken version is not."""

STANDSTILL_S = 300.0
"""Longer than what gives up by itself: writes after 120 s, deliveries after 130 s."""


class StreamSettings(Section):
    """The stream worker."""

    batch_records: int = Field(default=500, ge=1, le=10_000)
    """Records taken at once, each with one event or an array of them, and two megabytes in all.
    The more, the more messages of a conversation fall into one batch, which cost one head and one
    change together; at low rates a batch ends with its wait."""
    batch_wait_s: float = Field(default=0.05, gt=0, le=5)
    """Longest wait for a batch to fill; fetches wait at the broker for half of it. Together these
    are the floor of the latency at low rates."""
    cached_members_max: int = Field(default=100_000, ge=1_000)
    """Memberships of conversations in use that are kept as objects, about 350 bytes each."""
    cached_packed_mb: int = Field(default=64, ge=1, le=65_536)
    """Memory for conversations out of use, packed: 200,000 chats of two, or 5 million members of
    groups. What does not fit is read from Cassandra again."""
    instance_id: str = Field(default="", max_length=200)
    """Names this worker to Kafka (static membership): if it is back within
    `kafka.session_timeout_s`, it has its partitions still, and no other worker stopped for it.
    Unique among the workers that run; empty: partitions move at once when a worker ends."""
    metrics_port: Port = 0
    """Port of `/metrics`, `/healthz` and `/readyz`; 0 for none."""
    metrics_host: str = "127.0.0.1"
    """Address of these; they name nobody, but are nobody's business outside."""
    dead_share_max: float = Field(default=DEAD_SHARE_MAX, ge=0, le=1)
    """Of the last thousand events, the share that may be put aside as dead letters; beyond it the
    worker stops, and nothing is lost. 1: never stop."""
    standstill_s: float = Field(default=STANDSTILL_S, ge=0)
    """A worker that commits nothing for so long while there is work ends, to be started anew; 0:
    never."""


class MaterializerSettings(Section):
    """The materializer."""

    batch_records: int = Field(default=2_000, ge=1, le=100_000)
    """Change records taken at once, over all assigned partitions."""
    batch_wait_s: float = Field(default=0.1, gt=0, le=5)
    """Longest wait for the first record of a batch; what has come with it is taken at once."""
    rows_per_statement: int = Field(default=50, ge=1, le=200)
    """Rows in one UNLOGGED batch; 50 users a batch was 9 times faster than one by one."""
    statements_in_flight: int = Field(default=32, ge=1, le=1_024)
    instance_id: str = Field(default="", max_length=200)
    """As `stream.instance_id`, for this materializer."""
    metrics_port: Port = 0
    metrics_host: str = "127.0.0.1"
    dead_share_max: float = Field(default=DEAD_SHARE_MAX, ge=0, le=1)
    """As `stream.dead_share_max`, of change records: only our own workers write those."""
    standstill_s: float = Field(default=STANDSTILL_S, ge=0)
    """As `stream.standstill_s`."""


class LocalSettings(Section):
    """Kafka and Cassandra started on this machine by `diffusion up`, at the ports of the sections
    above.
    """

    manage: bool = True
    """False: the servers are somebody else's, and are only used. Servers on other hosts always
    are."""
    data_dir: Path | None = None
    """Default: `write-diffusion` under the state folder of the user."""
    cache_dir: Path | None = None
    """Default: `write-diffusion` under the cache folder of the user."""
    kafka_controller_port: Port = 19_093
    kafka_advertised_port: Port = 0
    """Where Kafka's clients are told to come, if not to its own port: a proxy in front of it."""
    cassandra_storage_port: Port = 17_000
    kafka_heap_mb: int = Field(default=512, ge=256)
    cassandra_heap_mb: int = Field(default=1_024, ge=512)
    start_timeout_s: float = Field(default=120.0, gt=0)


class Settings(BaseSettings):
    """All settings, one section a program or server."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="_",
        env_nested_max_split=1,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    kafka: KafkaSettings = KafkaSettings()
    cassandra: CassandraSettings = CassandraSettings()
    log: LogSettings = LogSettings()
    policy: PolicySettings = PolicySettings()
    stream: StreamSettings = StreamSettings()
    materializer: MaterializerSettings = MaterializerSettings()
    api: ApiSettings = ApiSettings()
    openim: OpenimSettings = OpenimSettings()
    tracing: TracingSettings = TracingSettings()
    local: LocalSettings = LocalSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # not a source here
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # not a source here
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment over file over defaults."""
        source = TomlConfigSettingsSource(settings_cls, toml_file=_file())
        return init_settings, env_settings, source


def _file() -> Path:
    return Path(os.environ.get(CONFIG_VARIABLE, DEFAULT_CONFIG))


def _unknown_variables() -> list[str]:
    """Variables of ours that name no section; an unknown name in a section is found by itself."""
    sections = tuple(f"{PREFIX}{section}".upper() for section in Settings.model_fields)
    ours = (name for name in sorted(os.environ) if name.upper().startswith(PREFIX))
    return [
        name
        for name in ours
        if name.upper() != CONFIG_VARIABLE
        and not any(f"{name.upper()}_".startswith(f"{section}_") for section in sections)
    ]


def load(**overrides: Any) -> Settings:
    """Read and check all settings; raises `SettingsError` with a sentence for each that is
    wrong.
    """
    named = os.environ.get(CONFIG_VARIABLE)
    if named and not Path(named).is_file():
        raise SettingsError(f"{CONFIG_VARIABLE} names {named}, which is not a file.")
    unknown = _unknown_variables()
    if unknown:
        raise SettingsError(
            f"No section has the name in {', '.join(unknown)}: variables are named "
            f"{PREFIX}<SECTION>_<NAME>, and the sections are {', '.join(Settings.model_fields)}."
        )
    try:
        return Settings(**overrides)
    except SourceError as error:
        # It says where, and not what: what was read may be a secret.
        raise SettingsError(f"The settings cannot be read: {error}.") from error
    except TOMLDecodeError as error:
        raise SettingsError(f"{_file()} cannot be read: {error}.") from error
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc']) or 'settings'}: {problem['msg']}"
            for problem in error.errors()
        )
        raise SettingsError(f"The settings do not fit: {problems}.") from error
