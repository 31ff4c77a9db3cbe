"""Whose packets are the caller's. Rows of the table in source_lock.py."""

import pytest

from trunkline.rtp.packet import Fields
from trunkline.rtp.source_lock import Position, SourceLock, is_reachable, is_unspecified

ROUTABLE = ("8.8.8.8", 4000)
PRIVATE = ("192.168.1.20", 4000)
NAT = ("9.9.9.9", 31000)
STRANGER = ("1.1.1.1", 555)


def fields(sequence: int, ssrc: int = 1) -> Fields:
    return 0, sequence, sequence * 160, ssrc, b"x"


def offer(lock: SourceLock, source, sequences, now=0.0, position=None, ssrc=1) -> list[int] | None:
    """What is admitted at the last of these packets, as sequence numbers; None if the last is refused."""
    taken = None
    for sequence in sequences:
        taken = lock.admit(fields(sequence, ssrc), source, position, now)
    return None if taken is None else [packet[1] for packet, _ in taken]


def negotiated(address=ROUTABLE, now=0.0) -> SourceLock:
    lock = SourceLock()
    assert lock.negotiate(address, now)
    return lock


def test_negotiated_address_is_believed_at_once():
    lock = negotiated()
    assert offer(lock, ROUTABLE, [7]) == [7]
    assert lock.source == ROUTABLE


def test_nobody_is_believed_before_a_negotiation():
    assert offer(SourceLock(), STRANGER, range(10), now=100.0) is None


def test_private_address_lets_two_in_a_row_in_and_keeps_the_first():
    lock = negotiated(PRIVATE)
    assert offer(lock, NAT, [7]) is None
    assert offer(lock, NAT, [8]) == [7, 8]
    assert lock.source == NAT


def test_two_that_are_not_in_a_row_do_not_pass():
    lock = negotiated(PRIVATE)
    assert offer(lock, NAT, [7, 9, 11]) is None


def test_two_ssrcs_of_one_source_do_not_help_each_other():
    lock = negotiated(PRIVATE)
    assert offer(lock, NAT, [7], ssrc=1) is None
    assert offer(lock, NAT, [8], ssrc=2) is None


def test_other_port_of_the_negotiated_host_needs_two():
    assert offer(negotiated(), (ROUTABLE[0], 9999), [1, 2]) == [1, 2]


def test_other_host_needs_five_and_patience():
    lock = negotiated(now=10.0)
    assert offer(lock, NAT, range(1, 7), now=10.9) is None
    assert offer(lock, NAT, [7], now=11.0) == [3, 4, 5, 6, 7]


def test_other_host_with_four_after_patience_waits():
    assert offer(negotiated(), NAT, range(4), now=2.0) is None


def locked(source=ROUTABLE, **position) -> tuple[SourceLock, Position]:
    lock = negotiated(source)
    offer(lock, source, [100])
    return lock, Position(**{"ssrc": 1, "sequence": 100, "heard_at": 50.0, **position})


def test_stranger_never_gets_in_while_the_source_speaks():
    lock, position = locked()
    assert offer(lock, STRANGER, range(200), now=50.1, position=position) is None
    assert lock.foreign == {STRANGER: 200}


def test_stranger_never_gets_in_even_in_silence():
    lock, position = locked()
    assert offer(lock, STRANGER, range(2000, 2200), now=500.0, position=position, ssrc=9) is None


def test_stranger_with_a_guessed_ssrc_but_wrong_numbers_stays_out():
    lock, position = locked()
    assert offer(lock, STRANGER, range(20000, 20100), now=60.0, position=position) is None


def test_same_stream_from_elsewhere_is_taken_when_the_old_source_fell_silent():
    lock, position = locked()
    assert offer(lock, NAT, [110], now=50.35, position=position) is None
    assert offer(lock, NAT, [111], now=50.37, position=position) == [110, 111]
    assert lock.source == NAT


def test_same_stream_from_elsewhere_is_not_taken_while_the_old_source_speaks():
    lock, position = locked()
    assert offer(lock, NAT, range(101, 110), now=50.2, position=position) is None


def test_new_stream_from_a_new_port_of_the_same_host_needs_a_second_of_silence_and_five():
    lock, position = locked()
    other = (ROUTABLE[0], 7777)
    assert offer(lock, other, range(5), now=50.9, position=position, ssrc=9) is None
    assert offer(lock, other, [5], now=51.1, position=position, ssrc=9) == [1, 2, 3, 4, 5]


def test_new_ssrc_of_the_source_needs_two_while_the_old_one_is_gone():
    lock, position = locked()
    assert offer(lock, ROUTABLE, [9000], now=50.02, position=position, ssrc=9) is None
    assert offer(lock, ROUTABLE, [9001], now=50.04, position=position, ssrc=9) == [9000, 9001]


def test_second_stream_of_the_source_beside_the_first_is_not_taken():
    lock, _ = locked()
    for n in range(50):
        now = 50.0 + n * 0.02
        beside = Position(1, 100 + n, now)
        assert lock.admit(fields(9000 + n, ssrc=9), ROUTABLE, beside, now - 0.01) is None


def test_new_negotiation_opens_the_lock_for_its_address_at_once():
    lock, position = locked()
    assert lock.negotiate(NAT, 50.0)
    assert offer(lock, NAT, [1], now=50.01, position=position, ssrc=9) == [1]


def test_new_negotiation_of_a_private_address_needs_two_though_the_old_source_still_speaks():
    lock, position = locked()
    lock.negotiate(PRIVATE, 50.0)
    assert offer(lock, NAT, [1, 2], now=50.01, position=position, ssrc=9) == [1, 2]


def test_same_negotiation_again_changes_nothing():
    lock, position = locked()
    assert not lock.negotiate(ROUTABLE, 60.0)
    assert offer(lock, STRANGER, range(50), now=50.1, position=position) is None


def test_floods_from_many_sources_cost_no_memory():
    lock, position = locked()
    for n in range(5000):
        offer(lock, ("1.1.1.1", n), [n], now=50.0, position=position, ssrc=n)
    assert len(lock.foreign) == 8
    assert len(lock._candidates) <= 8


@pytest.mark.parametrize(
    ("host", "reachable"),
    [("10.0.0.1", False), ("100.64.0.1", False), ("127.0.0.1", False), ("8.8.8.8", True), ("::1", False), ("x", False)],
)
def test_reachable(host: str, reachable: bool):
    assert is_reachable(host) is reachable


@pytest.mark.parametrize(
    ("host", "unspecified"), [("0.0.0.0", True), ("::", True), ("", True), ("host.example", True), ("8.8.8.8", False)]
)
def test_unspecified(host: str, unspecified: bool):
    assert is_unspecified(host) is unspecified


def test_the_negotiated_address_wins_over_a_neighbour_that_was_faster():
    lock = negotiated()
    neighbour = (ROUTABLE[0], 5000)
    assert offer(lock, neighbour, [7, 8], now=0.1) == [7, 8]
    assert (lock.source, lock.certain(0.2), lock.certain(1.2)) == (neighbour, False, True)
    still_talks = Position(1, 8, 0.2)
    assert offer(lock, ROUTABLE, [100], now=0.2, position=still_talks, ssrc=9) is None
    assert offer(lock, ROUTABLE, [101], now=0.2, position=still_talks, ssrc=9) == [100, 101]
    assert (lock.source, lock.certain(0.2)) == (ROUTABLE, True)
    assert offer(lock, neighbour, range(9, 60), now=0.9, position=Position(9, 101, 0.9)) is None
