"""A page's changing parts, and what has changed between two looks at them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One entry of a list: as a whole for who has not seen it, in cells for who has."""

    cells: Mapping[str, str]
    """Inner HTML by element identifier: what may change."""
    html: Callable[[], str]
    """The whole row as it stands now."""


@dataclass(slots=True)
class View:
    """What a page shows at one moment, as HTML by element identifier."""

    parts: dict[str, str] = field(default_factory=dict)
    """Inner HTML; `title` is the page's title, as text."""
    lists: dict[str, dict[str, Row]] = field(default_factory=dict)
    """By identifier of the list: its rows, in order, by theirs."""
    over: bool = False
    """Nothing will change any more; the page is to be loaded anew."""


def whole(view: View) -> dict[str, Any]:
    """The message for a page of which nothing is known."""
    rows = {name: {key: row.html() for key, row in entries.items()} for name, entries in view.lists.items()}
    order = {name: list(entries) for name, entries in view.lists.items()}
    return {"set": dict(view.parts), "rows": rows, "order": order} | ({"over": True} if view.over else {})


def changes(old: View, new: View) -> dict[str, Any]:
    """The message for a page that shows `old`; empty when nothing has changed."""
    message: dict[str, Any] = {}
    replaced = {name: html for name, html in new.parts.items() if old.parts.get(name) != html}
    rows: dict[str, dict[str, str]] = {}
    order: dict[str, list[str]] = {}
    for name, entries in new.lists.items():
        before = old.lists.get(name, {})
        if list(before) != list(entries):
            order[name] = list(entries)
        for key, row in entries.items():
            known = before.get(key)
            if known is None or known.cells.keys() != row.cells.keys():
                rows.setdefault(name, {})[key] = row.html()
            elif known is not row:
                replaced |= {cell: html for cell, html in row.cells.items() if known.cells[cell] != html}
    for member, value in (("set", replaced), ("rows", rows), ("order", order)):
        if value:
            message[member] = value
    if new.over:
        message["over"] = True
    return message
