"""SIP and SIPS URIs, other URIs kept opaque, and name-addr (RFC 3261 §19.1, §20.10)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from urllib.parse import unquote_to_bytes

from .errors import ParseError
from .grammar import HOST, NO_PARAMS, QUOTED, Params, quote, unquote

# SIP-URI = "sip:" [ userinfo ] hostport uri-parameters [ headers ]; the user part may hold raw ";" and "?"
_SIP_URI = re.compile(
    rf"(sips?):(?:([^@:<>\"\s]*)(?::([^@<>\"\s]*))?@)?({HOST})(?::([0-9]{{1,5}}))?((?:;[^;?<>\"\s]*)*)(?:\?([^<>\"\s]*))?",
    re.IGNORECASE,
)
_OTHER_URI = re.compile(r"([A-Za-z][A-Za-z0-9+\-.]*):([^<>\"\s]+)")
_NAME_ADDR = re.compile(rf'(?:"({QUOTED})"\s*|([^<"]*))<([^<>]*)>\s*(.*)', re.DOTALL)
# What user and password may not hold unescaped; "%" only as an escape
_UNSAFE_USER = re.compile(r"%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9\-_.!~*'()&=+$,;?/%]")


def escape_user(text: str) -> str:
    """Percent-escape what a user or password part may not hold as it is; escapes already there stay."""
    return _UNSAFE_USER.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    return "".join(f"%{octet:02X}" for octet in match[0].encode("utf-8", "replace"))


@dataclass(frozen=True, slots=True)
class SipUri:
    """A `sip:` or `sips:` URI (RFC 3261 §19.1).

    `user`, `password`, `params` and `headers` are as on the wire, escapes included (`unescaped_user` is for people and
    routing). `host` is without the brackets of an IPv6 address. `==` compares what is written.
    """

    host: str
    user: str | None = None
    port: int | None = None
    params: Params = NO_PARAMS
    scheme: str = "sip"
    password: str | None = None
    headers: str | None = None

    @classmethod
    def parse(cls, text: str) -> SipUri:
        """Read a SIP or SIPS URI; ParseError for anything else."""
        match = _SIP_URI.fullmatch(text)
        if match is None:
            raise ParseError(f"URI: malformed SIP URI {text[:80]!r}")
        scheme, user, password, host, port, params, headers = match.groups()
        if password is not None and not user:
            raise ParseError(f"URI: password without user in {text[:80]!r}")
        return cls(
            host=_host(host),
            user=escape_user(user) if user else None,
            port=_port(port),
            params=Params.parse(params, "URI") if params else NO_PARAMS,
            scheme=scheme.lower(),
            password=escape_user(password) if password is not None else None,
            headers=headers,
        )

    @property
    def unescaped_user(self) -> str:
        """The user part with its percent-escapes undone; empty without a user."""
        return unquote_to_bytes(self.user or "").decode("utf-8", "replace")

    @property
    def transport(self) -> str | None:
        """The transport parameter in lower case."""
        value = self.params.get("transport")
        return value.lower() if value else None

    @property
    def hostport(self) -> str:
        """Host and port as written in the URI, an IPv6 address in brackets."""
        return format_hostport(self.host, self.port)

    @property
    def is_loose_router(self) -> bool:
        """Whether the `lr` parameter is there (RFC 3261 §16.12)."""
        return "lr" in self.params

    def with_param(self, name: str, value: str | None = None) -> SipUri:
        """A copy with this URI parameter set."""
        return replace(self, params=self.params.replace(name, value))

    def without_headers(self) -> SipUri:
        """A copy fit to be a Request-URI: no headers, no method parameter (RFC 3261 §19.1.1, table 1)."""
        return replace(self, headers=None, params=self.params.without("method"))

    def __str__(self) -> str:
        user = ""
        if self.user is not None:
            user = escape_user(self.user)
            if self.password is not None:
                user += ":" + escape_user(self.password)
            user += "@"
        headers = "" if self.headers is None else f"?{self.headers}"
        return f"{self.scheme}:{user}{self.hostport}{self.params}{headers}"


@dataclass(frozen=True, slots=True)
class OpaqueUri:
    """A URI of another scheme, such as `tel:`; everything after the colon is kept as it came."""

    scheme: str
    opaque: str

    @property
    def user(self) -> str | None:
        """The number of a `tel:` URI without its parameters (RFC 3966); None for other schemes."""
        return self.opaque.partition(";")[0] if self.scheme == "tel" else None

    @property
    def unescaped_user(self) -> str:
        """The number of a `tel:` URI; empty for other schemes."""
        return self.user or ""

    def __str__(self) -> str:
        return f"{self.scheme}:{self.opaque}"


Uri = SipUri | OpaqueUri


def parse_uri(text: str) -> Uri:
    """Read a URI of any scheme; ParseError when it is none."""
    if text[:4].lower() == "sip:" or text[:5].lower() == "sips:":
        return SipUri.parse(text)
    match = _OTHER_URI.fullmatch(text)
    if match is None:
        raise ParseError(f"URI: malformed URI {text[:80]!r}")
    return OpaqueUri(match[1].lower(), match[2])


@dataclass(frozen=True, slots=True)
class NameAddr:
    """A display name, a URI and header parameters: From, To, Contact, Route, Record-Route (RFC 3261 §20.10)."""

    uri: Uri
    display_name: str = ""
    params: Params = NO_PARAMS

    @classmethod
    def parse(cls, text: str, field: str = "address") -> NameAddr:
        """Read `"Name" <uri>;params` or `uri;params`; ParseError naming `field`."""
        text = text.strip()
        match = _NAME_ADDR.fullmatch(text)
        if match is not None:
            quoted, plain, uri, params = match.groups()
            # A display name with characters that should have been quoted is unambiguous before "<".
            name = plain.strip() if quoted is None else unquote(f'"{quoted}"')
            return cls(_uri(uri.strip(), field), name, Params.parse(_after_semicolon(params, field), field))
        if "<" in text or ">" in text or '"' in text.partition(";")[0]:
            raise ParseError(f"{field}: unbalanced quotes or angle brackets")
        address, semicolon, params = text.partition(";")
        if "?" in address:
            raise ParseError(f"{field}: a URI with headers must stand in angle brackets")
        # Without brackets the parameters belong to the header, not to the URI.
        return cls(_uri(address.strip(), field), "", Params.parse(semicolon + params, field))

    @property
    def tag(self) -> str | None:
        """The tag parameter (RFC 3261 §19.3)."""
        return self.params.get("tag")

    def with_param(self, name: str, value: str | None = None) -> NameAddr:
        """A copy with this header parameter set."""
        return replace(self, params=self.params.replace(name, value))

    def with_tag(self, tag: str) -> NameAddr:
        """A copy with this tag."""
        return self.with_param("tag", tag)

    def __str__(self) -> str:
        name = f"{quote(self.display_name)} " if self.display_name else ""
        return f"{name}<{self.uri}>{self.params}"


def format_hostport(host: str, port: int | None) -> str:
    """`host:port`, with the brackets an IPv6 address needs."""
    text = f"[{host}]" if ":" in host else host
    return text if port is None else f"{text}:{port}"


def _uri(text: str, field: str) -> Uri:
    try:
        return parse_uri(text)
    except ParseError as error:
        raise ParseError(f"{field}: {error.reason}") from error


def _after_semicolon(params: str, field: str) -> str:
    if params and not params.startswith(";"):
        raise ParseError(f"{field}: unexpected text after the address")
    return params


def _host(text: str) -> str:
    return text[1:-1] if text.startswith("[") else text


def _port(text: str | None) -> int | None:
    if text is None:
        return None
    port = int(text)
    if not 1 <= port <= 65535:
        raise ParseError(f"URI: port {port} is not in 1 to 65535")
    return port
