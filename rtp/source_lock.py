"""Whose packets are the caller's: the source lock of symmetric RTP (RFC 4961), against strangers and for callers behind
NAT.

The negotiated address is believed at its first packet. Any other source must send a run of consecutive packets first,
which are kept and handed over when it passes, so that nothing is lost by the doubt. How long the run, and when a source
is considered at all:

    no source yet, negotiated address not reachable from here (private …)   2 packets
    no source yet, same host as negotiated, other port                      2 packets
    no source yet, another host                                             5 packets, 1 s after the negotiation
    locked, but the negotiated address speaks up after all                  2 packets
    locked, new SSRC from the same source, old one gone quiet               2 packets
    locked, same SSRC and numbering from elsewhere, silent for 0.3 s        2 packets
    locked, same host (or the negotiated one), silent for 1 s               5 packets
    locked, anything else                                                   never

A new negotiation that names another address opens the lock again; the old source stays good until the new one is heard.
"""

from dataclasses import dataclass, field
from ipaddress import ip_address
from math import inf
from typing import Final

from .events import Address
from .packet import Fields
from .sequence import MAX_DROPOUT, Run

_SHORT_RUN: Final = 2
_LONG_RUN: Final = 5
_MOVED_S: Final = 0.3
_PATIENCE_S: Final = 1.0
_CANDIDATES: Final = 8


@dataclass(slots=True)
class _Candidate:
    first_at: float
    run: Run = field(default_factory=Run)
    packets: list[tuple[Fields, float]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Position:
    """Where the locked stream stands."""

    ssrc: int
    sequence: int
    """Highest 16-bit sequence number."""
    heard_at: float
    """When its last packet came."""


class SourceLock:
    """Decides for packets that are not from the locked source and SSRC; never sees the others."""

    def __init__(self) -> None:
        self.negotiated: Address | None = None
        self.source: Address | None = None
        self.foreign: dict[Address, int] = {}
        """Packets from elsewhere since the last lock, by source; at most 8 sources."""
        self.negotiated_at = 0.0
        self.locked_at = 0.0
        self._open = True
        self._unreachable = False
        self._candidates: dict[tuple[Address, int], _Candidate] = {}

    def negotiate(self, address: Address | None, now: float) -> bool:
        """The far end's address by SDP; True if it is another one than before."""
        if address == self.negotiated:
            return False
        self.negotiated = address
        self.negotiated_at = now
        self._open = True
        self._unreachable = address is not None and not is_reachable(address[0])
        self._candidates.clear()
        self.foreign.clear()
        return True

    def admit(
        self, fields: Fields, source: Address, position: Position | None, now: float
    ) -> list[tuple[Fields, float]] | None:
        """The packets to take, oldest first, if this one completes what its source needs; else None."""
        _, sequence, _, ssrc, _ = fields
        if source == self.negotiated and (self._open or position is None or now - position.heard_at >= _MOVED_S):
            packets = self._lock(source, ssrc, now)
            return [*packets, (fields, now)]
        if source != self.source:
            self._count(source)
        candidate = self._candidate(source, ssrc, now)
        if candidate.run.add(sequence) == 1:
            candidate.packets.clear()
            candidate.first_at = now
        candidate.packets.append((fields, now))
        del candidate.packets[:-_LONG_RUN]
        needed = self._needed(source, ssrc, sequence, candidate, position, now)
        if needed is None or candidate.run.length < needed:
            return None
        return self._lock(source, ssrc, now)

    def certain(self, now: float) -> bool:
        """Whether the locked source is the negotiated one, or that one had its chance to speak up."""
        return self.source == self.negotiated or now - self.locked_at >= _PATIENCE_S

    def _lock(self, source: Address, ssrc: int, now: float) -> list[tuple[Fields, float]]:
        candidate = self._candidates.get((source, ssrc))
        self.source = source
        self.locked_at = now
        self._open = False
        self._candidates.clear()
        self.foreign.clear()
        return candidate.packets if candidate else []

    def _candidate(self, source: Address, ssrc: int, now: float) -> _Candidate:
        candidate = self._candidates.get((source, ssrc))
        if candidate is None:
            if len(self._candidates) >= _CANDIDATES:
                del self._candidates[next(iter(self._candidates))]
            candidate = self._candidates[source, ssrc] = _Candidate(now)
        return candidate

    def _count(self, source: Address) -> None:
        if source in self.foreign or len(self.foreign) < _CANDIDATES:
            self.foreign[source] = self.foreign.get(source, 0) + 1

    def _needed(
        self, source: Address, ssrc: int, sequence: int, candidate: _Candidate, position: Position | None, now: float
    ) -> int | None:
        """How many packets in a row make this source the caller; None: it cannot be, now."""
        if self.negotiated is None:
            return None
        silent = inf if position is None else now - position.heard_at
        if self.source is not None and position is not None:
            if source == self.negotiated and source != self.source:
                return _SHORT_RUN
            if source == self.source:
                return _SHORT_RUN if position.heard_at <= candidate.first_at else None
            distance = (sequence - position.sequence) & 0xFFFF
            if silent >= _MOVED_S and ssrc == position.ssrc and distance < MAX_DROPOUT:
                return _SHORT_RUN
        if self._open:
            if self._unreachable or source[0] == self.negotiated[0]:
                return _SHORT_RUN
            return _LONG_RUN if min(silent, now - self.negotiated_at) >= _PATIENCE_S else None
        known_host = source[0] == self.negotiated[0] or (self.source is not None and source[0] == self.source[0])
        return _LONG_RUN if known_host and silent >= _PATIENCE_S else None


def is_reachable(host: str) -> bool:
    """Whether packets could come from this address across the internet: not private, loopback, shared or
    unspecified."""
    try:
        return ip_address(host).is_global
    except ValueError:
        return False


def is_unspecified(host: str) -> bool:
    """Whether SDP names nobody: 0.0.0.0, :: (hold as RFC 2543 had it), or no literal address at all."""
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return True
