"""The full narrowband E-model."""

import pytest

from trunkline.rtp.transmission import Transmission, delay_impairment


def test_default_values_give_the_recommendations_93_2():
    # G.107 §7.7: all defaults, R = 93.2; the fourth decimal is what two independent programs have.
    assert Transmission().r_factor() == pytest.approx(93.2062, abs=0.0001)
    assert Transmission().signal_to_noise() == pytest.approx(94.7688, abs=0.0001)
    assert Transmission().simultaneous() == pytest.approx(1.4136, abs=0.0001)
    assert Transmission().listener_echo() == pytest.approx(0.149, abs=0.0001)
    assert Transmission().talker_echo() == 0


# Computed from the Recommendation's formulas, to one decimal.
@pytest.mark.parametrize(
    ("ms", "cost"),
    [
        (0, 0),
        (100, 0),
        (150, 0.16),
        (177.3, 1.17),
        (200, 3.04),
        (250, 8.92),
        (300, 14.76),
        (400, 24.07),
        (500, 30.64),
        (600, 35.25),
    ],
)
def test_delay_impairment(ms, cost):
    assert delay_impairment(ms) == pytest.approx(cost, abs=0.005)


# Janssen and De Vleeschauwer: tolerable mean one-way delay for R = 70 without loss, with perfect echo control.
# Ie of the codec and bound in ms; their intrinsic R is 94.15, so that Idd(bound) + Ie = 24.1.
@pytest.mark.parametrize(
    ("ie", "bound"),
    [(0, 400), (2, 375), (5, 342), (6, 332), (7, 322), (10, 294), (15, 251), (19, 219), (20, 210), (23, 177)],
)
def test_tolerable_delays_for_r_70(ie, bound):
    assert delay_impairment(bound) + ie == pytest.approx(24.1, abs=0.15)


@pytest.mark.parametrize(
    ("telr", "ms", "r"),
    [
        (65, 0, 93.2),
        (65, 50, 91.8),
        (65, 100, 90.7),
        (65, 150, 89.5),
        (65, 200, 85.8),
        (65, 300, 72.7),
        (65, 400, 62.2),
        (55, 100, 86.1),
        (55, 150, 82.0),
        (55, 200, 75.8),
        (45, 50, 82.4),
        (45, 100, 70.1),
    ],
)
def test_echo_path(telr, ms, r):
    assert Transmission(telr=telr, t=ms, ta=ms, tr=2 * ms).r_factor() == pytest.approx(r, abs=0.06)


@pytest.mark.parametrize("stmr", [5, 8.9, 15, 20, 20.1, 25])
def test_sidetone_branches_of_the_talkers_echo_are_finite_and_echo_costs(stmr):
    near, far = Transmission(stmr=stmr, t=20), Transmission(stmr=stmr, t=200)
    assert 0 <= near.talker_echo() <= far.talker_echo() < 100
