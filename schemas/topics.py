"""The topics: names, keys and what must not change about them. Only this module spells their
names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

DEAD_LETTER_SUFFIX: Final = ".dlq"


@dataclass(frozen=True, kw_only=True, slots=True)
class TopicSpec:
    """A topic of the contract.

    `log_append_time` says that the broker stamps records; the change log needs it, because windows
    are cut by it. `key` says in words what decides the partition.
    """

    name: str
    key: str
    log_append_time: bool = False


class Layout(NamedTuple):
    """A topic as it is, or as it is to be made; of each partition's replicas the fewest."""

    partitions: int
    replicas: int
    config: Mapping[str, str]


CONVERSATION_WRITES: Final = TopicSpec(name="im.conversation-writes.v1", key="conversation id")
USER_WRITES: Final = TopicSpec(name="im.user-writes.v1", key="user id")
CHANGES: Final = TopicSpec(name="diffusion.changes.v1", key="user id", log_append_time=True)

WRITE_TOPICS: Final = (CONVERSATION_WRITES, USER_WRITES)
TOPICS: Final = (*WRITE_TOPICS, CHANGES)

OPENIM_RECORDS: Final = "openim.records.v1"
"""No topic of ours: the name under which dead letters of an OpenIM deployment's records are kept,
however its topic is called."""


def dead_letters(topic: str) -> str:
    """Name of the topic that keeps the records of `topic` that could not be used."""
    return topic + DEAD_LETTER_SUFFIX
