"""Receiver statistics: RFC 3550 A.3, A.8 and §6.4.1, and the tail that they do not show."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.rtp.statistics import DelayVariation, ReceivedStream, round_trip


def stream(sequences: list[int]) -> ReceivedStream:
    received = ReceivedStream(sequences[0])
    for sequence in sequences:
        received.tracker.update(sequence)
        received.received += 1
    return received


@pytest.mark.parametrize(
    ("sequences", "expected", "lost"),
    [
        ([1, 2, 3], 3, 0),
        ([1, 3, 5], 5, 2),
        ([65534, 65535, 0, 1], 4, 0),
        ([1, 2, 2, 2], 2, -2),
        ([1, 3, 2], 3, 0),
    ],
)
def test_cumulative_lost_counts_duplicates_as_received(sequences: list[int], expected: int, lost: int):
    received = stream(sequences)
    assert (received.expected, received.lost) == (expected, lost)


def test_cumulative_lost_is_clamped_to_signed_24_bits():
    received = ReceivedStream(0)
    received.tracker.highest = 1 << 25
    assert received.lost == 0x7FFFFF
    received = ReceivedStream(0)
    received.received = 1 << 25
    assert received.lost == -0x800000


def test_fraction_lost_is_of_the_interval_alone():
    received = ReceivedStream(0)
    received.received = 1
    for sequence in range(1, 100):
        received.tracker.update(sequence)
        received.received += sequence % 4 != 0
    assert received.fraction_lost() == (24 << 8) // 100
    for sequence in range(100, 200):
        received.tracker.update(sequence)
        received.received += 1
    assert received.fraction_lost() == 0
    assert received.fraction_lost() == 0


def test_fraction_lost_of_an_interval_with_duplicates_is_zero_not_negative():
    received = stream([1, 1, 1])
    assert received.fraction_lost() == 0


def jitter_of(arrivals_and_timestamps: list[tuple[float, int]], clock_rate: int = 8000) -> DelayVariation:
    delay = DelayVariation(clock_rate)
    for now, timestamp in arrivals_and_timestamps:
        delay.update(timestamp, False, now)
    return delay


def test_jitter_by_hand():
    # D: 0, then +80 units, then -80: J = 0, 5, 5 + 75/16.
    delay = jitter_of([(0.00, 0), (0.02, 160), (0.05, 320), (0.06, 480)])
    assert delay.jitter == pytest.approx(5 + 75 / 16)
    assert delay.jitter_max == delay.jitter


def test_jitter_is_in_units_of_the_codec_clock():
    slow = jitter_of([(0.00, 0), (0.02, 160), (0.05, 320)], 8000)
    fast = jitter_of([(0.00, 0), (0.02, 960), (0.05, 1920)], 48000)
    assert fast.jitter == pytest.approx(6 * slow.jitter)


def test_steady_stream_has_no_jitter_through_the_timestamp_wrap():
    delay = jitter_of([(n * 0.02, (0xFFFFFF00 + 160 * n) & 0xFFFFFFFF) for n in range(10)])
    assert delay.jitter == pytest.approx(0, abs=1e-6)


def test_unchanged_timestamp_says_nothing():
    delay = jitter_of([(0.00, 0), (0.02, 160), (0.50, 160), (0.04, 320)])
    assert delay.jitter == pytest.approx(0, abs=1e-6)


def test_reordered_packet_counts_by_its_own_time():
    delay = jitter_of([(0.00, 0), (0.04, 320), (0.041, 160), (0.06, 480)])
    assert delay.jitter > 0
    assert delay.jitter < 400


def test_clock_that_stood_still_in_silence_is_no_jitter():
    delay = DelayVariation(8000)
    delay.update(0, False, 0.0)
    delay.update(160, False, 0.02)
    delay.update(320, True, 1.5)
    assert delay.jitter == pytest.approx(0, abs=1e-6)


def test_stall_without_a_talk_spurt_is_jitter():
    delay = jitter_of([(0.0, 0), (0.02, 160), (1.04, 320)])
    assert delay.jitter == pytest.approx(500)


def test_nothing_measured_is_none():
    delay = DelayVariation(8000)
    assert delay.percentile_ms(0.99) is None
    delay.update(0, False, 0.0)
    assert not delay.measured
    assert delay.percentile_ms(0.99) is None


def test_percentile_finds_the_tail_that_jitter_hides():
    rng = random.Random(1)
    delay = DelayVariation(8000)
    for n in range(20000):
        late = rng.uniform(0.100, 0.120) if n % 50 == 25 else rng.uniform(0, 0.004)
        delay.update(n * 160, False, n * 0.02 + late)
    assert delay.percentile_ms(0.50) == pytest.approx(3, abs=1)
    assert delay.percentile_ms(0.97) == pytest.approx(4, abs=1)
    assert 100 <= (delay.percentile_ms(0.99) or 0) <= 120
    assert delay.jitter / 8 < 20


def test_the_tail_of_the_open_window_counts_once_it_is_closed():
    delay = DelayVariation(8000)
    for n in range(256):  # with the first packet one window and the first of the next
        delay.update(n * 160, False, n * 0.02)
    for n in range(256, 356):
        delay.update(n * 160, False, n * 0.02 + (0.05 if n % 2 else 0))
    assert delay.percentile_ms(0.99) == 1
    delay.flush()
    assert delay.percentile_ms(0.99) == pytest.approx(51, abs=1)
    delay.flush()
    assert delay.percentile_ms(0.99) == pytest.approx(51, abs=1)


def test_clock_skew_is_not_delay():
    # 100 ppm for twenty minutes: 120 ms between the clocks at the end.
    delay = DelayVariation(8000)
    for n in range(60000):
        delay.update(n * 160 & 0xFFFFFFFF, False, n * 0.02 * 1.0001)
    assert (delay.percentile_ms(0.99) or 0) <= 2


def test_other_clock_keeps_what_was_measured():
    delay = jitter_of([(0.00, 0), (0.02, 160), (0.05, 320)])
    in_ms = delay.jitter_max / 8
    delay.set_clock_rate(48000)
    assert delay.jitter_max / 48 == pytest.approx(in_ms)
    delay.update(5, False, 0.06)
    delay.update(5 + 960, False, 0.08)
    assert delay.jitter == pytest.approx(0, abs=1e-6)


def test_round_trip_of_rfc_3550_figure_2():
    assert round_trip(0xB7108000, 0xB7052000, 0x00054000) == 6.125


def test_round_trip_without_a_sender_report_is_unknown():
    assert round_trip(0xB7108000, 0, 0) is None


def test_negative_round_trip_is_dropped():
    assert round_trip(0x10000, 0x10000, 0x20000) is None


def test_round_trip_across_the_wrap_of_the_middle_bits():
    assert round_trip(0x00008000, 0xFFFF8000, 0) == 1.0


@given(st.lists(st.tuples(st.integers(0, 0xFFFFFFFF), st.booleans(), st.floats(0, 10)), max_size=600))
def test_any_stream_gives_finite_figures(packets: list[tuple[int, bool, float]]):
    delay = DelayVariation(8000)
    now = 0.0
    for timestamp, marker, wait in packets:
        now += wait
        delay.update(timestamp, marker, now)
    assert 0 <= delay.jitter <= delay.jitter_max
    share = delay.percentile_ms(0.99)
    assert share is None or 1 <= share <= 1000
