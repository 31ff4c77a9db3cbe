"""Whether media that is due really comes: the dead-direction alarm, and the packets that it stands for."""

from typing import Final

DEAD_AFTER_S: Final = 1.85
"""Without media for so long, the direction is dead: told within 2 s, asked ten times a second."""
DEAD_AFTER_NOISE_S: Final = 20.0
"""The same after comfort noise: the caller said that it would be silent."""


class DirectionWatch:
    """Raises the alarm once for each death, and ends it once. Asked about ten times a second."""

    __slots__ = ("_dead_at", "_silent_since", "_since")

    def __init__(self) -> None:
        self._since: float | None = None
        self._dead_at: float | None = None
        self._silent_since = 0.0

    def expect(self, now: float) -> None:
        """Media is due from now on; a wait that runs already goes on."""
        if self._since is None:
            self._since = now

    def renew(self, now: float) -> None:
        """What is due changed (codec): the wait begins anew."""
        if self._since is not None:
            self._since = now

    def rest(self) -> None:
        """No media is due (hold)."""
        self._since = self._dead_at = None

    def died(self, heard_at: float, noise: bool, now: float) -> float | None:
        """How long it has been silent, if that is too long and was not said yet. `noise`: silence was announced."""
        if self._since is None or self._dead_at is not None:
            return None
        since = max(heard_at, self._since)
        if now - since < (DEAD_AFTER_NOISE_S if noise else DEAD_AFTER_S):
            return None
        self._dead_at = now
        self._silent_since = since
        return now - since

    def revived(self, heard_at: float) -> float | None:
        """How long it had been silent, if media has come since the alarm."""
        if self._dead_at is None or heard_at < self._dead_at:
            return None
        self._dead_at = None
        return heard_at - self._silent_since


class Absence:
    """Packets that a dead direction should have brought, at the pace of its last ones.

    When media comes again its numbering may tell of the same packets as lost: those count once. `missing` is what the
    numbering tells (expected - received) of the whole call.
    """

    __slots__ = ("_before", "_due", "_missing", "_packet_s", "_since")

    def __init__(self) -> None:
        self._before = 0
        self._due = 0
        self._since: float | None = None
        self._packet_s = 0.0
        self._missing = 0

    def begin(self, since: float, packet_s: float, missing: int) -> None:
        """The direction was found dead; it has been so from `since` on. Packets of `packet_s` seconds were due."""
        self._since = since
        self._packet_s = packet_s
        self._missing = missing

    def extend(self, until: float) -> None:
        """It still is, or was until then."""
        if self._since is not None:
            self._due = max(self._due, int((until - self._since) / self._packet_s))

    def end(self, until: float, missing: int) -> None:
        """It no longer is, or nothing is due any more; without effect when it was not."""
        self.extend(until)
        self._before = self.packets(missing)
        self._since = None
        self._due = 0

    def packets(self, missing: int) -> int:
        """All of them so far that the numbering does not tell of."""
        return self._before + max(0, self._due - max(0, missing - self._missing))
