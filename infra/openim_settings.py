"""Settings of the tap of an OpenIM deployment."""

from __future__ import annotations

from pydantic import Field

from infra.section import Port, Section


class OpenimSettings(Section):
    """The tap: where OpenIM's own Kafka is, which may be another cluster than ours."""

    bootstrap_servers: str = "127.0.0.1:19094"
    """OpenIM's own default (`address` of its `kafka.yml`)."""
    topic: str = "toPush"
    """OpenIM's `toPushTopic`: the one topic in which everything is, with sequences."""
    group: str = "diffusion-openim"
    """The tap's own group: OpenIM's consumers do not notice it."""
    options: dict[str, str] = Field(default_factory=dict)
    """Further librdkafka options (security, for instance) of the consumer there."""
    history_for_new_members: bool = True
    """As `enableHistoryForNewMembers` of OpenIM's `openim-rpc-group.yml`: whether who joins a group
    may see what was written before."""
    batch_records: int = Field(default=2_000, ge=1, le=100_000)
    """Records taken at once: one commit for each batch."""
    batch_wait_s: float = Field(default=0.1, gt=0, le=5)
    """Longest wait for the first record of a batch; what has come with it is taken at once."""
    session_timeout_s: float = Field(default=10.0, ge=6, le=300)
    """A tap that is silent so long loses its partitions."""
    metrics_port: Port = 0
    """Port of `/metrics`, `/healthz` and `/readyz`; 0 for none."""
    metrics_host: str = "127.0.0.1"
    """Address of these."""
