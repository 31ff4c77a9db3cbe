"""Session descriptions: reading and writing SDP (RFC 8866, RFC 4566), and the attributes audio needs.

Attributes and lines we do not know are kept in their order. A malformed attribute counts as absent, as an unknown one
does; a malformed v=, o=, c= or m= line is an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from .errors import LocalError, ParseError

_LINE = re.compile(r"([a-z])=(.*)", re.DOTALL)
_MEDIA = re.compile(r"([^ ]+) +([0-9]{1,5})(?:/([0-9]{1,5}))? +([^ ]+)((?: +[^ ]+)*) *")
_RTPMAP = re.compile(r"([0-9]{1,3}) +([^ /]+)/([0-9]{1,7})(?:/([0-9]{1,3}))?(?: .*)?")
_RTCP = re.compile(r"([0-9]{1,5})(?: +IN +IP[46] +([^ ]+))?")

# The order of RFC 8866 §5; t=, r= and z= lines keep theirs among themselves.
_SESSION_ORDER = {"i": 0, "u": 1, "e": 2, "p": 3, "c": 4, "b": 5, "t": 6, "r": 6, "z": 6, "k": 7}
_MEDIA_ORDER = {"i": 0, "c": 1, "b": 2, "k": 3}


@dataclass(frozen=True, slots=True)
class SdpLimits:
    """How much of a description is read before it is refused."""

    max_octets: int = 32768
    max_lines: int = 512
    max_media: int = 32


DEFAULT_LIMITS = SdpLimits()


class Direction(StrEnum):
    """Which way media flows, seen from who says it (RFC 8866 §6.7)."""

    SENDRECV = "sendrecv"
    SENDONLY = "sendonly"
    RECVONLY = "recvonly"
    INACTIVE = "inactive"

    @property
    def sends(self) -> bool:
        """Whether the speaker sends."""
        return self in (Direction.SENDRECV, Direction.SENDONLY)

    @property
    def receives(self) -> bool:
        """Whether the speaker receives."""
        return self in (Direction.SENDRECV, Direction.RECVONLY)

    @property
    def reversed(self) -> Direction:
        """The same flow seen from the other side."""
        return Direction.of(sends=self.receives, receives=self.sends)

    def __and__(self, other: Direction) -> Direction:
        """What both allow."""
        return Direction.of(sends=self.sends and other.sends, receives=self.receives and other.receives)

    @staticmethod
    def of(*, sends: bool, receives: bool) -> Direction:
        """The direction with these two halves."""
        if sends:
            return Direction.SENDRECV if receives else Direction.SENDONLY
        return Direction.RECVONLY if receives else Direction.INACTIVE


_DIRECTIONS = {direction.value: direction for direction in Direction}


class Attribute(NamedTuple):
    """One a= line; `value` is None for a flag such as `a=rtcp-mux`."""

    name: str
    value: str | None = None

    def __str__(self) -> str:
        return f"a={self.name}" if self.value is None else f"a={self.name}:{self.value}"


class RtpMap(NamedTuple):
    """What a payload type stands for; `clock_hz` is the RTP clock, `channels` is 1 unless said."""

    name: str
    clock_hz: int
    channels: int = 1

    def __str__(self) -> str:
        channels = f"/{self.channels}" if self.channels != 1 else ""
        return f"{self.name}/{self.clock_hz}{channels}"


@dataclass(frozen=True, slots=True)
class Origin:
    """The o= line (RFC 8866 §5.2)."""

    session_id: int
    version: int
    address: str
    username: str = "-"
    address_type: str = "IP4"

    @classmethod
    def parse(cls, value: str) -> Origin:
        """Read the value of an o= line; ParseError when malformed."""
        words = value.split()
        # Some devices leave the user name out.
        if len(words) == 5:
            words.insert(0, "-")
        if len(words) != 6 or words[3] != "IN":
            raise ParseError(f"o=: malformed origin {value[:80]!r}")
        return cls(
            session_id=_number(words[1], "o= session id", 2**64 - 1),
            version=_number(words[2], "o= version", 2**64 - 1),
            address=words[5],
            username=words[0],
            address_type=words[4],
        )

    def __str__(self) -> str:
        return f"{self.username} {self.session_id} {self.version} IN {self.address_type} {self.address}"


@dataclass(frozen=True, slots=True)
class Connection:
    """A c= line (RFC 8866 §5.7); a multicast TTL stays part of `address`."""

    address: str
    address_type: str = "IP4"

    @classmethod
    def parse(cls, value: str) -> Connection:
        """Read the value of a c= line; ParseError when malformed."""
        words = value.split()
        if len(words) != 3 or words[0] != "IN" or words[1] not in ("IP4", "IP6"):
            raise ParseError(f"c=: malformed connection {value[:80]!r}")
        return cls(words[2], words[1])

    @classmethod
    def to(cls, address: str) -> Connection:
        """The connection for an IPv4 or IPv6 address literal."""
        return cls(address, "IP6" if ":" in address else "IP4")

    def __str__(self) -> str:
        return f"IN {self.address_type} {self.address}"


class _Attributes:
    """Look-up in an ordered list of attributes."""

    attributes: list[Attribute]

    def get(self, name: str) -> str | None:
        """The value of the first attribute of that name; None when absent or a flag."""
        return next((attribute.value for attribute in self.attributes if attribute.name == name), None)

    def get_all(self, name: str) -> list[str]:
        """The values of all attributes of that name."""
        return [value for key, value in self.attributes if key == name and value is not None]

    def has(self, name: str) -> bool:
        """Whether there is an attribute of that name, flag or not."""
        return any(attribute.name == name for attribute in self.attributes)

    @property
    def own_direction(self) -> Direction | None:
        """The direction stated here, or None; the first one counts."""
        return next((_DIRECTIONS[name] for name, _ in self.attributes if name in _DIRECTIONS), None)


@dataclass(slots=True)
class MediaDescription(_Attributes):
    """One m= section. `formats` are the payload types as text; `lines` are further i=, b=, k= and c= lines."""

    kind: str
    port: int
    protocol: str = "RTP/AVP"
    formats: list[str] = field(default_factory=list)
    port_count: int = 1
    connection: Connection | None = None
    lines: list[tuple[str, str]] = field(default_factory=list)
    attributes: list[Attribute] = field(default_factory=list)

    @classmethod
    def parse(cls, value: str) -> MediaDescription:
        """Read the value of an m= line; ParseError when malformed."""
        match = _MEDIA.fullmatch(value)
        if match is None:
            raise ParseError(f"m=: malformed media line {value[:80]!r}")
        kind, port, count, protocol, formats = match.groups()
        return cls(kind, _number(port, "m= port", 65535), protocol, formats.split(), int(count or 1))

    @property
    def payload_types(self) -> list[int]:
        """The formats that are RTP payload types, 0 to 127, in order of preference."""
        numbers = (int(text) for text in self.formats if len(text) <= 3 and text.isascii() and text.isdigit())
        return [number for number in numbers if number <= 127]

    @property
    def rtpmap(self) -> dict[int, RtpMap]:
        """Payload type → encoding, of the well-formed a=rtpmap lines; the first of a number counts."""
        found: dict[int, RtpMap] = {}
        for value in self.get_all("rtpmap"):
            match = _RTPMAP.fullmatch(value.strip())
            if match is not None and int(match[3]) > 0:
                found.setdefault(int(match[1]), RtpMap(match[2], int(match[3]), int(match[4] or 1)))
        return found

    @property
    def fmtp(self) -> dict[int, str]:
        """Payload type → format parameters, the text after the number."""
        found: dict[int, str] = {}
        for value in self.get_all("fmtp"):
            number, _, parameters = value.strip().partition(" ")
            if len(number) <= 3 and number.isascii() and number.isdigit():
                found.setdefault(int(number), parameters.strip())
        return found

    @property
    def ptime_ms(self) -> int | None:
        """Milliseconds of audio wanted in a packet, from a=ptime."""
        return _milliseconds(self.get("ptime"))

    @property
    def maxptime_ms(self) -> int | None:
        """Milliseconds of audio a packet may hold at most, from a=maxptime."""
        return _milliseconds(self.get("maxptime"))

    @property
    def rtcp(self) -> tuple[int, str | None] | None:
        """Port and address of a=rtcp (RFC 3605); the address is None unless stated."""
        match = _RTCP.fullmatch((self.get("rtcp") or "").strip())
        if match is None or not 0 < int(match[1]) <= 65535:
            return None
        return int(match[1]), match[2]

    @property
    def rtcp_mux(self) -> bool:
        """Whether RTCP may share the RTP port (RFC 5761)."""
        return self.has("rtcp-mux")

    def _serialise(self) -> list[str]:
        count = f"/{self.port_count}" if self.port_count != 1 else ""
        lines = [" ".join((f"m={self.kind} {self.port}{count} {self.protocol}", *self.formats))]
        lines.extend(_in_order(self.connection, self.lines, _MEDIA_ORDER))
        lines.extend(map(str, self.attributes))
        return lines


@dataclass(slots=True)
class SessionDescription(_Attributes):
    """A whole description. `lines` are the session's i=, u=, e=, p=, b=, t=, r=, z= and k= lines as they came."""

    origin: Origin
    name: str = "-"
    connection: Connection | None = None
    lines: list[tuple[str, str]] = field(default_factory=lambda: [("t", "0 0")])
    attributes: list[Attribute] = field(default_factory=list)
    media: list[MediaDescription] = field(default_factory=list)

    @classmethod
    def parse(cls, data: bytes, limits: SdpLimits = DEFAULT_LIMITS) -> SessionDescription:
        """Read a description, with CRLF or bare LF; ParseError naming the line that is wrong."""
        if len(data) > limits.max_octets:
            raise ParseError(f"SDP: {len(data)} octets are more than {limits.max_octets}", status=413)
        lines = [_split_line(text) for line in _decode(data).split("\n") if (text := line.rstrip("\r"))]
        if len(lines) > limits.max_lines:
            raise ParseError(f"SDP: {len(lines)} lines are more than {limits.max_lines}")
        if len(lines) < 2 or lines[0] != ("v", "0") or lines[1][0] != "o":
            raise ParseError("SDP: does not begin with v=0 and o=")
        session = cls(Origin.parse(lines[1][1]), lines=[])
        for letter, value in lines[2:]:
            if letter == "m":
                session.media.append(MediaDescription.parse(value))
            else:
                session._take(letter, value)
        if len(session.media) > limits.max_media:
            raise ParseError(f"SDP: {len(session.media)} media sections are more than {limits.max_media}")
        return session

    def _take(self, letter: str, value: str) -> None:
        """Put one line where it belongs: the last media section, or the session before there is one."""
        section = self.media[-1] if self.media else self
        if letter == "a":
            name, colon, text = value.partition(":")
            section.attributes.append(Attribute(name, text if colon else None))
        elif letter == "c" and section.connection is None:
            section.connection = Connection.parse(value)
        elif letter == "s" and section is self:
            self.name = value
        elif letter in (_SESSION_ORDER if section is self else _MEDIA_ORDER):
            section.lines.append((letter, value))

    def connection_of(self, media: MediaDescription) -> Connection | None:
        """The connection that counts for a media section: its own, else the session's."""
        return media.connection or self.connection

    def direction_of(self, media: MediaDescription) -> Direction:
        """The direction that counts for a media section: its own, else the session's, else sendrecv."""
        return media.own_direction or self.own_direction or Direction.SENDRECV

    def to_bytes(self) -> bytes:
        """The wire form, lines in the order of RFC 8866 §5; LocalError when a value holds a line break."""
        lines = ["v=0", f"o={self.origin}", f"s={self.name}"]
        lines.extend(_in_order(self.connection, self.lines, _SESSION_ORDER))
        lines.extend(map(str, self.attributes))
        for media in self.media:
            lines.extend(media._serialise())
        if any("\r" in line or "\n" in line for line in lines):
            raise LocalError("SDP: a value holds a line break")
        return "\r\n".join((*lines, "")).encode("utf-8", "replace")


def _in_order(connection: Connection | None, lines: list[tuple[str, str]], order: dict[str, int]) -> list[str]:
    """The carried lines and the connection, as the grammar wants them; further c= lines follow the first."""
    carried = lines if connection is None else [("c", str(connection)), *lines]
    return [f"{letter}={value}" for letter, value in sorted(carried, key=lambda line: order.get(line[0], 8))]


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _split_line(line: str) -> tuple[str, str]:
    match = _LINE.fullmatch(line)
    if match is None or "\r" in match[2]:
        raise ParseError(f"SDP: {line[:40]!r} is not a line of the form x=value")
    return match[1], match[2]


def _number(text: str, field_name: str, maximum: int) -> int:
    if len(text) > 20 or not (text.isascii() and text.isdigit()) or int(text) > maximum:
        raise ParseError(f"{field_name}: {text[:40]!r} is not a number up to {maximum}")
    return int(text)


def _milliseconds(text: str | None) -> int | None:
    """Whole milliseconds; fractions, which some devices send, are cut."""
    whole = (text or "").strip().partition(".")[0]
    return int(whole) if whole.isascii() and whole.isdigit() and 0 < len(whole) <= 5 and int(whole) > 0 else None
