"""What both shells of a session do alike: the store's steps, time, signals, and the listeners.

`sdk.client.pump` waits by blocking and `sdk.client.aio` by `await`; when each of these is called,
and by which thread, is theirs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

from sdk.client.events import ClientEvent
from sdk.client.setup import Setup
from sdk.client.steps import Apply, Load, Note, Now, Rebuild, Step, Wait
from sdk.client.transport import Signal

log = logging.getLogger(__name__)


class Shell:
    """A session, the store it works on, the device's clock, and who listens."""

    def __init__(self, setup: Setup) -> None:
        self.session = setup.session()
        self.applied = 0
        """Transactions until now: who waits for changes looks whether it moved."""
        self._store = setup.store
        self._wall_ms = setup.clock
        self._listeners = setup.listeners

    def now(self) -> Now:
        """Tell the time by both clocks."""
        return Now(time.monotonic_ns() // 1_000_000, self._wall_ms())

    def next_step(self, until: int | None) -> Step | None:
        """Say what to do next. None: round `until` is over, or (None) nobody follows any more."""
        if until is not None and self.session.outcome(until) is not None:
            return None
        step = self.session.step(self.now())
        over = until is None and not self.session.following
        return None if over and isinstance(step, Wait) else step

    def touch(self, step: Step) -> Callable[[], None]:
        """Do a step that concerns the store; what to tell the session then."""
        session, now = self.session, self.now
        match step:
            case Load():
                stored = self._store.load()
                return lambda: session.loaded(stored, now())
            case Apply(ops):
                applied = self._store.apply(ops, self._wall_ms())
                self.applied += 1
                return lambda: session.applied(applied, now())
            case Note():
                self._store.note_verified(self._wall_ms())
                return lambda: session.noted(now())
            case Rebuild():
                aside = self._store.rebuild(self._wall_ms())
                return lambda: session.rebuilt(aside)
        raise AssertionError(step)

    def hear(self, signal: Signal) -> None:
        """Take what the connection says by itself."""
        if signal.poke:
            self.session.poked()
        else:
            self.session.lost(self.now(), signal.after_ms)

    def announce(self, events: Iterable[ClientEvent]) -> None:
        """Call the listeners; what they raise is logged and goes no further."""
        for event in events:
            for listener in self._listeners:
                try:
                    listener(event)
                except Exception:
                    log.exception("a listener failed at %s", type(event).__name__)
