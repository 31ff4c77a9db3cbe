"""An engine that fires on demand, and channels that do as they are told."""

import asyncio
from collections.abc import Callable, Iterable

import msgspec

from trunkline.gateway.alerts.alert import Alert
from trunkline.gateway.alerts.channels.base import Answer, Channel, Delivery
from trunkline.gateway.observer import Observer

AT = "2026-03-02T12:00:00.000Z"


def an_alert(alert_id: str = "a1", **fields) -> Alert:
    words = {"rule": "trunk_down", "subject": "trunk vonage", "severity": "page", "summary": "trunk vonage is down"}
    return Alert(id=alert_id, **({"started_at": AT, "updated_at": AT} | words | fields))


class FakeEngine(Observer):
    """As much of an engine as the service sees."""

    def __init__(self, rules: object = None, state: object = None) -> None:
        self.rules = rules
        self.open: dict[str, Alert] = {}
        self.restored: list[str] = []
        self.polls = 0
        self.fault: Exception | None = None
        self._changes: list[Alert] = []

    def fire(self, alert: Alert) -> None:
        self.open[alert.id] = alert
        self._changes.append(alert)

    def resolve(self, alert_id: str) -> None:
        alert = self.open.pop(alert_id)
        alert.state = "resolved"
        self._changes.append(alert)

    @property
    def alerts(self) -> list[Alert]:
        return list(self.open.values())

    def restore(self, alerts: Iterable[Alert]) -> None:
        for alert in alerts:
            self.restored.append(alert.id)
            self.open[alert.id] = alert

    def use(self, rules: object) -> None:
        self.rules = rules

    def poll(self, now: float) -> None:
        self.polls += 1
        if self.fault is not None:
            raise self.fault

    def changes(self) -> list[Alert]:
        taken, self._changes = self._changes, []
        return taken

    def acknowledge(self, alert_id: str, by: str, at: str) -> Alert | None:
        alert = self.open.get(alert_id)
        if alert is None:
            return None
        if alert.state == "firing":
            alert.state, alert.acknowledged_by, alert.acknowledged_at = "acknowledged", by, at
            self._changes.append(alert)
        return alert


class FakeChannel(Channel):
    """Keeps what it is given. `script` says of each delivery, in turn, what happens: an answer, or an error."""

    def __init__(self, *script: Answer | Exception | None, refresh_s: float | None = None) -> None:
        self.made: list[Delivery] = []
        self.script = list(script)
        self.closed = False
        self.refresh_s = refresh_s
        self.gate: asyncio.Event | None = None
        """While it is set to an event that is not set, the far end says nothing."""
        self.cut_off = 0
        self.on_delivery: Callable[[Delivery], None] = lambda _delivery: None

    @property
    def told(self) -> list[tuple[str, str | None]]:
        return [(delivery.action, delivery.person) for delivery in self.made]

    async def deliver(self, delivery: Delivery) -> Answer | None:
        # as it is now: later changes are none of what was told
        self.made.append(msgspec.structs.replace(delivery))
        self.on_delivery(delivery)
        if self.gate is not None:
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.cut_off += 1
                raise
        result = self.script.pop(0) if self.script else None
        if isinstance(result, Exception):
            raise result
        return result

    async def close(self) -> None:
        self.closed = True
