"""The gateway as a systemd service: when it is ready, how it stands in one line, and whether its clocks tick.

`Service.beat(now)` decides what to tell; `run` calls it about once a second. The order is READY (when every trunk is
up, or after READY_WITHIN with the reasons in STATUS), then STATUS at each change and WATCHDOG at half of WatchdogSec=
while every media clock ticks, RELOADING and READY around a reload, and STOPPING.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import structlog

from .http import Readiness
from .notify import notify, reloading, watchdog_seconds
from .record import CallRecord

log = structlog.get_logger(__name__)

READY_WITHIN = 15.0
"""Seconds after the sockets are bound: with a trunk still down the service is then ready, but degraded."""
BEAT, BEAT_AT_START = 1.0, 0.1
"""Seconds between two looks."""
STOP_MARGIN = 20.0
"""Seconds that hanging up, de-registering and writing the records may take after the drain; the unit's TimeoutStopSec=
has it too."""


class RecordedCall(Protocol):
    """What a live call is asked for."""

    @property
    def record(self) -> CallRecord: ...


class TrunkState(Protocol):
    """What a trunk is asked for."""

    @property
    def up(self) -> bool: ...


class Served(Protocol):
    """What is asked of the switch."""

    @property
    def calls(self) -> Mapping[str, RecordedCall]: ...

    @property
    def trunks(self) -> Mapping[str, TrunkState]: ...

    def readiness(self) -> Readiness: ...

    def stalled(self, now: float) -> str | None:
        """Why a media clock does not tick, None while all do."""
        ...


class Service:
    """What the service manager hears of one gateway."""

    def __init__(
        self,
        switch: Served,
        *,
        tell: Callable[..., None] = notify,
        watchdog_s: float | None = None,
        ready_within: float = READY_WITHIN,
        now: float | None = None,
        remarks: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        """`watchdog_s` is WatchdogSec=, by default what systemd says it is; `remarks` end the status line."""
        self.ready = False
        """True once READY=1 was sent."""
        self._switch = switch
        self._tell = tell
        self._remarks = remarks
        self._started = time.monotonic() if now is None else now
        self._ready_within = ready_within
        watchdog_s = watchdog_seconds() if watchdog_s is None else watchdog_s
        self._feed_every = None if watchdog_s is None else watchdog_s / 2
        self._feed_at = self._started
        self._starving: str | None = None
        self._phase: str | None = None
        self._note: str | None = None
        self._status = ""

    async def run(self) -> None:
        """Look and tell until cancelled."""
        while True:
            self.beat(time.monotonic())
            pause = BEAT if self.ready else BEAT_AT_START
            await asyncio.sleep(min(pause, (self._feed_every or BEAT) / 4))

    def beat(self, now: float) -> None:
        """One look at the gateway: tell what has changed, feed the watchdog when that is due."""
        reasons = self._switch.readiness().reasons
        if not self.ready and (not reasons or now - self._started >= self._ready_within):
            self.ready = True
            self._tell("READY=1", self._new_status(reasons))
            log.info("gateway is ready", degraded=reasons)
        else:
            self._tell_status(reasons)
        self._feed(now)

    def begin_reload(self) -> None:
        """A new configuration is being read."""
        self._tell(*reloading())

    def end_reload(self, refused: str | None = None) -> None:
        """It is in use; or it was `refused`, which the status says until the next one is taken."""
        self._note = f"last reload refused: {refused}" if refused else None
        lines = [self._new_status(self._switch.readiness().reasons)]
        # a reload of a gateway that is not ready yet does not make it so
        self._tell(*(["READY=1", *lines] if self.ready else lines))

    def begin_stop(self, drain_s: float) -> None:
        """The gateway takes no new calls; running ones have `drain_s` seconds."""
        self._phase = f"draining for at most {drain_s:g} s"
        self._tell(
            "STOPPING=1",
            # the unit's TimeoutStopSec= fits the default drain; a longer one asks for its time
            f"EXTEND_TIMEOUT_USEC={int((drain_s + STOP_MARGIN) * 1e6)}",
            self._new_status([]),
        )

    def end_drain(self) -> None:
        """Calls that are left are hung up now."""
        self._phase = "hanging up, de-registering"
        self._tell_status([])

    def _tell_status(self, reasons: list[str]) -> None:
        before = self._status
        line = self._new_status(reasons)
        if line != before:
            self._tell(line)

    def _new_status(self, reasons: list[str]) -> str:
        phase = self._phase or self._phase_of(reasons)
        parts = [phase, *_figures(self._switch), *self._remarks(), *([self._note] if self._note else [])]
        # one line: systemd reads the rest as other assignments
        self._status = " ".join(f"STATUS={'; '.join(parts)}".split())
        return self._status

    def _phase_of(self, reasons: list[str]) -> str:
        if not reasons:
            return "taking calls" if self._switch.trunks else "no trunk is configured"
        return f"{'degraded' if self.ready else 'starting'}: {', '.join(reasons)}"

    def _feed(self, now: float) -> None:
        # systemd's watchdog begins with READY
        if not self.ready or self._feed_every is None or now < self._feed_at:
            return
        starving = self._switch.stalled(now)
        if starving is None:
            self._feed_at = now + self._feed_every
            self._tell("WATCHDOG=1")
        elif starving != self._starving:
            log.critical("watchdog is not fed", reason=starving)
        self._starving = starving


def _figures(switch: Served) -> list[str]:
    """Calls, registrations and the worst call, as the status line has them."""
    calls, trunks = len(switch.calls), switch.trunks.values()
    figures = [
        f"{calls} call{'' if calls == 1 else 's'}",
        f"{sum(trunk.up for trunk in trunks)} of {len(trunks)} trunks up",
    ]
    worst = worst_mos(call.record for call in switch.calls.values())
    if worst is not None:
        figures.append(f"worst MOS {worst:.1f}")
    return figures


def worst_mos(records: Iterable[CallRecord]) -> float | None:
    """The lowest score that any of these calls has so far, either direction; None when none has one."""
    streams = [stream for record in records for stream in (record.media.received, record.media.sent)]
    scores = [stream.mos_lq if stream.mos_cq is None else stream.mos_cq for stream in streams]
    return min((score for score in scores if score is not None), default=None)
