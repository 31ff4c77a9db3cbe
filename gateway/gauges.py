"""What simply is so at the moment of a scrape: calls, trunks, workers, records, and totals that others keep."""

from collections import Counter
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Protocol

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from ..sip.user_agent import UserAgent
from .call import Call
from .config import Config
from .http import Readiness
from .records import RecordsHealth
from .trunk import Trunk
from .workers import Worker


class SwitchState(Protocol):
    """What is asked of the switch."""

    config: Config
    calls: dict[str, Call]

    @property
    def trunks(self) -> Mapping[str, Trunk]: ...

    @property
    def workers(self) -> list[Worker]: ...

    @property
    def user_agent(self) -> UserAgent | None: ...

    def readiness(self) -> Readiness: ...


class RecordsState(Protocol):
    """What is asked of the records."""

    @property
    def health(self) -> RecordsHealth: ...


Values = Mapping[tuple[str, ...], float]


class SwitchGauges(Collector):
    """The switch: its calls, its trunks, its workers, what its user agent counted."""

    def __init__(self, switch: SwitchState) -> None:
        self._switch = switch

    def describe(self) -> list[Metric]:
        """Nothing beforehand: the names are this module's own."""
        return []

    def collect(self) -> Iterator[Metric]:
        """One family after the other."""
        switch = self._switch
        yield _gauge("build_info", "The release, as a label; always 1.", {(version("trunkline"),): 1}, "version")
        yield _gauge("ready", "1 when /readyz says 200, as far as the switch knows.", _one(not self._reasons))
        yield from self._calls(switch)
        yield from self._trunks(switch)
        yield from self._workers(switch)
        if switch.user_agent is not None:
            yield from _sip(switch.user_agent)

    @property
    def _reasons(self) -> list[str]:
        return self._switch.readiness().reasons

    def _calls(self, switch: SwitchState) -> Iterator[Metric]:
        live: Counter[tuple[str, ...]] = Counter(
            (call.record.trunk or "", call.record.agent or "", call.record.direction) for call in switch.calls.values()
        )
        for trunk in switch.trunks:
            # a trunk without calls has none: it is not unknown how many
            if not any(key[0] == trunk for key in live):
                live[trunk, "", "inbound"] = 0
        yield _gauge("calls_active", "Calls that are not over.", live, "trunk", "agent", "direction")
        yield _gauge("calls_limit", "Calls that the gateway takes.", _one(switch.config.gateway.max_calls))

    def _trunks(self, switch: SwitchState) -> Iterator[Metric]:
        trunks = switch.trunks.values()
        up = {(trunk.name,): float(trunk.up) for trunk in trunks}
        yield _gauge("trunk_up", "1 when the trunk is registered, or answers.", up, "trunk")
        limits = {(trunk.name,): float(trunk.config.max_calls) for trunk in trunks if trunk.config.max_calls}
        yield _gauge("trunk_calls_limit", "Calls that the trunk may have; absent without a limit.", limits, "trunk")

    def _workers(self, switch: SwitchState) -> Iterator[Metric]:
        workers = switch.workers
        ready = {(worker.name,): float(worker.ready) for worker in workers}
        yield _gauge("worker_up", "1 when the media worker takes calls.", ready, "worker")
        legs = {(worker.name,): float(len(worker.legs)) for worker in workers}
        yield _gauge("worker_calls", "Calls that the media worker carries.", legs, "worker")
        expected = max(1, switch.config.gateway.worker_count)
        yield _gauge("workers_configured", "Media workers that there should be.", _one(expected))


class RecordsGauges(Collector):
    """The call records."""

    def __init__(self, records: RecordsState) -> None:
        self._records = records

    def describe(self) -> list[Metric]:
        """Nothing beforehand."""
        return []

    def collect(self) -> Iterator[Metric]:
        """One family after the other."""
        health = self._records.health
        yield _counter("records_written", "Rows written to the database.", _one(health.written))
        yield _gauge("records_queued", "Rows that wait in memory.", _one(health.queued))
        yield _gauge("records_writable", "0 while the database takes nothing.", _one(health.writable))


def _sip(user_agent: UserAgent) -> Iterator[Metric]:
    responses: Values = {
        (direction, method, str(status)): count for (direction, method, status), count in user_agent.responses.items()
    }
    labels = ("direction", "method", "status")
    yield _counter("sip_responses", "SIP responses by method and status; strays are not counted.", responses, *labels)
    ignored = {(name,): count for name, count in user_agent.counters.items() if name in _IGNORED}
    yield _counter("sip_ignored", "SIP messages that could not be used.", ignored, "reason")


_IGNORED = frozenset({"malformed", "stray_acks", "stray_responses", "merged_requests"})


def _one(value: float) -> Values:
    return {(): float(value)}


def _gauge(name: str, help_: str, values: Values, *labels: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"trunkline_{name}", help_, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _counter(name: str, help_: str, values: Values, *labels: str) -> CounterMetricFamily:
    family = CounterMetricFamily(f"trunkline_{name}", help_, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
