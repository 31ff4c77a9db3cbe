"""The alerts that are open, and what is to be told of them."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import msgspec

from .alert import Alert, CauseName, Severity, Verdict
from .rules import GATEWAY, Description, Subject

CAUSE_SETTLES_S = 60.0
"""Another cause must stand for so long before it is told."""


class Key(NamedTuple):
    """What there is at most one open alert of."""

    rule: str
    subject: Subject


class OpenAlerts:
    """Alerts are values here: each change makes a new one, so that one that was given away never changes."""

    def __init__(self, timestamp: Callable[[], str], new_id: Callable[[], str]) -> None:
        self._timestamp = timestamp
        self._new_id = new_id
        self._open: dict[Key, Alert] = {}
        self._told: list[Alert] = []
        self._other_cause_since: dict[Key, float] = {}

    def __contains__(self, key: Key) -> bool:
        return key in self._open

    def __iter__(self) -> Iterator[Key]:
        return iter(list(self._open))

    def __getitem__(self, key: Key) -> Alert:
        return self._open[key]

    @property
    def alerts(self) -> list[Alert]:
        """The oldest first."""
        return sorted(self._open.values(), key=lambda alert: alert.id)

    def changes(self) -> list[Alert]:
        """What is to be told since the last call."""
        told, self._told = self._told, []
        return told

    def restore(self, alerts: Iterable[Alert]) -> list[Key]:
        """Take back those of another process; nothing is told of those that are kept. One of a subject that nobody
        knows, or the second of two alike, is resolved."""
        kept: list[Key] = []
        for alert in alerts:
            subject = Subject.parse(alert.subject)
            if alert.state == "resolved":
                continue
            if subject is None or (key := Key(alert.rule, subject)) in self._open:
                self._told.append(self._resolved(alert))
                continue
            self._open[key] = alert
            kept.append(key)
        return kept

    def acknowledge(self, alert_id: str, by: str, at: str) -> Alert | None:
        """Somebody owns it; the first owner stays. None: not open."""
        for key, alert in self._open.items():
            if alert.id == alert_id:
                if alert.state == "firing":
                    self._tell(key, self._changed(alert, state="acknowledged", acknowledged_at=at, acknowledged_by=by))
                return self._open[key]
        return None

    def fire(self, key: Key, severity: Severity, description: Description) -> None:
        """Open one; `refresh` gives it its details."""
        now = self._timestamp()
        self._tell(
            key,
            Alert(
                id=self._new_id(),
                rule=key.rule,
                subject=str(key.subject),
                trunk=key.subject.name if key.subject.kind == "trunk" else None,
                trunks=description.trunks,
                severity=severity,
                summary=_summary(key.subject, description.headline, description.verdict),
                verdict=description.verdict,
                calls=description.calls,
                started_at=now,
                updated_at=now,
            ),
        )

    def resolve(self, key: Key) -> None:
        """It is over."""
        self._told.append(self._resolved(self._open.pop(key)))
        self._other_cause_since.pop(key, None)

    def rate(self, key: Key, severity: Severity) -> None:
        """How bad it is now. What was a ticket wakes somebody as a page, whoever has owned it."""
        alert = self._open[key]
        if severity == alert.severity:
            return
        if severity == "page":
            changed = self._changed(alert, state="firing", acknowledged_at=None, acknowledged_by=None)
        else:
            changed = self._changed(alert)
        self._tell(key, msgspec.structs.replace(changed, severity=severity))

    def refresh(self, key: Key, description: Description, detail: list[str], now: float) -> None:
        """New figures, and with them another cause once it has settled. What is not known any more stays as it was."""
        alert = self._open[key]
        verdict = description.verdict or alert.verdict
        tell = False
        if _names(verdict) != _names(alert.verdict):
            since = self._other_cause_since.setdefault(key, now)
            tell = alert.verdict is None or now - since >= CAUSE_SETTLES_S
            if not tell:
                return
        self._other_cause_since.pop(key, None)
        calls = description.calls or alert.calls
        summary = _summary(key.subject, description.headline, verdict)
        trunks = description.trunks or alert.trunks
        known = (alert.summary, alert.detail, alert.calls, alert.verdict, alert.trunks)
        if (summary, detail, calls, verdict, trunks) != known:
            changed = self._changed(alert, summary=summary, detail=detail, calls=calls, verdict=verdict, trunks=trunks)
            # what nobody has heard yet is told with its latest figures
            self._told = [changed if told is alert else told for told in self._told]
            self._open[key] = changed
        if tell:
            self._told.append(self._open[key])

    def _tell(self, key: Key, alert: Alert) -> None:
        self._open[key] = alert
        self._told.append(alert)

    def _changed(self, alert: Alert, **fields: object) -> Alert:
        """Not dated before its start, though the wall clock may have been set back."""
        return msgspec.structs.replace(alert, updated_at=max(self._timestamp(), alert.started_at), **fields)

    def _resolved(self, alert: Alert) -> Alert:
        resolved = self._changed(alert, state="resolved")
        resolved.resolved_at = resolved.updated_at
        return resolved


def _names(verdict: Verdict | None) -> list[CauseName]:
    return [cause.name for cause in verdict.causes] if verdict is not None else []


_SHORT: dict[CauseName, str] = {
    "carrier": "carrier or access network",
    "host": "this host",
    "provider": "speech service",
    "way_out": "the way out",
    "echo": "echo from the far end",
    "unknown": "not known",
}


def _summary(subject: Subject, headline: str, verdict: Verdict | None) -> str:
    who = "" if subject == GATEWAY else f"{subject}: "
    names = _names(verdict)
    if not names:
        return f"{who}{headline}"
    causes = " and ".join(_SHORT[name] for name in names)
    return f"{who}{headline}; cause: {'mixed, ' if len(names) > 1 else ''}{causes}"
