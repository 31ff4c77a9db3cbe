"""The alert desk: engine, ladder, journal and deliveries together. What one says, the others hear, in one step:

engine.changes → journal → ladder.update → journal → deliveries → (stored) → channel → ladder, journal
"""

import random
import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import structlog

from ..errors import AlertRefused
from ..ids import new_call_id
from .alert import Alert
from .channels.base import Answer, Channel, Delivery
from .config import AlertsConfig
from .deliveries import Deliveries
from .engine import AlertEngine
from .journal import Journal
from .journal_file import Entry
from .ladder import Ladder, rfc3339
from .outbox import Result

log = structlog.get_logger(__name__)


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


class AlertDesk:
    """`start`, then `look` once a second, then `stop`. It hears how deliveries go (deliveries.Teller)."""

    def __init__(
        self,
        config: AlertsConfig,
        engine: AlertEngine,
        state_dir: Path,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.engine = engine
        self.journal = Journal(state_dir)
        self.ladder = Ladder(config)
        self.deliveries = Deliveries(self, random.SystemRandom())
        self.looked_at = monotonic()
        """When every rule was last looked at without a fault."""
        self._channels: Mapping[str, Channel] = {}
        self._refreshed: dict[tuple[str, str], float] = {}
        """By channel and alert: when the channel was last told, for those that forget."""
        self._monotonic = monotonic
        self._clock = clock

    async def start(self, channels: Mapping[str, Channel], ringing: Collection[str] = ()) -> None:
        """Take up what the process before this one left: open alerts, where the ladder stood, unsent deliveries."""
        kept = await self.journal.open()
        self._channels = channels
        self.deliveries.use(channels, ringing)
        now, at = self._monotonic(), self._clock()
        self.engine.restore(alert for alert in kept.alerts.values() if alert.state != "resolved")
        unsent = list(kept.deliveries.values())
        self.ladder.restore(list(kept.climbs.values()), dict(kept.alerts), now, at)
        for delivery in unsent:
            alert = kept.alerts.get(delivery.alert.id)
            if delivery.action == "trigger" and alert is not None and _needless(delivery, alert):
                self.journal.put(Entry(settled=delivery.id))
                continue
            age = (at - datetime.fromisoformat(delivery.created_at)).total_seconds()
            self.deliveries.put(delivery, age)
        self._pass_on()
        if unsent:
            log.info("deliveries of alerts go on", count=len(unsent))

    def use(self, config: AlertsConfig, channels: Mapping[str, Channel], ringing: Collection[str]) -> None:
        """Another configuration from now on."""
        self._channels = channels
        self.engine.use(config.rules)
        self.ladder.use(config, self._monotonic())
        self.deliveries.use(channels, ringing)
        self._pass_on()

    def look(self) -> None:
        """Every rule, and whoever has waited long enough: they are told whatever the rules do."""
        now = self._monotonic()
        try:
            self.engine.poll(now)
            self.looked_at = now
        finally:
            self._take_changes()
            self.ladder.poll(now, self._clock())
            self._pass_on()
            self._refresh(now)

    async def acknowledge(self, alert_id: str, by: str) -> Alert:
        """Somebody owns it. Returns when it is stored. Raises AlertRefused."""
        alert = self._own(alert_id, by)
        if alert is None:
            known = self.journal.kept.alerts.get(alert_id)
            if known is None:
                raise AlertRefused(404, f"there is no alert {alert_id}")
            raise AlertRefused(409, f"alert {alert_id} is resolved already")
        await self.journal.stored()
        return alert

    async def stop(self) -> None:
        """What is not delivered stays stored."""
        await self.deliveries.stop()
        await self.journal.close()

    # How deliveries go (deliveries.Teller)

    async def sending(self, delivery: Delivery) -> None:
        """Stored, if the disk takes it within a moment: an alert that waits for a full disk helps nobody."""
        if delivery.id in self.journal.kept.deliveries:
            self.ladder.sending(delivery, self._monotonic(), self._clock())
            self._pass_on()
        if not await self.journal.stored():
            log.warning("alert is sent without being stored", alert=delivery.alert.id, channel=delivery.channel)

    def settled(self, delivery: Delivery, result: Result, answer: Answer | None) -> None:
        """It was delivered, or never will be."""
        now, at = self._monotonic(), self._clock()
        self.journal.put(Entry(settled=delivery.id))
        if result == "delivered":
            self._refreshed[delivery.channel, delivery.alert.id] = now
        elif result in ("refused", "expired"):
            self.ladder.refused(delivery, now, at)
        if answer == "acknowledged":
            self._own(delivery.alert.id, delivery.person or delivery.channel)
        elif answer == "next":
            self.ladder.pass_on(delivery.alert.id, delivery.person, now, at)
        self._pass_on()

    # One step

    def _own(self, alert_id: str, by: str) -> Alert | None:
        alert = self.engine.acknowledge(alert_id, by, rfc3339(self._clock()))
        self._take_changes()
        return alert

    def _take_changes(self) -> None:
        for alert in self.engine.changes():
            log.warning(
                f"alert {alert.state}",
                alert=alert.id,
                rule=alert.rule,
                subject=alert.subject,
                severity=alert.severity,
                summary=alert.summary,
                by=alert.acknowledged_by,
            )
            self.journal.put(Entry(alert=alert))
            if alert.state != "firing":
                self.deliveries.withdraw(alert.id, people_only=alert.state == "acknowledged")
            self.ladder.update(alert, self._monotonic(), self._clock())
        self._pass_on()

    def _pass_on(self) -> None:
        """What the ladder decided: stored first, a delivery before the step that it belongs to."""
        deliveries = self.ladder.deliveries()
        self.journal.put(*(Entry(delivery=delivery) for delivery in deliveries))
        self.journal.put(*(Entry(climb=climb) for climb in self.ladder.changed()))
        for delivery in deliveries:
            self.deliveries.put(delivery)

    def _refresh(self, now: float) -> None:
        """Tell channels that forget what still is open."""
        open_alerts = {alert.id: alert for alert in self.engine.alerts}
        for key in [key for key in self._refreshed if key[1] not in open_alerts]:
            del self._refreshed[key]
        for name, channel in self._channels.items():
            for alert in open_alerts.values() if channel.refresh_s is not None else ():
                climb = self.ladder.climb(alert.id)
                if climb is None or name not in climb.told or self.deliveries.about(name, alert.id):
                    continue
                told = self._refreshed.get((name, alert.id))
                if told is None or now >= told + (channel.refresh_s or 0.0):
                    self._refreshed[name, alert.id] = now
                    self.deliveries.put(self._again(alert, name), again=False)

    def _again(self, alert: Alert, channel: str) -> Delivery:
        return Delivery(
            id=new_call_id(),
            alert=msgspec.structs.replace(alert),
            action="trigger",
            channel=channel,
            created_at=rfc3339(self._clock()),
        )


def _needless(delivery: Delivery, alert: Alert) -> bool:
    """The process before this one ended between the change of the alert and the end of the delivery."""
    return alert.state == "resolved" or (alert.state == "acknowledged" and delivery.person is not None)
