"""The table `calls`: the fields of a CallRecord as columns, and two more for those who run the gateway.

`gateway` names the gateway that carried the call (several may share one database); `mos` is the lower of the two
directions' conversational MOS, to find bad calls by.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec
from sqlalchemy import JSON, Column, Float, Index, Integer, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from .record import CallRecord, Timeline

_DOCUMENT = JSON().with_variant(JSONB(), "postgresql")

calls = Table(
    "calls",
    MetaData(),
    Column("id", Text, primary_key=True),
    Column("gateway", Text, nullable=False),
    Column("direction", Text, nullable=False),
    Column("sip_call_id", Text),
    Column("trunk", Text),
    Column("from", Text),
    Column("to", Text),
    Column("agent", Text),
    Column("provider", Text),
    Column("codec", Text),
    Column("started_at", Text, nullable=False),
    Column("answered_at", Text),
    Column("ended_at", Text),
    Column("duration_s", Float),
    Column("ended_by", Text),
    Column("end_reason", Text),
    Column("sip_status", Integer),
    Column("mos", Float),
    Column("setup", _DOCUMENT, nullable=False),
    Column("media", _DOCUMENT, nullable=False),
    Column("turns", _DOCUMENT, nullable=False),
    Column("dtmf", _DOCUMENT, nullable=False),
    Column("tools", _DOCUMENT, nullable=False),
    Column("usage", _DOCUMENT, nullable=False),
    Column("alarms", _DOCUMENT, nullable=False),
    Column("timeline", _DOCUMENT, nullable=False),
    Column("recording", Text),
    Index("calls_started_at", "started_at"),
    Index("calls_trunk", "trunk", "id"),
    Index("calls_agent", "agent", "id"),
    Index("calls_mos", "mos"),
    Index("calls_sip_call_id", "sip_call_id"),
)

_FIELDS = [field.encode_name for field in msgspec.structs.fields(CallRecord)]
record_columns = [calls.c[name] for name in _FIELDS]
"""The columns that make a CallRecord."""


def row_of(record: CallRecord, gateway: str) -> dict[str, Any]:
    """The row of a record as it stands now; shares nothing with it."""
    line = record.timeline
    bare = msgspec.structs.replace(record, timeline=Timeline(moments=line.moments))
    row = _storable(msgspec.to_builtins(bare))
    # a call of a day has thousands of slices, and no text in them
    row["timeline"]["slices"] = msgspec.to_builtins(line.slices)
    return row | {"gateway": gateway, "mos": worst_mos(record)}


def worst_mos(record: CallRecord) -> float | None:
    """The column `mos`."""
    known = [mos for mos in (record.media.received.mos_cq, record.media.sent.mos_cq) if mos is not None]
    return min(known, default=None)


def completed(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row that an earlier release spooled, with the columns that have come since."""
    return {"sip_call_id": None, "timeline": {}} | dict(row)


def record_of(row: Mapping[str, Any]) -> CallRecord:
    """The record of a row."""
    return msgspec.convert({name: row[name] for name in _FIELDS}, CallRecord)


@cache
def upsert(dialect: str) -> Any:
    """Insert, or replace the row of the same call; what has ended is never replaced by what has not."""
    insert = (postgresql_insert if dialect == "postgresql" else sqlite_insert)(calls)
    return insert.on_conflict_do_update(
        index_elements=["id"],
        set_={column.name: insert.excluded[column.name] for column in calls.c if column.name != "id"},
        where=calls.c.ended_at.is_(None) | insert.excluded.ended_at.is_not(None),
    )


def _storable(value: Any) -> Any:
    """Text that came from the network may hold what databases refuse: NUL, and octets that were not UTF-8."""
    if isinstance(value, str):
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_storable(item) for item in value]
    return value
