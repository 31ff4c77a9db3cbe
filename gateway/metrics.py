"""The gateway's metrics for Prometheus: what is counted, under which names, and how it is told.

Media workers count for themselves and send cumulative figures once a second; call_meter.py makes differences of them,
so that a counter here never goes back, whatever becomes of a call or a worker. What simply is so (calls, trunks,
workers) is asked for at each scrape: gauges.py. docs/metrics.md explains every name.

No label ever holds a number, a Call-ID or an address: trunks, agents and codecs are configured, all else is a short
list. Which call it was is told by exemplars, in the OpenMetrics form.
"""

import time
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from ..sip.events import RegistrationChanged
from .call_meter import CallMeter
from .families import Families
from .messages import Fact, WorkerStatus
from .observer import Observer
from .record import CallRecord

__all__ = ["Metrics"]

# a counter's birth as a time series of its own doubles the page and tells nothing that `process_start_time` does not
disable_created_metrics()


class Metrics(Observer):
    """Everything that is counted. The switch tells it what happens; `exposition` is the page.

    Never raises for what a call does, never waits; a few microseconds for each fact of a worker.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.registry = CollectorRegistry()
        self.families = Families(self.registry)
        ProcessCollector(registry=self.registry)
        self._monotonic = monotonic
        self._calls: dict[str, CallMeter] = {}
        self._skipped: dict[str, int] = {}
        self._cpu: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<Metrics calls={len(self._calls)}>"

    def watch(self, collector: Collector) -> None:
        """Ask this collector, too, at each scrape."""
        self.registry.register(collector)

    def prepare(self, trunks: Iterable[str], services: Iterable[tuple[str, str]], workers: Iterable[str]) -> None:
        """Begin what can fail at 0 and not with the first failure, which no rate would show. `services` are agents with
        their providers; what belongs to a call begins with the first call."""
        families = self.families
        for trunk in trunks:
            for result in ("registered", "failed"):
                families.registrations.labels(trunk, result)
        for service in services:
            for result in ("ok", "failed"):
                families.provider_connects.labels(*service, result)
            for kind in ("reported", "lost"):
                families.provider_errors.labels(*service, kind)
            families.provider_reconnects.labels(*service)
        for worker in workers:
            families.worker_deaths.labels(worker)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """The page and its Content-Type: OpenMetrics with exemplars when `accept` (the header) asks for it, else the
        text format 0.0.4."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    # Calls

    def on_record(self, record: CallRecord) -> None:
        """A call began, was answered or is over: whatever its record says now. Told at least of the first and the last
        state."""
        meter = self._calls.get(record.id)
        if meter is None:
            meter = self._calls[record.id] = CallMeter(self.families, record, self._monotonic())
        meter.on_record(self._monotonic())
        if record.ended_at is not None:
            del self._calls[record.id]

    def on_fact(self, call_id: str, fact: Fact) -> None:
        """What a media worker says of a call; a call that is over is not known any more."""
        meter = self._calls.get(call_id)
        if meter is not None:
            meter.on_fact(fact)

    # Workers and the process

    def on_worker_status(self, worker: str, status: WorkerStatus) -> None:
        """Once a second from each worker."""
        families = self.families
        families.clock_lateness.labels(worker).observe(max(0.0, status.clock_late_max_ms) / 1000)
        families.loop_lag.labels(worker).observe(max(0.0, status.loop_lag_max_ms) / 1000)
        families.clock_skipped.labels(worker).inc(max(0, status.clock_skipped_ticks - self._skipped.get(worker, 0)))
        families.worker_cpu.labels(worker).inc(max(0.0, status.cpu_s - self._cpu.get(worker, 0.0)))
        self._skipped[worker], self._cpu[worker] = status.clock_skipped_ticks, status.cpu_s

    def on_worker_lost(self, worker: str) -> None:
        """It died; the one that takes its place, and its name, counts from 0."""
        self.families.worker_deaths.labels(worker).inc()
        self._skipped.pop(worker, None)
        self._cpu.pop(worker, None)

    def on_loop_lag(self, seconds: float) -> None:
        """Once a second: how late the switch's own loop was at worst."""
        self.families.loop_lag.labels("switch").observe(max(0.0, seconds))

    # Trunks

    def on_registration(self, event: RegistrationChanged) -> None:
        """A REGISTER came to an end, well or not."""
        if event.state in ("registered", "failed"):
            self.families.registrations.labels(event.name, event.state).inc()
