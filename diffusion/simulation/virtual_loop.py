"""An event loop on a clock of its own: waiting takes no time, and the same seed runs the same way.

The loop is asyncio's; its selector, asked to wait, sets the clock ahead instead. What programs do
in threads (`asyncio.to_thread`) happens on the loop, all at once, some time after it was asked for.
"""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Callable
from typing import Any, Final

THREAD_S: Final = 0.002
"""How long a thread takes to begin, on average."""


class Stuck(Exception):
    """Nothing will ever happen again, and somebody still waits."""


class _Ahead(selectors.SelectSelector):
    """Waits by setting the clock ahead."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stuck
        self.now_s += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """`random` draws how long threads take."""

    def __init__(self, rng: random.Random) -> None:
        self._ahead = _Ahead()
        self._rng = rng
        super().__init__(self._ahead)

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._ahead.now_s

    def run_in_executor(  # type: ignore[override]  # any function, whatever it takes
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Do it on the loop, a little later; not at all if nobody waits for it by then, as when the
        process ends.
        """
        assert executor is None, "there are no threads here"
        done: asyncio.Future[Any] = self.create_future()

        def work() -> None:
            if done.cancelled():
                return
            try:
                result = func(*args)
            except Exception as error:  # noqa: BLE001  # whoever asked for it gets it
                done.set_exception(error)
            else:
                done.set_result(result)

        self.call_later(self._rng.expovariate(1 / THREAD_S), work)
        return done
