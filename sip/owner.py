"""What registrations, health checks and sessions need of the UserAgent that made them."""

import random
from collections.abc import Callable, Sequence
from typing import Protocol

from .digest import DigestClient
from .events import Event
from .exchange import Exchange, ExchangeUser
from .flow import Address, Flow
from .message import Request
from .timers import TimerHeap


class Owner(Protocol):
    """Who sends requests for its parts, and collects their events."""

    timers: TimerHeap
    rng: random.Random
    product: str
    """User-Agent and Server header."""

    def emit(self, event: Event) -> None:
        """Queue an event."""
        ...

    def contact(self, flow: Flow, user: str | None, advertised: Address | None = None) -> str:
        """Our Contact value towards `flow`."""
        ...

    def advertised(self, flow: Flow) -> Address:
        """Our address as the peer of `flow` should see it."""
        ...

    def keep_alive(self, flow: Flow) -> bool:
        """Send a keep-alive when a NAT stands between us and the peer; False when none does."""
        ...

    def exchange(
        self,
        make: Callable[[Flow], Request],
        targets: Sequence[Flow],
        user: ExchangeUser,
        digest: DigestClient | None,
        now: float,
    ) -> Exchange:
        """Start a request of ours."""
        ...
