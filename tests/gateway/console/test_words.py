"""How numbers are hidden and figures written."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.gateway.console.words import Mask, clock, epoch, figure, grade, share

MASK = Mask(show=False)


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("+14155550123", "+1415•••••23"),
        ("14155550123", "1415•••••23"),
        ("+4915112345678", "+4915•••••••78"),
        ("15550100", "1•••••00"),
        ("5550100", "•••••00"),
        ("1234", "••34"),
        ("sip:+14155550123@carrier.example:5060", "sip:+1415•••••23@carrier.example:5060"),
        ("tel:+14155550123", "tel:+1415•••••23"),
        ("anonymous", "anonymous"),
        ("alice", "a•••"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
def test_a_number_keeps_its_area_and_its_last_two_digits(number, shown):
    assert MASK.number(number) == shown


def test_numbers_are_whole_when_they_may_be():
    assert Mask(show=True).number("+14155550123") == "+14155550123"
    assert Mask(show=True).key("7") == "7"
    assert Mask(show=True).sip("INVITE sip:+14155550123@a") == "INVITE sip:+14155550123@a"


@given(st.sampled_from(["", "+"]), st.text(alphabet="0123456789", min_size=7, max_size=15))
def test_at_least_five_digits_of_a_number_are_hidden(plus, digits):
    shown = MASK.number(plus + digits)
    assert sum(character.isdigit() for character in shown) <= len(digits) - 5


@given(st.text())
def test_any_number_can_be_shown(number):
    MASK.number(number)
    MASK.sip(number, [number])


def test_a_pressed_key_is_nobodys_business():
    assert MASK.key("7") == "•"


def test_a_sip_message_shows_no_number_and_no_name():
    text = (
        "INVITE sip:15550123@127.0.0.1:5060 SIP/2.0\r\n"
        'From: "Ada Lovelace" <sip:+14155550134@carrier.example>;tag=1\r\n'
        "P-Asserted-Identity: <tel:+14155550134>\r\n"
        "X-Caller: 14155550134\r\n"
        "Via: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK77ef4c2312983\r\n"
        "Contact: <sip:127.0.0.1:5060>\r\n"
    )
    shown = MASK.sip(text, ["+14155550134", "15550123"])
    assert "5550134" not in shown
    assert "15550123" not in shown
    assert "Ada" not in shown
    assert "<sip:127.0.0.1:5060>" in shown
    assert "sip:1•••••23@127.0.0.1:5060" in shown


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (
            "Diversion: <sip:14155550199;npdi;rn=14155550198@carrier.example>",
            "Diversion: <sip:1415•••••99;•••@carrier.example>",
        ),
        ("Diversion: <sip:14155550199:secret@carrier.example>", "Diversion: <sip:1415•••••99;•••@carrier.example>"),
        ("To: <sip:14155550199>", "To: <sip:1415•••••99>"),
        ("From: 4155550199 <sip:anonymous@a.example>", "From: ••• <sip:anonymous@a.example>"),
        ("Contact: <sip:a.example>, Ada <sip:ada@a.example>", "Contact: <sip:a.example>, ••• <sip:a•••@a.example>"),
        (r'From: "a \"4155550199\" b" <sip:192.0.2.1:5060>', 'From: "•••" <sip:192.0.2.1:5060>'),
        ("X-Charge: +14155550199", "X-Charge: +1415•••••99"),
        ("X-National: 4155550134", "X-National: 415•••••34"),
        ("Signal=7\r\nDuration=160", "Signal=•\r\nDuration=160"),
        ("v=0\r\no=- 3976543210 1 IN IP4 192.0.2.1", "v=0\r\no=- 3976543210 1 IN IP4 192.0.2.1"),
        ("Via: SIP/2.0/UDP 192.0.2.1:5060;rport", "Via: SIP/2.0/UDP 192.0.2.1:5060;rport"),
        ("Record-Route: <sip:192.0.2.1;lr>", "Record-Route: <sip:192.0.2.1;lr>"),
    ],
)
def test_what_a_carrier_writes_of_people_is_hidden(line, shown):
    assert MASK.sip(line, ["+14155550134"]) == shown


def test_the_users_number_of_a_uri_is_hidden_in_a_sentence():
    assert MASK.text("no route for +14155550134", ["sip:+14155550134@a"]) == "no route for +1415•••••34"


def test_hostile_messages_are_masked_in_linear_time():
    for text in (
        "sip:" * 16000,
        '"' * 65000,
        "a," * 32000,
        "<" * 65000,
        "sip:" + "a" * 65000,
        '"\\' * 32000,
        "a " * 32000,
    ):
        began = time.process_time()
        MASK.sip(text)
        assert time.process_time() - began < 1.0


def test_a_sentence_loses_the_calls_own_numbers():
    assert MASK.text("no route for +14155550134", ["+14155550134", None]) == "no route for +1415•••••34"


@pytest.mark.parametrize(
    ("seconds", "shown"), [(None, "–"), (-1, "0:00"), (7.9, "0:07"), (725, "12:05"), (3723, "1:02:03")]
)
def test_durations(seconds, shown):
    assert clock(seconds) == shown


def test_figures():
    assert (figure(None), figure(1234.4), figure(3.14159, 2), figure(12.25, 1, "ms")) == (
        "–",
        "1,234",
        "3.14",
        "12.2 ms",
    )
    assert (share(None), share(0.062), share(0.31)) == ("–", "6.2 %", "31 %")
    assert (grade(None), grade(3.59), grade(3.6), grade(4.02), grade(4.03)) == ("", "poor", "fair", "fair", "good")


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01T00:00:00Z", None])
def test_what_is_no_time_is_none(text):
    assert epoch(text) is None


def test_a_time_is_unix_seconds():
    assert epoch("2026-01-02T03:04:05.500Z") == 1767323045.5
