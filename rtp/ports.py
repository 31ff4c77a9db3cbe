"""Even/odd pairs of UDP ports for RTP and RTCP (RFC 3550 §11)."""


class PortRange:
    """Pairs out of `first`..`last` inclusive, shared by all calls of a worker.

    Pairs are handed out in rotation; a released pair rests `cooldown_s` so that a new call cannot inherit a dead call's packets."""

    def __init__(self, first: int, last: int, *, cooldown_s: float = 5.0) -> None:
        """Raises LocalError when the range holds no pair."""

    @property
    def free(self) -> int:
        """Pairs not in use (resting ones included)."""
        raise NotImplementedError

    def acquire(self, now: float) -> int:
        """The even port of the next pair. Raises PortsExhausted."""
        raise NotImplementedError

    def release(self, port: int, now: float) -> None:
        """Give a pair back."""
        raise NotImplementedError

    def refuse(self, port: int, now: float) -> None:
        """The pair could not be bound (another program has it): set it aside for a while."""
        raise NotImplementedError
