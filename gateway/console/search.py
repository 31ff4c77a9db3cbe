"""Past calls: what the form asks for, and a page of what it finds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import msgspec

from ..http import Records
from ..http_guard import Problem
from ..record import CallRecord, Timeline
from ..record_search import RecordQuery
from ..records_table import worst_mos
from .words import Mask, far_number

PAGE = 50
FIELDS = ("number", "since", "until", "trunk", "agent", "direction", "mos_below", "reason")


@dataclass(frozen=True, slots=True)
class Found:
    """One line of the page."""

    id: str
    direction: str
    number: str | None
    started_at: str
    agent: str | None
    trunk: str | None
    duration_s: float | None
    end: str
    mos: float | None


@dataclass(frozen=True, slots=True)
class Results:
    """What the page shows."""

    asked: Mapping[str, str]
    """The form as it was filled in."""
    calls: Sequence[Found]
    older: str | None
    """The next page's query; None when this is the last."""
    export: str
    """The query of the files."""
    problem: str | None = None
    """Why nothing was looked for."""


def query_of(asked: Mapping[str, str]) -> RecordQuery:
    """What a form asks for; fields that were left empty ask for nothing. Raises Problem."""
    try:
        return msgspec.convert({name: asked[name] for name in FIELDS if asked.get(name)}, RecordQuery, strict=False)
    except msgspec.ValidationError as error:
        raise Problem(400, str(error)) from None


async def search(asked: Mapping[str, str], records: Records, mask: Mask) -> Results:
    """One page of calls, the newest first. Raises RecordsError."""
    filled = {name: asked[name].strip() for name in FIELDS if asked.get(name, "").strip()}
    export = urlencode(filled)
    try:
        query = query_of(filled)
    except Problem as problem:
        return Results(filled, [], None, export, problem.detail)
    found = await records.list(PAGE + 1, asked.get("before") or None, query)
    older = urlencode(filled | {"before": found[PAGE - 1].id}) if len(found) > PAGE else None
    return Results(filled, [_line(record, mask) for record in found[:PAGE]], older, export)


def masked(record: CallRecord, mask: Mask) -> CallRecord:
    """A record for a file, with what the console hides hidden: the numbers wherever they stand, and the keys."""
    if mask.show:
        return record
    numbers = (record.from_, record.to)
    # its slices are figures alone, and thousands
    bare = msgspec.structs.replace(record, timeline=Timeline(moments=record.timeline.moments))
    shown = msgspec.convert(_without(msgspec.to_builtins(bare), mask, numbers), CallRecord)
    shown.timeline.slices = record.timeline.slices
    shown.from_ = record.from_ and mask.number(record.from_)
    shown.to = record.to and mask.number(record.to)
    shown.dtmf = [mask.key(digit) for digit in record.dtmf]
    for moment in shown.timeline.moments:
        if moment.kind == "dtmf":
            moment.detail = mask.key(moment.detail)
    return shown


def _without(value: Any, mask: Mask, numbers: Sequence[str | None]) -> Any:
    match value:
        case str():
            return mask.text(value, numbers)
        case dict():
            return {key: _without(item, mask, numbers) for key, item in value.items()}
        case list():
            return [_without(item, mask, numbers) for item in value]
    return value


def _line(record: CallRecord, mask: Mask) -> Found:
    status = "" if record.answered_at is not None or record.sip_status is None else f"{record.sip_status} "
    reason = record.end_reason or record.ended_by or "not over"
    end = status + mask.text(reason, (record.from_, record.to))
    return Found(
        record.id,
        record.direction,
        far_number(record),
        record.started_at,
        record.agent,
        record.trunk,
        record.duration_s,
        end,
        worst_mos(record),
    )
