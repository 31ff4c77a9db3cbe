"""Slack: messages that its rules take, and answers that are its own."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from support.alert_messages import a_context, a_delivery, an_alert
from support.slack import PATH, Slack, faults

from trunkline.gateway.alerts.alert import Cause, Verdict
from trunkline.gateway.alerts.channels.base import Channel, DeliveryError
from trunkline.gateway.alerts.channels.config import SlackConfig
from trunkline.gateway.alerts.channels.registry import make_channel
from trunkline.gateway.alerts.channels.slack import clipped_markup


@pytest.fixture
async def slack() -> AsyncIterator[Slack]:
    async with Slack() as slack:
        yield slack


def channel(slack: Slack, session: aiohttp.ClientSession, path: str = PATH) -> Channel:
    config = SlackConfig.model_validate({"kind": "slack", "url": slack.url(path)})
    return make_channel("chat", config, a_context(session))


def text_of(message: dict[str, Any]) -> str:
    return "\n".join(str(block) for block in message["blocks"])


@pytest.mark.parametrize("action", ["trigger", "acknowledge", "resolve", "test"])
async def test_every_action_is_a_message(slack: Slack, session: aiohttp.ClientSession, action: Any) -> None:
    await channel(slack, session).deliver(a_delivery(action))
    assert len(slack.messages) == 1


async def test_what_is_needed_at_night_is_in_it(slack: Slack, session: aiohttp.ClientSession) -> None:
    await channel(slack, session).deliver(a_delivery("trigger"))
    (message,) = slack.messages
    for said in (
        "PAGE edge1: 31 % of calls over trunk vonage sound bad",
        "the carrier or access network before us",
        "loss 6.1 % in 14 of 16 bad slices",
        f"trunkline alerts ack {an_alert().id}",
        an_alert().calls[0],
    ):
        assert said in text_of(message)
        assert said in message["text"], "receivers without blocks see the text alone"


async def test_nothing_in_an_alert_becomes_markup(slack: Slack, session: aiohttp.ClientSession) -> None:
    nasty = "<!channel> & <https://evil.example|here> <@U1>"
    verdict = Verdict(causes=[Cause("unknown", 1.0, [nasty])], summary=nasty)
    alert = an_alert(summary=nasty, detail=[nasty], calls=[nasty], verdict=verdict, subject=nasty)
    await channel(slack, session).deliver(a_delivery("trigger", alert))
    (message,) = slack.messages
    for text in (message["text"], text_of(message)):
        assert "&lt;!channel&gt; &amp; &lt;https://evil.example|here&gt;" in text
        assert "<!channel>" not in text


@pytest.mark.parametrize("length", range(2970, 3010))
async def test_long_text_is_cut_within_the_limit(length: int) -> None:
    text = "a" * length + "&amp;" * 400
    cut = clipped_markup(text, 3000)
    assert len(cut) <= 3000
    assert cut.removesuffix("…").replace("&amp;", "").strip("a") == "", "an entity was cut in two"


async def test_a_long_alert_fits(slack: Slack, session: aiohttp.ClientSession) -> None:
    verdict = Verdict(causes=[Cause("carrier", 0.1, ["&" * 900] * 9)] * 60, summary="<" * 9000)
    alert = an_alert(summary="&" * 9000, detail=["<" * 2000] * 80, calls=["c" * 36] * 10, verdict=verdict)
    await channel(slack, session).deliver(a_delivery("trigger", alert))
    assert len(slack.messages) == 1


async def test_a_refused_message_is_final(slack: Slack, session: aiohttp.ClientSession) -> None:
    with pytest.raises(DeliveryError, match=r"^chat: 127\.0\.0\.1: answered 404$") as caught:
        await channel(slack, session, "/services/revoked").deliver(a_delivery("trigger"))
    assert caught.value.permanent


async def test_when_throttled_it_says_for_how_long(slack: Slack, session: aiohttp.ClientSession) -> None:
    slack.answers = [(429, {"Retry-After": "7"}, b"rate_limited")]
    with pytest.raises(DeliveryError) as caught:
        await channel(slack, session).deliver(a_delivery("trigger"))
    assert (caught.value.permanent, caught.value.retry_after_s) == (False, 7.0)


@pytest.mark.parametrize("answer", [b"ok", b"ok\n", b'{"success":true}'])
async def test_the_answers_of_slack_mattermost_and_rocket_chat_are_known(
    slack: Slack, session: aiohttp.ClientSession, answer: bytes
) -> None:
    slack.answers = [(200, {}, answer)]
    await channel(slack, session).deliver(a_delivery("trigger"))


@pytest.mark.parametrize("answer", [b"<html>Please log in</html>", b"", b'{"success":false}', b"\xff\xfe"])
async def test_a_200_of_somebody_else_is_no_delivery(
    slack: Slack, session: aiohttp.ClientSession, answer: bytes
) -> None:
    slack.answers = [(200, {}, answer)]
    with pytest.raises(DeliveryError, match="not as an incoming webhook") as caught:
        await channel(slack, session).deliver(a_delivery("trigger"))
    assert not caught.value.permanent


def section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ({"text": "hello"}, []),
        ({"text": "a", "blocks": [section("see <https://a.example/b|this> &amp; that")]}, []),
        ({}, ["no_text"]),
        ({"text": "1 < 2"}, ["invalid_payload"]),
        ({"text": "a", "blocks": [section("x" * 3001)]}, ["invalid_blocks"]),
        ({"text": "a", "blocks": [section("")]}, ["invalid_blocks"]),
        ({"text": "a", "blocks": [section("a <!here>")]}, ["invalid_blocks"]),
        ({"text": "a", "blocks": [section("a")] * 51}, ["invalid_blocks_format"]),
        ({"text": "a", "blocks": [{"type": "context", "elements": []}]}, ["invalid_blocks"]),
    ],
)
def test_the_rules_themselves(body: dict[str, Any], fault: list[str]) -> None:
    assert faults(body) == fault
