"""Probes: none of the partitions stands still unseen."""

from __future__ import annotations

import pytest

from diffusion.chaos.load import cast, probes
from schemas import ids
from schemas.partitioner import partition_of


@pytest.mark.parametrize(("writes", "changes"), [(1, 1), (8, 16), (3, 50)])
def test_every_partition_of_both_stages_has_a_probe(writes: int, changes: int) -> None:
    found = probes(writes, changes)
    assert {partition_of(probe.name, writes) for probe in found} == set(range(writes))
    assert {partition_of(probe.user_id, changes) for probe in found} == set(range(changes))
    assert len({probe.name for probe in found}) == len(found) <= writes + changes


def test_a_probe_writes_messages_of_a_chat_of_two() -> None:
    (probe,) = probes(1, 1)
    first, second = probe.next(), probe.next()
    assert (first.seq, second.seq, probe.written) == (1, 2, 2)
    assert first.conversation_id == ids.one_to_one(*first.members or ())


def test_the_chats_of_the_cast_are_named_as_the_contract_wants_it() -> None:
    for a, b in cast().pairs:
        assert ids.one_to_one(a, b) == f"si_{a}_{b}"
