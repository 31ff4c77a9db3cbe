"""What the console asks of the gateway's other parts. Nothing here waits, but for the records and the disk."""

from collections.abc import Sequence
from typing import Protocol

from ..alerts.alert import Alert
from ..flight.ladder import LadderLine


class SipLadder(Protocol):
    """The flight recorder, as far as the console reads it."""

    async def ladder(self, call_id: str) -> Sequence[LadderLine] | None:
        """The SIP messages of a call, live or kept, oldest first; None when nothing is kept of it. Waits for the disk
        only."""
        ...


class Alerts(Protocol):
    """The alert service, as far as the console reads it."""

    def list(self) -> Sequence[Alert]:
        """Every open alert, and the last ones that are resolved, in any order; 200 at most."""
        ...

    def acknowledge(self, alert_id: str, by: str) -> bool:
        """Somebody owns it now; False when there is no such open alert."""
        ...
