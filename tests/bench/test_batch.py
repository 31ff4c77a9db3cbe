"""Datagrams in batches, with the kernel's arrival times."""

import time

import numpy as np

from bench.batch import Receiver, Sender, udp_socket, wall_clock_offset_ns


def test_rows_arrive_whole_from_the_port_that_sent_them_and_with_their_time():
    here, there = udp_socket("127.0.0.1"), udp_socket("127.0.0.1")
    with here, there:
        packets = np.arange(5 * 172, dtype=np.uint32).astype(np.uint8).reshape(5, 172)
        sender = Sender(packets)
        for row in range(5):
            sender.aim(row, *there.getsockname())
        before = time.monotonic_ns()
        sender.send(here.fileno(), 1, 3)
        after = time.monotonic_ns()
        receiver = Receiver(there, slots=8)
        assert receiver.receive() == 3
        assert np.array_equal(receiver.data[:3, :172], packets[1:4])
        assert receiver.lengths(3).tolist() == [172] * 3
        assert set(receiver.ports(3)) == {here.getsockname()[1]}
        stamps = receiver.stamps(3) - wall_clock_offset_ns()
        tolerance = 1_000_000  # between the two clocks
        assert before - tolerance <= stamps.min() <= stamps.max() <= after + tolerance
        assert receiver.receive() == 0
        assert sender.refused == 0
