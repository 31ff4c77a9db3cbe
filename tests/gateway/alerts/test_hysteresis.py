"""When a condition opens and closes: patience, hold, flapping, all at exact times."""

from trunkline.gateway.alerts.hysteresis import Damper
from trunkline.gateway.alerts.rules_config import FlappingConfig

FLAPPING = FlappingConfig(times=3, period_s=1000, calm_s=200)


def look(
    damper: Damper, now: float, enter: bool, stay: bool | None = None, for_s: float = 10, hold_s: float = 20
) -> bool:
    stays = enter if stay is None else stay
    return damper.look(enter=enter, stay=stays, now=now, for_s=for_s, hold_s=hold_s, flapping=FLAPPING)


def test_it_opens_when_it_was_true_for_long_enough():
    damper = Damper()
    assert not look(damper, 0, True)
    assert not look(damper, 9.9, True)
    assert look(damper, 10, True)


def test_a_break_begins_the_wait_anew():
    damper = Damper()
    look(damper, 0, True)
    look(damper, 5, False)
    assert not look(damper, 10, True)
    assert look(damper, 20, True)


def test_staying_is_no_way_in():
    damper = Damper()
    assert not any(look(damper, second, False, stay=True) for second in range(100))


def test_the_milder_condition_keeps_it_open():
    damper = Damper()
    look(damper, 0, True, for_s=0)
    assert all(look(damper, second, False, stay=True) for second in range(1, 1000, 10))


def test_it_closes_when_it_was_calm_for_long_enough():
    damper = Damper()
    look(damper, 0, True, for_s=0)
    assert look(damper, 1, False)
    assert look(damper, 20.9, False)
    assert not look(damper, 21, False)


def test_trouble_begins_the_hold_anew():
    damper = Damper()
    look(damper, 0, True, for_s=0)
    look(damper, 1, False)
    look(damper, 15, True)
    assert look(damper, 30, False)
    assert look(damper, 49, False)
    assert not look(damper, 50, False)


def flap(damper: Damper, at: float) -> None:
    look(damper, at, True, for_s=0)
    look(damper, at + 1, False, hold_s=0)


def test_the_third_time_within_the_period_is_flapping():
    damper = Damper()
    flap(damper, 0)
    flap(damper, 100)
    assert not damper.flapping
    look(damper, 200, True, for_s=0)
    assert damper.flapping
    assert look(damper, 201, False, hold_s=0)
    assert look(damper, 400, False, hold_s=0)
    assert not look(damper, 401, False, hold_s=0)
    assert not damper.flapping


def test_times_that_are_long_ago_do_not_count():
    damper = Damper()
    for at in (0, 500, 1000, 1500, 2000):
        look(damper, at, True, for_s=0)
        assert not damper.flapping
        assert not look(damper, at + 1, False, hold_s=0)


def test_what_is_calm_for_long_is_forgotten():
    damper = Damper()
    assert damper.blank
    flap(damper, 0)
    assert not damper.blank
    look(damper, 1000, False)
    assert damper.blank
