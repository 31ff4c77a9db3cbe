"""The journal of alerts: what is to be told is on disk before it is told.

`put` changes what is kept at once and never waits; one task writes behind it, with fsync in a thread. `stored` waits
for the disk, but not for long: while nothing can be written, alerts are told all the same. Entries wait in bounded
memory then; beyond MEMORY_LIMIT the whole journal is written anew instead.
"""

import asyncio
import time
from pathlib import Path

import msgspec
import structlog

from .journal_file import Entry, JournalFile, Kept, line_of

MEMORY_LIMIT = 1000
"""Entries that wait for the disk."""
COMPACT_FROM = 1024 * 1024
"""Octets from which the file is written anew, once it has doubled since the last time."""
STORE_WITHIN_S = 2.0
"""Longest that a delivery waits for the disk."""
RETRY_FIRST_S, RETRY_MOST_S = 0.5, 10.0
CLOSE_WITHIN_S = 2.0

log = structlog.get_logger(__name__)


class JournalHealth(msgspec.Struct, frozen=True):
    """Whether alerts reach the disk."""

    writable: bool
    waiting: int
    """Entries that wait in memory."""
    reason: str | None = None


class Journal:
    """journal = Journal(state_dir); await journal.open(); journal.put(entry); await journal.stored(); await close()."""

    def __init__(self, directory: Path) -> None:
        self.kept = Kept()
        """Everything that was put, whether or not it is on disk yet."""
        self._directory = directory
        self._file = JournalFile(directory)
        self._waiting: list[bytes] = []
        self._put = 0
        """How many entries were put."""
        self._stored = 0
        """How many of them are on disk."""
        self._rewrite = False
        """The next writing is of everything."""
        self._compact_at = COMPACT_FROM
        self._trouble: str | None = None
        self._writing_since: float | None = None
        self._watchers: list[tuple[int, asyncio.Future[bool]]] = []
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Journal stored={self._stored} of {self._put} trouble={self._trouble}>"

    @property
    def health(self) -> JournalHealth:
        """How the writing goes; a disk that does not answer is as bad as a full one."""
        reason = self._trouble
        if reason is None and self._writing_since is not None:
            stuck = time.monotonic() - self._writing_since > STORE_WITHIN_S
            reason = "the disk does not answer" if stuck else None
        return JournalHealth(reason is None, len(self._waiting), reason)

    async def open(self) -> Kept:
        """Read what is stored and begin to write. A journal that cannot be read is no reason not to start: it is
        logged, and what follows is kept as far as it can be."""
        try:
            await asyncio.to_thread(self._directory.mkdir, parents=True, exist_ok=True)
            self.kept, unreadable = await asyncio.to_thread(self._file.read)
            if unreadable:
                log.error(
                    "entries of the alert journal cannot be read", count=len(unreadable), aside=str(self._file.aside)
                )
                await asyncio.to_thread(self._file.keep_aside, unreadable)
            await asyncio.to_thread(self._file.replace, self.kept.snapshot())
        except OSError as error:
            self._fail(error)
        self._writer = asyncio.create_task(self._write_behind(), name="alert journal")
        return self.kept

    def put(self, *entries: Entry) -> None:
        """Keep entries, in this order; on disk soon."""
        for entry in entries:
            self.kept.apply(entry)
        self._put += len(entries)
        if not self._rewrite:
            self._wait([line_of(entry) for entry in entries])
        self._wake.set()

    def _wait(self, lines: list[bytes]) -> None:
        """For the disk, after those that wait already."""
        self._waiting = [*self._waiting, *lines]
        if len(self._waiting) > MEMORY_LIMIT:
            self._rewrite, self._waiting = True, []

    async def stored(self, within_s: float = STORE_WITHIN_S) -> bool:
        """Wait until all that was put is on disk; False when that fails, or takes too long."""
        if self._stored >= self._put:
            return True
        if self._trouble is not None:
            return False
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._watchers.append((self._put, future))
        try:
            async with asyncio.timeout(within_s):
                return await future
        except TimeoutError:
            return False

    async def close(self) -> None:
        """Write what waits, and stop; idempotent."""
        self._closing.set()
        self._wake.set()
        writer, self._writer = self._writer, None
        if writer is None:
            return
        _, running = await asyncio.wait([writer], timeout=CLOSE_WITHIN_S)
        for task in running:
            task.cancel()
            await asyncio.wait([task])
        if self._stored < self._put:
            log.critical("alerts are not stored", entries=self._put - self._stored, reason=self._trouble)

    async def _write_behind(self) -> None:
        """The one task that writes: as long as there is work, slower while it fails."""
        delay = RETRY_FIRST_S
        while True:
            self._wake.clear()
            if self._stored >= self._put:
                if self._closing.is_set():
                    return
                await self._wake.wait()
                continue
            try:
                await self._write()
            except Exception as error:  # top frame: whatever a disk does, alerts are told and wait
                self._fail(error)
                if self._closing.is_set():
                    return
                await _either(self._closing, delay)
                delay = min(delay * 2, RETRY_MOST_S)
                continue
            delay = RETRY_FIRST_S
            if self._trouble is not None:
                log.info("alerts are stored again")
            self._trouble = None

    async def _write(self) -> None:
        """One batch, or everything. When it raises, all of it waits on."""
        if not await asyncio.to_thread(self._file.intact):
            log.error("the alert journal was removed or changed, it is written anew", path=str(self._file.path))
            self._rewrite = True
        upto, lines = self._put, self._waiting
        rewrite, self._rewrite, self._waiting = self._rewrite, False, []
        self._writing_since = time.monotonic()
        try:
            if rewrite:
                size = await asyncio.to_thread(self._file.replace, self.kept.snapshot())
            else:
                size = await asyncio.to_thread(self._file.append, b"".join(lines))
        except BaseException:
            self._rewrite = self._rewrite or rewrite
            later, self._waiting = self._waiting, []
            if not self._rewrite:
                self._wait(lines + later)
            raise
        finally:
            self._writing_since = None
        self._stored = upto
        self._tell(True)
        if rewrite:
            self._compact_at = max(COMPACT_FROM, 2 * size)
        elif size >= self._compact_at:
            await self._compact(size)

    async def _compact(self, size: int) -> None:
        """Write only what still counts. What is put meanwhile is in the snapshot or appended after it."""
        waiting, upto, self._waiting = self._waiting, self._put, []
        try:
            size = await asyncio.to_thread(self._file.replace, self.kept.snapshot())
        except OSError as error:
            self._waiting = waiting + self._waiting
            log.warning("the alert journal cannot be compacted", reason=error.strerror)
        else:
            self._stored = upto
        self._compact_at = max(COMPACT_FROM, 2 * size)

    def _fail(self, error: Exception) -> None:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        if self._trouble is None:
            log.error("alerts cannot be stored", path=str(self._file.path), reason=reason)
        self._trouble = reason
        self._tell(False)

    def _tell(self, stored: bool) -> None:
        """Those who wait: that it is on disk, or that it will not be soon."""
        waiting, self._watchers = self._watchers, []
        for upto, future in waiting:
            if stored and upto > self._stored:
                self._watchers.append((upto, future))
            elif not future.done():
                future.set_result(stored)


async def _either(event: asyncio.Event, timeout_s: float) -> None:
    """Wait for the event, at most so long."""
    try:
        await asyncio.wait_for(event.wait(), timeout_s)
    except TimeoutError:
        return
