"""PagerDuty: events that the published schema takes, and one incident that follows the alert."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from support.alert_messages import CALLS, CONSOLE, a_context, a_delivery, an_alert
from support.pagerduty import KEY, PagerDuty, faults

from trunkline.gateway.alerts.channels.base import Channel, DeliveryError
from trunkline.gateway.alerts.channels.config import PagerDutyConfig
from trunkline.gateway.alerts.channels.registry import make_channel


@pytest.fixture
async def service() -> AsyncIterator[PagerDuty]:
    async with PagerDuty() as service:
        yield service


def channel(service: PagerDuty, session: aiohttp.ClientSession, key: str = KEY, **context: Any) -> Channel:
    config = PagerDutyConfig.model_validate(
        {"kind": "pagerduty", "routing_key": key, "url": service.url("/v2/enqueue")}
    )
    return make_channel("pager", config, a_context(session, **context))


async def test_an_incident_follows_the_alert(service: PagerDuty, session: aiohttp.ClientSession) -> None:
    pager = channel(service, session)
    for action, state in (("trigger", "triggered"), ("acknowledge", "acknowledged"), ("resolve", "resolved")):
        await pager.deliver(a_delivery(action))
        assert [incident["state"] for incident in service.incidents] == [state]


async def test_the_event_says_what_is_known(service: PagerDuty, session: aiohttp.ClientSession) -> None:
    await channel(service, session).deliver(a_delivery("trigger"))
    event = service.requests[0].json
    assert event["dedup_key"] == "edge1/quality/trunk vonage"
    assert (event["client"], event["client_url"]) == ("Trunkline edge1", CONSOLE)
    payload = event["payload"]
    assert payload["summary"] == "PAGE edge1: 31 % of calls over trunk vonage sound bad"
    assert (payload["severity"], payload["source"]) == ("critical", "edge1")
    assert (payload["component"], payload["group"], payload["class"]) == ("trunk vonage", "vonage", "quality")
    assert payload["timestamp"] == "2026-11-21T03:12:44.250Z"
    assert payload["custom_details"]["calls"] == CALLS
    assert "loss 6.1 % in 14 of 16 bad slices" in payload["custom_details"]["why"][1]
    assert event["links"][0]["href"] == f"{CONSOLE}/alerts#a-{an_alert().id}"
    assert [link["href"] for link in event["links"][1:]] == [f"{CONSOLE}/calls/{call}" for call in CALLS]


async def test_delivered_twice_it_is_one_incident(service: PagerDuty, session: aiohttp.ClientSession) -> None:
    pager = channel(service, session)
    await pager.deliver(a_delivery("trigger"))
    await pager.deliver(a_delivery("trigger"))
    assert len(service.incidents) == 1


async def test_a_ticket_is_a_warning(service: PagerDuty, session: aiohttp.ClientSession) -> None:
    await channel(service, session).deliver(a_delivery("trigger", an_alert(severity="ticket", verdict=None)))
    assert service.incidents[0]["event"]["payload"]["severity"] == "warning"


async def test_a_test_opens_and_resolves_an_incident_of_its_own(
    service: PagerDuty, session: aiohttp.ClientSession
) -> None:
    pager = channel(service, session)
    await pager.deliver(a_delivery("trigger"))
    await pager.deliver(a_delivery("test"))
    assert [incident["state"] for incident in service.incidents] == ["triggered", "resolved"]
    assert service.incidents[1]["event"]["payload"]["severity"] == "info"


@pytest.mark.parametrize("text", ["x" * 5000, "é" * 5000, "a\x00b\r\nc", "\ud800 half a character"])
async def test_any_text_fits(service: PagerDuty, session: aiohttp.ClientSession, text: str) -> None:
    alert = an_alert(summary=text, subject=f"trunk {text}", detail=[text])
    await channel(service, session, console_url=None).deliver(a_delivery("trigger", alert))
    assert len(service.incidents[0]["event"]["payload"]["summary"]) <= 1024


async def test_a_wrong_key_is_final(service: PagerDuty, session: aiohttp.ClientSession) -> None:
    with pytest.raises(DeliveryError, match=r"^pager: 127\.0\.0\.1: answered 400$") as caught:
        await channel(service, session, key="f" * 32).deliver(a_delivery("trigger"))
    assert caught.value.permanent


async def test_when_throttled_it_says_for_how_long(service: PagerDuty, session: aiohttp.ClientSession) -> None:
    service.throttled = 1
    pager = channel(service, session)
    with pytest.raises(DeliveryError, match="answered 429") as caught:
        await pager.deliver(a_delivery("trigger"))
    assert (caught.value.permanent, caught.value.retry_after_s) == (False, 30.0)
    await pager.deliver(a_delivery("trigger"))
    assert len(service.incidents) == 1


TRIGGER: dict[str, Any] = {
    "routing_key": KEY,
    "event_action": "trigger",
    "payload": {"summary": "s", "source": "g", "severity": "info"},
}


@pytest.mark.parametrize(
    ("event", "fault"),
    [
        (TRIGGER, None),
        (TRIGGER | {"routing_key": "short"}, "routing_key"),
        (TRIGGER | {"event_action": "open"}, "event_action"),
        (TRIGGER | {"dedup_key": "k" * 256}, "dedup_key"),
        (TRIGGER | {"event_action": "resolve"}, "dedup_key"),
        (TRIGGER | {"severity": "info"}, "unknown key"),
        (TRIGGER | {"payload": {"summary": "s", "source": "g", "severity": "page"}}, "severity"),
        (TRIGGER | {"payload": {"summary": "s" * 1025, "source": "g", "severity": "info"}}, "summary"),
        (TRIGGER | {"payload": {"summary": "s", "severity": "info"}}, "source"),
        (TRIGGER | {"payload": TRIGGER["payload"] | {"timestamp": "soon"}}, "timestamp"),
        (TRIGGER | {"links": [{"text": "nowhere"}]}, "links"),
        (None, "JSON"),
    ],
)
def test_the_rules_themselves(event: Any, fault: str | None) -> None:
    found = faults(event)
    assert (fault in found[0]) if fault else found == []
