"""The telephone: the gateway calls the person, says what is wrong and why, and takes a key as the answer.

1 owns the alert, 2 passes it to the next person; no key, as from an answering machine, is no answer. Only `trigger` and
`test` ring: nobody is called at night to hear that somebody else has it, or that it is over.
"""

from typing import Literal, Protocol

import structlog
from pydantic import Field, SecretStr

from ...config_tables import Table
from ...messages import Announcement
from ...record import CallRecord
from .base import Answer, Channel, Delivery, DeliveryError

log = structlog.get_logger(__name__)


class TelephoneConfig(Table):
    """`[alerts.channels.NAME]` with `kind = "telephone"`."""

    kind: Literal["telephone"] = "telephone"
    to: SecretStr = Field(min_length=1)
    """The person's number, or a SIP URI. It is private: no log and no error shows it; the call's record has it."""
    trunk: str | None = None
    """The trunk to call through when it is up and not what the alert is about; None is any."""
    ring_s: float = Field(default=30.0, ge=5, le=120)
    """How long it rings, seconds: shorter than the person's mailbox takes."""
    repeat: int = Field(default=3, ge=1, le=5)
    """How often the announcement is said."""


class Dial(Protocol):
    """What calls: the switch."""

    def trunks_up(self) -> list[str]:
        """Names of the trunks that calls can be expected to pass, in the file's order."""
        ...

    async def announce(self, to: str, trunk: str, announcement: Announcement, ring_s: float) -> CallRecord:
        """Place a call that says `announcement`, and return its record when it is over; being cancelled hangs up.
        Raises CallRefused when no INVITE is sent: 400 for a number that cannot be dialled."""
        ...


class Telephone(Channel):
    """One person's telephone (channels.base.Channel)."""

    def __init__(self, name: str, config: TelephoneConfig, gateway: str, dial: Dial) -> None:
        """`name` of the channel; `gateway` is `[gateway] name`, as it is said."""
        self._name = name
        self._config = config
        self._gateway = gateway
        self._dial = dial

    def __repr__(self) -> str:
        return f"<Telephone {self._name}>"

    async def deliver(self, delivery: Delivery) -> Answer | None:
        """Call, and return what the person pressed when the call is over. Raises DeliveryError."""
        raise DeliveryError("the telephone is not there yet")

    async def close(self) -> None:
        """Nothing is held between calls."""
