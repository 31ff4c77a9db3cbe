"""Keys as RTP events (RFC 4733): one Key for each press, whatever of its packets was lost, repeated or unmarked."""

DIGITS = "0123456789*#ABCD"


class Key:
    """One key press. Given out at its first packet, so that the listener hears of it at once; the same object has its
    duration filled in when it ends."""

    __slots__ = ("digit", "duration", "ended", "timestamp")

    digit: str
    timestamp: int
    """RTP timestamp of the press."""
    duration: int
    """In timestamp units, as far as known."""
    ended: bool


class EventReceiver:
    """The events of one stream. `receive` gives a Key once when it is first seen, `poll` once when it has ended."""

    def __init__(self) -> None:
        self.ignored = 0
        """Packets of other events (fax tones, flash…), or too short."""

    def receive(self, payload: bytes, timestamp: int, marker: bool, now: float) -> Key | None:
        """One telephone-event packet; the key if it is a new one."""
        raise NotImplementedError

    def poll(self, now: float) -> Key | None:
        """A key whose end is known since the last call (END seen, successor seen, or silent too long), else None."""
        raise NotImplementedError

    def reset(self) -> None:
        """The stream changed (new SSRC): timestamps start afresh."""


class EventSender:
    """Plays keys out as events, one packet each 20 ms tick."""

    def __init__(self, clock_rate: int = 8000) -> None:
        raise NotImplementedError

    def start(self, digit: str, duration_ms: int = 100) -> None:
        """Queue one key. Raises LocalError when it is none of 0-9*#A-D."""

    @property
    def active(self) -> bool:
        """Whether the next tick belongs to a key or to the pause after it."""
        raise NotImplementedError

    def tick(self, timestamp: int) -> tuple[bytes, int, bool] | None:
        """At each 20 ms tick with its media timestamp: (payload, RTP timestamp, marker) to send instead of audio."""
        raise NotImplementedError
