"""Bursts and gaps cut exactly; the vectors are those on which RFC 3611's own counters go wrong."""

from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.rtp.loss_runs import GMIN, BurstMetrics, LossRuns, burst_ratio


def fed(pattern: str) -> LossRuns:
    """`.` received, `x` lost."""
    runs = LossRuns()
    for packet in pattern:
        runs.lost() if packet == "x" else runs.received()
    return runs


def octet(part: float) -> int:
    """As RFC 3611 §4.7.1 carries it."""
    return min(255, int(256 * part))


A = "." * 100 + "x" + "." * 99 + "x" + "." * 99 + "x" + "." * 100
B = "." * 100 + "x..x....x" + "." * 191
C = "." * 100 + "xxxxx" + "." * 195
D = "." * 50 + "xx.x" + "." * 60 + "x" + "." * 60 + "x...xx" + "." * 50
E = "x" * 50


def test_isolated_losses_are_no_burst():
    runs = fed(A)
    assert runs.metrics() == BurstMetrics(0, 0, 0, gaps=1, gap_packets=401, gap_lost=3)
    assert runs.metrics().burst_density == 0
    assert runs.burst_r == 1


def test_one_burst_with_received_packets_in_it():
    metrics = fed(B).metrics()
    assert metrics == BurstMetrics(1, 9, 3, gaps=2, gap_packets=291, gap_lost=0)
    assert octet(metrics.burst_density) == 85
    assert metrics.mean_burst * 20 == 180
    assert metrics.mean_gap == 145.5


def test_five_in_a_row():
    runs = fed(C)
    metrics = runs.metrics()
    assert (metrics.bursts, metrics.burst_packets, metrics.burst_lost) == (1, 5, 5)
    assert octet(metrics.burst_density) == 255
    assert metrics.mean_burst * 20 == 100
    assert runs.burst_r == pytest.approx(4.917, abs=0.001)


def test_two_bursts_with_an_isolated_loss_between():
    runs = fed(D)
    metrics = runs.metrics()
    assert metrics == BurstMetrics(2, 10, 6, gaps=3, gap_packets=221, gap_lost=1)
    assert metrics.mean_burst * 20 == 100
    assert runs.burst_r == pytest.approx(1.358, abs=0.001)


def test_everything_lost():
    runs = fed(E)
    metrics = runs.metrics()
    assert metrics == BurstMetrics(1, 50, 50, gaps=0, gap_packets=0, gap_lost=0)
    assert octet(metrics.burst_density) == octet(runs.lost_packets / runs.expected) == 255
    assert metrics.gap_density == metrics.mean_gap == 0
    assert runs.burst_r == 1


def test_nothing_yet():
    runs = LossRuns()
    assert runs.metrics() == BurstMetrics(0, 0, 0, 0, 0, 0)
    assert (runs.expected, runs.lost_packets, runs.runs, runs.burst_r) == (0, 0, 0, 1)


def test_gmin_received_packets_part_two_losses():
    assert fed("x" + "." * (GMIN - 1) + "x").metrics().bursts == 1
    assert fed("x" + "." * GMIN + "x").metrics().bursts == 0


def test_a_report_in_mid_stream_changes_nothing():
    runs = LossRuns()
    for packet in D:
        runs.lost() if packet == "x" else runs.received()
        runs.metrics()
    assert runs.metrics() == fed(D).metrics()


def by_definition(pattern: str) -> BurstMetrics:
    """RFC 3611 §4.7.2, in hindsight and slowly."""
    clusters: list[list[int]] = []
    for position, packet in enumerate(pattern):
        if packet == "x":
            if clusters and position - clusters[-1][-1] - 1 < GMIN:
                clusters[-1].append(position)
            else:
                clusters.append([position])
    kind = ["g"] * len(pattern)
    bursts = [cluster for cluster in clusters if len(cluster) > 1]
    for cluster in bursts:
        for position in range(cluster[0], cluster[-1] + 1):
            kind[position] = "b"
    burst_lost = sum(len(cluster) for cluster in bursts)
    gaps = sum(key == "g" for key, _ in groupby(kind))
    return BurstMetrics(
        len(bursts), kind.count("b"), burst_lost, gaps, kind.count("g"), pattern.count("x") - burst_lost
    )


STREAMS = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 4)), max_size=30).map(
    lambda runs: "".join("." * good + "x" * bad for good, bad in runs)
)


@given(STREAMS, st.integers(0, 40))
def test_cut_as_the_definition_cuts(stream, tail):
    pattern = stream + "." * tail
    runs = fed(pattern)
    assert runs.metrics() == by_definition(pattern)
    assert runs.expected == len(pattern)
    assert runs.lost_packets == pattern.count("x")
    assert runs.runs == sum(key == "x" for key, _ in groupby(pattern))


@given(STREAMS)
def test_many_at_once_are_many_one_by_one(stream):
    runs = LossRuns()
    for key, group in groupby(stream):
        count = len(list(group))
        runs.lost(count) if key == "x" else runs.received(count)
    assert runs.metrics() == fed(stream).metrics()
    assert runs.burst_r == fed(stream).burst_r


def test_burst_ratio_of_a_gilbert_channel():
    # G.107: p = Ppl/100/B, q = (1 - Ppl/100)/B has BurstR B; 5 % in runs of mean 1/q.
    p, q = 0.025, 0.475
    lost, expected = 50_000, 1_000_000
    assert burst_ratio(expected, lost, round(lost * q)) == pytest.approx(1 / (p + q), rel=0.001)


@pytest.mark.parametrize("counts", [(0, 0, 0), (10, 0, 0), (10, 10, 1), (10, 11, 1), (100, 5, 0)])
def test_burst_ratio_is_1_where_it_says_nothing(counts):
    assert burst_ratio(*counts) == 1
