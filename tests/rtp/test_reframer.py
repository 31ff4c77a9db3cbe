"""Cutting and joining packets to frames."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.rtp.reframer import Reframer


def test_aligned_packet_passes_as_the_same_object():
    payload = bytes(160)
    assert Reframer(160).push(payload)[0] is payload


@pytest.mark.parametrize(
    ("packet_ms", "frames_per_packet"), [(10, [0, 1, 0, 1]), (30, [1, 2, 1, 2]), (40, [2, 2]), (60, [3, 3])]
)
def test_packet_times(packet_ms: int, frames_per_packet: list[int]):
    reframer = Reframer(160)
    octets = bytes(i % 251 for i in range(8 * packet_ms * len(frames_per_packet)))
    packets = [octets[i : i + 8 * packet_ms] for i in range(0, len(octets), 8 * packet_ms)]
    out = [reframer.push(packet) for packet in packets]
    assert [len(frames) for frames in out] == frames_per_packet
    assert b"".join(frame for frames in out for frame in frames) == octets
    assert all(len(frame) == 160 for frames in out for frame in frames)


def test_flush_gives_the_odd_tail_once():
    reframer = Reframer(160)
    reframer.push(b"abc")
    assert reframer.pending == 3
    assert (reframer.flush(), reframer.flush(), reframer.pending) == (b"abc", b"", 0)


@given(st.lists(st.binary(max_size=700), max_size=30), st.integers(1, 400))
def test_no_octet_is_lost_added_or_moved(packets: list[bytes], size: int):
    reframer = Reframer(size)
    frames = [frame for packet in packets for frame in reframer.push(packet)]
    assert all(len(frame) == size for frame in frames)
    assert b"".join(frames) + reframer.flush() == b"".join(packets)
