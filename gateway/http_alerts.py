"""The admin API of the alerts.

| request | answer |
| --- | --- |
| GET /api/alerts?state=open\\|all&limit= | 200 `{alerts: […]}`, newest first |
| GET /api/alerts/{id} | 200: one alert |
| POST /api/alerts/{id}/acknowledge `{by}` | 200: the alert, which now has an owner; 409 when it is resolved already |
| POST /api/alerts/test `{channel}` | 200: what happened, also when nothing was delivered |
"""

from collections.abc import Sequence
from typing import Annotated, Literal, Protocol, TypeVar

import msgspec
from aiohttp import web

from .alerts.alert import Alert
from .alerts.deliveries import ChannelTest
from .errors import AlertRefused
from .http_guard import Problem, json_response

LIMIT_MOST = 1000

T = TypeVar("T")


class Alerts(Protocol):
    """What the API asks of the alert service; its refusals are AlertRefused."""

    def list(self, state: str = "open", limit: int = 50) -> Sequence[Alert]: ...

    def get(self, alert_id: str) -> Alert: ...

    async def acknowledge(self, alert_id: str, by: str) -> Alert: ...

    async def test(self, channel: str) -> ChannelTest: ...

    def troubles(self) -> Sequence[str]:
        """Why alerts are not safe on disk."""
        ...

    def parts(self) -> dict[str, str]:
        """How each part stands."""
        ...


class AlertQuery(msgspec.Struct, forbid_unknown_fields=True):
    """The query of GET /api/alerts."""

    state: Literal["open", "all"] = "open"
    limit: Annotated[int, msgspec.Meta(ge=1, le=LIMIT_MOST)] = 50


class Acknowledge(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /api/alerts/{id}/acknowledge."""

    by: Annotated[str, msgspec.Meta(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]
    """Printable: it is shown on terminals, pages and telephones."""


class ChannelToTest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /api/alerts/test."""

    channel: str


class AlertRoutes:
    """The handlers."""

    def __init__(self, alerts: Alerts) -> None:
        self._alerts = alerts

    def routes(self) -> Sequence[web.RouteDef]:
        """For the admin server, behind its guard."""
        return [
            web.get("/api/alerts", self._list),
            web.post("/api/alerts/test", self._test),
            web.get("/api/alerts/{id}", self._show),
            web.post("/api/alerts/{id}/acknowledge", self._acknowledge),
        ]

    async def _list(self, request: web.Request) -> web.Response:
        try:
            query = msgspec.convert(dict(request.query), AlertQuery, strict=False)
        except msgspec.ValidationError as error:
            raise Problem(400, f"the query is wrong: {error}") from None
        alerts = self._alerts.list(query.state, query.limit)
        return json_response({"alerts": msgspec.to_builtins(alerts)})

    async def _show(self, request: web.Request) -> web.Response:
        try:
            alert = self._alerts.get(request.match_info["id"])
        except AlertRefused as refused:
            raise Problem(refused.status, refused.reason) from None
        return json_response(msgspec.to_builtins(alert))

    async def _acknowledge(self, request: web.Request) -> web.Response:
        order = await _body(request, Acknowledge)
        try:
            alert = await self._alerts.acknowledge(request.match_info["id"], order.by)
        except AlertRefused as refused:
            raise Problem(refused.status, refused.reason) from None
        return json_response(msgspec.to_builtins(alert))

    async def _test(self, request: web.Request) -> web.Response:
        order = await _body(request, ChannelToTest)
        try:
            tested = await self._alerts.test(order.channel)
        except AlertRefused as refused:
            raise Problem(refused.status, refused.reason) from None
        return json_response(msgspec.to_builtins(tested))


async def _body(request: web.Request, type_: type[T]) -> T:
    if request.content_type != "application/json":
        raise Problem(415, "the body must be application/json")
    try:
        return msgspec.json.decode(await request.read(), type=type_)
    except msgspec.DecodeError as error:
        raise Problem(400, f"the body is wrong: {error}") from None
