"""What explains one bad slice: thresholds, and who is blamed for what.

| cause | a slice is its when |
| --- | --- |
| host | the media clock skipped so much that a listener hears it; or it was late, and packets came too late at either |
| | end or the agent's speech broke; or a stall of a second and more overran the socket buffers |
| carrier | packets were lost, late or jittery before us, or none came, and this host does not explain it |
| way_out | the far end reports that our stream is bad, while what we receive is fine, and this host does not explain |
| | it |
| provider | the agent's speech broke more often than this host was late |
| echo | what came in resembles what we had said |

A slice may have several causes. What a late host can do has bounds. It numbers what it sends one by one, however late:
packets that are missing in the numbering were lost outside. A break needs a period in which the clock was late. And R
is made of loss and of what comes too late: jitter explains a slice only when neither does.

A little lateness (below 250 ms) is not blamed when slices in which this host was in time are as bad: then it was there,
but is not why.
"""

from ..media.clock import PERIOD
from ..media.echo import ECHO_FROM
from ..record import Slice
from .alert import CauseName

LOST_FROM = 0.01
"""Share of packets that never came, from which on loss is a reason for a bad slice."""
LATE_FROM = 0.01
"""The same of packets that came too late to be heard."""
JITTER_FROM_MS = 30.0
SKIPPED_FROM = 0.08
"""Share of periods in which this host sent nothing that by itself makes a slice bad: random loss of as much brings
G.711 below R 70 (G.107 with the figures of G.113)."""
HOST_CLOCK_FROM_MS = 40.0
"""Lateness of the media clock that a listener hears: two packets' time."""
HOST_LOOP_FROM_MS = 60.0
"""Delay of the event loop that makes packets late for the ring buffer, which waits as long for a gap."""
GROSS_FROM_MS = 250.0
"""Lateness that is blamed in any case."""
STALL_FROM_MS = 1000.0
"""A loop that stood still for so long may have lost packets in full socket buffers."""


def host_late(part: Slice) -> bool:
    """True when this host was so late in the slice that somebody could hear it."""
    clock, loop = lateness(part)
    return clock >= HOST_CLOCK_FROM_MS or loop >= HOST_LOOP_FROM_MS


def lateness(part: Slice) -> tuple[float, float]:
    """Worst lateness of clock and loop that the call itself met, ms. A slice has that of whole seconds of the worker,
    and the first one may have begun before the call; but whoever is late by so many whole periods skips as many."""
    most = 1000 * PERIOD * (part.skipped + 1) - 1 if part.skipped else 0.0
    return min(part.clock_late_ms, most), min(part.loop_lag_ms, most)


def skipped_share(part: Slice) -> float:
    """Of the slice's periods, those that this host sent nothing in."""
    return min(1.0, part.skipped * PERIOD / part.length_s) if part.length_s > 0 else 0.0


def unsent(part: Slice) -> bool:
    """True when this host skipped so much that the far end heard a bad slice, whatever it reports: it cannot miss what
    has no number."""
    return skipped_share(part) >= SKIPPED_FROM


def causes_of(part: Slice, bad_underruns: int, *, blame_little: bool = True) -> set[CauseName]:
    """What explains one bad slice; empty when nothing does. `blame_little`: lateness below GROSS_FROM_MS counts."""
    late = host_late(part) and (blame_little or max(lateness(part)) >= GROSS_FROM_MS)
    causes: set[CauseName] = set()
    if part.received.bad or part.received.dead:
        causes |= _inbound(part, late)
    if part.sent.bad or part.sent.dead:
        causes.add(_outbound(part, late, "carrier" if "carrier" in causes else "way_out"))
    if part.underruns >= bad_underruns:
        causes.add("host" if late and part.skipped >= part.underruns else "provider")
    if unsent(part):
        causes.add("host")
    if part.echo is not None and part.echo >= ECHO_FROM:
        causes.add("echo")
    return causes


def _inbound(part: Slice, late: bool) -> set[CauseName]:
    stream = part.received
    causes: set[CauseName] = set()
    if silent(part) or at_least(stream.lost, LOST_FROM):
        causes.add("host" if _overran(part) else "carrier")
    if at_least(stream.discarded, LATE_FROM) or (not causes and at_least(stream.jitter_ms, JITTER_FROM_MS)):
        causes.add("host" if late else "carrier")
    return causes


def _overran(part: Slice) -> bool:
    """Whether stalls can have cost what did not come: together they lasted as long as that."""
    missing = part.received.lost if part.received.lost is not None else 1.0
    return lateness(part)[1] >= STALL_FROM_MS and skipped_share(part) >= missing


def _outbound(part: Slice, late: bool, network: CauseName) -> CauseName:
    return "host" if late and not at_least(part.sent.lost, LOST_FROM) else network


def silent(part: Slice) -> bool:
    """No media, for a while or all the time: a slice in which nothing came has no MOS."""
    return part.received.dead or (part.received.bad and part.received.mos is None)


def at_least(value: float | None, limit: float) -> bool:
    """False for what was not measured."""
    return value is not None and value >= limit
