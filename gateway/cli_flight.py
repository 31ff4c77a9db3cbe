"""`trunkline trace` and `trunkline replay`: a kept call on a terminal."""

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import orjson
import typer

from .config import load_tables
from .errors import CallRefused, FlightError, GatewayError
from .flight.comparison import Row, compare
from .flight.file import SUFFIX, Flight, leg_of, read
from .flight.ladder import LadderLine, ladder_of
from .flight.pcap import write_pcap
from .flight.replay import replay
from .flight.store import flight_store
from .flight.timeline import Line, record_timeline, started_at, timeline
from .flight.trace_view import live_lines, trace_lines
from .http_client import AdminClient
from .record import CallRecord
from .records_reader import RecordReader

DIFFERENT = 1


def trace(call_id: str, config: Path, pcap: Path | None, as_json: bool) -> None:
    """Show a kept call, or write it as a capture. `call_id` may be a file's path. What is not kept is asked of the
    running gateway. Raises GatewayError."""
    flight = _kept(call_id, config)
    if flight is None:
        if pcap is not None:
            raise _not_kept(call_id)
        _trace_unkept(call_id, config, as_json)
        return
    if pcap is not None:
        try:
            with pcap.open("wb") as file:
                count = write_pcap(flight, file)
        except OSError as error:
            raise FlightError(f"{pcap}: cannot be written ({error.strerror or error})") from None
        typer.echo(f"{pcap}: {count} packets", err=as_json)
        if not as_json:
            return
    if as_json:
        kept, lines = msgspec.to_builtins(flight.header), timeline(flight)
        _write(_document(kept, flight.record, ladder_of(flight.sip), lines, started_at(flight)))
        return
    for line in trace_lines(flight):
        typer.echo(line)


def _kept(call_id: str, config: Path) -> Flight | None:
    path = Path(call_id)
    if path.suffix == SUFFIX:
        return read(path)
    return flight_store(load_tables(config, "gateway", "flight")).read(call_id)


def _not_kept(call_id: str) -> FlightError:
    return FlightError(
        f"call {call_id} was not kept: it went well, it is not over, or it had to make room; "
        'with keep = "all" in [flight] every call is kept'
    )


def _trace_unkept(call_id: str, config: Path, as_json: bool) -> None:
    record, ladder = asyncio.run(_ask(call_id, config))
    if ladder is None:
        raise _not_kept(call_id)
    if as_json:
        start = ladder[0].unix if ladder else 0.0
        _write(_document(None, record, ladder, record_timeline(record), start))
        return
    for line in live_lines(record, ladder):
        typer.echo(line)


async def _ask(call_id: str, config: Path) -> tuple[CallRecord, list[LadderLine] | None]:
    """The running gateway, or the records when there is none."""
    try:
        async with AdminClient(load_tables(config, "gateway", "http").http) as client:
            return await client.trace(call_id)
    except CallRefused as refused:
        raise FlightError(refused.reason) from None
    except GatewayError:
        record = await _recorded(load_tables(config, "gateway", "records").records_url, call_id)
    if record is None:
        raise FlightError(f"there is no call {call_id}")
    return record, None


async def _recorded(url: str, call_id: str) -> CallRecord | None:
    reader = RecordReader(url)
    try:
        return await reader.get(call_id)
    finally:
        await reader.close()


def _document(
    kept: Any, record: CallRecord, ladder: Sequence[LadderLine], lines: Iterable[Line], start: float
) -> dict[str, Any]:
    return {
        "kept": kept,
        "call": msgspec.to_builtins(record),
        "ladder": msgspec.to_builtins(ladder),
        "timeline": [
            {"at_s": round(line.unix - start, 6), "what": line.what, "detail": line.detail, "bad": line.bad}
            for line in lines
        ],
    }


def replay_file(path: Path, as_json: bool) -> None:
    """Print the figures of a kept call beside those of its replay; exit with 1 when they differ. Raises
    GatewayError."""
    flight = read(path)
    if not flight.legs:
        raise FlightError(f"{path}: nothing of the call's media was kept, so there is nothing to replay")
    replayed = replay(leg_of(flight.legs[-1]))
    rows = compare(flight.record, replayed)
    same = all(row.same for row in rows)
    if as_json:
        figures = [{"name": it.name, "recorded": it.recorded, "replayed": it.replayed, "same": it.same} for it in rows]
        _write({"call": flight.record.id, "whole": replayed.whole, "same": same, "figures": figures})
    else:
        _show(flight, replayed.whole, rows)
    if not same:
        raise typer.Exit(DIFFERENT)


def _show(flight: Flight, whole: bool, rows: list[Row]) -> None:
    typer.echo(f"call {flight.record.id}, {flight.record.codec or '-'}, {flight.record.duration_s or 0:g} s")
    if not whole:
        typer.echo("the beginning of the call had to make room: only the slices after it are compared")
    if not rows:
        typer.echo("no slice lies wholly in what was kept: nothing to compare")
        return
    width = max(len(row.name) for row in rows)
    typer.echo(f"{'':<{width}}  {'recorded':>12}  {'replayed':>12}")
    for row in rows:
        mark = "" if row.same else "  DIFFERENT"
        typer.echo(f"{row.name:<{width}}  {_text(row.recorded):>12}  {_text(row.replayed):>12}{mark}")
    different = sum(not row.same for row in rows)
    typer.echo(f"{len(rows) - different} of {len(rows)} figures are the same")


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _write(document: Any) -> None:
    typer.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
