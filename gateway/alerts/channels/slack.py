"""See `docs/alerts.md`, Channels."""

from .base import Answer, Channel, Delivery, DeliveryError
from .config import SlackConfig
from .context import ChannelContext


class SlackChannel(Channel):
    """One configured channel of this kind."""

    def __init__(self, name: str, config: SlackConfig, context: ChannelContext) -> None:
        self._name = name
        self._config = config
        self._context = context

    async def deliver(self, delivery: Delivery) -> Answer | None:
        """Tell the far end."""
        raise DeliveryError(f"{self._name}: not built yet", permanent=True)

    async def close(self) -> None:
        """Nothing is held."""
