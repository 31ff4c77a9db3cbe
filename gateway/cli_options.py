"""What the commands share: options, and how a result is shown."""

import sys
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console

DEFAULT_CONFIG = Path("conf/trunkline.toml")

ConfigOption = Annotated[Path, typer.Option("--config", "-c", envvar="TRUNKLINE_CONFIG", help="The TOML file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON alone on standard output.")]


def console() -> Console:
    """As wide as the terminal; in a pipe wide enough that no line is folded."""
    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=240)


def write_json(value: Any) -> None:
    """On standard output."""
    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
