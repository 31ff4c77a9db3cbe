"""PagerDuty's Events API v2 as it is published: what it refuses, what it answers, and what becomes of incidents."""

from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import orjson
from aiohttp import web

from .receiver import Receiver

KEY = "e93facc04764012d7bfb002500d5d1a6"
BODY_MAX = 512 * 1024

_ACTIONS = {"trigger": "triggered", "acknowledge": "acknowledged", "resolve": "resolved"}
_EVENT = {"payload", "routing_key", "event_action", "dedup_key", "client", "client_url", "links", "images"}
_PAYLOAD = {
    "summary": 1024,
    "source": None,
    "severity": None,
    "timestamp": None,
    "component": None,
    "group": None,
    "class": None,
    "custom_details": None,
}
"""Key → its greatest length."""


def faults(event: Any) -> list[str]:
    """What is wrong with this event; the keys of the published schema are all there are."""
    if not isinstance(event, dict):
        return ["JSON parse error"]
    found = [f"unknown key {key}" for key in event.keys() - _EVENT]
    action = event.get("event_action")
    if action not in _ACTIONS:
        found.append("'event_action' is missing or wrong")
    if len(event.get("routing_key", "")) != 32:
        found.append("Length of 'routing_key' is incorrect (should be 32 characters)")
    key = event.get("dedup_key")
    if key is None and action != "trigger":
        found.append("'dedup_key' is missing")
    if key is not None and not (isinstance(key, str) and 0 < len(key) <= 255):
        found.append("'dedup_key' is wrong")
    if action == "trigger" or "payload" in event:
        found += _payload_faults(event.get("payload"))
    for key in ("client", "client_url"):
        if key in event and not isinstance(event[key], str):
            found.append(f"'{key}' is no string")
    links = event.get("links", [])
    if not isinstance(links, list) or not all(_is_link(link) for link in links):
        found.append("'links' is wrong")
    return found


def _payload_faults(payload: Any) -> list[str]:
    if not isinstance(payload, dict):
        return ["'payload' is missing"]
    found = [f"unknown key payload.{key}" for key in payload.keys() - _PAYLOAD.keys()]
    found += [f"'payload.{key}' is missing or blank" for key in ("summary", "source") if not payload.get(key)]
    if payload.get("severity") not in ("critical", "error", "warning", "info"):
        found.append("'payload.severity' is missing or wrong")
    for key, most in _PAYLOAD.items():
        value = payload.get(key)
        if value is None or key == "custom_details":
            continue
        if not isinstance(value, str) or (most and len(value) > most):
            found.append(f"'payload.{key}' is wrong or too long")
    if "timestamp" in payload:
        try:
            datetime.fromisoformat(payload["timestamp"])
        except ValueError:
            found.append("'payload.timestamp' is no ISO 8601 time")
    if not isinstance(payload.get("custom_details", {}), dict):
        found.append("'payload.custom_details' is no object")
    return found


def _is_link(link: Any) -> bool:
    if not isinstance(link, dict) or link.keys() - {"href", "text"}:
        return False
    return urlsplit(str(link.get("href", ""))).scheme in ("http", "https") and isinstance(link.get("text", ""), str)


class PagerDuty(Receiver):
    """The service: an incident for each key."""

    def __init__(self) -> None:
        super().__init__()
        self.incidents: list[dict[str, Any]] = []
        self.throttled = 0
        """So many requests are answered 429 first."""

    async def answer(self, request: web.Request, body: bytes) -> web.StreamResponse:
        if self.throttled:
            self.throttled -= 1
            return web.Response(status=429, headers={"Retry-After": "30"})
        try:
            event = orjson.loads(body)
        except orjson.JSONDecodeError:
            event = None
        found = faults(event) + (["the request is too large"] if len(body) > BODY_MAX else [])
        if request.method != "POST" or request.path != "/v2/enqueue":
            return web.Response(status=404)
        if not found and event["routing_key"] != KEY:
            found = ["'routing_key' belongs to no integration"]
        if found:
            refusal = {"status": "invalid event", "message": "Event object is invalid", "errors": found}
            return web.json_response(refusal, status=400)
        self._apply(event)
        done = {"status": "success", "message": "Event processed", "dedup_key": event["dedup_key"]}
        return web.json_response(done, status=202)

    def _apply(self, event: dict[str, Any]) -> None:
        key, action = event["dedup_key"], event["event_action"]
        open_one = next((one for one in self.incidents if one["key"] == key and one["state"] != "resolved"), None)
        if open_one is None and action == "trigger":
            self.incidents.append({"key": key, "state": "triggered", "event": event})
        elif open_one is not None and action != "trigger":
            open_one["state"] = _ACTIONS[action]
