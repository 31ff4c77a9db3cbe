"""The journal's file: entries as JSON lines, and what they come to. Blocking; the journal calls it in a thread."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from ..durable import append_durably, replace_durably
from .alert import Alert
from .channels.base import Delivery
from .ladder import Climb

HISTORY = 500
"""Resolved alerts that are kept."""
ASIDE_LIMIT = 1024 * 1024
"""Octets of unreadable lines that are kept aside."""


class Entry(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One line: one of these. What a newer release has written besides is passed over."""

    alert: Alert | None = None
    """As it stands now."""
    delivery: Delivery | None = None
    """It is to be made."""
    climb: Climb | None = None
    """Where the ladder stands."""
    settled: str | None = None
    """The delivery of this identifier is made, or will never be."""


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Entry)


def line_of(entry: Entry) -> bytes:
    """One line with its end."""
    return _ENCODER.encode(entry) + b"\n"


@dataclass
class Kept:
    """What all entries come to."""

    alerts: dict[str, Alert] = field(default_factory=dict)
    """Every open alert and the last HISTORY resolved ones, in the order in which they came."""
    climbs: dict[str, Climb] = field(default_factory=dict)
    """By the alert's identifier."""
    deliveries: dict[str, Delivery] = field(default_factory=dict)
    """Those that are not settled, in the order in which they were decided."""

    def apply(self, entry: Entry) -> None:
        """One entry more."""
        if entry.alert is not None:
            self.alerts[entry.alert.id] = entry.alert
            self._forget_old()
        if entry.delivery is not None:
            self.deliveries[entry.delivery.id] = entry.delivery
        if entry.climb is not None and entry.climb.phase == "forgotten":
            self.climbs.pop(entry.climb.alert_id, None)
        elif entry.climb is not None:
            self.climbs[entry.climb.alert_id] = entry.climb
        if entry.settled is not None:
            self.deliveries.pop(entry.settled, None)

    def _forget_old(self) -> None:
        if len(self.alerts) <= HISTORY:
            return
        resolved = [alert_id for alert_id, alert in self.alerts.items() if alert.state == "resolved"]
        for alert_id in resolved[: max(0, len(resolved) - HISTORY)]:
            del self.alerts[alert_id]

    def entries(self) -> Iterable[Entry]:
        """The fewest entries that come to the same; an alert before what is about it."""
        yield from (Entry(alert=alert) for alert in self.alerts.values())
        yield from (Entry(delivery=delivery) for delivery in self.deliveries.values())
        yield from (Entry(climb=climb) for climb in self.climbs.values())

    def snapshot(self) -> bytes:
        """All of it, as lines."""
        return b"".join(line_of(entry) for entry in self.entries())


class JournalFile:
    """`alerts.journal.jsonl` under the state directory."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "alerts.journal.jsonl"
        self.aside = directory / "alerts.unreadable.jsonl"
        self._torn = False
        self._size: int | None = None
        """Octets that are there by what was read and written; None before that."""

    def intact(self) -> bool:
        """False when somebody removed the file or changed it: what it had must be written again. Raises OSError."""
        try:
            return self._size is None or self.path.stat().st_size == self._size
        except FileNotFoundError:
            return False

    def read(self) -> tuple[Kept, list[bytes]]:
        """What is stored, and the lines that cannot be read; a last line that was torn by a crash is none of them.
        Raises OSError."""
        kept, unreadable = Kept(), []
        if not self.path.exists():
            return kept, unreadable
        with self.path.open("rb") as file:
            for line in file:
                self._torn = not line.endswith(b"\n")
                try:
                    kept.apply(_DECODER.decode(line))
                except (msgspec.DecodeError, UnicodeDecodeError):
                    if not self._torn:
                        unreadable.append(line)
        return kept, unreadable

    def append(self, data: bytes) -> int:
        """Add lines; the file's size. Raises OSError, and then none of them is in the file."""
        # never on the end of half a line
        self._size = append_durably(self.path, b"\n" + data if self._torn else data)
        self._torn = False
        return self._size

    def replace(self, data: bytes) -> int:
        """Put these lines in the place of all others; the file's size. Raises OSError, and then nothing changed."""
        self._size = replace_durably(self.path, data)
        self._torn = False
        return self._size

    def keep_aside(self, lines: list[bytes]) -> None:
        """For somebody to look at, as far as ASIDE_LIMIT goes. Raises OSError."""
        size = self.aside.stat().st_size if self.aside.exists() else 0
        fitting = b"".join(lines)[: max(0, ASIDE_LIMIT - size)]
        if fitting:
            append_durably(self.aside, fitting)
