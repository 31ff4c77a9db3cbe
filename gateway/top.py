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
"""Scores kept for each call, one a second: the width of its sparkline at most."""
SATISFIED, DISSATISFIED = 4.03, 3.60
"""MOS of R 80 and R 70 (ITU-T G.107 Annex B)."""
_BARS = "▁▂▃▄▅▆▇█"
_ALERTS_MOST = 5
_FIGURES = ("MOS in", "out", "jitter", "lost", "queued")
_NAME_WIDTHS = {"from": 16, "to": 16, "agent": 12, "trunk": 12}
_LEAST_WIDTH = {
    "lost": 65,
    "jitter": 73,
    "trunk": 87,
    "state": 97,
    "agent": 111,
    "to": 129,
    "codec": 135,
    "speaks": 143,
    "queued": 169,
}
"""Columns that a narrower terminal has no room for: better none than all of them cut off."""
_WIDE = 161
"""From this width on the sparkline is whole; below it shows the latest scores."""
_FEW_BARS = 12


class Top:
    """The view: told of snapshots, it remembers each live call's scores for its sparkline."""

    def __init__(self) -> None:
        self._scores: dict[str, deque[float | None]] = {}

    def view(self, snapshot: Snapshot, now: datetime, console: Console, height: int | None = None) -> RenderableType:
        """The screen of `height` lines (the console's); calls that do not fit are counted, those in trouble stand on
        top."""
        self._remember(snapshot.calls)
        head = Group(_head(snapshot, now), *_alerts(snapshot.alerts))
        # the headings, and the line that counts the rest
        room = (height or console.height) - len(console.render_lines(head)) - 2
        return Group(head, self._calls(snapshot.calls, now, max(1, room), console.width))

    def _remember(self, calls: Sequence[Mapping[str, Any]]) -> None:
        live = {call["id"]: call for call in calls}
        for gone in self._scores.keys() - live.keys():
            del self._scores[gone]
        for call_id, call in live.items():
            scores = [score for score in _scores(call) if score is not None]
            self._scores.setdefault(call_id, deque(maxlen=HISTORY)).append(min(scores, default=None))

    def _calls(self, calls: Sequence[Mapping[str, Any]], now: datetime, rows: int, width: int) -> RenderableType:
        if not calls:
            return Text("\nno calls", style="dim")
        bars = HISTORY if width >= _WIDE else _FEW_BARS
        shown = sorted(calls, key=lambda call: (not _in_trouble(call), call["id"]))[:rows]
        cells = [self._cells(call, now, bars) for call in shown]
        table = Table(box=None, pad_edge=False, expand=True, header_style="dim")
        columns = [heading for heading in cells[0] if width >= _LEAST_WIDTH.get(heading, 0)]
        for heading in columns:
            justify = "right" if heading in _FIGURES else "left"
            table.add_column(heading, no_wrap=True, justify=justify, max_width=_NAME_WIDTHS.get(heading))
        for row in cells:
            table.add_row(*(row[heading] for heading in columns))
        if len(shown) < len(calls):
            table.caption = f"and {len(calls) - len(shown)} more"
        return table

    def _cells(self, call: Mapping[str, Any], now: datetime, bars: int) -> dict[str, Text]:
        """Heading → cell."""
        live, received = call["live"], call["media"]["received"]
        score_in, score_out = _scores(call)
        lost = received["lost"] + received["discarded"]
        return {
            "state": Text(live["state"], style="" if live["state"] == "answered" else "yellow"),
            "time": Text(_since(call["answered_at"] or call["started_at"], now)),
            "": Text("→" if call["direction"] == "outbound" else "←"),
            **{heading: _printable(call[heading]) for heading in ("from", "to", "agent", "trunk", "codec")},
            "speaks": _printable(live["speaker"]),
            "MOS in": _score(score_in),
            "out": _score(score_out),
            "jitter": Text("-" if received["jitter_ms"] is None else f"{received['jitter_ms']:.0f} ms"),
            "lost": Text(str(lost), style="red" if lost else ""),
            "queued": Text("-" if live["queued_ms"] is None else f"{live['queued_ms'] / 1000:.1f} s"),
            f"last {bars} s": sparkline(list(self._scores[call["id"]])[-bars:]),
        }


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
    for alert in alerts[:_ALERTS_MOST]:
        owner = f" (taken by {alert['acknowledged_by']})" if alert["acknowledged_by"] else ""
        cause = alert["verdict"]["summary"] if alert["verdict"] else ""
        text = f"{alert['severity'].upper()} {alert['summary']}{owner}"
        lines.append(Text(text, style="bold red" if alert["severity"] == "page" else "yellow"))
        if cause:
            lines.append(Text(f"  {cause}", no_wrap=True, overflow="ellipsis"))
    if len(alerts) > _ALERTS_MOST:
        lines.append(Text(f"and {len(alerts) - _ALERTS_MOST} more alerts", style="dim"))
    return lines


def _in_trouble(call: Mapping[str, Any]) -> bool:
    return any(score is not None and score < DISSATISFIED for score in _scores(call))


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
        console.print(top.view(snapshot, datetime.now(UTC), console, height=10_000))
        return
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(top.view(snapshot, datetime.now(UTC), console), refresh=True)
            await asyncio.sleep(EVERY_S)
            try:
                snapshot = await client.snapshot()
            except GatewayError as error:
                snapshot = Snapshot(ready=False, reasons=[str(error)], parts={}, calls=[], alerts=[])
