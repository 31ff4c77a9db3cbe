"""tshark judges the capture that is made of a kept call: the dialog, both streams, their loss and jitter."""

import subprocess
import zlib
from pathlib import Path

import msgspec
import pytest
from support.capture import faults, rtp_streams, sender_reports
from support.peers import require

from trunkline.gateway.flight.entries import Rtcp, entries_of
from trunkline.gateway.flight.file import Flight, leg_of, read
from trunkline.gateway.flight.ladder import SipMessage
from trunkline.gateway.flight.pcap import write_pcap
from trunkline.gateway.record import CallRecord

BAD_CALL = Path(__file__).parents[1] / "gateway" / "flight" / "bad_call.tlf"


def fields(path: Path, wanted: str, *names: str) -> list[list[str]]:
    """The fields of all packets that the filter lets through; checksums are checked."""
    options = ["-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE", "-Y", wanted, "-T", "fields"]
    columns = [argument for name in names for argument in ("-e", name)]
    done = subprocess.run(
        ["tshark", "-n", "-r", str(path), *options, *columns], check=True, capture_output=True, text=True, timeout=60
    )
    return [line.split("\t") for line in done.stdout.splitlines()]


def capture(flight: Flight, directory: Path) -> Path:
    path = directory / "call.pcap"
    with path.open("wb") as file:
        write_pcap(flight, file)
    return path


@pytest.fixture(scope="module")
def bad_call() -> Flight:
    require("tshark")
    return read(BAD_CALL)


@pytest.fixture(scope="module")
def pcap(bad_call: Flight, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return capture(bad_call, tmp_path_factory.mktemp("pcap"))


def test_nothing_is_malformed_and_every_packet_is_there(bad_call: Flight, pcap: Path) -> None:
    record, leg = bad_call.record, leg_of(bad_call.legs[0])
    rtcp = sum(isinstance(entry, Rtcp) for entry in entries_of(leg))
    assert faults(pcap, rtp=[], rtcp=[], sip=5060) == []
    assert fields(pcap, "ip.checksum.status == 0 || udp.checksum.status == 0", "frame.number") == []
    frames = fields(pcap, "frame", "frame.number")
    assert len(frames) == len(bad_call.sip) + rtcp + record.media.received.packets + record.media.sent.packets


def test_the_dialog_is_recognised(bad_call: Flight, pcap: Path) -> None:
    rows = fields(pcap, "sip", "sip.CSeq.method", "sip.Status-Code", "sip.Call-ID", "frame.time_epoch")
    assert [row[:2] for row in rows] == [
        ["INVITE", ""],
        ["INVITE", "180"],
        ["INVITE", "200"],
        ["ACK", ""],
        ["BYE", ""],
        ["BYE", "200"],
    ]
    assert {row[2] for row in rows} == {bad_call.record.sip_call_id}
    assert float(rows[0][3]) == pytest.approx(bad_call.sip[0].at, abs=1e-6)


def test_the_streams_are_found_by_their_sdp_and_have_our_figures(bad_call: Flight, pcap: Path) -> None:
    """No port is named here: Wireshark knows the streams by the dialog."""
    media, leg = bad_call.record.media, leg_of(bad_call.legs[0])
    received, sent = sorted(rtp_streams(pcap, []), key=lambda stream: stream.source == leg.local_port)
    assert (received.packets, received.payload) == (media.received.packets, "g711U")
    # a receiver report counts a duplicate against the lost ones (RFC 3550 A.3), and so does tshark
    assert received.lost == media.received.lost - media.received.duplicated
    assert received.max_jitter_ms == pytest.approx(media.received.jitter_max_ms, abs=0.002)
    assert (sent.source, sent.packets, sent.lost) == (leg.local_port, media.sent.packets, 0)


def test_the_reports_are_read(bad_call: Flight, pcap: Path) -> None:
    leg = leg_of(bad_call.legs[0])
    reports = sender_reports(pcap, [])
    ours = [entry for entry in entries_of(leg) if isinstance(entry, Rtcp) and not entry.received]
    assert sum(port in (leg.local_port, leg.local_port + 1) for port, _ in reports) == len(ours)
    assert len(reports) > len(ours)


def test_no_payload_is_there_and_its_length_is(pcap: Path) -> None:
    rows = fields(pcap, "rtp", "frame.cap_len", "frame.len")
    assert {tuple(row) for row in rows} == {("40", "200")}
    whole = fields(pcap, "sip || rtcp", "frame.cap_len", "frame.len")
    assert all(captured == length for captured, length in whole)


def test_ipv6_and_a_message_over_tls(bad_call: Flight, tmp_path: Path) -> None:
    """What has no packet of its own is shown as one."""
    sip = [
        SipMessage(
            message.at,
            message.received,
            "tls",
            "2001:db8::1",
            5061,
            "2001:db8::2",
            5061,
            message.data.replace(b"IP4 127.0.0.1", b"IP6 2001:db8::2"),
        )
        for message in bad_call.sip
    ]
    leg = leg_of(bad_call.legs[0])
    leg = msgspec.structs.replace(leg, sources=[("2001:db8::1", port) for _, port in leg.sources])
    flight = Flight(bad_call.header, bad_call.record, sip, [zlib.compress(msgspec.msgpack.encode(leg))])
    path = capture(flight, tmp_path)
    assert faults(path, rtp=[], rtcp=[], sip=5061) == []
    assert fields(path, "udp.checksum.status == 0", "frame.number") == []
    assert {tuple(row) for row in fields(path, f"rtp && udp.srcport == {leg.local_port}", "ipv6.src")} == {
        ("2001:db8::2",)
    }


def test_a_call_without_anything_is_an_empty_capture(bad_call: Flight, tmp_path: Path) -> None:
    record = CallRecord(id=bad_call.record.id, direction="inbound", started_at="2026-01-01T00:00:00Z")
    path = capture(Flight(bad_call.header, record, [], []), tmp_path)
    assert fields(path, "frame", "frame.number") == []
