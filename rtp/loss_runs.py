"""Runs, bursts and gaps of loss: BurstR (G.107) and the burst metrics of RFC 3611 §4.7.2.

The counters of RFC 3611 §A.2 take the first isolated loss for a burst, leave out what follows the last loss, and
divide by nothing when every packet is lost. Here the stream is cut by the definition itself: a burst begins and ends
with a lost packet, holds at least two, and never `gmin` received packets in a row; all else is gap.
"""

from dataclasses import dataclass

GMIN = 16
"""The value that RFC 3611 §4.7.2 recommends."""


@dataclass(frozen=True, slots=True)
class BurstMetrics:
    """A stream cut into bursts and gaps, in packets."""

    bursts: int
    burst_packets: int
    """Packets within bursts, lost or not."""
    burst_lost: int
    gaps: int
    gap_packets: int
    """Packets outside of bursts, lost or not."""
    gap_lost: int

    @property
    def burst_density(self) -> float:
        """Part of the packets within bursts that were lost, 0 to 1."""
        return self.burst_lost / self.burst_packets if self.burst_packets else 0.0

    @property
    def gap_density(self) -> float:
        """Part of the packets within gaps that were lost, 0 to 1."""
        return self.gap_lost / self.gap_packets if self.gap_packets else 0.0

    @property
    def mean_burst(self) -> float:
        """Mean length of a burst, packets."""
        return self.burst_packets / self.bursts if self.bursts else 0.0

    @property
    def mean_gap(self) -> float:
        """Mean length of a gap, packets."""
        return self.gap_packets / self.gaps if self.gaps else 0.0


class LossRuns:
    """Fed with every expected packet in sequence order, received or not (lost and discarded weigh the same)."""

    __slots__ = (
        "_burst_lost",
        "_burst_packets",
        "_bursts",
        "_cluster_lost",
        "_cluster_packets",
        "_counted",
        "_gmin",
        "_good",
        "_leading_gap",
        "lost_packets",
        "runs",
    )

    def __init__(self, gmin: int = GMIN) -> None:
        self._gmin = gmin
        self._good = 0
        self._counted = 0
        # Losses with fewer than gmin good packets between them: a burst if there are two of them.
        self._cluster_packets = 0
        self._cluster_lost = 0
        self._bursts = 0
        self._burst_packets = 0
        self._burst_lost = 0
        self._leading_gap = False
        self.lost_packets = 0
        self.runs = 0
        """Runs of consecutive lost packets."""

    def __repr__(self) -> str:
        return f"<LossRuns {self.lost_packets}/{self.expected} in {self.runs} runs>"

    def received(self, n: int = 1) -> None:
        """The next `n` expected packets were there."""
        self._good += n

    def lost(self, n: int = 1) -> None:
        """The next `n` expected packets were lost or discarded."""
        if n <= 0:
            return
        good = self._good
        if good or not self.lost_packets:
            self.runs += 1
        if self._cluster_lost and good < self._gmin:
            self._cluster_packets += good + n
            self._cluster_lost += n
        else:
            self._close_cluster()
            self._cluster_packets = self._cluster_lost = n
        self._counted += good + n
        self._good = 0
        self.lost_packets += n

    def _close_cluster(self) -> None:
        if self._cluster_lost < 2:
            return
        if not self._bursts:
            self._leading_gap = self._counted > self._cluster_packets
        self._bursts += 1
        self._burst_packets += self._cluster_packets
        self._burst_lost += self._cluster_lost

    @property
    def expected(self) -> int:
        """All packets so far, lost or not."""
        return self._counted + self._good

    @property
    def burst_r(self) -> float:
        """BurstR: the mean run of lost packets over that of random loss of the same rate, at least 1."""
        return burst_ratio(self.expected, self.lost_packets, self.runs)

    def metrics(self) -> BurstMetrics:
        """The stream so far, as if it ended here."""
        bursts, packets, lost = self._bursts, self._burst_packets, self._burst_lost
        leading = self._leading_gap
        if self._cluster_lost > 1:
            if not bursts:
                leading = self._counted > self._cluster_packets
            bursts += 1
            packets += self._cluster_packets
            lost += self._cluster_lost
        # The last cluster is a single loss (part of the trailing gap) or a burst that only good packets follow.
        trailing = self._good > 0 or self._cluster_lost == 1
        gaps = bursts - 1 + leading + trailing if bursts else int(self.expected > 0)
        return BurstMetrics(bursts, packets, lost, gaps, self.expected - packets, self.lost_packets - lost)


def burst_ratio(expected: int, lost: int, runs: int) -> float:
    """BurstR from counts (G.107 clause 7: observed mean run over 1/(1-p)); 1 where nothing speaks against random."""
    if runs <= 0 or lost <= 0 or expected <= lost:
        return 1.0
    return max(1.0, lost / runs * (1 - lost / expected))
