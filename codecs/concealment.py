"""Waveform concealment of lost speech at 8 kHz, in the spirit of ITU-T G.711 Appendix I.

The last pitch periods before the loss are repeated: one period for the first 10 ms, two up to 20 ms, then three, so
that a long loss does not buzz. From 10 ms on it fades, to silence at 60 ms, and the first good frame is blended in.
Appendix I holds back 3.75 ms of every good frame to smooth the start; here nothing good is ever delayed: a step
between the last good sample and the first repeated one is faded out over a quarter period instead.
"""

import numpy as np
import numpy.typing as npt

from .base import Pcm

HISTORY = 390
"""Samples of the past that are used: three of the longest periods and a quarter."""
PITCH_MIN = 40
"""Shortest period, samples: 200 Hz."""
PITCH_MAX = 120
"""Longest period, samples: 66 Hz."""
_CORRELATED = 160
_STEP = 80
_END = 480
_OVERLAP_MAX = 80
_OVERLAP_PER_STEP = 32

_Wave = npt.NDArray[np.float32]


def _gains() -> _Wave:
    """1 for 10 ms, then straight down to 0 at 60 ms."""
    gains = np.ones(_END, np.float32)
    gains[_STEP:] = np.linspace(1, 0, _END - _STEP, endpoint=False, dtype=np.float32)
    return gains


_GAINS = _gains()


def pitch_period(history: npt.NDArray[np.floating]) -> int:
    """The lag, 40 to 120 samples, at which the last 20 ms are most like what went before (normalised correlation)."""
    tail = history[-(_CORRELATED + PITCH_MAX) :]
    last = tail[PITCH_MAX:]
    windows = np.lib.stride_tricks.sliding_window_view(tail, _CORRELATED)[: PITCH_MAX - PITCH_MIN + 1]
    sums = np.concatenate(([0.0], np.cumsum(tail * tail, dtype=np.float64)))
    energies = (sums[_CORRELATED:] - sums[:-_CORRELATED])[: PITCH_MAX - PITCH_MIN + 1]
    # The floor keeps near-silent windows from winning by division.
    likeness = (windows @ last) / np.sqrt(np.maximum(energies, _CORRELATED))
    # Ties go to the shortest period: windows run from the longest lag to the shortest.
    return PITCH_MIN + int(np.argmax(likeness[::-1]))


def _fade(length: int) -> _Wave:
    """Weights that rise from just above 0 to just below 1."""
    return np.arange(1, length + 1, dtype=np.float32) / np.float32(length + 1)


def _repeated(history: _Wave, periods: int, period: int, start: int, stop: int) -> _Wave:
    """Samples start…stop of the endless repetition of the last `periods` periods, its seam overlapped."""
    length = periods * period
    quarter = period // 4
    cycle = history[-length:].copy()
    rise = _fade(quarter)
    cycle[-quarter:] += (history[-length - quarter : -length] - cycle[-quarter:]) * rise
    first = start % period
    return cycle[np.arange(first, first + stop - start) % length]


class Concealment:
    """One loss: made when it begins from the samples heard last, dropped after `merge`."""

    __slots__ = ("_position", "_quarter", "_wave")

    def __init__(self, history: Pcm) -> None:
        """`history` ends with the last sample heard; the last 390 of it count, missing ones are taken as silence."""
        past = np.zeros(HISTORY, np.float32)
        known = history[-HISTORY:]
        past[HISTORY - len(known) :] = known
        period = pitch_period(past)
        self._quarter = period // 4
        self._position = 0
        self._wave = self._synthesise(past, period)

    def _synthesise(self, past: _Wave, period: int) -> _Wave:
        quarter = self._quarter
        wave = _repeated(past, 3, period, 0, _END)
        rise = _fade(quarter)
        for periods, stop in ((2, 2 * _STEP), (1, _STEP)):
            part = _repeated(past, periods, period, 0, stop + quarter)
            part[stop:] += (wave[stop : stop + quarter] - part[stop:]) * rise
            wave[: stop + quarter] = part
        step = past[-1] - past[-period - 1]
        wave[:quarter] += step * rise[::-1]
        wave *= _GAINS
        return wave

    @property
    def overlap(self) -> int:
        """How many samples of the first good frame `merge` wants: a quarter period, and 4 ms more for each 10 ms lost,
        10 ms at most."""
        return min(_OVERLAP_MAX, self._quarter + _OVERLAP_PER_STEP * (self._position // _STEP))

    def _next(self, samples: int) -> _Wave:
        wave = self._wave[self._position : self._position + samples]
        self._position += samples
        if len(wave) < samples:
            wave = np.concatenate((wave, np.zeros(samples - len(wave), np.float32)))
        return wave

    def conceal(self, samples: int) -> Pcm:
        """The next `samples` samples of the concealment."""
        return np.clip(np.rint(self._next(samples)), -32768, 32767).astype(np.int16)

    def merge(self, good: Pcm) -> Pcm:
        """The first samples after the loss, blended with the end of the concealment over the whole of `good`."""
        wave = self._next(len(good))
        blended = wave + (good - wave) * _fade(len(good))
        return np.clip(np.rint(blended), -32768, 32767).astype(np.int16)
