"""Keys as RTP events (RFC 4733): one Key for each press, whatever of its packets was lost, repeated or unmarked.

A press is told from another by its RTP timestamp alone: the marker bit may be lost with its packet, and the same key
pressed twice has two timestamps. A press that outlasts the duration field goes on in segments (RFC 4733 §2.5.1.3),
each 0xFFFF later than the one before; they are one Key.
"""

import struct
from collections import deque

from .errors import LocalError

DIGITS = "0123456789*#ABCD"
"""By event code, 0 to 15 (RFC 4733 table 3)."""
SILENT = 0.5
"""Seconds without a packet after which a key whose END was lost counts as ended."""
_EVENT = struct.Struct("!BBH")
_END = 0x80
_VOLUME_MASK = 0x3F
_LONGEST = 0xFFFF
_WRAP = 0xFFFFFFFF
_HALF = 0x80000000
# A continued segment is recognised though up to this many segments before it were lost.
_SEGMENTS = 8
_END_REPEATS = 2
_PAUSE_TICKS = 3


class Key:
    """One key press. Given out at its first packet, so that the listener hears of it at once; the same object has its
    duration filled in as it is learned."""

    __slots__ = ("digit", "duration", "ended", "timestamp")

    def __init__(self, digit: str, timestamp: int) -> None:
        self.digit = digit
        self.timestamp = timestamp
        """RTP timestamp of the press."""
        self.duration = 0
        """In timestamp units, as far as known."""
        self.ended = False

    def __repr__(self) -> str:
        return f"<Key {self.digit} at {self.timestamp} for {self.duration}{'' if self.ended else '…'}>"


class EventReceiver:
    """The events of one stream. `receive` gives a Key once, when it is first seen; `poll` gives it once more when it
    has ended (END seen, another key begun, or nothing heard of it for half a second)."""

    def __init__(self) -> None:
        self.ignored = 0
        """Packets of other events (fax tones, flash, …) or shorter than an event."""
        self._key: Key | None = None
        self._segment = 0
        self._base = 0
        self._heard = 0.0
        self._newest: int | None = None
        self._ended: deque[Key] = deque()

    def receive(self, payload: bytes, timestamp: int, marker: bool, now: float) -> Key | None:
        """One telephone-event packet; the key if it is a new one. `marker` is not needed to tell, and not relied on."""
        if len(payload) < _EVENT.size or payload[0] >= len(DIGITS):
            self.ignored += 1
            return None
        event, flags, duration = _EVENT.unpack_from(payload)
        key = self._key
        if key is not None and not self._belongs(key, event, timestamp):
            key = None
        new = None
        if key is None:
            # Repeats of an END, and packets that were overtaken by a newer key.
            if self._newest is not None and not 0 < (timestamp - self._newest) & _WRAP < _HALF:
                return None
            self._end()
            new = key = self._key = Key(DIGITS[event], timestamp)
            self._segment, self._base = timestamp, 0
        self._newest = self._segment
        self._heard = now
        key.duration = max(key.duration, self._base + duration)
        if flags & _END:
            self._end()
        return new

    def _belongs(self, key: Key, event: int, timestamp: int) -> bool:
        """Whether a packet is of the key that is down, as its present, a past or a following segment."""
        if timestamp == self._segment:
            return True
        if DIGITS[event] != key.digit:
            return False
        segments, rest = divmod((timestamp - self._segment) & _WRAP, _LONGEST)
        if rest or not 0 < segments <= _SEGMENTS:
            return False
        self._segment = timestamp
        self._base += segments * _LONGEST
        return True

    def _end(self) -> None:
        key = self._key
        if key is not None:
            key.ended = True
            self._ended.append(key)
            self._key = None

    def poll(self, now: float) -> Key | None:
        """A key whose end has become known, each once; None when there is none (more)."""
        if self._key is not None and now - self._heard >= SILENT:
            self._end()
        return self._ended.popleft() if self._ended else None

    def reset(self) -> None:
        """The stream changed (new SSRC): its timestamps start afresh. A key that is down ends."""
        self._end()
        self._newest = None


class EventSender:
    """Plays keys out as events, one packet at each 20 ms tick (RFC 4733 §2.5.1.1).

    Every packet of a key has the timestamp of its first, the first has the marker bit, the last is sent three times.
    A pause of 60 ms follows each key.
    """

    def __init__(self, clock_rate: int = 8000, volume: int = 10) -> None:
        """`clock_rate` in Hz, `volume` in -dBm0 (0 to 63)."""
        self._step = clock_rate // 50
        # What the duration field can say.
        self._ticks_max = _LONGEST // self._step
        self._volume = volume & _VOLUME_MASK
        self._queue: deque[tuple[int, int]] = deque()
        self._event = 0
        self._left = 0
        self._duration = 0
        self._timestamp = 0
        self._ends = 0
        self._pausing = 0

    def start(self, digit: str, duration_ms: int = 100) -> None:
        """Queue one key for a whole number of ticks: at least 40 ms, at most what the duration field holds (8.1 s at
        8 kHz, 1.3 s at 48 kHz). Raises LocalError for none of 0-9*#A-D."""
        event = DIGITS.find(digit.upper()) if len(digit) == 1 else -1
        if event < 0:
            raise LocalError(f"{digit!r} is not a key: keys are 0-9, *, # and A-D")
        self._queue.append((event, min(max(2, -(-duration_ms // 20)), self._ticks_max)))

    @property
    def active(self) -> bool:
        """Whether the next tick belongs to a key or to the pause after it."""
        return bool(self._left or self._ends or self._pausing or self._queue)

    def tick(self, timestamp: int) -> tuple[bytes, int, bool] | None:
        """At each 20 ms tick with its media timestamp: (payload, RTP timestamp, marker) to send instead of audio;
        None when audio is due (the pause between keys is)."""
        if self._ends:
            return self._repeat_end()
        if self._pausing:
            self._pausing -= 1
            return None
        marker = False
        if not self._left:
            if not self._queue:
                return None
            self._event, self._left = self._queue.popleft()
            self._timestamp = timestamp
            self._duration = 0
            marker = True
        self._left -= 1
        self._duration += self._step
        if not self._left:
            self._ends = _END_REPEATS
        return self._packet(not self._left), self._timestamp, marker

    def _repeat_end(self) -> tuple[bytes, int, bool]:
        self._ends -= 1
        if not self._ends:
            self._pausing = _PAUSE_TICKS
        return self._packet(True), self._timestamp, False

    def _packet(self, end: bool) -> bytes:
        return _EVENT.pack(self._event, (_END if end else 0) | self._volume, self._duration)
