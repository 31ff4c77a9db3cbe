"""Files that must survive a crash: what was acknowledged is on disk. Blocking: call it in a thread."""

import io
import os
from pathlib import Path


def append_durably(path: Path, data: bytes) -> int:
    """Add to a file, made when it is missing; its size then. Raises OSError, and then nothing was added."""
    with path.open("ab", buffering=0) as file:  # a buffer would be written again when the file is closed
        size = file.tell()
        try:
            _write_all(file, data)
        except OSError:
            os.truncate(path, size)
            raise
    return size + len(data)


def replace_durably(path: Path, data: bytes) -> int:
    """Put a whole file in the place of another, or none; its size. Raises OSError, and then the old one is untouched.
    A crash leaves one of the two, never a mixture."""
    new = path.with_name(f"{path.name}.new")
    try:
        with new.open("wb", buffering=0) as file:
            _write_all(file, data)
        new.replace(path)
        _sync_directory(path.parent)
    except OSError:
        new.unlink(missing_ok=True)
        raise
    return len(data)


def _write_all(file: io.FileIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
    os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
