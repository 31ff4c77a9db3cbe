"""Where a SIP message comes from or goes to."""

from dataclasses import dataclass, field
from typing import Literal

Transport = Literal["udp", "tcp", "tls"]

DEFAULT_PORT: dict[Transport, int] = {"udp": 5060, "tcp": 5060, "tls": 5061}
"""RFC 3261 §19.1.2."""


@dataclass(frozen=True, slots=True)
class Flow:
    """One peer on one transport: the far address of a UDP exchange or of a TCP/TLS connection (RFC 3261 §18)."""

    transport: Transport
    host: str
    """Numeric address; IPv6 without brackets."""
    port: int
    fixed: bool = field(default=False, compare=False, repr=False)
    """The URI that led here named its transport (`;transport=udp`, RFC 3261 §19.1.1): no other is to be tried."""

    @property
    def reliable(self) -> bool:
        """True when the transport repeats lost octets itself, so that transactions do not."""
        return self.transport != "udp"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.transport}:{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Address:
    """A host and port as it is written into Via, Contact or SDP."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
