"""Good and bad slices of one direction of a call: what service levels are counted in.

A slice is 10 s in which media were due. Those that the E-model rates are good from R 70 on. A direction in which
nothing comes at all may have no R (no packet says what was expected): each 10 s of that are bad, too.
"""

from ...rtp.emodel import mos
from ...rtp.quality import SLICE, SliceScore
from ...rtp.watch import DEAD_AFTER_S

GOOD_FROM = mos(70.0)
"""MOS of R 70 (G.107 Annex B). Slices are compared as MOS, since R runs to 93.2, 129 or 148 by scale."""


class SliceTally:
    """Counts, never per packet: told of finished slices, and once a second of the time."""

    def __init__(self) -> None:
        self.good = 0
        self.bad = 0
        self._dead_since: float | None = None
        """When the present slice without media began; None while media come or are not due."""

    def rated(self, finished: SliceScore | None) -> None:
        """What CallQuality returned; None: no slice ended. Time that was rated is not counted again as silent."""
        if finished is None:
            return
        if finished.listening.mos >= GOOD_FROM:
            self.good += 1
        else:
            self.bad += 1
        if self._dead_since is not None:
            self._dead_since = max(self._dead_since, finished.ended)

    def died(self, since: float) -> None:
        """No media since then."""
        self._dead_since = since

    def revived(self) -> None:
        """Media come again, or are not due any more; harmless when the direction was not dead."""
        self._dead_since = None

    def update(self, now: float) -> None:
        """Once a second."""
        while self._dead_since is not None and now - self._dead_since >= SLICE:
            self.bad += 1
            self._dead_since += SLICE

    def close(self, now: float) -> None:
        """The call is over: it need not have been dead for a whole slice."""
        self.update(now)
        if self._dead_since is not None and now - self._dead_since >= DEAD_AFTER_S:
            self.bad += 1
        self._dead_since = None
