"""Logs: structlog, one JSON object a line on standard error, in the journal under systemd, or coloured text on a
terminal.

Libraries that log through the standard library come out in the same form, from WARNING up. Nothing is logged for each
packet; what concerns a call carries its identifier as `call` (bind it). A log that cannot
be written (disk full, pipe closed) disturbs no call: the line is lost.
"""

import contextlib
import logging
import sys
from typing import Any, TextIO, cast

import orjson
import structlog

from .config_tables import GatewayConfig
from .journal import Journal, JournalHandler, entry, is_journal

_SHARED: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]
_TRACEBACKS = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))
"""Frames without their variables: those hold secrets."""


class _Patient:
    """A text stream for logs whose failures stay its own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write, or lose the text."""
        with contextlib.suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        """As `write`."""
        with contextlib.suppress(OSError):
            self._stream.flush()


class _Static:
    """A processor: the same fields on every line, whatever task or callback logs it."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields

    def __call__(self, _logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return {**event, **self._fields}


class _JournalEntry:
    """The last processor of a line for the journal: its JSON, and the fields that the journal can be searched for."""

    def __call__(self, logger: Any, method: str, event: structlog.typing.EventDict) -> str:
        fields = dict(event)
        return entry(str(_JSON(logger, method, event)), fields)


def configure_logs(config: GatewayConfig, stream: TextIO = sys.stderr, **context: Any) -> None:
    """Set up this process; `context` (such as worker=2) stands on every line. Call once, before the first log."""
    form = _form(config, stream)
    level = logging.getLevelNamesMapping()[config.log_level.upper()]
    patient = cast(TextIO, _Patient(stream))
    shared = [*_SHARED, _Static({"gateway": config.name, **context})]
    journal = Journal(patient) if form == "journal" else None
    handler = JournalHandler(journal) if journal is not None else logging.StreamHandler(patient)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(form, stream)],
        )
    )
    root = logging.getLogger()
    for old in root.handlers:
        if isinstance(old, JournalHandler):
            old.close()
    root.handlers = [handler]
    root.setLevel(max(level, logging.WARNING))
    structlog.configure(
        processors=[*shared, *_renderers(form, stream)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(patient) if journal is None else lambda *_: journal,
        cache_logger_on_first_use=False,
    )


def _form(config: GatewayConfig, stream: TextIO) -> str:
    if config.log_format != "auto":
        return config.log_format
    if is_journal(stream):
        return "journal"
    return "console" if stream.isatty() else "json"


def _renderers(form: str, stream: TextIO) -> list[structlog.typing.Processor]:
    if form == "console":
        # the usual formatter shows variables where rich is installed
        plain = structlog.dev.plain_traceback
        return [structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=plain)]
    return [_TRACEBACKS, _JournalEntry() if form == "journal" else _JSON]


def _json(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


_JSON = structlog.processors.JSONRenderer(serializer=_json)
