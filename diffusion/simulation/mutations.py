"""Faults that are planted on purpose, to show that each law is looked at: `none` plants none."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Mutation(Protocol):
    """Makes a world wrong in one way, for as long as it is entered."""

    def __call__(self, rng: random.Random) -> AbstractContextManager[None]:
        """Enter it; what has to be drawn is drawn from `rng`."""


@contextmanager
def none(rng: random.Random) -> Iterator[None]:
    """Leave everything as it is."""
    del rng
    yield
