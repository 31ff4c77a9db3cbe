"""Call records for a spreadsheet or a program: CSV with one flat row a call, or JSON with everything."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, Protocol

import msgspec
import structlog
from aiohttp import web

from .errors import RecordsError
from .record import CallRecord, Timeline
from .record_search import RecordQuery

log = structlog.get_logger(__name__)

PAGE = 25
"""Records read and sent at a time: an export of years takes no more memory than one of an hour."""

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

    Raises RecordsError when nothing can be read. A database that fails later breaks the connection: nobody may
    take half a file for a whole one.
    """
    page = await records.list(PAGE, None, query)
    disposition = {"Content-Disposition": f'attachment; filename="calls.{form}"'}
    response = web.StreamResponse(headers=dict(headers or {}) | disposition)
    response.content_type = "text/csv" if form == "csv" else "application/json"
    response.charset = "utf-8"
    await response.prepare(request)
    # from here on no other answer can be given
    try:
        async for text in _text(page, records, query, form, shown):
            await response.write(text)
        await response.write_eof()
    except ConnectionError:
        log.debug("an export is not wanted any more")
    except Exception as error:
        if request.transport is not None:
            request.transport.abort()
        if not isinstance(error, RecordsError):
            raise
        log.warning("an export ends in the middle", reason=str(error))
    return response


async def _text(
    page: list[CallRecord],
    records: Records,
    query: RecordQuery,
    form: str,
    shown: Callable[[CallRecord], CallRecord],
) -> AsyncIterator[bytes]:
    def written() -> bytes:
        if form == "csv":
            return csv_rows(shown(record) for record in page).encode()
        return b",\n".join(msgspec.json.encode(shown(record)) for record in page)

    yield csv_header().encode() if form == "csv" else b"["
    while page:
        # in a thread: a call of a day alone would hold the switch's loop
        yield await asyncio.to_thread(written)
        page = await records.list(PAGE, page[-1].id, query) if len(page) == PAGE else []
        if page and form == "json":
            yield b",\n"
    if form == "json":
        yield b"]\n"


def csv_header() -> str:
    """The first line."""
    return _lines([COLUMNS])


def csv_rows(records: Iterable[CallRecord]) -> str:
    """A line for each record (RFC 4180)."""
    return _lines(_row(record) for record in records)


def _row(record: CallRecord) -> list[Any]:
    fields: Mapping[str, Any] = msgspec.to_builtins(msgspec.structs.replace(record, timeline=Timeline()))
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
