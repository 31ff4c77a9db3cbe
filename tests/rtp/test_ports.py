"""Even/odd port pairs."""

from random import Random

import pytest

from trunkline.rtp.errors import LocalError, PortsExhausted
from trunkline.rtp.ports import PortRange


def test_pairs_are_even_and_whole():
    ports = PortRange(10001, 10006)
    assert [ports.acquire(0.0), ports.acquire(0.0)] == [10002, 10004]
    with pytest.raises(PortsExhausted, match="2 in use, 0 resting"):
        ports.acquire(0.0)


def test_rotation_takes_what_was_free_longest():
    ports = PortRange(10000, 10005, cooldown_s=0)
    first = ports.acquire(0.0)
    ports.release(first, 0.0)
    assert [ports.acquire(0.0) for _ in range(3)] == [10002, 10004, 10000]


def test_released_pair_rests():
    ports = PortRange(10000, 10001, cooldown_s=5.0)
    port = ports.acquire(0.0)
    ports.release(port, 1.0)
    assert ports.free == 1
    with pytest.raises(PortsExhausted, match="0 in use, 1 resting"):
        ports.acquire(5.9)
    assert ports.acquire(6.0) == port


def test_release_twice_is_once():
    ports = PortRange(10000, 10001, cooldown_s=0)
    port = ports.acquire(0.0)
    ports.release(port, 0.0)
    ports.release(port, 0.0)
    assert ports.free == 1


@pytest.mark.parametrize(
    ("first", "last"), [(0, 10), (10, 9), (10000, 10000), (10001, 10002), (65535, 65535), (1, 70000)]
)
def test_range_without_a_pair_is_refused(first: int, last: int):
    with pytest.raises(LocalError):
        PortRange(first, last)


def test_rotation_begins_anywhere_and_still_holds_every_pair():
    whole = {PortRange(10000, 10019, cooldown_s=0).acquire(0.0) for _ in range(3)}
    assert whole == {10000}
    begun = {PortRange(10000, 10019, random=Random(seed)).acquire(0.0) for seed in range(50)}
    assert len(begun) > 5
    ports = PortRange(10000, 10019, random=Random(3))
    assert sorted(ports.acquire(0.0) for _ in range(10)) == list(range(10000, 10020, 2))
