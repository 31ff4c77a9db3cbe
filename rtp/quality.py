"""The quality of one direction of a call: 10 s slices and the whole, on the scale of its codec.

Fed from cumulative counters about once a second, never per packet; the same for what we received and for what the far
end's RTCP reports of what we sent. All counts are of packets that were expected to be heard.

The call's score is not that of its mean loss: a listener notices a turn to the worse with a time constant of 5 s and
forgives it with one of 15 s (Clark's model, ETSI TS 101 329-5 Annex E). The Ie,eff so perceived is averaged over the
call's duration. That Annex' last step, a penalty for bursts shortly before the end of the call, is left out: it
models the opinion of somebody who is asked after hanging up.
"""

from dataclasses import dataclass
from math import exp

from .emodel import Impairment, Score, idd, impaired, rate
from .loss_runs import burst_ratio

SLICE = 10.0
"""Seconds."""
ENOUGH = 50
"""Expected packets below which nothing is rated."""
_WORSENING = 5.0
_RECOVERING = 15.0


@dataclass(frozen=True, slots=True)
class Counters:
    """Cumulative counts since the stream began."""

    expected: int
    """Packets that should have come."""
    lost: int
    """Never came."""
    discarded: int = 0
    """Came too late to be heard."""
    runs: int = 0
    """Runs of consecutive lost or discarded packets (LossRuns.runs); 0 where unknown: loss is taken as random."""


@dataclass(frozen=True, slots=True)
class SliceScore:
    """One slice that was long enough to be rated."""

    started: float
    ended: float
    ppl: float
    """Percent lost or discarded."""
    burst_r: float
    listening: Score
    """Without delay (MOS-LQ)."""
    conversational: Score | None
    """With delay (MOS-CQ); None while no round trip has been measured."""


_NOTHING = Counters(0, 0)


def _missed(begin: Counters, end: Counters) -> tuple[float, float]:
    """Percent lost or discarded of what was expected between the two, and BurstR."""
    expected = end.expected - begin.expected
    # A late packet may first have been counted as lost: the difference can be negative.
    missing = end.lost + end.discarded - begin.lost - begin.discarded
    missing = min(max(0, missing), expected)
    return 100 * missing / expected, burst_ratio(expected, missing, max(0, end.runs - begin.runs))


def score_between(impairment: Impairment | None, begin: Counters, end: Counters) -> Score | None:
    """Listening quality from one count to a later one; None below 50 expected packets and without figures for the
    codec."""
    if impairment is None or end.expected - begin.expected < ENOUGH:
        return None
    return rate(impairment, impaired(impairment, *_missed(begin, end)))


class PerceivedImpairment:
    """Ie,eff as a listener feels it, and its mean over time."""

    __slots__ = ("_area", "_duration", "now")

    def __init__(self) -> None:
        self._area = 0.0
        self._duration = 0.0
        self.now: float | None = None
        """As it is felt at present; None before the first `hold`."""

    def hold(self, ie: float, duration: float) -> None:
        """The stream had this Ie,eff for so many seconds."""
        felt = ie if self.now is None else self.now
        constant = _WORSENING if ie > felt else _RECOVERING
        left = exp(-duration / constant)
        self._area += ie * duration + (felt - ie) * constant * (1 - left)
        self._duration += duration
        self.now = ie + (felt - ie) * left

    @property
    def mean(self) -> float | None:
        """Over all that was held; None before there was anything."""
        return self._area / self._duration if self._duration > 0 else None


class CallQuality:
    """Takes cumulative counters about once a second (or as the far end's reports come in); gives slices and the call's
    score.

    A slice of fewer than 50 expected packets is not rated by itself: it goes on until it has them. Time in which no
    packet was expected (hold, silence suppression) counts for nothing. Without figures for the codec nothing is rated.
    """

    def __init__(self, impairment: Impairment | None, now: float) -> None:
        self._impairment = impairment
        self._forget()
        self._begin_slice(_NOTHING, now)

    def __repr__(self) -> str:
        return f"<CallQuality listening={self.listening} minimum={self.minimum}>"

    def _forget(self) -> None:
        self._expected = 0
        self._perceived = PerceivedImpairment()
        self._idd_area = 0.0
        self._idd_duration = 0.0
        self._minimum: Score | None = None

    def _begin_slice(self, counters: Counters, now: float) -> None:
        self._begin = counters
        self._started = now
        self._latest_expected = counters.expected
        self._latest = now
        self._idle = 0.0
        self._delays = 0
        self._delay_sum = 0.0

    def update(self, counters: Counters, delay_ms: float | None, now: float) -> SliceScore | None:
        """The counters as of `now`; returns the slice that this completes, if any.

        `delay_ms` is one way, mouth to ear, from a measured round trip; None when there is none. Counters that fall
        back belong to a new stream: what the old one had left over is forgotten.
        """
        if counters.expected < self._latest_expected:
            self._begin_slice(_NOTHING, self._latest)
        if counters.expected == self._latest_expected:
            self._idle += now - self._latest
        self._latest_expected = counters.expected
        self._latest = now
        if delay_ms is not None:
            self._delays += 1
            self._delay_sum += delay_ms
        if self._active(now) < SLICE or counters.expected - self._begin.expected < ENOUGH:
            return None
        return self._close_slice(counters, now)

    def _active(self, now: float) -> float:
        return now - self._started - self._idle

    def close(self, counters: Counters, delay_ms: float | None, now: float) -> SliceScore | None:
        """The last counters. What is left over becomes part of the call's score, and is a slice if it is enough."""
        finished = self.update(counters, delay_ms, now)
        if finished is None and self._active(now) > 0 and counters.expected > self._begin.expected:
            finished = self._close_slice(counters, now)
        return finished

    def change(self, impairment: Impairment | None, counters: Counters, delay_ms: float | None, now: float) -> None:
        """The call goes on with another codec. On another scale the score starts afresh: scales are never mixed."""
        self.close(counters, delay_ms, now)
        before, self._impairment = self._impairment, impairment
        if before is None or impairment is None or before.scale is not impairment.scale:
            self._forget()
        self._begin_slice(counters, now)

    def _close_slice(self, counters: Counters, now: float) -> SliceScore | None:
        begin, started, active = self._begin, self._started, self._active(now)
        delay_ms = self._delay_sum / self._delays if self._delays else None
        self._begin_slice(counters, now)
        impairment = self._impairment
        if impairment is None:
            return None
        expected = counters.expected - begin.expected
        ppl, burst_r = _missed(begin, counters)
        ie = impaired(impairment, ppl, burst_r)
        self._expected += expected
        self._perceived.hold(ie, active)
        conversational = None
        if delay_ms is not None:
            cost = idd(delay_ms, impairment.scale)
            self._idd_area += cost * active
            self._idd_duration += active
            conversational = rate(impairment, ie, cost)
        if expected < ENOUGH:
            return None
        listening = rate(impairment, ie)
        if self._minimum is None or listening.r_factor < self._minimum.r_factor:
            self._minimum = listening
        return SliceScore(started, now, ppl, burst_r, listening, conversational)

    @property
    def listening(self) -> Score | None:
        """The call so far without its delay (MOS-LQ); None until there are 50 expected packets."""
        mean = self._perceived.mean
        if self._impairment is None or mean is None or self._expected < ENOUGH:
            return None
        return rate(self._impairment, mean)

    @property
    def conversational(self) -> Score | None:
        """The call so far with the mean of its delay's Idd (MOS-CQ); None as long as no round trip was measured."""
        listening = self.listening
        mean = self._perceived.mean
        if self._impairment is None or listening is None or mean is None or not self._idd_duration:
            return None
        return rate(self._impairment, mean, self._idd_area / self._idd_duration)

    @property
    def minimum(self) -> Score | None:
        """The worst slice, listening."""
        return self._minimum
