"""The client side of a registration (RFC 3261 §10.2): refresh, back-off, recovery."""

from collections.abc import Sequence

from .events import RegistrationState
from .flow import Address, Flow


class Registration:
    """One binding at one registrar. Made by UserAgent.register."""

    name: str
    state: RegistrationState
    reason: str
    expires: float | None
    learned: Address | None

    def set_targets(self, targets: Sequence[Flow], now: float) -> None:
        """Newly resolved addresses of the registrar, used from the next attempt on."""
        raise NotImplementedError

    def retry(self, now: float) -> None:
        """Try again at once, whatever the back-off says."""
        raise NotImplementedError

    def unregister(self, now: float) -> None:
        """Remove the binding and stop; `RegistrationChanged` to unregistered follows, answered or not."""
        raise NotImplementedError
