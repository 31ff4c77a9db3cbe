"""The command line. Exit status: 0 done, 1 it failed, 2 the configuration or the command is wrong."""

import asyncio
import importlib.metadata
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
import typer

from ..sip.errors import SipError
from .cli_alerts import alerts_app
from .cli_options import DEFAULT_CONFIG, ConfigOption, JsonOption, console, write_json
from .config import Config, load_config, load_tables, names_in
from .errors import ConfigError, GatewayError
from .record import CallRecord
from .record_view import calls_table, record_view

FAILED, BAD_CONFIG = 1, 2

app = typer.Typer(
    name="trunkline",
    help="A SIP/RTP media gateway for AI voice agents.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
calls_app = typer.Typer(help="Call records, read from the database; the gateway may be running.")
app.add_typer(calls_app, name="calls")
app.add_typer(alerts_app, name="alerts")

LimitOption = Annotated[int, typer.Option(min=1, max=100_000, help="Newest records shown.")]


def main() -> None:
    """Errors that the operator can mend are one line each, never a traceback; Ctrl-C is the caller's."""
    try:
        app()
    except ConfigError as error:
        _fail(error.problems, BAD_CONFIG)
    except (GatewayError, SipError) as error:
        _fail([str(error)], FAILED)


def _fail(lines: list[str], status: int) -> NoReturn:
    for line in lines:
        typer.echo(f"trunkline: {line}", err=True)
    sys.exit(status)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"trunkline {importlib.metadata.version('trunkline')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """Options of the command itself."""


@app.command()
def run(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Run the gateway in the foreground; notifies systemd."""
    loaded = load_config(config)

    from .application import run as run_gateway
    from .logs import configure_logs

    configure_logs(loaded.gateway)
    raise typer.Exit(run_gateway(loaded, config))


@app.command()
def reload(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Have the running gateway read its configuration again, without touching the calls that are up."""
    changed, restart = asyncio.run(_reload(config))
    typer.echo(f"{config}: reloaded: {', '.join(changed) or 'nothing has changed'}")
    if restart:
        typer.echo(f"{config}: needs a restart: {', '.join(restart)}")


async def _reload(path: Path) -> tuple[list[str], list[str]]:
    from .http_client import AdminClient

    async with AdminClient(load_tables(path, "gateway", "http").http) as client:
        return await client.reload()


@app.command()
def check(
    config: ConfigOption = DEFAULT_CONFIG,
    live: Annotated[bool, typer.Option("--live", help="Also register, and open the agents' sessions.")] = False,
) -> None:
    """Validate the configuration."""
    loaded = load_config(config)
    counts = ((loaded.trunks, "trunk"), (loaded.agents, "agent"), (loaded.routes, "route"))
    summary = ", ".join(f"{len(items)} {name}{'' if len(items) == 1 else 's'}" for items, name in counts)
    typer.echo(f"{config}: valid: {summary}")
    if live:
        _check_live(loaded)


def _check_live(config: Config) -> None:
    from .live_check import check_live
    from .logs import configure_logs

    # the findings say it all, and standard output is theirs
    configure_logs(config.gateway.model_copy(update={"log_level": "critical"}))
    failed = False
    for finding in asyncio.run(check_live(config)):
        typer.echo(f"{finding.part}: {'ok' if finding.ok else 'FAILED'}: {finding.detail}")
        failed = failed or not finding.ok
    if failed:
        raise typer.Exit(FAILED)


@app.command()
def call(
    target: Annotated[str, typer.Argument(help="A number, or a SIP URI.")],
    agent: Annotated[str | None, typer.Option(help="The agent that talks; needed when there are several.")] = None,
    trunk: Annotated[str | None, typer.Option(help="The trunk to call through; needed when there are several.")] = None,
    play: Annotated[Path | None, typer.Option(help="Play this WAV file instead of an agent.")] = None,
    record: Annotated[Path | None, typer.Option(help="Write both sides to this WAV file.")] = None,
    dtmf: Annotated[str | None, typer.Option(help="Keys to press, such as 123#.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Place one call and print its record.

    An agent's call goes through the running gateway; with --play, --record or --dtmf this process makes it itself.
    """
    if play is None and record is None and dtmf is None:
        ended = asyncio.run(_call_through_gateway(config, target, agent, trunk))
    else:
        from .logs import configure_logs
        from .place import place

        loaded = load_config(config)
        configure_logs(loaded.gateway.model_copy(update={"log_level": "warning"}))
        ended = asyncio.run(place(loaded, target, agent=agent, trunk=trunk, play=play, record=record, dtmf=dtmf))
    _show(ended, as_json)
    if ended.answered_at is None:
        raise typer.Exit(FAILED)


async def _call_through_gateway(path: Path, target: str, agent: str | None, trunk: str | None) -> CallRecord:
    from .http_client import AdminClient

    settings = load_tables(path, "gateway", "http")
    if agent is None:
        agents = names_in(path, "agents")
        if len(agents) != 1:
            known = ", ".join(agents) or "none"
            raise ConfigError([f"{path}: name the agent of this call with --agent; there are: {known}"])
        agent = agents[0]
    async with AdminClient(settings.http) as client:
        return await client.call(target, agent, trunk)


@calls_app.callback(invoke_without_command=True)
def _calls(
    context: typer.Context,
    config: ConfigOption = DEFAULT_CONFIG,
    limit: LimitOption = 20,
    as_json: JsonOption = False,
) -> None:
    """Without a sub-command: list. What is given before the sub-command is its default."""
    given = {"config": config, "limit": limit, "as_json": as_json}
    context.default_map = {"list": given, "show": given}
    if context.invoked_subcommand is None:
        list_calls(config, limit, as_json)


@calls_app.command("list")
def list_calls(
    config: ConfigOption = DEFAULT_CONFIG,
    limit: LimitOption = 20,
    as_json: JsonOption = False,
    trunk: Annotated[str | None, typer.Option(help="Only calls of this trunk.")] = None,
    agent: Annotated[str | None, typer.Option(help="Only calls of this agent.")] = None,
    number: Annotated[str | None, typer.Option(help="A part of either number.")] = None,
    since: Annotated[str | None, typer.Option(help="From this time on: 2026-01-31, or 2026-01-31T15:04Z.")] = None,
    until: Annotated[str | None, typer.Option(help="Before this time.")] = None,
    mos_below: Annotated[float | None, typer.Option(help="The worse direction's MOS is below.")] = None,
    reason: Annotated[str | None, typer.Option(help="Who ended the call, or a part of why.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV with every figure.")] = False,
) -> None:
    """The newest calls that fit."""
    wanted = {"trunk": trunk, "agent": agent, "number": number, "since": since, "until": until, "reason": reason}
    records: list[CallRecord] = asyncio.run(_search_records(config, limit, wanted | {"mos_below": mos_below}))
    if as_csv:
        from .record_export import csv_header, csv_rows

        typer.echo(csv_header() + csv_rows(records), nl=False)
        return
    if as_json:
        write_json(msgspec.to_builtins(records))
    else:
        terminal = console()
        terminal.print(calls_table(records, terminal.width))


@calls_app.command("show")
def show_call(
    call_id: Annotated[str, typer.Argument(metavar="ID", help="As the list shows it.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Everything about one call."""
    record: CallRecord | None = asyncio.run(_read_records(config, lambda reader: reader.get(call_id)))
    if record is None:
        raise GatewayError(f"there is no call {call_id}")
    _show(record, as_json)


async def _search_records(path: Path, limit: int, wanted: dict[str, Any]) -> Any:
    from .record_search import RecordQuery

    try:
        query = RecordQuery(**wanted)
    except ValueError as error:
        raise ConfigError([str(error)]) from None
    return await _read_records(path, lambda reader: reader.list(limit, None, query))


async def _read_records(path: Path, read: Any) -> Any:
    from .records_reader import RecordReader

    reader = RecordReader(load_tables(path, "gateway", "records").records_url)
    try:
        return await read(reader)
    finally:
        await reader.close()


@app.command()
def top(
    config: ConfigOption = DEFAULT_CONFIG,
    once: Annotated[bool, typer.Option("--once", help="One picture instead of a live view.")] = False,
) -> None:
    """The running gateway at a glance, once a second: calls, quality, trunks, alerts. Ctrl-C ends it."""
    asyncio.run(_top(config, once))


async def _top(path: Path, once: bool) -> None:
    from .http_client import AdminClient
    from .top import run as watch

    async with AdminClient(load_tables(path, "gateway", "http").http) as client:
        await watch(client, console(), once=once)


@app.command()
def trace(
    call_id: Annotated[str, typer.Argument(metavar="CALL_ID", help="A call's id, or the path of a kept file.")],
    pcap: Annotated[Path | None, typer.Option(help="Write a capture for Wireshark to this file.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show a call: its SIP ladder and its timeline.

    A bad call is read from its file; of another one the running gateway tells what it still has.
    """
    from .cli_flight import trace as show_trace

    show_trace(call_id, config, pcap, as_json)


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A kept call: CALL_ID.tlf.")],
    as_json: JsonOption = False,
) -> None:
    """Count a kept call again, and print its figures beside those that were recorded; exit with 1 when they differ."""
    from .cli_flight import replay_file

    replay_file(file, as_json)


@app.command()
def demo(
    calls: Annotated[int, typer.Option(min=1, max=100, help="Calls at once.")] = 1,
    seconds: Annotated[float, typer.Option(min=1, max=3600, help="About how long each call lasts.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """An embedded trunk, agent and caller on loopback: no account, no network."""
    from .lab.demo import run as run_demo

    raise typer.Exit(run_demo(calls=calls, seconds=seconds, as_json=as_json))


def _show(record: CallRecord, as_json: bool) -> None:
    if as_json:
        write_json(msgspec.to_builtins(record))
    else:
        console().print(record_view(record))
