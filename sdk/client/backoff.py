"""How long to wait after failures: exponential, with full jitter, capped. Pure.

The randomness comes in as an argument. "Full jitter", so that devices which failed together do not
come back together (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
"""

from __future__ import annotations

from sdk.client.limits import RETRY_DOUBLINGS_MAX


def pause_ms(failures: int, jitter: float, *, base_ms: int, max_ms: int) -> int:
    """Pause in milliseconds after that many failures in a row (1 or more).

    `jitter` (0 to 1) of the base, which doubles with each failure after the first up to `max_ms`.
    """
    assert base_ms << RETRY_DOUBLINGS_MAX >= max_ms, "the cap is reached"
    # Bounded, because a million doublings are a number of a million bits.
    doublings = min(max(failures - 1, 0), RETRY_DOUBLINGS_MAX)
    return int(jitter * min(max_ms, base_ms << doublings))
