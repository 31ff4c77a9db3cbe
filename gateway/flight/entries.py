"""The packed form of what happened on one media leg: written entry by entry in the media path, read once and later.

Little-endian, one after the other, without gaps: a kind octet, the time (64-bit float, seconds of the monotonic clock),
and what the kind needs. A packet that follows from the one before it in its direction is only its time: the numbering
goes on by one, the timestamp by the samples of the packet before, all else is the same. Times are kept whole, so that a
replay counts to the last digit what the call counted.
"""

import struct
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import msgspec

from ..errors import FlightError
from ..messages import MediaParameters

RECEIVED, RECEIVED_SIZE, RECEIVED_NEXT = 1, 2, 3
SENT, SENT_SIZE, SENT_NEXT = 4, 5, 6
TICK, SECOND = 7, 8
RTCP_RECEIVED, RTCP_SENT = 9, 10
EVENT, LOST, NOTE = 11, 12, 13
SLICE = 14

LONGEST_S: Final = 7 * 86400.0
"""No call is longer."""
SLACK_S: Final = 60.0
"""No entry was written so long before the first one."""

AT: Final = struct.Struct("<Bd")
"""RECEIVED_NEXT, SENT_NEXT, TICK (the leg was polled, nothing sent), SECOND (the figures were brought up to date),
SLICE (a slice ended)."""
PACKET: Final = struct.Struct("<BdBHIIHHB")
"""RECEIVED, SENT: marker and payload type, sequence number, timestamp, SSRC, payload octets, samples, source."""
SIZE: Final = struct.Struct("<BdHH")
"""RECEIVED_SIZE, SENT_SIZE: the next packet, but with other payload octets and samples."""
COMPOUND_RECEIVED: Final = struct.Struct("<BdBH")
"""RTCP_RECEIVED: source, octets; then these."""
COMPOUND_SENT: Final = struct.Struct("<BddH")
"""RTCP_SENT: Unix time, octets; then these."""
NAMED: Final = struct.Struct("<BdB")
"""EVENT: what the speech service said, a number in the table of names."""
COUNTED: Final = struct.Struct("<BdI")
"""LOST: samples given up. NOTE: number of the note."""


class Note(msgspec.Struct, frozen=True, array_like=True):
    """Something with words, of which there are few."""

    number: int
    at: float
    kind: str
    text: str


MEDIA: Final = "media"
"""Kind of the note that has what offer/answer agreed, as JSON."""


def parameters_of(note: Note) -> MediaParameters | None:
    """What offer/answer agreed; None for another note, or for one that does not say."""
    if note.kind != MEDIA:
        return None
    try:
        return msgspec.json.decode(note.text, type=MediaParameters)
    except msgspec.DecodeError:
        return None


class LegFlight(msgspec.Struct):
    """One media leg as it is kept."""

    unix: float
    """Unix time minus the monotonic clock of the entries, seconds."""
    local_port: int
    """Even RTP port; RTCP is the next one."""
    sources: list[tuple[str, int]]
    """Who sent, by the number in the entries."""
    names: list[str]
    notes: list[Note]
    """Ascending; those that a replay needs are always there."""
    dropped: int
    """Octets of entries that had to make room; 0: the leg is here from its first packet."""
    entries: bytes


class Packet(NamedTuple):
    """An RTP packet, in either direction."""

    at: float
    received: bool
    second: int
    """Marker and payload type, as they stand in the octet."""
    sequence: int
    timestamp: int
    ssrc: int
    octets: int
    """Of the payload."""
    samples: int
    source: int


class Rtcp(NamedTuple):
    """An RTCP compound, in either direction."""

    at: float
    received: bool
    source: int
    wallclock: float
    data: bytes


class Happening(NamedTuple):
    """TICK, SECOND, SLICE, EVENT, LOST or NOTE; `value` is the number that goes with it."""

    at: float
    kind: int
    value: int


Entry = Packet | Rtcp | Happening


def entries_of(leg: LegFlight) -> Iterator[Entry]:
    """In the order in which it happened. Raises FlightError for octets that nobody here wrote."""
    reader = _Reader(leg)
    earliest: float | None = None
    while reader.offset < len(leg.entries):
        try:
            entry = reader.next()
        except (struct.error, IndexError, KeyError, TypeError):
            raise FlightError(f"the packets of the call are damaged after octet {reader.offset}") from None
        earliest = entry.at if earliest is None else earliest
        if not 0 <= entry.at - earliest + SLACK_S <= LONGEST_S:
            raise FlightError(f"the packets of the call are damaged: a time before octet {reader.offset} cannot be")
        yield entry


class _Reader:
    def __init__(self, leg: LegFlight) -> None:
        self.offset = 0
        self._data = leg.entries
        self._sources = len(leg.sources)
        self._last: dict[bool, Packet] = {}
        self._readers: dict[int, Callable[[int], Entry]] = {
            RECEIVED: self._packet,
            SENT: self._packet,
            RECEIVED_SIZE: self._size,
            SENT_SIZE: self._size,
            RECEIVED_NEXT: self._next,
            SENT_NEXT: self._next,
            TICK: self._happening,
            SECOND: self._happening,
            SLICE: self._happening,
            RTCP_RECEIVED: self._rtcp_received,
            RTCP_SENT: self._rtcp_sent,
            EVENT: self._named,
            LOST: self._counted,
            NOTE: self._counted,
        }

    def next(self) -> Entry:
        kind = self._data[self.offset]
        return self._readers[kind](kind)

    def _take(self, form: struct.Struct) -> tuple[Any, ...]:
        values = form.unpack_from(self._data, self.offset)
        self.offset += form.size
        return values

    def _octets(self, count: int) -> bytes:
        data = self._data[self.offset : self.offset + count]
        if len(data) < count:
            raise IndexError
        self.offset += count
        return data

    def _packet(self, kind: int) -> Packet:
        _, at, *rest = self._take(PACKET)
        packet = Packet(at, kind == RECEIVED, *rest)
        if packet.received and packet.source >= self._sources:
            raise IndexError
        self._last[packet.received] = packet
        return packet

    def _follow(self, at: float, received: bool, octets: int | None = None, samples: int | None = None) -> Packet:
        last = self._last[received]
        packet = last._replace(
            at=at,
            sequence=(last.sequence + 1) & 0xFFFF,
            timestamp=(last.timestamp + last.samples) & 0xFFFFFFFF,
            octets=last.octets if octets is None else octets,
            samples=last.samples if samples is None else samples,
        )
        self._last[received] = packet
        return packet

    def _size(self, kind: int) -> Packet:
        _, at, octets, samples = self._take(SIZE)
        return self._follow(at, kind == RECEIVED_SIZE, octets, samples)

    def _next(self, kind: int) -> Packet:
        _, at = self._take(AT)
        return self._follow(at, kind == RECEIVED_NEXT)

    def _happening(self, kind: int) -> Happening:
        _, at = self._take(AT)
        return Happening(at, kind, 0)

    def _named(self, kind: int) -> Happening:
        _, at, name = self._take(NAMED)
        return Happening(at, kind, name)

    def _counted(self, kind: int) -> Happening:
        _, at, count = self._take(COUNTED)
        return Happening(at, kind, count)

    def _rtcp_received(self, kind: int) -> Rtcp:
        _, at, source, octets = self._take(COMPOUND_RECEIVED)
        if source >= self._sources:
            raise IndexError
        return Rtcp(at, True, source, 0.0, self._octets(octets))

    def _rtcp_sent(self, kind: int) -> Rtcp:
        _, at, wallclock, octets = self._take(COMPOUND_SENT)
        return Rtcp(at, False, 0, wallclock, self._octets(octets))
