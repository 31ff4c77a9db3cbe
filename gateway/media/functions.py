"""Functions that an agent may call: each is one HTTP POST to the address that the configuration names.

The request is `{"name", "arguments", "call": {"id", "direction", "from", "to"}}`, the answer any JSON. What goes wrong
becomes an `{"error": …}` that the agent can talk about: a call is never harmed by a function.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import aiohttp
import msgspec

from ..bridges.base import CallContext, FunctionTool

ANSWER_MAX = 64 * 1024
"""Octets of an answer that an agent can be told."""


class Functions:
    """The functions of one call."""

    def __init__(
        self, tools: Sequence[FunctionTool], call: CallContext, http: Callable[[], aiohttp.ClientSession]
    ) -> None:
        """`http` gives the process's session, made when the first function is called."""
        self._tools = {tool.name: tool for tool in tools if tool.url is not None}
        self._call = {"id": call.call_id, "direction": call.direction, "from": call.from_, "to": call.to}
        self._http = http

    def __contains__(self, name: str) -> bool:
        return name in self._tools

    async def call(self, name: str, arguments: Any) -> Any:
        """The function's answer, or `{"error": …}`; never raises."""
        tool = self._tools[name]
        body = msgspec.json.encode({"name": name, "arguments": arguments, "call": self._call})
        headers = {"Content-Type": "application/json"}
        if tool.token is not None:
            headers["Authorization"] = f"Bearer {tool.token.get_secret_value()}"
        try:
            async with asyncio.timeout(tool.timeout_s):
                return await self._post(str(tool.url), body, headers)
        except TimeoutError:
            return {"error": f"no answer within {tool.timeout_s:g} s"}
        except (aiohttp.ClientError, OSError) as error:
            return {"error": f"not reachable: {type(error).__name__}"}

    async def _post(self, url: str, body: bytes, headers: dict[str, str]) -> Any:
        # a redirect would carry the token elsewhere
        async with self._http().post(url, data=body, headers=headers, allow_redirects=False) as response:
            if not 200 <= response.status < 300:
                return {"error": f"HTTP status {response.status}"}
            answer = await response.content.read(ANSWER_MAX + 1)
        if len(answer) > ANSWER_MAX:
            return {"error": f"answer over {ANSWER_MAX} octets"}
        try:
            return msgspec.json.decode(answer) if answer.strip() else {"ok": True}
        except (msgspec.DecodeError, UnicodeDecodeError):
            return {"error": "the answer is not JSON"}
