"""What happened at which point of an answered call: marks for its timeline, never per packet."""

from collections.abc import Callable

from ..messages import Fact, Happened
from ..record import Moment

MOMENTS_MAX = 2000
"""For each call; then one `truncated`, and no more."""
DETAIL_MAX = 120
"""Characters."""


class Moments:
    """Tells the switch of the moments of one call; before its answer there are none."""

    def __init__(self, call_id: str, on_fact: Callable[[Fact], None], monotonic: Callable[[], float]) -> None:
        self._call_id = call_id
        self._on_fact = on_fact
        self._monotonic = monotonic
        self._answered: float | None = None
        self._told = 0

    def answered(self, now: float) -> None:
        """The call is up: its time begins."""
        self._answered = now

    def happened(self, kind: str, detail: str = "") -> None:
        """It happens now; see Moment for the kinds."""
        if self._answered is None or self._told > MOMENTS_MAX:
            return
        if self._told == MOMENTS_MAX:
            kind, detail = "truncated", ""
        self._told += 1
        at_s = round(self._monotonic() - self._answered, 3)
        self._on_fact(Happened(self._call_id, Moment(at_s, kind, detail[:DETAIL_MAX])))
