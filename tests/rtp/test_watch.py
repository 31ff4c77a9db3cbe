"""The dead-direction alarm, by the clock."""

from trunkline.rtp.watch import DirectionWatch


def test_silence_is_counted_from_the_answer_even_at_time_zero():
    watch = DirectionWatch()
    watch.expect(0.0)
    assert watch.died(-50.0, False, 1.84) is None
    assert watch.died(-50.0, False, 1.85) == 1.85


def test_alarm_is_said_once_and_ends_once():
    watch = DirectionWatch()
    watch.expect(0.0)
    assert watch.died(1.0, False, 3.5) == 2.5
    assert watch.died(1.0, False, 9.0) is None
    assert watch.revived(1.0) is None
    assert watch.revived(10.0) == 9.0
    assert watch.revived(10.1) is None
    assert watch.died(10.1, False, 12.5) is not None


def test_announced_silence_has_longer():
    watch = DirectionWatch()
    watch.expect(0.0)
    assert watch.died(0.0, True, 19.9) is None
    assert watch.died(0.0, True, 20.0) == 20.0


def test_nothing_is_due_before_the_answer_or_on_hold():
    watch = DirectionWatch()
    assert watch.died(0.0, False, 100.0) is None
    watch.expect(100.0)
    watch.rest()
    assert watch.died(0.0, False, 200.0) is None


def test_expecting_twice_does_not_prolong_but_renewing_does():
    watch = DirectionWatch()
    watch.expect(0.0)
    watch.expect(1.8)
    watch.renew(1.84)
    assert watch.died(0.0, False, 3.6) is None
    watch = DirectionWatch()
    watch.renew(0.0)
    watch.expect(0.0)
    watch.expect(1.8)
    assert watch.died(0.0, False, 2.0) == 2.0
