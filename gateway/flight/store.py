"""The directory of kept calls: within its size and age, the oldest go first."""

import contextlib
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from ..config import Config
from ..errors import FlightError
from .file import SUFFIX, Flight, packed, read, write

_CALL_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


PRUNE_S = 3600.0
"""At least so often what is too old is looked for."""
_BLOCK = 4096
_MEGABYTE = 1 << 20
_DAY_S = 86400.0


def flight_store(config: Config) -> "FlightStore":
    """As it is configured: below the state directory."""
    flight = config.flight
    return FlightStore(config.gateway.flight_dir, flight.max_mb * _MEGABYTE, flight.max_days * _DAY_S)


class FlightStore:
    """Every method waits for the disk: on a thread, or in a command of its own."""

    def __init__(
        self, directory: Path, max_octets: int, max_age_s: float, clock: Callable[[], float] = time.time
    ) -> None:
        """`clock` gives Unix time."""
        self.directory = directory
        self._max_octets = max_octets
        self._max_age_s = max_age_s
        self._clock = clock
        self._octets = 0
        self._pruned_at = float("-inf")

    def path(self, call_id: str) -> Path:
        """Where a call is kept, if it is. Raises FlightError for what is no identifier of a call."""
        if not _CALL_ID.fullmatch(call_id):
            raise FlightError(f"{call_id!r} is not the identifier of a call")
        return self.directory / f"{call_id}{SUFFIX}"

    def read(self, call_id: str) -> Flight | None:
        """None when it is not kept. Raises FlightError when it is, and cannot be read."""
        path = self.path(call_id)
        return read(path) if path.exists() else None

    def open(self) -> None:
        """Make the directory, and tidy up what an earlier run left. Raises OSError."""
        self._make()
        for path in self.directory.glob("*.tmp"):
            with contextlib.suppress(OSError):
                path.unlink()
        self.prune()

    def _make(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    def keep(self, flight: Flight) -> None:
        """Write one call, and make room when it is time to. Raises OSError when it cannot be written."""
        path = self.path(flight.header.call_id)
        data = packed(flight)
        try:
            write(path, data)
        except FileNotFoundError:
            # it could not be made at the start, or somebody has removed it
            self._make()
            write(path, data)
        self._octets += _on_disk(len(data))
        if self._octets > self._max_octets or not 0 <= self._clock() - self._pruned_at < PRUNE_S:
            self.prune(path)

    def prune(self, newest: Path | None = None) -> None:
        """Remove what is too old and, when all together are too large, the oldest until a tenth of the room is free:
        the directory is not read again for each call. What cannot be removed stays, and so does the newest, whatever a
        clock that was set has made of its age."""
        self._pruned_at = self._clock()
        files = self._files()
        total = sum(size for _, _, size, _ in files)
        room = self._max_octets if total <= self._max_octets else self._max_octets * 9 // 10
        oldest = self._pruned_at - self._max_age_s
        for modified, _, size, path in files:
            if modified >= oldest and total <= room:
                break
            if path != newest:
                with contextlib.suppress(OSError):
                    path.unlink()
                    total -= size
        self._octets = total

    def _files(self) -> list[tuple[float, str, int, Path]]:
        """The oldest first: modification time, name, octets, path."""
        files: list[tuple[float, str, int, Path]] = []
        with contextlib.suppress(OSError), os.scandir(self.directory) as entries:
            for entry in entries:
                if not entry.name.endswith(SUFFIX):
                    continue
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    files.append((status.st_mtime, entry.name, _on_disk(status.st_size), Path(entry.path)))
        return sorted(files)


def _on_disk(octets: int) -> int:
    """What a file of so many octets takes."""
    return -(-octets // _BLOCK) * _BLOCK
