"""What the console remembers of calls and workers between two looks: bounded, and never waiting for anything."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import lru_cache
from heapq import nsmallest

import msgspec

from ...rtp.emodel import Impairment, impairment
from ...rtp.quality import Counters, score_between
from ..messages import Fact, LegStatus, MediaAlarm, WorkerStatus
from ..observer import Observer
from ..record import CallRecord
from .words import epoch

HOUR_S = 3600.0
KEPT = 5000
"""Calls of the last hour that are remembered; of more the oldest are forgotten."""
WORST = 8
"""Calls of the last hour that are shown."""
LOSS_OVER_S = 5
"""Seconds over which the present loss is taken."""
NOW_S = 10
"""Seconds over which the present MOS is taken: as long as a slice, but up to now."""


class LiveFigures:
    """One live call: what its record does not say."""

    __slots__ = ("_counters", "dead")

    def __init__(self) -> None:
        self.dead: set[str] = set()
        """Directions without media: `received`, `sent`."""
        self._counters: deque[Counters] = deque(maxlen=NOW_S + 1)

    def take(self, status: LegStatus) -> None:
        """Once a second."""
        received = status.report.media.received
        self._counters.append(Counters(received.packets + received.lost, received.lost, received.discarded))

    @property
    def loss(self) -> float | None:
        """Share of the caller's packets of the last seconds that was lost or late, 0 to 1; None without packets."""
        if len(self._counters) < 2:
            return None
        begin, end = self._counters[max(-len(self._counters), -LOSS_OVER_S - 1)], self._counters[-1]
        expected = end.expected - begin.expected
        missing = end.lost + end.discarded - begin.lost - begin.discarded
        return min(1.0, max(0, missing) / expected) if expected > 0 else None

    def mos(self, codec: str | None) -> float | None:
        """Of what came in the last seconds; None of too few packets, and of a codec that cannot be rated."""
        if codec is None or len(self._counters) < 2:
            return None
        score = score_between(_impairment(codec), self._counters[0], self._counters[-1])
        return round(score.mos, 2) if score is not None else None


@lru_cache(maxsize=8)
def _impairment(codec: str) -> Impairment | None:
    return impairment(codec)


class Ended(msgspec.Struct, frozen=True):
    """A call that is over, as the overview shows it."""

    id: str
    at: float
    """When it ended, Unix seconds."""
    ended_at: str
    direction: str
    number: str | None
    trunk: str | None
    agent: str | None
    duration_s: float | None
    worst: float | None
    """The lowest MOS of its slices, of either direction."""
    worst_way: str
    """`in` or `out`."""
    status: int | None
    reason: str | None

    @property
    def failed(self) -> bool:
        """It never came to be."""
        return self.duration_s is None


def ended_call(record: CallRecord) -> Ended | None:
    """None while the call is up."""
    at = epoch(record.ended_at)
    if at is None or record.ended_at is None:
        return None
    media = record.media
    rated = [
        (mos, way) for mos, way in ((media.received.mos_min, "in"), (media.sent.mos_min, "out")) if mos is not None
    ]
    worst, way = min(rated, default=(None, ""))
    return Ended(
        id=record.id,
        at=at,
        ended_at=record.ended_at,
        direction=record.direction,
        number=record.from_ if record.direction == "inbound" else record.to,
        trunk=record.trunk,
        agent=record.agent,
        duration_s=record.duration_s,
        worst=worst,
        worst_way=way,
        status=record.sip_status,
        reason=record.end_reason,
    )


class LastHour:
    """The calls that ended in the last hour."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._calls: dict[str, Ended] = {}

    def add(self, record: CallRecord) -> None:
        """A call is over; one that is not over is no news."""
        ended = ended_call(record)
        if ended is None:
            return
        self._calls[ended.id] = ended
        if len(self._calls) > KEPT:
            self._calls.pop(next(iter(self._calls)))

    def seed(self, records: Iterable[CallRecord]) -> None:
        """Calls of before the start, newest first."""
        known, self._calls = self._calls, {}
        for record in reversed(list(records)):
            self.add(record)
        self._calls |= known

    def _prune(self) -> None:
        limit = self._wall() - HOUR_S
        while self._calls:
            oldest = next(iter(self._calls))
            if self._calls[oldest].at >= limit:
                return
            del self._calls[oldest]

    def summary(self) -> tuple[int, int, list[Ended]]:
        """How many calls, how many of them failed, and the worst, the worst first."""
        self._prune()
        calls = self._calls.values()
        rated = [call for call in calls if call.worst is not None]
        return (
            len(calls),
            sum(call.failed for call in calls),
            nsmallest(WORST, rated, key=lambda call: call.worst or 0.0),
        )


class WorkerFigures(msgspec.Struct):
    """What a worker said last."""

    legs: int
    late_ms: float
    lag_ms: float
    cpu: float | None
    """Of one core, 0 to 1; None before its second report."""
    cpu_s: float


class CallWatch(Observer):
    """What the switch tells the console."""

    def __init__(self) -> None:
        self.live: dict[str, LiveFigures] = {}
        self.hour = LastHour()
        self.workers: dict[str, WorkerFigures] = {}
        self.lag_ms: float | None = None
        """Worst delay of the switch's own loop in the last second."""

    def on_record(self, record: CallRecord) -> None:
        if record.ended_at is None:
            self.live.setdefault(record.id, LiveFigures())
        else:
            self.live.pop(record.id, None)
            self.hour.add(record)

    def on_fact(self, call_id: str, fact: Fact) -> None:
        figures = self.live.get(call_id)
        if figures is None:
            return
        if isinstance(fact, LegStatus):
            figures.take(fact)
        elif isinstance(fact, MediaAlarm):
            (figures.dead.add if fact.dead else figures.dead.discard)(fact.direction)

    def on_worker_status(self, worker: str, status: WorkerStatus) -> None:
        before = self.workers.get(worker)
        cpu = max(0.0, status.cpu_s - before.cpu_s) if before is not None else None
        self.workers[worker] = WorkerFigures(
            status.legs, status.clock_late_max_ms, status.loop_lag_max_ms, cpu, status.cpu_s
        )

    def on_worker_lost(self, worker: str) -> None:
        self.workers.pop(worker, None)

    def on_loop_lag(self, seconds: float) -> None:
        self.lag_ms = seconds * 1000
