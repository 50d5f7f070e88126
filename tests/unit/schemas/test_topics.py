"""The names and keys that other programs rely on."""

from __future__ import annotations

import re

from schemas.topics import CHANGES, TOPICS, WRITE_TOPICS, dead_letters


def test_names_are_those_of_the_contract() -> None:
    assert [(topic.name, topic.key) for topic in TOPICS] == [
        ("im.conversation-writes.v1", "conversation id"),
        ("im.user-writes.v1", "user id"),
        ("diffusion.changes.v1", "user id"),
    ]
    assert set(WRITE_TOPICS) == set(TOPICS) - {CHANGES}


def test_names_cannot_collide_in_kafkas_metrics() -> None:
    """There `.` and `_` become the same character."""
    for topic in TOPICS:
        assert re.fullmatch(r"[a-z][a-z0-9.-]*\.v[0-9]+", topic.name)


def test_windows_need_the_brokers_time() -> None:
    assert [topic for topic in TOPICS if topic.log_append_time] == [CHANGES]


def test_dead_letters_have_a_topic_each() -> None:
    names = {dead_letters(topic.name) for topic in TOPICS}
    assert len(names) == len(TOPICS)
    assert dead_letters("im.user-writes.v1") == "im.user-writes.v1.dlq"
