"""The on-call ladder: who is told of an alert, and who is told next when nobody owns it.

| what happens | what follows |
| --- | --- |
| a page fires | `notify` is told, then the first person on duty |
| `ack_timeout_s` is over, the person's channels refuse for good, or the person says `next` | the next person on duty |
| the last person was told in vain | after ROUND_PAUSE_S it begins again from the first |
| a ticket fires | `notify` is told; where there is none, the first person's channels but for the telephone |
| a ticket becomes a page | the ladder begins |
| somebody acknowledges | every channel that was told hears of it, nobody else is told |
| it is resolved | every channel that was told hears of it |
| the same trouble fires again within CALM_S of the last telling | people are told when that time is over |

People outside their hours are passed over; when nobody at all is on duty, everybody is. `now` is monotonic seconds and
rules every waiting; `at` is the UTC time and rules the hours of duty.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec

from ..ids import new_call_id
from .alert import Alert
from .channels.base import Action, Delivery
from .config import AlertsConfig, RungConfig

ROUND_PAUSE_S = 300.0
"""Between the last person's time-out and the first person's next page."""
CALM_S = 600.0
"""Trouble that flaps wakes people once in this time, not at each turn."""
LONGEST_WAIT_S = 3600.0
"""No waiting that a restart takes over is longer, whatever the clock did meanwhile."""


def rfc3339(at: datetime) -> str:
    """Milliseconds, UTC."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Phase = Literal["calm", "told", "paging", "pause", "owned", "over", "forgotten"]


class Climb(msgspec.Struct, kw_only=True):
    """How far one alert has come; stored, so that a restart goes on from here."""

    alert_id: str
    key: str
    """What is the same for trouble of the same kind and severity."""
    phase: Phase = "calm"
    """`calm`: it fired again too soon; `told`: a ticket, nobody is waited for; `paging`: `person` has time until `due`;
    `pause`: between two rounds; `owned`; `over`: resolved, kept for CALM_S; `forgotten` after that."""
    rung: int = -1
    person: str | None = None
    due: str | None = None
    """When the waiting is over, RFC 3339."""
    waits: list[str] = []
    """Channels of this person that have not refused for good."""
    told: list[str] = []
    """Channels that have, or may have, heard of it."""
    told_at: str | None = None
    """When somebody was last told."""


class Ladder:
    """All open alerts. After each call that takes `now`, send what `deliveries` gives, store what `changed` gives."""

    def __init__(self, config: AlertsConfig, new_id: Callable[[], str] = new_call_id) -> None:
        self._config = config
        self._new_id = new_id
        self._climbs: dict[str, Climb] = {}
        self._alerts: dict[str, Alert] = {}
        self._due: dict[str, float] = {}
        self._told_at: dict[str, float] = {}
        """By key: when somebody was last told, monotonic."""
        self._deliveries: list[Delivery] = []
        self._changed: dict[str, Climb] = {}

    def __repr__(self) -> str:
        return f"<Ladder {[(climb.key, climb.phase, climb.person) for climb in self._climbs.values()]}>"

    # What comes of it

    def deliveries(self) -> list[Delivery]:
        """What is to be sent since the last time, in this order."""
        taken, self._deliveries = self._deliveries, []
        return taken

    def changed(self) -> list[Climb]:
        """Climbs to be stored since the last time."""
        taken, self._changed = list(self._changed.values()), {}
        return taken

    def climb(self, alert_id: str) -> Climb | None:
        """How far an alert has come."""
        return self._climbs.get(alert_id)

    # What happens

    def restore(self, climbs: list[Climb], alerts: dict[str, Alert], now: float, at: datetime) -> None:
        """Go on where the process before this one stood; alerts without a climb are taken as new."""
        for climb in climbs:
            alert = alerts.get(climb.alert_id)
            if alert is None:
                continue
            self._climbs[climb.alert_id] = climb
            self._alerts[climb.alert_id] = alert
            if climb.told_at is not None:
                age = _clamped((at - _time(climb.told_at)).total_seconds())
                self._told_at[climb.key] = max(now - age, self._told_at.get(climb.key, now - age))
            if climb.due is not None:
                self._due[climb.alert_id] = now + _clamped((_time(climb.due) - at).total_seconds())
        for alert in alerts.values():
            self.update(alert, now, at)

    def use(self, config: AlertsConfig, now: float) -> None:
        """Another configuration from now on. Who is being waited for keeps the time that is left; when that person is
        gone, the one in their place (or else the first) is next, at once; pages that had nobody begin."""
        self._config = config
        names = [rung.name for rung in config.on_call]
        for climb in self._climbs.values():
            if climb.phase == "paging" and climb.person in names:
                climb.rung = names.index(climb.person)
            elif climb.phase == "paging":
                climb.rung = climb.rung - 1 if climb.rung < len(names) else -1
                self._due[climb.alert_id] = now
            elif climb.phase == "told" and names and self._alerts[climb.alert_id].severity == "page":
                self._due[climb.alert_id] = now

    def update(self, alert: Alert, now: float, at: datetime) -> None:
        """An alert fired, changed, was acknowledged or is resolved."""
        climb = self._climbs.get(alert.id)
        if climb is None:
            if alert.state == "resolved":
                return
            climb = self._climbs[alert.id] = Climb(alert_id=alert.id, key=_key(alert))
            self._alerts[alert.id] = alert
            if alert.state == "firing":
                self._fire(climb, now, at)
                return
        self._alerts[alert.id] = alert
        match alert.state:
            case "resolved" if climb.phase != "over":
                self._settle(climb, "over", "resolve", now, at)
            case "acknowledged" if climb.phase not in ("owned", "over"):
                self._settle(climb, "owned", "acknowledge", now, at)
            case "firing" if climb.phase in ("told", "calm") and alert.severity == "page" and climb.key != _key(alert):
                climb.key = _key(alert)
                self._fire(climb, now, at)
            case _:
                return

    def poll(self, now: float, at: datetime) -> None:
        """What is due."""
        for alert_id in [alert_id for alert_id, due in self._due.items() if due <= now]:
            climb = self._climbs[alert_id]
            match climb.phase:
                case "over":
                    self._forget(climb)
                case "calm":
                    self._tell(climb, now, at)
                case _:
                    self._climb(climb, now, at)

    def sending(self, delivery: Delivery, now: float, at: datetime) -> None:
        """The first attempt begins: from now on the channel may have heard of the alert."""
        climb = self._climbs.get(delivery.alert.id)
        if climb is None or delivery.action != "trigger":
            return
        if delivery.channel not in climb.told:
            climb.told = [*climb.told, delivery.channel]
        climb.told_at = rfc3339(at)
        self._told_at[climb.key] = now
        self._note(climb)

    def refused(self, delivery: Delivery, now: float, at: datetime) -> None:
        """A channel will never take this delivery."""
        climb = self._climbs.get(delivery.alert.id)
        if climb is None or not self._waits_for(climb, delivery.person) or delivery.channel not in climb.waits:
            return
        climb.waits = [name for name in climb.waits if name != delivery.channel]
        if climb.waits:
            self._note(climb)
        else:
            self._climb(climb, now, at)

    def pass_on(self, alert_id: str, person: str | None, now: float, at: datetime) -> None:
        """The person says `next`; of no effect when somebody else is being waited for already."""
        climb = self._climbs.get(alert_id)
        if climb is not None and self._waits_for(climb, person):
            self._climb(climb, now, at)

    # The rungs

    def _waits_for(self, climb: Climb, person: str | None) -> bool:
        return climb.phase == "paging" and person is not None and climb.person == person

    def _fire(self, climb: Climb, now: float, at: datetime) -> None:
        told_at = self._told_at.get(climb.key)
        if told_at is not None and now < told_at + CALM_S:
            self._wait(climb, "calm", told_at + CALM_S - now, now, at)
        else:
            self._tell(climb, now, at)

    def _tell(self, climb: Climb, now: float, at: datetime) -> None:
        """Everybody who hears of each alert, and for a page the first person."""
        page = self._alerts[climb.alert_id].severity == "page"
        channels = self._config.notify
        if not page and not channels:
            channels = [name for rung in self._config.on_call[:1] for name in rung.channels if not self._rings(name)]
        for channel in channels:
            self._deliver(climb, "trigger", channel, None, at)
        if page:
            self._climb(climb, now, at)
        else:
            self._stay(climb, "told")

    def _climb(self, climb: Climb, now: float, at: datetime) -> None:
        """To the next person on duty; after the last one to the pause, after the pause to the first."""
        first = 0 if climb.phase in ("calm", "told", "pause") else climb.rung + 1
        on_call = self._config.on_call
        duty = [index for index, rung in enumerate(on_call) if _on_duty(rung, at)] or list(range(len(on_call)))
        index = next((index for index in duty if index >= first), None)
        if not on_call:
            self._stay(climb, "told")
        elif index is None:
            self._wait(climb, "pause", ROUND_PAUSE_S, now, at)
        else:
            self._page(climb, index, now, at)

    def _page(self, climb: Climb, index: int, now: float, at: datetime) -> None:
        rung = self._config.on_call[index]
        climb.rung, climb.person, climb.waits = index, rung.name, list(rung.channels)
        for channel in rung.channels:
            self._deliver(climb, "trigger", channel, rung.name, at)
        self._wait(climb, "paging", rung.ack_timeout_s, now, at)

    def _settle(self, climb: Climb, phase: Phase, action: Action, now: float, at: datetime) -> None:
        """Nobody is waited for any more; who was told hears why."""
        for channel in climb.told:
            self._deliver(climb, action, channel, None, at)
        if phase == "over":
            self._wait(climb, phase, CALM_S, now, at)
        else:
            self._stay(climb, phase)

    def _deliver(self, climb: Climb, action: Action, channel: str, person: str | None, at: datetime) -> None:
        alert = msgspec.structs.replace(self._alerts[climb.alert_id])
        delivery = Delivery(
            id=self._new_id(), alert=alert, action=action, channel=channel, person=person, created_at=rfc3339(at)
        )
        self._deliveries.append(delivery)

    def _rings(self, channel: str) -> bool:
        found = self._config.channels.get(channel)
        return found is not None and found.kind == "telephone"

    # Waiting

    def _wait(self, climb: Climb, phase: Phase, seconds: float, now: float, at: datetime) -> None:
        climb.phase = phase
        climb.due = rfc3339(at + timedelta(seconds=seconds))
        self._due[climb.alert_id] = now + seconds
        self._note(climb)

    def _stay(self, climb: Climb, phase: Phase) -> None:
        climb.phase, climb.due = phase, None
        self._due.pop(climb.alert_id, None)
        self._note(climb)

    def _note(self, climb: Climb) -> None:
        self._changed[climb.alert_id] = climb

    def _forget(self, climb: Climb) -> None:
        """The trouble is over and calm: should it come again, it is new."""
        for known in (self._climbs, self._alerts, self._due):
            known.pop(climb.alert_id, None)
        if not any(other.key == climb.key for other in self._climbs.values()):
            self._told_at.pop(climb.key, None)
        climb.phase = "forgotten"
        self._note(climb)


def _key(alert: Alert) -> str:
    # a ticket before it does not delay a page
    return f"{alert.severity}/{alert.rule}/{alert.subject}"


def _on_duty(rung: RungConfig, at: datetime) -> bool:
    local = at.astimezone(ZoneInfo(rung.timezone))
    return not rung.hours or any(hours.cover(local) for hours in rung.hours)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _clamped(seconds: float) -> float:
    return min(max(seconds, 0.0), LONGEST_WAIT_S)
