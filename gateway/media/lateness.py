"""How late a worker was, second by second, for as long as a slice of a call lasts.

All calls of a worker share its clock and its loop: what was late is kept once, and each call asks for its own slice.
"""

from collections import deque
from collections.abc import Callable

SECONDS = 16
"""How many are kept: more than a slice."""


def _punctual() -> float:
    return 0.0


class Lateness:
    """The worst of the media clock and of the event loop."""

    def __init__(self, clock_late_ms: Callable[[], float] = _punctual) -> None:
        """`clock_late_ms` tells the clock's worst in the second that still runs."""
        self._clock_late_ms = clock_late_ms
        self._seconds: deque[tuple[float, float, float]] = deque(maxlen=SECONDS)

    def second(self, now: float, clock_late_ms: float, loop_lag_ms: float) -> None:
        """The worst of the second that ended `now`."""
        self._seconds.append((now, clock_late_ms, loop_lag_ms))

    def worst(self, since: float) -> tuple[float, float]:
        """Clock and loop, ms, from `since` until now; whole seconds count that began before."""
        clock, loop = self._clock_late_ms(), 0.0
        for ended, late, lag in reversed(self._seconds):
            if ended <= since:
                break
            clock, loop = max(clock, late), max(loop, lag)
        return clock, loop
