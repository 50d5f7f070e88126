"""A worker that stands on purpose: alive, not ready, doing nothing until it is told to end.

That is for what a start does not mend. Ending would: a supervisor starts it anew, and the little
that a start lets pass before it stops again adds up.
"""

from __future__ import annotations

import logging

from infra import metrics
from schemas.errors import PermanentError

log = logging.getLogger("diffusion")


class Standing:
    """Of one process. Looked at from any thread."""

    def __init__(self) -> None:
        self._why: PermanentError | None = None

    def __bool__(self) -> bool:
        """Whether it stands."""
        return self._why is not None

    def begin(self, why: PermanentError) -> None:
        """Stand from now on, and say so."""
        log.critical("This worker stops. %s", why)
        self._why = why
        metrics.process_stopped.set(1)

    def check(self) -> None:
        """Raise why it stands, if it does: it is not ready."""
        if self._why is not None:
            raise self._why
