"""The ring of one media leg: packet headers, times and decisions in a bounded number of octets.

Written in the media path: an entry is one `pack_into` into a chunk of octets that is there already, and no object is
kept for it. Chunks come as they are needed (8 KiB each), so that a short call costs little; when the ring is full the
oldest chunk makes room. Each chunk begins with whole packets, and so can be read without the ones before it. Payloads
never come in here.
"""

import time
import zlib
from collections import deque
from collections.abc import Callable

import msgspec

from ...rtp.events import Address
from ...rtp.packet import HEADER, MARKER, Fields
from .entries import (
    AT,
    COMPOUND_RECEIVED,
    COMPOUND_SENT,
    COUNTED,
    EVENT,
    LOST,
    MEDIA,
    NAMED,
    NOTE,
    PACKET,
    RECEIVED,
    RECEIVED_NEXT,
    RECEIVED_SIZE,
    RTCP_RECEIVED,
    RTCP_SENT,
    SECOND,
    SENT,
    SENT_NEXT,
    SENT_SIZE,
    SIZE,
    SLICE,
    TICK,
    LegFlight,
    Note,
)

CHUNK = 8192
"""Octets."""
ENTRY_MAX = 32
"""No entry is longer, but for RTCP."""
RTCP_MAX = 2048
"""What a datagram can bring."""
RTCP_EACH_SECOND = 20
"""Datagrams that come in. One in five seconds is usual; a flood shall not push the packets out."""
NOTES_MAX = 500
PARAMETERS_MAX = 100
"""Notes that a replay needs; one for each offer/answer."""
NOTE_TEXT_MAX = 500
SOURCES_MAX = 255
NAMES_MAX = 256
ANSWERED, CLOSED = "answered", "closed"
PARAMETERS = frozenset((MEDIA, ANSWERED, CLOSED))
"""Kinds of note that a replay needs."""
_ELSEWHERE: Address = ("0.0.0.0", 0)  # noqa: S104


class LegRing:
    """Everything that is kept of one leg while it lives. One `Tap` of its session."""

    __slots__ = (
        "_chunk",
        "_chunks",
        "_chunks_max",
        "_dropped",
        "_end",
        "_measure",
        "_names",
        "_notes",
        "_numbered",
        "_offset",
        "_parameters",
        "_received_octets",
        "_received_samples",
        "_received_second",
        "_received_sequence",
        "_received_size",
        "_received_source",
        "_received_ssrc",
        "_received_timestamp",
        "_rtcp_count",
        "_rtcp_since",
        "_sent_length",
        "_sent_run",
        "_sent_samples",
        "_sent_second",
        "_sent_sequence",
        "_sent_ssrc",
        "_sent_timestamp",
        "_sent_unmarked",
        "_sources",
        "_unix",
        "bad",
        "local_port",
    )

    def __init__(self, octets: int, local_port: int, now: float, wallclock: float | None = None) -> None:
        """`octets` bound the entries (one chunk at least); `wallclock` is the Unix time of `now`."""
        self.local_port = local_port
        self.bad = False
        """Whether something happened that makes the call worth keeping."""
        self._unix = (time.time() if wallclock is None else wallclock) - now
        self._chunks_max = max(1, octets // CHUNK)
        self._chunks: deque[tuple[bytearray, int]] = deque()
        """The full ones, with the octets that are used of each."""
        self._dropped = 0
        self._measure: Callable[[bytes], int] = len
        self._sources: dict[Address, int] = {}
        self._names: dict[str, int] = {}
        self._notes: deque[Note] = deque(maxlen=NOTES_MAX)
        self._parameters: deque[Note] = deque(maxlen=PARAMETERS_MAX)
        self._numbered = 0
        self._rtcp_since = 0.0
        self._rtcp_count = 0
        self._received_source: Address | None = None
        self._begin(bytearray(CHUNK))

    def __repr__(self) -> str:
        return f"<LegRing octets={self.octets} dropped={self._dropped} notes={self._numbered}>"

    def _begin(self, chunk: bytearray) -> None:
        self._chunk = chunk
        self._offset = 0
        self._end = CHUNK - ENTRY_MAX
        # no packet follows from one in another chunk
        self._received_second = self._received_ssrc = self._received_octets = -1
        self._received_sequence = self._received_timestamp = -1
        self._received_size = self._received_samples = -1
        self._sent_second = self._sent_unmarked = self._sent_ssrc = self._sent_length = self._sent_samples = -1
        self._sent_sequence = self._sent_timestamp = -1
        self._sent_run = 0
        """Packets from the whole one on that the next one follows; the sender has numbered them."""

    def _turn(self) -> None:
        """The chunk is full."""
        self._chunks.append((self._chunk, self._offset))
        if len(self._chunks) < self._chunks_max:
            self._begin(bytearray(CHUNK))
            return
        oldest, used = self._chunks.popleft()
        self._dropped += used
        self._begin(oldest)

    @property
    def octets(self) -> int:
        """Of the entries that are kept."""
        return sum(used for _, used in self._chunks) + self._offset

    # The media path

    def received(self, fields: Fields, source: Address, now: float) -> None:
        """One RTP packet (rtp.tap.Tap)."""
        second, sequence, timestamp, ssrc, payload = fields
        offset = self._offset
        octets = len(payload)
        # nearly every packet follows from the one before it; what only wraps takes the long way
        if (
            sequence == self._received_sequence + 1
            and timestamp == self._received_timestamp + octets
            and octets == self._received_octets
            and second == self._received_second
            and ssrc == self._received_ssrc
            and source is self._received_source
            and offset <= self._end
        ):
            self._received_sequence = sequence
            self._received_timestamp = timestamp
            AT.pack_into(self._chunk, offset, RECEIVED_NEXT, now)
            self._offset = offset + 9
        else:
            self._received_any(fields, source, now)

    def _received_any(self, fields: Fields, source: Address, now: float) -> None:
        second, sequence, timestamp, ssrc, payload = fields
        samples = self._measure(payload)
        octets = len(payload)
        if self._offset > self._end:
            self._turn()
        follows = (
            self._received_second == second
            and self._received_ssrc == ssrc
            and sequence == (self._received_sequence + 1) & 0xFFFF
            and timestamp == (self._received_timestamp + self._received_samples) & 0xFFFFFFFF
            and source == self._received_source
        )
        if follows and octets == self._received_size and samples == self._received_samples:
            self._at(RECEIVED_NEXT, now)
        elif follows:
            SIZE.pack_into(self._chunk, self._offset, RECEIVED_SIZE, now, octets, samples)
            self._offset += SIZE.size
        else:
            number = self._source(source)
            PACKET.pack_into(
                self._chunk, self._offset, RECEIVED, now, second, sequence, timestamp, ssrc, octets, samples, number
            )
            self._offset += PACKET.size
        self._received_second, self._received_ssrc = second, ssrc
        self._received_sequence, self._received_timestamp = sequence, timestamp
        self._received_size, self._received_samples = octets, samples
        # payloads that last as long as they are large are not measured on the short way
        self._received_octets = octets if samples == octets and self._measure is len else -1
        # the same address in another tuple: the same tuple as long as it lasts
        self._received_source = source

    def sent_media(self, packet: bytes, samples: int, now: float) -> None:
        """One media packet of ours, at its tick; the next one's timestamp is `samples` later. The sender numbers them
        without a gap, and marks the one after a pause: so what is the same and has no marker follows."""
        offset = self._offset
        if (
            packet[1] == self._sent_unmarked
            and len(packet) == self._sent_length
            and samples == self._sent_samples
            and offset <= self._end
        ):
            self._sent_run += 1
            AT.pack_into(self._chunk, offset, SENT_NEXT, now)
            self._offset = offset + 9
        else:
            self.sent(packet, samples, now)

    def sent(self, packet: bytes, samples: int, now: float) -> None:
        """Any RTP packet of ours, whatever its numbers."""
        _, second, sequence, timestamp, ssrc = HEADER.unpack_from(packet)
        length = len(packet)
        if self._offset > self._end:
            self._turn()
        run = self._sent_run
        follows = (
            self._sent_second == second
            and self._sent_ssrc == ssrc
            and sequence == (self._sent_sequence + run) & 0xFFFF
            and timestamp == (self._sent_timestamp + run * self._sent_samples) & 0xFFFFFFFF
        )
        if follows and length == self._sent_length and samples == self._sent_samples:
            self._at(SENT_NEXT, now)
        elif follows:
            SIZE.pack_into(self._chunk, self._offset, SENT_SIZE, now, length - HEADER.size, samples)
            self._offset += SIZE.size
        else:
            octets = length - HEADER.size
            PACKET.pack_into(
                self._chunk, self._offset, SENT, now, second, sequence, timestamp, ssrc, octets, samples, 0
            )
            self._offset += PACKET.size
        self._sent_second, self._sent_ssrc = second, ssrc
        self._sent_unmarked = second if second < MARKER else -1
        self._sent_sequence, self._sent_timestamp, self._sent_run = sequence, timestamp, 1
        self._sent_length, self._sent_samples = length, samples

    def tick(self, now: float) -> None:
        """The session was polled, and nothing is sent."""
        self._at(TICK, now)

    def second(self, now: float) -> None:
        """The figures are brought up to date."""
        self._at(SECOND, now)

    def slice_ended(self, now: float) -> None:
        """The figures were those of a slice."""
        self._at(SLICE, now)

    def _at(self, kind: int, now: float) -> None:
        if self._offset > self._end:
            self._turn()
        AT.pack_into(self._chunk, self._offset, kind, now)
        self._offset += 9

    def _source(self, source: Address) -> int:
        number = self._sources.get(source)
        if number is None:
            if len(self._sources) >= SOURCES_MAX:
                # a flood from everywhere: who it was no longer matters
                source = _ELSEWHERE
            number = self._sources.setdefault(source, len(self._sources))
        return number

    def rtcp_received(self, data: bytes, source: Address, now: float) -> None:
        """One compound, or what was sent as one (rtp.tap.Tap)."""
        if now - self._rtcp_since >= 1.0:
            self._rtcp_since, self._rtcp_count = now, 0
        self._rtcp_count += 1
        if self._rtcp_count <= RTCP_EACH_SECOND and len(data) <= RTCP_MAX:
            number = self._sources.get(source)
            if number is None:
                number = self._source(source)
            self._compound(COMPOUND_RECEIVED.pack(RTCP_RECEIVED, now, number, len(data)) + data)

    def rtcp_sent(self, data: bytes, now: float, wallclock: float) -> None:
        """One of ours (rtp.tap.Tap)."""
        self._compound(COMPOUND_SENT.pack(RTCP_SENT, now, wallclock, len(data)) + data)

    def _compound(self, entry: bytes) -> None:
        if self._offset + len(entry) > CHUNK:
            self._turn()
        self._chunk[self._offset : self._offset + len(entry)] = entry
        self._offset += len(entry)

    def lost(self, samples: int, now: float) -> None:
        """So much was given up and concealed, at once."""
        if self._offset > self._end:
            self._turn()
        COUNTED.pack_into(self._chunk, self._offset, LOST, now, min(samples, 0xFFFFFFFF))
        self._offset += COUNTED.size

    def event(self, name: str, now: float) -> None:
        """What the speech service said, by name."""
        number = self._names.get(name)
        if number is None:
            if len(self._names) >= NAMES_MAX:
                return
            number = self._names[name] = len(self._names)
        if self._offset > self._end:
            self._turn()
        NAMED.pack_into(self._chunk, self._offset, EVENT, now, number)
        self._offset += NAMED.size

    # Seldom

    def use(self, measure: Callable[[bytes], int]) -> None:
        """Samples of a payload, as the session measures them from now on; payload types may be others, too."""
        self._measure = measure
        self._received_octets = self._sent_unmarked = -1

    def note(self, kind: str, text: str, now: float, *, bad: bool = False) -> None:
        """Something in words; without secrets, and without what was said."""
        self.bad = self.bad or bad
        if kind not in PARAMETERS:
            text = text[:NOTE_TEXT_MAX]
        note = Note(self._numbered, now, kind, text)
        self._numbered += 1
        (self._parameters if kind in PARAMETERS else self._notes).append(note)
        if self._offset > self._end:
            self._turn()
        COUNTED.pack_into(self._chunk, self._offset, NOTE, now, note.number)
        self._offset += COUNTED.size

    def flight(self) -> LegFlight:
        """A copy of all that is kept."""
        entries = b"".join([*(bytes(memoryview(chunk)[:used]) for chunk, used in self._chunks), self._live])
        return LegFlight(
            unix=self._unix,
            local_port=self.local_port,
            sources=list(self._sources),
            names=list(self._names),
            notes=sorted([*self._parameters, *self._notes], key=lambda note: note.number),
            dropped=self._dropped,
            entries=entries,
        )

    @property
    def _live(self) -> bytes:
        return bytes(memoryview(self._chunk)[: self._offset])


def sealed(leg: LegFlight) -> bytes:
    """As it goes to the switch and into the file; takes milliseconds, so not on a loop that carries calls."""
    # whole times hardly compress: the higher levels take three times as long, for nothing
    return zlib.compress(msgspec.msgpack.encode(leg), 1)
