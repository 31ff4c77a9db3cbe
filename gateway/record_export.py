"""Call records for a spreadsheet or a program: CSV with one flat row a call, or JSON with everything."""

import csv
import io
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, Protocol

import msgspec
from aiohttp import web

from .record import CallRecord
from .record_search import RecordQuery

PAGE = 25
"""Records read and sent at a time: an export of years takes no more memory than one of an hour, and its steps hold the
switch's loop for milliseconds."""

_PLAIN = (
    "id",
    "direction",
    "sip_call_id",
    "trunk",
    "from",
    "to",
    "agent",
    "provider",
    "codec",
    "started_at",
    "answered_at",
    "ended_at",
    "duration_s",
    "ended_by",
    "end_reason",
    "sip_status",
)
_SETUP = ("provider_ms", "answer_to_first_audio_ms")
_STREAM = ("packets", "lost", "jitter_ms", "r_factor", "mos_lq", "mos_cq", "mos_min", "scale", "basis")
_ONE_WAY = {"received": ("discarded", "concealed", "jitter_max_ms", "burst_r"), "sent": ("underruns", "rtt_ms")}

COLUMNS: tuple[str, ...] = (
    *_PLAIN,
    *_SETUP,
    *(f"{way}_{name}" for way in ("received", "sent") for name in (*_STREAM, *_ONE_WAY[way])),
    "turns",
    "interrupted",
    "turn_latency_max_ms",
    "dtmf",
)


class Records(Protocol):
    """Where they are read from."""

    async def list(
        self, limit: int = 50, before: str | None = None, query: RecordQuery | None = None
    ) -> "list[CallRecord]":
        """The newest first, older than the identifier `before`."""
        ...


async def exported(
    request: web.Request,
    records: Records,
    query: RecordQuery,
    form: str,
    shown: Callable[[CallRecord], CallRecord] = lambda record: record,
    headers: Mapping[str, str] | None = None,
) -> web.StreamResponse:
    """Every record that the query finds, the newest first, as a file (`form`: csv or json); `shown` may mask it.

    Raises RecordsError when nothing can be read; a database that fails later ends the file in the middle, and the
    connection with it.
    """
    page = await records.list(PAGE, None, query)
    disposition = {"Content-Disposition": f'attachment; filename="calls.{form}"'}
    response = web.StreamResponse(headers=dict(headers or {}) | disposition)
    response.content_type = "text/csv" if form == "csv" else "application/json"
    response.charset = "utf-8"
    await response.prepare(request)
    async for text in _text(page, records, query, form, shown):
        await response.write(text.encode())
    await response.write_eof()
    return response


async def _text(
    page: list[CallRecord],
    records: Records,
    query: RecordQuery,
    form: str,
    shown: Callable[[CallRecord], CallRecord],
) -> AsyncIterator[str]:
    yield csv_header() if form == "csv" else "["
    between = ""
    while page:
        masked = [shown(record) for record in page]
        if form == "csv":
            yield csv_rows(masked)
        else:
            yield between + ",\n".join(msgspec.json.encode(record).decode() for record in masked)
            between = ",\n"
        page = await records.list(PAGE, page[-1].id, query) if len(page) == PAGE else []
    if form == "json":
        yield "]\n"


def csv_header() -> str:
    """The first line."""
    return _lines([COLUMNS])


def csv_rows(records: Iterable[CallRecord]) -> str:
    """A line for each record (RFC 4180)."""
    return _lines(_row(record) for record in records)


def _row(record: CallRecord) -> list[Any]:
    fields: Mapping[str, Any] = msgspec.to_builtins(record)
    row = [fields[name] for name in _PLAIN]
    row += [fields["setup"][name] for name in _SETUP]
    for way in ("received", "sent"):
        row += [fields["media"][way][name] for name in (*_STREAM, *_ONE_WAY[way])]
    latencies = [turn.latency_ms for turn in record.turns if turn.latency_ms is not None]
    row += [len(record.turns), sum(turn.interrupted for turn in record.turns), max(latencies, default=None)]
    row.append("".join(record.dtmf))
    return [_inert(cell) if isinstance(cell, str) else cell for cell in row]


def _inert(text: str) -> str:
    """A caller may choose a name that a spreadsheet would run; a number with its + stays one."""
    formula = text[:1] in ("=", "@", "\t", "\r") or (text[:1] in ("+", "-") and not text[1:].isdigit())
    return f"'{text}" if formula else text


def _lines(rows: Iterable[Iterable[Any]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue()
