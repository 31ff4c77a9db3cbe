"""Logs: structlog, one JSON object a line on standard error, or coloured text on a terminal.

Libraries that log through the standard library come out in the same form, from WARNING up. Nothing is logged for each
packet; what concerns a call carries its `call_id` (bind it, or set it with `structlog.contextvars`).
"""

import logging
import sys
from typing import Any, TextIO

import orjson
import structlog

from .config_tables import GatewayConfig

_SHARED: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]
_TRACEBACKS = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))
"""Frames without their variables: those hold secrets."""


def configure_logs(config: GatewayConfig, stream: TextIO = sys.stderr, **context: Any) -> None:
    """Set up this process; `context` (such as worker=2) stands on every line. Call once, before the first log."""
    as_json = config.log_format == "json" or (config.log_format == "auto" and not stream.isatty())
    level = logging.getLevelNamesMapping()[config.log_level.upper()]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(as_json, stream)],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(level, logging.WARNING))
    structlog.configure(
        processors=[*_SHARED, *_renderers(as_json, stream)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(gateway=config.name, **context)


def _renderers(as_json: bool, stream: TextIO) -> list[structlog.typing.Processor]:
    if as_json:
        return [_TRACEBACKS, structlog.processors.JSONRenderer(serializer=_json)]
    return [structlog.dev.ConsoleRenderer(colors=stream.isatty())]


def _json(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
