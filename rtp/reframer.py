"""Packets of 10, 30, 40 or 60 ms cut and joined to frames of one size."""

from collections.abc import Sequence


class Reframer:
    """Octets in, whole frames of `frame_octets` out; never drops, adds or reorders an octet.

    An aligned packet of one frame passes as the very object that came.
    """

    __slots__ = ("_frame_octets", "_rest")

    def __init__(self, frame_octets: int) -> None:
        self._frame_octets = frame_octets
        self._rest = b""

    def push(self, octets: bytes) -> Sequence[bytes]:
        """The frames that `octets` completes."""
        size = self._frame_octets
        if not self._rest:
            if len(octets) == size:
                return (octets,)
        else:
            octets = self._rest + octets
        whole = len(octets) - len(octets) % size
        self._rest = octets[whole:]
        return [octets[start : start + size] for start in range(0, whole, size)]

    @property
    def pending(self) -> int:
        """Octets that wait for the rest of their frame."""
        return len(self._rest)

    def flush(self) -> bytes:
        """The odd tail, at the end of the call; shorter than a frame."""
        rest, self._rest = self._rest, b""
        return rest
