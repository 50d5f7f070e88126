"""Many in parts of a few: `itertools.batched` of Python 3.12, for a sequence. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def batched(items: Sequence[T], most: int) -> Iterator[tuple[T, ...]]:
    """Tuples of `most` items, the last of what is left; none for none.

    >>> list(batched("abcde", 2))
    [('a', 'b'), ('c', 'd'), ('e',)]
    """
    assert most > 0, most
    for start in range(0, len(items), most):
        yield tuple(items[start : start + most])
