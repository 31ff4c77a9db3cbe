"""The ring buffer, as tables of what comes when and what goes on when; times in ms, 20 ms packets of 160 samples."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.rtp.loss_runs import LossRuns
from trunkline.rtp.ring import AUDIO, LOST, SILENCE, Chunk, FrameRing


class Bench:
    """A ring with packets that say who they are: `in_(ms, 7)` pushes packet 7 with timestamp 7·160."""

    def __init__(self, **options: float) -> None:
        self.runs = LossRuns()
        self.ring = FrameRing(8000, self.runs, **options)

    def in_(self, ms: float, sequence: int, timestamp: int | None = None, marker: bool = False) -> list[str]:
        stamp = (sequence * 160 if timestamp is None else timestamp) & 0xFFFFFFFF
        return words(self.ring.push(sequence, stamp, marker, str(sequence).encode(), 160, ms / 1000))

    def poll(self, ms: float) -> list[str]:
        return words(self.ring.poll(ms / 1000))


def words(chunks: "list[Chunk] | tuple[Chunk, ...]") -> list[str]:
    names = {LOST: "lost", SILENCE: "silence"}
    return [payload.decode() if kind == AUDIO else f"{names[kind]} {samples}" for kind, payload, samples in chunks]


def run(rows: list[tuple[float, int | None, list[str]]]) -> Bench:
    """Rows of (arrival ms, sequence or None for a poll, what must go on)."""
    bench = Bench()
    for ms, sequence, expected in rows:
        assert (bench.poll(ms) if sequence is None else bench.in_(ms, sequence)) == expected, (ms, sequence)
    return bench


def test_in_order_goes_on_at_once_untouched():
    ring = FrameRing()
    payload = bytes(160)
    assert ring.push(1, 160, True, payload, 160, 0.0)[0][1] is payload
    chunks = ring.push(2, 320, False, payload, 160, 0.02)
    assert chunks == ((AUDIO, payload, 160),)
    assert chunks[0][1] is payload


def test_jitter_of_packets_in_order_adds_no_delay():
    run([(0, 1, ["1"]), (95, 2, ["2"]), (96, 3, ["3"]), (97, 4, ["4"]), (180, 5, ["5"])])


def test_reordered_within_the_window_is_put_in_order():
    bench = run([(0, 1, ["1"]), (20, 3, []), (25, 2, ["2", "3"]), (60, 4, ["4"])])
    assert (bench.ring.reordered, bench.ring.lost, bench.ring.discarded) == (1, 0, 0)


def test_reordered_by_three():
    bench = run([(0, 1, ["1"]), (20, 4, []), (21, 3, []), (22, 2, ["2", "3", "4"])])
    assert bench.ring.reordered == 2


def test_one_loss_delays_by_the_window_alone():
    bench = run(
        [
            (0, 1, ["1"]),
            (40, 3, []),
            (60, 4, []),
            (80, 5, []),
            (99, None, []),
            (100, None, ["lost 160", "3", "4", "5"]),
            (105, 6, ["6"]),
            (120, 7, ["7"]),
        ]
    )
    assert (bench.ring.lost, bench.ring.concealed) == (1, 160)


def test_next_packet_closes_the_gap_without_a_poll():
    run([(0, 1, ["1"]), (40, 3, []), (60, 4, []), (80, 5, []), (100, 6, ["lost 160", "3", "4", "5", "6"])])


def test_burst_of_losses_is_one_gap():
    bench = run([(0, 1, ["1"]), (100, 6, []), (160, None, ["lost 640", "6"])])
    bench.ring.flush_runs()
    assert (bench.runs.lost_packets, bench.runs.runs, bench.runs.expected) == (4, 1, 6)


def test_second_gap_waits_from_its_own_first_packet():
    run(
        [
            (0, 1, ["1"]),
            (40, 3, []),
            (80, 5, []),
            (100, None, ["lost 160", "3"]),
            (139, None, []),
            (140, None, ["lost 160", "5"]),
        ]
    )


def test_late_packet_is_discarded_once_and_then_a_duplicate():
    bench = run(
        [(0, 1, ["1"]), (40, 3, []), (100, None, ["lost 160", "3"]), (101, 2, []), (102, 2, []), (110, 4, ["4"])]
    )
    assert (bench.ring.discarded, bench.ring.duplicated, bench.ring.lost) == (1, 1, 1)


def test_duplicates_are_dropped():
    bench = run([(0, 1, ["1"]), (1, 1, []), (20, 2, ["2"]), (21, 1, []), (60, 4, []), (61, 4, []), (62, 3, ["3", "4"])])
    assert (bench.ring.duplicated, bench.ring.discarded) == (3, 0)


def test_packet_from_before_the_first_is_discarded():
    assert run([(0, 10, ["10"]), (1, 9, []), (20, 11, ["11"])]).ring.discarded == 1


@pytest.mark.parametrize("start", [0xFFFFFFFF - 159, 0xFFFFFFFF - 319, 0xFFFFFF00])
def test_timestamp_wrap(start: int):
    bench = Bench()
    out = [bench.in_(20 * n, 65534 + n, start + 160 * n) for n in range(5)]
    assert out == [[str(65534 + n)] for n in range(5)]
    assert bench.ring.resyncs == 0


def test_loss_across_the_timestamp_wrap():
    bench = Bench()
    bench.in_(0, 65535, 0xFFFFFFFF - 159)
    assert bench.in_(40, 65537, 160) == []
    assert bench.poll(100) == ["lost 160", "65537"]


def test_silence_suppression_is_filled_when_speech_resumes():
    assert run([(0, 1, ["1"])]).in_(120, 2, 160 + 160 * 6, marker=True) == ["silence 800", "2"]


def test_idle_time_is_filled_and_then_paced_without_double_fill():
    bench = run(
        [
            (0, 1, ["1"]),
            (199, None, []),
            (200, None, ["silence 1600"]),
            (219, None, []),
            (220, None, ["silence 160"]),
            (240, None, ["silence 160"]),
        ]
    )
    # Speech resumes 300 ms after packet 1 by the caller's clock: 1920 of its 2240 samples of silence are out.
    assert bench.in_(300, 2, 320 + 2240, marker=True) == ["silence 320", "2"]
    assert bench.in_(320, 3, 320 + 2240 + 160) == ["3"]
    assert bench.ring.position == 160 + 2240 + 320


def test_comfort_noise_is_silence_at_once():
    bench = run([(0, 1, ["1"])])
    assert words(bench.ring.comfort_noise(2, 320, 0.020)) == []
    assert bench.ring.silent
    assert bench.poll(40) == ["silence 160"]
    assert bench.poll(60) == ["silence 160"]
    assert bench.in_(80, 3, 320 + 480, marker=True) == ["silence 160", "3"]
    assert not bench.ring.silent


def test_comfort_noise_after_a_pause_fills_up_to_it():
    bench = run([(0, 1, ["1"])])
    assert words(bench.ring.comfort_noise(2, 320 + 1600, 0.22)) == ["silence 1600"]


def test_fill_ahead_of_the_callers_clock_is_taken_off_the_next_silence():
    bench = run([(0, 1, ["1"]), (400, None, ["silence 3200"])])
    # A stall of the network: nothing was silent, the packets come after all, and the timeline is 400 ms ahead.
    assert [bench.in_(401, n) for n in (2, 3, 4)] == [["2"], ["3"], ["4"]]
    # The caller is silent for 500 ms: 100 ms of it are not yet there.
    assert bench.in_(920, 5, 5 * 160 + 4000, marker=True) == ["silence 800", "5"]
    assert bench.ring.position == 5 * 160 + 4000


def test_lead_is_worked_off_after_the_first_second_of_idle_time():
    bench = run([(0, 1, ["1"]), (400, None, ["silence 3200"]), (401, 2, ["2"])])
    filled = sum(int(word.split()[1]) for ms in range(420, 2002, 20) for word in bench.poll(ms))
    assert filled == pytest.approx((2.0 - 0.401) * 8000 - 3200, abs=160)


def test_clock_that_stands_still_in_silence_leaves_no_lead():
    bench = run([(0, 1, ["1"]), (5000, None, ["silence 24000"])])
    assert bench.in_(5020, 2, 320, marker=True) == ["2"]
    # 300 ms of real silence later are all filled: nothing is held against the caller.
    assert bench.in_(5340, 3, 480 + 2400, marker=True) == ["silence 2400", "3"]


def test_odd_remainders_of_silence_are_owed_not_emitted():
    bench = run([(0, 1, ["1"])])
    assert bench.in_(60, 2, 320 + 250, marker=True) == ["silence 160", "2"]
    assert bench.in_(120, 3, 320 + 250 + 160 + 70, marker=True) == ["silence 160", "3"]


def test_loss_before_silence_is_both():
    bench = run([(0, 1, ["1"])])
    assert bench.in_(500, 3, 3 * 160 + 3200, marker=True) == []
    assert bench.poll(560) == ["lost 160", "silence 3200", "3"]


def test_outage_is_filled_once():
    bench = run([(0, 1, ["1"])])
    out = [word for ms in range(20, 1020, 20) for word in bench.poll(ms)]
    assert sum(int(word.split()[1]) for word in out) == 8000
    assert bench.in_(1020, 52) == []
    assert bench.poll(1080) == ["52"]
    assert (bench.ring.lost, bench.ring.position) == (50, 52 * 160)


def test_packet_too_far_ahead_to_wait_goes_on_at_once():
    bench = run([(0, 1, ["1"]), (40, 3, [])])
    assert bench.in_(4000, 201) == ["lost 160", "3", "lost 24000", "201"]
    assert bench.ring.lost == 1 + 197


@pytest.mark.parametrize("timestamp", [5, 0x80000000, 320 + 8000 * 3600])
def test_timestamp_that_jumps_is_followed_without_inventing_time(timestamp: int):
    bench = run([(0, 1, ["1"])])
    assert bench.in_(20, 2, timestamp) == ["2"]
    assert bench.in_(40, 3, timestamp + 160) == ["3"]
    assert bench.ring.resyncs == 1
    assert bench.ring.position == 480


def test_process_that_slept_does_not_invent_minutes():
    bench = run([(0, 1, ["1"])])
    assert bench.poll(600_000) == ["silence 24000"]
    assert bench.in_(600_020, 2, 320 + 8 * 600_000, marker=True) == ["2"]
    assert bench.ring.resyncs == 1


def test_event_packets_take_a_number_and_no_time():
    bench = run([(0, 1, ["1"])])
    assert words(bench.ring.skip(2, 0.02)) == []
    assert words(bench.ring.skip(3, 0.04)) == []
    assert bench.in_(60, 4, 320 + 320) == ["silence 320", "4"]
    assert bench.ring.lost == 0


def test_event_packet_beyond_a_gap_waits_in_line():
    bench = run([(0, 1, ["1"])])
    assert words(bench.ring.skip(3, 0.02)) == []
    assert bench.in_(25, 2) == ["2"]
    assert bench.in_(40, 4, 480) == ["4"]
    assert (bench.ring.lost, bench.ring.reordered) == (0, 1)


def test_resync_lets_go_what_is_held_and_begins_anew():
    bench = run([(0, 1, ["1"]), (40, 3, [])])
    assert words(bench.ring.resync()) == ["lost 160", "3"]
    assert bench.in_(60, 5000, 99) == ["5000"]
    assert bench.in_(80, 5001, 259) == ["5001"]
    assert bench.ring.resyncs == 1


def test_other_clock_rate_fills_in_its_own_frames():
    bench = run([(0, 1, ["1"])])
    bench.ring.set_clock_rate(48000)
    assert words(bench.ring.push(2, 0, False, b"2", 960, 0.02)) == ["2"]
    assert bench.poll(220) == ["silence 9600"]


def test_timer_names_the_moment_that_poll_acts():
    bench = Bench()
    assert bench.ring.next_timer() == float("inf")
    bench.in_(0, 1)
    assert bench.ring.next_timer() == pytest.approx(0.2)
    bench.in_(50, 3)
    assert bench.ring.next_timer() == pytest.approx(0.110)


def test_alternate_loss_counts_every_packet_once():
    bench = Bench()
    out: list[str] = []
    for sequence in range(0, 100, 2):
        out += bench.in_(sequence * 20, sequence)
        out += bench.poll(sequence * 20 + 10)
    out += bench.poll(98 * 20 + 60)
    bench.ring.flush_runs()
    assert (bench.runs.expected, bench.runs.lost_packets) == (99, 49)
    assert out == [word for n in range(0, 100, 2) for word in ("lost 160", str(n))][1:]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(0, 300), st.integers(0, 0xFFFFFFFF), st.booleans()),
        st.tuples(st.just("voice"), st.integers(0, 300), st.just(0), st.booleans()),
        st.tuples(st.just("noise"), st.integers(0, 300), st.integers(0, 0xFFFFFFFF), st.just(False)),
        st.tuples(st.just("skip"), st.integers(0, 300), st.just(0), st.just(False)),
        st.tuples(st.just("poll"), st.integers(0, 3000), st.just(0), st.just(False)),
        st.tuples(st.just("resync"), st.just(0), st.just(0), st.just(False)),
    ),
    max_size=120,
)


@given(STEPS, st.lists(st.integers(0, 120), min_size=120, max_size=120))
def test_any_packets_leave_in_order_and_the_sums_agree(steps: list[tuple[str, int, int, bool]], waits: list[int]):
    runs = LossRuns()
    ring = FrameRing(8000, runs)
    now = 0.0
    total = 0
    newest = -1
    for (what, number, timestamp, marker), wait in zip(steps, waits, strict=False):
        now += wait / 1000
        if what == "push":
            chunks = ring.push(number, timestamp, marker, number.to_bytes(2), 160, now)
        elif what == "voice":
            chunks = ring.push(number, number * 160, marker, number.to_bytes(2), 160, now)
        elif what == "noise":
            chunks = ring.comfort_noise(number, timestamp, now)
        elif what == "skip":
            chunks = ring.skip(number, now)
        elif what == "poll":
            now += number / 1000
            chunks = ring.poll(now)
        else:
            chunks = ring.resync()
        for kind, payload, samples in chunks:
            assert samples > 0
            total += samples
            if kind == AUDIO:
                assert int.from_bytes(payload) > newest
                newest = int.from_bytes(payload)
        if what == "resync":
            newest = -1
    assert ring.position == total
    assert total <= 160 * len(steps) + 8000 * (now + 3.1 * (1 + len(steps)))
    ring.flush_runs()
    assert runs.lost_packets == ring.lost


@given(st.lists(st.integers(0, 400), min_size=1, max_size=80), st.data())
def test_steady_speech_comes_out_on_the_callers_timeline(delays: list[int], data: st.DataObject):
    """Whatever is lost or late: at least as long as the caller spoke leaves, and every packet is accounted for."""
    arrivals = sorted(
        (sequence * 20 + delay, sequence)
        for sequence, delay in enumerate(delays)
        if sequence == 0 or not data.draw(st.booleans(), label="lost")
    )
    bench = Bench()
    start, first = arrivals[0]
    last = first
    for ms, sequence in arrivals:
        for tick in range(int(start), ms, 20):
            bench.poll(tick)
        start = max(start, ms)
        bench.in_(ms, sequence)
        last = max(last, sequence)
    out = bench.ring.resync()
    assert bench.ring.lost + (bench.ring.position - bench.ring.concealed - bench.ring.filled) // 160 == last - first + 1
    assert bench.ring.position >= (last - first + 1) * 160
    assert all(samples > 0 for _, _, samples in out)
