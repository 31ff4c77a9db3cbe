"""Reading fields of JSON that may be anything, and small bounded memories."""

from collections.abc import Iterable
from typing import Any

Message = dict[str, Any]


def text(message: Message, key: str) -> str:
    """The string under `key`, else an empty one."""
    value = message.get(key)
    return value if isinstance(value, str) else ""


def table(message: Message, key: str) -> Message:
    """The object under `key`, else an empty one."""
    value = message.get(key)
    return value if isinstance(value, dict) else {}


def tables(message: Message, key: str) -> Iterable[Message]:
    """The objects in the array under `key`."""
    value = message.get(key)
    return (entry for entry in value if isinstance(entry, dict)) if isinstance(value, list) else ()


class Recent(dict[str, Any]):
    """A mapping that keeps the newest `limit` of what it was told to remember."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def remember(self, key: str, value: Any = None) -> None:
        """Add an entry, and forget the oldest beyond the limit."""
        self[key] = value
        if len(self) > self._limit:
            del self[next(iter(self))]
