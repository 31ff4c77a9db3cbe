"""RFC 4733 keys, sent and received over a bad network."""

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.rtp.errors import LocalError
from trunkline.rtp.telephone_event import DIGITS, SILENT, EventReceiver, EventSender


def packet(event: int, duration: int, end: bool = False) -> bytes:
    return struct.pack("!BBH", event, 0x80 * end | 10, duration)


def play(digits: str, duration_ms: int = 100, timestamp: int = 5000, clock_rate: int = 8000):
    """What a sender puts on the wire: (payload, timestamp, marker) by tick, None where audio is due."""
    sender = EventSender(clock_rate)
    for digit in digits:
        sender.start(digit, duration_ms)
    while sender.active:
        yield sender.tick(timestamp)
        timestamp = (timestamp + clock_rate // 50) & 0xFFFFFFFF


def hear(packets, now: float = 10.0, receiver: EventReceiver | None = None):
    """The keys as first seen and as ended, packets 20 ms apart, then silence."""
    receiver = receiver or EventReceiver()
    seen, ended = [], []

    def poll() -> None:
        while (key := receiver.poll(now)) is not None:
            ended.append(key)

    for each in packets:
        if each is not None:
            key = receiver.receive(*each, now)
            if key is not None:
                seen.append(key)
        poll()
        now += 0.020
    now += SILENT
    poll()
    return seen, ended


# Sender


def test_a_key_on_the_wire_is_as_rfc_4733_wants_it():
    sent = list(play("5", 100, timestamp=5000))
    assert sent[:7] == [
        (packet(5, 160), 5000, True),
        (packet(5, 320), 5000, False),
        (packet(5, 480), 5000, False),
        (packet(5, 640), 5000, False),
        (packet(5, 800, end=True), 5000, False),
        (packet(5, 800, end=True), 5000, False),
        (packet(5, 800, end=True), 5000, False),
    ]
    assert sent[7:] == [None] * 3


def test_keys_are_apart_and_have_timestamps_of_their_own():
    sent = [each for each in play("11") if each is not None]
    assert [marker for _, _, marker in sent].count(True) == 2
    first, second = sorted({timestamp for _, timestamp, _ in sent})
    # 100 ms of key, two ticks of repeats, 60 ms of pause.
    assert second - first == 160 * (5 + 2 + 3)


def test_all_sixteen_keys_by_their_codes():
    for event, digit in enumerate(DIGITS):
        assert next(play(digit))[0][0] == event
    assert next(play("d"))[0][0] == 15


@pytest.mark.parametrize("digit", ["", "E", "12", "²", " "])
def test_what_is_no_key_is_refused(digit):
    with pytest.raises(LocalError, match="is not a key"):
        EventSender().start(digit)


@pytest.mark.parametrize(("clock_rate", "longest"), [(8000, 65440), (48000, 65280)])
def test_a_key_is_at_most_what_the_duration_field_holds(clock_rate, longest):
    sent = [each for each in play("7", 60_000, clock_rate=clock_rate) if each is not None]
    assert struct.unpack("!BBH", sent[-1][0]) == (7, 0x8A, longest)


def test_idle_sender_gives_nothing():
    sender = EventSender()
    assert not sender.active
    assert sender.tick(0) is None


# Receiver


def test_a_key_is_told_once_at_its_first_packet_and_once_at_its_end():
    receiver = EventReceiver()
    key = receiver.receive(packet(5, 160), 5000, True, 10.0)
    assert (key.digit, key.timestamp, key.ended) == ("5", 5000, False)
    assert receiver.poll(10.0) is None
    assert receiver.receive(packet(5, 320), 5000, False, 10.02) is None
    assert receiver.receive(packet(5, 480, end=True), 5000, False, 10.04) is None
    assert receiver.poll(10.04) is key
    assert (key.duration, key.ended) == (480, True)
    assert receiver.receive(packet(5, 480, end=True), 5000, False, 10.06) is None
    assert receiver.poll(20.0) is None


def test_without_its_end_a_key_ends_after_half_a_second():
    receiver = EventReceiver()
    key = receiver.receive(packet(5, 160), 5000, True, 10.0)
    assert receiver.poll(10.0 + SILENT - 0.001) is None
    assert receiver.poll(10.0 + SILENT) is key
    # A packet of it that comes later still is not another press.
    assert receiver.receive(packet(5, 800, end=True), 5000, False, 11.0) is None
    assert receiver.poll(20.0) is None


def test_a_single_end_packet_is_a_whole_key():
    receiver = EventReceiver()
    key = receiver.receive(packet(10, 800, end=True), 5000, False, 10.0)
    assert key.digit == "*"
    assert receiver.poll(10.0) is key
    assert key.duration == 800


def test_same_key_twice_is_two_presses_by_timestamp_without_any_marker_or_end():
    seen, ended = hear([(packet(1, 160), 5000, False), (packet(1, 160), 6600, False)])
    assert [key.digit for key in seen] == ["1", "1"]
    assert ended == seen


def test_markers_on_every_packet_are_one_key():
    seen, _ = hear([(packet(1, 160 * n), 5000, True) for n in range(1, 6)])
    assert len(seen) == 1


def test_an_overtaken_packet_of_the_key_before_is_not_a_key():
    receiver = EventReceiver()
    seen, _ = hear(
        [
            (packet(1, 160), 5000, True),
            (packet(2, 160), 6600, True),
            (packet(1, 320, end=True), 5000, False),
            (packet(2, 320), 6600, False),
        ],
        receiver=receiver,
    )
    assert [key.digit for key in seen] == ["1", "2"]


def test_timestamps_wrap():
    seen, ended = hear(play("42", timestamp=0xFFFFFE00))
    assert [key.digit for key in seen] == ["4", "2"]
    assert [key.duration for key in ended] == [800, 800]


def test_segments_of_a_long_key_are_one_key():
    # RFC 4733 §2.5.1.3: duration full, then the same event 0xFFFF later.
    seen, ended = hear(
        [
            (packet(0, 65440), 0xFFFF0000, False),
            (packet(0, 65535), 0xFFFF0000, False),
            (packet(0, 160), 0xFFFFFFFF, False),
            (packet(0, 1600, end=True), 0xFFFFFFFF, False),
        ]
    )
    assert len(seen) == 1
    assert ended == seen
    assert ended[0].duration == 65535 + 1600
    assert ended[0].timestamp == 0xFFFF0000


def test_segments_are_one_key_though_one_between_was_lost():
    seen, ended = hear([(packet(0, 65535), 1000, True), (packet(0, 480, end=True), 1000 + 2 * 65535, False)])
    assert len(seen) == 1
    assert ended[0].duration == 2 * 65535 + 480


@pytest.mark.parametrize("event", [16, 32, 36, 40, 255])
def test_events_that_are_no_keys_are_counted_and_ignored(event):
    receiver = EventReceiver()
    assert hear([(packet(event, 160), 5000, True)], receiver=receiver) == ([], [])
    assert receiver.ignored == 1


def test_short_payloads_are_counted_and_ignored():
    receiver = EventReceiver()
    assert hear([(b"", 1, True), (b"\x05\x0a\x00", 1, True)], receiver=receiver) == ([], [])
    assert receiver.ignored == 2


def test_a_new_stream_may_go_back_in_time():
    receiver = EventReceiver()
    receiver.receive(packet(1, 160), 5000, True, 10.0)
    receiver.reset()
    assert receiver.poll(10.0).ended
    assert receiver.receive(packet(1, 160), 3000, True, 10.1).digit == "1"


def test_repr_of_a_key():
    receiver = EventReceiver()
    assert repr(receiver.receive(packet(11, 160), 5000, True, 10.0)) == "<Key # at 5000 for 160…>"


@given(st.text(DIGITS, min_size=1, max_size=12), st.integers(40, 400), st.integers(0, 0xFFFFFFFF), st.randoms())
def test_each_key_once_whatever_was_lost_repeated_reordered_or_unmarked(digits, duration_ms, timestamp, chance):
    """As long as one packet of each key arrives, and arrives before the next key's."""
    wire = []
    for group in _by_key(play(digits, duration_ms, timestamp)):
        kept = chance.sample(group, chance.randint(1, len(group)))
        kept += chance.choices(kept, k=chance.randint(0, 3))
        chance.shuffle(kept)
        wire += [(payload, stamp, marker and chance.random() < 0.5) for payload, stamp, marker in kept]
        wire += [None] * 3
    seen, ended = hear(wire)
    assert "".join(key.digit for key in seen) == digits
    assert ended == seen
    assert all(key.ended for key in ended)


def _by_key(packets):
    groups: dict[int, list] = {}
    for each in packets:
        if each is not None:
            groups.setdefault(each[1], []).append(each)
    return list(groups.values())


@given(st.lists(st.tuples(st.binary(max_size=6), st.integers(0, 0xFFFFFFFF), st.booleans()), max_size=30))
def test_any_packets_are_survived_and_every_key_seen_ends_once(packets):
    seen, ended = hear(packets)
    assert len(ended) == len(seen)
    assert {id(key) for key in ended} == {id(key) for key in seen}


def test_heavy_random_loss_still_gives_every_key_once():
    chance = random.Random(4733)
    number = "".join(chance.choices(DIGITS, k=200))
    seen, _ = hear(each for each in play(number, 120) if each is None or chance.random() < 0.6)
    assert "".join(key.digit for key in seen) == number
