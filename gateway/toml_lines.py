"""On which line of a TOML file each key stands; the standard library's parser does not say."""

import tomllib
from collections.abc import Iterator
from typing import Any

Location = tuple[int | str, ...]
"""Keys and list indices from the top of the file to a value."""


class Lines:
    """Where each key of a TOML file stands. Built only when there is something to complain about."""

    def __init__(self, text: str) -> None:
        self._lines: dict[Location, int] = {}
        self._arrays: dict[Location, int] = {}
        table: Location = ()
        for line, statement in _statements(text):
            path, is_array = _path_of(statement)
            if statement.lstrip().startswith("["):
                table = self._place(path)
                if is_array:
                    index = self._arrays.get(table, -1) + 1
                    self._arrays[table] = index
                    table = (*table, index)
                self._note(table, line)
            else:
                self._note((*table, *path), line)

    def _place(self, path: Location) -> Location:
        """`path` with the index of each array of tables that it runs through."""
        placed: Location = ()
        for depth, key in enumerate(path):
            placed = (*placed, key)
            if placed in self._arrays and depth < len(path) - 1:
                placed = (*placed, self._arrays[placed])
        return placed

    def _note(self, location: Location, line: int) -> None:
        for depth in range(1, len(location) + 1):
            self._lines.setdefault(location[:depth], line)

    def of(self, location: Location) -> int | None:
        """The line of this key, or of the closest table above it that is written in the file."""
        for depth in range(len(location), 0, -1):
            if location[:depth] in self._lines:
                return self._lines[location[:depth]]
        return None


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Each header and each key with its value, whole even when it runs over several lines, with its first line."""
    gathered = ""
    start = 0
    for number, line in enumerate(text.splitlines(), 1):
        if not gathered and (not line.strip() or line.lstrip().startswith("#")):
            continue
        start = start if gathered else number
        gathered += line + "\n"
        if _is_toml(gathered):
            yield start, gathered
            gathered = ""


def _is_toml(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _path_of(statement: str) -> tuple[Location, bool]:
    """The key path of one statement, and whether it is a `[[header]]`."""
    path: Location = ()
    value: Any = tomllib.loads(statement)
    is_header = statement.lstrip().startswith("[")
    is_array = statement.lstrip().startswith("[[")
    depth = statement.split("=", 1)[0].count(".") + 1 if not is_header else None
    while isinstance(value, dict) and value and (depth is None or len(path) < depth):
        key = next(iter(value))
        path = (*path, key)
        value = value[key]
        if isinstance(value, list):
            break
    return path, is_array
