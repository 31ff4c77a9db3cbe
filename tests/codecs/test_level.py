"""Levels in dBov."""

import numpy as np
import pytest

from trunkline.codecs.g711 import ALAW, ULAW
from trunkline.codecs.level import level


def sine(amplitude: float, hz: float = 1000, rate: int = 8000, samples: int = 8000) -> np.ndarray:
    return np.rint(amplitude * np.sin(2 * np.pi * hz * np.arange(samples) / rate)).astype(np.int16)


def test_full_scale_square_wave_is_0_dbov_and_sine_3_less():
    assert level(np.full(160, -32768, np.int16)) == 0
    assert level(sine(32767)) == pytest.approx(-3.01, abs=0.01)


def test_digital_silence_and_nothing_are_the_floor():
    assert level(np.zeros(160, np.int16)) == -127
    assert level(np.zeros(0, np.int16)) == -127


def test_ten_db_are_ten_db():
    assert level(sine(30000)) - level(sine(3000)) == pytest.approx(20, abs=0.01)


@pytest.mark.parametrize("law", [ULAW, ALAW])
def test_level_of_octets_is_that_of_their_samples(law):
    octets = law.encode(sine(9000, hz=440))
    assert law.level(octets) == pytest.approx(level(law.decode(octets)), abs=0.001)


def test_g711_silence_is_silent():
    assert ULAW.level(ULAW.silent(160)) == -127
    assert ALAW.level(ALAW.silent(160)) < -70
    assert ULAW.level(b"") == -127
