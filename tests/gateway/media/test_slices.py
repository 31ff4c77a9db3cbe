"""Good and bad slices of 10 s, one direction."""

import pytest

from trunkline.gateway.media.slices import StreamSlices
from trunkline.gateway.record import StreamSlice
from trunkline.rtp.emodel import impairment
from trunkline.rtp.quality import Counters

PCMU = impairment("pcmu")
NOTHING = Counters(0, 0)


def stream(due: bool = True) -> StreamSlices:
    return StreamSlices(due, NOTHING, 0.0)


@pytest.mark.parametrize(
    ("codec", "ppl", "good"),
    [
        ("pcmu", 0.0, True),
        ("pcmu", 8.0, True),  # R 70.2
        ("pcmu", 8.2, False),  # R 69.8
        ("opus", 0.0, True),
        ("opus", 3.1, True),  # R 103.8 of 148: 70.2 on the narrowband scale
        ("opus", 3.2, False),
        ("pcmu", 100.0, False),
    ],
)
def test_good_from_r_70_on_the_scale_of_the_codec(codec, ppl, good):
    slices = stream()
    part = slices.end(impairment(codec), Counters(1000, round(ppl * 10)), 10.0)
    assert part.bad is not good
    assert (slices.good, slices.bad) == (int(good), int(not good))


def test_each_slice_is_rated_by_its_own_packets():
    slices = stream()
    first = slices.end(PCMU, Counters(500, 0), 10.0)
    second = slices.end(PCMU, Counters(1000, 50, 25), 20.0)
    third = slices.end(PCMU, Counters(1500, 50, 25), 30.0)
    assert (first.lost, second.lost, second.discarded, third.lost) == (0.0, 0.1, 0.05, 0.0)
    assert first.mos == third.mos > second.mos
    assert (slices.good, slices.bad) == (2, 1)


def test_too_few_packets_have_shares_and_no_mos():
    slices = stream()
    part = slices.end(PCMU, Counters(49, 7), 1.0)
    assert (part.mos, part.bad, part.lost) == (None, False, 0.1429)
    assert (slices.good, slices.bad) == (0, 0)


def test_late_packets_that_were_lost_before_are_no_negative_loss():
    slices = stream()
    slices.end(PCMU, Counters(500, 20), 10.0)
    assert slices.end(PCMU, Counters(1000, 10), 20.0).lost == 0.0


def test_a_codec_without_figures_is_not_rated():
    slices = stream()
    part = slices.end(None, Counters(500, 500), 10.0)
    assert (part.mos, part.bad, part.lost) == (None, False, 1.0)


def test_a_direction_in_which_nothing_ever_comes_is_bad_slice_by_slice():
    slices = stream()
    slices.died(0.0)
    parts = [slices.end(PCMU, NOTHING, now) for now in (10.0, 20.0, 24.0)]
    assert [(part.bad, part.dead, part.mos) for part in parts] == [(True, True, None)] * 3
    assert (slices.good, slices.bad) == (0, 3)


def test_a_death_is_told_in_the_slice_of_its_alarm_and_not_in_one_that_it_hardly_touches():
    slices = stream()
    slices.died(8.5)
    assert slices.end(PCMU, Counters(500, 0), 10.0).dead
    slices.revived(10.1)
    assert not slices.end(PCMU, Counters(1000, 0), 20.0).dead


def test_a_dead_direction_that_lives_again_is_rated_by_its_packets():
    slices = stream()
    slices.died(1.0)
    slices.revived(4.0)
    part = slices.end(PCMU, Counters(300, 0), 10.0)
    assert (part.dead, part.bad) == (True, False)


def test_two_seconds_of_a_death_that_began_before_are_dead():
    slices = stream()
    slices.died(5.0)
    slices.end(PCMU, NOTHING, 10.0)
    slices.revived(12.0)
    assert slices.end(PCMU, NOTHING, 20.0).dead


def test_a_slice_on_hold_carries_nothing_and_is_neither_good_nor_bad():
    slices = stream()
    slices.died(2.0)
    slices.due(False, 3.0)
    slices.died(4.0)
    assert slices.end(PCMU, Counters(500, 500), 10.0).dead
    bad = slices.bad
    assert slices.end(PCMU, Counters(1000, 1000), 20.0) == StreamSlice()
    assert (slices.good, slices.bad) == (0, bad)
    slices.due(True, 25.0)
    assert slices.end(PCMU, Counters(1250, 1000), 30.0).mos is not None
