"""Opening the database of call records, and reading it."""

import asyncio
import builtins
from typing import Any

import orjson
from sqlalchemy import event, make_url, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from .errors import RecordsError
from .record import CallRecord
from .record_search import RecordQuery
from .records_file import DatabaseFile
from .records_table import calls, record_columns, record_of

DATABASE_ERRORS = (SQLAlchemyError, OSError, TimeoutError)
"""What a database that is away, locked, full or broken raises."""
LOCK_WAIT_S = 5.0
"""How long one statement waits for SQLite's lock."""


def open_engine(url: str) -> AsyncEngine:
    """An engine that connects at first use."""
    if not url.startswith("sqlite"):
        return create_async_engine(url, json_serializer=_json, json_deserializer=orjson.loads, pool_pre_ping=True)
    engine = create_async_engine(
        url, json_serializer=_json, json_deserializer=orjson.loads, connect_args={"timeout": LOCK_WAIT_S}
    )
    event.listen(engine.sync_engine, "connect", _write_ahead_log)
    return engine


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _write_ahead_log(connection: Any, _record: Any) -> None:
    """Readers and the writer do not wait for each other; a commit is on disk when it returns."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def reason_of(error: BaseException) -> str:
    """What the database said, without the statement and its values."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return str(cause).strip() or type(cause).__name__


class RecordReader:
    """Reads call records, also while a gateway writes them. Never creates or changes the database."""

    def __init__(self, url: str) -> None:
        self._where = make_url(url).render_as_string(hide_password=True)
        self._file = DatabaseFile(url)
        self._check_file()
        self._engine = open_engine(url)

    def _check_file(self) -> None:
        """SQLite would make a file that is missing."""
        path = self._file.path
        if path is not None and not path.exists():
            raise RecordsError(f"there are no call records at {path}; has the gateway run with this configuration?")

    async def get(self, call_id: str) -> CallRecord | None:
        """One record. Raises RecordsError."""
        found = await self._select(select(*record_columns).where(calls.c.id == call_id))
        return found[0] if found else None

    async def list(
        self, limit: int = 50, before: str | None = None, query: RecordQuery | None = None
    ) -> "list[CallRecord]":
        """The newest records first, `limit` at most, older than the identifier `before`. Raises RecordsError."""
        conditions = [] if query is None else query.conditions()
        if before is not None:
            conditions.append(calls.c.id < before)
        return await self._select(select(*record_columns).where(*conditions).order_by(calls.c.id.desc()).limit(limit))

    async def _select(self, query: Any) -> "builtins.list[CallRecord]":
        self._check_file()
        try:
            async with self._engine.connect() as connection:
                rows = (await connection.execute(query)).mappings()
                # in a thread: calls of hours take many milliseconds to unpack
                return await asyncio.to_thread(lambda: [record_of(dict(row)) for row in rows])
        except DATABASE_ERRORS as error:
            raise RecordsError(f"the call records at {self._where} cannot be read: {reason_of(error)}") from error

    async def close(self) -> None:
        """Close the database."""
        await self._engine.dispose()
