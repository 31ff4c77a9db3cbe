"""Level of samples in dBov."""

from math import log10

import numpy as np

from .base import Pcm

SILENT_DBOV = -127.0
"""The level of digital silence, the floor of RFC 6464."""
_SILENT_POWER = 10 ** (SILENT_DBOV / 10)


def level(pcm: Pcm) -> float:
    """Mean power in dBov (RFC 6464: 0 is a full-scale square wave, a full-scale sine is -3), at least -127."""
    if not len(pcm):
        return SILENT_DBOV
    amplitudes = pcm.astype(np.float32)
    return dbov(float(amplitudes.dot(amplitudes)) / len(pcm) / 32768**2)


def dbov(power: float) -> float:
    """Of a mean power where 1 is that of a full-scale square wave."""
    return 10 * log10(power) if power > _SILENT_POWER else SILENT_DBOV
