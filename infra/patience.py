"""Start while what is needed is away: say so once, and try again until it is there.

A program that ended at once would be started again and again by its supervisor, which would give up
on it, or wait ever longer, in the very minutes in which the others come back.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import Final, TypeVar

from infra.clock import monotonic_s
from schemas.errors import RetryableError

log = logging.getLogger("diffusion")

T = TypeVar("T")

WAIT_FIRST_S: Final = 0.5
WAIT_LONGEST_S: Final = 5.0
"""Between two tries, doubling from the first; with jitter, because all start together."""

GIVE_UP_S: Final = 300.0
"""Then the program ends with the sentence after all: who made a typing error sees it at once, but a
supervisor should see it too. Longer than a restart of either server, and than a failover."""


def patiently(
    make: Callable[[], T],
    *,
    wait: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = monotonic_s,
) -> T:
    """What `make` gives, as soon as it raises no `RetryableError`; that of the last try after
    `GIVE_UP_S`. Everything else it raises is raised at once.
    """
    deadline_s, wait_s = clock() + GIVE_UP_S, WAIT_FIRST_S
    while True:
        try:
            return make()
        except RetryableError as error:
            if clock() >= deadline_s:
                raise
            if wait_s == WAIT_FIRST_S:
                log.warning("%s Trying again until it does.", error)
        wait(random.uniform(wait_s / 2, wait_s))  # noqa: S311  # jitter, no secret
        wait_s = min(wait_s * 2, WAIT_LONGEST_S)
