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


class Run:
    """Length of the current run of consecutive sequence numbers: how a source earns trust (RFC 3550 A.1)."""

    __slots__ = ("_expected", "length")

    def __init__(self) -> None:
        self.length = 0
        self._expected = -1

    def add(self, sequence: int) -> int:
        """The length of the run with this packet."""
        self.length = self.length + 1 if sequence == self._expected else 1
        self._expected = (sequence + 1) & 0xFFFF
        return self.length
