"""HEP3 octet for octet, RTCP as Homer's JSON, and a mirror that loses packets rather than time."""

import asyncio
import json
import socket
import struct
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from trunkline.gateway.config_tables import HepConfig
from trunkline.gateway.hep import HepEncoder, HepError, Protocol, Seen, rtcp_json
from trunkline.gateway.hep_mirror import HepMirror, LocalAddresses
from trunkline.gateway.messages import RtcpSeen
from trunkline.gateway.record import CallRecord
from trunkline.rtp.rtcp import ReportBlock, SenderReport, compound
from trunkline.sip.flow import Address, Flow

# The example of the HEP3 specification: 113 octets.
EXAMPLE = bytes.fromhex(
    "48455033 0071"
    "0000 0001 0007 02 0000 0002 0007 11"
    "0000 0003 000a d4ca0001 0000 0004 000a 527400d3"
    "0000 0007 0008 2eea 0000 0008 0008 13c4"
    "0000 0009 000a 4e4982cb 0000 000a 000a 0001d4c0"
    "0000 000b 0007 01 0000 000c 000a 000000e4"
    "0000 000f 0014 494e56495445207369703a626f62"
)
ANN, BOB = Address("192.0.2.1", 5060), Address("192.0.2.2", 5070)


def chunks_of(packet: bytes) -> dict[int, bytes]:
    assert packet[:4] == b"HEP3"
    assert struct.unpack_from("!H", packet, 4) == (len(packet),)
    found, position = {}, 6
    while position < len(packet):
        vendor, kind, length = struct.unpack_from("!HHH", packet, position)
        assert vendor == 0
        found[kind] = packet[position + 6 : position + length]
        position += length
    assert position == len(packet)
    return found


def test_the_example_of_the_specification():
    seen = Seen(
        Protocol.SIP,
        False,
        Address("212.202.0.1", 12010),
        Address("82.116.0.211", 5060),
        0x4E4982CB + 0.12,
        b"INVITE sip:bob",
    )
    assert HepEncoder(228).encode(seen) == EXAMPLE


def test_what_the_example_leaves_out():
    source, destination = Address("2001:db8::1", 5060), Address("2001:db8::2", 40000)
    packet = HepEncoder(2001, "edge-1", "key").encode(Seen(Protocol.SIP, True, source, destination, 5.25, b"x", "a@b"))
    found = chunks_of(packet)
    assert 3 not in found
    assert (found[1], found[2]) == (b"\x0a", b"\x06")
    assert (found[5][-1], found[6][-1], len(found[5])) == (1, 2, 16)
    assert (found[0x0E], found[0x11], found[0x13]) == (b"key", b"a@b", b"edge-1")


@given(st.binary(max_size=2000), st.floats(0, 2**32 - 1), st.text(max_size=40), st.integers(0, 2**32 - 1))
def test_every_chunk_is_read_again(payload, at, call_id, capture_id):
    found = chunks_of(HepEncoder(capture_id).encode(Seen(Protocol.SIP, False, ANN, BOB, at, payload, call_id)))
    seconds, micros = int.from_bytes(found[9]), int.from_bytes(found[0x0A])
    assert micros < 1_000_000
    assert seconds + micros / 1_000_000 == pytest.approx(at, abs=2e-6)
    assert (found[0x0F], int.from_bytes(found[0x0C])) == (payload, capture_id)
    assert found[0x11] == call_id.encode("utf-8", "replace")


@pytest.mark.parametrize(
    ("source", "payload"),
    [(Address("2001:db8::1", 1), b""), (Address("a.example", 1), b""), (ANN, bytes(65450)), (ANN, bytes(70000))],
)
def test_what_cannot_be_packed(source, payload):
    with pytest.raises(HepError):
        HepEncoder(1).encode(Seen(Protocol.SIP, False, source, BOB, 0.0, payload))


@pytest.mark.parametrize("call_id", ["i" * 65530, "\ufffd" * 30000])
def test_a_call_id_longer_than_a_chunk_is_no_crash(call_id):
    with pytest.raises(HepError):
        HepEncoder(1).encode(Seen(Protocol.SIP, True, ANN, BOB, 0.0, b"", call_id))


def test_a_sender_report_as_json():
    block = ReportBlock(22, 3, 4, 0x1FFFF, 5, 6, 7)
    data = compound(11, "cname", block, SenderReport(11, (8 << 32) | 9, 10, 100, 16000))
    assert json.loads(rtcp_json(data) or b"") == {
        "ssrc": 11,
        "type": 200,
        "report_count": 1,
        "report_blocks": [
            {
                "source_ssrc": 22,
                "fraction_lost": 3,
                "packets_lost": 4,
                "highest_seq_no": 0x1FFFF,
                "ia_jitter": 5,
                "lsr": 6,
                "dlsr": 7,
            }
        ],
        "sender_information": {
            "ntp_timestamp_sec": 8,
            "ntp_timestamp_usec": 9,
            "rtp_timestamp": 10,
            "packets": 100,
            "octets": 16000,
        },
        "sdes_ssrc": 11,
    }


def test_voip_metrics_as_json():
    metrics = struct.pack("!I4B4H12B", 11, 1, 2, 3, 4, 50, 60, 70, 80, *([0] * 3), 16, 93, 127, 41, 40, 0, 0, 0, 0)
    xr = struct.pack("!BBHI", 0x80, 207, 10, 22) + struct.pack("!BBH", 7, 0, 8) + metrics + bytes(4)
    report = json.loads(rtcp_json(compound(22, "c", None, None) + xr[: 4 + 40]) or b"")
    assert (report["type"], report["report_count"]) == (201, 0)
    assert report["report_blocks_xr"] == {
        "type": 7,
        "id": 11,
        "fraction_lost": 1,
        "fraction_discard": 2,
        "burst_density": 3,
        "gap_density": 4,
        "burst_duration": 50,
        "gap_duration": 60,
        "round_trip_delay": 70,
        "end_system_delay": 80,
    }


@pytest.mark.parametrize("data", [b"", b"\x80\xc8", bytes(40), b"\x81\xcb\x00\x01\x00\x00\x00\x01"])
def test_no_report_no_json(data):
    assert rtcp_json(data) is None


class Collector:
    """A socket that is mirrored to."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(5)
        self.url = f"udp://127.0.0.1:{self.socket.getsockname()[1]}"

    def chunks(self) -> dict[int, bytes]:
        return chunks_of(self.socket.recv(65535))


@pytest.fixture
def collector():
    made = Collector()
    yield made
    made.socket.close()


async def mirror_to(url: str) -> HepMirror:
    mirror = HepMirror(HepConfig.model_validate({"collector": url}), "edge-1", "0.0.0.0")
    await mirror.start()
    for _ in range(500):
        if mirror._socket is not None:
            break
        await asyncio.sleep(0.01)
    return mirror


def record(**more: str) -> CallRecord:
    return CallRecord(id="call-1", direction="inbound", started_at="2026-01-01T00:00:00.000Z", **more)


async def test_rtcp_carries_the_call_id_of_its_call_until_it_is_over(collector):
    mirror = await mirror_to(collector.url)
    data = compound(11, "c", None, None)
    seen = RtcpSeen("call-1", True, "127.0.0.2", 4001, 16385, 1000.5, data)
    mirror.on_record(record(sip_call_id="a@b"))
    mirror.on_fact("call-1", seen)
    found = collector.chunks()
    assert (found[3], found[4]) == (bytes([127, 0, 0, 2]), bytes([127, 0, 0, 1]))
    assert (found[7], found[8]) == (struct.pack("!H", 4001), struct.pack("!H", 16385))
    assert (found[9], found[0x0A]) == (struct.pack("!I", 1000), struct.pack("!I", 500_000))
    assert (found[0x0B], found[0x11]) == (b"\x05", b"a@b")
    mirror.on_record(record(sip_call_id="a@b", ended_at="2026-01-01T00:00:01.000Z"))
    mirror.on_fact("call-1", seen)
    assert 0x11 not in collector.chunks()
    await mirror.stop()


@pytest.mark.parametrize("line", [b"Call-ID: a@b", b"i:a@b ", b"CALL-ID  :\ta@b"])
async def test_sip_carries_its_own_call_id_and_no_password(collector, line):
    mirror = await mirror_to(collector.url)
    message = b"REGISTER sip:b SIP/2.0\r\n" + line + b"\r\nAuthorization: Digest response=abc\r\n\r\n"
    mirror.on_sip(False, Flow("udp", "192.0.2.1", 5060), BOB, message)
    found = collector.chunks()
    assert found[0x11] == b"a@b"
    assert found[0x0F] == message.replace(b"abc", b"xxx")
    assert (found[3], found[4]) == (bytes([192, 0, 2, 2]), bytes([192, 0, 2, 1]))
    mirror.on_sip(True, Flow("udp", "192.0.2.1", 5060), BOB, b"\r\n\r\n")
    assert (mirror.sent, mirror.dropped) == (1, 0)
    await mirror.stop()


async def test_what_the_socket_does_not_take_is_lost_and_said_once(collector):
    mirror = await mirror_to(collector.url)
    assert mirror._socket is not None
    mirror._socket.close()
    with capture_logs() as logs:
        for _ in range(3):
            mirror.on_sip(True, Flow("udp", "192.0.2.1", 5060), BOB, b"OPTIONS sip:b SIP/2.0\r\n\r\n")
    assert (mirror.sent, mirror.dropped) == (0, 3)
    assert [(line["event"], line["count"]) for line in logs] == [("HEP packets are lost", 1)]
    await mirror.stop()


async def test_a_collector_without_an_address_is_asked_for_again():
    with capture_logs() as logs:
        mirror = HepMirror(HepConfig.model_validate({"collector": "udp://a..b:9060"}), "n", "0.0.0.0")
        await mirror.start()
        mirror.on_sip(True, Flow("udp", "192.0.2.1", 5060), BOB, b"OPTIONS sip:b SIP/2.0\r\n\r\n")
        while not any(line["event"] == "the HEP collector is not found" for line in logs):
            await asyncio.sleep(0.01)
        await mirror.stop()
    assert mirror.dropped == 1


def test_our_own_address_is_that_of_the_route_or_of_the_bound_socket():
    assert LocalAddresses("0.0.0.0").towards("127.0.0.1") == "127.0.0.1"
    assert LocalAddresses("192.0.2.7").towards("127.0.0.1") == "192.0.2.7"


def test_random_octets_never_raise():
    random = Random(1)
    for _ in range(300):
        data = random.randbytes(random.randrange(120))
        rtcp_json(data)
        rtcp_json(b"\x80\xc8" + data)
