"""The signed webhook: its body, and a signature that anybody with the key can check."""

import hashlib
import hmac
import time
from typing import Any

import aiohttp
import pytest
from support.alert_messages import CALLS, CONSOLE, a_context, a_delivery, an_alert
from support.receiver import Received, Receiver

from trunkline.gateway.alerts.channels.base import Channel, DeliveryError
from trunkline.gateway.alerts.channels.config import WebhookConfig
from trunkline.gateway.alerts.channels.registry import make_channel
from trunkline.gateway.alerts.channels.webhook import signature

OLD, NEW = "old-secret-recognisable", "new-secret-recognisable"


def channel(receiver: Receiver, session: aiohttp.ClientSession, *secrets: str, **context: Any) -> Channel:
    config = WebhookConfig.model_validate(
        {"kind": "webhook", "url": receiver.url("/hook?key=recognisable"), "secrets": list(secrets or [NEW])}
    )
    return make_channel("hook", config, a_context(session, **context))


def genuine(request: Received, secret: str) -> bool:
    """What a receiver does, by the documentation alone."""
    fields = [field.split("=", 1) for field in request.headers["X-Trunkline-Signature"].split(",")]
    (timestamp,) = (value for name, value in fields if name == "t")
    if abs(time.time() - int(timestamp)) > 300:
        return False
    expected = hmac.digest(secret.encode(), timestamp.encode() + b"." + request.body, hashlib.sha256).hex()
    return any(hmac.compare_digest(expected, value) for name, value in fields if name == "v1")


def test_the_signature_is_the_published_construction() -> None:
    # openssl: printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac new-secret-recognisable
    expected = "4d8dbca39e846be2336d392a4b960c63507be7bd1518c84be3088c17370519e8"
    assert signature(b'{"a":1}', 1_700_000_000, [NEW]) == f"t=1700000000,v1={expected}"


async def test_the_signature_holds_and_breaks(session: aiohttp.ClientSession) -> None:
    async with Receiver() as receiver:
        await channel(receiver, session).deliver(a_delivery("trigger"))
    (request,) = receiver.requests
    assert genuine(request, NEW)
    assert not genuine(request, OLD)
    request.body += b" "
    assert not genuine(request, NEW)


async def test_while_keys_change_both_hold(session: aiohttp.ClientSession) -> None:
    async with Receiver() as receiver:
        await channel(receiver, session, OLD, NEW).deliver(a_delivery("trigger"))
    (request,) = receiver.requests
    assert genuine(request, OLD)
    assert genuine(request, NEW)
    assert request.headers["X-Trunkline-Signature"].count("v1=") == 2


async def test_the_body(session: aiohttp.ClientSession) -> None:
    async with Receiver((204, {}, b"")) as receiver:
        await channel(receiver, session).deliver(a_delivery("trigger", person="ana"))
    (request,) = receiver.requests
    assert request.headers["Content-Type"] == "application/json"
    body = request.json
    alert = body.pop("alert")
    assert body == {
        "version": 1,
        "id": a_delivery("trigger").id,
        "action": "trigger",
        "created_at": "2026-11-21T03:12:46Z",
        "gateway": "edge1",
        "person": "ana",
        "dedup_key": "edge1/quality/trunk vonage",
        "title": "PAGE edge1: 31 % of calls over trunk vonage sound bad",
        "links": {
            "alert": f"{CONSOLE}/alerts#a-{an_alert().id}",
            "calls": {call: f"{CONSOLE}/calls/{call}" for call in CALLS},
        },
    }
    assert (alert["rule"], alert["state"], alert["severity"], alert["calls"]) == ("quality", "firing", "page", CALLS)
    assert alert["verdict"]["causes"][0]["name"] == "carrier"
    assert alert["resolved_at"] is None


async def test_without_a_console_there_are_no_links(session: aiohttp.ClientSession) -> None:
    async with Receiver() as receiver:
        await channel(receiver, session, console_url=None).deliver(a_delivery("trigger"))
    assert receiver.requests[0].json["links"] == {"alert": None, "calls": {}}


async def test_sent_again_it_has_the_same_event_id(session: aiohttp.ClientSession) -> None:
    async with Receiver((500, {}, b""), (200, {}, b"")) as receiver:
        hook = channel(receiver, session)
        with pytest.raises(DeliveryError, match="answered 500"):
            await hook.deliver(a_delivery("trigger"))
        await hook.deliver(a_delivery("trigger"))
        await hook.deliver(a_delivery("resolve"))
    events = [request.headers["X-Trunkline-Event"] for request in receiver.requests]
    assert events[0] == events[1] == a_delivery("trigger").id
    assert events[2] != events[0]


@pytest.mark.parametrize(
    ("status", "permanent"),
    [
        *((status, True) for status in (301, 302, 307, 400, 401, 404, 410, 422)),
        *((status, False) for status in (408, 425, 429, 500, 502, 503)),
    ],
)
async def test_which_answers_are_final(session: aiohttp.ClientSession, status: int, permanent: bool) -> None:
    async with Receiver((status, {"Location": "/elsewhere", "Retry-After": "5"}, b"no")) as receiver:
        with pytest.raises(DeliveryError, match=f"answered {status}") as caught:
            await channel(receiver, session).deliver(a_delivery("trigger"))
    assert caught.value.permanent is permanent
    assert caught.value.retry_after_s == (None if permanent else 5.0)
    assert [request.path for request in receiver.requests] == ["/hook?key=recognisable"], "a redirect was followed"


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_every_2xx_is_a_delivery(session: aiohttp.ClientSession, status: int) -> None:
    async with Receiver((status, {}, b"")) as receiver:
        await channel(receiver, session).deliver(a_delivery("trigger"))
