"""Sequence numbers and timestamps, unwrapped at the door to plain integers that never wrap (RFC 3550 A.1)."""

from typing import Final

MAX_DROPOUT: Final = 3000
"""Packets that a stream may jump forward and still be the same stream."""
MAX_MISORDER: Final = 100
"""Packets that a late one may be behind."""


class SequenceTracker:
    """Extends 16-bit sequence numbers and judges what does not fit (RFC 3550 A.1).

    `highest` is the extended highest sequence number received: `cycles << 16 | sequence`. Numbers before the first
    packet of a stream are negative.
    """

    __slots__ = ("_bad_sequence", "first", "highest", "restarts")

    def __init__(self, sequence: int) -> None:
        self.first = sequence
        self.highest = sequence
        self.restarts = 0
        """How often two consecutive packets from elsewhere in the number space started the stream anew."""
        self._bad_sequence = -1

    def update(self, sequence: int) -> int | None:
        """The extended number of one received packet; None for one that lies too far off to believe.

        The second of two consecutive packets from far off restarts the numbering: `restarts` is one higher then, and
        the caller begins a new stream with this packet.
        """
        delta = (sequence - self.highest) & 0xFFFF
        if delta < MAX_DROPOUT:
            self.highest = extended = self.highest + delta
            return extended
        if delta >= 0x10000 - MAX_MISORDER:
            return self.highest + delta - 0x10000
        if sequence == self._bad_sequence:
            self.restarts += 1
            self._bad_sequence = -1
            self.first = self.highest = sequence
            return sequence
        self._bad_sequence = (sequence + 1) & 0xFFFF
        return None


class Probation:
    """Counts consecutive packets of a source that is not trusted yet (MIN_SEQUENTIAL of RFC 3550 A.1)."""

    __slots__ = ("_expected", "_remaining", "_required")

    def __init__(self, required: int) -> None:
        self._required = required
        self._remaining = required
        self._expected = -1

    def passed(self, sequence: int) -> bool:
        """Whether this packet completes the run of `required` consecutive sequence numbers."""
        if sequence != self._expected:
            self._remaining = self._required
        self._remaining -= 1
        self._expected = (sequence + 1) & 0xFFFF
        return self._remaining <= 0


def extend_timestamp(timestamp: int, near: int) -> int:
    """The plain integer closest to `near` whose low 32 bits are `timestamp`."""
    return near + (((timestamp - near) + 0x80000000) & 0xFFFFFFFF) - 0x80000000
