"""Hours of duty: what is written, and what it covers."""

from datetime import datetime

import pytest

from trunkline.gateway.alerts.hours import Hours

MONDAY = "2026-03-02"


def covers(text: str, moment: str) -> bool:
    return Hours.parse(text).cover(datetime.fromisoformat(moment))


@pytest.mark.parametrize(
    ("text", "moment", "expected"),
    [
        ("Mon-Fri 08:00-18:00", f"{MONDAY} 08:00", True),
        ("Mon-Fri 08:00-18:00", f"{MONDAY} 07:59", False),
        ("Mon-Fri 08:00-18:00", f"{MONDAY} 17:59:59", True),
        ("Mon-Fri 08:00-18:00", f"{MONDAY} 18:00", False),
        ("Mon-Fri 08:00-18:00", "2026-03-07 12:00", False),
        ("Sat,Sun", "2026-03-07 00:00", True),
        ("Sat,Sun", "2026-03-08 23:59", True),
        ("Sat,Sun", f"{MONDAY} 00:00", False),
        ("Fri-Mon", f"{MONDAY} 12:00", True),
        ("Fri-Mon", "2026-03-03 12:00", False),
        ("mon 08:00-24:00", f"{MONDAY} 23:59", True),
        ("08:00-18:00", "2026-03-08 12:00", True),
    ],
)
def test_what_is_covered(text, moment, expected):
    assert covers(text, moment) is expected


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-03-06 21:59", False),
        ("2026-03-06 22:00", True),
        ("2026-03-07 05:59", True),
        ("2026-03-07 06:00", False),
        ("2026-03-07 22:00", False),
        ("2026-03-06 05:00", False),
    ],
)
def test_hours_that_span_midnight_belong_to_the_day_on_which_they_begin(moment, expected):
    assert covers("Fri 22:00-06:00", moment) is expected


@pytest.mark.parametrize(
    "text",
    ["", "always", "Mon 8-18", "Mon 08:00-25:00", "Mon 08:60-09:00", "Mon 24:00-06:00", "08:00-08:00", "Mon Tue"],
)
def test_what_cannot_be_read_is_said(text):
    with pytest.raises(ValueError, match=r"expected hours|no day|no time"):
        Hours.parse(text)


def test_hours_print_as_they_were_written():
    assert str(Hours.parse("Mon-Fri 08:00-18:00")) == "Mon-Fri 08:00-18:00"
