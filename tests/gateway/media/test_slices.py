"""Good and bad slices of 10 s."""

import pytest

from trunkline.gateway.media.slices import SliceTally
from trunkline.rtp.emodel import impairment, score
from trunkline.rtp.quality import SliceScore


def finished(codec: str, ppl: float, ended: float = 10.0) -> SliceScore:
    cost = impairment(codec)
    assert cost is not None
    return SliceScore(ended - 10.0, ended, ppl, 1.0, score(cost, ppl), None)


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
    tally = SliceTally()
    tally.rated(finished(codec, ppl))
    assert (tally.good, tally.bad) == (int(good), int(not good))


def test_no_slice_no_count():
    tally = SliceTally()
    tally.rated(None)
    tally.update(1000.0)
    assert (tally.good, tally.bad) == (0, 0)


def test_each_10_s_without_media_are_bad():
    tally = SliceTally()
    tally.died(5.0)
    tally.update(14.9)
    assert tally.bad == 0
    tally.update(15.0)
    tally.update(34.9)
    assert tally.bad == 2
    tally.revived()
    tally.update(99.0)
    assert tally.bad == 2


def test_a_short_call_without_media_is_bad_once():
    tally = SliceTally()
    tally.died(5.0)
    tally.close(9.0)
    tally.close(99.0)
    assert tally.bad == 1


def test_dead_time_that_was_rated_is_not_counted_again():
    tally = SliceTally()
    tally.died(5.0)
    tally.rated(finished("pcmu", 100.0, ended=14.0))
    tally.update(16.0)
    assert tally.bad == 1
    tally.close(15.0)
    assert tally.bad == 1
