"""What a receiver counts: loss (RFC 3550 A.3), interarrival jitter (A.8), and the tail of the delay that A.8 cannot
show.

Everything is in units of the RTP clock until it is read. `now` is the monotonic clock, so a step of the wall clock is
not jitter.
"""

from typing import Final

from .sequence import SequenceTracker

_WINDOW_PACKETS: Final = 256
"""Delay variation is taken above the minimum of this many packets (5 s), so that clock skew does not count as delay."""
_BINS: Final = 1000
"""One bin per ms; the last also takes what is above."""
_DISCONTINUITY_S: Final = 3.0
"""More than this between two packets is no delay: a clock was set."""
_PAUSE_S: Final = 0.2
"""At the start of a talk spurt, more than this is the sender's clock having stood still in silence."""


class DelayVariation:
    """Jitter and delay variation of one call's received media."""

    __slots__ = (
        "_arrival",
        "_bins",
        "_clock_rate",
        "_counted",
        "_measured",
        "_skip_above",
        "_timestamp",
        "_transit",
        "_window",
        "jitter",
        "jitter_max",
    )

    def __init__(self, clock_rate: int) -> None:
        self._clock_rate = clock_rate
        self.jitter = 0.0
        """RFC 3550 A.8, clock units."""
        self.jitter_max = 0.0
        self._bins = [0] * _BINS
        self._counted = 0
        self._window: list[float] = []
        self._measured = False
        self._transit = 0.0
        self._timestamp = -1
        self._arrival = 0.0
        self._skip_above = _PAUSE_S * clock_rate

    def update(self, timestamp: int, marker: bool, now: float) -> None:
        """One media packet in order of arrival. A packet with the timestamp of the one before says nothing (A.8)."""
        step = timestamp - self._timestamp
        if not step:
            return
        if self._timestamp < 0:
            self._timestamp = timestamp
            self._arrival = now
            self._window.append(self._transit)
            return
        if step > 0x7FFFFFFF:
            step -= 0x100000000
        elif step < -0x7FFFFFFF:
            step += 0x100000000
        difference = (now - self._arrival) * self._clock_rate - step
        self._timestamp = timestamp
        self._arrival = now
        deviation = difference if difference >= 0 else -difference
        if deviation > self._skip_above and (marker or deviation > _DISCONTINUITY_S * self._clock_rate):
            return
        self._measured = True
        self._transit = transit = self._transit + difference
        self.jitter = jitter = self.jitter + (deviation - self.jitter) / 16
        if jitter > self.jitter_max:
            self.jitter_max = jitter
        window = self._window
        window.append(transit)
        if len(window) == _WINDOW_PACKETS:
            self.flush()

    def rebase(self) -> None:
        """A new stream: its clock has nothing to do with the one before."""
        self.flush()
        self._timestamp = -1
        self.jitter = 0.0

    def set_clock_rate(self, clock_rate: int) -> None:
        """Another codec: what was measured stays, in the new units."""
        self.rebase()
        self.jitter_max *= clock_rate / self._clock_rate
        self._clock_rate = clock_rate
        self._skip_above = _PAUSE_S * clock_rate

    @property
    def measured(self) -> bool:
        """Whether two packets could be compared yet."""
        return self._measured

    def percentile_ms(self, share: float) -> float | None:
        """Delay above the minimum that `share` (0..1) of the packets did not exceed, ms, upper edge of a 1 ms bin.

        Whole windows count, and the first one from its first packet on; `flush` counts the last one."""
        if not self._measured:
            return None
        bins, counted = self._bins, self._counted
        if not counted:
            bins = bins.copy()
            counted = self._count(bins)
        wanted = share * counted
        below = 0
        for milliseconds, count in enumerate(bins):
            below += count
            if below >= wanted:
                return float(milliseconds + 1)
        return float(_BINS)

    def flush(self) -> None:
        """Close the window: what comes later is measured against another minimum."""
        self._counted += self._count(self._bins)
        self._window.clear()

    def _count(self, bins: list[int]) -> int:
        """Add the window to `bins`; the number of its packets."""
        if not self._window:
            return 0
        base = min(self._window)
        per_ms = 1000 / self._clock_rate
        last = _BINS - 1
        for transit in self._window:
            milliseconds = int((transit - base) * per_ms)
            bins[milliseconds if milliseconds < last else last] += 1
        return len(self._window)


class ReceivedStream:
    """Counts of one received stream (one SSRC, one run of numbering) for receiver reports."""

    __slots__ = ("_expected_prior", "_received_prior", "received", "tracker")

    def __init__(self, sequence: int) -> None:
        self.tracker = SequenceTracker(sequence)
        self.received = 0
        """Packets, late ones and duplicates included, as RFC 3550 A.3 counts."""
        self._expected_prior = 0
        self._received_prior = 0

    @property
    def expected(self) -> int:
        return self.tracker.highest - self.tracker.first + 1

    @property
    def lost(self) -> int:
        """Cumulative packets lost; negative by duplicates; clamped to the 24 bits of the report (RFC 3550 A.3)."""
        return max(-0x800000, min(self.expected - self.received, 0x7FFFFF))

    def fraction_lost(self) -> int:
        """Since the last call, in 1/256 (RFC 3550 A.3). Once per report sent."""
        expected = self.expected - self._expected_prior
        lost = expected - (self.received - self._received_prior)
        self._expected_prior = self.expected
        self._received_prior = self.received
        return min(255, (lost << 8) // expected) if expected > 0 and lost > 0 else 0


def round_trip(arrival: int, last_sr: int, delay: int) -> float | None:
    """Seconds of round trip from the middle 32 bits of NTP time and a report's LSR and DLSR (RFC 3550 §6.4.1).

    None when the far end has not had a sender report of ours yet, or its figures make no sense.
    """
    if not last_sr:
        return None
    units = (arrival - last_sr - delay) & 0xFFFFFFFF
    return None if units >= 0x80000000 else units / 65536
