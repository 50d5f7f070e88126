"""Records that OpenIM's own protocol package encoded, through the tap, against what their maker
meant (`tests/openim`).
"""

from __future__ import annotations

import random
from collections import Counter

import pytest

from consumers.openim import wire
from consumers.openim.content_types import Content, content_of
from diffusion.oracle import Oracle, compare
from schemas.errors import DecodeError
from schemas.partitioner import partition_of
from tests.openim.meaning import Made, Story, golden
from tests.unit.consumers.openim.support import (
    GuestConsumer,
    SmallEngine,
    SourceRecord,
    delivered,
    tap_on,
)
from tests.unit.consumers.support import Log

PARTITIONS = 3


def source(records: list[Made]) -> list[SourceRecord]:
    """Records of a topic in which those of a key share a partition."""
    return [
        SourceRecord(made.value, offset, partition_of(made.key.decode(), PARTITIONS))
        for offset, made in enumerate(records)
    ]


def differences(told: Story, log: Log) -> list[str]:
    """Where the states by what was delivered are not those that the maker meant."""
    meant, found = Oracle(), Oracle()
    meant.replay(told.before + told.meant)
    found.replay(told.before + delivered(log))
    everybody = {*meant.users(), *found.users()}
    return [
        f"{user}: {one}"
        for user in sorted(everybody)
        for one in compare(meant.states(user), found.states(user))
    ]


def started(told: Story) -> tuple[Log, SmallEngine]:
    """A log that begins with what was before the tap, as an import writes it."""
    log = Log()
    engine = SmallEngine(log)
    engine.take(told.before)
    return log, engine


def test_the_golden_data_has_everything_that_the_tap_tells_apart() -> None:
    told = golden(history=True)
    kinds: Counter[Content] = Counter()
    types = set()
    broken = 0
    for made in told.records:
        try:
            record = wire.decode(made.value)
        except DecodeError:
            broken += 1
            continue
        kinds[content_of(record.content_type)] += 1
        types.add((record.content_type, record.seq > 0))
    assert broken == told.broken > 0
    assert len(told.records) >= 2_000
    assert set(kinds) == set(Content)
    membership = {1501, 1504, 1508, 1509, 1510}
    assert types >= {(number, with_copy) for number in membership for with_copy in (True, False)}
    assert types >= {(2200, True), (2200, False), (7777, True), (1511, True)}


@pytest.mark.parametrize("history", [True, False])
def test_states_are_those_that_the_maker_meant(history: bool) -> None:
    told = golden(history=history)
    log, engine = started(told)
    consumer = GuestConsumer([source(told.records)])
    running = tap_on(consumer, log, engine, history=history, batch_records=10_000)
    running.run(iter([False, True]).__next__)
    assert differences(told, log) == []


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("history", [True, False])
def test_a_tap_that_is_killed_again_and_again_ends_the_same(seed: int, history: bool) -> None:
    told, draw = golden(history=history), random.Random(seed)
    log, engine = started(told)
    records, begin = source(told.records), 0
    while begin < len(records):
        batches, end = [], begin
        for _ in range(draw.randint(1, 3)):
            batches.append(records[end : end + draw.randint(1, 60)])
            end += len(batches[-1])
        running = tap_on(GuestConsumer(batches), log, engine, history=history)
        running.run(iter([*[False] * len(batches), True]).__next__)
        # Killed: the last of the batches was delivered and perhaps not committed.
        begin = end if draw.random() < 0.5 else end - len(batches[-1])
    assert differences(told, log) == []
