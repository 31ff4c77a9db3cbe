"""What the console asks of the gateway's other parts."""

from collections.abc import Sequence
from typing import Protocol

from ..alerts.alert import Alert


class Alerts(Protocol):
    """The alert service, as far as the console uses it."""

    def list(self, state: str = "open", limit: int = 50) -> Sequence[Alert]:
        """The newest first: those that are not resolved (`open`), or the last resolved ones, too (`all`)."""
        ...

    async def acknowledge(self, alert_id: str, by: str) -> Alert:
        """Somebody owns it now. Raises AlertRefused (404 unknown, 409 resolved already)."""
        ...

    def troubles(self) -> Sequence[str]:
        """Why alerts are not safe on disk."""
        ...

    def parts(self) -> dict[str, str]:
        """How each part stands: `{"alerts": "1 open", "alert channel slack": "failing: …"}`."""
        ...
