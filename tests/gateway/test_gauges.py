"""What simply is so, and that documentation, rules and dashboard speak of metrics that there are."""

import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trunkline.gateway.alerts.gauges import AlertGauges
from trunkline.gateway.alerts.service import AlertService
from trunkline.gateway.config import Config
from trunkline.gateway.config_tables import HepConfig
from trunkline.gateway.flight.recorder import FlightCounters
from trunkline.gateway.gauges import RecordsGauges, SwitchGauges
from trunkline.gateway.hep_mirror import HepCounters, HepMirror
from trunkline.gateway.http import Readiness
from trunkline.gateway.metrics import Metrics
from trunkline.gateway.quality_reporter import QualityReportCounters
from trunkline.gateway.records import RecordsHealth

ROOT = Path(__file__).parents[2]
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


def trunk(name: str, up: bool = True, max_calls: int | None = None) -> SimpleNamespace:
    return SimpleNamespace(name=name, up=up, config=SimpleNamespace(max_calls=max_calls))


def call(trunk: str, agent: str | None, direction: str = "inbound") -> SimpleNamespace:
    return SimpleNamespace(record=SimpleNamespace(trunk=trunk, agent=agent, direction=direction))


class FakeSwitch:
    def __init__(self) -> None:
        self.config: Any = SimpleNamespace(gateway=SimpleNamespace(max_calls=300, worker_count=2))
        self.trunks: dict[str, Any] = {"vonage": trunk("vonage"), "other": trunk("other", False, 20)}
        self.calls: dict[str, Any] = {
            "1": call("vonage", "reception"),
            "2": call("vonage", "reception"),
            "3": call("vonage", None, "outbound"),
        }
        self.workers: list[Any] = [SimpleNamespace(name="media-1", ready=True, legs={"1", "2"})]
        self.reasons: list[str] = []
        self.user_agent: Any = SimpleNamespace(
            responses=Counter({("sent", "INVITE", 200): 7, ("received", "REGISTER", 401): 1}),
            counters=Counter(malformed=3, refused_403=9),
        )

    def readiness(self) -> Readiness:
        return Readiness(reasons=self.reasons)


class FakeRecords:
    health = RecordsHealth(writable=False, queued=7, reason="disk full", written=40)


@pytest.fixture
def switch() -> FakeSwitch:
    return FakeSwitch()


@pytest.fixture
def metrics(switch: FakeSwitch) -> Metrics:
    metrics = Metrics()
    metrics.watch(SwitchGauges(switch))
    metrics.watch(RecordsGauges(FakeRecords()))
    metrics.watch(AlertGauges(AlertService(Config())))
    metrics.watch(HepCounters(HepMirror(HepConfig(collector="udp://127.0.0.1:9060"), "edge", "127.0.0.1")))
    metrics.watch(QualityReportCounters({}))
    metrics.watch(FlightCounters(SimpleNamespace(kept=0, failed=0, dropped=0)))
    return metrics


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"trunkline_{name}", labels)


def test_calls_are_those_of_the_moment(metrics, switch):
    assert value(metrics, "calls_active", trunk="vonage", agent="reception", direction="inbound") == 2
    assert value(metrics, "calls_active", trunk="vonage", agent="", direction="outbound") == 1
    assert value(metrics, "calls_active", trunk="other", agent="", direction="inbound") == 0
    assert value(metrics, "calls_limit") == 300
    assert value(metrics, "trunk_calls_limit", trunk="other") == 20
    assert value(metrics, "trunk_calls_limit", trunk="vonage") is None
    switch.calls.clear()
    assert value(metrics, "calls_active", trunk="vonage", agent="reception", direction="inbound") is None
    assert value(metrics, "calls_active", trunk="vonage", agent="", direction="inbound") == 0


def test_trunks_workers_and_readiness(metrics, switch):
    assert [value(metrics, "trunk_up", trunk=name) for name in ("vonage", "other")] == [1, 0]
    assert value(metrics, "worker_up", worker="media-1") == 1
    assert value(metrics, "worker_calls", worker="media-1") == 2
    assert value(metrics, "workers_configured") == 2
    assert value(metrics, "ready") == 1
    switch.reasons.append("trunk other is failed")
    assert value(metrics, "ready") == 0


def test_sip_and_records(metrics, switch):
    assert value(metrics, "sip_responses_total", direction="sent", method="INVITE", status="200") == 7
    assert value(metrics, "sip_ignored_total", reason="malformed") == 3
    assert value(metrics, "sip_ignored_total", reason="refused_403") is None
    assert value(metrics, "records_written_total") == 40
    assert value(metrics, "records_queued") == 7
    assert value(metrics, "records_writable") == 0
    switch.user_agent = None
    assert value(metrics, "sip_ignored_total", reason="malformed") is None


def names(metrics: Metrics) -> set[str]:
    """As documented: a histogram without its suffixes."""
    families = [family for family in metrics.registry.collect() if family.name.startswith("trunkline_")]
    return {family.name + ("_total" if family.type == "counter" else "") for family in families}


def series(metrics: Metrics) -> set[str]:
    """As a query names them."""
    return {family.name + suffix for family in metrics.registry.collect() for suffix in SUFFIXES[family.type]}


def test_every_metric_is_documented_and_no_other(metrics):
    rows = re.findall(r"^\| `(trunkline_\w+)` \|", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE)
    assert len(rows) == len(set(rows))
    assert set(rows) == names(metrics)


@pytest.mark.parametrize("file", ["prometheus/trunkline.rules.yml", "grafana/trunkline.json"])
def test_queries_name_what_there_is(metrics, file):
    text = (ROOT / "conf" / file).read_text()
    asked = set(re.findall(r"(?<![\w:])trunkline_\w+", text))
    assert len(asked) > 10
    assert asked - series(metrics) == set()


def test_every_runbook_is_there():
    headings = re.findall(r"^#+ (.+)$", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    rules = (ROOT / "conf/prometheus/trunkline.rules.yml").read_text()
    links = re.findall(r"runbook: docs/metrics\.md#(\S+)", rules)
    assert len(links) == len(re.findall(r"- alert: ", rules))
    assert set(links) <= anchors
