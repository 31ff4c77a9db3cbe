"""Server-sent events: a page's changes, once a second, to everybody who looks at it.

A page is rendered once for all who look, and only while somebody does. A reader that does not keep up is cut off: it
connects again by itself and gets the page whole.
"""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable

import orjson
import structlog
from aiohttp import web

from .view import View, changes, whole

PERIOD_S = 1.0
LISTENERS = 32
"""Pages that are kept up to date at once; more are told to come back later."""
BEHIND = 3
"""Messages that may wait for one reader."""
SILENT_S = 30
"""Seconds after which a reader whose machine acknowledges nothing is gone."""
RETRY_MS = 2000
"""After a lost connection a browser waits this long."""

log = structlog.get_logger(__name__)

Render = Callable[[], Awaitable[View]]
Alive = Callable[[], bool]


class Listener:
    """One open page."""

    def __init__(self, alive: Alive, transport: asyncio.Transport | None) -> None:
        self.alive = alive
        self.new = True
        """It has not had the page yet."""
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(BEHIND)
        self._transport = transport

    def give(self, message: bytes) -> bool:
        """False when the reader is too far behind."""
        try:
            self._queue.put_nowait(message)
        except asyncio.QueueFull:
            return False
        return True

    def cut(self) -> None:
        """End the connection at once, whatever waits in it."""
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(None)
        if self._transport is not None:
            self._transport.abort()

    async def next(self) -> bytes | None:
        """The next message; None at the end."""
        return await self._queue.get()


class Topic:
    """One page that somebody looks at."""

    def __init__(self, render: Render) -> None:
        self.listeners: set[Listener] = set()
        self._render = render
        self._view: View | None = None

    async def tick(self) -> None:
        """Render, and tell what has changed; with nothing to tell, the time, which says that the page is up to date.
        Who is new gets the page whole."""
        before, self._view = self._view, await self._render()
        event = _event(changes(before, self._view)) if before is not None else b""
        entire = b""
        for listener in list(self.listeners):
            if listener.new:
                entire = entire or _event(whole(self._view))
            message = entire if listener.new else event
            listener.new = False
            if not listener.alive() or not listener.give(message):
                self.listeners.discard(listener)
                listener.cut()


def _event(message: dict[str, object]) -> bytes:
    return b"data: %b\n\n" % orjson.dumps({"now": round(time.time(), 1)} | message)


class Hub:
    """Everybody who looks."""

    def __init__(self) -> None:
        self._topics: dict[str, Topic] = {}
        self._ticking: asyncio.Task[None] | None = None

    @property
    def listeners(self) -> int:
        """How many look."""
        return sum(len(topic.listeners) for topic in self._topics.values())

    async def serve(
        self, request: web.Request, name: str, render: Render, alive: Alive, headers: dict[str, str]
    ) -> web.StreamResponse:
        """Answer with the stream of this page's changes until the reader goes, or `alive` says no more."""
        if self.listeners >= LISTENERS:
            return web.Response(status=503, text="too many open pages", headers=headers | {"Retry-After": "30"})
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = Topic(render)
        response = web.StreamResponse(headers=headers | {"Content-Type": "text/event-stream"})
        transport = request.transport
        _notice_silence(transport)
        listener = Listener(alive, transport)
        topic.listeners.add(listener)
        if self._ticking is None:
            self._ticking = asyncio.create_task(self._tick(), name="console")
        try:
            await response.prepare(request)
            await response.write(b"retry: %d\n\n" % RETRY_MS)
            while (message := await listener.next()) is not None:
                await response.write(message)
        except ConnectionError:
            log.debug("a console page went away")
        finally:
            topic.listeners.discard(listener)
            if not topic.listeners and self._topics.get(name) is topic:
                del self._topics[name]
        return response

    async def _tick(self) -> None:
        """Until nobody looks any more."""
        while self._topics:
            await asyncio.sleep(PERIOD_S - time.time() % PERIOD_S)
            for name, topic in list(self._topics.items()):
                try:
                    await topic.tick()
                except Exception:  # top frame: one page is not brought up to date, the gateway goes on
                    log.exception("a console page failed", page=name)
                    await self._drop(topic)
        self._ticking = None

    async def _drop(self, topic: Topic) -> None:
        for listener in list(topic.listeners):
            listener.cut()
        topic.listeners.clear()

    async def close(self) -> None:
        """End every stream, so that the server can stop."""
        for topic in list(self._topics.values()):
            await self._drop(topic)
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None


def _notice_silence(transport: asyncio.BaseTransport | None) -> None:
    sock = transport.get_extra_info("socket") if transport is not None else None
    if sock is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENT_S * 1000)
