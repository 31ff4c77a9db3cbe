"""Reports after RFC 6035: their words, and that their collector may be as it likes."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from trunkline.gateway import quality_reporter
from trunkline.gateway.config import Config
from trunkline.gateway.messages import FarEndMetrics, LegClosed, MediaPath
from trunkline.gateway.quality_report import Parties, session_report
from trunkline.gateway.quality_reporter import QualityReporter
from trunkline.gateway.record import CallRecord, Media, MediaReport, Received, Sent
from trunkline.sip.digest import Credentials
from trunkline.sip.errors import TransportError
from trunkline.sip.events import PublishEnded
from trunkline.sip.flow import Flow
from trunkline.sip.uri import NameAddr

PARTIES = Parties("a@b", "sip:gw@192.0.2.1", "sip:+1415@carrier", "gwtag", "phonetag", "192.0.2.1", "edge-1", "vonage")


def path(**more: Any) -> MediaPath:
    values = {
        "local_port": 16384,
        "local_ssrc": 0x1A2B,
        "remote_host": "192.0.2.9",
        "remote_port": 4000,
        "remote_ssrc": 0xFFFF0001,
        "payload_type": 0,
        "clock_rate": 8000,
        "packet_ms": 20.0,
        "expected": 1000,
        "burst_density": 0.25,
        "burst_ms": 160.0,
        "gap_density": 0.004,
        "gap_ms": 8000.0,
    }
    return MediaPath(**(values | more))


def record(**more: Any) -> CallRecord:
    values: dict[str, Any] = {
        "id": "call-1",
        "direction": "inbound",
        "codec": "PCMU",
        "started_at": "2026-01-01T00:00:00.000Z",
        "answered_at": "2026-01-01T00:00:01.250Z",
        "ended_at": "2026-01-01T00:00:21.900Z",
    }
    return CallRecord(**(values | more))


MEDIA = Media(
    Received(packets=980, lost=15, discarded=5, jitter_ms=3.6, r_factor=78.4, mos_lq=3.951, mos_cq=3.9, scale="nb"),
    Sent(packets=1000, lost=20, jitter_ms=7.2, rtt_ms=41.7, r_factor=70.0, mos_lq=3.6, scale="nb"),
)


def test_everything_that_is_known():
    far_end = FarEndMetrics(0.01, 0.5, 0.0, 60.0, 71.0, 3.6, None)
    assert session_report(record(media=MEDIA), path(far_end=far_end), PARTIES).decode().split("\r\n") == [
        "VQSessionReport: CallTerm",
        "CallID: a@b",
        "LocalID: <sip:gw@192.0.2.1>",
        "RemoteID: <sip:+1415@carrier>",
        "OrigID: <sip:+1415@carrier>",
        "LocalGroup: edge-1",
        "RemoteGroup: vonage",
        "LocalAddr: IP=192.0.2.1 PORT=16384 SSRC=0x00001a2b",
        "RemoteAddr: IP=192.0.2.9 PORT=4000 SSRC=0xffff0001",
        "LocalMetrics:",
        "Timestamps:START=2026-01-01T00:00:01Z STOP=2026-01-01T00:00:21Z",
        "SessionDesc:PT=0 PD=PCMU SR=8000 FD=20 PPS=50 PLC=3 SSUP=off",
        "PacketLoss:NLR=1.5 JDR=0.5",
        "BurstGapLoss:BLD=25.0 BD=160 GLD=0.4 GD=8000 GMIN=16",
        "Delay:RTD=42 IAJ=4",
        "QualityEst:RLQ=78 MOSLQ=3.95 MOSCQ=3.90 QoEEstAlg=G.107",
        "RemoteMetrics:",
        "Timestamps:START=2026-01-01T00:00:01Z STOP=2026-01-01T00:00:21Z",
        "SessionDesc:PT=0 PD=PCMU SR=8000 FD=20 PPS=50 PLC=3 SSUP=off",
        "PacketLoss:NLR=2.0 JDR=1.0",
        "BurstGapLoss:BLD=50.0 GLD=0.0",
        "Delay:RTD=42 ESD=60 IAJ=7",
        "QualityEst:RLQ=71 MOSLQ=3.60",
        "DialogID: a@b;to-tag=gwtag;from-tag=phonetag",
        "",
    ]


def test_what_is_not_known_is_left_out():
    nothing = path(expected=0, remote_ssrc=None)
    lines = session_report(record(direction="outbound"), nothing, PARTIES).decode().split("\r\n")
    assert "OrigID: <sip:gw@192.0.2.1>" in lines
    assert "RemoteAddr: IP=192.0.2.9 PORT=4000" in lines
    assert lines[-2] == "DialogID: a@b;to-tag=phonetag;from-tag=gwtag"
    assert [line for line in lines if line.startswith(("Packet", "Burst", "Delay", "Quality", "Remote"))] == [
        "RemoteID: <sip:+1415@carrier>",
        "RemoteGroup: vonage",
        "RemoteAddr: IP=192.0.2.9 PORT=4000",
    ]


def test_nobody_writes_lines_into_a_report():
    parties = Parties("a\r\nLocalMetrics:", "sip:x", "sip:y", None, None, "192.0.2.1", "n", "t")
    assert b"CallID: aLocalMetrics:\r\n" in session_report(record(), path(), parties)


# The reporter


class Phone:
    """A user agent that answers each PUBLISH with the next status."""

    def __init__(self, statuses: list[int]) -> None:
        self.statuses = statuses
        self.sent: list[dict[str, Any]] = []
        self.reporter: QualityReporter

    def publish(self, name: str, uri: str, **more: Any) -> None:
        self.sent.append({"uri": uri, **more})
        event = PublishEnded(name, self.statuses[len(self.sent) - 1], "because")
        asyncio.get_running_loop().call_soon(self.reporter.on_published, event)


ANN = NameAddr.parse("<sip:ann@example.com>;tag=1")


def rig(
    monkeypatch: pytest.MonkeyPatch, *statuses: int, server: str = "192.0.2.1", **table: str
) -> tuple[QualityReporter, Phone]:
    monkeypatch.setattr(quality_reporter, "RETRY_AFTER", 0.0)
    values = {"collector": "sip:vq@127.0.0.1:5060;transport=udp", **table}
    reporter = QualityReporter(Config(quality_report=values))
    phone = Phone(list(statuses))
    phone.reporter = reporter
    trunk = SimpleNamespace(
        name="vonage",
        from_uri="sip:gw@carrier",
        domain="carrier",
        config=SimpleNamespace(server=SimpleNamespace(host=server)),
        credentials=Credentials("gw", "pw"),
    )
    dialog = SimpleNamespace(
        id=SimpleNamespace(call_id="a@b", local_tag="1", remote_tag="2"), local=ANN, remote=ANN.with_tag("2")
    )
    call = SimpleNamespace(session=SimpleNamespace(dialog=dialog), trunk=trunk)
    switch: Any = SimpleNamespace(calls={"call-1": call}, user_agent=phone)
    reporter.start(switch)
    return reporter, phone


async def end_a_call(reporter: QualityReporter, **more: Any) -> None:
    reporter.on_fact("call-1", LegClosed("call-1", MediaReport(), path=path()))
    reporter.on_record(record(**more))
    if reporter._tasks:
        await asyncio.wait(reporter._tasks)


@pytest.mark.parametrize(("server", "account"), [("127.0.0.1", Credentials("gw", "pw")), ("carrier.example", None)])
async def test_a_report_has_the_trunks_account_only_for_the_trunks_server(monkeypatch, server, account):
    reporter, phone = rig(monkeypatch, 200, server=server)
    await end_a_call(reporter)
    (sent,) = phone.sent
    assert (sent["from_"], sent["event"], sent["content_type"]) == (
        "<sip:gw@carrier>",
        "vq-rtcpxr",
        "application/vq-rtcpxr",
    )
    assert sent["credentials"] == account
    assert [(flow.transport, flow.port, flow.fixed) for flow in sent["targets"]] == [("udp", 5060, True)]
    assert b"LocalAddr: IP=" in sent["body"]
    assert reporter.counts == {"delivered": 1, "failed": 0, "dropped": 0}
    await reporter.stop()


@pytest.mark.parametrize(
    ("statuses", "tries", "delivered"),
    [([503, 200], 2, 1), ([408, 408], 2, 0), ([403], 1, 0), ([489], 1, 0), ([500, 202], 2, 1)],
)
async def test_what_may_pass_is_tried_once_more(monkeypatch, statuses, tries, delivered):
    reporter, phone = rig(monkeypatch, *statuses, username="vq", password="pw")
    with capture_logs() as logs:
        await end_a_call(reporter)
    assert len(phone.sent) == tries
    assert phone.sent[0]["credentials"] == Credentials("vq", "pw")
    assert (reporter.counts["delivered"], reporter.counts["failed"]) == (delivered, 1 - delivered)
    assert [(line["call"], line["status"]) for line in logs] == ([] if delivered else [("call-1", statuses[-1])])
    await reporter.stop()


async def test_calls_that_nobody_answered_or_that_had_no_media_are_not_reported(monkeypatch):
    reporter, phone = rig(monkeypatch)
    await end_a_call(reporter, answered_at=None)
    reporter.on_record(record())
    reporter.on_record(record(ended_at=None))
    assert (phone.sent, reporter._tasks, reporter._paths) == ([], set(), {})
    await reporter.stop()


async def test_a_collector_that_is_not_found_is_a_failure_like_any_other(monkeypatch):
    async def nowhere(uri: str) -> list[Flow]:
        raise TransportError(f"{uri}: no address")

    reporter, phone = rig(monkeypatch, collector="sip:vq@127.0.0.1")
    monkeypatch.setattr(reporter._resolver, "resolve", nowhere)
    with capture_logs() as logs:
        await end_a_call(reporter)
    assert [(line["status"], line["reason"]) for line in logs] == [(503, "sip:vq@127.0.0.1: no address")]
    assert phone.sent == []
    await reporter.stop()


async def test_no_more_than_so_many_wait_for_a_slow_collector(monkeypatch):
    reporter, phone = rig(monkeypatch)
    monkeypatch.setattr(quality_reporter, "MOST", 1)
    phone.publish = lambda name, uri, **more: phone.sent.append(more)
    for _ in range(3):
        reporter.on_fact("call-1", LegClosed("call-1", MediaReport(), path=path()))
        reporter.on_record(record())
        await asyncio.sleep(0)
    assert reporter.counts["dropped"] == 2
    await reporter.stop()
    assert not reporter._tasks
