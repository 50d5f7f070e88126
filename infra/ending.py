"""How a worker ends that cannot go on: at once, to be started anew by its supervisor.

No clean shutdown: that would commit what was left unfinished, or wait for what stands still.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Final, NoReturn

EXIT_RESTART: Final = 75
"""`EX_TEMPFAIL` of sysexits.h: start me again."""


def end_at_once() -> NoReturn:
    """End the process with `EXIT_RESTART`, what was logged being written."""
    logging.shutdown()
    sys.stderr.flush()
    os._exit(EXIT_RESTART)
