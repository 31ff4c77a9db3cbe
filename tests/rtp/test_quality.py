"""Slices and the call's score, from cumulative counters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.rtp.emodel import idd, impairment, score
from trunkline.rtp.quality import CallQuality, Counters, PerceivedImpairment

G711 = impairment("PCMU")


class Stream:
    """50 packets a second, counted as the owner does."""

    def __init__(self, figures=G711, now: float = 1000.0) -> None:
        self.now = now
        self.expected = self.lost = self.discarded = self.runs = 0
        self.quality = CallQuality(figures, now)
        self.slices = []

    @property
    def counters(self) -> Counters:
        return Counters(self.expected, self.lost, self.discarded, self.runs)

    def second(self, lost: int = 0, discarded: int = 0, runs: int = 0, delay_ms=None, packets: int = 50) -> None:
        self.now += 1
        self.expected += packets
        self.lost += lost
        self.discarded += discarded
        self.runs += runs
        finished = self.quality.update(self.counters, delay_ms, self.now)
        if finished is not None:
            self.slices.append(finished)

    def seconds(self, count: int, **what) -> None:
        for _ in range(count):
            self.second(**what)


def test_nothing_expected_is_no_score():
    stream = Stream()
    stream.seconds(30, packets=0)
    stream.quality.close(stream.counters, None, stream.now)
    assert stream.slices == []
    assert (stream.quality.listening, stream.quality.conversational, stream.quality.minimum) == (None, None, None)


def test_fewer_than_50_packets_are_no_score():
    stream = Stream()
    stream.second(packets=49)
    assert stream.quality.close(stream.counters, 20.0, stream.now + 1) is None
    assert stream.quality.listening is None
    assert stream.quality.minimum is None


def test_a_clean_call_is_93_2_throughout():
    stream = Stream()
    stream.seconds(35)
    assert [finished.listening.r_factor for finished in stream.slices] == [93.2] * 3
    assert [finished.started for finished in stream.slices] == [1000, 1010, 1020]
    last = stream.quality.close(stream.counters, None, stream.now)
    assert last is not None
    assert (last.started, last.ended) == (1030, 1035)
    assert stream.quality.listening.r_factor == pytest.approx(93.2)


def test_steady_loss_scores_the_call_as_its_slices():
    stream = Stream()
    stream.seconds(60, lost=1, runs=1)
    assert len(stream.slices) == 6
    for finished in stream.slices:
        assert finished.ppl == 2
        assert finished.listening == score(G711, 2)
    assert stream.quality.listening.r_factor == pytest.approx(score(G711, 2).r_factor)


def test_discards_weigh_as_losses():
    lost, discarded = Stream(), Stream()
    lost.seconds(10, lost=3, runs=3)
    discarded.seconds(10, discarded=3, runs=3)
    assert lost.slices == discarded.slices


def test_total_loss_is_mos_1():
    stream = Stream()
    stream.seconds(20, lost=50, runs=1)
    assert stream.quality.listening.mos == 1
    assert stream.quality.minimum.r_factor == 0


def test_burstiness_counts_when_runs_are_known():
    random, bursty = Stream(), Stream()
    random.seconds(10, lost=5, runs=5)
    bursty.seconds(10, lost=5, runs=1)
    assert bursty.slices[0].burst_r == pytest.approx(5 * 0.9)
    assert random.slices[0].burst_r == 1
    assert bursty.slices[0].listening.mos < random.slices[0].listening.mos


def test_conversational_only_with_a_measured_delay():
    stream = Stream()
    stream.seconds(10)
    assert stream.slices[0].conversational is None
    assert stream.quality.conversational is None
    stream.seconds(10, delay_ms=250)
    assert stream.slices[1].conversational.r_factor == pytest.approx(93.2 - idd(250))
    # The seconds without a measurement say nothing of the delay.
    assert stream.quality.conversational.r_factor == pytest.approx(93.2 - idd(250))
    assert stream.quality.listening.r_factor == pytest.approx(93.2)


def test_minimum_is_the_worst_slice_and_the_call_lies_between():
    stream = Stream()
    stream.seconds(20)
    stream.seconds(10, lost=10, runs=10)
    stream.seconds(20)
    assert stream.quality.minimum == score(G711, 20)
    assert score(G711, 20).r_factor < stream.quality.listening.r_factor < 93.2


def test_a_bad_minute_is_forgiven_more_slowly_than_it_is_noticed():
    # The same slices: perceived impairment lingers after the bad one, so a bad end costs less than a bad middle.
    middle, end = Stream(), Stream()
    middle.seconds(10)
    middle.seconds(10, lost=10, runs=10)
    middle.seconds(10)
    end.seconds(20)
    end.seconds(10, lost=10, runs=10)
    assert middle.quality.listening.r_factor < end.quality.listening.r_factor


# ETSI TS 101 329-5 Annex E: gaps of 60 s at Ie 0 and bursts of 3 s at Ie 40 settle at these values.
def test_clarks_model_of_alternating_bursts_and_gaps():
    felt = PerceivedImpairment()
    for _ in range(3000):
        felt.hold(0, 60)
        gap_end = felt.now
        felt.hold(40, 3)
    assert felt.now == pytest.approx(18.231, abs=0.001)
    assert gap_end == pytest.approx(0.334, abs=0.001)
    assert felt.mean == pytest.approx(4.746, abs=0.003)


@given(st.lists(st.tuples(st.floats(0, 95), st.floats(0.1, 60)), min_size=1, max_size=20), st.data())
def test_perceived_mean_lies_within_what_was_held_and_is_monotone(holds, data):
    felt, worse = PerceivedImpairment(), PerceivedImpairment()
    which = data.draw(st.integers(0, len(holds) - 1))
    for index, (ie, duration) in enumerate(holds):
        felt.hold(ie, duration)
        worse.hold(ie + 5 if index == which else ie, duration)
    assert min(ie for ie, _ in holds) - 1e-6 <= felt.mean <= max(ie for ie, _ in holds) + 1e-6
    assert worse.mean >= felt.mean - 1e-9


def test_a_slice_goes_on_until_it_has_enough_packets():
    stream = Stream()
    stream.seconds(24, packets=2)
    assert stream.slices == []
    stream.second(packets=2)
    assert [(finished.started, finished.ended) for finished in stream.slices] == [(1000, 1025)]


def test_hold_counts_for_nothing():
    stream, without = Stream(), Stream()
    for each in (stream, without):
        each.seconds(10, lost=5, runs=5)
    stream.seconds(300, packets=0)
    for each in (stream, without):
        each.seconds(10)
    assert stream.quality.listening.r_factor == pytest.approx(without.quality.listening.r_factor)


def test_a_short_tail_is_heard_in_the_call_but_is_no_slice():
    stream = Stream()
    stream.seconds(10)
    before = stream.quality.listening.r_factor
    stream.now += 0.5
    stream.expected += 25
    stream.lost += 25
    assert stream.quality.close(stream.counters, None, stream.now) is None
    assert stream.quality.listening.r_factor < before
    assert stream.quality.minimum.r_factor == 93.2


def test_lost_packets_that_turn_up_late_never_make_a_negative_loss():
    stream = Stream()
    stream.seconds(10, lost=1, runs=1)
    stream.lost -= 5
    stream.seconds(10)
    assert stream.slices[1].ppl == 0
    assert stream.slices[1].listening.r_factor == 93.2


def test_counters_that_fall_back_begin_a_new_stream():
    stream = Stream()
    stream.seconds(15)
    stream.expected = 0
    stream.seconds(10, lost=5, runs=5)
    assert stream.slices[-1].ppl == 10


def test_no_figures_no_score():
    stream = Stream(figures=None)
    stream.seconds(30)
    assert stream.slices == []
    assert stream.quality.listening is None


def test_change_of_codec_on_another_scale_starts_afresh():
    stream = Stream()
    stream.seconds(10, lost=10, runs=10)
    stream.quality.change(impairment("opus"), stream.counters, None, stream.now)
    assert stream.quality.listening is None
    stream.seconds(10)
    assert stream.quality.listening.scale == "fb"
    assert stream.quality.listening.r_factor == pytest.approx(148 - 18.5)
    assert stream.quality.minimum.scale == "fb"


def test_change_of_law_keeps_the_score():
    stream = Stream()
    stream.seconds(10, lost=10, runs=10)
    stream.quality.change(impairment("PCMA"), stream.counters, None, stream.now)
    stream.seconds(10)
    assert stream.quality.minimum == score(G711, 20)


def test_repr_tells_the_scores():
    stream = Stream()
    stream.seconds(10)
    assert "r_factor=93.2" in repr(stream.quality)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 80), st.integers(0, 60), st.floats(0, 3)), max_size=60))
def test_any_counters_keep_the_scores_in_range(steps):
    stream = Stream()
    for packets, lost, runs, seconds in steps:
        stream.now += seconds
        stream.second(packets=packets, lost=lost, runs=runs, delay_ms=float(lost))
    stream.quality.close(stream.counters, None, stream.now)
    for rated in (stream.quality.listening, stream.quality.conversational, stream.quality.minimum):
        assert rated is None or 1 <= rated.mos <= 4.5
