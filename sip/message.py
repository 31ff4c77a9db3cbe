"""Requests and responses, and their wire form (RFC 3261 §7, §8.2.6, §18.3).

Tolerant in: leading empty lines, bare LF, folded lines, compact names, blanks before the colon, spare blanks in the
start line, unknown headers and methods. Strict out: CRLF, long names, Content-Length always computed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .errors import LocalError, ParseError
from .grammar import is_token
from .headers import CSeq, Headers, Via, parse_contact, parse_number
from .reasons import reason_phrase
from .uri import NameAddr, OpaqueUri, SipUri, Uri, parse_uri

_HEAD_END = re.compile(rb"\r?\n\r?\n")
_FOLD = re.compile(r"[ \t]*\r?\n[ \t]+")
_VERSION = re.compile(r"SIP/([0-9]+)\.([0-9]+)", re.IGNORECASE)
_STATUS_LINE = re.compile(r"SIP/([0-9]+)\.([0-9]+) +([0-9]+)(?: (.*))?", re.IGNORECASE | re.DOTALL)
_SINGLE = ("From", "To", "Call-ID", "CSeq")
_MAX_FORWARDS = 255

KEEPALIVE = b"\r\n\r\n"
"""Between messages: asks a peer on a stream for CRLF, holds a NAT open (RFC 5626 §3.5.1)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a message is read before it is refused; octets, and header lines after unfolding."""

    max_message_octets: int = 65535
    max_header_lines: int = 256
    max_line_octets: int = 8192


DEFAULT_LIMITS = Limits()


@dataclass(slots=True)
class _Message:
    """What requests and responses share. The typed properties parse on each access and raise ParseError."""

    headers: Headers = field(default_factory=Headers, kw_only=True)
    body: bytes = field(default=b"", kw_only=True)

    @property
    def call_id(self) -> str:
        """The Call-ID, compared octet by octet (RFC 3261 §20.8)."""
        return _required(self.headers, "Call-ID")

    @property
    def cseq(self) -> CSeq:
        """Sequence number and method."""
        return CSeq.parse(_required(self.headers, "CSeq"))

    @property
    def from_(self) -> NameAddr:
        """Who sent the request."""
        return NameAddr.parse(_required(self.headers, "From"), "From")

    @property
    def to(self) -> NameAddr:
        """Whom the request was meant for at first."""
        return NameAddr.parse(_required(self.headers, "To"), "To")

    @property
    def top_via(self) -> Via:
        """The topmost Via value."""
        return Via.parse(_required(self.headers, "Via"))

    @property
    def vias(self) -> list[Via]:
        """All Via values, topmost first."""
        return [Via.parse(value) for value in self.headers.get_all("Via")]

    @property
    def contacts(self) -> list[NameAddr]:
        """All Contact addresses; the `*` of a REGISTER is left out."""
        return [contact for contact in map(parse_contact, self.headers.get_all("Contact")) if contact is not None]

    @property
    def record_routes(self) -> list[NameAddr]:
        """The Record-Route values in order."""
        return [NameAddr.parse(value, "Record-Route") for value in self.headers.get_all("Record-Route")]

    @property
    def max_forwards(self) -> int | None:
        """Hops left, 0 to 255; None when absent, as RFC 2543 peers send it."""
        return self.headers.get_number("Max-Forwards", maximum=_MAX_FORWARDS)

    @property
    def content_type(self) -> str | None:
        """The media type of the body in lower case, without parameters."""
        value = self.headers.get("Content-Type")
        return value.partition(";")[0].strip().lower() if value else None

    def _wire(self, start_line: str) -> bytes:
        lines = [start_line]
        lines.extend(f"{name}: {value}" for name, value in self.headers if name != "Content-Length")
        lines.append(f"Content-Length: {len(self.body)}\r\n\r\n")
        return "\r\n".join(lines).encode("utf-8", "replace") + self.body


@dataclass(slots=True)
class Request(_Message):
    """A SIP request. Content-Length is not among `headers`: it is the length of `body`."""

    method: str
    uri: Uri

    def to_bytes(self) -> bytes:
        """The wire form; LocalError when the method is no token."""
        if is_token(self.method) is None:
            raise LocalError(f"{self.method[:40]!r} is not a method")
        return self._wire(f"{self.method} {self.uri} SIP/2.0")

    def __repr__(self) -> str:
        return f"<{self.method} {self.uri} cseq={self.headers.get('CSeq')} call={self.headers.get('Call-ID')}>"


@dataclass(slots=True)
class Response(_Message):
    """A SIP response; `reason` is the phrase of the status line."""

    status: int
    reason: str = ""

    def __post_init__(self) -> None:
        if not 100 <= self.status <= 699:
            raise LocalError(f"{self.status} is not a SIP status code")
        self.reason = self.reason or reason_phrase(self.status)

    @property
    def is_provisional(self) -> bool:
        """Whether the status is 1xx."""
        return self.status < 200

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300

    @property
    def retry_after(self) -> int | None:
        """Seconds in Retry-After, without its comment and parameters; None when absent or unreadable."""
        digits = (self.headers.get("Retry-After") or "").partition(";")[0].partition("(")[0].strip()
        return int(digits) if digits.isdecimal() and digits.isascii() and len(digits) < 9 else None

    def to_bytes(self) -> bytes:
        """The wire form."""
        reason = self.reason.replace("\r", " ").replace("\n", " ")
        return self._wire(f"SIP/2.0 {self.status} {reason}")

    def __repr__(self) -> str:
        return f"<{self.status} {self.reason} cseq={self.headers.get('CSeq')} call={self.headers.get('Call-ID')}>"


def is_keepalive(data: bytes) -> bool:
    """Whether a datagram is only a NAT keep-alive: line ends or NULs, and nothing else (RFC 5626 §3.5.1)."""
    return not data.strip(b"\r\n\0")


def parse_message(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Request | Response:
    """Read one whole message: a datagram, or what `StreamFramer` cut out.

    Octets after the length the message states are dropped (RFC 3261 §18.3). Raises ParseError, with `request` set when
    enough of a request was read to answer it.
    """
    if len(data) > limits.max_message_octets:
        raise ParseError(f"message: {len(data)} octets are more than {limits.max_message_octets}", status=513)
    data = data.lstrip(b"\r\n")
    end = _HEAD_END.search(data)
    head = _decode(data if end is None else data[: end.start()])
    start_line, _, rest = head.partition("\n")
    message = _start(start_line.rstrip("\r"))
    try:
        if isinstance(message, _BadStart):
            # The start line was bad, but the headers are needed to answer it.
            _read_headers(message.request.headers, rest, limits)
            raise ParseError(message.reason, status=message.status)
        length = _read_headers(message.headers, rest, limits)
        if end is None:
            raise ParseError("message: no empty line ends the headers")
        message.body = _body(data[end.end() :], length)
        _check_headers(message)
    except ParseError as error:
        request = message.request if isinstance(message, _BadStart) else message
        error.request = request if isinstance(request, Request) else None
        raise
    return message


def response_to(request: Request, status: int, reason: str | None = None, to_tag: str | None = None) -> Response:
    """A response with what RFC 3261 §8.2.6 copies from the request: Via, From, To, Call-ID, CSeq.

    `to_tag` is added to a To without tag, never to a 100. Record-Route is copied where a dialog may come of it
    (101 to 299, not REGISTER; §12.1.1), Timestamp to a 100. Works on the partial request of a ParseError too.
    """
    response = Response(status, reason or "")
    headers = response.headers
    for value in request.headers.get_all("Via"):
        headers.add("Via", value)
    if 100 < status < 300 and request.method != "REGISTER":
        for value in request.headers.get_all("Record-Route"):
            headers.add("Record-Route", value)
    for name in _SINGLE:
        value = request.headers.get(name)
        if value is not None:
            headers.add(name, _tagged(value, to_tag) if name == "To" and to_tag and status > 100 else value)
    timestamp = request.headers.get("Timestamp")
    if status == 100 and timestamp is not None:
        headers.add("Timestamp", timestamp)
    return response


def _tagged(to: str, tag: str) -> str:
    try:
        address = NameAddr.parse(to, "To")
    except ParseError:
        return to
    return to if address.tag else f"{to};tag={tag}"


def _required(headers: Headers, name: str) -> str:
    value = headers.get(name)
    if not value:
        raise ParseError(f"{name}: missing")
    return value


def _decode(head: bytes) -> str:
    try:
        return head.decode("utf-8")
    except UnicodeDecodeError:
        # Old PBXs write display names in ISO 8859-1.
        return head.decode("latin-1")


@dataclass(slots=True)
class _BadStart:
    """A request line that cannot be accepted, with a request to carry the headers for the answer."""

    request: Request
    reason: str
    status: int = 400


def _start(line: str) -> Request | Response | _BadStart:
    if line[:4].upper() == "SIP/":
        return _status_line(line)
    parts = line.split(" ")
    words = [part for part in parts if part]
    if len(words) < 2 or is_token(words[0]) is None:
        raise ParseError(f"start line: {line[:80]!r} is neither a request nor a response")
    method, version = words[0], _VERSION.fullmatch(words[-1])
    unread = Request(method, OpaqueUri("invalid", "unreadable"))
    if version is None:
        return _BadStart(unread, f"request line: no SIP version at the end of {line[:80]!r}")
    if len(words) != 3:
        return _BadStart(unread, "request line: blanks inside the Request-URI")
    try:
        uri = parse_uri(words[1])
    except ParseError as error:
        return _BadStart(unread, f"request line: {error.reason}")
    request = Request(method, uri)
    if (int(version[1]), int(version[2])) != (2, 0):
        return _BadStart(request, f"request line: version {words[-1][:20]} is not SIP/2.0", 505)
    if isinstance(uri, SipUri) and uri.headers is not None:
        return _BadStart(request, "request line: the Request-URI must not hold headers")
    return request


def _status_line(line: str) -> Response:
    match = _STATUS_LINE.fullmatch(line.rstrip())
    if match is None:
        raise ParseError(f"status line: malformed {line[:80]!r}")
    if (match[1], match[2]) != ("2", "0"):
        raise ParseError(f"status line: version {match[1][:8]}.{match[2][:8]} is not 2.0")
    status = parse_number(match[3], "status line", minimum=100, maximum=699)
    return Response(status, (match[4] or "").strip())


def _read_headers(headers: Headers, text: str, limits: Limits) -> int | None:
    """Fill `headers`; return the stated Content-Length, which is kept apart."""
    if "\n " in text or "\n\t" in text:
        text = _FOLD.sub(" ", text)
    lines = text.split("\n") if text else []
    if len(lines) > limits.max_header_lines:
        raise ParseError(f"headers: {len(lines)} lines are more than {limits.max_header_lines}")
    length: int | None = None
    problem: ParseError | None = None
    for line in lines:
        try:
            length = _read_line(headers, line, length, limits)
        except ParseError as error:
            # The other lines are still wanted, for the answer.
            problem = problem or error
    if problem is not None:
        raise problem
    return length


def _read_line(headers: Headers, line: str, length: int | None, limits: Limits) -> int | None:
    line = line.rstrip("\r")
    if len(line) > limits.max_line_octets:
        raise ParseError(f"{line[:20]!r}: a header line of {len(line)} octets is more than {limits.max_line_octets}")
    name, colon, value = line.partition(":")
    name = name.rstrip(" \t")
    value = value.strip(" \t")
    if not colon or is_token(name) is None:
        raise ParseError(f"headers: {line[:40]!r} is not a header line")
    if "\r" in value:
        raise ParseError(f"{name}: bare CR in the value")
    if name.lower() not in ("content-length", "l"):
        headers.add(name, value)
        return length
    stated = parse_number(value, "Content-Length", maximum=2**31)
    if length is not None and stated != length:
        raise ParseError("Content-Length: two different values")
    return stated


def _body(rest: bytes, length: int | None) -> bytes:
    if length is None or length == len(rest):
        return rest
    if length > len(rest):
        raise ParseError(f"Content-Length: {length} octets stated, {len(rest)} received")
    return rest[:length]


def _check_headers(message: Request | Response) -> None:
    """What every message must have, once and well formed (RFC 3261 §8.1.1)."""
    for name in _SINGLE:
        count = message.headers.count(name)
        if count != 1:
            raise ParseError(f"{name}: missing" if not count else f"{name}: given {count} times")
    _ = message.top_via, message.from_, message.to, message.call_id
    cseq = message.cseq
    if isinstance(message, Request):
        if cseq.method != message.method:
            raise ParseError(f"CSeq: method {cseq.method} in the place of {message.method}")
        if message.headers.count("Max-Forwards") > 1:
            raise ParseError("Max-Forwards: given more than once")
        _ = message.max_forwards
