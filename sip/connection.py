"""TCP connections of the asyncio shell: one per flow, opened when something is to be sent, reused both ways."""

import asyncio
import os
import time
from collections.abc import Callable
from typing import cast

from .flow import Flow
from .message import KEEPALIVE
from .stream import StreamFramer

CONNECT_TIMEOUT = 4.0
"""Seconds; short, since a request that is large for UDP waits for it before it goes by UDP after all."""
IDLE_LIMIT = 900.0
"""Seconds of silence after which a connection that the peer opened is closed."""
PING_INTERVAL = 60.0
"""Seconds of silence after which a connection that we opened gets a double CRLF (RFC 5626 §3.5.1), for the NATs."""
FIRST_MESSAGE_LIMIT = 30.0
"""Seconds that a peer has for its first whole message after it connected."""
MAX_CONNECTIONS = 4096
MAX_PER_HOST = 256
"""Inbound connections of one address: a stranger may not take them all."""
WRITE_LIMIT = 1 << 18
"""Octets that may wait for a peer that does not read, before its connection is dropped."""


class Connection(asyncio.Protocol):
    """One TCP connection, opened by either side."""

    def __init__(self, table: "ConnectionTable", flow: Flow | None) -> None:
        """`flow` None: the peer opened it."""
        self.flow = flow
        self.inbound = flow is None
        self.last_active = self.opened = time.monotonic()
        self.heard = False
        """Whether a whole message came."""
        self._table = table
        self._framer = StreamFramer()
        self._transport: asyncio.Transport | None = None
        self._waiting: list[bytes] = []
        self._waiting_octets = 0
        self.connecting: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Connection {self.flow} {'inbound' if self.inbound else 'outbound'}>"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio.Protocol."""
        self._transport = cast(asyncio.Transport, transport)
        if self.flow is None:
            peer = transport.get_extra_info("peername")
            if not peer or not self._table.add_inbound(self, Flow("tcp", peer[0], peer[1])):
                self._transport.abort()
                return
        for data in self._waiting:
            self._transport.write(data)
        self._waiting.clear()

    def data_received(self, data: bytes) -> None:
        """asyncio.Protocol."""
        flow = self.flow
        if flow is None:
            return
        self.last_active = time.monotonic()
        for message in self._framer.feed(data):
            if message == KEEPALIVE:
                self.send(b"\r\n")
            else:
                self.heard = True
                self._table.received(flow, message)
        if self._framer.error is not None:
            self._table.broken(flow, self._framer)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio.Protocol."""
        self._table.remove(self, str(exc) if exc is not None else "connection closed")

    def send(self, data: bytes) -> None:
        """Write, or keep until the connection stands. A peer that does not read loses its connection."""
        self.last_active = time.monotonic()
        if self._transport is None:
            self._waiting.append(data)
            self._waiting_octets += len(data)
            if self._waiting_octets > WRITE_LIMIT:
                self.abort()
        elif self._transport.get_write_buffer_size() + len(data) > WRITE_LIMIT:
            self.abort()
        else:
            self._transport.write(data)

    def says_nothing(self, now: float) -> bool:
        """Whether the peer has had its time for a first message."""
        return not self.heard and now - self.opened > FIRST_MESSAGE_LIMIT

    def close(self) -> None:
        """After what is written."""
        if self._transport is not None:
            self._transport.close()
        elif self.connecting is not None:
            self.connecting.cancel()

    def abort(self) -> None:
        """At once: the peer does not read."""
        if self._transport is not None:
            self._transport.abort()
        elif self.connecting is not None:
            self.connecting.cancel()
        self._table.remove(self, "the peer does not read what is sent")


class ConnectionTable:
    """Every TCP connection by its flow."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        received: Callable[[Flow, bytes], None],
        broken: Callable[[Flow, StreamFramer], None],
        lost: Callable[[Flow, str], None],
        source_for: Callable[[Flow], str | None],
    ) -> None:
        """`source_for` gives the local address that a new connection is bound to, None for any."""
        self.received = received
        self.broken = broken
        self._loop = loop
        self._lost = lost
        self._source_for = source_for
        self._connections: dict[Flow, Connection] = {}
        self._sweep = loop.call_later(PING_INTERVAL / 2, self._on_sweep)
        self._closed = False

    def __len__(self) -> int:
        return len(self._connections)

    def accept(self) -> Connection:
        """Protocol factory for a server."""
        return Connection(self, None)

    def add_inbound(self, connection: Connection, flow: Flow) -> bool:
        """Take a connection in; False when there are too many."""
        if self._closed or len(self._connections) >= MAX_CONNECTIONS:
            return False
        if (
            sum(other.host == flow.host and self._connections[other].inbound for other in self._connections)
            >= MAX_PER_HOST
        ):
            return False
        connection.flow = flow
        self._connections[flow] = connection
        return True

    def send(self, flow: Flow, data: bytes) -> None:
        """Send over the connection of `flow`, opened when there is none. `lost` is called when that fails."""
        connection = self._connections.get(flow)
        if connection is None:
            if self._closed:
                return
            connection = self._connections[flow] = Connection(self, flow)
            connection.connecting = self._loop.create_task(self._connect(connection, flow))
        connection.send(data)

    def remove(self, connection: Connection, reason: str) -> None:
        """A connection is gone."""
        flow = connection.flow
        if flow is not None and self._connections.get(flow) is connection:
            del self._connections[flow]
            self._lost(flow, reason)

    async def close(self) -> None:
        """Close everything; nothing is reported."""
        self._closed = True
        self._sweep.cancel()
        connections = list(self._connections.values())
        self._connections.clear()
        connecting = [item.connecting for item in connections if item.connecting is not None]
        for connection in connections:
            connection.close()
        await asyncio.gather(*connecting, return_exceptions=True)
        # What was written last leaves in the loop's next turns.
        await asyncio.sleep(0)

    async def _connect(self, connection: Connection, flow: Flow) -> None:
        source = self._source_for(flow)
        local = (source, 0) if source is not None else None
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await self._loop.create_connection(lambda: connection, flow.host, flow.port, local_addr=local)
        except TimeoutError:
            self.remove(connection, f"no connection within {CONNECT_TIMEOUT:g} s")
        except OSError as error:
            # The event loops put the address in the place of the reason.
            self.remove(connection, os.strerror(error.errno) if error.errno else str(error))

    def _on_sweep(self) -> None:
        now = time.monotonic()
        for connection in list(self._connections.values()):
            silent = now - connection.last_active
            if connection.inbound and (silent > IDLE_LIMIT or connection.says_nothing(now)):
                connection.close()
            elif not connection.inbound and silent > PING_INTERVAL:
                connection.send(KEEPALIVE)
        self._sweep = self._loop.call_later(PING_INTERVAL / 2, self._on_sweep)
