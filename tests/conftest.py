"""Property tests are not timed: a busy machine must not make one fail.

In CI they draw the same examples every time, so that a change fails by itself and not by luck; new
examples are drawn wherever somebody works.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_NOT_TIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

settings.register_profile("here", _NOT_TIMED)
settings.register_profile("ci", _NOT_TIMED, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")
