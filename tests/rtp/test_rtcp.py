"""RTCP compounds: octets by hand from RFC 3550 §6 and RFC 3611 §4.7."""

import random
import statistics
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.rtp import rtcp
from trunkline.rtp.errors import ParseError
from trunkline.rtp.rtcp import ReportBlock, SenderReport

BLOCK = ReportBlock(0x11223344, 64, -3, 0x0001FFFF, 77, 0xB7052000, 0x00054000)
SENDER = SenderReport(0xAABBCCDD, 0xB44DB705_20000000, 160, 10, 1600)
BLOCK_OCTETS = "11223344 40 fffffd 0001ffff 0000004d b7052000 00054000"
SR_OCTETS = bytes.fromhex("81c8000c aabbccdd b44db705 20000000 000000a0 0000000a 00000640" + BLOCK_OCTETS)
RR_OCTETS = bytes.fromhex("81c90007 aabbccdd" + BLOCK_OCTETS)
SDES_OCTETS = bytes.fromhex("81ca0003 aabbccdd 01 03 61406200 0000")


def test_sender_report_octets():
    assert rtcp.compound(0xAABBCCDD, "a@b", BLOCK, SENDER) == SR_OCTETS + SDES_OCTETS


def test_receiver_report_octets():
    assert rtcp.compound(0xAABBCCDD, "a@b", BLOCK, None) == RR_OCTETS + SDES_OCTETS


def test_empty_receiver_report_when_nothing_was_received():
    assert rtcp.compound(0xAABBCCDD, "a@b", None, None) == bytes.fromhex("80c90001 aabbccdd") + SDES_OCTETS


def test_bye_comes_last_with_its_reason_padded():
    data = rtcp.compound(0xAABBCCDD, "a@b", None, None, bye=True, reason="over")
    assert data.endswith(bytes.fromhex("81cb0003 aabbccdd 04") + b"over" + bytes(3))
    assert rtcp.parse(data).bye_reason == "over"


def test_bye_without_reason():
    data = rtcp.compound(0xAABBCCDD, "a@b", None, None, bye=True)
    assert data.endswith(bytes.fromhex("81cb0001 aabbccdd"))
    assert rtcp.parse(data).bye == [0xAABBCCDD]


@given(
    block=st.none()
    | st.builds(
        ReportBlock,
        st.integers(0, 0xFFFFFFFF),
        st.integers(0, 255),
        st.integers(-0x800000, 0x7FFFFF),
        *[st.integers(0, 0xFFFFFFFF)] * 4,
    ),
    sender=st.none()
    | st.builds(SenderReport, st.just(7), st.integers(0, (1 << 64) - 1), *[st.integers(0, 0xFFFFFFFF)] * 3),
    cname=st.text(max_size=60),
    reason=st.text(max_size=60),
)
def test_what_is_written_is_read(block: ReportBlock | None, sender: SenderReport | None, cname: str, reason: str):
    read = rtcp.parse(rtcp.compound(7, cname, block, sender, bye=True, reason=reason))
    assert read.ssrc == 7
    assert read.blocks == ([] if block is None else [block])
    assert read.sender_report == sender
    assert read.cname == cname
    assert (read.bye, read.bye_reason, read.unread) == ([7], reason, 0)


def xr(*blocks: bytes) -> bytes:
    body = b"".join(blocks)
    return struct.pack("!BBHI", 0x80, 207, 1 + len(body) // 4, 0xAABBCCDD) + body


VOIP = bytes.fromhex("07000008 11223344 0d 06 40 02 00b4 1770 0064 0028 7f 7f 7f 10 5d 7f 2c 29 30 00 003c 0078 00c8")


def test_voip_metrics():
    (metrics,) = rtcp.parse(RR_OCTETS + xr(VOIP)).voip_metrics
    assert metrics.ssrc == 0x11223344
    assert (metrics.loss_rate, metrics.discard_rate) == (13 / 256, 6 / 256)
    assert (metrics.burst_density, metrics.gap_density) == (0.25, 2 / 256)
    assert (metrics.burst_ms, metrics.gap_ms) == (180, 6000)
    assert (metrics.round_trip_ms, metrics.end_system_delay_ms) == (100, 40)
    assert (metrics.r_factor, metrics.mos_lq, metrics.mos_cq) == (93, 4.4, 4.1)


def test_voip_metrics_marked_unavailable_are_none():
    octets = bytearray(VOIP)
    octets[24] = octets[26] = octets[27] = 127
    (metrics,) = rtcp.parse(xr(bytes(octets))).voip_metrics
    assert (metrics.r_factor, metrics.mos_lq, metrics.mos_cq) == (None, None, None)


def test_other_xr_blocks_are_passed_over():
    reference_time = bytes.fromhex("04000002 0102030405060708")
    assert len(rtcp.parse(xr(reference_time, VOIP)).voip_metrics) == 1


def test_profile_specific_extension_behind_the_blocks_is_passed_over():
    data = bytearray(RR_OCTETS + bytes(8))
    data[2:4] = struct.pack("!H", 9)
    assert rtcp.parse(bytes(data)).blocks == [BLOCK]


def test_unknown_type_leaves_the_rest_readable():
    app = bytes.fromhex("80cc0002 aabbccdd 41424344")
    read = rtcp.parse(app + RR_OCTETS)
    assert (read.unread, read.blocks) == (1, [BLOCK])


def test_broken_packet_leaves_the_rest_readable():
    short_report = bytes.fromhex("82c90001 aabbccdd")
    read = rtcp.parse(short_report + SR_OCTETS + SDES_OCTETS)
    assert (read.unread, read.sender_report, read.cname) == (1, SENDER, "a@b")


def test_padding_of_the_last_packet_is_taken_off():
    data = bytearray(SDES_OCTETS + bytes.fromhex("00000004"))
    data[0] |= 0x20
    data[2:4] = struct.pack("!H", 4)
    assert rtcp.parse(RR_OCTETS + bytes(data)).cname == "a@b"


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "shorter than 8"),
        (RR_OCTETS[:7], "shorter than 8"),
        (RR_OCTETS[:-1], "truncated"),
        (RR_OCTETS + b"\x80", "header is truncated"),
        (b"\x00" + RR_OCTETS[1:], "invalid version"),
        (b"\xa1" + RR_OCTETS[1:-1] + b"\x03", "padding"),
        (b"\xa1" + RR_OCTETS[1:-1] + b"\x00", "padding"),
    ],
)
def test_refusals_name_the_field(data: bytes, sentence: str):
    with pytest.raises(ParseError, match=sentence):
        rtcp.parse(data)


@given(st.binary(max_size=120))
def test_nothing_but_parse_error_is_raised(data: bytes):
    try:
        rtcp.parse(data)
    except ParseError:
        return


@given(st.integers(0, 255), st.integers(192, 223), st.binary(max_size=100))
def test_right_framing_with_any_content_is_never_an_error_of_ours(first: int, packet_type: int, body: bytes):
    body += bytes(-len(body) % 4)
    data = struct.pack("!BBH", 0x80 | first & 0x1F, packet_type, len(body) // 4) + body
    if len(data) >= 8:
        rtcp.parse(data)


def test_ntp_time_of_a_known_moment():
    # 2000-01-01T00:00:00.5Z is 3155673600.5 s after 1900.
    assert rtcp.ntp_time(946684800.5) == 3155673600 << 32 | 0x80000000
    assert rtcp.middle_32(0x11112222_33334444) == 0x22223333


def test_interval_is_randomised_about_the_minimum():
    rng = random.Random(1)
    later = [rtcp.interval_s(rng, 130, 500, initial=False) for _ in range(5000)]
    first = [rtcp.interval_s(rng, 130, 500, initial=True) for _ in range(5000)]
    assert min(later) >= 2.5 / 1.21829
    assert max(later) <= 7.5 / 1.21828
    assert statistics.mean(later) == pytest.approx(5 / 1.21828, rel=0.02)
    assert statistics.mean(first) == pytest.approx(2.5 / 1.21828, rel=0.02)


def test_interval_grows_when_the_share_of_the_bandwidth_is_small():
    assert rtcp.interval_s(random.Random(1), 1000, 100, initial=False) > 8
