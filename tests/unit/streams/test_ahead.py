"""Batches gathered ahead: order, bounds, and who waits for whom."""

from __future__ import annotations

import asyncio

import pytest

from streams.ahead import Ahead


async def settled() -> None:
    """Let every task go as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_what_came_meanwhile_is_one_batch() -> None:
    async def scenario() -> list[list[int]]:
        ahead = Ahead[int](10)
        await ahead.put([1, 2])
        await ahead.put([3])
        first = await ahead.take()
        await ahead.put([4])
        return [first, await ahead.take()]

    assert asyncio.run(scenario()) == [[1, 2, 3], [4]]


def test_the_taker_waits_for_a_record() -> None:
    async def scenario() -> list[int]:
        ahead = Ahead[int](10)
        taking = asyncio.create_task(ahead.take())
        await ahead.put([])
        await settled()
        assert not taking.done()
        await ahead.put([1])
        return await taking

    assert asyncio.run(scenario()) == [1]


def test_whoever_puts_waits_while_a_whole_batch_waits() -> None:
    async def scenario() -> None:
        ahead = Ahead[int](3)
        await ahead.put([1, 2])
        putting = asyncio.create_task(ahead.put([3, 4]))
        await settled()
        assert not putting.done()
        assert await ahead.take() == [1, 2, 3]
        await settled()
        assert putting.done()
        assert await ahead.take() == [4]

    asyncio.run(scenario())


@pytest.mark.parametrize("batch", [1, 2, 7, 100])
def test_all_are_taken_in_order_and_no_batch_is_too_large(batch: int) -> None:
    async def scenario() -> list[list[int]]:
        ahead, taken = Ahead[int](batch), list[list[int]]()

        async def take() -> None:
            while sum(map(len, taken)) < 60:
                taken.append(await ahead.take())
                await asyncio.sleep(0)

        taking = asyncio.create_task(take())
        for begin in range(0, 60, 5):
            await ahead.put(range(begin, begin + 5))
        await taking
        return taken

    found = asyncio.run(scenario())
    assert [one for some in found for one in some] == list(range(60))
    assert max(map(len, found)) <= batch
