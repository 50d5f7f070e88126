"""Make topics, keyspace and tables, and take the epochs. Safe to run again."""

from __future__ import annotations

from collections.abc import Callable

from infra import epochs
from infra.cassandra.schema import migrate as migrate_tables
from infra.cassandra.schema import open_session
from infra.kafka.admin import Admin
from infra.settings import Settings


def migrate(settings: Settings, on_progress: Callable[[str], None]) -> None:
    """Bring Kafka and Cassandra to what this version needs.

    Raises `RetryableError` when one of them is away, `PermanentError` when it refuses.
    """
    admin = Admin(settings.kafka)
    created = admin.create_topics(settings)
    on_progress(f"topics: {len(created)} created" if created else "topics: present")
    before = migrate_tables(settings.cassandra, on_progress)
    on_progress("tables: present" if before else "tables: created")
    session = open_session(settings.cassandra)
    try:
        for epoch in epochs.ensure_all(settings, session, admin).values():
            on_progress(f"{epoch.topic}: epoch {epoch.epoch}, {epoch.partitions} partitions")
    finally:
        session.close()
