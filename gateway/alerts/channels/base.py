"""What every channel is: it takes one delivery, and says whether it arrived.

A delivery is stored before a channel sees it, and may be made again after a restart: a channel must be safe to call
twice with the same one (deduplication by `Alert.dedup_key`).
"""

from typing import Literal, Protocol

import msgspec

from ...errors import GatewayError
from ..alert import Alert

Action = Literal["trigger", "acknowledge", "resolve", "test"]
Answer = Literal["acknowledged", "next"]
"""What the person said on a channel that hears them: `next` passes the alert to the next person at once."""


class DeliveryError(GatewayError):
    """A delivery could not be made. Its text says why, without secrets."""

    def __init__(self, reason: str, *, permanent: bool = False, retry_after_s: float | None = None) -> None:
        """`permanent`: trying again cannot help (a refused payload, a wrong key), so the ladder is climbed at once."""
        super().__init__(reason)
        self.permanent = permanent
        self.retry_after_s = retry_after_s


class Delivery(msgspec.Struct, kw_only=True):
    """One message about one alert, to one person over one channel."""

    id: str
    """UUIDv7."""
    alert: Alert
    """As it stood when the delivery was decided."""
    action: Action
    channel: str
    """Name of `[alerts.channels.NAME]`."""
    person: str | None = None
    """Name of the rung of the ladder; None for a channel that is told of every alert."""
    created_at: str
    """RFC 3339."""
    attempts: int = 0


class Channel(Protocol):
    """One configured way to reach somebody. Derive from it, so that what is optional has its default."""

    refresh_s: float | None = None
    """Seconds after which the far end forgets an alert that it is not told of again; None for one that does not. While
    the alert is firing or acknowledged, the service makes the delivery again (as `trigger`, with the alert as it then
    stands) this often. One that fails is not retried: the next is close."""

    async def deliver(self, delivery: Delivery) -> Answer | None:
        """Returns when the message is accepted (for the telephone: when the call is over), with what the person said,
        if the channel can hear them. Raises DeliveryError."""
        ...

    async def close(self) -> None:
        """Give back what it holds; idempotent."""
        ...
