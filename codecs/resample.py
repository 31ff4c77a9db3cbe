"""Streaming conversion between sample rates.

swresample (through PyAV) counts right too, but its default filter lets 4.2 kHz through to 8 kHz at only -22 dB, the
first chunk comes out short, and a 20 ms frame costs twice as much. This one is a linear-phase FIR in polyphase form:
nothing above the lower rate's Nyquist frequency passes with more than -75 dB, and every chunk gives its exact share.

The coefficients are integers held in float64: all sums stay below 2**53 and so are exact, which is why neither the
cut between chunks nor the order in which BLAS adds can change a single output sample.
"""

from functools import cache
from math import gcd

import numpy as np
import numpy.typing as npt

from .base import Pcm
from .errors import CodecError

RATES = (8000, 16000, 24000, 48000)
"""Hz."""
SYNTHESIS_RATE = 22050
"""Hz; what speech synthesis gives. Converted from only: its matrix is large, and no call needs it."""
_ATTENUATION_DB = 78.0
_PASSBAND = 0.85
"""Flat up to this part of the lower Nyquist frequency: 3.4 kHz for telephony."""
_SCALE = float(1 << 24)
_BLOCK = 16
"""Output samples that one row of the matrix product yields, at least."""
_ROWS_AT_ONCE = 64

_Floats = npt.NDArray[np.float64]


def _prototype(up: int, down: int, in_rate: int, out_rate: int) -> _Floats:
    """The low-pass at `up` · `in_rate` Hz (Kaiser window), odd length, gain `up`, in integers of 1/2**24.

    Each of the `up` polyphase branches is scaled to the same gain at 0 Hz, so that a constant stays a constant.
    """
    nyquist = min(in_rate, out_rate) / 2 / (up * in_rate)
    width = nyquist * (1 - _PASSBAND)
    half = int(np.ceil((_ATTENUATION_DB - 7.95) / (2.285 * 2 * np.pi * width) / 2))
    # A whole number of output samples of delay.
    half += -half % down
    beta = 0.1102 * (_ATTENUATION_DB - 8.7)
    cutoff = 2 * (nyquist - width / 2)
    n = np.arange(-half, half + 1)
    taps = np.sinc(cutoff * n) * np.kaiser(2 * half + 1, beta)
    for branch in range(up):
        taps[branch::up] /= taps[branch::up].sum()
    return np.rint(taps * _SCALE)


class _Design:
    """The matrix of one pair of rates. A block turns `rows` input samples into `outputs` output samples, and moves on
    by `inputs` input samples."""

    __slots__ = ("down", "inputs", "latency", "matrix", "outputs", "past", "rows", "up")

    def __init__(self, in_rate: int, out_rate: int) -> None:
        common = gcd(in_rate, out_rate)
        self.up = up = out_rate // common
        self.down = down = in_rate // common
        taps = _prototype(up, down, in_rate, out_rate)
        cycles = -(-_BLOCK // up)
        self.outputs = cycles * up
        self.inputs = cycles * down
        self.past = (len(taps) - 1) // up
        self.rows = self.past + self.inputs
        # Half the filter, in output samples: ticks of the common rate divided by `down`.
        self.latency = (len(taps) - 1) // 2 // down
        self.matrix = np.zeros((self.rows, self.outputs))
        for k in range(self.outputs):
            newest, phase = divmod(k * down, up)
            branch = taps[phase::up]
            for age, tap in enumerate(branch):
                self.matrix[self.past + newest - age, k] = tap


@cache
def _design(in_rate: int, out_rate: int) -> _Design:
    return _Design(in_rate, out_rate)


class Resampler:
    """8, 16, 24 or 48 kHz (or 22.05 kHz) to one of the first four. Chunks of any size; the cut between chunks never
    shows in the output.

    After n input samples exactly ceil(n · out_rate / in_rate) samples have come out; the sound in them is `latency`
    output samples late. `flush` gives the `latency` samples that are still inside, and starts afresh.
    """

    __slots__ = ("_buffer", "_design", "_given", "in_rate", "latency", "out_rate")

    def __init__(self, in_rate: int, out_rate: int) -> None:
        """Rates in Hz. Raises CodecError for any other rate."""
        for rate, known in ((in_rate, (*RATES, SYNTHESIS_RATE)), (out_rate, RATES)):
            if rate not in known:
                raise CodecError(f"cannot resample {rate} Hz: the rates are 8000, 16000, 24000 and 48000 Hz")
        self.in_rate = in_rate
        self.out_rate = out_rate
        self._design = _design(in_rate, out_rate) if in_rate != out_rate else None
        self.latency = self._design.latency if self._design else 0
        """Output samples by which the sound is delayed."""
        self._start()

    def _start(self) -> None:
        past = self._design.past if self._design else 0
        # What the next block still needs: `past` older samples, then those since the block began.
        self._buffer: _Floats = np.zeros(past)
        self._given = 0

    def process(self, pcm: Pcm) -> Pcm:
        """The output that these samples complete."""
        design = self._design
        if design is None:
            return pcm
        buffer: _Floats = np.concatenate((self._buffer, pcm), dtype=np.float64)
        fresh = len(buffer) - design.past
        whole = fresh // design.inputs
        due = -(-fresh * design.up // design.down)
        blocks = -(-due // design.outputs)
        consumed = whole * design.inputs
        self._buffer = buffer[consumed:]
        missing = design.past + blocks * design.inputs - len(buffer)
        if missing > 0:
            buffer = np.concatenate((buffer, np.zeros(missing)))
        given, self._given = self._given, due - whole * design.outputs
        return self._convolve(design, buffer, blocks)[given:due]

    @staticmethod
    def _convolve(design: _Design, buffer: _Floats, blocks: int) -> Pcm:
        windows = np.lib.stride_tricks.as_strided(
            buffer, (blocks, design.rows), (design.inputs * 8, 8), writeable=False
        )
        # Blocks overlap in memory, which BLAS does not take: a copy instead of numpy's slow loop. Few rows at a time,
        # so that BLAS stays on this thread.
        if blocks <= _ROWS_AT_ONCE:
            sums = windows.copy() @ design.matrix
        else:
            sums = np.empty((blocks, design.outputs))
            for row in range(0, blocks, _ROWS_AT_ONCE):
                part = slice(row, row + _ROWS_AT_ONCE)
                np.matmul(windows[part].copy(), design.matrix, sums[part])
        sums *= 1 / _SCALE
        np.rint(sums, sums)
        np.clip(sums, -32768, 32767, sums)
        return sums.astype(np.int16).reshape(-1)

    def flush(self) -> Pcm:
        """The tail, `latency` samples; the next `process` begins a new stream."""
        design = self._design
        if design is None:
            return np.zeros(0, np.int16)
        silence = -(-self.latency * design.down // design.up) + 1
        tail = self.process(np.zeros(silence, np.int16))[: self.latency]
        self._start()
        return tail
