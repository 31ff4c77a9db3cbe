"""The sockets of one call: an even/odd pair of UDP ports and the session behind them. The only asyncio in this room.

Readers are registered with the loop and read one datagram a wake straight from the socket; while the session has
settled on one address the socket is connected to it. Measured against the alternatives (300 calls, 20 ms packets,
uvloop): a datagram endpoint costs 11 µs for one packet each way, an unconnected socket 12 µs, a connected one under 9
µs, because the kernel keeps the route and Python neither makes nor parses addresses. A connected socket also lets the
kernel drop what strangers send; it is disconnected as soon as the caller is silent, before another source may be
listened to.
"""

import asyncio
import ctypes
import errno
import socket
import time
from collections.abc import Callable, Sequence
from typing import Final

from .errors import PortsExhausted
from .events import Address
from .ports import PortRange
from .ring import Chunk
from .session import RtpSession

Sink = Callable[[Sequence[Chunk], float], None]
"""Called with what came out of the session (see ring.py) and the time; never with an empty sequence."""

_EXPEDITED_FORWARDING: Final = 46 << 2
"""DSCP EF (RFC 3246) as it stands in the TOS octet."""
_RECEIVE_BUFFER: Final = 64 * 1024
"""About a second of 20 ms packets as the kernel accounts for them: the loop may stall, a backlog beyond that is
useless."""
_DATAGRAM: Final = 2048
_BIND_ATTEMPTS: Final = 16

_libc = ctypes.CDLL(None, use_errno=True)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        if family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, _EXPEDITED_FORWARDING)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, _EXPEDITED_FORWARDING)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def _bind_pair(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    rtp = _bind(host, port)
    try:
        return rtp, _bind(host, port + 1)
    except OSError:
        rtp.close()
        raise


def _disconnect(sock: socket.socket) -> None:
    """Dissolve a UDP socket's association (connect to AF_UNSPEC, which Python's own connect does not offer)."""
    unspecified = ctypes.create_string_buffer(16)
    _libc.connect(sock.fileno(), unspecified, 16)


class RtpTransport:
    """One bound pair. Usage: `open` → (SDP says `local_port`) → `start(session, sink)` → `send` and `tick` each frame →
    `close`.

    The owner's clock drives it: `tick` once per 20 ms does everything timed (gaps, silence, RTCP, alarms).
    """

    def __init__(
        self,
        ports: PortRange,
        local_port: int,
        pair: tuple[socket.socket, socket.socket],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._ports = ports
        self.local_port = local_port
        """Even RTP port; RTCP is the next one."""
        self._rtp, self._rtcp = pair
        self._loop = loop
        self._session: RtpSession | None = None
        self._sink: Sink | None = None
        self._route = -1
        self._destination: Address | None = None
        self._connected: Address | None = None
        self._closed = False
        self.send_errors = 0
        """Sends that the kernel refused (ICMP port unreachable, full buffer)."""

    @classmethod
    def open(cls, ports: PortRange, host: str, loop: asyncio.AbstractEventLoop | None = None) -> "RtpTransport":
        """Bind a pair on `host`. Raises PortsExhausted (the call is refused with 503), OSError when `host` is not
        ours."""
        for _ in range(_BIND_ATTEMPTS):
            now = time.monotonic()
            port = ports.acquire(now)
            try:
                pair = _bind_pair(host, port)
            except OSError as error:
                ports.release(port, now)
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return cls(ports, port, pair, loop or asyncio.get_running_loop())
        raise PortsExhausted(f"{_BIND_ATTEMPTS} RTP port pairs in a row are taken by other programs")

    def start(self, session: RtpSession, sink: Sink) -> None:
        """Begin to read; datagrams go to the session, its chunks to `sink`."""
        self._session = session
        self._sink = sink
        self._loop.add_reader(self._rtp.fileno(), self._rtp_reader(session, sink))
        self._loop.add_reader(self._rtcp.fileno(), self._read_rtcp, session)

    def _rtp_reader(self, session: RtpSession, sink: Sink) -> Callable[[], None]:
        recv, recvfrom, receive, monotonic = self._rtp.recv, self._rtp.recvfrom, session.receive, time.monotonic

        def read() -> None:
            source = self._connected
            try:
                if source is None:
                    data, sender = recvfrom(_DATAGRAM)
                    source = sender[:2]
                else:
                    data = recv(_DATAGRAM)
            except OSError as error:
                # The kernel tells of ICMP port unreachable at whichever call comes next.
                self.send_errors += isinstance(error, ConnectionRefusedError)
                return
            now = monotonic()
            chunks = receive(data, source, now)
            if chunks:
                sink(chunks, now)

        return read

    def _read_rtcp(self, session: RtpSession) -> None:
        try:
            data, source = self._rtcp.recvfrom(_DATAGRAM)
        except OSError:
            return
        session.receive_rtcp(data, source[:2], time.monotonic())

    def send(self, packet: bytes) -> None:
        """Send one RTP packet to the session's destination, if it has one. Never raises; failures are counted."""
        try:
            if self._connected is not None:
                self._rtp.send(packet)
            elif self._destination is not None:
                self._rtp.sendto(packet, self._destination)
        except OSError:
            self.send_errors += 1

    def tick(self, now: float) -> None:
        """Once every frame, before `send`: poll the session (chunks go to the sink) and send RTCP when due."""
        session, sink = self._session, self._sink
        if session is None or sink is None:
            return
        chunks = session.poll(now)
        if chunks:
            sink(chunks, now)
        if session.route != self._route:
            self._follow(session)
        if session.rtcp_due(now):
            self._send_rtcp(session, session.rtcp(now, time.time()))

    def _follow(self, session: RtpSession) -> None:
        """Connect to the address that the session has settled on, or let go of it."""
        self._route = session.route
        settled = session.settled if session.sending else None
        self._destination = session.destination if session.sending else None
        if self._connected is not None and settled != self._connected:
            _disconnect(self._rtp)
            self._connected = None
        if settled is not None and self._connected is None:
            try:
                self._rtp.connect(settled)
            except OSError:
                self.send_errors += 1
            else:
                self._connected = settled

    def _send_rtcp(self, session: RtpSession, compound: bytes | None) -> None:
        destination = session.rtcp_destination
        if compound is None or destination is None:
            return
        muxed = destination == session.destination
        try:
            if muxed and self._connected is not None:
                self._rtp.send(compound)
            else:
                (self._rtp if muxed else self._rtcp).sendto(compound, destination)
        except OSError:
            self.send_errors += 1
        else:
            if session.on_rtcp is not None:
                session.on_rtcp(False, muxed, destination, compound)

    def close(self, now: float) -> None:
        """Send RTCP BYE, stop reading, release the ports; idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._session is not None:
            self._send_rtcp(self._session, self._session.bye(now, time.time()))
            self._loop.remove_reader(self._rtp.fileno())
            self._loop.remove_reader(self._rtcp.fileno())
        self._rtp.close()
        self._rtcp.close()
        self._session = self._sink = None
        self._destination = self._connected = None
        self._ports.release(self.local_port, now)
