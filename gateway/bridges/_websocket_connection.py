"""A client connection whose text messages take the short way: from the socket's octets to whoever waits for them.

The library reads each frame through a generator, an object, a queue and a lock, and a service that speaks sends a dozen
messages a second in each call. Here text messages of one frame are cut out of the stream first; everything else (the
handshake, fragments, pings, the close, errors) goes to the library, unchanged and in order.
"""

import asyncio
import logging
import sys
from collections import deque
from typing import Any, Final

from websockets.asyncio.client import ClientConnection
from websockets.frames import Frame, Opcode
from websockets.protocol import Event, State

_TEXT: Final = 0x80 | Opcode.TEXT
"""First octet of a text message in one frame, without extensions."""
_MASKED: Final = 0x80
_HEAD_LIMIT: Final = 65536
"""Octets of an answer to the handshake after which the library may judge it as it is."""
_LARGE: Final = 1 << 20
"""Octets of a frame that is not kept here until it is whole: the library collects it better."""

_silent = logging.Logger("closed", logging.CRITICAL)
"""In place of one that knows its connection."""


def frame_bounds(data: bytes, start: int) -> tuple[int, int] | None:
    """Where the payload of the frame at `start` begins and where it ends (RFC 6455 section 5.2); None while its header
    is not whole. The end may lie beyond what has come."""
    available = len(data) - start
    if available < 2:
        return None
    second = data[start + 1]
    size = second & 0x7F
    extended = 2 if size == 126 else 8 if size == 127 else 0
    head = 2 + extended + (4 if second & _MASKED else 0)
    if available < head:
        return None
    if extended:
        size = int.from_bytes(data[start + 2 : start + 2 + extended], "big")
    return start + head, start + head + size


class TextConnection(ClientConnection):
    """`connect(…, create_connection=TextConnection)`; its messages are read by `receive`, not by `recv`.

    Invariant: the library has been given the answer to the handshake and whole frames, except for `_owed` octets that
    are to come; None while the answer's length is not known.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._messages: deque[bytes] = deque()
        self._parts: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None
        self._held = b""
        self._owed: int | None = None

    async def receive(self) -> bytes:
        """The next message, undecoded. Raises ConnectionClosed once there is none any more."""
        while not self._messages:
            if self.protocol.state is State.CLOSED:
                return await self.recv(decode=False)  # raises what ended it
            self._waiter = self.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._messages.popleft()

    def let_go(self) -> None:
        """After `close`: the library's cycles are cut, so that what is closed is freed at once and not by a collector
        that stops every call of the process."""
        if self.protocol.state is State.CLOSED:
            self.protocol.parser.close()
            self.logger = self.protocol.logger = _silent
            self.keepalive_task = None

    # What the transport tells

    def data_received(self, data: bytes) -> None:
        if self._held:
            data = self._held + data
            self._held = b""
        start = self._begin(data)
        while (bounds := frame_bounds(data, start)) is not None:
            payload, end = bounds
            if end > len(data):
                if end - start > _LARGE:
                    self._owed = end - len(data)
                    super().data_received(data[start:])
                    start = len(data)
                break
            if data[start] == _TEXT and not data[start + 1] & _MASKED:
                self._deliver(data[payload:end])
            else:
                super().data_received(data[start:end])
            start = end
        self._held += data[start:]

    def _begin(self, data: bytes) -> int:
        """Hand the library what it is owed, first of all the answer to the handshake; where the next frame begins."""
        if self._owed is None:
            blank = data.find(b"\r\n\r\n")
            if blank < 0 and len(data) < _HEAD_LIMIT:
                self._held = data
                return len(data)
            # what is no upgrade has a body, and no frames after it
            self._owed = blank + 4 if data.startswith(b"HTTP/1.1 101 ") else sys.maxsize
        end = min(len(data), self._owed)
        if end:
            self._owed -= end
            super().data_received(data[:end])
        return end

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._wake()

    # What the library tells

    def process_event(self, event: Event) -> None:
        if isinstance(event, Frame) and event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            self._parts.append(bytes(event.data))
            if event.fin:
                self._deliver(b"".join(self._parts))
                self._parts.clear()
        else:
            super().process_event(event)

    def _deliver(self, message: bytes) -> None:
        self._messages.append(message)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
