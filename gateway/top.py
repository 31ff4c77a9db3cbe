"""`trunkline top`: what the running gateway does, in a terminal, once a second."""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .errors import GatewayError
from .http_client import AdminClient, Snapshot

EVERY_S = 1.0
HISTORY = 30
"""Scores kept for each call, one a second: the width of its sparkline."""
SATISFIED, DISSATISFIED = 4.03, 3.60
"""MOS of R 80 and R 70 (ITU-T G.107 Annex B)."""
_BARS = "▁▂▃▄▅▆▇█"
_ROOM = 8
"""Lines that are not calls."""


class Top:
    """The view: told of snapshots, it remembers each live call's scores for its sparkline."""

    def __init__(self) -> None:
        self._scores: dict[str, deque[float | None]] = {}

    def view(self, snapshot: Snapshot, now: datetime, height: int) -> RenderableType:
        """The screen of `height` lines; calls that do not fit are counted."""
        self._remember(snapshot.calls)
        return Group(_head(snapshot, now), *_alerts(snapshot.alerts), self._calls(snapshot.calls, now, height))

    def _remember(self, calls: Sequence[Mapping[str, Any]]) -> None:
        live = {call["id"]: call for call in calls}
        for gone in self._scores.keys() - live.keys():
            del self._scores[gone]
        for call_id, call in live.items():
            scores = [score for score in _scores(call) if score is not None]
            self._scores.setdefault(call_id, deque(maxlen=HISTORY)).append(min(scores, default=None))

    def _calls(self, calls: Sequence[Mapping[str, Any]], now: datetime, height: int) -> RenderableType:
        table = Table(box=None, pad_edge=False, expand=True, header_style="dim")
        for heading in ("state", "time", "", "from", "to", "agent", "trunk", "codec", "speaks"):
            table.add_column(heading, no_wrap=True)
        for heading in ("MOS in", "out", "jitter", "lost", "queued"):
            table.add_column(heading, no_wrap=True, justify="right")
        table.add_column("MOS of the last 30 s", no_wrap=True)
        shown = sorted(calls, key=lambda call: call["id"])[: max(1, height - _ROOM)]
        for call in shown:
            table.add_row(*self._row(call, now))
        if not calls:
            return Text("\nno calls", style="dim")
        if len(shown) < len(calls):
            table.caption = f"and {len(calls) - len(shown)} more"
        return table

    def _row(self, call: Mapping[str, Any], now: datetime) -> list[Text]:
        live, received = call["live"], call["media"]["received"]
        arrow = "→" if call["direction"] == "outbound" else "←"
        plain = (call["from"], call["to"], call["agent"], call["trunk"], call["codec"], live["speaker"])
        lost = received["lost"] + received["discarded"]
        return [
            Text(live["state"], style="" if live["state"] == "answered" else "yellow"),
            Text(_since(call["answered_at"] or call["started_at"], now)),
            Text(arrow),
            *(_printable(value) for value in plain),
            *(_score(score) for score in _scores(call)),
            Text("-" if received["jitter_ms"] is None else f"{received['jitter_ms']:.0f} ms"),
            Text(str(lost), style="red" if lost else ""),
            Text("-" if live["queued_ms"] is None else f"{live['queued_ms'] / 1000:.1f} s"),
            sparkline(self._scores[call["id"]]),
        ]


def sparkline(scores: Sequence[float | None]) -> Text:
    """One bar for each score from MOS 1 to 4.5, in the colour of its category; a space where there is none."""
    line = Text()
    for score in scores:
        if score is None:
            line.append(" ")
        else:
            height = min(len(_BARS) - 1, max(0, int((score - 1) / 3.5 * len(_BARS))))
            line.append(_BARS[height], style=_colour(score))
    return line


def _head(snapshot: Snapshot, now: datetime) -> RenderableType:
    state = Text("ready", style="bold green") if snapshot.ready else Text("not ready", style="bold red")
    count = len(snapshot.calls)
    line = Text.assemble("trunkline  ", state, f"  {count} call{'' if count == 1 else 's'}  {now:%H:%M:%S} UTC")
    parts = Text("  ".join(f"{name}: {word}" for name, word in snapshot.parts.items()), style="dim")
    return Group(line, parts, *(Text(f"! {reason}", style="red") for reason in snapshot.reasons))


def _alerts(alerts: Sequence[Mapping[str, Any]]) -> list[Text]:
    lines: list[Text] = []
    for alert in alerts:
        owner = f" (taken by {alert['acknowledged_by']})" if alert["acknowledged_by"] else ""
        cause = alert["verdict"]["summary"] if alert["verdict"] else ""
        text = f"{alert['severity'].upper()} {alert['subject']}: {alert['summary']}{owner}"
        lines.append(Text(text, style="bold red" if alert["severity"] == "page" else "yellow", overflow="ellipsis"))
        if cause:
            lines.append(Text(f"  {cause}", overflow="ellipsis"))
    return lines


def _scores(call: Mapping[str, Any]) -> list[float | None]:
    media = call["media"]
    return [media[way]["mos_lq" if media[way]["mos_cq"] is None else "mos_cq"] for way in ("received", "sent")]


def _score(score: float | None) -> Text:
    return Text("-", style="dim") if score is None else Text(f"{score:.2f}", style=_colour(score))


def _colour(score: float) -> str:
    return "green" if score >= SATISFIED else "yellow" if score >= DISSATISFIED else "red"


def _since(began: str, now: datetime) -> str:
    seconds = max(0, int((now - datetime.fromisoformat(began)).total_seconds()))
    hours, minutes = divmod(seconds // 60, 60)
    return f"{hours}:{minutes:02}:{seconds % 60:02}" if hours else f"{minutes}:{seconds % 60:02}"


def _printable(value: Any) -> Text:
    """Never markup, and no control characters: callers choose their names."""
    return Text("".join(c if c.isprintable() else " " for c in value) if value is not None else "-")


async def run(client: AdminClient, console: Console, *, once: bool = False) -> None:
    """Show the gateway until cancelled; a gateway that went away is waited for. With `once`, one picture.

    Raises GatewayError when no gateway answers at first.
    """
    top = Top()
    snapshot = await client.snapshot()
    if once:
        console.print(top.view(snapshot, datetime.now(UTC), height=10_000))
        return
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(top.view(snapshot, datetime.now(UTC), console.height), refresh=True)
            await asyncio.sleep(EVERY_S)
            try:
                snapshot = await client.snapshot()
            except GatewayError as error:
                snapshot = Snapshot(ready=False, reasons=[str(error)], parts={}, calls=[], alerts=[])
