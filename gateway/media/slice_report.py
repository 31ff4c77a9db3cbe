"""The slices of one answered call, both directions together, as its timeline and the alerts have them."""

from ...rtp.quality import SLICE
from ..record import Slice, StreamSlice
from .echo import EchoMeter
from .figures import Figures
from .lateness import Lateness
from .playout import PlayoutQueue
from .slices import StreamSlices

SHORTEST_S = 2.0
"""A shorter rest of a call without any score is not worth a slice."""


class SliceReport:
    """Ends a slice every 10 s from the answer on, and the last one with the call."""

    def __init__(
        self,
        figures: Figures,
        echo: EchoMeter,
        lateness: Lateness,
        queue: PlayoutQueue,
        *,
        receiving: bool,
        sending: bool,
        now: float,
    ) -> None:
        """The call is answered `now`."""
        self.received = StreamSlices(receiving, figures.received_counters(), now)
        self.sent = StreamSlices(sending, figures.sent_counters, now)
        self._figures = figures
        self._echo = echo
        self._lateness = lateness
        self._queue = queue
        self._underruns_before = queue.underruns
        self._reports_before = figures.reports
        self._answered = now
        self._began = now
        self.due = now + SLICE
        """When the present slice ends."""
        self.skipped = 0
        """Periods of the present slice that the media clock was too late for; whoever sends counts them here."""

    def end(self, now: float) -> Slice:
        """The slice until `now`; the next one begins."""
        figures = self._figures
        received = self.received.end(figures.impairment, figures.received_counters(), now)
        if received.lost is not None:
            received.jitter_ms = figures.jitter_ms
        sent = self.sent.end(figures.impairment, figures.sent_counters, now)
        rtt_ms = self._far_end(sent)
        clock_late_ms, loop_lag_ms = self._lateness.worst(self._began)
        underruns = self._queue.underruns
        finished = Slice(
            start_s=round(self._began - self._answered, 3),
            length_s=round(now - self._began, 3),
            received=received,
            sent=sent,
            rtt_ms=rtt_ms,
            underruns=underruns - self._underruns_before,
            clock_late_ms=round(clock_late_ms, 3),
            loop_lag_ms=round(loop_lag_ms, 3),
            skipped=self.skipped,
            echo=self._echo.take(),
        )
        self.skipped = 0
        self._underruns_before = underruns
        self._began = now
        while self.due <= now:
            self.due += SLICE
        return finished

    def close(self, now: float) -> Slice | None:
        """The rest, when the call ends; None when there is nothing to say of it."""
        rest = self.end(now)
        told = rest.received.mos is not None or rest.sent.mos is not None or rest.received.dead or rest.sent.dead
        return rest if told or rest.length_s >= SHORTEST_S else None

    def _far_end(self, sent: StreamSlice) -> float | None:
        """What only a report of this slice tells."""
        figures = self._figures
        before, self._reports_before = self._reports_before, figures.reports
        if figures.far_end is None or figures.reports == before:
            return None
        if sent.lost is not None:
            sent.jitter_ms = round(figures.far_end.jitter_ms, 3)
            if figures.far_end.discard_rate is None:
                sent.discarded = None
        rtt_ms = figures.far_end.rtt_ms
        return round(rtt_ms, 3) if rtt_ms is not None else None
