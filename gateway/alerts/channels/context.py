"""What every channel is given beside its own table."""

from collections.abc import Callable
from dataclasses import dataclass

import aiohttp

from .telephone import Dial

TIMEOUT_S = 10.0
"""Longest that one message over the network may take, with everything, seconds."""


@dataclass(frozen=True)
class ChannelContext:
    """The gateway as its channels know it."""

    gateway: str
    """`[gateway] name`."""
    console_url: str | None
    """Address of the console as a person reaches it; None when there is none to point to."""
    http: Callable[[], aiohttp.ClientSession]
    """The process's session, made when it is first asked for; whoever gives it closes it."""
    dial: Dial | None = None
    """None where no call can be placed, such as a command beside the gateway."""
    timeout_s: float = TIMEOUT_S

    def alert_url(self, alert_id: str) -> str | None:
        """Where the console shows this alert."""
        return self._page(f"alerts#a-{alert_id}")

    def call_url(self, call_id: str) -> str | None:
        """Where the console shows this call."""
        return self._page(f"calls/{call_id}")

    def _page(self, path: str) -> str | None:
        return f"{self.console_url.rstrip('/')}/{path}" if self.console_url else None
