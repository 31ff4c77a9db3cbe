"""Waveform concealment: pitch, fading, joints."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.codecs.concealment import Concealment, pitch_period


def voice(samples: int, hz: float) -> np.ndarray:
    phase = 2 * np.pi * hz * np.arange(samples) / 8000
    return np.rint(3000 * sum(np.sin(k * phase) / k for k in range(1, 15))).astype(np.int16)


@pytest.mark.parametrize("period", [45, 58, 64, 80, 100, 119])
def test_pitch_is_found(period):
    assert pitch_period(voice(390, 8000 / period).astype(np.float32)) % period == 0


def test_silence_has_the_shortest_period_and_no_division_by_zero():
    assert pitch_period(np.zeros(390, np.float32)) == 40


def test_fades_after_10_ms_and_is_silent_from_60_ms_on():
    sound = Concealment(voice(390, 100)).conceal(960).astype(float)
    power = (sound.reshape(-1, 80) ** 2).mean(axis=1)
    whole = (voice(800, 100).astype(float) ** 2).mean()
    assert power[0] == pytest.approx(whole, rel=0.05)
    assert all(later < earlier for earlier, later in pairwise(power[1:6]))
    # 20 % less for each 10 ms: in the middle of the fourth 10 ms half is left, a quarter of the power.
    assert power[3] == pytest.approx(whole / 4, rel=0.2)
    assert not sound[480:].any()


def test_no_step_at_the_beginning():
    history = voice(390, 103)
    # The last sample is off the wave that came before it.
    history[-1] += 2000
    sound = Concealment(history).conceal(160)
    steps = np.abs(np.diff(voice(800, 103).astype(int)))
    assert abs(int(sound[0]) - int(history[-1])) <= steps.max() * 1.2


def test_no_step_where_the_number_of_periods_changes():
    history = voice(390, 91)
    sound = np.concatenate((history, Concealment(history).conceal(480))).astype(int)
    assert np.abs(np.diff(sound)).max() <= np.abs(np.diff(history.astype(int))).max() * 1.2


def test_first_good_samples_are_blended_from_the_concealment_to_themselves():
    history = voice(390, 100)
    concealment = Concealment(history)
    expected = Concealment(history).conceal(240)[160:]
    concealment.conceal(160)
    assert concealment.overlap == 80
    good = np.full(concealment.overlap, 5000, np.int16)
    merged = concealment.merge(good)
    assert merged[0] == pytest.approx(expected[0], abs=100)
    assert merged[-1] == pytest.approx(5000, abs=100)


def test_overlap_grows_with_the_loss_up_to_10_ms():
    concealment = Concealment(voice(390, 200))
    lengths = []
    for _ in range(4):
        lengths.append(concealment.overlap)
        concealment.conceal(80)
    assert lengths == [10, 42, 74, 80]


def test_chunks_of_a_loss_are_one_loss():
    history = voice(390, 130)
    whole = Concealment(history).conceal(500)
    parts = Concealment(history)
    assert np.array_equal(np.concatenate([parts.conceal(n) for n in (1, 79, 160, 7, 253)]), whole)


@given(st.binary(max_size=900), st.integers(0, 700))
def test_any_history_and_length(octets, samples):
    history = np.frombuffer(octets[: len(octets) // 2 * 2], np.int16)
    concealment = Concealment(history)
    assert len(concealment.conceal(samples)) == samples
    overlap = concealment.overlap
    assert len(concealment.merge(np.full(overlap, 32767, np.int16))) == overlap
