"""The admin API: health, readiness, call records, placing and ending calls. Errors are RFC 9457 problem documents.

| request | answer |
| --- | --- |
| GET /healthz | 200: the process is alive |
| GET /readyz | 200, or 503 with the reasons |
| GET /metrics | 200: every metric, for Prometheus (docs/metrics.md) |
| GET /api/calls?limit=&before=&live=true&… | 200 `{calls: […], next: ID or null}`, newest first |
| GET /api/calls.csv, /api/calls.json | 200: all calls that the same conditions find, as a file |
| GET /api/calls/{id} | 200: the record, with `live` while the call is up |
| POST /api/calls `{to, agent, trunk?}` | 201 with `Location` |
| /api/alerts… | http_alerts.py |
| POST /api/reload | 200 `{changed: […], restart: […]}`; 422 with the mistakes of the file, a line each |
| DELETE /api/calls/{id} | 202: the call is being ended; 409 when it has ended already |
"""

import asyncio
import logging
import os
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, cast

import msgspec
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.log import server_logger

from .config_tables import HttpConfig
from .errors import GatewayError
from .flight.ladder import Flights
from .http_alerts import AlertRoutes, Alerts
from .http_guard import Problem, bears, guard, json_response, problems
from .record import CallRecord
from .record_export import exported
from .record_search import RecordQuery, searchable
from .records import RecordsHealth
from .reload import Reload

BODY_LIMIT = 64 * 1024
"""Largest body that is read, octets."""
LIMIT_MOST = 1000
"""Most records of one answer."""
CONNECTIONS_MOST = 512
"""Connections at once, idle ones included: the process's descriptors are for calls."""

Q = TypeVar("Q", bound=RecordQuery)


class Readiness(msgspec.Struct):
    """Whether the gateway can take calls, and of each part how it stands."""

    reasons: list[str] = []
    """Why it is not ready, one sentence each; empty when it is."""
    parts: dict[str, str] = {}
    """For each part one word or address: `{"trunk vonage": "registered", "worker 1": "alive"}`."""


class LiveCall(msgspec.Struct):
    """A call that has not ended, as it stands now."""

    record: CallRecord
    state: str
    """`ringing`, `answered`, `held` or `ending`."""
    speaker: str | None = None
    """`caller`, `agent`, `both` or `nobody`; None before the first status of its worker."""
    caller_dbov: float | None = None
    agent_dbov: float | None = None
    queued_ms: float | None = None
    """Agent audio that waits to be played, ms."""


class Gateway(Protocol):
    """What the API asks of the switch."""

    def readiness(self) -> Readiness:
        """Sockets bound, trunks registered or reachable, workers alive. The records' health is added by the API."""
        ...

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Every metric in the form that the Accept header asks for, and its Content-Type."""
        ...

    def live_calls(self) -> list[LiveCall]:
        """Every call that has not ended, in any order."""
        ...

    async def place_call(self, to: str, agent: str, trunk: str | None) -> str:
        """Start an outbound call and return its identifier at once. Raises CallRefused (404 unknown agent or trunk,
        409 several trunks and none named, 503 full or stopping)."""
        ...

    def hang_up(self, call_id: str) -> bool:
        """Begin to end a live call on the operator's word; False when there is no such live call."""
        ...


class Records(Protocol):
    """What the API asks of the records."""

    @property
    def health(self) -> RecordsHealth:
        """How the writing goes."""
        ...

    async def get(self, call_id: str) -> CallRecord | None:
        """One record."""
        ...

    async def list(
        self, limit: int = 50, before: str | None = None, query: RecordQuery | None = None
    ) -> "list[CallRecord]":
        """The newest records first."""
        ...


class Site(Protocol):
    """Pages beside the API, which judge for themselves who may see them."""

    def routes(self) -> list[web.RouteDef]:
        """What they answer."""
        ...

    async def close(self, application: web.Application) -> None:
        """End what is being answered."""
        ...


class PlaceCall(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /api/calls."""

    to: str
    agent: str
    trunk: str | None = None


class ExportQuery(RecordQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The query of GET /api/calls.csv."""


class CallQuery(RecordQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The query of GET /api/calls."""

    limit: int = 50
    before: str | None = None
    live: bool = False


class AdminServer:
    """The listening socket and what answers on it."""

    def __init__(
        self,
        config: HttpConfig,
        gateway: Gateway,
        records: Records,
        reload: Callable[[], Reload] | None = None,
        console: Site | None = None,
        alerts: Alerts | None = None,
        flights: Flights | None = None,
    ) -> None:
        """`reload` reads the configuration again; what is left out cannot be asked for. `console` has more routes."""
        self._console = console
        self._alerts = alerts
        self._flights = flights
        self._reload = reload
        self._listen = config.listen
        self._token = config.token.get_secret_value() if config.token else None
        self._gateway = gateway
        self._records = records
        server_logger.addFilter(_worth_a_line)
        self._runner = web.AppRunner(self.application(), access_log=None, handle_signals=False)
        self._listening: asyncio.Server | None = None

    def application(self) -> web.Application:
        """The routes behind the guard."""
        application = web.Application(middlewares=[problems, guard(self._token)], client_max_size=BODY_LIMIT)
        application.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
                web.get("/api/calls", self._list_calls),
                web.get("/api/calls.{form:csv|json}", self._export_calls),
                web.post("/api/calls", self._place_call),
                web.get("/api/calls/{id}", self._show_call),
                web.delete("/api/calls/{id}", self._hang_up),
            ]
        )
        if self._flights is not None:
            application.add_routes([web.get("/api/calls/{id}/trace", self._trace_call)])
        if self._reload is not None:
            application.add_routes([web.post("/api/reload", self._reload_now)])
        if self._alerts is not None:
            application.add_routes(AlertRoutes(self._alerts).routes())
        application.on_response_prepare.append(_unadorned)
        if self._console is not None:
            application.add_routes(self._console.routes())
            application.on_shutdown.append(self._console.close)
        return application

    async def start(self) -> int:
        """Bind and listen; returns the port. Raises GatewayError when the address cannot be bound."""
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        try:
            self._listening = await loop.create_server(self._accept, self._listen.host, self._listen.port)
        except OSError as error:
            await self._runner.cleanup()
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise GatewayError(
                f"[http] listen: {self._listen}: cannot listen: {reason}; free the address, or choose another"
            ) from None
        return self._listening.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and end what is being answered; idempotent."""
        if self._listening is not None:
            self._listening.close()
        await self._runner.cleanup()

    def _accept(self) -> asyncio.Protocol:
        server = self._runner.server
        if server is None or len(server.connections) >= CONNECTIONS_MOST:
            return _Refused()
        return server()

    async def _healthz(self, _request: web.Request) -> web.Response:
        return json_response({"alive": True})

    async def _readyz(self, request: web.Request) -> web.Response:
        readiness = self._gateway.readiness()
        health = self._records.health
        reasons = list(readiness.reasons)
        if not health.writable:
            reasons.append(f"call records cannot be written: {health.reason}")
        parts = readiness.parts
        if self._alerts is not None:
            reasons += self._alerts.troubles()
            parts = parts | self._alerts.parts()
        if self._flights is not None:
            parts = parts | self._flights.parts()
        body: dict[str, Any] = {"ready": not reasons}
        if self._token is None or bears(request, self._token):
            body |= {"reasons": reasons, "parts": parts, "records_queued": health.queued}
        return json_response(body, status=503 if reasons else 200)

    async def _metrics(self, request: web.Request) -> web.Response:
        body, content_type = self._gateway.exposition(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _list_calls(self, request: web.Request) -> web.Response:
        query = _query(request, CallQuery)
        if not 1 <= query.limit <= LIMIT_MOST:
            raise Problem(400, f"the query is wrong: limit is from 1 to {LIMIT_MOST}")
        found = {call.record.id: _live_body(call) for call in self._gateway.live_calls() if _fits(call.record, query)}
        if not query.live:
            past = await self._records.list(query.limit + 1, query.before, query)
            found = {record.id: _body(record) for record in past} | found
        for body in found.values():
            # hours of slices, a thousand times over: a call's own page has them
            del body["timeline"]
        ids = sorted(found, reverse=True)
        shown = ids[: query.limit]
        more = shown[-1] if len(ids) > len(shown) else None
        # one by one and in a thread: a thousand at once would hold the switch's loop
        calls = await asyncio.to_thread(lambda: [msgspec.Raw(msgspec.json.encode(found[call_id])) for call_id in shown])
        return json_response({"calls": calls, "next": more})

    async def _export_calls(self, request: web.Request) -> web.StreamResponse:
        return await exported(request, self._records, _query(request, ExportQuery), request.match_info["form"])

    async def _show_call(self, request: web.Request) -> web.Response:
        call_id = request.match_info["id"]
        for call in self._gateway.live_calls():
            if call.record.id == call_id:
                return json_response(_live_body(call))
        return json_response(await self._recorded(call_id))

    async def _trace_call(self, request: web.Request) -> web.Response:
        if self._flights is None:
            raise web.HTTPNotFound
        call_id = request.match_info["id"]
        live = [call.record for call in self._gateway.live_calls() if call.record.id == call_id]
        record = live[0] if live else await self._recorded(call_id)
        ladder = await self._flights.ladder(call_id)
        return json_response({"call": record, "ladder": ladder})

    async def _place_call(self, request: web.Request) -> web.Response:
        if request.content_type != "application/json":
            raise Problem(415, "the body must be application/json")
        try:
            order = msgspec.json.decode(await request.read(), type=PlaceCall)
        except msgspec.DecodeError as error:
            raise Problem(400, f"the body is not a call to place: {error}") from None
        call_id = await self._gateway.place_call(order.to, order.agent, order.trunk)
        return json_response({"id": call_id}, status=201, headers={"Location": f"/api/calls/{call_id}"})

    async def _hang_up(self, request: web.Request) -> web.Response:
        call_id = request.match_info["id"]
        if self._gateway.hang_up(call_id):
            return json_response({"id": call_id}, status=202)
        await self._recorded(call_id)
        raise Problem(409, f"call {call_id} has already ended")

    async def _reload_now(self, _request: web.Request) -> web.Response:
        if self._reload is None:
            raise web.HTTPNotFound
        outcome = self._reload()
        return json_response({"changed": outcome.changed, "restart": outcome.restart})

    async def _recorded(self, call_id: str) -> CallRecord:
        record = await self._records.get(call_id)
        if record is None:
            raise Problem(404, f"there is no call {call_id}")
        return record


async def _unadorned(_request: web.Request, response: web.StreamResponse) -> None:
    """No page takes an answer for a script, and nobody learns the releases that made it."""
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Server"] = "trunkline"


class _Refused(asyncio.Protocol):
    """One connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's
        cast(asyncio.Transport, transport).abort()


def _worth_a_line(record: logging.LogRecord) -> bool:
    """What is no HTTP has its answer (400); with a traceback for each, anybody could fill the log."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError | web.RequestPayloadError))


def _query(request: web.Request, kind: type[Q]) -> Q:
    try:
        return msgspec.convert(dict(request.query), kind, strict=False)
    except msgspec.ValidationError as error:
        raise Problem(400, f"the query is wrong: {error}") from None


def _fits(record: CallRecord, query: CallQuery) -> bool:
    return (query.before is None or record.id < query.before) and query.admits(searchable(record))


def _live_body(call: LiveCall) -> dict[str, Any]:
    live = _body(call)
    return _body(live.pop("record")) | {"live": live}


def _body(struct: msgspec.Struct) -> dict[str, Any]:
    """Its members, for JSON; only the names are copied, since a call of a day has thousands of slices."""
    return {field.encode_name: getattr(struct, field.name) for field in msgspec.structs.fields(struct)}
