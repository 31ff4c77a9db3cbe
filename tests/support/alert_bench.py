"""A gateway of words for the alert engine: calls, slices and a clock that tests move."""

from typing import Any

from trunkline.gateway.alerts.alert import Alert
from trunkline.gateway.alerts.engine import AlertEngine
from trunkline.gateway.alerts.rules_config import RulesConfig
from trunkline.gateway.alerts.state import TrunkState
from trunkline.gateway.messages import LegCounts, LegFailed, LegReady, LegStatus, SliceEnded, WorkerStatus
from trunkline.gateway.record import CallRecord, MediaReport, Setup, Slice, StreamSlice, Turn
from trunkline.gateway.records import RecordsHealth
from trunkline.rtp.emodel import mos

UP = TrunkState(True, "registered", "for 300 s")
DOWN = TrunkState(False, "failed", "403 Forbidden")


def stream(r: float | None = 90.0, **more: Any) -> StreamSlice:
    """One direction of R `r`; None was not rated."""
    return StreamSlice(mos=None if r is None else mos(r), bad=r is not None and r < 70, **more)


def good(**more: Any) -> Slice:
    return Slice(start_s=0, length_s=10, received=stream(lost=0.0, discarded=0.0, jitter_ms=1.0), sent=stream(), **more)


def fair() -> Slice:
    """R 72: neither bad nor well."""
    return Slice(start_s=0, length_s=10, received=stream(72.0), sent=stream())


def lossy(lost: float = 0.08, **more: Any) -> Slice:
    return Slice(
        start_s=0, length_s=10, received=stream(55.0, lost=lost, discarded=0.0, jitter_ms=3.0), sent=stream(), **more
    )


def stuttering(underruns: int = 4, **more: Any) -> Slice:
    part = good(**more)
    part.underruns = underruns
    return part


def silent() -> Slice:
    return Slice(start_s=0, length_s=10, received=StreamSlice(bad=True, dead=True, lost=None), sent=stream())


def host_late(**more: Any) -> Slice:
    return Slice(
        start_s=0,
        length_s=10,
        received=stream(60.0, lost=0.0, discarded=0.06, jitter_ms=40.0),
        sent=stream(),
        clock_late_ms=180.0,
        loop_lag_ms=170.0,
        skipped=9,
        **more,
    )


def way_out(**more: Any) -> Slice:
    return Slice(
        start_s=0,
        length_s=10,
        received=stream(lost=0.0, discarded=0.0, jitter_ms=2.0),
        sent=stream(55.0, lost=0.09, jitter_ms=8.0),
        **more,
    )


def stalled(skipped: int = 100, **more: Any) -> Slice:
    """The media clock stood still again and again; the far end cannot miss what was never numbered."""
    return good(clock_late_ms=250.0, loop_lag_ms=240.0, skipped=skipped, **more)


class Bench:
    """The engine, what it asks, what it hears, and what it said. Begins at 1000 s."""

    def __init__(self, rules: RulesConfig | None = None, *, trunks: str = "vonage", agents: str = "reception") -> None:
        self.now = 1000.0
        self.wall = "2026-01-01T00:00:00.000Z"
        self.trunks: dict[str, TrunkState] = dict.fromkeys(trunks.split(), UP)
        self.agents: list[str] = agents.split()
        self.records = RecordsHealth(True, 0)
        self.workers_missing = 0
        self.alerting: list[str] = []
        self.told: list[Alert] = []
        self.rules = rules or RulesConfig()
        self._made = 0
        self._ids = 0
        self.engine = self._engine()

    def _engine(self) -> AlertEngine:
        return AlertEngine(
            self.rules, self, monotonic=lambda: self.now, timestamp=lambda: self.wall, new_id=self._new_id
        )

    def _new_id(self) -> str:
        self._ids += 1
        return f"alert-{self.now:09.0f}-{self._ids}"

    # Time

    def run(self, seconds: float = 1) -> list[Alert]:
        """Poll each second; what was told meanwhile."""
        told: list[Alert] = []
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 1)
            self.engine.poll(self.now)
            told += self.engine.changes()
        self.told += told
        return told

    def poll(self) -> list[Alert]:
        """Look without any time passing."""
        self.engine.poll(self.now)
        told = self.engine.changes()
        self.told += told
        return told

    def skip(self, seconds: float) -> None:
        """Time passes and nobody looks."""
        self.now += seconds

    def restart(self) -> None:
        """The process ends and begins anew, with what was open."""
        before = self.engine.alerts
        self.engine = self._engine()
        self.engine.restore(before)

    # Calls

    def call(
        self,
        trunk: str = "vonage",
        agent: str = "reception",
        *,
        caller: str | None = None,
        answered: bool = True,
    ) -> CallRecord:
        self._made += 1
        record = CallRecord(
            id=f"call-{self._made}",
            direction="inbound",
            trunk=trunk,
            from_=caller or f"+1415555{self._made:04}",
            to="+14155550000",
            agent=agent,
            provider="openai",
            started_at=self.wall,
        )
        self.engine.on_record(record)
        if answered:
            record.answered_at = self.wall
            self.engine.on_record(record)
        return record

    def slice(self, record: CallRecord, part: Slice, times: int = 1) -> None:
        for _ in range(times):
            self.engine.on_fact(record.id, SliceEnded(record.id, part))

    def calls(self, count: int, *parts: Slice, trunk: str = "vonage", agent: str = "reception") -> list[str]:
        """So many calls, each with these slices, all over at once; their ids."""
        ids = []
        for _ in range(count):
            record = self.call(trunk, agent)
            for part in parts:
                self.slice(record, part)
            self.end(record)
            ids.append(record.id)
        return ids

    def end(self, record: CallRecord, by: str = "caller", reason: str = "BYE", status: int = 200) -> None:
        record.ended_at, record.ended_by, record.end_reason, record.sip_status = self.wall, by, reason, status
        record.duration_s = 10.0 if record.answered_at else None
        self.engine.on_record(record)

    def fail(self, count: int = 1, reason: str = "no route for +14155550000", trunk: str = "vonage") -> None:
        """Calls that are refused."""
        for _ in range(count):
            self.end(self.call(trunk, answered=False), by="gateway", reason=reason, status=404)

    def report(
        self,
        record: CallRecord,
        turns: list[float] | None = None,
        first_audio_ms: float | None = None,
        **counts: int,
    ) -> None:
        """A LegStatus with these turn latencies, ms."""
        report = MediaReport(
            setup=Setup(answer_to_first_audio_ms=first_audio_ms),
            turns=[Turn(index=index, latency_ms=latency) for index, latency in enumerate(turns or [])],
        )
        status = LegStatus(record.id, "nobody", None, None, 0.0, report, LegCounts(**counts))
        self.engine.on_fact(record.id, status)

    def session(self, record: CallRecord, ok: bool = True) -> None:
        self.engine.on_fact(record.id, LegReady(record.id, 200.0) if ok else LegFailed(record.id, 503, "refused"))

    def worker(self, clock_late_ms: float = 1.0, loop_lag_ms: float = 1.0, legs: int = 3) -> None:
        self.engine.on_worker_status("media-1", WorkerStatus(legs, clock_late_ms, 0, loop_lag_ms))

    # What is open

    @property
    def open(self) -> dict[tuple[str, str], Alert]:
        return {(alert.rule, alert.subject): alert for alert in self.engine.alerts}

    def only(self) -> Alert:
        """The one alert that is open."""
        (alert,) = self.engine.alerts
        return alert
