"""Find the epoch of each topic when a program starts: what Kafka has, against what Cassandra
knows.
"""

from __future__ import annotations

from infra.cassandra import log_positions, topic_epochs
from infra.cassandra.session import Session
from infra.cassandra.topic_epochs import Epoch
from infra.clock import now_ms
from infra.kafka.admin import Admin
from infra.settings import Settings
from schemas.topics import CHANGES, TOPICS


def ensure_all(settings: Settings, session: Session, admin: Admin) -> dict[str, Epoch]:
    """Epochs of all topics, by name; takes new ones for topics that were made anew or
    repartitioned.

    Raises `TopicMissing`, or what Kafka and Cassandra raise when they are away.
    """
    return {spec.name: _ensure(settings, session, admin, spec.name) for spec in TOPICS}


def ensure_change_log(settings: Settings, session: Session, admin: Admin) -> Epoch:
    """Epoch of the change log, a new one if the log ends before what was already applied from it.

    Only the materializer asks: it alone would otherwise give versions a second time.
    """
    epoch = _ensure(settings, session, admin, CHANGES.name)
    reached = log_positions.all_reached(session, epoch.epoch)
    ends = admin.end_offsets(CHANGES.name)
    if all(offset < ends.get(partition, 0) for partition, offset in reached.items()):
        return epoch
    return topic_epochs.ensure(session, epoch, now_ms(), lost=epoch)


def _ensure(settings: Settings, session: Session, admin: Admin, topic: str) -> Epoch:
    topic_id, partitions = admin.describe(topic)
    wanted = Epoch(topic, 0, topic_id, partitions, settings.log.window_ms)
    return topic_epochs.ensure(session, wanted, now_ms())
