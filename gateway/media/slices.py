"""One direction of a call in slices: what was due, what was dead, and which slices were good or bad.

A slice is 10 s of an answered call, the last one shorter. Those that the E-model rates are good from R 70 on. A
direction in which nothing comes at all may have no R (no packet says what was expected): while it is dead its slices
are bad, too. A slice in which nothing was due (hold) is neither.
"""

from ...rtp.emodel import Impairment, mos
from ...rtp.quality import Counters, score_between
from ..record import StreamSlice

GOOD_FROM = mos(70.0)
"""MOS of R 70 (G.107 Annex B). Slices are compared as MOS, since R runs to 93.2, 129 or 148 by scale."""
DEAD_S = 2.0
"""A slice in which a direction that had died before goes on to be dead for so long is dead, too."""


class StreamSlices:
    """Told once a second at most; `end` gives the slice that is over and counts it."""

    def __init__(self, due: bool, counters: Counters, now: float) -> None:
        """`counters` are the stream's at the answer."""
        self.good = 0
        self.bad = 0
        self._begin = counters
        self._began = now
        self._due = due
        self._was_due = due
        self._dead_since: float | None = None
        self._died = False
        self._longest = 0.0

    def due(self, due: bool, now: float) -> None:
        """Whether media is due from now on. What is not due is not dead."""
        self._due = due
        self._was_due |= due
        if not due:
            self.revived(now)

    def died(self, since: float) -> None:
        """No media since then; harmless while the direction is dead."""
        if self._dead_since is None and self._due:
            self._dead_since = since
            self._died = True

    def revived(self, now: float) -> None:
        """Media come again, or are not due any more; harmless when the direction was not dead."""
        self._longest = self._dead_until(now)
        self._dead_since = None

    def _dead_until(self, now: float) -> float:
        if self._dead_since is None:
            return self._longest
        return max(self._longest, now - max(self._dead_since, self._began))

    def end(self, cost: Impairment | None, counters: Counters, now: float) -> StreamSlice:
        """The slice until `now`, without its jitter; the next one begins."""
        dead = self._died or self._dead_until(now) >= DEAD_S
        part = _rated(cost, self._begin, counters, dead) if self._was_due else StreamSlice()
        if part.bad:
            self.bad += 1
        elif part.mos is not None:
            self.good += 1
        self._begin, self._began = counters, now
        self._was_due, self._died, self._longest = self._due, False, 0.0
        return part


def _rated(cost: Impairment | None, begin: Counters, end: Counters, dead: bool) -> StreamSlice:
    part = StreamSlice(dead=dead)
    expected = end.expected - begin.expected
    if expected > 0:
        part.lost = _share(end.lost - begin.lost, expected)
        part.discarded = _share(end.discarded - begin.discarded, expected)
    score = score_between(cost, begin, end)
    if score is not None:
        part.mos = round(score.mos, 3)
    part.bad = score.mos < GOOD_FROM if score is not None else dead
    return part


def _share(count: int, expected: int) -> float:
    # a late packet may first have been counted as lost: the difference can be negative
    return round(min(max(0, count), expected) / expected, 4)
