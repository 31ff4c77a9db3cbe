"""Scores against published points; the source of each table stands above it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.rtp.emodel import Impairment, Scale, base, idd, ie_eff, impairment, mos, score

NB, WB, FB = Scale.NARROWBAND, Scale.WIDEBAND, Scale.FULLBAND


def codec(ie: float, bpl: float, scale: Scale = NB) -> Impairment:
    return Impairment("test", ie, bpl, scale, "test", "test")


PLC = impairment("PCMU")
NO_PLC = codec(0, 4.3)
G729A = codec(11, 19.0)
G723 = codec(15, 16.1)
GSM_EFR = codec(5, 10.0)


# G.107 Annex B and G.109: lower limits of the user satisfaction categories.
@pytest.mark.parametrize(("r", "expected"), [(90, 4.34), (80, 4.03), (70, 3.60), (60, 3.10), (50, 2.58)])
def test_mos_at_the_category_limits(r, expected):
    assert mos(r) == pytest.approx(expected, abs=0.01)


# G.107 §7.7.
def test_default_r_is_93_2_and_mos_4_41():
    assert base(NB) == 93.2
    assert score(PLC, 0).r_factor == 93.2
    assert score(PLC, 0).mos == pytest.approx(4.41, abs=0.005)


@pytest.mark.parametrize(("r", "expected"), [(-5, 1), (0, 1), (3.22, 1), (6.5, 1), (100, 4.5), (130, 4.5)])
def test_mos_is_clamped_also_where_the_cubic_dips_under_1(r, expected):
    assert mos(r) == expected


# G.113 Appendix I, older table of Ie by percent of loss. Tolerances: how far formula and table differ.
@pytest.mark.parametrize(
    ("figures", "tolerance", "table"),
    [
        (G729A, 0.7, {0.5: 13, 1: 15, 1.5: 17, 2: 19, 3: 23, 4: 26, 8: 36, 16: 49}),
        (G723, 1.3, {0.5: 17, 1: 19, 1.5: 22, 2: 24, 3: 27, 4: 32, 8: 41, 16: 55}),
        (PLC, 3.0, {1: 5, 2: 7, 3: 10, 5: 15, 7: 20, 10: 25, 15: 35, 20: 45}),
        (NO_PLC, 7.2, {1: 25, 2: 35, 3: 45, 5: 55}),
    ],
)
def test_ie_of_g113_by_loss(figures, tolerance, table):
    for ppl, ie in table.items():
        assert ie_eff(figures, ppl) == pytest.approx(ie, abs=tolerance)


# Computed once from the formulas, independently of this program: Ppl, BurstR, Ta, R, MOS.
@pytest.mark.parametrize(
    ("figures", "rows"),
    [
        (
            PLC,
            [
                (0, 1, 0, 93.20, 4.409),
                (0.5, 1, 0, 91.34, 4.371),
                (1, 1, 0, 89.56, 4.328),
                (2, 1, 0, 86.19, 4.235),
                (3, 1, 0, 83.06, 4.134),
                (5, 1, 0, 77.42, 3.923),
                (5, 2, 0, 75.99, 3.864),
                (10, 1, 0, 66.13, 3.411),
                (1, 1, 150, 89.40, 4.324),
                (1, 1, 250, 80.64, 4.048),
                (0, 1, 400, 69.13, 3.556),
            ],
        ),
        (
            NO_PLC,
            [
                (1, 1, 0, 75.28, 3.834),
                (1, 2, 0, 73.41, 3.753),
                (2, 1, 0, 63.04, 3.256),
                (3, 1, 0, 54.16, 2.794),
                (5, 1, 0, 42.12, 2.169),
                (5, 2, 0, 23.35, 1.358),
            ],
        ),
        (
            G729A,
            [
                (0, 1, 0, 82.20, 4.104),
                (1, 1, 0, 78.00, 3.946),
                (2, 1, 0, 74.20, 3.787),
                (5, 1, 0, 64.70, 3.340),
                (1, 1, 250, 69.08, 3.554),
            ],
        ),
        (G723, [(2, 1, 0, 69.36, 3.567)]),
        (GSM_EFR, [(3, 1, 0, 67.43, 3.474)]),
    ],
)
def test_computed_points(figures, rows):
    for ppl, burst_r, delay_ms, r, expected in rows:
        rated = score(figures, ppl, burst_r, delay_ms)
        assert rated.r_factor == pytest.approx(r, abs=0.006)
        assert rated.mos == pytest.approx(expected, abs=0.001)


# Planning rules: about 4 R for each 1 % of loss with concealment; the loss at which "many dissatisfied" begins (R 70).
def test_planning_rules():
    assert ie_eff(PLC, 1) == pytest.approx(4, abs=0.5)
    assert ie_eff(PLC, 2) == pytest.approx(8, abs=1.1)
    for figures, ppl in ((PLC, 8.1), (NO_PLC, 1.38), (G729A, 3.2), (G723, 1.8), (GSM_EFR, 2.5)):
        assert score(figures, ppl).mos == pytest.approx(3.6, abs=0.02)


# G.113 (09/2024) table IV.1: AMR-WB Ie,WB of the nine modes monotic, then the diotic ones that differ, and the MOS
# of G.107.1 without loss.
@pytest.mark.parametrize(
    ("ie", "expected"),
    [
        (8, 4.42),
        (1, 4.49),
        (3, 4.48),
        (5, 4.46),
        (7, 4.43),
        (10, 4.39),
        (13, 4.337096),
        (26, 4.02),
        (41, 3.51),
        (17, 4.25),
        (20, 4.18),
        (56, 2.92),
    ],
)
def test_wideband_without_loss(ie, expected):
    assert score(codec(ie, 4.3, WB), 0).mos == pytest.approx(expected, abs=0.006)


# AMR-WB 12.65 diotic (Ie,WB 20, Bpl,WB 4.3: G.113 tables IV.1 and IV.4).
@pytest.mark.parametrize(("ppl", "expected"), [(0, 4.18), (1, 3.76), (2, 3.41), (5, 2.75)])
def test_wideband_with_loss(ppl, expected):
    assert score(codec(20, 4.3, WB), ppl).mos == pytest.approx(expected, abs=0.006)


# Alahmadi et al. 2021, Opus superwideband VBR at 25 kbit/s, random loss, on G.107.2.
@pytest.mark.parametrize(("ppl", "expected"), [(0, 4.24), (1, 4.03), (2, 3.82), (5, 3.26), (10, 2.62)])
def test_fullband_opus(ppl, expected):
    assert score(impairment("opus", 25000), ppl).mos == pytest.approx(expected, abs=0.006)


# G.113 Appendix V: EVS at 48 kbit/s and 9.6 kbit/s.
def test_fullband_evs_order():
    assert score(codec(10.2, 9.6, FB), 0).r_factor == pytest.approx(137.8)
    assert score(codec(10.2, 9.6, FB), 3).mos > score(codec(22.7, 13, FB), 3).mos


def test_scales_are_not_interchangeable():
    # G.711's R on the wideband scale would be MOS 3.70.
    assert mos(93.2, WB) == pytest.approx(3.70, abs=0.005)
    assert mos(93.2, NB) == pytest.approx(4.41, abs=0.005)
    for scale in Scale:
        assert mos(base(scale), scale) > 4.4
    assert idd(200, FB) == pytest.approx(1.48 * idd(200, NB))
    assert idd(200, WB) == pytest.approx(1.29 * idd(200, NB))


def test_every_score_carries_scale_and_basis():
    rated = score(impairment("PCMA"), 1)
    assert (rated.scale, rated.basis) == ("nb", "G.113 App I")
    rated = score(impairment("opus"), 1)
    assert (rated.scale, rated.basis) == ("fb", "estimate")


def test_figures_by_codec_and_bit_rate():
    assert impairment("pcmu") == impairment("PCMU")
    assert impairment("opus") == impairment("OPUS", 28000)
    assert (impairment("opus", 32000).ie, impairment("opus", 32000).bpl) == (16.8, 10.4)
    assert impairment("opus", 6000).ie == 38.1
    assert impairment("opus", 510000).ie == 10.7
    assert impairment("AMR") is None


EVERY = st.sampled_from([PLC, NO_PLC, G729A, codec(20, 4.3, WB), impairment("opus")])
LOSS = st.floats(0, 100)
BURST = st.floats(1, 50)
DELAY = st.floats(0, 5000)


@given(EVERY, LOSS, LOSS, BURST, DELAY)
def test_more_loss_is_never_better(figures, one, other, burst_r, delay_ms):
    less, more = sorted((one, other))
    assert score(figures, more, burst_r, delay_ms).r_factor <= score(figures, less, burst_r, delay_ms).r_factor
    assert score(figures, more, burst_r, delay_ms).mos <= score(figures, less, burst_r, delay_ms).mos


@given(EVERY, LOSS, BURST, DELAY, DELAY)
def test_more_delay_is_never_better(figures, ppl, burst_r, one, other):
    less, more = sorted((one, other))
    assert score(figures, ppl, burst_r, more).mos <= score(figures, ppl, burst_r, less).mos + 1e-9


@given(EVERY, LOSS, BURST, BURST, DELAY)
def test_burstier_loss_is_never_better(figures, ppl, one, other, delay_ms):
    less, more = sorted((one, other))
    assert score(figures, ppl, more, delay_ms).mos <= score(figures, ppl, less, delay_ms).mos


@given(EVERY, BURST, DELAY)
def test_total_loss_is_mos_1(figures, burst_r, delay_ms):
    rated = score(figures, 100, burst_r, delay_ms)
    assert (rated.r_factor, rated.mos) == (0, 1)


@given(EVERY, st.floats(-10, 200), st.floats(-10, 1000), st.floats(-100, 1e6))
def test_scores_stay_in_range(figures, ppl, burst_r, delay_ms):
    rated = score(figures, ppl, burst_r, delay_ms)
    assert 1 <= rated.mos <= 4.5
    assert 0 <= rated.r_factor <= base(figures.scale)
