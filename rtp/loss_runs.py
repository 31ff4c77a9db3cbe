"""Runs, bursts and gaps of loss: BurstR (G.107) and the burst metrics of RFC 3611 §4.7.2."""

GMIN = 16


class LossRuns:
    """Fed with every expected packet in sequence order, received or not (lost and discarded weigh the same)."""

    __slots__ = ()

    def __init__(self, gmin: int = GMIN) -> None:
        raise NotImplementedError

    expected: int
    lost_packets: int
    runs: int
    """Runs of consecutive lost packets."""
    burst_r: float

    def received(self, n: int = 1) -> None:
        """The next `n` expected packets were there."""

    def lost(self, n: int = 1) -> None:
        """The next `n` expected packets were lost or discarded."""
