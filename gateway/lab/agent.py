"""An agent server that speaks OpenAI Realtime, for the demo, the tests and the benchmark.

In a process of its own: `python -m trunkline.gateway.lab.agent --listen 127.0.0.1:0` prints its address as one JSON
line. What its sessions went through is at `GET /lab/sessions` (JSON) and below: `/lab/sessions/N/audio` the caller's
octets, `/lab/sessions/N/appends` and `/lab/sessions/N/deltas` pairs of native doubles (monotonic seconds, octets).
"""

import argparse
import asyncio
import contextlib
import hmac
import signal
import sys
from typing import Any, Self

import aiohttp
import msgspec
import uvloop
from aiohttp import WSCloseCode, web

from .agent_options import AgentOptions, Faults
from .agent_session import AgentSession

__all__ = ["AgentOptions", "AgentServer", "AgentSession", "Faults"]


class AgentServer:
    """Listens on `host`:`port` (0: any free port) from `start` to `stop`; also an async context manager."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, options: AgentOptions | None = None) -> None:
        self.host = host
        self.port = port
        self.options = options if options is not None else AgentOptions()
        """May be replaced while the server runs; holds for sessions that begin later."""
        self.sessions: list[AgentSession] = []
        self.refused = 0
        """Upgrades that were answered with an error."""
        self._websockets: set[web.WebSocketResponse] = set()
        self._arrivals = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """What a client takes as its base URL."""
        return f"ws://{self.host}:{self.port}/v1"

    async def start(self) -> None:
        """Bind and listen. Raises OSError."""
        application = web.Application()
        application.router.add_get("/v1/realtime", self._realtime)
        application.router.add_get("/lab/sessions", self._list)
        application.router.add_get("/lab/sessions/{number}", self._show)
        application.router.add_get("/lab/sessions/{number}/{part}", self._octets)
        self._runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close every session and stop listening."""
        for websocket in list(self._websockets):
            await websocket.close(code=WSCloseCode.GOING_AWAY)
        if self._runner is not None:
            await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    async def session(self, number: int = 0, timeout_s: float = 10.0) -> AgentSession:
        """The session of this number, counted from 0, waiting for it if need be. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s), self._arrivals:
            await self._arrivals.wait_for(lambda: len(self.sessions) > number)
        return self.sessions[number]

    def _refusal(self, request: web.Request) -> web.Response | None:
        faults = self.options.faults
        if faults.refuse_status is not None and len(self.sessions) < faults.sessions:
            code = "rate_limit_exceeded" if faults.refuse_status == 429 else "refused"
            return _error(faults.refuse_status, code, "Refused by the lab.")
        key = self.options.api_key
        shown = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if key is not None and not hmac.compare_digest(shown.encode(), key.encode()):
            return _error(401, "invalid_api_key", f"Incorrect API key provided: {shown}.")
        return None

    async def _realtime(self, request: web.Request) -> web.StreamResponse:
        refusal = self._refusal(request)
        if refusal is not None:
            self.refused += 1
            return refusal
        websocket = web.WebSocketResponse(compress=False, max_msg_size=0)
        await websocket.prepare(request)
        model = request.query.get("model", "gpt-realtime-2.1")
        session = AgentSession(len(self.sessions), model, self.options, websocket.send_str)
        self.sessions.append(session)
        self._websockets.add(websocket)
        async with self._arrivals:
            self._arrivals.notify_all()
        watch = asyncio.get_running_loop().create_task(_watch(session, request, websocket))
        try:
            await session.start()
            async for message in websocket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    await session.receive(message.data)
        except ConnectionError:
            pass
        finally:
            watch.cancel()
            self._websockets.discard(websocket)
            session.finish()
        return websocket

    async def _list(self, request: web.Request) -> web.Response:
        return _json([session.summary() for session in self.sessions])

    async def _show(self, request: web.Request) -> web.Response:
        return _json(self._named(request).summary())

    async def _octets(self, request: web.Request) -> web.Response:
        session = self._named(request)
        parts = {
            "audio": lambda: bytes(session.audio),
            "appends": session.append_times.tobytes,
            "deltas": session.delta_times.tobytes,
        }
        part = parts.get(request.match_info["part"])
        if part is None:
            raise web.HTTPNotFound
        return web.Response(body=part(), content_type="application/octet-stream")

    def _named(self, request: web.Request) -> AgentSession:
        try:
            return self.sessions[int(request.match_info["number"])]
        except (ValueError, IndexError):
            raise web.HTTPNotFound from None


async def _watch(session: AgentSession, request: web.Request, websocket: web.WebSocketResponse) -> None:
    """End the connection when a fault says so."""
    faults = session.faults
    limits = [limit for limit in (faults.drop_after_s, faults.expires_in_s) if limit is not None]
    try:
        async with asyncio.timeout(min(limits) if limits else None):
            await session.drop.wait()
    except TimeoutError:
        pass
    if faults.expires_in_s is not None and not session.drop.is_set():
        await session.expire()
        await websocket.close(code=WSCloseCode.GOING_AWAY)
    elif faults.close_code is not None:
        await websocket.close(code=faults.close_code)
    elif request.transport is not None:
        request.transport.abort()


def _json(value: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")


def _error(status: int, code: str, message: str) -> web.Response:
    problem = {"error": {"type": "invalid_request_error", "code": code, "message": message}}
    return web.Response(status=status, body=msgspec.json.encode(problem), content_type="application/json")


async def _serve(host: str, port: int, options: AgentOptions) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AgentServer(host, port, options) as server:
        sys.stdout.write(msgspec.json.encode({"url": server.url, "port": server.port}).decode() + "\n")
        sys.stdout.flush()
        await stop.wait()


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="trunkline.gateway.lab.agent", description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT")
    parser.add_argument("--api-key", help="let in only this key")
    parser.add_argument("--script", help="answers, comma-separated: piece[+piece…][:function]")
    parser.add_argument("--dialect", choices=("ga", "beta"), default="ga")
    parser.add_argument("--delta-ms", type=int, default=100, help="audio in one delta")
    parser.add_argument("--speed", type=float, default=10.0, help="times real time; 0: at once")
    parser.add_argument("--think-ms", type=float, default=0.0)
    parser.add_argument("--talk", action="store_true", help="one endless answer, for load")
    parser.add_argument("--forget-audio", action="store_true", help="keep no octets and no times")
    parser.add_argument("--faults", default="{}", help="JSON object of faults")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    arguments = _arguments(argv)
    host, _, port = arguments.listen.rpartition(":")
    options = AgentOptions(
        api_key=arguments.api_key,
        dialect=arguments.dialect,
        delta_ms=arguments.delta_ms,
        speed=arguments.speed,
        think_ms=arguments.think_ms,
        talk=arguments.talk,
        keep_audio=not arguments.forget_audio,
        faults=msgspec.json.decode(arguments.faults, type=Faults),
    )
    if arguments.script:
        options = msgspec.structs.replace(options, script=tuple(arguments.script.split(",")))
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_serve(host, int(port), options))


if __name__ == "__main__":
    main()
