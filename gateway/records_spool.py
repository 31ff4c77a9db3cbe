"""The spool: rows that the database did not take, as JSON lines under the state directory, until it does."""

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from .durable import append_durably


class Spool:
    """`records.spool.jsonl`. A row that was acknowledged is on disk (fsync); a failed append leaves no half line."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "records.spool.jsonl"
        self._taken = directory / "records.spool.replay.jsonl"
        self._lock_path = directory / "records.lock"
        self._lock: int | None = None

    def lock(self) -> None:
        """Claim the directory for this process until `unlock` or its end. Raises OSError, BlockingIOError when it is
        another's."""
        descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
        self._lock = descriptor

    def unlock(self) -> None:
        """Give the directory back; idempotent."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def append(self, rows: list[dict[str, Any]]) -> None:
        """Add rows. Raises OSError, and then none of them is in the file."""
        append_durably(self.path, b"".join(orjson.dumps(row) + b"\n" for row in rows))

    def take(self) -> bool:
        """Set what is spooled apart for replay; False when there is nothing. An unfinished replay comes first."""
        if not self._taken.exists() and self.path.exists():
            self.path.rename(self._taken)
        return self._taken.exists()

    def batches(self, size: int) -> Iterator[tuple[list[dict[str, Any]], list[bytes]]]:
        """The rows set apart, and beside them the lines that cannot be read."""
        rows: list[dict[str, Any]] = []
        unreadable: list[bytes] = []
        with self._taken.open("rb") as file:
            for line in file:
                try:
                    row = orjson.loads(line)
                    rows.append(dict(row))
                except ValueError:
                    unreadable.append(line)
                if len(rows) >= size:
                    yield rows, unreadable
                    rows, unreadable = [], []
        yield rows, unreadable

    def done(self) -> None:
        """Forget what was set apart: the database has it."""
        self._taken.unlink()
