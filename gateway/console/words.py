"""How the console writes numbers, times and figures. What comes from the network is escaped by the templates."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime

from ..record import CallRecord

HIDDEN = "•"
POOR_BELOW = 3.6
"""MOS below which many users are dissatisfied (G.107 Annex B: R 70)."""
FAIR_BELOW = 4.03
"""MOS below which some users are dissatisfied (G.107 Annex B: R 80)."""
SLOW_TURN_MS = 1000.0
"""An answer that takes longer feels late."""
UNKNOWN = "–"
_DIGITS_LEAST = 3
_NATIONAL_LEAST = 7
"""Digits of a number without its country that are still taken for it."""
_USER = re.compile(r"(?i)\b(sips?:|tel:)(?:([^@<>\s\"]{1,255}+)(?=@)|([^@;>\s?]{1,255}+))")
_SIP_HOST = re.compile(
    r"\d{1,3}(\.\d{1,3}){3}(:\d+)?|\[[0-9a-fA-F:.]+\](:\d+)?|[\w-]+(\.[\w-]+)+(:\d+)?|localhost(:\d+)?"
)
_NAME = re.compile(r'"(?:[^"\\\r\n]|\\.){0,255}+"(?=\s{0,9}<)|(?m:(?<=:|,)|^)[^"<>,:;=@\r\n]++(?=<)')
"""Display names. Lengths are bounded here and above: a message is as long as its sender likes, and is read once."""
_E164 = re.compile(r"\+\d{7,15}(?!\d)")
_PRESSED = re.compile(r"(?im)^(\s*signal\s*=\s*)[0-9a-d*#]+")


class Mask:
    """Numbers with their middle hidden: `+1415•••••23`. With `show` they stay as they are."""

    def __init__(self, show: bool) -> None:
        self.show = show

    def number(self, number: str | None) -> str:
        """A number, or the user part of a SIP URI; a whole URI keeps its host."""
        if not number:
            return "unknown"
        if self.show:
            return number
        scheme, found, rest = number.partition(":")
        if found and scheme.lower() in ("sip", "sips", "tel"):
            user, at, host = rest.partition("@")
            return f"{scheme}:{self._hidden(user) if at or scheme == 'tel' else user}{at}{host}"
        return self._hidden(number)

    def _hidden(self, user: str) -> str:
        if user.lower() in ("anonymous", "unknown", "unavailable"):
            return user
        if sum(character.isdigit() for character in user) < _DIGITS_LEAST:
            return user[:1] + HIDDEN * 3
        plus = user[: user.startswith("+")]
        digits = user[len(plus) :]
        head = digits[: min(4, max(0, len(digits) - 7))]
        tail = digits[-2:]
        return plus + head + HIDDEN * (len(digits) - len(head) - len(tail)) + tail

    def key(self, digit: str) -> str:
        """A key that the caller pressed: it may be part of a secret of theirs."""
        return digit if self.show else HIDDEN

    def text(self, text: str, numbers: Iterable[str | None] = ()) -> str:
        """A sentence in which these numbers may stand."""
        if self.show:
            return text
        known = {form for number in numbers if number for form in _forms(number)}
        for number in sorted((form for form in known if len(form) > _DIGITS_LEAST), key=len, reverse=True):
            text = text.replace(number, self.number(number))
        return text

    def sip(self, text: str, numbers: Iterable[str | None] = ()) -> str:
        """A SIP message: users of its URIs, display names, keys, and wherever they stand these numbers and those that
        begin with a +."""
        if self.show:
            return text
        text = _NAME.sub(_nobody, _USER.sub(self._uri_user, text))
        text = _PRESSED.sub(rf"\1{HIDDEN}", _E164.sub(lambda found: self._hidden(found[0]), text))
        return self.text(text, numbers)

    def _uri_user(self, found: re.Match[str]) -> str:
        scheme, user, bare = found[1], found[2], found[3]
        if user is not None:
            # ;parameters and a :password of the user go with it
            name = re.split("[;:]", user, maxsplit=1)[0]
            return scheme + self._hidden(name) + (f";{HIDDEN * 3}" if name != user else "")
        return found[0] if scheme.lower() != "tel:" and _SIP_HOST.fullmatch(bare) else scheme + self._hidden(bare)


def _forms(number: str) -> set[str]:
    """How a number may be written: without its +, without its country, and of a URI its user."""
    scheme, found, rest = number.partition(":")
    user = rest.partition("@")[0] if found and scheme.lower() in ("sip", "sips", "tel") else number
    digits = user.removeprefix("+")
    shorter = {digits[cut:] for cut in range(1, 4) if digits.isdigit() and len(digits) - cut >= _NATIONAL_LEAST}
    return {number, user, digits} | shorter


def _nobody(found: re.Match[str]) -> str:
    """In place of a display name, quoted or not."""
    name = found[0]
    if not name.strip():
        return name
    return f'"{HIDDEN * 3}"' if name.startswith('"') else f" {HIDDEN * 3} "


def far_number(record: CallRecord) -> str | None:
    """The person's number: the caller of an inbound call, the called one of an outbound call."""
    return record.from_ if record.direction == "inbound" else record.to


def clock(seconds: float | None) -> str:
    """`0:07`, `12:05`, `1:02:03`."""
    if seconds is None:
        return UNKNOWN
    minutes, second = divmod(max(0, int(seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def epoch(timestamp: str | None) -> float | None:
    """Unix seconds of an RFC 3339 time; None when there is none, or it is no such time."""
    if timestamp is None:
        return None
    try:
        moment = datetime.fromisoformat(timestamp)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def time_of_day(timestamp: str | None) -> str:
    """`03:04:05`, UTC."""
    return timestamp[11:19] if timestamp and len(timestamp) >= 19 else UNKNOWN


def utc_clock(seconds: float) -> str:
    """Unix seconds as `03:04:05`, UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%H:%M:%S")


def date_and_time(timestamp: str | None) -> str:
    """`2026-01-02 03:04:05`, UTC."""
    return timestamp[:19].replace("T", " ") if timestamp and len(timestamp) >= 19 else UNKNOWN


def figure(value: float | None, digits: int = 0, unit: str = "") -> str:
    """A measured value with its unit, a dash for what was not measured."""
    if value is None:
        return UNKNOWN
    return f"{value:,.{digits}f}{' ' if unit else ''}{unit}"


def share(value: float | None) -> str:
    """0 to 1 as per cent."""
    return UNKNOWN if value is None else f"{100 * value:.{1 if value < 0.1 else 0}f} %"


def grade(mos: float | None) -> str:
    """`good`, `fair` or `poor`; empty when there is no MOS."""
    if mos is None:
        return ""
    return "poor" if mos < POOR_BELOW else "fair" if mos < FAIR_BELOW else "good"
