"""The worst of a worker in the seconds of a slice."""

from trunkline.gateway.media.lateness import SECONDS, Lateness


def test_the_worst_of_the_slice_and_nothing_from_before_it():
    lateness = Lateness()
    for second, (clock, loop) in enumerate([(90.0, 80.0), (1.0, 2.0), (30.0, 4.0), (2.0, 50.0)]):
        lateness.second(100.5 + second, clock, loop)
    assert lateness.worst(100.5) == (30.0, 50.0)
    assert lateness.worst(102.5) == (2.0, 50.0)
    assert lateness.worst(103.5) == (0.0, 0.0)


def test_a_second_that_a_slice_began_in_counts():
    lateness = Lateness()
    lateness.second(100.5, 90.0, 80.0)
    assert lateness.worst(100.4) == (90.0, 80.0)


def test_the_second_that_still_runs_counts():
    late = 12.0
    assert Lateness(lambda: late).worst(0.0) == (12.0, 0.0)


def test_a_slice_fits():
    lateness = Lateness()
    for second in range(100):
        lateness.second(float(second), 70.0 if second == 88 else 1.0, 0.0)
    assert SECONDS > 11
    assert lateness.worst(87.5) == (70.0, 0.0)
