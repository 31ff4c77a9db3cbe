"""The quality of one direction of a call: 10 s slices and the whole, on the scale of its codec."""

from dataclasses import dataclass

from .emodel import Impairment, Score


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
    listening: Score
    """Without delay (MOS-LQ)."""
    conversational: Score | None
    """With delay (MOS-CQ); None while no round trip has been measured."""


class CallQuality:
    """Takes cumulative counters about once a second, gives slices and the call's score."""

    def __init__(self, impairment: Impairment | None, now: float) -> None:
        raise NotImplementedError

    def update(self, counters: Counters, delay_ms: float | None, now: float) -> SliceScore | None:
        """The counters as of `now`; returns the slice that this completes, if any.

        `delay_ms` is one way, mouth to ear, from a measured round trip; None when there is none.
        """
        raise NotImplementedError

    def close(self, counters: Counters, delay_ms: float | None, now: float) -> None:
        """The last counters: what is left over becomes part of the call's score."""

    listening: Score | None
    conversational: Score | None
    minimum: Score | None
    """The worst slice, listening."""
