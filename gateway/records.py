"""Call records: one row a call, in SQLite by default, PostgreSQL by its URL."""

from pathlib import Path

import msgspec

from .record import CallRecord


class RecordsHealth(msgspec.Struct, frozen=True):
    """Whether records reach the database, and how many wait."""

    writable: bool
    queued: int
    reason: str | None = None


class RecordStore:
    """The table of calls. `write` never waits: one task writes behind it, retries, and spools what cannot be written.

    store = RecordStore(config.records_url, state_dir=config.gateway.state_dir, gateway=config.gateway.name)
    await store.start()          # directory, migrations, spool replayed, rows of a crash closed
    store.write(record)          # at INVITE, and again at the end: the row is replaced
    await store.close()          # flushes, spools the rest
    """

    def __init__(self, url: str, *, state_dir: Path, gateway: str = "trunkline") -> None:
        raise NotImplementedError

    async def start(self) -> None:
        """Open and migrate. Raises RecordsError when the database cannot be opened."""
        raise NotImplementedError

    def write(self, record: CallRecord) -> None:
        """Queue one record as it stands now; an ended record is never replaced by one that has not ended."""
        raise NotImplementedError

    async def get(self, call_id: str) -> CallRecord | None:
        """One record."""
        raise NotImplementedError

    async def list(
        self, limit: int = 50, before: str | None = None, *, trunk: str | None = None, agent: str | None = None
    ) -> "list[CallRecord]":
        """The newest records first, `limit` at most, older than the identifier `before`."""
        raise NotImplementedError

    async def close(self) -> None:
        """Write what is queued, spool what cannot be written, and close the database."""
        raise NotImplementedError

    @property
    def health(self) -> RecordsHealth:
        """How the writing goes."""
        raise NotImplementedError
