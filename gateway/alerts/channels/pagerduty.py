"""PagerDuty, by its Events API v2: the incident opens, is acknowledged and is resolved with the alert.

What is the same trouble has the same deduplication key, so that an event that is sent twice changes nothing.
"""

from typing import Any, Literal

from ..alert import Alert
from .base import Answer, Channel, Delivery
from .config import PagerDutyConfig
from .context import ChannelContext
from .http_post import Poster, json_body
from .text import Words, clipped, line, words

SUMMARY_MAX = 1024
"""Characters of `payload.summary`."""
DEDUP_KEY_MAX = 255

EventAction = Literal["trigger", "acknowledge", "resolve"]


class PagerDutyChannel(Channel):
    """One integration of one PagerDuty service."""

    def __init__(self, name: str, config: PagerDutyConfig, context: ChannelContext) -> None:
        self._config = config
        self._context = context
        self._poster = Poster(name, config, context)

    async def deliver(self, delivery: Delivery) -> Answer | None:
        """Send one event; a test opens an incident of its own and resolves it."""
        told = words(delivery, self._context)
        alert = delivery.alert
        if delivery.action == "test":
            key = f"{self._context.gateway}/test/{delivery.id}"
            await self._send("trigger", key, self._trigger(told, alert, "info"))
            await self._send("resolve", key, {})
            return None
        key = alert.dedup_key(self._context.gateway)
        if delivery.action == "trigger":
            severity = "critical" if alert.severity == "page" else "warning"
            await self._send("trigger", key, self._trigger(told, alert, severity))
        else:
            await self._send(delivery.action, key, {})
        return None

    async def close(self) -> None:
        """Nothing is held."""

    async def _send(self, action: EventAction, key: str, more: dict[str, Any]) -> None:
        event = {
            "routing_key": self._config.routing_key.get_secret_value(),
            "event_action": action,
            "dedup_key": clipped(line(key), DEDUP_KEY_MAX),
        }
        await self._poster.post(self._config.url, json_body(event | more), accepted=(202,))

    def _trigger(self, told: Words, alert: Alert, severity: str) -> dict[str, Any]:
        gateway = self._context.gateway
        event: dict[str, Any] = {
            "payload": {
                "summary": clipped(told.title, SUMMARY_MAX),
                "source": line(gateway),
                "severity": severity,
                "timestamp": alert.started_at,
                "component": line(alert.subject),
                "group": line(alert.trunk or gateway),
                "class": line(alert.rule),
                "custom_details": _details(told),
            },
            "client": f"Trunkline {line(gateway)}",
        }
        if self._context.console_url:
            event["client_url"] = self._context.console_url
        links = [{"href": told.link, "text": "The alert in the console"}] if told.link else []
        for call in told.calls:
            if url := self._context.call_url(call):
                links.append({"href": url, "text": f"Call {call}"})
        return event | ({"links": links} if links else {})


def _details(told: Words) -> dict[str, Any]:
    details = {
        "why": told.why,
        "figures": told.detail,
        "calls": told.calls,
        "acknowledge with": told.acknowledge,
    }
    return {key: value for key, value in details.items() if value}
