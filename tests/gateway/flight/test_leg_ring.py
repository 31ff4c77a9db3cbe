"""The ring of a media leg: what went in comes out, within its bounds, whatever the order."""

import contextlib
import struct
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.gateway.errors import FlightError
from trunkline.gateway.flight.entries import (
    EVENT,
    LONGEST_S,
    LOST,
    MEDIA,
    NOTE,
    SECOND,
    TICK,
    Happening,
    LegFlight,
    Packet,
    Rtcp,
    entries_of,
)
from trunkline.gateway.flight.leg_ring import (
    CHUNK,
    NOTES_MAX,
    PARAMETERS_MAX,
    RTCP_EACH_SECOND,
    RTCP_MAX,
    SOURCES_MAX,
    LegRing,
    sealed,
)
from trunkline.rtp.packet import HEADER
from trunkline.rtp.sender import RtpSender

A, B = ("192.0.2.1", 4000), ("192.0.2.2", 4002)


def ring(octets: int = 64 * CHUNK) -> LegRing:
    return LegRing(octets, 40000, 100.0, 1_700_000_100.0)


def sent_octets(second: int, sequence: int, timestamp: int, ssrc: int, length: int) -> bytes:
    return struct.pack("!BBHII", 0x80, second, sequence, timestamp, ssrc) + bytes(length)


def test_a_stream_in_order_costs_nine_octets_a_packet() -> None:
    it = ring()
    for number in range(101):
        it.received((0, number, number * 160, 7, bytes(160)), A, 100 + number * 0.02)
    for number in range(101):
        it.sent(sent_octets(0, number, number * 160, 9, 160), 160, 100 + number * 0.02)
    assert it.octets == 2 * (25 + 100 * 9)


def test_times_come_back_to_the_last_bit() -> None:
    it = ring()
    times = [100.0 + number / 3 for number in range(50)]
    for number, at in enumerate(times):
        it.received((0, number, number * 160, 7, bytes(160)), A, at)
    assert [entry.at for entry in entries_of(it.flight())] == times


def test_marker_loss_and_another_source_are_seen() -> None:
    it = ring()
    packets = [
        (0x80, 1, 160, 7, A),
        (0, 2, 320, 7, A),
        (0, 4, 640, 7, A),  # 3 is lost
        (0, 4, 640, 7, A),  # again
        (0, 5, 800, 7, B),
        (0, 6, 960, 8, B),
        (13, 7, 1120, 8, B),
    ]
    for second, sequence, timestamp, ssrc, source in packets:
        it.received((second, sequence, timestamp, ssrc, bytes(160)), source, 101.0)
    flight = it.flight()
    seen = [
        (entry.second, entry.sequence, entry.timestamp, entry.ssrc, flight.sources[entry.source])
        for entry in entries_of(flight)
        if isinstance(entry, Packet)
    ]
    assert seen == packets


def test_numbers_wrap() -> None:
    it = ring()
    for step in range(4):
        it.received((0, (0xFFFE + step) & 0xFFFF, (0xFFFFFF00 + step * 160) & 0xFFFFFFFF, 7, bytes(160)), A, 101.0)
    packets = [entry for entry in entries_of(it.flight()) if isinstance(entry, Packet)]
    assert [packet.sequence for packet in packets] == [0xFFFE, 0xFFFF, 0, 1]
    assert packets[-1].timestamp == (0xFFFFFF00 + 480) & 0xFFFFFFFF


def test_the_session_measures_what_a_payload_lasts() -> None:
    it = ring()
    it.use(lambda payload: 960)
    for number, length in enumerate((40, 41, 1)):
        it.received((111, number, number * 960, 7, bytes(length)), A, 101.0)
    packets = [entry for entry in entries_of(it.flight()) if isinstance(entry, Packet)]
    assert [(packet.octets, packet.samples, packet.timestamp) for packet in packets] == [
        (40, 960, 0),
        (41, 960, 960),
        (1, 960, 1920),
    ]


def test_a_full_ring_drops_its_oldest_and_can_be_read() -> None:
    it = ring(4 * CHUNK)
    it.note(MEDIA, "{}", 100.0)
    total = 10_000
    for number in range(total):
        it.received((0, number & 0xFFFF, number * 160, 7, bytes(160)), A, 100 + number * 0.02)
    flight = it.flight()
    packets = [entry for entry in entries_of(flight) if isinstance(entry, Packet)]
    assert it.octets <= 4 * CHUNK
    assert flight.dropped > 0
    assert packets[-1].sequence == total - 1
    assert [packet.sequence for packet in packets] == list(range(packets[0].sequence, total))
    assert len(packets) >= 3 * (CHUNK - 64) // 9
    assert [note.kind for note in flight.notes] == [MEDIA]


def test_a_short_call_costs_one_chunk() -> None:
    it = ring()
    for number in range(200):
        it.received((0, number, number * 160, 7, bytes(160)), A, 101.0)
    assert not it._chunks


def test_a_flood_from_everywhere_is_bounded() -> None:
    it = ring(2 * CHUNK)
    for number in range(3000):
        it.received((0, 1, 1, number, b"x"), (f"198.51.100.{number % 250}", 1024 + number), 101.0)
        it.rtcp_received(b"x" * 20, ("203.0.113.1", number + 1), 101.0)
    flight = it.flight()
    assert len(flight.sources) <= SOURCES_MAX + 1
    assert it.octets <= 2 * CHUNK
    assert list(entries_of(flight))


def test_notes_are_bounded_but_not_what_a_replay_needs() -> None:
    it = ring()
    it.note(MEDIA, "first", 100.0)
    for number in range(3 * NOTES_MAX):
        it.note("flushed", "x" * 10_000, 101.0 + number / 100)
    it.note("answered", "", 200.0)
    flight = it.flight()
    assert len(flight.notes) <= NOTES_MAX + PARAMETERS_MAX
    assert flight.notes[0].text == "first"
    assert flight.notes[-1].kind == "answered"
    assert max(len(note.text) for note in flight.notes) <= 500


def test_rtcp_comes_back_whole_and_an_oversized_one_not_at_all() -> None:
    it = ring()
    it.rtcp_received(b"\x80\xc8" + bytes(50), A, 101.0)
    it.rtcp_received(bytes(RTCP_MAX + 1), A, 101.5)
    it.rtcp_sent(b"\x81\xc9" + bytes(30), 102.0, 1_700_000_102.0)
    assert list(entries_of(it.flight())) == [
        Rtcp(101.0, True, 0, 0.0, b"\x80\xc8" + bytes(50)),
        Rtcp(102.0, False, 0, 1_700_000_102.0, b"\x81\xc9" + bytes(30)),
    ]


def test_a_flood_of_rtcp_does_not_push_the_packets_out() -> None:
    it = ring(4 * CHUNK)
    it.received((0, 1, 160, 7, bytes(160)), A, 101.0)
    for number in range(5000):
        it.rtcp_received(b"\x80\xc8" + bytes(1000), B, 101.0 + number / 10_000)
    it.rtcp_received(b"\x80\xc8\x00\x00", B, 102.5)
    entries = list(entries_of(it.flight()))
    assert isinstance(entries[0], Packet)
    assert entries[-1].at == 102.5
    assert len(entries) <= 2 + RTCP_EACH_SECOND


def test_what_the_service_said_is_kept_by_name() -> None:
    it = ring()
    it.event("AudioDelta", 101.0)
    it.event("SpeechStarted", 102.0)
    it.event("AudioDelta", 103.0)
    flight = it.flight()
    assert [flight.names[entry.value] for entry in entries_of(flight) if isinstance(entry, Happening)] == [
        "AudioDelta",
        "SpeechStarted",
        "AudioDelta",
    ]


Step = tuple[Callable[[LegRing, float], None], Callable[[float], Any]]
words = st.integers(0, 0xFFFF)
longs = st.integers(0, 0xFFFFFFFF)


@st.composite
def steps(draw: st.DrawFn) -> Step:
    kind = draw(st.integers(0, 7))
    if kind == 0:
        sequence, timestamp = draw(st.sampled_from([1, 2, 3, 65535])), draw(st.sampled_from([160, 320, 480]))
        second, length = draw(st.sampled_from([0, 0x80, 101])), draw(st.sampled_from([0, 10, 160]))
        source = draw(st.sampled_from([A, B]))
        return (
            lambda it, now: it.received((second, sequence, timestamp, 5, bytes(length)), source, now),
            lambda now: (now, True, second, sequence, timestamp, 5, length, length, source),
        )
    if kind == 1:
        sequence, timestamp, length = draw(st.integers(1, 4)), draw(st.sampled_from([160, 320])), draw(words) % 300
        return (
            lambda it, now: it.sent(sent_octets(8, sequence, timestamp, 6, length), 160, now),
            lambda now: (now, False, 8, sequence, timestamp, 6, length, 160, None),
        )
    if kind == 2:
        data = draw(st.binary(max_size=RTCP_MAX))
        return lambda it, now: it.rtcp_received(data, B, now), lambda now: (now, True, data)
    if kind == 3:
        data = draw(st.binary(max_size=100))
        return lambda it, now: it.rtcp_sent(data, now, now + 5), lambda now: (now, False, data)
    if kind == 4:
        return lambda it, now: it.tick(now), lambda now: Happening(now, TICK, 0)
    if kind == 5:
        return lambda it, now: it.second(now), lambda now: Happening(now, SECOND, 0)
    if kind == 6:
        samples = draw(longs)
        return lambda it, now: it.lost(samples, now), lambda now: Happening(now, LOST, samples)
    name = draw(st.sampled_from("abc"))
    return lambda it, now: it.event(name, now), lambda now: (now, EVENT, name)


def told(flight: LegFlight, entry: Any) -> Any:
    """An entry in the words of its step."""
    match entry:
        case Packet():
            source = flight.sources[entry.source] if entry.received else None
            return (*entry[:8], source)
        case Rtcp():
            return entry.at, entry.received, entry.data
        case Happening(kind=kind) if kind == EVENT:
            return entry.at, EVENT, flight.names[entry.value]
    return entry


@given(st.lists(steps(), max_size=60), st.integers(0, 3))
def test_what_goes_in_comes_out(script: list[Step], chunks: int) -> None:
    it = LegRing(chunks * CHUNK, 40000, 0.0, 0.0)
    expected = []
    for number, (do, expect) in enumerate(script):
        do(it, float(number))
        expected.append(expect(float(number)))
    flight = it.flight()
    kept = [told(flight, entry) for entry in entries_of(flight)]
    assert kept == expected[len(expected) - len(kept) :]
    assert len(kept) == len(expected) or flight.dropped


@given(st.binary(max_size=400))
def test_octets_of_nobody_raise_the_rooms_error_alone(garbage: bytes) -> None:
    flight = LegFlight(0.0, 4000, [A], ["x"], [], 0, garbage)
    with contextlib.suppress(FlightError):
        list(entries_of(flight))


def test_a_time_that_cannot_be_is_refused() -> None:
    it = ring()
    it.tick(100.0)
    it.tick(100.0 + 2 * LONGEST_S)
    with pytest.raises(FlightError, match="a time"):
        list(entries_of(it.flight()))


def test_sealed_is_the_flight() -> None:
    import zlib

    it = ring()
    it.note("x", "y", 101.0)
    flight = it.flight()
    assert msgspec.msgpack.decode(zlib.decompress(sealed(flight)), type=LegFlight) == flight
    assert [entry.kind for entry in entries_of(flight) if isinstance(entry, Happening)] == [NOTE]


@pytest.mark.parametrize("seed", range(8))
def test_what_the_sender_numbered_comes_out_however_it_went_on(seed: int) -> None:
    """Pauses, keys, changed payload types and sizes, and numbers that wrap."""
    random = Random(seed)
    sender = RtpSender(random)
    sender.timestamp = 0xFFFFFFFF - 160 * random.randrange(400)
    it = ring(random.choice((CHUNK, 64 * CHUNK)))
    expected: list[tuple[float, int, int, int, int]] = []
    marker = True
    for step in range(3000):
        now = step * 0.02
        octets = 160
        match random.randrange(60):
            case 0:
                sender.timestamp = (sender.timestamp + 160 * random.randrange(1, 5)) & 0xFFFFFFFF
                marker = True
            case 1:
                sender.media_type = random.choice((0, 8))
            case 2 | 3:
                octets = 4
            case 4:
                marker = True
        if random.randrange(20) == 0:
            packet = sender.event_packet(101, b"keys", sender.timestamp, random.random() < 0.3, 160)
            it.sent(packet, 160, now)
        else:
            packet = sender.packet(bytes(octets), 160, marker)
            it.sent_media(packet, 160, now)
            marker = False
        _, second, sequence, timestamp, _ = HEADER.unpack_from(packet)
        expected.append((now, second, sequence, timestamp, len(packet) - 12))
    found = [
        (entry.at, entry.second, entry.sequence, entry.timestamp, entry.octets)
        for entry in entries_of(it.flight())
        if isinstance(entry, Packet)
    ]
    assert len(found) > 200
    assert found == expected[-len(found) :]
