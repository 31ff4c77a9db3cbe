"""Hours of duty as the configuration writes them: `Mon-Fri 08:00-18:00`, `Sat,Sun`, `22:00-06:00`.

They are hours of the wall clock of the person's time zone: at a change to or from summer time a duty lasts an hour less
or more, as it does for the person. Hours that span midnight belong to the day on which they begin.
"""

import re
from datetime import datetime
from typing import Any

from ..addresses import Written

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
DAY_MINUTES = 24 * 60

_EXPECTED = 'expected hours such as "Mon-Fri 08:00-18:00", "Sat,Sun" or "22:00-06:00"'
_HOURS = re.compile(r"(?P<first>\d{2}:\d{2})-(?P<last>\d{2}:\d{2})")


class Hours(Written):
    """Some hours of some days of the week."""

    days: frozenset[int]
    """0 is Monday."""
    start: int
    """Minutes after midnight."""
    end: int
    """Minutes after midnight, not included; at or before `start` it is on the next day."""
    text: str

    @classmethod
    def fields_of(cls, text: str) -> dict[str, Any]:
        """The fields of the written form; ValueError says what was expected."""
        words = text.split()
        hours = words.pop() if words and _HOURS.fullmatch(words[-1]) else "00:00-24:00"
        if len(words) > 1 or not text.strip():
            raise ValueError(f"{_EXPECTED}, not {text!r}")
        first, _, last = hours.partition("-")
        start, end = _minutes(first), _minutes(last)
        if start in (DAY_MINUTES, end):
            raise ValueError(f"{_EXPECTED}, not {text!r}")
        return {"days": _days(words[0]) if words else frozenset(range(7)), "start": start, "end": end, "text": text}

    def __str__(self) -> str:
        return self.text

    def cover(self, local: datetime) -> bool:
        """True when this moment, in the person's own time, is within the hours."""
        minute, today = local.hour * 60 + local.minute, local.weekday()
        if self.start < self.end:
            return today in self.days and self.start <= minute < self.end
        began_yesterday = (today - 1) % 7 in self.days and minute < self.end
        return began_yesterday or (today in self.days and minute >= self.start)


def _minutes(clock: str) -> int:
    hour, minute = (int(part) for part in clock.split(":"))
    if minute > 59 or hour * 60 + minute > DAY_MINUTES:
        raise ValueError(f"there is no time {clock!r}; {_EXPECTED}")
    return hour * 60 + minute


def _days(text: str) -> frozenset[int]:
    """`Mon-Fri`, `Sat,Sun`, `Fri-Mon`."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        one, other = _day(first), _day(last or first)
        found |= {(one + step) % 7 for step in range((other - one) % 7 + 1)}
    return frozenset(found)


def _day(name: str) -> int:
    if name.capitalize() not in DAYS:
        raise ValueError(f"there is no day {name!r}; use {', '.join(DAYS)}")
    return DAYS.index(name.capitalize())
