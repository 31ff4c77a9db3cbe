"""Alertmanager, by its API v2: as Prometheus tells it, so that its routes, silences and inhibitions apply.

Alertmanager forgets an alert that it is not told of for `resolve_timeout` (5 min unless configured), and so it is told
again while the alert lasts. No end is sent before there is one: then only Alertmanager's own clock counts.
"""

import asyncio
from base64 import b64encode
from datetime import datetime
from typing import Any

from .base import Answer, Channel, Delivery, DeliveryError
from .config import AlertmanagerConfig
from .context import ChannelContext
from .http_post import Poster, json_body
from .text import line, words

REFRESH_S = 60.0
"""A fifth of the usual `resolve_timeout`: four may be lost."""


class AlertmanagerChannel(Channel):
    """One Alertmanager, or a cluster of them."""

    refresh_s = REFRESH_S

    def __init__(self, name: str, config: AlertmanagerConfig, context: ChannelContext) -> None:
        self._config = config
        self._context = context
        self._poster = Poster(name, config, context)

    async def deliver(self, delivery: Delivery) -> Answer | None:
        """Tell every member; one that accepts is enough, since the members tell each other."""
        body = json_body([_alert(delivery, self._context)])
        outcomes = await asyncio.gather(*(self._tell(url, body) for url in self._config.urls), return_exceptions=True)
        failures = [outcome for outcome in outcomes if outcome is not None]
        if len(failures) < len(outcomes):
            return None
        raise _together(failures)

    async def close(self) -> None:
        """Nothing is held."""

    async def _tell(self, url: str, body: bytes) -> None:
        await self._poster.post(f"{url.rstrip('/')}/api/v2/alerts", body, self._authorization())

    def _authorization(self) -> dict[str, str]:
        if self._config.token is not None:
            return {"Authorization": f"Bearer {self._config.token.get_secret_value()}"}
        if self._config.username is not None and self._config.password is not None:
            pair = f"{self._config.username}:{self._config.password.get_secret_value()}"
            return {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}
        return {}


def _together(failures: list[BaseException]) -> DeliveryError:
    """Of all members' failures one; it is final only when each of them is."""
    errors = [failure for failure in failures if isinstance(failure, DeliveryError)]
    if len(errors) < len(failures):
        raise next(failure for failure in failures if not isinstance(failure, DeliveryError))
    pauses = [error.retry_after_s for error in errors if error.retry_after_s is not None]
    return DeliveryError(
        "; ".join(str(error) for error in errors),
        permanent=all(error.permanent for error in errors),
        retry_after_s=min(pauses) if len(pauses) == len(errors) else None,
    )


def _alert(delivery: Delivery, context: ChannelContext) -> dict[str, Any]:
    """A postable alert. Its labels are its identity: they stay the same until it is resolved."""
    told, alert = words(delivery, context), delivery.alert
    test = delivery.action == "test"
    rule = "test" if test else alert.rule
    labels = {
        "alertname": "Trunkline" + "".join(part.capitalize() for part in rule.split("_")),
        "rule": rule,
        "severity": alert.severity,
        "gateway": context.gateway,
    }
    kind, _, name = alert.subject.partition(" ")
    if kind in ("trunk", "agent") and name and not test:
        labels[kind] = name
    annotations = {
        "summary": told.what,
        "description": "\n".join([told.state, *told.detail]),
        "cause": "\n".join(told.why),
        "calls": "\n".join(told.calls),
        "acknowledged_by": alert.acknowledged_by or "",
    }
    posted: dict[str, Any] = {
        "labels": {key: line(value) for key, value in labels.items()},
        "annotations": {key: value for key, value in annotations.items() if value},
        "startsAt": alert.started_at,
    }
    if told.link:
        posted["generatorURL"] = told.link
    if delivery.action == "resolve":
        posted["endsAt"] = _later(alert.started_at, alert.resolved_at or alert.updated_at)
    return posted


def _later(start: str, end: str) -> str:
    """The end; the start when a step of the clock put the end before it, which Alertmanager refuses."""
    return max(start, end, key=datetime.fromisoformat)
