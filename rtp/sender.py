"""What we send: one SSRC, consecutive sequence numbers, a timestamp that counts samples and never looks at a clock."""

from random import Random

from .packet import HEADER, MARKER, PLAIN


class RtpSender:
    """Numbers packets. `media_type` and `event_type` are payload types and may change between packets."""

    __slots__ = ("_sequence", "event_type", "media_type", "octets", "packets", "ssrc", "timestamp")

    def __init__(self, random: Random) -> None:
        self.ssrc = random.getrandbits(32)
        self._sequence = random.getrandbits(16)
        self.timestamp = random.getrandbits(32)
        """Of the next media packet, 32 bits."""
        self.media_type = 0
        self.event_type: int | None = None
        self.packets = 0
        self.octets = 0
        """Payload octets, as sender reports count them."""

    def packet(self, payload: bytes, samples: int, marker: bool = False) -> bytes:
        """The next media packet."""
        timestamp = self.timestamp
        self.timestamp = (timestamp + samples) & 0xFFFFFFFF
        return self._number(self.media_type | MARKER if marker else self.media_type, timestamp, payload)

    def event_packet(self, event_type: int, payload: bytes, timestamp: int, marker: bool, samples: int) -> bytes:
        """A telephone-event packet with its own timestamp; the media clock advances by `samples`."""
        self.timestamp = (self.timestamp + samples) & 0xFFFFFFFF
        return self._number(event_type | MARKER if marker else event_type, timestamp & 0xFFFFFFFF, payload)

    def _number(self, second: int, timestamp: int, payload: bytes) -> bytes:
        sequence = self._sequence
        self._sequence = (sequence + 1) & 0xFFFF
        self.packets += 1
        self.octets += len(payload)
        return HEADER.pack(PLAIN, second, sequence, timestamp, self.ssrc) + payload
