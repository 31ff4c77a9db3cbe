"""The clock's deadlines, slots and skips, on a clock that the test moves."""

import pytest

from trunkline.gateway.media.clock import EARLY, PERIOD, SLOT_SPACING, SLOTS, MediaClock, Schedule


class FakeTime:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Leg:
    def __init__(self, error: Exception | None = None) -> None:
        self.ticks: list[tuple[float, int]] = []
        self.error = error
        self.failed: Exception | None = None

    def tick(self, now: float, skipped: int) -> None:
        self.ticks.append((now, skipped))
        if self.error is not None:
            raise self.error

    def tick_failed(self, error: Exception) -> None:
        self.failed = error


def drive(clock: MediaClock, time: FakeTime, seconds: float) -> None:
    """Move time in millisecond steps, as the loop would wake."""
    for _ in range(round(seconds * 1000)):
        time.now += 0.001
        clock.run(time.now)


@pytest.fixture
async def running() -> tuple[MediaClock, FakeTime]:
    time = FakeTime()
    clock = MediaClock(time)
    clock.start()
    clock._timer.cancel()
    return clock, time


def test_deadlines_are_absolute_and_never_drift():
    start = 12345.678
    schedule = Schedule(start)
    for index in range(4 * 50 * 3600):
        due = schedule.due
        if index % 40_000 == 0:
            assert due == pytest.approx(start + index * SLOT_SPACING, abs=1e-6)
        slot, skipped, _ = schedule.advance(due + 0.0007)
        assert (slot, skipped) == (index % SLOTS, 0)
    assert schedule.due == pytest.approx(start + 3600, abs=1e-6)


async def test_a_worker_that_cannot_keep_up_still_comes_back_to_its_loop(running):
    clock, time = running

    class Slow(Leg):
        def tick(self, now: float, skipped: int) -> None:
            super().tick(now, skipped)
            time.now += 0.006

    legs = [Slow() for _ in range(SLOTS)]
    for leg in legs:
        clock.add(leg)
    time.now += 0.5
    clock.run(time.now)
    assert [len(leg.ticks) for leg in legs] == [1] * SLOTS


def test_early_wake_within_tolerance_runs_the_slot_and_an_earlier_one_does_not():
    schedule = Schedule(50.0)
    assert schedule.advance(50.0 - EARLY - 0.0005) is None
    slot, skipped, late = schedule.advance(50.0 - EARLY + 0.0005)
    assert (slot, skipped) == (0, 0)
    assert late < 0
    assert schedule.due == 50.0 + SLOT_SPACING


def test_up_to_one_period_late_runs_without_skipping():
    schedule = Schedule(0.0)
    assert schedule.advance(0.0199)[1] == 0


def test_more_than_a_period_late_skips_whole_periods_per_slot_and_keeps_the_phase():
    schedule = Schedule(0.0)
    runs = []
    while (run := schedule.advance(0.107)) is not None:
        runs.append(run[:2])
    # slot 0 was due at 0, 20 … 100 ms: it runs for 100 ms and missed five
    assert runs == [(0, 5), (1, 5), (2, 4), (3, 4)]
    assert schedule.due == pytest.approx(0.110)


async def test_every_leg_ticks_each_20_ms(running):
    clock, time = running
    legs = [Leg() for _ in range(8)]
    for leg in legs:
        clock.add(leg)
    drive(clock, time, 1.0)
    for leg in legs:
        assert len(leg.ticks) in (50, 51)
        gaps = [after[0] - before[0] for before, after in zip(leg.ticks, leg.ticks[1:], strict=False)]
        assert all(gap == pytest.approx(PERIOD, abs=0.0021) for gap in gaps)


async def test_legs_join_the_emptiest_slot(running):
    clock, _ = running
    legs = [Leg() for _ in range(6)]
    assert [clock.add(leg) for leg in legs] == [0, 1, 2, 3, 0, 1]
    clock.remove(legs[2])
    assert clock.add(Leg()) == 2


async def test_a_stall_tells_each_leg_its_skipped_periods_and_is_counted(running):
    clock, time = running
    leg = Leg()
    clock.add(leg)
    drive(clock, time, 0.1)
    ticked = len(leg.ticks)
    clock.take_late_max_ms()
    time.now += 0.085
    clock.run(time.now)
    assert len(leg.ticks) == ticked + 1
    skipped = leg.ticks[-1][1]
    assert skipped in (3, 4)
    assert clock.skipped_ticks >= skipped
    assert 60 < clock.take_late_max_ms() < 90
    assert clock.take_late_max_ms() == 0
    drive(clock, time, 1.0)
    # no catching up: one tick for each period, whether it was ticked or skipped
    periods = len(leg.ticks) + sum(skips for _, skips in leg.ticks)
    assert periods == round((time.now - 1000.0) / PERIOD) + 1


async def test_a_stall_without_legs_skips_nothing(running):
    clock, time = running
    time.now += 1.0
    clock.run(time.now)
    assert clock.skipped_ticks == 0


async def test_one_broken_leg_is_failed_and_the_others_go_on(running):
    clock, time = running
    broken, sound = Leg(ValueError("broken")), Leg()
    clock.add(broken)
    for _ in range(3):
        clock.add(Leg())
    clock.add(sound)
    drive(clock, time, 0.2)
    assert len(broken.ticks) == 1
    assert isinstance(broken.failed, ValueError)
    assert len(sound.ticks) >= 10


async def test_a_leg_may_leave_during_a_tick(running):
    clock, time = running

    class Leaver(Leg):
        def tick(self, now: float, skipped: int) -> None:
            super().tick(now, skipped)
            clock.remove(self)

    leaver = Leaver()
    clock.add(leaver)
    drive(clock, time, 0.1)
    assert len(leaver.ticks) == 1


async def test_stopped_clock_runs_nothing(running):
    clock, time = running
    leg = Leg()
    clock.add(leg)
    clock.stop()
    drive(clock, time, 0.1)
    assert leg.ticks == []
