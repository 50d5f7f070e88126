"""How many requests one user or one address may make: a burst at once, then so many a second.

The generic cell rate algorithm (ITU-T I.371): for each key one time, that at which all of its
requests so far would have come had they come evenly. It may run ahead of now by a burst. Pure: the
time is passed in, of a clock that should not go back; a key then waits no longer than a whole burst
takes to come back, and gains nothing but by time that passes.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

SLACK_S: Final = 1e-6
"""What sums of float seconds may be off by; the last request of a burst is not refused for it."""


class Limiter:
    """Rates by key, each request in constant time.

    `rate` is requests a second, `burst` how many at once, 1 or more. At most `keys_max` keys are
    remembered; beyond, the one that was let in least recently is forgotten, and begins with a whole
    burst when it returns. So bounded memory makes the limit looser, and never refuses anybody.
    """

    def __init__(self, rate: float, burst: int, keys_max: int) -> None:
        assert rate > 0, "no limit is no limiter"
        assert burst >= 1, "nobody could ask at all"
        self._step_s = 1 / rate
        self._burst_s = burst / rate
        self._keys_max = keys_max
        self._even_s: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._even_s)

    def take(self, key: str, now_s: float) -> float:
        """Count a request if it may be made. Returns 0, or in how many seconds it may; then nothing
        was counted.
        """
        even_s = self._of(key, now_s)
        wait_s = even_s + self._step_s - self._burst_s - now_s
        if wait_s > SLACK_S:
            return wait_s
        self._keep(key, even_s + self._step_s)
        return 0.0

    def wait_s(self, key: str, now_s: float) -> float:
        """In how many seconds a request may be made; 0 for now. Counts nothing."""
        wait_s = self._of(key, now_s) + self._step_s - self._burst_s - now_s
        return wait_s if wait_s > SLACK_S else 0.0

    def charge(self, key: str, now_s: float, requests: int = 1) -> None:
        """Count what was done already, as far as a burst goes: nobody gets into debt."""
        even_s = self._of(key, now_s) + requests * self._step_s
        self._keep(key, min(even_s, now_s + self._burst_s))

    def _of(self, key: str, now_s: float) -> float:
        """From now, for who is unknown, to a burst ahead: more is left where a clock went back."""
        even_s = self._even_s.get(key, now_s)
        return min(max(even_s, now_s), now_s + self._burst_s)

    def _keep(self, key: str, even_s: float) -> None:
        self._even_s[key] = even_s
        self._even_s.move_to_end(key)
        if len(self._even_s) > self._keys_max:
            self._even_s.popitem(last=False)
