"""Call records on a terminal."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .record import CallRecord, Turn

UNKNOWN = "-"


_LEAST_WIDTH = {
    "id": 0,
    "started": 0,
    "direction": 165,
    "from": 78,
    "to": 140,
    "agent": 154,
    "status": 112,
    "seconds": 121,
    "MOS in/out": 94,
    "ended by": 104,
}
"""Column → columns of a terminal that has room for it; `calls show` has everything."""


def calls_table(records: Sequence[CallRecord], width: int) -> Table:
    """One line a call, the newest first, in a terminal so wide."""
    table = Table(box=None, pad_edge=False)
    headings = [heading for heading, least in _LEAST_WIDTH.items() if width >= least]
    for heading in headings:
        table.add_column(heading, no_wrap=heading in ("id", "started"), overflow="fold")
    for record in records:
        media = record.media
        cells = {
            "id": _text(record.id),
            "started": _text(record.started_at[:19].replace("T", " ")),
            "direction": _text(record.direction),
            "from": _text(record.from_),
            "to": _text(record.to),
            "agent": _text(record.agent),
            "status": _text(record.sip_status),
            "seconds": _text(record.duration_s),
            "MOS in/out": Text(f"{_plain(media.received.mos_cq)} / {_plain(media.sent.mos_cq)}"),
            "ended by": _text(record.ended_by),
        }
        table.add_row(*(cells[heading] for heading in headings))
    return table


def record_view(record: CallRecord) -> RenderableType:
    """Everything of one call: what is known, section by section."""
    fields = msgspec.to_builtins(record)
    documents = {
        name: fields.pop(name) for name in ("setup", "media", "turns", "dtmf", "tools", "usage", "alarms", "timeline")
    }
    sections: list[RenderableType] = [_pairs(fields.items())]
    for title, values in (
        ("setup", documents["setup"]),
        ("received", documents["media"]["received"]),
        ("sent", documents["media"]["sent"]),
        ("usage", documents["usage"]),
    ):
        if values:
            sections += [Text(f"\n{title}", style="bold"), _pairs(values.items())]
    if record.turns:
        sections += [Text("\nturns", style="bold"), _turns(record.turns)]
    for title in ("dtmf", "tools", "alarms"):
        if documents[title]:
            sections += [Text(f"\n{title}", style="bold"), *(_text(item) for item in documents[title])]
    return Group(*sections)


def _turns(turns: Iterable[Turn]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("#", "latency ms", "heard ms", "caller said", "agent said"):
        table.add_column(heading, overflow="fold")
    for turn in turns:
        heard = f"{_plain(turn.heard_ms)}{' (interrupted)' if turn.interrupted else ''}"
        table.add_row(
            *map(_text, (turn.index, turn.latency_ms)), Text(heard), *map(_text, (turn.caller_said, turn.agent_said))
        )
    return table


def _pairs(items: Iterable[tuple[str, Any]]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in items:
        table.add_row(Text(name, style="dim"), _text(value))
    return table


def _text(value: Any) -> Text:
    """Never markup: what callers and services say is shown as it is, without control characters."""
    return Text("".join(character if character.isprintable() else " " for character in _plain(value)))


def _plain(value: Any) -> str:
    if value is None:
        return UNKNOWN
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
