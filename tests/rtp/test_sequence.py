"""Extended sequence numbers by RFC 3550 A.1."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.rtp.sequence import MAX_DROPOUT, MAX_MISORDER, Run, SequenceTracker


def test_numbers_go_on_through_the_wrap():
    tracker = SequenceTracker(65534)
    assert [tracker.update(n) for n in (65535, 0, 1)] == [65535, 65536, 65537]
    assert tracker.highest == 65537


def test_late_packet_from_before_the_wrap_keeps_its_old_number():
    tracker = SequenceTracker(65535)
    tracker.update(1)
    assert tracker.update(0) == 65536
    assert tracker.update(65535) == 65535
    assert tracker.highest == 65537


def test_packet_before_the_first_is_negative_not_65535():
    assert SequenceTracker(0).update(65535) == -1


@pytest.mark.parametrize(
    ("ahead", "believed"), [(1, True), (MAX_DROPOUT - 1, True), (MAX_DROPOUT, False), (30000, False)]
)
def test_dropout_limit(ahead: int, believed: bool):
    assert (SequenceTracker(100).update((100 + ahead) & 0xFFFF) is not None) is believed


@pytest.mark.parametrize(("behind", "believed"), [(1, True), (MAX_MISORDER, True), (MAX_MISORDER + 1, False)])
def test_misorder_limit(behind: int, believed: bool):
    assert (SequenceTracker(1000).update(1000 - behind) is not None) is believed


def test_second_consecutive_packet_from_far_off_restarts():
    tracker = SequenceTracker(100)
    assert tracker.update(40000) is None
    assert tracker.restarts == 0
    assert tracker.update(40001) == 40001
    assert (tracker.restarts, tracker.first, tracker.highest) == (1, 40001, 40001)


def test_two_far_packets_that_are_not_consecutive_do_not_restart():
    tracker = SequenceTracker(100)
    assert [tracker.update(n) for n in (40000, 50000, 101)] == [None, None, 101]
    assert tracker.restarts == 0


def test_restart_across_the_wrap():
    tracker = SequenceTracker(30000)
    assert tracker.update(65535) is None
    assert tracker.update(0) == 0


def test_run_counts_consecutive_numbers_through_the_wrap():
    run = Run()
    assert [run.add(n) for n in (65534, 65535, 0, 5, 6)] == [1, 2, 3, 1, 2]


@given(st.lists(st.integers(0, 65535), max_size=200), st.integers(0, 65535))
def test_low_bits_are_the_number_received(numbers: list[int], first: int):
    tracker = SequenceTracker(first)
    for number in numbers:
        extended = tracker.update(number)
        if extended is not None:
            assert extended & 0xFFFF == number
            assert extended <= tracker.highest
