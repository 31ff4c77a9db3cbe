"""Audio formats in session descriptions: the codecs we know, and what a peer's audio section offers of them."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from .errors import NegotiationError
from .sdp import Direction, MediaDescription, RtpMap, SessionDescription

EVENT_NAME = "telephone-event"

_PROTOCOLS = ("RTP/AVP", "RTP/AVPF")

# Payload types that need no a=rtpmap (RFC 3551 §6)
_STATIC = {
    0: RtpMap("PCMU", 8000),
    3: RtpMap("GSM", 8000),
    4: RtpMap("G723", 8000),
    8: RtpMap("PCMA", 8000),
    9: RtpMap("G722", 8000),
    13: RtpMap("CN", 8000),
    18: RtpMap("G729", 8000),
}


@dataclass(frozen=True, slots=True)
class Codec:
    """A codec we can offer. `clock_hz` is the RTP clock; `payload_type` is ours unless the peer named another."""

    name: str
    clock_hz: int
    payload_type: int
    channels: int = 1
    fmtp: str = ""

    def is_named_by(self, encoding: RtpMap) -> bool:
        """Whether an encoding of the peer means this codec (names without case, RFC 4855)."""
        return (
            encoding.name.lower() == self.name.lower()
            and encoding.clock_hz == self.clock_hz
            # Opus always says 2 and means 1 or 2 (RFC 7587 §4.1); devices that write 1 or nothing mean the same.
            and (encoding.channels == self.channels or self.name == "opus")
        )


PCMU = Codec("PCMU", 8000, 0)
PCMA = Codec("PCMA", 8000, 8)
# No FEC is asked for: libav's decoder could not use it.
OPUS = Codec("opus", 48000, 111, 2, "useinbandfec=0;stereo=0;sprop-stereo=0")
EVENTS = {8000: Codec(EVENT_NAME, 8000, 101, 1, "0-16"), 48000: Codec(EVENT_NAME, 48000, 110, 1, "0-16")}


@dataclass(frozen=True, slots=True)
class Match:
    """A codec both sides have, and its payload types."""

    codec: Codec
    send: int
    receive: int


@dataclass(frozen=True, slots=True)
class RemoteAudio:
    """What one audio section of the peer says, checked for use."""

    media: MediaDescription
    address: str
    direction: Direction
    rtcp: tuple[str, int]
    encodings: dict[int, RtpMap]

    @classmethod
    def of(cls, description: SessionDescription, media: MediaDescription, local_address: str) -> RemoteAudio:
        """Read a section; NegotiationError when we cannot exchange RTP with it."""
        if media.port == 0:
            raise NegotiationError("the audio stream is refused or switched off (port 0)")
        if media.protocol not in _PROTOCOLS:
            raise NegotiationError(f"transport {media.protocol} is not supported")
        connection = description.connection_of(media)
        if connection is None:
            raise NegotiationError("no connection address for the audio stream")
        address = _literal(connection.address)
        if address is None or address.is_multicast:
            raise NegotiationError(f"connection address {connection.address} is not a unicast IP address")
        if (address.version == 6) != (":" in local_address):
            raise NegotiationError(f"connection address {address} is of another IP version than ours")
        direction = description.direction_of(media)
        if address.is_unspecified:
            # Hold as RFC 2543 had it: nothing may be sent there (RFC 3264 §8.4).
            direction &= Direction.SENDONLY
        mapped = media.rtpmap
        encodings = {number: mapped.get(number) or _STATIC.get(number) for number in media.payload_types}
        return cls(
            media=media,
            address=str(address),
            direction=direction,
            rtcp=_rtcp(media, address),
            encodings={number: encoding for number, encoding in encodings.items() if encoding is not None},
        )

    def offered(self, codecs: tuple[Codec, ...]) -> list[Match]:
        """Our codecs that the peer's offer names, in our order; both directions use the peer's numbers (§6.1)."""
        return [
            Match(codec, number, number)
            for codec in codecs
            for number, encoding in self.encodings.items()
            if codec.is_named_by(encoding)
        ]

    def answered(self, formats: list[tuple[int, Codec]]) -> list[Match]:
        """What of our offer the answer takes, audio codecs before events, in the peer's order."""
        own = dict(formats)
        found: list[Match] = []
        for send in self.media.payload_types:
            encoding = self.encodings.get(send)
            if encoding is None and send in own:
                # An answer that leaves the rtpmap out means the number that we offered.
                found.append(Match(own[send], send, send))
            elif encoding is not None:
                found.extend(Match(codec, send, ours) for ours, codec in formats if codec.is_named_by(encoding))
        return sorted(found, key=lambda match: match.codec.name == EVENT_NAME)

    @property
    def encodings_text(self) -> str:
        """The peer's encodings for a log line."""
        return ", ".join(map(str, self.encodings.values())) or "nothing known"


def parse_fmtp(text: str) -> dict[str, str]:
    """The parameters of an a=fmtp line: names in lower case; a parameter without `=` has an empty value."""
    pairs = (part.partition("=") for part in text.split(";") if part.strip())
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _rtcp(media: MediaDescription, address: IPv4Address | IPv6Address) -> tuple[str, int]:
    """Where the peer wants RTCP without multiplexing: a=rtcp (RFC 3605), else the port above."""
    if media.rtcp is None:
        return str(address), min(media.port + 1, 65535)
    port, text = media.rtcp
    stated = _literal(text) if text else None
    usable = stated is not None and stated.version == address.version and not stated.is_unspecified
    return str(stated if usable else address), port


def _literal(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
