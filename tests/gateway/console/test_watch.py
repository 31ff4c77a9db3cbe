"""What the console remembers: right, and bounded."""

import pytest
from support.console import record

from trunkline.gateway.console.watch import HOUR_S, KEPT, WORST, CallWatch, LastHour, LiveFigures
from trunkline.gateway.messages import LegStatus, MediaAlarm, WorkerStatus
from trunkline.gateway.record import CallRecord, Media, MediaReport, Received, Sent

T0 = 1767323105.0
"""2026-01-02T03:05:05Z."""


def status(packets: int, lost: int = 0, discarded: int = 0) -> LegStatus:
    media = Media(received=Received(packets=packets, lost=lost, discarded=discarded))
    return LegStatus("a", "agent", None, None, 0.0, MediaReport(media=media))


def ended(number: int, mos: float | None = 4.4, **fields) -> CallRecord:
    media = Media(received=Received(mos_min=mos), sent=Sent(mos_min=4.4))
    return record(
        f"{number:06}", ended_at="2026-01-02T03:05:05.000Z", **({"duration_s": 60.0, "media": media} | fields)
    )


def test_the_present_loss_is_that_of_the_last_five_seconds():
    figures = LiveFigures()
    assert figures.loss is None
    for second in range(20):
        figures.take(status(50 * second, lost=10 if second > 17 else 0, discarded=15 if second > 18 else 0))
    assert figures.loss == pytest.approx(25 / 260)
    for second in range(20, 25):
        figures.take(status(50 * second, lost=10, discarded=15))
    assert figures.loss == 0.0


def test_the_present_mos_needs_packets_and_a_codec_that_can_be_rated():
    figures = LiveFigures()
    figures.take(status(0))
    assert figures.mos("PCMU") is None
    figures.take(status(50))
    assert figures.mos("PCMU") == pytest.approx(4.41)
    assert figures.mos("G729") is None
    assert figures.mos(None) is None
    for second in range(2, 12):
        figures.take(status(45 * second, lost=5 * second))
    assert figures.mos("PCMU") == pytest.approx(3.4, abs=0.1)


def test_a_dead_stream_has_no_loss():
    figures = LiveFigures()
    for _ in range(8):
        figures.take(status(500))
    assert figures.loss is None
    assert figures.mos("PCMU") is None


def test_a_call_is_remembered_while_it_lives():
    watch = CallWatch()
    watch.on_fact("a", status(50))
    assert watch.live == {}
    watch.on_record(record("a"))
    watch.on_fact("a", MediaAlarm("a", "received", True, ""))
    watch.on_record(record("a"))
    assert watch.live["a"].dead == {"received"}
    watch.on_fact("a", MediaAlarm("a", "received", False, ""))
    assert watch.live["a"].dead == set()
    watch.on_record(record("a", ended_at="2026-01-02T03:05:05.000Z"))
    assert watch.live == {}


def test_the_worst_calls_of_the_last_hour_come_first_and_old_ones_go():
    now = T0
    hour = LastHour(lambda: now)
    for number in range(WORST + 5):
        hour.add(ended(number, 4.4 - number / 10))
    hour.add(ended(90, None))
    hour.add(ended(91, None, duration_s=None, sip_status=486))
    hour.add(record("not over"))
    count, failed, worst = hour.summary()
    assert (count, failed, len(worst)) == (WORST + 7, 1, WORST)
    assert [call.worst for call in worst] == sorted(call.worst for call in worst)
    assert (worst[0].id, worst[0].worst_way) == (f"{WORST + 4:06}", "in")
    now += HOUR_S + 1
    assert hour.summary() == (0, 0, [])


def test_the_last_hour_is_bounded():
    hour = LastHour(lambda: T0)
    for number in range(KEPT + 50):
        hour.add(ended(number))
    assert hour.summary()[0] == KEPT


def test_calls_of_before_the_start_come_before_those_since():
    hour = LastHour(lambda: T0)
    hour.add(ended(3, 3.0))
    hour.seed([ended(3), ended(2), ended(1), record("up")])
    assert hour.summary()[0] == 3
    assert hour.summary()[2][0].worst == 3.0


def test_a_time_that_is_none_is_no_call_of_the_last_hour():
    hour = LastHour(lambda: T0)
    hour.add(record("a", ended_at="soon"))
    assert hour.summary()[0] == 0


def test_what_a_worker_said_last_and_what_it_uses():
    watch = CallWatch()
    for cpu_s in (10.0, 10.25):
        watch.on_worker_status("media-1", WorkerStatus(3, 1.5, 0, 0.5, cpu_s))
    assert (watch.workers["media-1"].legs, watch.workers["media-1"].cpu) == (3, 0.25)
    watch.on_worker_lost("media-1")
    watch.on_worker_status("media-1", WorkerStatus(0, 0.0, 0, 0.0, 0.1))
    assert watch.workers["media-1"].cpu is None
    watch.on_loop_lag(0.0125)
    assert watch.lag_ms == 12.5
