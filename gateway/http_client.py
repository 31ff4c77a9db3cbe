"""The admin API from the other side: what the commands ask of the running gateway."""

import asyncio
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp
import msgspec

from .addresses import bracketed
from .config_tables import HttpConfig
from .errors import CallRefused, ConfigError, GatewayError
from .flight.ladder import LadderLine
from .record import CallRecord

POLL_S = 0.5
ANSWER_WITHIN_S = 10.0
TEST_WITHIN_S = 330.0
"""A channel has 300 s for a delivery, a telephone call included."""
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


class Snapshot(msgspec.Struct):
    """What the gateway says of itself at one moment."""

    ready: bool
    reasons: list[str]
    parts: dict[str, str]
    calls: list[dict[str, Any]]
    alerts: list[dict[str, Any]]


class AdminClient:
    """Speaks to the gateway of one configuration; an asynchronous context manager."""

    def __init__(self, config: HttpConfig) -> None:
        host = _WILDCARDS.get(config.listen.host, config.listen.host)
        self._base = f"http://{bracketed(host)}:{config.listen.port}"
        self._headers = {"Authorization": f"Bearer {config.token.get_secret_value()}"} if config.token else {}

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(headers=self._headers)
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        await self._session.close()

    async def call(self, to: str, agent: str, trunk: str | None) -> CallRecord:
        """Place a call and wait for its end; hang it up when cancelled. Raises CallRefused, GatewayError."""
        placed = await self._request("POST", "/api/calls", {"to": to, "agent": agent, "trunk": trunk})
        path = f"/api/calls/{placed['id']}"
        try:
            while True:
                body = await self._request("GET", path)
                if "live" not in body:
                    return msgspec.convert(body, CallRecord)
                await asyncio.sleep(POLL_S)
        except asyncio.CancelledError:
            await self._request("DELETE", path)
            raise

    async def trace(self, call_id: str) -> tuple[CallRecord, list[LadderLine] | None]:
        """A call and its SIP messages, if it still has them. Raises CallRefused, GatewayError."""
        body = await self._request("GET", f"/api/calls/{quote(call_id, safe='')}/trace")
        try:
            return msgspec.convert(body["call"], CallRecord), msgspec.convert(body["ladder"], list[LadderLine] | None)
        except (KeyError, msgspec.ValidationError):
            raise GatewayError(f"what answers at {self._base} is no gateway; check [http] listen") from None

    async def reload(self) -> tuple[list[str], list[str]]:
        """Have the gateway read its configuration again: what changed, and what waits for a restart. Raises ConfigError
        with the file's mistakes, GatewayError."""
        try:
            answer = await self._request("POST", "/api/reload")
        except CallRefused as refused:
            if refused.status == 422:
                raise ConfigError(refused.reason.splitlines()) from None
            raise
        return answer["changed"], answer["restart"]

    async def snapshot(self) -> Snapshot:
        """The gateway as it stands. Raises CallRefused, GatewayError."""
        # one that is not ready says so with 503, and still what is wrong
        _, state = await self._answer("GET", "/readyz")
        calls = await self._request("GET", "/api/calls?live=true&limit=1000")
        # a gateway may run without alerts
        _, alerts = await self._answer("GET", "/api/alerts?state=open")
        return Snapshot(
            ready=bool(state.get("ready")),
            reasons=state.get("reasons", []),
            parts=state.get("parts", {}),
            calls=calls["calls"],
            alerts=alerts.get("alerts", []),
        )

    async def alerts(self, state: str, limit: int) -> list[dict[str, Any]]:
        """Alerts, newest first. Raises CallRefused, GatewayError."""
        return (await self._request("GET", f"/api/alerts?state={state}&limit={limit}"))["alerts"]

    async def acknowledge(self, alert_id: str, by: str) -> dict[str, Any]:
        """The alert, which has an owner now. Raises CallRefused, GatewayError."""
        return await self._request("POST", f"/api/alerts/{quote(alert_id, safe='')}/acknowledge", {"by": by})

    async def test_channel(self, channel: str) -> dict[str, Any]:
        """What became of a test, which for a telephone takes as long as the call. Raises CallRefused, GatewayError."""
        return await self._request("POST", "/api/alerts/test", {"channel": channel}, TEST_WITHIN_S)

    async def _request(
        self, method: str, path: str, body: dict[str, Any] | None = None, within_s: float = ANSWER_WITHIN_S
    ) -> dict[str, Any]:
        status, answer = await self._answer(method, path, body, within_s)
        if status >= 400:
            raise CallRefused(status, str(answer.get("detail", f"HTTP status {status}")))
        return answer

    async def _answer(
        self, method: str, path: str, body: dict[str, Any] | None = None, within_s: float = ANSWER_WITHIN_S
    ) -> tuple[int, dict[str, Any]]:
        timeout = aiohttp.ClientTimeout(total=within_s)
        try:
            async with self._session.request(method, self._base + path, json=body, timeout=timeout) as response:
                answer = await response.json(content_type=None)
                status = response.status
        except (aiohttp.ClientConnectionError, TimeoutError):
            raise GatewayError(
                f"no gateway answers at {self._base}; start it with `trunkline run` and the same configuration"
            ) from None
        except (aiohttp.ClientError, ValueError):
            raise GatewayError(f"what answers at {self._base} is no gateway; check [http] listen") from None
        if not isinstance(answer, dict):
            raise GatewayError(f"what answers at {self._base} is no gateway; check [http] listen")
        return status, answer
