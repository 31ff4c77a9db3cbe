"""What is counted, from facts as workers send them to the page that Prometheus reads."""

import re

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from support.pages import fell

from trunkline.gateway.call_meter import result_of
from trunkline.gateway.messages import LegClosed, LegCounts, LegFailed, LegReady, LegStatus, MediaAlarm, WorkerStatus
from trunkline.gateway.metrics import Metrics
from trunkline.gateway.record import CallRecord, Media, MediaReport, Received, Sent, Setup, Turn
from trunkline.sip.events import RegistrationChanged

NUMBER = "+14155550100"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Page:
    """A metrics page under test, fed by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self.metrics = Metrics(lambda: self.now)

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"trunkline_{name}", labels)

    def text(self) -> str:
        return self.metrics.exposition("")[0].decode()


class OneCall:
    """A call and its worker."""

    def __init__(self, page: Page, call_id: str = "call-1", **fields) -> None:
        values = {"direction": "inbound", "trunk": "vonage", "agent": "reception", "provider": "openai"}
        values |= {"from_": NUMBER, "to": NUMBER, "started_at": "2026-01-02T03:04:05.678Z"} | fields
        self.page = page
        self.record = CallRecord(id=call_id, **values)
        page.metrics.on_record(self.record)

    def answered(self, after: float = 1.5) -> "OneCall":
        self.page.now += after
        self.record.answered_at = "2026-01-02T03:04:07.178Z"
        self.page.metrics.on_record(self.record)
        return self

    def fact(self, fact) -> None:
        self.page.metrics.on_fact(self.record.id, fact)

    def status(self, received=None, sent=None, turns=(), counts=None, codec="PCMU", setup=None) -> None:
        media = Media(received or Received(), sent or Sent())
        report = MediaReport(codec=codec, media=media, turns=list(turns), setup=setup or Setup())
        self.fact(LegStatus(self.record.id, "nobody", None, None, 0.0, report, counts or LegCounts()))

    def closed(self, received=None, sent=None, counts=None, codec="PCMU") -> None:
        report = MediaReport(codec=codec, media=Media(received or Received(), sent or Sent()))
        self.fact(LegClosed(self.record.id, report, counts or LegCounts()))

    def over(self, ended_by: str = "caller", sip_status: int = 200) -> None:
        self.record.ended_at, self.record.ended_by = "2026-01-02T03:05:07.178Z", ended_by
        self.record.sip_status = sip_status
        self.record.duration_s = 60.0 if self.record.answered_at else None
        self.page.metrics.on_record(self.record)


@pytest.fixture
def page() -> Page:
    return Page()


CALL = {"trunk": "vonage", "agent": "reception", "direction": "inbound"}
RECEIVED = {"trunk": "vonage", "agent": "reception", "direction": "received"}
SERVICE = {"agent": "reception", "provider": "openai"}


def packets(page: Page, direction: str, result: str, codec: str = "pcmu") -> float | None:
    return page.value("rtp_packets_total", trunk="vonage", direction=direction, codec=codec, result=result)


def test_a_call_is_counted_once_with_its_result_and_times(page):
    call = OneCall(page).answered(1.5)
    call.page.metrics.on_record(call.record)
    call.over()
    assert page.value("calls_answered_total", **CALL) == 1
    assert page.value("calls_total", **CALL, result="completed") == 1
    assert page.value("call_setup_seconds_sum", **CALL) == 1.5
    assert page.value("call_setup_seconds_count", **CALL) == 1
    assert page.value("call_duration_seconds_sum", **CALL) == 60


@pytest.mark.parametrize(
    ("fields", "result"),
    [
        ({"answered_at": "x", "ended_by": "caller"}, "completed"),
        ({"answered_at": "x", "ended_by": "agent"}, "completed"),
        ({"answered_at": "x", "ended_by": "provider"}, "dropped"),
        ({"answered_at": "x", "ended_by": "gateway"}, "dropped"),
        ({"ended_by": "caller", "sip_status": 487}, "cancelled"),
        ({"ended_by": "gateway", "sip_status": 503}, "refused"),
        ({"ended_by": "gateway", "sip_status": 404}, "refused"),
        ({"ended_by": "gateway", "sip_status": 500}, "failed"),
        ({"ended_by": "provider", "sip_status": 503}, "failed"),
        ({"direction": "outbound", "ended_by": "trunk", "sip_status": 486}, "busy"),
        ({"direction": "outbound", "ended_by": "trunk", "sip_status": 480}, "no_answer"),
        ({"direction": "outbound", "ended_by": "gateway", "sip_status": 408}, "no_answer"),
        ({"direction": "outbound", "ended_by": "trunk", "sip_status": 403}, "rejected"),
        ({"direction": "outbound", "ended_by": "trunk", "sip_status": 603}, "rejected"),
        ({"direction": "outbound", "ended_by": "trunk", "sip_status": 502}, "failed"),
        ({"direction": "outbound", "ended_by": "operator", "sip_status": 480}, "cancelled"),
    ],
)
def test_results(fields, result):
    assert result_of(CallRecord(id="1", started_at="x", **({"direction": "inbound"} | fields))) == result


def test_cumulative_figures_become_counters(page):
    call = OneCall(page).answered()
    call.status(Received(packets=50, duplicated=1, discarded=2, reordered=3), Sent(packets=50, underruns=1))
    call.status(Received(packets=100, duplicated=1, discarded=4, reordered=3), Sent(packets=101, underruns=1, lost=2))
    assert packets(page, "received", "received") == 95
    assert packets(page, "received", "late") == 4
    assert packets(page, "received", "duplicate") == 1
    assert packets(page, "sent", "sent") == 101
    assert packets(page, "sent", "lost") == 2
    assert page.value("rtp_packets_reordered_total", trunk="vonage") == 3
    assert page.value("playout_underruns_total", **SERVICE) == 1


def test_a_packet_that_is_only_late_is_not_counted_as_lost(page):
    call = OneCall(page).answered()
    call.status(Received(packets=45, lost=5))
    assert packets(page, "received", "lost") in (None, 0)
    call.status(Received(packets=98, lost=2, discarded=3))
    assert packets(page, "received", "lost") == 2
    call.closed(Received(packets=98, lost=4, discarded=3))
    assert packets(page, "received", "lost") == 4


def test_counters_never_go_back(page):
    call = OneCall(page).answered()
    call.status(Received(packets=100, lost=8), Sent(packets=100, lost=9))
    call.status(Received(packets=100, lost=8), Sent(packets=100, lost=9))
    call.status(Received(packets=10, lost=1), Sent(packets=5, lost=-3))
    call.status(Received(packets=101, lost=8), Sent(packets=100, lost=9))
    assert packets(page, "received", "received") == 101
    assert packets(page, "received", "lost") == 8
    assert packets(page, "sent", "lost") == 9


def test_a_change_of_codec_counts_nothing_twice(page):
    call = OneCall(page).answered()
    call.status(Received(packets=100))
    call.status(Received(packets=150), codec="opus")
    assert packets(page, "received", "received") == 100
    assert packets(page, "received", "received", "opus") == 50


def test_a_dead_worker_takes_nothing_back(page):
    call, other = OneCall(page).answered(), OneCall(page, "call-2").answered()
    call.status(Received(packets=100))
    other.status(Received(packets=30))
    page.metrics.on_worker_status("media-1", WorkerStatus(1, 25.0, 7, 3.0, 12.0))
    before = page.text()
    page.metrics.on_worker_lost("media-1")
    call.over("gateway")
    page.metrics.on_worker_status("media-1", WorkerStatus(0, 1.0, 2, 0.0, 0.5))
    assert packets(page, "received", "received") == 130
    assert page.value("media_clock_skipped_periods_total", worker="media-1") == 9
    assert page.value("worker_cpu_seconds_total", worker="media-1") == 12.5
    assert page.value("worker_deaths_total", worker="media-1") == 1
    assert page.value("media_clock_lateness_seconds_sum", worker="media-1") == pytest.approx(0.026)
    assert page.value("event_loop_lag_seconds_sum", process="media-1") == pytest.approx(0.003)
    assert fell(before, page.text()) == []


def test_slices_and_calls_that_had_a_bad_one(page):
    call, other = OneCall(page).answered(), OneCall(page, "call-2").answered()
    assert page.value("call_slices_total", **RECEIVED, quality="bad") == 0
    assert page.value("calls_degraded_total", **RECEIVED) == 0
    for good, bad in ((1, 0), (1, 1), (2, 3)):
        call.status(counts=LegCounts(received_good=good, received_bad=bad))
    other.status(counts=LegCounts(received_good=1, sent_bad=2))
    assert page.value("call_slices_total", **RECEIVED, quality="good") == 3
    assert page.value("call_slices_total", **RECEIVED, quality="bad") == 3
    assert page.value("calls_degraded_total", **RECEIVED) == 1
    assert page.value("calls_degraded_total", **RECEIVED | {"direction": "sent"}) == 1


def test_one_way_audio_is_counted_once_a_call_and_each_time(page):
    call = OneCall(page).answered()
    for dead in (True, False, True):
        call.fact(MediaAlarm("call-1", "received", dead, "203.0.113.9:4000 says nothing"))
    assert page.value("calls_one_way_total", trunk="vonage", agent="reception") == 1
    assert page.value("media_dead_total", **RECEIVED) == 2


def test_mos_has_the_edges_of_g107_and_its_scale(page):
    call = OneCall(page).answered()
    call.closed(Received(mos_lq=3.59, scale="nb"), Sent(mos_lq=4.2, scale="fb"), codec="opus")
    call.over()
    edges = re.findall(r'trunkline_call_mos_bucket\{codec="opus",direction="received",le="([^"]+)"', page.text())
    assert edges == ["2.58", "3.1", "3.6", "4.03", "4.34", "+Inf"]
    labels = {"trunk": "vonage", "codec": "opus", "direction": "received", "scale": "nb"}
    assert page.value("call_mos_bucket", **labels, le="3.1") == 0
    assert page.value("call_mos_bucket", **labels, le="3.6") == 1
    assert page.value("call_mos_count", **labels | {"direction": "sent", "scale": "fb"}) == 1


def test_a_call_without_a_score_has_no_mos(page):
    call = OneCall(page).answered()
    call.closed()
    call.over()
    assert "trunkline_call_mos_count" not in page.text()


def test_turns_are_observed_once_each(page):
    call = OneCall(page).answered()
    greeting, first = Turn(0), Turn(1, latency_ms=640.0, interrupted=True)
    call.status(turns=[greeting, first, Turn(2)], setup=Setup(answer_to_first_audio_ms=120.0))
    call.status(turns=[greeting, first, Turn(2, latency_ms=1200.0)], setup=Setup(answer_to_first_audio_ms=120.0))
    assert page.value("turn_latency_seconds_count", **SERVICE) == 2
    assert page.value("turn_latency_seconds_sum", **SERVICE) == pytest.approx(1.84)
    assert page.value("barge_ins_total", **SERVICE) == 1
    assert page.value("call_first_audio_seconds_count", **CALL) == 1
    assert page.value("call_first_audio_seconds_sum", **CALL) == pytest.approx(0.12)


def test_jitter_each_second_and_round_trip_each_report(page):
    call = OneCall(page).answered()
    for rtt in (80.0, 80.0, 90.0):
        call.status(Received(jitter_ms=4.0), Sent(jitter_ms=2.0, rtt_ms=rtt))
    assert page.value("rtp_jitter_seconds_count", trunk="vonage", direction="received") == 3
    assert page.value("rtp_jitter_seconds_sum", trunk="vonage", direction="sent") == pytest.approx(0.006)
    assert page.value("rtp_round_trip_seconds_sum", trunk="vonage") == pytest.approx(0.17)


def test_the_speech_service(page):
    page.metrics.prepare(["vonage"], [("reception", "openai")], ["media-1"])
    assert page.value("provider_connects_total", **SERVICE, result="failed") == 0
    call = OneCall(page)
    call.fact(LegReady("call-1", 700.0))
    call.answered().status(counts=LegCounts(provider_errors=2, provider_reconnects=1))
    call.status(counts=LegCounts(provider_errors=2, provider_reconnects=1, provider_lost=1))
    refused = OneCall(page, "call-2")
    refused.fact(LegFailed("call-2", 503, "401 Unauthorized"))
    full = OneCall(page, "call-3")
    full.fact(LegFailed("call-3", 503, "no RTP port", 5))
    assert page.value("provider_connects_total", **SERVICE, result="ok") == 1
    assert page.value("provider_connects_total", **SERVICE, result="failed") == 1
    assert page.value("provider_connect_seconds_sum", **SERVICE) == pytest.approx(0.7)
    assert page.value("provider_errors_total", **SERVICE, kind="reported") == 2
    assert page.value("provider_errors_total", **SERVICE, kind="lost") == 1
    assert page.value("provider_reconnects_total", **SERVICE) == 1


def test_registrations_begin_at_zero_and_count_outcomes(page):
    page.metrics.prepare(["vonage"], [], [])
    for state in ("registering", "registered", "registering", "failed", "unregistered"):
        page.metrics.on_registration(RegistrationChanged("vonage", state, "reason", None, None, None, None))
    assert page.value("registrations_total", trunk="vonage", result="registered") == 1
    assert page.value("registrations_total", trunk="vonage", result="failed") == 1


def test_rejected_datagrams_by_reason_and_nothing_else(page):
    call = OneCall(page).answered()
    call.status(counts=LegCounts(rejected={"foreign": 3, "203.0.113.9": 8}, send_errors=2))
    assert packets(page, "received", "foreign") == 3
    assert packets(page, "sent", "error") == 2
    assert "203.0.113.9" not in page.text()


def test_no_call_and_no_number_becomes_a_label(page):
    call = OneCall(page, "call-with-an-id").answered()
    call.status(Received(packets=50, mos_lq=4.0, scale="nb"), counts=LegCounts(received_bad=1))
    call.fact(MediaAlarm("call-with-an-id", "received", True, f"expected from {NUMBER}"))
    call.over()
    assert NUMBER not in page.text()
    assert "call-with-an-id" not in page.text()


def test_exemplars_name_the_call_in_openmetrics_only(page):
    call = OneCall(page, "01890a5d-ac96-774b-bcce-b302099a8057").answered()
    call.status(turns=[Turn(1, latency_ms=640.0)], counts=LegCounts(received_bad=1))
    body, content_type = page.metrics.exposition(OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text")
    exemplars = {
        sample.name: sample.exemplar.labels
        for family in parse_openmetrics(body.decode())
        for sample in family.samples
        if sample.exemplar
    }
    call_id = {"call_id": "01890a5d-ac96-774b-bcce-b302099a8057"}
    assert exemplars["trunkline_turn_latency_seconds_bucket"] == call_id
    assert exemplars["trunkline_call_slices_total"] == call_id
    _, content_type = page.metrics.exposition("text/plain")
    assert content_type.startswith("text/plain; version=0.0.4")


def test_nothing_is_kept_of_calls_that_are_over(page):
    for number in range(5):
        call = OneCall(page, f"call-{number}").answered()
        call.over()
        call.status(Received(packets=9))
    assert repr(page.metrics) == "<Metrics calls=0>"
    assert packets(page, "received", "received") is None
