"""Header fields: the ordered multi-map of a message, and the typed Via, CSeq and Contact (RFC 3261 §7.3, §20)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from .errors import LocalError, ParseError
from .grammar import HOST, NO_PARAMS, TCHARS, Params, is_token, split_list
from .uri import NameAddr, format_hostport

_COMPACT = {
    "a": "Accept-Contact",
    "b": "Referred-By",
    "c": "Content-Type",
    "d": "Request-Disposition",
    "e": "Content-Encoding",
    "f": "From",
    "i": "Call-ID",
    "j": "Reject-Contact",
    "k": "Supported",
    "l": "Content-Length",
    "m": "Contact",
    "o": "Event",
    "r": "Refer-To",
    "s": "Subject",
    "t": "To",
    "u": "Allow-Events",
    "v": "Via",
    "x": "Session-Expires",
    "y": "Identity",
}
_KNOWN = """
    Accept Accept-Encoding Accept-Language Alert-Info Allow Authentication-Info Authorization Call-Info Content-
    Disposition Content-Language CSeq Date Diversion Error-Info Expires Geolocation History-Info In-Reply-To
    MIME-Version Max-Forwards Min-Expires Min-SE Organization P-Asserted-Identity P-Preferred-Identity Path
    Priority Privacy Proxy-Authenticate Proxy-Authorization Proxy-Require RAck RSeq Reason Record-Route Remote-
    Party-ID Replaces Reply-To Require Retry-After Route Server Service-Route Subscription-State Timestamp
    Unsupported User-Agent WWW-Authenticate Warning
"""
_CANONICAL = {name.lower(): name for name in (*_KNOWN.split(), *_COMPACT.values())} | _COMPACT

# One row each from the start, since they are taken off and put on one by one.
_ROWS = """
    via route record-route contact path service-route p-asserted-identity diversion history-info
"""
_LISTS = """
    accept accept-encoding accept-language alert-info allow allow-events call-info content-encoding content-
    language error-info in-reply-to proxy-require reason require supported unsupported warning
"""
_ROW_PER_VALUE = frozenset(_ROWS.split())
_COMMA_LIST = _ROW_PER_VALUE.union(_LISTS.split())

# Via = "SIP" SLASH "2.0" SLASH transport LWS host [ COLON port ] *( SEMI via-params )
_VIA = re.compile(
    rf"SIP\s*/\s*2\.0\s*/\s*({TCHARS})\s+({HOST})\s*(?::\s*([0-9]{{1,5}})\s*)?(;.*)?", re.IGNORECASE | re.DOTALL
)
_CSEQ = re.compile(rf"([0-9]+)\s+({TCHARS})")
_MAX_CSEQ = 2**31 - 1  # RFC 3261 §8.1.1.5


class Headers:
    """The header fields of one message, in order, names without case and always in their long form.

    Via, Route, Record-Route, Contact and the like have one row per value however they were combined on the wire; other
    rows are kept as they came. `add`, `set` and `insert_first` raise LocalError for a value with a line break.
    """

    __slots__ = ("_rows",)

    def __init__(self, rows: Iterable[tuple[str, str]] = ()) -> None:
        self._rows: list[tuple[str, str, str]] = []  # (key in lower case, name, value)
        for name, value in rows:
            self.add(name, value)

    def get(self, name: str) -> str | None:
        """The first row of that name, or None."""
        key = _key(name)
        for row in self._rows:
            if row[0] == key:
                return row[2]
        return None

    def get_all(self, name: str) -> list[str]:
        """All values of that name in order; comma lists are split where the RFC defines the header as one."""
        key = _key(name)
        values = [row[2] for row in self._rows if row[0] == key]
        if key not in _COMMA_LIST:
            return values
        return [item for value in values for item in split_list(value)]

    def get_number(self, name: str, *, maximum: int, minimum: int = 0) -> int | None:
        """The value as a decimal number, or None when absent; ParseError when malformed or out of range."""
        value = self.get(name)
        return None if value is None else parse_number(value, canonical_name(name), maximum=maximum, minimum=minimum)

    def has_token(self, name: str, token: str) -> bool:
        """Whether a comma list such as Supported or Require names `token` (without case)."""
        token = token.lower()
        return any(value.partition(";")[0].strip().lower() == token for value in self.get_all(name))

    def add(self, name: str, value: str) -> None:
        """Append a row, or one row per value for Via, Route, Contact and the like."""
        key, name = _checked(name, value)
        for item in _row_values(key, value):
            self._rows.append((key, name, item))

    def set(self, name: str, value: str) -> None:
        """Replace all rows of that name by this value, in the place of the first, else at the end."""
        key, name = _checked(name, value)
        position = next((index for index, row in enumerate(self._rows) if row[0] == key), len(self._rows))
        self._rows = [row for row in self._rows if row[0] != key]
        self._rows[position:position] = [(key, name, item) for item in _row_values(key, value)]

    def insert_first(self, name: str, value: str) -> None:
        """Put a row before all others of that name; at the top of the message when there is none."""
        key, name = _checked(name, value)
        position = next((index for index, row in enumerate(self._rows) if row[0] == key), 0)
        self._rows[position:position] = [(key, name, item) for item in _row_values(key, value)]

    def remove_first(self, name: str) -> str | None:
        """Take the first row of that name away and return its value; None when there is none."""
        key = _key(name)
        for index, row in enumerate(self._rows):
            if row[0] == key:
                del self._rows[index]
                return row[2]
        return None

    def remove(self, name: str) -> None:
        """Take all rows of that name away."""
        key = _key(name)
        self._rows = [row for row in self._rows if row[0] != key]

    def copy(self) -> Headers:
        """An independent copy."""
        other = Headers()
        other._rows = self._rows.copy()
        return other

    def count(self, name: str) -> int:
        """How many rows of that name there are."""
        key = _key(name)
        return sum(row[0] == key for row in self._rows)

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Rows as (name, value)."""
        return ((name, value) for _, name, value in self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self._rows == other._rows

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __repr__(self) -> str:
        return f"Headers({list(self)!r})"


@dataclass(frozen=True, slots=True)
class Via:
    """One Via value (RFC 3261 §20.42): where a response goes. `host` is without the brackets of an IPv6 address."""

    transport: str
    host: str
    port: int | None = None
    params: Params = NO_PARAMS

    @classmethod
    def parse(cls, text: str) -> Via:
        """Read one Via value; ParseError when malformed."""
        match = _VIA.fullmatch(text.strip())
        if match is None:
            raise ParseError(f"Via: malformed value {text[:80]!r}")
        transport, host, port, params = match.groups()
        return cls(
            transport=transport.upper(),
            host=host[1:-1] if host.startswith("[") else host,
            port=None if port is None else parse_number(port, "Via port", maximum=65535, minimum=1),
            params=Params.parse(params, "Via") if params else NO_PARAMS,
        )

    @property
    def branch(self) -> str | None:
        """The branch parameter; starts with z9hG4bK when it identifies the transaction."""
        return self.params.get("branch")

    @property
    def received(self) -> str | None:
        """The address the request really came from, without brackets (RFC 3261 §18.2.1)."""
        value = self.params.get("received")
        return value.strip("[]") if value else None

    @property
    def rport(self) -> int | None:
        """The port the request really came from; None also for the bare flag (RFC 3581)."""
        value = self.params.get("rport")
        return int(value) if value and value.isdecimal() and value.isascii() and 0 < int(value) <= 65535 else None

    @property
    def wants_rport(self) -> bool:
        """Whether the sender asks to be answered where it sent from (RFC 3581 §3)."""
        return "rport" in self.params

    @property
    def sent_by(self) -> str:
        """`host[:port]` as the sender wrote it."""
        return format_hostport(self.host, self.port)

    def received_from(self, host: str, port: int) -> Via:
        """A copy as the server must record it: `received` when the source differs, `rport` filled when asked for."""
        params = self.params
        if self.wants_rport:
            params = params.replace("rport", str(port)).replace("received", host)
        elif host != self.host:
            params = params.replace("received", host)
        return replace(self, params=params)

    def __str__(self) -> str:
        return f"SIP/2.0/{self.transport} {self.sent_by}{self.params}"


@dataclass(frozen=True, slots=True)
class CSeq:
    """A CSeq value (RFC 3261 §20.16)."""

    number: int
    method: str

    @classmethod
    def parse(cls, text: str) -> CSeq:
        """Read a CSeq value; ParseError when malformed or not below 2**31."""
        match = _CSEQ.fullmatch(text.strip())
        if match is None:
            raise ParseError(f"CSeq: malformed value {text[:80]!r}")
        return cls(parse_number(match[1], "CSeq", maximum=_MAX_CSEQ), match[2])

    def __str__(self) -> str:
        return f"{self.number} {self.method}"


def canonical_name(name: str) -> str:
    """The long form with its usual spelling; unknown names stay as they are."""
    return _CANONICAL.get(name.lower(), name)


def parse_number(text: str, field: str, *, maximum: int, minimum: int = 0) -> int:
    """A decimal number within its range; ParseError naming `field`."""
    digits = text.strip()
    # The length bound keeps int() from being handed thousands of digits.
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 40:
        raise ParseError(f"{field}: {digits[:40]!r} is not a number")
    number = int(digits)
    if not minimum <= number <= maximum:
        raise ParseError(f"{field}: {number} is not in {minimum} to {maximum}")
    return number


def parse_contact(text: str) -> NameAddr | None:
    """Read one Contact value; None stands for `*` (RFC 3261 §10.2.2). ParseError when malformed."""
    return None if text.strip() == "*" else NameAddr.parse(text, "Contact")


def _key(name: str) -> str:
    key = name.lower()
    return _COMPACT[key].lower() if key in _COMPACT else key


def _checked(name: str, value: str) -> tuple[str, str]:
    """Key and name for a new row."""
    known = _CANONICAL.get(name.lower())
    if known is None and is_token(name) is None:
        raise LocalError(f"{name[:40]!r} is not a header name")
    if "\r" in value or "\n" in value:
        raise LocalError(f"{name}: the value holds a line break")
    name = known or name
    return name.lower(), name


def _row_values(key: str, value: str) -> list[str]:
    return split_list(value) if key in _ROW_PER_VALUE else [value.strip()]
