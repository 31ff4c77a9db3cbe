"""Addresses as the configuration writes them; each is given as text and prints as that text."""

import re
from ipaddress import ip_address
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_serializer, model_validator

Transport = Literal["udp", "tcp"]
DEFAULT_SIP_PORT = 5060
DEFAULT_HEP_PORT = 9060
"""By custom of Homer's collectors."""

_HOST = r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)"
_LISTEN_URL = re.compile(rf"(?P<transport>[a-z]+)://{_HOST}(?::(?P<port>\d{{1,5}}))?")
_SIP_SERVER = re.compile(rf"(?P<scheme>sips?):{_HOST}(?::(?P<port>\d{{1,5}}))?(?:;transport=(?P<transport>[A-Za-z]+))?")
_HOST_PORT = re.compile(rf"{_HOST}:(?P<port>\d{{1,5}})")
_PORT_RANGE = re.compile(r"(?P<first>\d{1,5})-(?P<last>\d{1,5})")


def is_loopback(host: str) -> bool:
    """True for `localhost` and the loopback addresses; a name that must be resolved is not taken for one."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def bracketed(host: str) -> str:
    """The host as a URI writes it: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


class Written(BaseModel):
    """A value that is one string in the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @classmethod
    def fields_of(cls, text: str) -> dict[str, Any]:
        """The fields of the written form; ValueError says what was expected."""
        raise NotImplementedError

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the written form; ValueError says what was expected."""
        return cls(**cls.fields_of(text))

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return cls.fields_of(value) if isinstance(value, str) else value

    @model_serializer
    def _to_text(self) -> str:
        return str(self)


def _transport(name: str) -> str:
    transport = name.lower()
    if transport not in ("udp", "tcp"):
        raise ValueError(f"transport {transport!r} is not supported, use udp or tcp")
    return transport


class ListenUrl(Written):
    """`udp://0.0.0.0:5060`: a local socket for SIP."""

    transport: Transport
    host: str
    port: int = Field(default=DEFAULT_SIP_PORT, ge=0, le=65535)
    """0 lets the system choose."""

    @classmethod
    def fields_of(cls, text: str) -> dict[str, Any]:
        match = _LISTEN_URL.fullmatch(text)
        if match is None:
            raise ValueError("expected a URL such as udp://0.0.0.0:5060 or tcp://0.0.0.0:5060")
        return {
            "transport": _transport(match["transport"]),
            "host": match["host"].strip("[]"),
            "port": int(match["port"] or DEFAULT_SIP_PORT),
        }

    def __str__(self) -> str:
        return f"{self.transport}://{bracketed(self.host)}:{self.port}"


class CollectorUrl(Written):
    """`udp://homer.example.com:9060`: where datagrams go."""

    host: str
    port: int = Field(default=DEFAULT_HEP_PORT, ge=1, le=65535)

    @classmethod
    def fields_of(cls, text: str) -> dict[str, Any]:
        match = _LISTEN_URL.fullmatch(text)
        if match is None or match["transport"] != "udp":
            raise ValueError("expected a URL such as udp://homer.example.com:9060")
        return {"host": match["host"].strip("[]"), "port": int(match["port"] or DEFAULT_HEP_PORT)}

    def __str__(self) -> str:
        return f"udp://{bracketed(self.host)}:{self.port}"


class SipServer(Written):
    """`sip:host:port;transport=udp`: a carrier's server. Port and transport left out are found by RFC 3263."""

    host: str
    port: int | None = Field(default=None, ge=1, le=65535)
    transport: Transport | None = None

    @classmethod
    def fields_of(cls, text: str) -> dict[str, Any]:
        match = _SIP_SERVER.fullmatch(text)
        if match is None:
            raise ValueError("expected a SIP URI such as sip:sip.example.com:5060;transport=udp, without a user part")
        if match["scheme"] == "sips":
            raise ValueError("sips is not supported, use sip with transport udp or tcp")
        return {
            "host": match["host"].strip("[]"),
            "port": int(match["port"]) if match["port"] else None,
            "transport": _transport(match["transport"]) if match["transport"] else None,
        }

    def __str__(self) -> str:
        port = f":{self.port}" if self.port else ""
        transport = f";transport={self.transport}" if self.transport else ""
        return f"sip:{bracketed(self.host)}{port}{transport}"


class HostPort(Written):
    """`127.0.0.1:8080`: a local TCP socket."""

    host: str
    port: int = Field(ge=0, le=65535)

    @classmethod
    def fields_of(cls, text: str) -> dict[str, Any]:
        match = _HOST_PORT.fullmatch(text)
        if match is None:
            raise ValueError("expected HOST:PORT such as 127.0.0.1:8080")
        return {"host": match["host"].strip("[]"), "port": int(match["port"])}

    def __str__(self) -> str:
        return f"{bracketed(self.host)}:{self.port}"


class PortRange(Written):
    """`16384-32767`: both ends included. RTP takes the even ports, RTCP the odd one above each."""

    first: int = Field(ge=1024, le=65534)
    last: int = Field(ge=1025, le=65535)

    @classmethod
    def fields_of(cls, text: str) -> dict[str, Any]:
        match = _PORT_RANGE.fullmatch(text)
        if match is None:
            raise ValueError("expected FIRST-LAST such as 16384-32767")
        return {"first": int(match["first"]), "last": int(match["last"])}

    @model_validator(mode="after")
    def _holds_a_pair(self) -> Self:
        if self.pairs < 1:
            raise ValueError("the range holds no even port followed by an odd one")
        return self

    @property
    def pairs(self) -> int:
        """How many calls the range holds."""
        first_even = self.first + self.first % 2
        return max(0, (self.last - first_even + 1) // 2)

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"
