"""Session timers (RFC 4028): reading Session-Expires, agreeing on an interval, and when to act on it."""

from dataclasses import dataclass
from typing import Literal

from .errors import ParseError
from .grammar import Params
from .headers import Headers, parse_number

Refresher = Literal["uac", "uas"]
_MAX_INTERVAL = 2**31


@dataclass(frozen=True, slots=True)
class SessionExpires:
    """A Session-Expires value: seconds, and who refreshes (roles of that one transaction)."""

    seconds: int
    refresher: Refresher | None = None

    @classmethod
    def of(cls, headers: Headers) -> "SessionExpires | None":
        """Read the header; None when absent or unreadable, which a timer must not fail a call for."""
        value = headers.get("Session-Expires")
        if value is None:
            return None
        digits, semicolon, rest = value.partition(";")
        try:
            seconds = parse_number(digits, "Session-Expires", maximum=_MAX_INTERVAL, minimum=1)
            refresher = Params.parse(semicolon + rest, "Session-Expires").get("refresher") if semicolon else None
        except ParseError:
            return None
        match (refresher or "").lower():
            case "uac":
                return cls(seconds, "uac")
            case "uas":
                return cls(seconds, "uas")
        return cls(seconds)

    def __str__(self) -> str:
        return f"{self.seconds};refresher={self.refresher}" if self.refresher else str(self.seconds)


@dataclass(frozen=True, slots=True)
class SessionInterval:
    """What both sides agreed: the session ends when it is not refreshed for `seconds`."""

    seconds: int
    we_refresh: bool

    @property
    def refresh_after(self) -> float:
        """Half the interval (§10), seconds."""
        return self.seconds / 2

    @property
    def expire_after(self) -> float:
        """When to send BYE: at the end for the refresher, up to 32 s ahead of it for the other (§10)."""
        return float(self.seconds) if self.we_refresh else self.seconds - min(32.0, self.seconds / 3)


def min_se(headers: Headers) -> int | None:
    """The Min-SE value, None when absent or unreadable."""
    try:
        return parse_number(headers.get("Min-SE") or "", "Min-SE", maximum=_MAX_INTERVAL, minimum=1)
    except ParseError:
        return None


def answer_as_uas(headers: Headers, running: SessionInterval | None) -> SessionExpires | None:
    """What our 2xx to an INVITE or UPDATE with these headers says (§9). A request that asks for nothing keeps the
    interval that runs, when its sender knows timers."""
    supported = headers.has_token("Supported", "timer")
    asked = SessionExpires.of(headers)
    if asked is None:
        if running is None or not supported:
            return None
        return SessionExpires(running.seconds, "uas" if running.we_refresh else "uac")
    if not supported:
        return SessionExpires(asked.seconds, "uas")
    return SessionExpires(asked.seconds, asked.refresher or "uac")


def interval_as_uas(answer: SessionExpires | None) -> SessionInterval | None:
    """What our own 2xx means for us."""
    return None if answer is None else SessionInterval(answer.seconds, answer.refresher == "uas")


def interval_as_uac(headers: Headers) -> SessionInterval | None:
    """What the far end's 2xx means for us (§7.2); without a refresher we are it."""
    answer = SessionExpires.of(headers)
    return None if answer is None else SessionInterval(answer.seconds, answer.refresher != "uas")
