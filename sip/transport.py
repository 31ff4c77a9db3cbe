"""The asyncio shell: UDP and TCP sockets, one timer, and the drain loop around a UserAgent.

transport = await SipTransport.open(["udp://0.0.0.0:5060", "tcp://0.0.0.0:5060"])
ua = UserAgent(config, rng, transport.local_address, screen)
transport.run(ua, on_event)
...
await transport.close()
"""

import asyncio
import errno
import ipaddress
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from .connection import ConnectionTable
from .errors import TransportError
from .events import Event
from .flow import DEFAULT_PORT, Address, Flow
from .stream import StreamFramer
from .user_agent import UserAgent

_ROUTE_CACHE = 30.0
"""Seconds for which the kernel's choice of a source address is believed."""
_RECEIVE_BUFFER = 1 << 20


@dataclass(frozen=True, slots=True)
class _Listener:
    """One bound address."""

    transport: str
    host: str
    port: int
    wildcard: bool
    family: int
    datagrams: asyncio.DatagramTransport | None

    def __str__(self) -> str:
        return f"{self.transport}://{Address(self.host, self.port)}"


class SipTransport:
    """Listens on several addresses, keeps one connection per TCP flow, and drives one UserAgent."""

    def __init__(self) -> None:
        """Use `open`."""
        self._loop = asyncio.get_running_loop()
        self._listeners: list[_Listener] = []
        self._servers: list[asyncio.Server] = []
        self._connections = ConnectionTable(self._loop, self._received, self._broken, self._lost, self._source_for)
        self._ua: UserAgent | None = None
        self._on_event: Callable[[Event], None] | None = None
        self._tap: Callable[[bool, Flow, bytes], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._armed: float | None = None
        self._draining = False
        self._scheduled = False
        self._sending: Flow | None = None
        self._seen_by: dict[tuple[str, int], _Listener] = {}
        self._sources: dict[str, tuple[float, str]] = {}

    @classmethod
    async def open(cls, listen: Sequence[str]) -> "SipTransport":
        """Bind every `udp://host:port` and `tcp://host:port` (port 0: any). Raises TransportError with the address and
        the reason when one cannot be bound, and for tls:// which is not built yet."""
        shell = cls()
        try:
            for address in listen:
                await shell._listen(address)
        except TransportError:
            await shell.close()
            raise
        return shell

    @property
    def listening(self) -> list[str]:
        """What is bound, with the real ports: `udp://127.0.0.1:5060`."""
        return [str(listener) for listener in self._listeners]

    @property
    def connections(self) -> int:
        """TCP connections that are open or being opened."""
        return len(self._connections)

    def local_address(self, flow: Flow) -> Address:
        """Our numeric address and listening port towards `flow`; never a wildcard."""
        listener = self._listener_for(flow)
        if listener is None:
            return Address(self._route_to(flow.host), DEFAULT_PORT[flow.transport])
        return Address(self._route_to(flow.host) if listener.wildcard else listener.host, listener.port)

    def run(
        self,
        ua: UserAgent,
        on_event: Callable[[Event], None],
        tap: Callable[[bool, Flow, bytes], None] | None = None,
    ) -> None:
        """Start to drive `ua`; events reach `on_event` from the event loop, never from inside a UA call. Calls of the
        UA, its sessions and registrations are drained by themselves (`UserAgent.on_output`). `tap` sees every message:
        whether it was received, the far end, the octets."""
        self._ua = ua
        self._on_event = on_event
        self._tap = tap
        ua.on_output = self._schedule
        self.flush()

    def flush(self) -> None:
        """Drain now instead of at the loop's next turn."""
        if self._ua is None or self._draining:
            return
        self._draining = True
        try:
            self._drain(self._ua)
        finally:
            self._draining = False
            self._arm(self._ua)

    async def close(self) -> None:
        """Drain a last time, close every socket."""
        self.flush()
        if self._ua is not None:
            self._ua.on_output = None
            self._ua = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for server in self._servers:
            server.close()
        await self._connections.close()
        for listener in self._listeners:
            if listener.datagrams is not None:
                listener.datagrams.close()
        for server in self._servers:
            await server.wait_closed()

    # Binding

    async def _listen(self, address: str) -> None:
        transport, host, port = _split(address)
        try:
            bound = await self._bind(transport, host, port)
        except OSError as error:
            hint = "; another program listens there" if error.errno == errno.EADDRINUSE else ""
            raise TransportError(f"{address}: cannot listen: {error.strerror or error}{hint}") from error
        if transport == "udp":
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            datagrams, _ = await self._loop.create_datagram_endpoint(lambda: _Datagrams(self), sock=bound)
            self._add_listener("udp", bound, datagrams)
        else:
            server = await self._loop.create_server(self._connections.accept, sock=bound, backlog=512)
            self._servers.append(server)
            self._add_listener("tcp", bound, None)

    async def _bind(self, transport: str, host: str, port: int) -> socket.socket:
        """A bound socket; bound here, since the event loops hide why a bind failed."""
        kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
        found = await self._loop.getaddrinfo(host, port, type=kind, flags=socket.AI_PASSIVE)
        family, _, protocol, _, where = found[0]
        bound = socket.socket(family, kind, protocol)
        try:
            if transport == "tcp":
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            bound.setblocking(False)
            bound.bind(where)
            if transport == "tcp":
                bound.listen(512)
        except OSError:
            bound.close()
            raise
        return bound

    def _add_listener(self, transport: str, bound: Any, datagrams: asyncio.DatagramTransport | None) -> None:
        host, port = bound.getsockname()[:2]
        wildcard = ipaddress.ip_address(host).is_unspecified
        self._listeners.append(_Listener(transport, host, port, wildcard, bound.family, datagrams))

    # Input

    def datagram_received(self, listener_of: asyncio.BaseTransport, data: bytes, peer: tuple[str, int]) -> None:
        """From a UDP socket."""
        flow = Flow("udp", peer[0], peer[1])
        self._note_listener(listener_of, flow)
        self._received(flow, data)

    def datagram_failed(self, error: OSError) -> None:
        """A datagram could not be sent; which one is known while it is being sent."""
        if self._sending is not None:
            self._lost(self._sending, error.strerror or str(error))

    def _received(self, flow: Flow, data: bytes) -> None:
        if self._ua is not None:
            if self._tap is not None:
                self._tap(True, flow, data)
            self._ua.receive(data, flow, time.monotonic())
            self.flush()

    def _broken(self, flow: Flow, framer: StreamFramer) -> None:
        """The octets of a connection can no longer be cut into messages."""
        if self._ua is not None and framer.error is not None:
            self._ua.receive_broken(framer.error, flow)
            self.flush()

    def _lost(self, flow: Flow, reason: str) -> None:
        if self._ua is not None:
            self._ua.flow_failed(flow, reason, time.monotonic())
            self._schedule()

    def _note_listener(self, datagrams: asyncio.BaseTransport, flow: Flow) -> None:
        """With several UDP sockets, answer through the one that the peer knows."""
        if sum(listener.transport == "udp" for listener in self._listeners) < 2:
            return
        if len(self._seen_by) > 4096:
            self._seen_by.clear()
        for listener in self._listeners:
            if listener.datagrams is datagrams:
                self._seen_by[flow.host, flow.port] = listener

    # Output

    def _schedule(self) -> None:
        if not self._scheduled and not self._draining:
            self._scheduled = True
            self._loop.call_soon(self._run_scheduled)

    def _run_scheduled(self) -> None:
        self._scheduled = False
        self.flush()

    def _drain(self, ua: UserAgent) -> None:
        while True:
            for flow, data in ua.transmissions():
                self._send(flow, data)
            event = ua.next_event()
            if event is not None and self._on_event is not None:
                self._on_event(event)
            elif event is None and not ua.has_transmissions:
                return

    def _send(self, flow: Flow, data: bytes) -> None:
        if self._tap is not None:
            self._tap(False, flow, data)
        if flow.transport == "tcp":
            self._connections.send(flow, data)
            return
        listener = self._listener_for(flow)
        if flow.transport != "udp" or listener is None or listener.datagrams is None:
            self._lost_soon(flow, f"no {flow.transport} socket for this address family")
            return
        self._sending = flow
        try:
            listener.datagrams.sendto(data, (flow.host, flow.port))
        except (OSError, ValueError, OverflowError) as error:
            self._lost_soon(flow, str(error))
        finally:
            self._sending = None

    def _lost_soon(self, flow: Flow, reason: str) -> None:
        self._loop.call_soon(self._lost, flow, reason)

    def _arm(self, ua: UserAgent) -> None:
        """One call of the loop for the earliest timer; a later one is armed when the earlier fires."""
        due = ua.next_timer()
        if due is None or (self._armed is not None and self._armed <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._armed = due
        self._timer = self._loop.call_later(max(0.0, due - time.monotonic()), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = self._armed = None
        if self._ua is not None:
            self._ua.handle_timer(time.monotonic())
            self.flush()

    # Addresses

    def _listener_for(self, flow: Flow) -> _Listener | None:
        known = self._seen_by.get((flow.host, flow.port)) if flow.transport == "udp" else None
        if known is not None:
            return known
        family = socket.AF_INET6 if ":" in flow.host else socket.AF_INET
        fitting = [item for item in self._listeners if item.transport == flow.transport and item.family == family]
        if len(fitting) < 2:
            return fitting[0] if fitting else None
        source = self._route_to(flow.host)
        return next((item for item in fitting if item.host == source), fitting[0])

    def _source_for(self, flow: Flow) -> str | None:
        """The address that a new connection is bound to; None leaves it to the kernel."""
        listener = self._listener_for(flow)
        return None if listener is None or listener.wildcard else listener.host

    def _route_to(self, host: str) -> str:
        """The source address that the kernel would use. Connecting a UDP socket sends nothing."""
        now = time.monotonic()
        cached = self._sources.get(host)
        if cached is not None and cached[0] > now:
            return cached[1]
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((host, 9))
                source = str(probe.getsockname()[0])
            except (OSError, UnicodeError):
                source = "::1" if family == socket.AF_INET6 else "127.0.0.1"
        if len(self._sources) > 4096:
            self._sources.clear()
        self._sources[host] = now + _ROUTE_CACHE, source
        return source


class _Datagrams(asyncio.DatagramProtocol):
    """One UDP socket."""

    def __init__(self, shell: SipTransport) -> None:
        self._shell = shell
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        if self._transport is not None:
            self._shell.datagram_received(self._transport, data, (addr[0], addr[1]))

    def error_received(self, exc: Exception) -> None:
        if isinstance(exc, OSError):
            self._shell.datagram_failed(exc)


def _split(address: str) -> tuple[str, str, int]:
    try:
        parts = urlsplit(address)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError as error:
        raise TransportError(f"{address}: not a listen address ({error})") from error
    if scheme == "tls":
        raise TransportError(f"{address}: TLS is not supported yet; listen on udp:// or tcp://")
    if scheme not in ("udp", "tcp") or not host:
        raise TransportError(f"{address}: not a listen address; expected udp://host:port or tcp://host:port")
    return scheme, host, DEFAULT_PORT[scheme] if port is None else port
