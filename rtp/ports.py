"""Even/odd pairs of UDP ports for RTP and RTCP (RFC 3550 §11)."""

from collections import deque
from random import Random

from .errors import LocalError, PortsExhausted


class PortRange:
    """Pairs out of `first`..`last` inclusive, shared by all calls of a worker.

    Pairs are handed out in rotation; a released pair rests `cooldown_s`, so that a new call does not inherit the
    packets of a dead one. With `random` the rotation begins anywhere: the far ends of a process that was killed go on
    sending to the ports that it had.
    """

    def __init__(self, first: int, last: int, *, cooldown_s: float = 5.0, random: Random | None = None) -> None:
        """Raises LocalError when the range holds no pair."""
        if not 0 < first <= last < 65536:
            raise LocalError(f"RTP port range {first}-{last} is not a range of UDP ports")
        self._waiting = deque((port, 0.0) for port in range(first + first % 2, last, 2))
        if not self._waiting:
            raise LocalError(f"RTP port range {first}-{last} holds no even/odd pair")
        if random is not None:
            self._waiting.rotate(random.randrange(len(self._waiting)))
        self._range = f"{first}-{last}"
        self._cooldown_s = cooldown_s
        self._taken: set[int] = set()

    @property
    def free(self) -> int:
        """Pairs not in use (resting ones included)."""
        return len(self._waiting)

    def acquire(self, now: float) -> int:
        """The even port of the pair that has been free the longest. Raises PortsExhausted."""
        if not self._waiting or self._waiting[0][1] > now:
            raise PortsExhausted(
                f"no free RTP port pair in {self._range}: {len(self._taken)} in use, {len(self._waiting)} resting"
            )
        port, _ = self._waiting.popleft()
        self._taken.add(port)
        return port

    def release(self, port: int, now: float) -> None:
        """Give a pair back, or set it aside when it could not be bound; it rests first."""
        if port in self._taken:
            self._taken.remove(port)
            self._waiting.append((port, now + self._cooldown_s))
