"""What explains one bad slice: thresholds, and who is blamed for what.

| cause | a slice is its when |
| --- | --- |
| host | the media clock or the event loop was late in it, and packets came too late, the far end complained, or the |
| | agent's speech broke; after a stall of a second also when packets were lost |
| carrier | packets were lost, late or jittery before us, or none came, and this host does not explain it |
| way_out | the far end reports that our stream is bad, while what we receive is fine and this host was in time |
| provider | the agent's speech broke, and this host was in time |
| echo | what came in resembles what we had said |

A slice may have several causes. A little lateness (below 250 ms) is not blamed when slices in which this host was in
time are as bad: then it was there, but is not why.
"""

from ..media.echo import ECHO_FROM
from ..record import Slice
from .alert import CauseName

LOST_FROM = 0.01
"""Share of packets that never came, from which on loss is a reason for a bad slice."""
LATE_FROM = 0.01
"""The same of packets that came too late to be heard."""
JITTER_FROM_MS = 30.0
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
    return part.clock_late_ms >= HOST_CLOCK_FROM_MS or part.loop_lag_ms >= HOST_LOOP_FROM_MS


def causes_of(part: Slice, bad_underruns: int, *, blame_little: bool = True) -> set[CauseName]:
    """What explains one bad slice; empty when nothing does. `blame_little`: lateness below GROSS_FROM_MS counts."""
    late = host_late(part) and (blame_little or max(part.clock_late_ms, part.loop_lag_ms) >= GROSS_FROM_MS)
    causes: set[CauseName] = set()
    if part.received.bad or part.received.dead:
        causes |= _inbound(part, late)
    if part.sent.bad or part.sent.dead:
        causes.add("host" if late else "carrier" if "carrier" in causes else "way_out")
    if part.underruns >= bad_underruns:
        causes.add("host" if late else "provider")
    if part.echo is not None and part.echo >= ECHO_FROM:
        causes.add("echo")
    return causes


def _inbound(part: Slice, late: bool) -> set[CauseName]:
    stream = part.received
    stalled = part.loop_lag_ms >= STALL_FROM_MS
    causes: set[CauseName] = set()
    if silent(part) or at_least(stream.lost, LOST_FROM):
        causes.add("host" if stalled else "carrier")
    if at_least(stream.discarded, LATE_FROM) or at_least(stream.jitter_ms, JITTER_FROM_MS):
        causes.add("host" if late else "carrier")
    return causes


def silent(part: Slice) -> bool:
    """No media, for a while or all the time: a slice in which nothing came has no MOS."""
    return part.received.dead or (part.received.bad and part.received.mos is None)


def at_least(value: float | None, limit: float) -> bool:
    """False for what was not measured."""
    return value is not None and value >= limit
