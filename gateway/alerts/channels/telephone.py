"""The telephone: the gateway calls the person, says what is wrong and why, and takes a key as the answer.

1 owns the alert, 2 passes it to the next person; no key, as from an answering machine, is no answer. Only `trigger` and
`test` ring: nobody is called at night to hear that somebody else has it, or that it is over.
"""

from collections.abc import Collection
from typing import Annotated, Literal, Protocol

import structlog
from pydantic import AfterValidator, Field, SecretStr

from ....sip.errors import SipError
from ....sip.uri import parse_uri
from ...config_tables import Table
from ...errors import CallRefused
from ...messages import Announcement, KeyAnswer
from ...record import CallRecord
from ..announcement import speakable, worded
from .base import Answer, Channel, Delivery, DeliveryError

log = structlog.get_logger(__name__)

ANSWERS: dict[str, Answer] = {"1": "acknowledged", "2": "next"}
"""What the keys mean."""
_PERSON = {408: "nobody answered", 480: "nobody answered", 486: "busy", 487: "nobody answered", 600: "busy"}
_DECLINED = frozenset({603, 607, 608})
"""What the person, or the telephone, said: another trunk would hear the same."""


def _dialable(to: SecretStr) -> SecretStr:
    """Said when the file is read, and not when somebody is to be woken."""
    number = to.get_secret_value()
    whole = number.startswith(("sip:", "sips:"))
    try:
        # on any trunk; a colon or an at would make something else of it
        parse_uri(number if whole else f"sip:{number}@trunk.invalid")
    except SipError:
        whole, number = False, ""
    if not whole and (not number or set(number) & set(":@")):
        raise ValueError("expected a number such as +14155550100, without blanks, or a SIP URI")
    return to


class TelephoneConfig(Table):
    """`[alerts.channels.NAME]` with `kind = "telephone"`."""

    kind: Literal["telephone"]
    to: Annotated[SecretStr, AfterValidator(_dialable)]
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
    """One person's telephone."""

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
        if delivery.action not in ("trigger", "test"):
            return None
        trunks = candidates(self._dial.trunks_up(), self._config.trunk, {delivery.alert.trunk, *delivery.alert.trunks})
        if not trunks:
            raise DeliveryError(f"{self._name}: no trunk is up")
        announcement = await self._announcement(delivery)
        refused: list[str] = []
        for trunk in trunks:
            record = await self._call(trunk, announcement)
            log.info(
                "page over", channel=self._name, alert=delivery.alert.id, call=record.id, trunk=trunk, dtmf=record.dtmf
            )
            if (answer := answer_of(record)) is not None or heard_out(record):
                return answer
            reason = self._failure(record)
            refused.append(f"trunk {trunk}: {reason}")
            if record.answered_at is not None or record.sip_status in _PERSON or record.sip_status in _DECLINED:
                break
        raise DeliveryError(f"{self._name}: {'; '.join(refused)}")

    async def close(self) -> None:
        """Nothing is held between calls."""

    async def _announcement(self, delivery: Delivery) -> Announcement:
        from ..speech import prompt, spoken  # libav comes with it, which other commands need not wait for

        wording = worded(delivery, self._gateway)
        return Announcement(
            text=wording.text,
            speech=await spoken(wording),
            repeat=self._config.repeat,
            keys={
                "1": KeyAnswer("acknowledged by key 1", prompt("acknowledged")),
                "2": KeyAnswer("passed to the next person by key 2", prompt("next")),
            },
            farewell=prompt("farewell"),
        )

    async def _call(self, trunk: str, announcement: Announcement) -> CallRecord:
        number = self._config.to.get_secret_value()
        try:
            return await self._dial.announce(number, trunk, announcement, self._config.ring_s)
        except CallRefused as refused:
            if refused.status == 400:
                reason = "to is neither a number nor a SIP URI"
                raise DeliveryError(f"{self._name}: {reason}", permanent=True) from None
            raise DeliveryError(f"{self._name}: {refused.reason}", retry_after_s=refused.retry_after_s) from None

    def _failure(self, record: CallRecord) -> str:
        """Why nobody could be told, without the number, which a far end may put into its words."""
        if record.answered_at is not None:
            return f"the call was cut off: {record.end_reason}"
        known = _PERSON.get(record.sip_status or 0)
        reason = speakable((record.end_reason or "").replace(self._config.to.get_secret_value(), "…"))
        return f"{known} ({reason})" if known else reason


def candidates(up: list[str], preferred: str | None, about: Collection[str | None]) -> list[str]:
    """The trunks to try, best first: those that the alert is about only when there is no other."""
    return sorted(up, key=lambda trunk: (trunk in about, trunk != preferred))


def answer_of(record: CallRecord) -> Answer | None:
    """The first key that means something."""
    return next((ANSWERS[key] for key in record.dtmf if key in ANSWERS), None)


def heard_out(record: CallRecord) -> bool:
    """True when the call was answered, and ended as somebody wanted it to: another would tell nobody more."""
    return record.answered_at is not None and record.ended_by in ("agent", "callee", "operator")
