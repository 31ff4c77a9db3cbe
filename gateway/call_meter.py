"""One call's part of the metrics: from cumulative figures, as its worker sends them each second, to differences.

A figure that falls back (a packet taken for lost comes late, a worker gives up) takes nothing back: counters only go
up, so the highest value seen counts.
"""

from .families import Families
from .messages import Fact, LegClosed, LegCounts, LegFailed, LegReady, LegStatus, MediaAlarm
from .record import CallRecord, Media, MediaReport, Received, Sent

SERVICE_REFUSED = 503
"""Status of LegFailed when the speech service cannot be had; with Retry-After it was the gateway that was full."""

_BUSY = frozenset({486, 600})
_NO_ANSWER = frozenset({408, 480, 487})
_REASON_OF_REJECTION = frozenset({"malformed", "foreign", "probation", "unknown_type", "empty", "out_of_range", "rtcp"})


def result_of(record: CallRecord) -> str:
    """How a call that is over ended, in one word of a short list."""
    if record.answered_at is not None:
        return "dropped" if record.ended_by in ("gateway", "provider", "trunk") else "completed"
    if record.ended_by in ("caller", "operator"):
        return "cancelled"
    if record.direction == "inbound":
        return "failed" if record.ended_by == "provider" or record.sip_status == 500 else "refused"
    status = record.sip_status or 0
    if status in _BUSY:
        return "busy"
    if status in _NO_ANSWER:
        return "no_answer"
    return "rejected" if record.ended_by == "trunk" and not 500 <= status < 600 else "failed"


class CallMeter:
    """From the first word of a record to the last."""

    def __init__(self, families: Families, record: CallRecord, now: float) -> None:
        self._families = families
        self._record = record
        self._began = now
        self._answered_at: float | None = None
        self._seen: dict[object, float] = {}
        """Key of a cumulative figure → the highest value so far."""
        self._lost_before = 0
        self._round_trip: float | None = None
        self._first_audio = False
        self._one_way = False
        self._turns: set[int] = set()
        self._report: MediaReport | None = None
        self._exemplar = {"call_id": record.id}

    # Labels; the agent can change while the call rings (fallback)

    @property
    def _trunk(self) -> str:
        return self._record.trunk or ""

    @property
    def _call(self) -> tuple[str, str, str]:
        return self._trunk, self._record.agent or "", self._record.direction

    def _stream(self, direction: str) -> tuple[str, str, str]:
        return self._trunk, self._record.agent or "", direction

    @property
    def _service(self) -> tuple[str, str]:
        return self._record.agent or "", self._record.provider or ""

    # What happens

    def on_record(self, now: float) -> None:
        """The record was written as it stands."""
        record = self._record
        if record.answered_at is not None and self._answered_at is None:
            self._answered_at = now
            self._families.answered.labels(*self._call).inc()
            self._prepare()
            self._families.setup.labels(*self._call).observe(now - self._began, self._exemplar)
        if record.ended_at is not None:
            self._end()

    def _prepare(self) -> None:
        """Begin at 0 what may go wrong with this call."""
        families = self._families
        families.one_way.labels(*self._stream("")[:2])
        for direction in ("received", "sent"):
            stream = self._stream(direction)
            families.dead.labels(*stream)
            families.degraded.labels(*stream)
            for quality in ("good", "bad"):
                families.slices.labels(*stream, quality)

    def on_fact(self, fact: Fact) -> None:
        """What its worker says."""
        families = self._families
        match fact:
            case LegStatus(report=report, counts=counts):
                self._media(report, counts)
                self._sample(report.media)
            case LegClosed(report=report, counts=counts):
                self._media(report, counts, last=True)
            case LegReady(provider_ms=provider_ms):
                families.provider_connects.labels(*self._service, "ok").inc()
                families.provider_connect.labels(*self._service).observe(provider_ms / 1000, self._exemplar)
            case LegFailed(status=status, retry_after_s=retry_after) if self._answered_at is None:
                if status == SERVICE_REFUSED and retry_after is None:
                    families.provider_connects.labels(*self._service, "failed").inc()
            case MediaAlarm(direction=direction, dead=True):
                families.dead.labels(*self._stream(direction)).inc(1, self._exemplar)
                if not self._one_way:
                    self._one_way = True
                    families.one_way.labels(*self._stream("")[:2]).inc(1, self._exemplar)
            case _:
                pass

    def _end(self) -> None:
        record, families = self._record, self._families
        families.calls.labels(*self._call, result_of(record)).inc(1, self._exemplar)
        if record.duration_s is not None:
            families.duration.labels(*self._call).observe(record.duration_s, self._exemplar)
        report = self._report
        if report is None:
            return
        for direction, part in (("received", report.media.received), ("sent", report.media.sent)):
            if part.mos_lq is not None:
                codec = self._codec(report)
                mos = families.mos.labels(self._trunk, direction, codec, part.scale or "")
                mos.observe(part.mos_lq, self._exemplar)

    # Differences

    def _more(self, key: object, value: float) -> float:
        """By how much a cumulative figure is higher than ever before."""
        before = self._seen.get(key, 0)
        if value <= before:
            return 0
        self._seen[key] = value
        return value - before

    def _media(self, report: MediaReport, counts: LegCounts, *, last: bool = False) -> None:
        self._report = report
        self._received(report, counts, last)
        self._sent(report, counts)
        self._slices("received", counts.received_good, counts.received_bad)
        self._slices("sent", counts.sent_good, counts.sent_bad)
        self._conversation(report, counts)

    def _codec(self, report: MediaReport) -> str:
        return (report.codec or "").lower()

    def _packets(self, direction: str, codec: str, **results: int | None) -> None:
        for result, count in results.items():
            more = self._more((direction, result), count or 0)
            if more:
                self._families.packets.labels(self._trunk, direction, codec, result).inc(more)

    def _received(self, report: MediaReport, counts: LegCounts, last: bool) -> None:
        part: Received = report.media.received
        # a packet missing now may only be late: it is lost when it is missing still a second later
        lost = part.lost if last else min(part.lost, self._lost_before)
        self._lost_before = part.lost
        codec = self._codec(report)
        self._packets(
            "received",
            codec,
            received=part.packets - part.discarded - part.duplicated,
            lost=lost,
            late=part.discarded,
            duplicate=part.duplicated,
        )
        rejected = {reason: count for reason, count in counts.rejected.items() if reason in _REASON_OF_REJECTION}
        self._packets("received", codec, **rejected)
        more = self._more("reordered", part.reordered)
        if more:
            self._families.reordered.labels(self._trunk).inc(more)

    def _sent(self, report: MediaReport, counts: LegCounts) -> None:
        part: Sent = report.media.sent
        self._packets("sent", self._codec(report), sent=part.packets, lost=part.lost, error=counts.send_errors)
        more = self._more("underruns", part.underruns)
        if more:
            self._families.underruns.labels(*self._service).inc(more, self._exemplar)

    def _slices(self, direction: str, good: int, bad: int) -> None:
        stream = self._stream(direction)
        more = self._more((direction, "good"), good)
        if more:
            self._families.slices.labels(*stream, "good").inc(more)
        more = self._more((direction, "bad"), bad)
        if more:
            self._families.slices.labels(*stream, "bad").inc(more, self._exemplar)
            if more == bad:
                self._families.degraded.labels(*stream).inc(1, self._exemplar)

    def _conversation(self, report: MediaReport, counts: LegCounts) -> None:
        families, service = self._families, self._service
        first_audio = report.setup.answer_to_first_audio_ms
        if first_audio is not None and not self._first_audio:
            self._first_audio = True
            families.first_audio.labels(*self._call).observe(first_audio / 1000, self._exemplar)
        for turn in report.turns:
            if turn.latency_ms is not None and turn.index not in self._turns:
                self._turns.add(turn.index)
                families.turn_latency.labels(*service).observe(turn.latency_ms / 1000, self._exemplar)
        families.barge_ins.labels(*service).inc(self._more("barge_ins", sum(t.interrupted for t in report.turns)))
        reported = self._more("provider_errors", counts.provider_errors)
        families.provider_errors.labels(*service, "reported").inc(reported)
        families.provider_errors.labels(*service, "lost").inc(self._more("provider_lost", counts.provider_lost))
        reconnects = self._more("provider_reconnects", counts.provider_reconnects)
        families.provider_reconnects.labels(*service).inc(reconnects)

    def _sample(self, media: Media) -> None:
        """What is no count: the state in this second."""
        for direction, part in (("received", media.received), ("sent", media.sent)):
            if part.jitter_ms is not None:
                self._families.jitter.labels(self._trunk, direction).observe(part.jitter_ms / 1000)
        round_trip = media.sent.rtt_ms
        if round_trip is not None and round_trip != self._round_trip:
            self._round_trip = round_trip
            self._families.round_trip.labels(self._trunk).observe(round_trip / 1000, self._exemplar)
