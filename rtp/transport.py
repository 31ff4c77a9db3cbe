"""The sockets of one call: an even/odd pair of UDP ports and the session behind them. The only asyncio in this room."""

import asyncio
from collections.abc import Callable, Sequence

from .ports import PortRange
from .ring import Chunk
from .session import RtpSession

Sink = Callable[[Sequence[Chunk], float], None]
"""Called with what came out of the session (see ring.py) and the time; never with an empty sequence."""


class RtpTransport:
    """One bound pair. Usage: `open` → (SDP says local_port) → `start(session, sink)` → `send`/`tick` each frame → `close`.

    The owner's clock drives it: `tick` once per 20 ms does everything timed (gaps, silence, RTCP, alarms)."""

    local_port: int
    """Even RTP port; RTCP is the next one."""

    @classmethod
    def open(cls, ports: PortRange, host: str, loop: asyncio.AbstractEventLoop | None = None) -> "RtpTransport":
        """Bind a pair on `host`. Raises PortsExhausted (the call is refused with 503)."""
        raise NotImplementedError

    def start(self, session: RtpSession, sink: Sink) -> None:
        """Begin to read; datagrams go to the session, its chunks to `sink`."""
        raise NotImplementedError

    def send(self, packet: bytes) -> None:
        """Send one RTP packet to the session's destination, if it has one. Never raises; failures are counted."""
        raise NotImplementedError

    def tick(self, now: float) -> None:
        """Once every frame: poll the session (chunks go to the sink) and send RTCP when due."""
        raise NotImplementedError

    def close(self, now: float) -> None:
        """Send RTCP BYE, stop reading, release the ports; idempotent."""
        raise NotImplementedError

    send_errors: int
    """Sends that the kernel refused (ICMP port unreachable, full buffer)."""
