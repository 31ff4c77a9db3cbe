"""An HTTP server of the test's own that keeps what it is sent and answers as it is told."""

import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import orjson
from aiohttp import web

from .ports import HOST

Answering = Callable[[web.Request, bytes], Awaitable[web.StreamResponse]]


@dataclass
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


class Receiver:
    """An asynchronous context manager; answers with `answers` in turn, and with the last of them for ever."""

    def __init__(self, *answers: tuple[int, dict[str, str], bytes], tls: ssl.SSLContext | None = None) -> None:
        self.answers = list(answers) or [(200, {}, b"")]
        self.requests: list[Received] = []
        self._tls = tls

    async def answer(self, request: web.Request, _body: bytes) -> web.StreamResponse:
        """Overridden by receivers with rules of their own."""
        status, headers, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return web.Response(status=status, headers=headers, body=body)

    async def _take(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests.append(Received(request.path_qs, dict(request.headers), body))
        return await self.answer(request, body)

    async def __aenter__(self) -> Self:
        application = web.Application(client_max_size=1 << 20)
        application.router.add_route("*", "/{path:.*}", self._take)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, 0, ssl_context=self._tls).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    def url(self, path: str = "/") -> str:
        scheme = "https" if self._tls else "http"
        return f"{scheme}://{HOST}:{self.port}{path}"
