"""tshark judges the RTP that the gateway sends: no error, no gap in the sequence, its own figures for jitter."""

import itertools
from collections.abc import Callable

import pytest
from support.capture import RtpStream, faults, rtp_packets, rtp_streams, sender_reports, start_capture
from support.gateway import Gateway
from support.peers import require
from support.ports import Ports
from support.processes import Programs
from support.sipp import start_sipp


def test_tshark_finds_no_fault_in_our_stream(
    direct: Gateway,
    programs: Programs,
    ports: Ports,
    record_property: Callable[[str, object], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    require("sipp", "g711a.pcap", "tshark", "raw sockets")
    capture = start_capture(programs, direct.rtp_ports, range(direct.port, direct.port + 1))
    caller = start_sipp(programs, ports, "caller_pcap", direct.sip, caller="15550401", hold_ms=7300)
    caller.finish(20)
    (record,) = direct.ended("15550401")
    path = capture.stop()

    assert faults(path, rtp=direct.rtp_ports[::2], rtcp=direct.rtp_ports[1::2], sip=direct.port) == []
    streams = rtp_streams(path, direct.rtp_ports[::2])
    (ours,) = [stream for stream in streams if stream.destination == caller.media_port]
    assert (ours.payload, ours.lost) == ("g711A", 0)
    assert ours.packets == record["media"]["sent"]["packets"]
    assert ours.packets >= 0.98 * 50 * record["duration_s"]
    assert not ours.problems
    packets = [packet for packet in rtp_packets(path, direct.rtp_ports[::2]) if packet.ssrc == ours.ssrc]
    pairs = list(itertools.pairwise(packets))
    assert packets[0].marker
    assert all((after.sequence - before.sequence) & 0xFFFF == 1 for before, after in pairs)
    assert all((after.timestamp - before.timestamp) & 0xFFFFFFFF == 160 for before, after in pairs)
    assert {len(packet.payload) for packet in packets} == {160}
    assert (ours.source + 1, ours.ssrc) in sender_reports(path, direct.rtp_ports[1::2])
    _report(ours, record_property, capsys)


def _report(
    stream: RtpStream, record_property: Callable[[str, object], None], capsys: pytest.CaptureFixture[str]
) -> None:
    figures = {
        "packets": stream.packets,
        "max_delta_ms": stream.max_delta_ms,
        "mean_jitter_ms": stream.mean_jitter_ms,
        "max_jitter_ms": stream.max_jitter_ms,
    }
    for name, value in figures.items():
        record_property(name, value)
    with capsys.disabled():
        print("\ntshark on our stream: " + ", ".join(f"{name} {value:g}" for name, value in figures.items()))
