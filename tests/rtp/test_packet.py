"""The RTP header: the plain form, the library's forms, and what is neither."""

import struct

import pytest
from aiortc.rtp import RtpPacket
from hypothesis import given
from hypothesis import strategies as st

from trunkline.rtp.errors import ParseError
from trunkline.rtp.packet import is_rtcp, parse


def test_plain_header():
    data = bytes.fromhex("80 88 ffff 00000001 deadbeef") + b"voice"
    assert parse(data) == (0x88, 0xFFFF, 1, 0xDEADBEEF, b"voice")


@given(
    marker=st.integers(0, 1),
    payload_type=st.integers(0, 127),
    sequence=st.integers(0, 0xFFFF),
    timestamp=st.integers(0, 0xFFFFFFFF),
    ssrc=st.integers(0, 0xFFFFFFFF),
    payload=st.binary(max_size=200),
    csrc=st.lists(st.integers(0, 0xFFFFFFFF), max_size=15),
    padding=st.integers(0, 255),
)
def test_agrees_with_the_library_on_every_form(marker, payload_type, sequence, timestamp, ssrc, payload, csrc, padding):
    packet = RtpPacket(payload_type, marker, sequence, timestamp, ssrc, payload)
    packet.csrc = csrc
    packet.padding_size = padding
    assert parse(packet.serialize()) == (marker << 7 | payload_type, sequence, timestamp, ssrc, payload)


def test_header_extension_is_taken_off():
    data = bytes.fromhex("90 00 0001 00000002 00000003 bede 0001 10aa0000") + b"x"
    assert parse(data) == (0, 1, 2, 3, b"x")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "length is less than 12"),
        (bytes(11), "length is less than 12"),
        (bytes(12), "invalid version"),
        (b"\x8f" + bytes(11), "truncated CSRC"),
        (b"\x90" + bytes(11), "truncated extension"),
        (b"\xa0" + bytes(11), "padding length"),
        (b"\xa0" + bytes(11) + b"\x09", "padding length"),
    ],
)
def test_refusals_name_the_field(data: bytes, sentence: str):
    with pytest.raises(ParseError, match=sentence):
        parse(data)


@given(st.binary(max_size=80))
def test_nothing_but_parse_error_is_raised(data: bytes):
    try:
        fields = parse(data)
    except ParseError:
        return
    assert len(fields) == 5


@given(st.binary(max_size=60), st.integers(0x90, 0x9F))
def test_broken_extensions_raise_parse_error_only(tail: bytes, first: int):
    data = bytes((first,)) + bytes(11) + struct.pack("!HH", 0xBEDE, 2) + tail
    try:
        parse(data)
    except ParseError:
        return


@pytest.mark.parametrize(
    ("second", "rtcp"),
    [
        (0, False),
        (13, False),
        (127, False),
        (128, False),
        (191, False),
        (192, True),
        (200, True),
        (207, True),
        (223, True),
        (224, False),
    ],
)
def test_rtcp_is_told_from_rtp_by_rfc_5761(second: int, rtcp: bool):
    assert is_rtcp(bytes((0x80, second)) + bytes(6)) is rtcp
