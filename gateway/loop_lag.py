"""How late an event loop is: a timer that should ring every 100 ms, and by how much it rings too late."""

import asyncio
import time
from collections.abc import Callable

INTERVAL = 0.1
"""Seconds between two looks."""
EACH = 10
"""Looks for each report: one a second."""


class LoopLag:
    """Tells `report` once a second by how many seconds the loop was late at worst; 0.0 when it never was."""

    def __init__(self, report: Callable[[float], None], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._report = report
        self._monotonic = monotonic
        self._due = 0.0
        self._worst = 0.0
        self._looks = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin on the running loop."""
        self._arm()

    def stop(self) -> None:
        """End; idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self._due = self._monotonic() + INTERVAL
        self._timer = asyncio.get_running_loop().call_later(INTERVAL, self._look)

    def _look(self) -> None:
        self.look(self._monotonic())
        self._arm()

    def look(self, now: float) -> None:
        """The timer rang at `now`."""
        self._worst = max(self._worst, now - self._due)
        self._looks += 1
        if self._looks == EACH:
            self._report(self._worst)
            self._looks, self._worst = 0, 0.0
