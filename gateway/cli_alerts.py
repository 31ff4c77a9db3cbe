"""`trunkline alerts`: what is wrong, whose it is, and whether a channel works; asked of the running gateway."""

import asyncio
import getpass
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import typer
from rich.text import Text

from .alerts.alert import Alert
from .cli_options import DEFAULT_CONFIG, ConfigOption, JsonOption, console, write_json
from .config import load_tables
from .http_client import AdminClient

FAILED = 1

T = TypeVar("T")

alerts_app = typer.Typer(help="Alerts of the running gateway: what is open, who owns it.")

AllOption = Annotated[bool, typer.Option("--all", help="Resolved ones, too.")]
LimitOption = Annotated[int, typer.Option(min=1, max=1000, help="Newest alerts shown.")]


@alerts_app.callback(invoke_without_command=True)
def _alerts(
    context: typer.Context,
    config: ConfigOption = DEFAULT_CONFIG,
    with_resolved: AllOption = False,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """Without a sub-command: list. What is given before the sub-command is its default."""
    given = {"config": config, "with_resolved": with_resolved, "limit": limit, "as_json": as_json}
    context.default_map = {"list": given, "ack": given, "test": given}
    if context.invoked_subcommand is None:
        list_alerts(config, with_resolved, limit, as_json)


@alerts_app.command("list")
def list_alerts(
    config: ConfigOption = DEFAULT_CONFIG,
    with_resolved: AllOption = False,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """What is wrong now, the newest first."""
    state = "all" if with_resolved else "open"
    alerts = _ask(config, lambda client: client.alerts(state, limit))
    if as_json:
        write_json(alerts)
    elif not alerts:
        typer.echo("no alerts" if with_resolved else "no open alerts")
    else:
        for alert in alerts:
            console().print(*_lines(msgspec.convert(alert, Alert)), sep="\n")


@alerts_app.command("ack")
def acknowledge(
    alert_id: Annotated[str, typer.Argument(metavar="ID", help="As the list shows it.")],
    by: Annotated[str | None, typer.Option(help="Who owns it from now on; your user name without it.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Own an alert: nobody else is woken."""
    alert = _ask(config, lambda client: client.acknowledge(alert_id, by or _user()))
    if as_json:
        write_json(alert)
    else:
        typer.echo(f"{alert['id']} belongs to {alert['acknowledged_by']} since {alert['acknowledged_at']}")


@alerts_app.command("test")
def try_channel(
    channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="Its name in the file.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Send a test over one channel; the telephone rings."""
    tested = _ask(config, lambda client: client.test_channel(channel))
    if as_json:
        write_json(tested)
    elif tested["delivered"]:
        answer = f", and the person said {tested['answer']}" if tested["answer"] else ""
        typer.echo(f"{channel}: delivered within {tested['took_ms'] / 1000:.1f} s{answer}")
    else:
        reason = tested["reason"].removeprefix(f"{channel}: ")
        typer.echo(f"{channel}: FAILED: {reason}")
    if not tested["delivered"]:
        raise typer.Exit(FAILED)


def _ask(path: Path, question: Callable[[AdminClient], Awaitable[T]]) -> T:
    async def ask() -> T:
        async with AdminClient(load_tables(path, "gateway", "http").http) as client:
            return await question(client)

    return asyncio.run(ask())


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "command line"


def _lines(alert: Alert) -> list[Text]:
    """A block, not a row of a table: a terminal of 80 columns has no room for both the identifier and what is wrong."""
    owner = f"  taken by {alert.acknowledged_by}" if alert.acknowledged_by else ""
    head = f"{alert.severity.upper()}  {alert.subject}  {alert.state} since {alert.started_at[:19]}{owner}"
    why = [] if alert.verdict is None else [alert.verdict.summary]
    return [Text(head, style="bold"), *(Text(f"  {line}") for line in (alert.id, _what(alert), *why))]


def _what(alert: Alert) -> str:
    return alert.summary.removeprefix(f"{alert.subject}: ")
