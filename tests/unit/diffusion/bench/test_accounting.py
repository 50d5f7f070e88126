"""Bytes without payload, and what other ways to the same rows cost."""

from __future__ import annotations

import random

import pytest
from msgspec.structs import replace

from diffusion.bench.accounting import (
    Alternatives,
    Exchange,
    alternatives,
    root_cost,
    size_of,
    without_payload,
)
from diffusion.bench.chats import Account
from diffusion.bench.damage import damage
from diffusion.oracle import Oracle
from schemas import digests, sketch
from schemas.conversations import ConversationState
from schemas.digests import DigestRow, digest_row, in_order, root_of
from schemas.encoding import Format, encode
from schemas.limits import RANGE_DIGEST_BYTES, ROOT_BYTES
from schemas.protocol import ConversationEntry, Correction, Reason, SyncRequest, SyncResponse

ASK = SyncRequest("phone", cursor="c" * 88, root=b"r" * ROOT_BYTES)


def states(count: int) -> tuple[str, dict[str, ConversationState]]:
    account, oracle = Account(0, count, seed=3), Oracle()
    oracle.replay(account.imported())
    return account.user_id, oracle.states(account.user_id)


def both(count: int, differing: int) -> tuple[list[DigestRow], list[DigestRow]]:
    user_id, right = states(count)
    rows = {cid: digest_row(state) for cid, state in right.items()}
    drawn = damage(user_id, list(right.values()), differing, random.Random(5))
    return in_order(drawn.done_to(rows, digest_row).values()), in_order(rows.values())


def test_payload_is_the_entries_and_hashes_are_none() -> None:
    entries = tuple(ConversationEntry(f"si_{number}", 1, 5) for number in range(50))
    answer = SyncResponse("correction", reason=Reason.DIGEST_MISMATCH, gone=b"12345")
    told = Exchange(ASK, replace(answer, conversations=entries))
    bare = Exchange(ASK, answer)
    assert told.bytes_without_payload == bare.bytes_without_payload
    assert bare.bytes_without_payload == sum(
        len(encode(one, Format.MSGPACK)) for one in (ASK, answer)
    )
    hashless = Exchange(ASK, replace(answer, gone=b""))
    name_and_header = len(b"\xa4gone") + 2
    assert bare.bytes_without_payload == hashless.bytes_without_payload + name_and_header + 5
    assert without_payload([told, bare]) == 2 * bare.bytes_without_payload


def test_a_root_costs_its_bytes_and_its_name() -> None:
    cost = root_cost(Exchange(ASK, SyncResponse("delta", root=b"r" * ROOT_BYTES)))
    assert cost.request == cost.answer == ROOT_BYTES + len(b"\xa4root") + 2


def test_where_nothing_differs_one_trip_says_so() -> None:
    mine, theirs = both(300, 0)
    found = alternatives(mine, theirs, 0, ASK)
    assert found.listing == found.sketch
    verify = replace(ASK, root=root_of(mine))
    assert found.listing is not None
    assert size_of(verify) < found.listing < size_of(verify) + 64


@pytest.mark.parametrize("differing", [1, 10])
def test_alternatives_are_whole_requests_and_answers(differing: int) -> None:
    mine, theirs = both(2_000, differing)
    found = alternatives(mine, theirs, differing, ASK)
    assert found.listing is not None
    assert found.sketch is not None
    assert found.one_trip is not None
    assert found.one_trip < found.sketch < found.listing
    whole = digests.parts(digests.WHOLE, theirs, digests.bits_for(len(theirs)))
    listed = sum(len(digests.rows_in(one, mine)) for one in digests.differing(whole, mine))
    hashes = len(whole.digests) + RANGE_DIGEST_BYTES * listed
    assert hashes < found.listing < hashes + RANGE_DIGEST_BYTES * differing + 600
    summed = replace(
        ASK,
        root=None,
        correct=Correction(sketch=bytes(sketch.sketch_bytes(sketch.cells_for(differing)))),
    )
    assert size_of(summed) < found.one_trip < size_of(summed) + 200


def test_a_sketch_that_is_too_small_is_no_alternative() -> None:
    mine, theirs = both(500, 200)
    found = alternatives(mine, theirs, 1, ASK)
    assert found == Alternatives(found.listing, found.sketch, None)
