"""The words of an alert."""

from typing import Any

import pytest
from support.alert_messages import ALERT_ID, CALLS, CONSOLE, a_delivery, an_alert, resolved

from trunkline.gateway.alerts.alert import Cause, Verdict
from trunkline.gateway.alerts.channels.base import Action
from trunkline.gateway.alerts.channels.context import ChannelContext
from trunkline.gateway.alerts.channels.text import Words, clipped, lasting, line, plain, words


def context(console: str | None = CONSOLE) -> ChannelContext:
    def no_session() -> Any:
        raise AssertionError("words need no network")

    return ChannelContext(gateway="edge1", console_url=console, http=no_session)


def told(action: Action, console: str | None = CONSOLE, **changes: Any) -> Words:
    delivery = a_delivery(action, an_alert(**changes)) if changes else a_delivery(action)
    return words(delivery, context(console))


def test_a_page_says_what_why_since_when_which_calls_and_how_to_take_it() -> None:
    assert (
        plain(told("trigger"))
        == f"""\
31 % of calls over trunk vonage sound bad
Firing since 2026-11-21 03:12:44 UTC

Why:
- the carrier or access network before us: loss on trunk vonage alone
- carrier (88 %): loss 6.1 % in 14 of 16 bad slices; on trunk vonage alone

Figures:
- 16 of 51 slices are below R 70
- burn rate 15.5 over 1 h, 17.2 over 5 min

Calls that show it:
- {CALLS[0]}
- {CALLS[1]}

To take it:
trunkline alerts ack {ALERT_ID}
{CONSOLE}/alerts#a-{ALERT_ID}
"""
    )


def test_without_verdict_calls_and_console_nothing_is_invented() -> None:
    bare = told("trigger", None, verdict=None, calls=[], detail=[])
    assert (
        plain(bare)
        == f"""\
31 % of calls over trunk vonage sound bad
Firing since 2026-11-21 03:12:44 UTC

To take it:
trunkline alerts ack {ALERT_ID}
"""
    )


@pytest.mark.parametrize(
    ("action", "title", "state"),
    [
        ("trigger", "PAGE edge1: ", "Firing since 2026-11-21 03:12:44 UTC"),
        ("acknowledge", "Acknowledged edge1: ", "Acknowledged by ana at 2026-11-21 03:14:00 UTC. Firing since"),
        ("resolve", "Resolved edge1: ", "Resolved at 2026-11-21 03:24:50 UTC, after 12 min"),
        ("test", "Test edge1: ", "This is a test; there is nothing to do."),
    ],
)
def test_the_first_word_says_what_it_is(action: Action, title: str, state: str) -> None:
    assert told(action).title.startswith(title)
    assert told(action).state.startswith(state)
    assert told(action).topic == "[edge1] trunk vonage: call quality"


def test_each_cause_of_a_mixed_verdict_has_its_share_and_a_whole_one_has_none() -> None:
    causes = [Cause("carrier", 0.6, ["loss 6 %"]), Cause("way_out", 0.4, [])]
    mixed = told("trigger", verdict=Verdict(causes=causes, summary="mixed: carrier and way out"))
    assert mixed.why == ["mixed: carrier and way out", "carrier (60 %): loss 6 %", "way out (40 %)"]
    host = told("trigger", verdict=Verdict(causes=[Cause("host", 1.0, ["80 ms late"])], summary="this host"))
    assert host.why == ["this host", "host: 80 ms late"]


def test_a_ticket_does_not_shout() -> None:
    assert told("trigger", severity="ticket").title.startswith("Ticket edge1: ")


@pytest.mark.parametrize("action", ["acknowledge", "resolve", "test"])
def test_only_what_can_be_taken_says_how(action: Action) -> None:
    assert "alerts ack" not in plain(told(action))


def test_a_console_with_a_final_slash_makes_the_same_link() -> None:
    assert told("trigger", CONSOLE + "/").link == told("trigger").link


@pytest.mark.parametrize(
    ("end", "lasted"),
    [
        ("2026-11-21T03:13:29Z", "45 s"),
        ("2026-11-21T03:24:50Z", "12 min"),
        ("2026-11-21T07:00:00+01:00", "2 h 47 min"),
        ("2026-11-21T03:00:00Z", None),
        ("soon", None),
    ],
)
def test_how_long_it_lasted(end: str, lasted: str | None) -> None:
    assert lasting("2026-11-21T03:12:44.250Z", end) == lasted


def test_an_end_before_the_start_is_told_without_a_duration() -> None:
    back = resolved(resolved_at="2026-11-21T02:00:00Z")
    assert words(a_delivery("resolve", back), context()).state == "Resolved at 2026-11-21 02:00:00 UTC"


@pytest.mark.parametrize("text", ["a\r\nSubject: b", "a\x00b", "a\u202eb\u2066c", "a\u2028b", "\ud800", "a\x1b[31m"])
def test_a_line_holds_nothing_that_cannot_be_seen(text: str) -> None:
    cleaned = line(text)
    assert cleaned.isprintable()
    cleaned.encode()


def test_what_is_cut_is_marked() -> None:
    assert clipped("abcdef", 6) == "abcdef"
    assert clipped("abcdefg", 6) == "abcde…"
