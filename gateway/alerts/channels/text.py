"""An alert in words, for every channel that people read.

Of calls only their identifiers are told: whose they are is for the console, which asks who wants to know.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from ..alert import Alert
from .base import Action, Delivery
from .context import ChannelContext

# what would break a line, hide a part of it, or turn its direction
_CONTROLS = re.compile(r"[\x00-\x20\x7f-\xa0\u200b-\u200f\u2028-\u202f\u2066-\u2069\ufeff]+")
_RULES = {"quality": "call quality", "one_way_audio": "one-way audio"}


@dataclass(frozen=True)
class Words:
    """One delivery, worded. Every string is one line without control characters."""

    topic: str
    """`[edge1] trunk vonage: call quality`: the same for all that is told of one alert."""
    title: str
    """What is to be known first: `PAGE edge1: 31 % of calls over trunk vonage sound bad`."""
    state: str
    """`Firing since 2026-11-21 03:12:44 UTC`, `Acknowledged by ana at …`, `Resolved at …, after 12 min`."""
    what: str
    why: list[str]
    """The verdict, then each cause with its evidence; empty when there is no verdict."""
    detail: list[str]
    calls: list[str]
    acknowledge: str | None
    """The command that owns the alert; None when there is nothing to own."""
    link: str | None
    """The alert in the console."""


def words(delivery: Delivery, context: ChannelContext) -> Words:
    """Word one delivery."""
    alert, action = delivery.alert, delivery.action
    rule = _RULES.get(alert.rule, alert.rule.replace("_", " "))
    return Words(
        topic=line(f"[{context.gateway}] {alert.subject}: {rule}"),
        title=line(f"{_headline(action, alert)} {context.gateway}: {alert.summary}"),
        state=line(_state(action, alert)),
        what=line(alert.summary),
        why=_why(alert),
        detail=[line(sentence) for sentence in alert.detail],
        calls=[line(call) for call in alert.calls],
        acknowledge=f"trunkline alerts ack {alert.id}" if action == "trigger" else None,
        link=None if action == "test" else context.alert_url(alert.id),
    )


def plain(told: Words) -> str:
    """As plain text, the most important first; lines are not wrapped, since a phone does that better."""
    parts = [[told.what, told.state]]
    if told.why:
        parts.append(["Why:", *(f"- {sentence}" for sentence in told.why)])
    if told.detail:
        parts.append(["Figures:", *(f"- {sentence}" for sentence in told.detail)])
    if told.calls:
        parts.append(["Calls that show it:", *(f"- {call}" for call in told.calls)])
    if told.acknowledge:
        parts.append(["To take it:", told.acknowledge, *([told.link] if told.link else [])])
    elif told.link:
        parts.append([told.link])
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def line(text: str) -> str:
    """The text on one line, with nothing in it that cannot be seen or sent."""
    return _CONTROLS.sub(" ", text.encode("utf-8", "replace").decode()).strip()


def clipped(text: str, limit: int) -> str:
    """At most `limit` characters; what was cut is marked."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def moment(time: str) -> str:
    """RFC 3339 as a person reads it; what is not RFC 3339 as it is."""
    parsed = _parsed(time)
    return f"{parsed:%Y-%m-%d %H:%M:%S} UTC" if parsed else time


def lasting(start: str, end: str) -> str | None:
    """`45 s`, `12 min`, `3 h 5 min`; None when that cannot be known, as after a step of the clock."""
    first, last = _parsed(start), _parsed(end)
    if first is None or last is None or last < first:
        return None
    seconds = round((last - first).total_seconds())
    if seconds < 60:
        return f"{seconds} s"
    hours, minutes = divmod(seconds // 60, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _parsed(time: str) -> datetime | None:
    try:
        parsed = datetime.fromisoformat(time)
    except ValueError:
        return None
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


def _headline(action: Action, alert: Alert) -> str:
    match action:
        case "trigger":
            return "PAGE" if alert.severity == "page" else "Ticket"
        case "acknowledge":
            return "Acknowledged"
        case "resolve":
            return "Resolved"
        case "test":
            return "Test"


def _state(action: Action, alert: Alert) -> str:
    if action == "test":
        return "This is a test; there is nothing to do."
    if action == "resolve" and alert.resolved_at:
        lasted = lasting(alert.started_at, alert.resolved_at)
        return f"Resolved at {moment(alert.resolved_at)}" + (f", after {lasted}" if lasted else "")
    firing = f"Firing since {moment(alert.started_at)}"
    if alert.acknowledged_at is None:
        return firing
    owner = f" by {alert.acknowledged_by}" if alert.acknowledged_by else ""
    return f"Acknowledged{owner} at {moment(alert.acknowledged_at)}. {firing}"


def _why(alert: Alert) -> list[str]:
    if alert.verdict is None:
        return []
    sentences = [line(alert.verdict.summary)]
    for cause in alert.verdict.causes:
        part = f" ({cause.share * 100:.0f} %)" if cause.share < 1 else ""
        evidence = f": {'; '.join(cause.evidence)}" if cause.evidence else ""
        sentences.append(line(f"{cause.name.replace('_', ' ')}{part}{evidence}"))
    return sentences
