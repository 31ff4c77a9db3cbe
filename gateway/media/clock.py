"""The 20 ms clock of one worker: one timer for all its legs, in four phase slots 5 ms apart.

`Schedule` is the arithmetic and knows no loop; `MediaClock` arms the loop for its next deadline. Deadlines are
absolute (start + n periods), so lateness never adds up. Times are `time.monotonic()` seconds: uvloop's own
`loop.time()` moves in whole milliseconds and its timers may fire more than a millisecond early.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

import structlog

log = structlog.get_logger(__name__)

PERIOD = 0.020
"""Seconds between two ticks of one leg."""
SLOTS = 4
SLOT_SPACING = PERIOD / SLOTS
EARLY = 0.0015
"""A tick this much before its deadline, seconds, is on time: re-arming for the rest would only spin."""


class Ticking(Protocol):
    """What the clock drives."""

    def tick(self, now: float, skipped: int) -> None:
        """One 20 ms period; `skipped` whole periods before it were missed. Synchronous, never awaits or logs."""
        ...

    def tick_failed(self, error: Exception) -> None:
        """`tick` raised; the clock has already let go of this leg."""
        ...


class Schedule:
    """Deadlines of the slots: slot k's n-th tick is due at start + k × 5 ms + n × 20 ms."""

    def __init__(self, start: float) -> None:
        self._phases = [start + slot * SLOT_SPACING for slot in range(SLOTS)]
        self._ticks = [0] * SLOTS
        self._next = 0

    @property
    def due(self) -> float:
        """The next deadline of any slot."""
        slot = self._next
        return self._phases[slot] + self._ticks[slot] * PERIOD

    def advance(self, now: float) -> tuple[int, int, float] | None:
        """The slot to run now, its skipped periods and its lateness in seconds; None when nothing is due.

        A slot that is more than a whole period late runs once, for the newest period that is due: the older
        ones are skipped, because audio cannot be sent faster than it is heard.
        """
        due = self.due
        late = now - due
        if late < -EARLY:
            return None
        slot = self._next
        skipped = int(late / PERIOD) if late > PERIOD else 0
        self._ticks[slot] += skipped + 1
        self._next = min(range(SLOTS), key=self._due_of)
        return slot, skipped, late

    def _due_of(self, slot: int) -> float:
        return self._phases[slot] + self._ticks[slot] * PERIOD


class MediaClock:
    """Ticks every leg each 20 ms. A leg joins the emptiest slot, so that the work is spread over the period."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._slots: list[tuple[Ticking, ...]] = [()] * SLOTS
        self._schedule: Schedule | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._late_max = 0.0
        self.ticks = 0
        """Slots run since the start, legs or none: it stands still when the clock does."""
        self.skipped_ticks = 0
        """Periods that the legs of a slot were not ticked for, since the start."""

    def __repr__(self) -> str:
        return f"<MediaClock legs={[len(legs) for legs in self._slots]} skipped={self.skipped_ticks}>"

    def add(self, leg: Ticking) -> int:
        """Tick `leg` from its slot's next deadline on; returns the slot."""
        slot = min(range(SLOTS), key=lambda k: len(self._slots[k]))
        self._slots[slot] = (*self._slots[slot], leg)
        return slot

    def remove(self, leg: Ticking) -> None:
        """Stop ticking `leg`; harmless when it is not here."""
        self._slots = [tuple(other for other in legs if other is not leg) for legs in self._slots]

    def start(self) -> None:
        """Arm the running loop."""
        self._schedule = Schedule(self._monotonic())
        self._arm()

    def stop(self) -> None:
        """Disarm."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._schedule = None

    def late_max_ms(self) -> float:
        """The worst lateness of a slot since it was last taken, ms."""
        return self._late_max * 1000

    def take_late_max_ms(self) -> float:
        """The worst lateness of a slot since the last call, ms."""
        late, self._late_max = self._late_max, 0.0
        return late * 1000

    def _arm(self) -> None:
        if self._schedule is not None:
            delay = max(0.0, self._schedule.due - self._monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay, self._wake)

    def _wake(self) -> None:
        self.run(self._monotonic())
        self._arm()

    def run(self, now: float) -> None:
        """Run every slot that is due at `now`, each once: a worker that cannot keep up still reads its sockets."""
        for _ in range(SLOTS):
            schedule = self._schedule
            run = schedule.advance(now) if schedule is not None else None
            if run is None:
                return
            slot, skipped, late = run
            self.ticks += 1
            self._late_max = max(self._late_max, late)
            legs = self._slots[slot]
            if legs:
                self.skipped_ticks += skipped
                self._tick_slot(legs, now, skipped)
            # a slot takes milliseconds when the worker is full: the next one must not be told an old time
            now = self._monotonic()

    def _tick_slot(self, legs: tuple[Ticking, ...], now: float, skipped: int) -> None:
        for leg in legs:
            try:
                leg.tick(now, skipped)
            except Exception as error:  # one broken leg must not stop the others
                self.remove(leg)
                log.exception("a leg's tick failed", call=getattr(leg, "call_id", None), leg=repr(leg))
                leg.tick_failed(error)
