"""Tones that the gateway itself plays when no agent can speak."""

import numpy as np

from ...codecs.base import Pcm

SAMPLE_RATE = 8000
"""Hz of the tones here."""
_AMPLITUDE = 0.126 * 32767
"""-18 dBov for a sine after its -3 dB: as loud as speech."""
_SIT_HZ = (950, 1400, 1800)
_SIT_TONE_S = 0.330


def special_information_tone() -> Pcm:
    """The three rising tones of ITU-T E.180 §6: the call cannot go on. About one second."""
    time = np.arange(int(_SIT_TONE_S * SAMPLE_RATE)) / SAMPLE_RATE
    tones = [np.sin(2 * np.pi * frequency * time) for frequency in _SIT_HZ]
    return (np.concatenate(tones) * _AMPLITUDE).astype(np.int16)
