"""What is looked for among the call records: one set of conditions for the database and for what waits in memory."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, or_

from .record import CallRecord
from .records_table import calls, worst_mos


class RecordQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions that all hold; None asks for nothing. Raises ValueError for a time that is none.

    Built with `msgspec.convert`, that becomes its ValidationError.
    """

    trunk: str | None = None
    agent: str | None = None
    direction: str | None = None
    """`inbound` or `outbound`."""
    number: str | None = None
    """A part of either number."""
    since: str | None = None
    """Started at this time or later: RFC 3339, or a date, in UTC where no zone is given."""
    until: str | None = None
    """Started before this time."""
    mos_below: float | None = None
    """The worse direction's conversational MOS is below; calls without a score are left out."""
    reason: str | None = None
    """Who ended the call, or a part of why; in any case of letters."""

    def __post_init__(self) -> None:
        _utc(self.since)
        _utc(self.until)

    def conditions(self) -> list[ColumnElement[bool]]:
        """For a SELECT on the table of calls."""
        columns = calls.c
        found = [
            columns[name] == wanted
            for name, wanted in (("trunk", self.trunk), ("agent", self.agent), ("direction", self.direction))
            if wanted is not None
        ]
        if self.number:
            found.append(or_(*(columns[side].icontains(self.number, autoescape=True) for side in ("from", "to"))))
        if self.since is not None:
            found.append(columns.started_at >= _utc(self.since))
        if self.until is not None:
            found.append(columns.started_at < _utc(self.until))
        if self.mos_below is not None:
            found.append(columns.mos < self.mos_below)
        if self.reason:
            reason = columns.end_reason.icontains(self.reason, autoescape=True)
            found.append(or_(columns.ended_by == self.reason.lower(), reason))
        return found

    def admits(self, row: Mapping[str, Any]) -> bool:
        """The same of one row (records_table.row_of), or of `searchable(record)`."""
        wanted = (("trunk", self.trunk), ("agent", self.agent), ("direction", self.direction))
        if any(value is not None and row[name] != value for name, value in wanted):
            return False
        number = (self.number or "").lower()
        if number and not any(number in (row[side] or "").lower() for side in ("from", "to")):
            return False
        if self.since is not None and row["started_at"] < _utc(self.since):
            return False
        if self.until is not None and row["started_at"] >= _utc(self.until):
            return False
        if self.mos_below is not None and (row["mos"] is None or row["mos"] >= self.mos_below):
            return False
        reason = (self.reason or "").lower()
        return not reason or reason == row["ended_by"] or reason in (row["end_reason"] or "").lower()


def searchable(record: CallRecord) -> dict[str, Any]:
    """What a query looks at, of a call that is not in the database yet; a row holds a whole conversation."""
    return {
        "trunk": record.trunk,
        "agent": record.agent,
        "direction": record.direction,
        "from": record.from_,
        "to": record.to,
        "started_at": record.started_at,
        "mos": worst_mos(record),
        "ended_by": record.ended_by,
        "end_reason": record.end_reason,
    }


def _utc(text: str | None) -> str:
    """As records have their times: those sort as text."""
    if text is None:
        return ""
    try:
        when = datetime.fromisoformat(text)
        # a zone can lead out of the years 1 to 9999
        when = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no time; write 2026-01-31 or 2026-01-31T15:04:05Z") from None
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
