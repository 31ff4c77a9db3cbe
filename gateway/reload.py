"""A reload: what changes at once, and what waits for a restart.

`plan(running, wanted)` compares two configurations. Trunks, agents, routes, alerts and limits are taken over; sockets,
processes and the database stay as they are until the gateway is started anew, and their keys are named.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from .config import Config

NAMED = ("trunks", "agents")
"""Tables of tables, taken over one by one."""
WHOLE = ("routes", "alerts")
LIVE: Mapping[str, frozenset[str]] = {
    "gateway": frozenset({"max_calls", "drain_s", "log_level", "log_format"}),
    "sip": frozenset({"allow"}),
}
"""Keys of the other tables that are taken over; the rest of those tables waits for a restart."""


@dataclass(frozen=True, slots=True)
class Reload:
    """What a reload comes to."""

    config: Config
    """What is used from now on: the wanted configuration, where a restart is needed the running one."""
    changed: list[str]
    """`trunks.vonage`, `agents.sales (new)`, `agents.old (removed)`, `routes`, `gateway.max_calls`."""
    restart: list[str]
    """Keys whose change waits for a restart: `sip.listen`."""


def plan(running: Config, wanted: Config) -> Reload:
    """What changes when `wanted` follows `running`; nothing is done yet."""
    changed: list[str] = []
    restart: list[str] = []
    used: dict[str, Any] = {}
    for table in type(running).model_fields:
        old, new = getattr(running, table), getattr(wanted, table)
        used[table] = new
        if table in NAMED:
            changed += _named(table, old, new)
        elif table in WHOLE:
            changed += [table] if _plain(old) != _plain(new) else []
        else:
            keys = [key for key in type(old).model_fields if getattr(old, key) != getattr(new, key)]
            waiting = {key: getattr(old, key) for key in keys if key not in LIVE.get(table, ())}
            changed += [f"{table}.{key}" for key in keys if key not in waiting]
            restart += [f"{table}.{key}" for key in waiting]
            used[table] = new.model_copy(update=waiting)
    return Reload(running.model_copy(update=used), changed, restart)


def _named(table: str, old: Mapping[str, BaseModel], new: Mapping[str, BaseModel]) -> list[str]:
    """Differences of a table of tables, in the order of the new one."""
    found = [f"{table}.{name} (removed)" for name in old if name not in new]
    for name, item in new.items():
        if name not in old:
            found.append(f"{table}.{name} (new)")
        elif _plain(old[name]) != _plain(item):
            found.append(f"{table}.{name}")
    return found


def _plain(value: Any) -> Any:
    """By value, whether or not a default was written out."""
    if isinstance(value, BaseModel):
        return type(value), value.model_dump()
    return [_plain(item) for item in value] if isinstance(value, list) else value
