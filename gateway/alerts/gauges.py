"""The metrics of the alerts themselves: what is open, what is told, and whether it is stored."""

from collections import Counter
from collections.abc import Iterator
from itertools import product
from typing import get_args

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from .desk import AlertDesk
from .rules_config import RuleName
from .service import AlertService

DELIVERY_RESULTS = ("delivered", "failed", "refused")
"""Begin at 0: no rate would show the first of them."""
HEARTBEAT_RESULTS = ("sent", "failed", "withheld")


class AlertGauges(Collector):
    """Asked at each scrape; nothing while alerts are off."""

    def __init__(self, service: AlertService) -> None:
        self._service = service

    def describe(self) -> list[Metric]:
        """Nothing beforehand: the names are this module's own."""
        return []

    def collect(self) -> Iterator[Metric]:
        """One family after the other."""
        open_alerts = GaugeMetricFamily(
            "trunkline_alerts_open", "Alerts that are not resolved.", labels=("rule", "severity", "state")
        )
        deliveries = CounterMetricFamily(
            "trunkline_alert_deliveries",
            "Deliveries of alerts by what became of them; `failed` ones are made again.",
            labels=("channel", "result"),
        )
        waiting = GaugeMetricFamily(
            "trunkline_alert_deliveries_waiting", "Deliveries of alerts that are not made yet.", labels=("channel",)
        )
        journal = GaugeMetricFamily("trunkline_alerts_storable", "0 while alerts cannot be stored.")
        heartbeats = CounterMetricFamily(
            "trunkline_heartbeats",
            "Heartbeats by result; `withheld` while the gateway is sick.",
            labels=("result",),
        )
        desk = self._service.desk
        if desk is not None:
            _fill(desk, open_alerts, deliveries, waiting)
            journal.add_metric((), float(desk.journal.health.writable))
        heartbeat = self._service.heartbeat
        if heartbeat is not None:
            for result in HEARTBEAT_RESULTS:
                heartbeats.add_metric((result,), heartbeat.results[result])
        yield from (open_alerts, deliveries, waiting, journal, heartbeats)


def _fill(
    desk: AlertDesk, open_alerts: GaugeMetricFamily, deliveries: CounterMetricFamily, waiting: GaugeMetricFamily
) -> None:
    states = Counter((alert.rule, alert.severity, alert.state) for alert in desk.engine.alerts)
    for labels in product(get_args(RuleName), ("page", "ticket"), ("firing", "acknowledged")):
        open_alerts.add_metric(labels, states[labels])
    results = {(channel, result): 0 for channel in desk.deliveries.waiting() for result in DELIVERY_RESULTS}
    for (channel, result), count in {**results, **desk.deliveries.results}.items():
        deliveries.add_metric((channel, result), count)
    for channel, count in desk.deliveries.waiting().items():
        waiting.add_metric((channel,), count)
