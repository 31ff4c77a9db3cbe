"""The alert service: it looks at the engine once a second, stores what is to be told, and has it told."""

from .alert import Alert
from .deliveries import Tested


class AlertService:
    """What the console, the admin API and the command line ask. Its errors are AlertRefused."""

    @property
    def open_alerts(self) -> int:
        """How many alerts are firing or acknowledged."""
        raise NotImplementedError

    def list(self, state: str = "open", limit: int = 50) -> list[Alert]:
        """The newest alerts first: those that are not resolved (`open`), or those and the last 500 resolved (`all`)."""
        raise NotImplementedError

    def get(self, alert_id: str) -> Alert:
        """One alert, open or of the last 500. Raises AlertRefused (404)."""
        raise NotImplementedError

    async def acknowledge(self, alert_id: str, by: str) -> Alert:
        """Somebody owns it: nobody else is woken. Returns when it is stored; again is no error, the first owner stays.
        Raises AlertRefused (404 unknown, 409 resolved already)."""
        raise NotImplementedError

    async def test(self, channel: str) -> Tested:
        """Send a test over one channel and say what happened. Raises AlertRefused (404 no such channel)."""
        raise NotImplementedError
