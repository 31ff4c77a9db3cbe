"""Call records: one row a call, in SQLite by default, PostgreSQL by its URL."""

import asyncio
import builtins
import contextlib
import time
from itertools import islice
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
import alembic.util
import msgspec
import structlog
from sqlalchemy import Connection, make_url, update

from . import migrations
from .errors import RecordsError
from .record import CallRecord
from .record_search import RecordQuery
from .records_file import DatabaseFile
from .records_reader import DATABASE_ERRORS, RecordReader, open_engine, reason_of
from .records_spool import Spool
from .records_table import calls, completed, record_of, row_of, upsert

BATCH = 200
"""Rows of one transaction."""
MEMORY_LIMIT = 1000
"""Rows that wait in memory for the database; beyond it they go to the spool."""
LAST_RESORT = 10_000
"""Rows that wait when the spool refuses too; beyond it the oldest goes to the log instead."""
RETRY_FIRST_S, RETRY_MOST_S = 0.2, 10.0
LOOK_EVERY_S = 5.0
"""How often it is looked whether SQLite's file is still there, while nothing is written."""
SILENT_AFTER_S = 10.0
"""A database that takes longer for one batch counts as silent; SQLite's lock is waited for half as long."""
WRITE_WITHIN_S = 30.0
"""One batch is given up after this, and written again."""
CLOSE_WITHIN_S = 5.0
STOPPED_UNEXPECTEDLY = "gateway stopped unexpectedly"

log = structlog.get_logger()


class RecordsHealth(msgspec.Struct, frozen=True):
    """Whether records reach the database, and how many wait."""

    writable: bool
    queued: int
    reason: str | None = None
    written: int = 0
    """Rows that the database has taken since the start."""


class RecordStore:
    """The table of calls. `write` never waits: one task writes behind it, retries, and spools what cannot be written.

    store = RecordStore(config.records_url, state_dir=config.gateway.state_dir, gateway=config.gateway.name)
    await store.start()          # directory, migrations, spool replayed, rows of a crash closed
    store.write(record)          # at INVITE, and again at the end: the row is replaced
    await store.close()          # flushes, spools the rest
    """

    def __init__(self, url: str, *, state_dir: Path, gateway: str = "trunkline") -> None:
        self._url = url
        self._state_dir = state_dir
        self._gateway = gateway
        self._spool = Spool(state_dir)
        self._spooled = False
        self._written = 0
        self._pending: dict[str, dict[str, Any]] = {}
        self._batch = BATCH
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        self._trouble: str | None = "not started"
        self._writing_since: float | None = None
        self._engine = open_engine(url)
        self._file = DatabaseFile(url)
        self._reader: RecordReader | None = None
        self._writer: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open and migrate. Raises RecordsError when the database cannot be opened, or another gateway has the same
        state directory: each would take the other's running calls for those of a crash."""
        where = make_url(self._url).render_as_string(hide_password=True)
        try:
            self._make_directories()
            self._spool.lock()
            async with self._engine.begin() as connection:
                await connection.run_sync(_migrate)
            self._file.opened()
            await self._replay()
            await self._close_unfinished()
        except BlockingIOError:
            raise RecordsError(
                f"another gateway runs with state_dir = {self._state_dir}; stop it, or use another"
            ) from None
        except alembic.util.CommandError:
            await self._give_up()
            raise RecordsError(f"the call records at {where} were written by a newer release; run that one") from None
        except DATABASE_ERRORS as error:
            await self._give_up()
            raise RecordsError(
                f"the call records at {where} cannot be opened: {reason_of(error)}; "
                f"check [records] url, and that [gateway] state_dir = {self._state_dir} can be written"
            ) from error
        self._trouble = None
        self._reader = RecordReader(self._url)
        self._writer = asyncio.create_task(self._write_behind(), name="call records")

    def write(self, record: CallRecord) -> None:
        """Queue one record as it stands now; an ended record is never replaced by one that has not ended."""
        waiting = self._pending.get(record.id)
        if waiting is not None and waiting["ended_at"] is not None and record.ended_at is None:
            return
        self._pending[record.id] = row_of(record, self._gateway)
        if len(self._pending) > LAST_RESORT:
            oldest = self._pending.pop(next(iter(self._pending)))
            log.critical("call record can be stored nowhere", reason=self._trouble, record=oldest)
        self._wake.set()

    async def get(self, call_id: str) -> CallRecord | None:
        """One record, also when it still waits to be written. Raises RecordsError."""
        if call_id in self._pending:
            return record_of(self._pending[call_id])
        return await self._open_reader.get(call_id)

    async def list(
        self, limit: int = 50, before: str | None = None, query: RecordQuery | None = None
    ) -> "builtins.list[CallRecord]":
        """The newest records first, `limit` at most, older than the identifier `before`. Raises RecordsError."""
        # a row may reach the database after it was read there and before it is looked for here
        waiting = dict(self._pending)
        found = {record.id: record for record in await self._open_reader.list(limit, before, query)}
        for row in (waiting | self._pending).values():
            fits = query is None or query.admits(row)
            newest = row["ended_at"] is not None or row["id"] not in found or found[row["id"]].ended_at is None
            if fits and newest and (before is None or row["id"] < before):
                found[row["id"]] = record_of(row)
        return [found[call_id] for call_id in sorted(found, reverse=True)[:limit]]

    async def close(self) -> None:
        """Write what is queued, spool what cannot be written, and close the database."""
        self._closing.set()
        self._wake.set()
        if self._writer is not None:
            _, running = await asyncio.wait([self._writer], timeout=CLOSE_WITHIN_S)
            for task in running:
                task.cancel()
                await asyncio.wait([task])
        await self._relieve(limit=0)
        if self._reader is not None:
            await self._reader.close()
        await self._give_up()

    async def _give_up(self) -> None:
        await self._engine.dispose()
        self._spool.unlock()

    @property
    def health(self) -> RecordsHealth:
        """How the writing goes; a database that does not answer is as bad as one that refuses."""
        reason, since = self._trouble, self._writing_since
        if reason is None and since is not None and time.monotonic() - since > SILENT_AFTER_S:
            reason = "the database does not answer"
        return RecordsHealth(reason is None, len(self._pending), reason, self._written)

    @property
    def _open_reader(self) -> RecordReader:
        if self._reader is None:
            raise RecordsError("the call records are not open")
        return self._reader

    def _make_directories(self) -> None:
        self._state_dir.mkdir(parents=True, exist_ok=True)
        url = make_url(self._url)
        if url.get_backend_name() == "sqlite" and url.database:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)

    async def _close_unfinished(self) -> None:
        """Calls that were up when this gateway died: when they ended is not known."""
        unfinished = (calls.c.gateway == self._gateway) & calls.c.ended_at.is_(None) & calls.c.end_reason.is_(None)
        verdict = {"ended_by": "gateway", "end_reason": STOPPED_UNEXPECTEDLY}
        async with self._engine.begin() as connection:
            await connection.execute(update(calls).where(unfinished).values(verdict))

    async def _write_behind(self) -> None:
        """The one task that writes: as long as there is work, a batch after the other, slower while it fails."""
        delay = RETRY_FIRST_S
        while self._pending or self._spooled or not self._closing.is_set():
            self._wake.clear()
            try:
                await self._look_after_file()
                await self._write_batch()
                if self._spooled and not self._pending:
                    await self._replay()
            except Exception as error:  # top frame: whatever a driver raises, the rows wait
                await self._note_failure(error)
                if self._closing.is_set():
                    return
                await _either(self._closing, delay)
                delay = min(delay * 2, RETRY_MOST_S)
                continue
            if self._trouble is not None:
                log.info("call records are written again", queued=len(self._pending))
            self._trouble = None
            delay = RETRY_FIRST_S
            if not self._pending and not self._closing.is_set():
                await _either(self._wake, LOOK_EVERY_S)
        with contextlib.suppress(*DATABASE_ERRORS):
            await self._look_after_file()

    async def _look_after_file(self) -> None:
        """What was removed below us is written anew; what was put in its place is used."""
        amiss = self._file.amiss
        if amiss is None:
            return
        if self._trouble is None:
            log.error("the database of call records is gone", reason=amiss)
        saved = await self._file.save(self._engine)
        await self._engine.dispose()
        if self._reader is not None:
            await self._reader.close()
        async with self._engine.begin() as connection:
            await connection.run_sync(_migrate)
        self._file.opened()
        log.warning("the database of call records is back", saved=saved)

    async def _write_batch(self) -> None:
        rows = list(islice(self._pending.values(), self._batch))
        if not rows:
            return
        await self._upsert(rows)
        self._batch = min(self._batch * 2, BATCH)
        for row in rows:
            if self._pending.get(row["id"]) is row:
                del self._pending[row["id"]]

    async def _note_failure(self, error: Exception) -> None:
        """Try the rows one by one from now on, the next first, so that none holds up the others."""
        if self._trouble is None:
            log.error("call records cannot be written", reason=reason_of(error), queued=len(self._pending))
        self._trouble = reason_of(error)
        self._batch = 1
        if self._pending:
            first = next(iter(self._pending))
            self._pending[first] = self._pending.pop(first)
        await self._relieve(limit=MEMORY_LIMIT)

    async def _upsert(self, rows: "builtins.list[dict[str, Any]]") -> None:
        self._writing_since = time.monotonic()
        try:
            async with asyncio.timeout(WRITE_WITHIN_S), self._engine.begin() as connection:
                await connection.execute(upsert(connection.dialect.name), rows)
        except TimeoutError:
            raise TimeoutError("the database does not answer") from None
        finally:
            self._writing_since = None
        amiss = self._file.amiss
        if amiss is not None:
            raise FileNotFoundError(amiss)
        self._written += len(rows)

    async def _relieve(self, limit: int) -> None:
        """Move what waits to the spool when it is more than `limit` rows."""
        if len(self._pending) <= limit:
            return
        rows = list(self._pending.values())
        try:
            await asyncio.to_thread(self._spool.append, rows)
        except OSError as error:
            log.error("call records cannot be spooled", path=str(self._spool.path), reason=reason_of(error))
            if self._closing.is_set():
                log.critical("call records are lost", records=rows)
            return
        self._spooled = True
        for row in rows:
            if self._pending.get(row["id"]) is row:
                del self._pending[row["id"]]

    async def _replay(self) -> None:
        """Bring what was spooled into the database, also by an earlier process."""
        while self._spool.take():
            for rows, unreadable in self._spool.batches(BATCH):
                for line in unreadable:
                    log.error("a spooled call record cannot be read", line=line.decode(errors="replace"))
                if rows:
                    await self._upsert([completed(row) for row in rows])
            self._spool.done()
        self._spooled = False


async def _either(event: asyncio.Event, timeout_s: float) -> None:
    """Wait for the event, at most so long."""
    try:
        await asyncio.wait_for(event.wait(), timeout_s)
    except TimeoutError:
        return


def _migrate(connection: Connection) -> None:
    """Bring the tables to this release's form."""
    config = alembic.config.Config()
    config.set_main_option("script_location", str(Path(migrations.__path__[0])).replace("%", "%%"))
    config.attributes["connection"] = connection
    alembic.command.upgrade(config, "head")
