"""What the rules keep of a call that is not over."""

from collections.abc import Iterator

from ..messages import LegCounts
from ..record import CallRecord, MediaReport

LATEST_TURNS = 4
"""A turn's latency is known with its first packet: at each report only the latest turns can have a new one."""


class WatchedCall:
    """One call. Its record is the switch's own object: the agent may change while it rings (fallback)."""

    __slots__ = ("_errors", "_first_audio", "_lost", "_marks", "_turns", "bad_slices", "record")

    def __init__(self, record: CallRecord) -> None:
        self.record = record
        self.bad_slices = 0
        """Those that count against the objective (rules_audio.Quality)."""
        self._marks: set[str] = set()
        self._turns: set[int] = set()
        self._first_audio = False
        self._errors = 0
        self._lost = False

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def trunk(self) -> str:
        return self.record.trunk or ""

    @property
    def agent(self) -> str:
        return self.record.agent or ""

    @property
    def far_end(self) -> str:
        """The number on the other side."""
        return (self.record.from_ if self.record.direction == "inbound" else self.record.to) or ""

    def first(self, mark: str) -> bool:
        """True the first time: what is counted once a call."""
        if mark in self._marks:
            return False
        self._marks.add(mark)
        return True

    def new_first_audio(self, report: MediaReport) -> float | None:
        """Answer to first audio, seconds, when it was not told before."""
        latency_ms = report.setup.answer_to_first_audio_ms
        if latency_ms is None or self._first_audio:
            return None
        self._first_audio = True
        return latency_ms / 1000

    def new_turns(self, report: MediaReport, *, last: bool) -> Iterator[float]:
        """Latencies of turns, seconds, that were not told before; `last`: the report is the call's last."""
        for turn in report.turns if last else report.turns[-LATEST_TURNS:]:
            if turn.latency_ms is not None and turn.index not in self._turns:
                self._turns.add(turn.index)
                yield turn.latency_ms / 1000

    def new_errors(self, counts: LegCounts) -> int:
        """Errors and reconnects beyond those told before."""
        errors = counts.provider_errors + counts.provider_reconnects
        more, self._errors = max(0, errors - self._errors), max(errors, self._errors)
        return more

    def newly_lost(self, counts: LegCounts) -> bool:
        """True once, when the speech service was lost for good."""
        newly = counts.provider_lost > 0 and not self._lost
        self._lost = self._lost or newly
        return newly
