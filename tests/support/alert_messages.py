"""An alert and its deliveries, as the gateway would make them."""

from typing import Any

import aiohttp

from trunkline.gateway.alerts.alert import Alert, Cause, Verdict
from trunkline.gateway.alerts.channels.base import Action, Delivery
from trunkline.gateway.alerts.channels.context import ChannelContext

ALERT_ID = "0190b6a0-0000-7000-8000-000000000001"
CALLS = ["0190b6a0-0000-7000-8000-00000000000c", "0190b6a0-0000-7000-8000-00000000000b"]
CONSOLE = "https://console.example.com/edge1"


def an_alert(**changes: Any) -> Alert:
    """A page about the quality of one trunk, with a verdict."""
    fields: dict[str, Any] = {
        "id": ALERT_ID,
        "rule": "quality",
        "subject": "trunk vonage",
        "trunk": "vonage",
        "severity": "page",
        "summary": "31 % of calls over trunk vonage sound bad",
        "detail": ["16 of 51 slices are below R 70", "burn rate 15.5 over 1 h, 17.2 over 5 min"],
        "verdict": Verdict(
            causes=[Cause("carrier", 0.88, ["loss 6.1 % in 14 of 16 bad slices", "on trunk vonage alone"])],
            summary="the carrier or access network before us: loss on trunk vonage alone",
        ),
        "calls": CALLS,
        "started_at": "2026-11-21T03:12:44.250Z",
        "updated_at": "2026-11-21T03:13:00Z",
    }
    return Alert(**fields | changes)


def acknowledged(**changes: Any) -> Alert:
    """The same, owned by ana."""
    owned = {"state": "acknowledged", "acknowledged_at": "2026-11-21T03:14:00Z", "acknowledged_by": "ana"}
    return an_alert(**owned | changes)


def resolved(**changes: Any) -> Alert:
    """The same, over after twelve minutes."""
    return an_alert(**{"state": "resolved", "resolved_at": "2026-11-21T03:24:50Z"} | changes)


def a_delivery(action: Action, alert: Alert | None = None, **changes: Any) -> Delivery:
    """A delivery of this alert as it stands after `action`."""
    if alert is None:
        alert = {"acknowledge": acknowledged, "resolve": resolved}.get(action, an_alert)()
    fields: dict[str, Any] = {
        "id": f"0190b6a0-0000-7000-8000-0000000000d{'tarx'.index({'test': 'x'}.get(action, action[0]))}",
        "alert": alert,
        "action": action,
        "channel": "c",
        "created_at": "2026-11-21T03:12:46Z",
    }
    return Delivery(**fields | changes)


def a_context(session: aiohttp.ClientSession, **changes: Any) -> ChannelContext:
    """What channels are given, with this session."""
    fields: dict[str, Any] = {"gateway": "edge1", "console_url": CONSOLE, "http": lambda: session}
    return ChannelContext(**fields | changes)
