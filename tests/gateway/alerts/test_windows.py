"""Counters over sliding windows: what is in them, when it leaves, and how much memory they take."""

from hypothesis import given
from hypothesis import strategies as st

from trunkline.gateway.alerts.rules import Subject
from trunkline.gateway.alerts.windows import BUCKETS, RUN_MOST, RUN_S, Runs, Tallies, Window

A, B = Subject("trunk", "a"), Subject("trunk", "b")


def test_what_is_counted_leaves_after_its_span():
    window = Window(300, 1)
    window.add(0, 1000.0)
    window.advance(1299.9)
    assert window.sums == [1]
    window.advance(1300.0)
    assert window.sums == [0]


def test_each_bucket_leaves_by_itself():
    window = Window(30, 2)
    for second in range(30):
        window.add(0, second)
        window.add(1, second, 2)
    assert window.sums == [30, 60]
    window.advance(39)
    assert window.sums == [20, 40]


def test_a_long_pause_empties_the_window():
    window = Window(60, 1)
    window.add(0, 10.0, 5)
    window.advance(1e6)
    assert window.sums == [0]
    window.add(0, 1e6)
    assert window.sums == [1]


def test_a_time_before_the_last_one_changes_nothing():
    window = Window(60, 1)
    window.add(0, 100.0)
    window.add(0, 10.0)
    assert window.sums == [2]
    window.advance(159.9)
    assert window.sums == [2]


@given(st.lists(st.tuples(st.floats(0, 40), st.integers(1, 5)), max_size=60))
def test_a_window_holds_what_happened_within_its_span_to_a_thirtieth(steps):
    window, now, events = Window(60, 1), 0.0, []
    for pause, amount in steps:
        now += pause
        window.add(0, now, amount)
        events.append((now, amount))
    surely = sum(amount for at, amount in events if at > now - 60 + 60 / BUCKETS)
    perhaps = sum(amount for at, amount in events if at > now - 60)
    assert surely <= window.sums[0] <= perhaps


def test_subjects_are_counted_apart_and_forgotten():
    tallies = Tallies([60, 300], 2)
    tallies.add(A, 0, 0.0)
    tallies.add(B, 1, 0.0, 3)
    assert (tallies.sums(A, 60, 0.0), tallies.sums(B, 300, 0.0)) == ([1, 0], [0, 3])
    tallies.keep({A})
    assert tallies.subjects == [A]
    assert tallies.sums(B, 60, 0.0) == [0, 0]


def test_spans_that_stay_keep_their_counts():
    tallies = Tallies([60, 300], 1)
    tallies.add(A, 0, 0.0)
    tallies.use([300, 900])
    assert [tallies.sums(A, span, 0.0) for span in (60, 300, 900)] == [[0], [1], [0]]


def test_a_run_is_what_went_wrong_in_a_row_and_lately():
    runs = Runs()
    runs.bad(A, 0.0)
    runs.bad(A, 100.0)
    assert runs.length(A, 100.0) == 2
    assert runs.length(A, RUN_S) == 1
    runs.good(A)
    assert runs.length(A, 100.0) == 0
    for at in range(1000):
        runs.bad(A, float(at))
    assert runs.length(A, 1000.0) == RUN_MOST
    runs.keep([])
    assert runs.length(A, 1000.0) == 0
