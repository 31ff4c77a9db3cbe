"""What watches the switch: metrics, alerts, the flight recorder, the Homer mirror.

The switch tells each observer what happens, in the order in which it happens, on its event loop. An observer never
waits, never raises for what a call does, and never changes what it is told.
"""

from collections.abc import Sequence
from typing import Any

import structlog

from ..sip.events import PublishEnded, RegistrationChanged
from ..sip.flow import Address, Flow
from .log_limit import LogLimit
from .messages import Fact, WorkerStatus
from .record import CallRecord

log = structlog.get_logger(__name__)


class Observer:
    """Hears nothing until a method is overridden."""

    def on_record(self, record: CallRecord) -> None:
        """A call began, was answered or is over: whatever its record says now. Told at least of the first and the last
        state, and of both when a call was refused at once."""

    def on_fact(self, call_id: str, fact: Fact) -> None:
        """What a media worker says of a call that is not over."""

    def on_worker_status(self, worker: str, status: WorkerStatus) -> None:
        """Once a second from each worker."""

    def on_worker_lost(self, worker: str) -> None:
        """It died; the one that takes its place, and its name, counts from 0."""

    def on_loop_lag(self, seconds: float) -> None:
        """Once a second: how late the switch's own loop was at worst."""

    def on_registration(self, event: RegistrationChanged) -> None:
        """A REGISTER came to an end, well or not."""

    def on_published(self, event: PublishEnded) -> None:
        """A PUBLISH came to an end, well or not."""

    def on_sip(self, received: bool, flow: Flow, local: Address, data: bytes) -> None:
        """One SIP message as it came or goes, with its credentials; `flow` is the far end, `local` our own address."""


class Observers(Observer):
    """Several as one. A fault in one of them is logged, and neither the others nor the call notice."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = tuple(observers)
        self._limit = LogLimit()

    def on_record(self, record: CallRecord) -> None:
        self._tell("on_record", record)

    def on_fact(self, call_id: str, fact: Fact) -> None:
        self._tell("on_fact", call_id, fact)

    def on_worker_status(self, worker: str, status: WorkerStatus) -> None:
        self._tell("on_worker_status", worker, status)

    def on_worker_lost(self, worker: str) -> None:
        self._tell("on_worker_lost", worker)

    def on_loop_lag(self, seconds: float) -> None:
        self._tell("on_loop_lag", seconds)

    def on_registration(self, event: RegistrationChanged) -> None:
        self._tell("on_registration", event)

    def on_published(self, event: PublishEnded) -> None:
        self._tell("on_published", event)

    def on_sip(self, received: bool, flow: Flow, local: Address, data: bytes) -> None:
        self._tell("on_sip", received, flow, local, data)

    def _tell(self, what: str, *news: Any) -> None:
        for observer in self._observers:
            try:
                getattr(observer, what)(*news)
            except Exception:  # top frame of an observer: a message is still to be read, a record to be written
                if self._limit.allows("observer failed", type(observer).__name__):
                    log.exception("observer failed", observer=type(observer).__name__, told=what)
