"""The dead-man's switch: an address that is asked for while the gateway is well. Its silence is the alarm."""

import asyncio
from collections import Counter
from collections.abc import Callable

import aiohttp
import structlog
from pydantic import SecretStr

TIMEOUT_S = 10.0
"""Longest that one may take."""

log = structlog.get_logger(__name__)


class Heartbeat:
    """`run` until cancelled."""

    def __init__(
        self,
        url: SecretStr,
        every_s: float,
        http: Callable[[], aiohttp.ClientSession],
        sick: Callable[[], str | None],
    ) -> None:
        """`url` holds a token, and is never told; `sick` says why the gateway is not well, None while it is."""
        self.results: Counter[str] = Counter()
        """`sent`, `failed`, and `withheld` because the gateway is sick."""
        self.trouble: str | None = None
        """Why the last one was not sent."""
        self._url = url
        self._every_s = every_s
        self._http = http
        self._sick = sick

    async def run(self) -> None:
        """One now, and one each `every_s` after it."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            await self._beat()
            due = max(due + self._every_s, loop.time())
            await asyncio.sleep(due - loop.time())

    async def _beat(self) -> None:
        sick = self._sick()
        if sick is not None:
            self._note("withheld", f"the gateway is sick: {sick}")
            return
        try:
            reason = await self._send()
        except Exception as error:  # top frame: the next one is close, whatever became of this one
            # without the error's own words, which may hold the address
            reason = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
        self._note("sent" if reason is None else "failed", reason)

    async def _send(self) -> str | None:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with self._http().get(self._url.get_secret_value(), timeout=timeout) as answer:
            return None if answer.status < 300 else f"it is answered with {answer.status}"

    def _note(self, result: str, trouble: str | None) -> None:
        self.results[result] += 1
        if trouble is None and self.trouble is not None:
            log.info("heartbeat is sent again")
        elif trouble is not None and trouble != self.trouble:
            log.error("heartbeat is not sent", reason=trouble)
        self.trouble = trouble
