"""`trunkline trace` and `trunkline replay`: a kept call on a terminal."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import orjson
import typer

from .config import load_tables
from .errors import FlightError, RecordsError
from .flight.comparison import Row, compare
from .flight.file import SUFFIX, Flight, leg_of, read
from .flight.ladder import ladder_of
from .flight.pcap import write_pcap
from .flight.replay import replay
from .flight.store import flight_store
from .flight.timeline import started_at, timeline
from .flight.trace_view import trace_lines

DIFFERENT = 1


def trace(call_id: str, config: Path, pcap: Path | None, as_json: bool) -> None:
    """Show a kept call, or write it as a capture. `call_id` may be a file's path. Raises GatewayError."""
    flight = _find(call_id, config)
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
        _write(_document(flight))
        return
    for line in trace_lines(flight):
        typer.echo(line)


def _find(call_id: str, config: Path) -> Flight:
    path = Path(call_id)
    if path.suffix == SUFFIX:
        return read(path)
    loaded = load_tables(config, "gateway", "flight", "records")
    store = flight_store(loaded)
    flight = store.read(call_id)
    if flight is not None:
        return flight
    if asyncio.run(_known(loaded.records_url, call_id)):
        raise FlightError(
            f"call {call_id} was not kept: it went well, it is not over, or it had to make room; "
            'with keep = "all" in [flight] every call is kept'
        )
    raise FlightError(f"there is no call {call_id} in {store.directory}, nor in the call records")


async def _known(url: str, call_id: str) -> bool:
    from .records_reader import RecordReader

    try:
        reader = RecordReader(url)
    except RecordsError:
        return False
    try:
        return await reader.get(call_id) is not None
    finally:
        await reader.close()


def _document(flight: Flight) -> dict[str, Any]:
    start = started_at(flight)
    lines = [
        {"at_s": round(line.unix - start, 6), "what": line.what, "detail": line.detail, "bad": line.bad}
        for line in timeline(flight)
    ]
    return {
        "kept": msgspec.to_builtins(flight.header),
        "call": msgspec.to_builtins(flight.record),
        "ladder": msgspec.to_builtins(ladder_of(flight.sip)),
        "timeline": lines,
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
