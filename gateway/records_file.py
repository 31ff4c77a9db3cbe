"""The file of an SQLite database: whether it still is the one that is open, and how to get it back when it is not.

SQLite in WAL mode writes on into a file that was deleted or replaced, and reports success.
"""

import asyncio
from pathlib import Path

from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine


class DatabaseFile:
    """Of an SQLite URL; of any other, or of a database in memory, nothing is ever amiss."""

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        sqlite = parsed.get_backend_name() == "sqlite"
        named = parsed.database not in (None, "", ":memory:")
        self.path = Path(parsed.database or "") if sqlite and named else None
        """None when there is no file."""
        self._opened: tuple[int, int] | None = None

    def opened(self) -> None:
        """Remember which file it is. Raises OSError when there is none."""
        self._opened = None if self.path is None else _identity(self.path)

    @property
    def amiss(self) -> str | None:
        """Why what is written now is not in the file of this name; None while it is."""
        if self.path is None or self._opened is None:
            return None
        try:
            same = _identity(self.path) == self._opened
        except FileNotFoundError:
            return f"{self.path} was removed"
        except OSError as error:
            return f"{self.path}: {error.strerror}"
        return None if same else f"{self.path} was replaced"

    async def save(self, engine: AsyncEngine) -> bool:
        """Write a removed database anew, from the connection of `engine` that still has it; False when there is a file
        of that name again. Raises OSError or what the driver raises."""
        path = self.path
        if path is None or path.exists():
            return False
        copy = path.with_name(f"{path.name}.saved")
        copy.unlink(missing_ok=True)
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            await connection.execute(text("VACUUM INTO :copy"), {"copy": str(copy)})
        await asyncio.to_thread(_put, copy, path)
        return True


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _put(copy: Path, path: Path) -> None:
    """The log of the removed database would be replayed into the new file."""
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    copy.replace(path)
