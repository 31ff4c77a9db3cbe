"""What the console asks of the gateway's other parts. Nothing here waits, but for the records."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from ..alerts.alert import Alert


class LadderLine(msgspec.Struct, frozen=True):
    """One SIP message of a call."""

    at: str
    """When it came or went, RFC 3339 in UTC with milliseconds."""
    received: bool
    """True: it came from the far end."""
    far_end: str
    """`udp 203.0.113.7:5060`."""
    summary: str
    """Its first line without `SIP/2.0`: `INVITE sip:15550123@203.0.113.7`, `180 Ringing`."""
    text: str = ""
    """The whole message without its credentials."""


class SipLadder(Protocol):
    """The flight recorder, as far as the console reads it."""

    def ladder(self, call_id: str) -> Sequence[LadderLine] | None:
        """The SIP messages of a call, live or kept, oldest first; None when nothing is kept of it."""
        ...


class Alerts(Protocol):
    """The alert service, as far as the console reads it."""

    def list(self) -> Sequence[Alert]:
        """Every open alert, and the last ones that are resolved, in any order; 200 at most."""
        ...

    def acknowledge(self, alert_id: str, by: str) -> bool:
        """Somebody owns it now; False when there is no such open alert."""
        ...
