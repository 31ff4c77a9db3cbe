"""What may listen in on a session: the flight recorder."""

from typing import Protocol

from .events import Address
from .packet import Fields


class Tap(Protocol):
    """Told of every packet as it came, whether or not the session takes it. Never raises, never waits."""

    def received(self, fields: Fields, source: Address, now: float) -> None:
        """One RTP packet that could be read."""
        ...

    def rtcp_received(self, data: bytes, source: Address, now: float) -> None:
        """One RTCP compound, read or not."""
        ...

    def rtcp_sent(self, data: bytes, now: float, wallclock: float) -> None:
        """One of ours; `wallclock` is the Unix time that its NTP timestamp was made of."""
        ...
