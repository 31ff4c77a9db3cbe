"""The other rules, and what every alert has in common: flapping, restarts, reloads, clocks, memory."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.alert_bench import DOWN, UP, Bench, good, lossy, silent, stuttering

from trunkline.gateway.alerts.alert import ALERT_AGENT, Alert
from trunkline.gateway.alerts.rules_config import (
    FlappingConfig,
    LatencyConfig,
    RecordsConfig,
    RulesConfig,
    TrunkDownConfig,
)
from trunkline.gateway.messages import MediaAlarm, SliceEnded, WorkerStatus
from trunkline.gateway.record import Slice, StreamSlice
from trunkline.gateway.records import RecordsHealth


@pytest.fixture
def bench() -> Bench:
    return Bench()


# Trunks


def flap(bench: Bench, down: int, up: int) -> None:
    bench.trunks["vonage"] = DOWN
    bench.run(down)
    bench.trunks["vonage"] = UP
    bench.run(up)


def test_a_trunk_that_is_down_for_two_minutes_pages(bench):
    bench.trunks["vonage"] = DOWN
    bench.poll()
    assert bench.run(119) == []
    (fired,) = bench.run(1)
    assert (fired.rule, fired.subject, fired.trunk, fired.severity) == ("trunk_down", "trunk vonage", "vonage", "page")
    assert fired.summary == "trunk vonage: down: failed, 403 Forbidden"
    bench.trunks["vonage"] = UP
    bench.run(1)
    assert bench.run(59) == []
    (resolved,) = bench.run(1)
    assert (resolved.id, resolved.state) == (fired.id, "resolved")


def test_a_trunk_that_comes_back_sooner_wakes_nobody(bench):
    for _ in range(2):
        flap(bench, 119, 10)
    bench.run(1000)
    assert bench.told == []


def test_a_trunk_that_falls_for_a_moment_now_and_then_wakes_nobody(bench):
    for _ in range(30):
        flap(bench, 10, 90)
    assert bench.told == []


def test_a_trunk_that_flaps_each_30_s_pages_once(bench):
    for _ in range(20):
        flap(bench, 30, 30)
    (fired,) = bench.told
    assert (fired.rule, fired.subject, fired.severity) == ("trunk_down", "trunk vonage", "page")
    assert bench.only().summary == "trunk vonage: down 14 times within 15 min"
    assert bench.only().detail == ["417 s in all; now registered, for 300 s"]
    assert [alert.state for alert in bench.run(1000)] == ["resolved"]


def test_one_outage_is_over_as_soon_as_the_trunk_is_up_for_long_enough(bench):
    flap(bench, 600, 61)
    assert [alert.state for alert in bench.told] == ["firing", "resolved"]


def test_all_trunks_down_are_one_alert():
    bench = Bench(trunks="vonage other third")
    bench.trunks = dict.fromkeys(bench.trunks, DOWN)
    bench.run(200)
    (alert,) = bench.told
    assert (alert.subject, alert.trunk) == ("gateway", None)
    assert alert.summary == "trunk vonage, trunk other, trunk third: down: failed, 403 Forbidden"
    bench.trunks = dict.fromkeys(bench.trunks, UP)
    assert [alert.state for alert in bench.run(100)] == ["resolved"]


def test_one_trunk_of_two_is_an_alert_about_it():
    bench = Bench(trunks="vonage other")
    bench.trunks["other"] = DOWN
    bench.run(200)
    assert bench.only().subject == "trunk other"


def test_calls_that_fail_on_a_trunk_that_is_down_are_its_trouble(bench):
    bench.trunks["vonage"] = DOWN
    bench.run(200)
    bench.fail(20, "trunk vonage has no address yet")
    bench.run(5)
    assert [alert.rule for alert in bench.told] == ["trunk_down"]
    assert "trunk vonage, too: 100 % of calls fail" in bench.only().detail


def test_calls_that_fail_wait_for_the_alert_of_their_trunk(bench):
    bench.trunks["vonage"] = DOWN
    bench.fail(20, "trunk vonage has no address yet")
    bench.run(200)
    assert [alert.rule for alert in bench.told] == ["trunk_down"]


def test_calls_that_have_failed_are_told_when_the_trunk_comes_back_sooner(bench):
    bench.trunks["vonage"] = DOWN
    bench.fail(20, "trunk vonage has no address yet")
    assert bench.run(100) == []
    bench.trunks["vonage"] = UP
    assert [alert.rule for alert in bench.run(1)] == ["call_failures"]


def test_calls_that_fail_do_not_wait_for_ever(bench):
    bench.engine.use(RulesConfig(trunk_down=TrunkDownConfig(for_s=3600)))
    bench.trunks["vonage"] = DOWN
    bench.fail(20, "trunk vonage has no address yet")
    assert bench.run(180) == []
    assert [alert.rule for alert in bench.run(1)] == ["call_failures"]


# Calls


def test_one_way_audio_on_a_tenth_of_the_calls_pages(bench):
    calls = [bench.call() for _ in range(29)]
    for record in calls[:2]:
        bench.slice(record, silent())
    bench.run(1)
    assert bench.told == []
    bench.slice(calls[2], silent())
    (fired,) = bench.run(1)
    assert (fired.rule, fired.severity) == ("one_way_audio", "page")
    assert fired.summary == "trunk vonage: 10 % of calls have one-way audio; cause: carrier or access network"
    assert fired.calls == [record.id for record in reversed(calls[:3])]
    # the calls leave the window of 15 min, and the alert holds for 10 min
    (resolved,) = bench.run(1600)
    assert resolved.state == "resolved"


def test_a_call_that_dies_often_is_one_call(bench):
    record = bench.call()
    for _ in range(20):
        bench.slice(record, silent())
    bench.run(1)
    assert bench.told == []


def test_calls_that_fail_page_with_their_reasons(bench):
    bench.calls(30, good())
    bench.fail(4)
    bench.run(1)
    assert bench.told == []
    bench.fail(1, "agent reception is full")
    (fired,) = bench.run(1)
    assert (fired.rule, fired.subject, fired.severity) == ("call_failures", "trunk vonage", "page")
    assert fired.summary == "trunk vonage: 14 % of calls fail"
    assert fired.detail[1:] == ["4 times: no route for +…", "1 times: agent reception is full"]
    assert len(fired.calls) == 5


def test_a_share_between_the_limits_neither_fires_nor_resolves(bench):
    bench.calls(90, good())
    bench.fail(8)
    bench.run(1)
    assert bench.told == []
    bench.fail(4)
    assert len(bench.run(1)) == 1
    for _ in range(100):
        bench.calls(24, good())
        bench.fail(2)
        bench.run(30)
    assert len(bench.told) == 1
    bench.calls(600, good())
    assert bench.run(600) == []
    assert [alert.state for alert in bench.run(1)] == ["resolved"]


def test_what_the_provider_ends_and_what_is_refused_at_the_stop_are_no_failures_of_the_trunk(bench):
    for _ in range(20):
        bench.end(bench.call(answered=False), by="provider", reason="no key", status=503)
    bench.fail(20, "gateway is stopping")
    bench.run(5)
    assert bench.told == []


def test_a_page_that_nobody_answers_raises_no_alert(bench):
    for _ in range(20):
        record = bench.call(agent=ALERT_AGENT, answered=False)
        bench.session(record, ok=False)
        bench.end(record, by="gateway", reason="no way there", status=503)
    bench.calls(12, *[lossy()] * 40, agent=ALERT_AGENT)
    bench.run(5)
    assert bench.told == []


# Few calls


def hourly(bench: Bench, each, hours: int) -> list[Alert]:
    """One call an hour."""
    told: list[Alert] = []
    for _ in range(hours):
        each()
        told += bench.poll()
        bench.skip(3600)
        told += bench.poll()
    return told


def test_one_call_an_hour_that_fails_pages_at_the_fifth(bench):
    assert hourly(bench, bench.fail, 4) == []
    (fired,) = hourly(bench, bench.fail, 1)
    assert (fired.rule, fired.severity) == ("call_failures", "page")
    assert fired.summary == "trunk vonage: the last 5 calls failed"
    assert fired.detail[1:] == ["5 times: no route for +…"]
    assert len(fired.calls) == 5
    assert hourly(bench, bench.fail, 20) == []
    bench.calls(1, good())
    assert [alert.state for alert in bench.run(601)] == ["resolved"]


def test_calls_that_fail_now_and_then_are_no_run(bench):
    for _ in range(10):
        assert hourly(bench, bench.fail, 4) == []
        bench.calls(1, good())


def test_a_run_of_more_than_a_day_is_none(bench):
    for _ in range(20):
        assert hourly(bench, bench.fail, 1) == []
        bench.skip(6 * 3600)


def test_five_failures_in_a_row_among_many_calls_are_none(bench):
    bench.calls(100, good())
    bench.fail(5)
    bench.run(5)
    assert bench.told == []


def test_one_silent_call_an_hour_pages_with_its_cause(bench):
    (fired,) = hourly(bench, lambda: bench.calls(1, silent(), silent()), 4)
    assert (fired.rule, fired.severity) == ("one_way_audio", "page")
    assert fired.summary == "trunk vonage: the last 3 calls have one-way audio; cause: carrier or access network"
    assert len(fired.calls) == 3


def test_one_session_an_hour_that_is_lost_pages(bench):
    def lost(count: int = 1) -> None:
        record = bench.call(answered=False)
        bench.session(record)
        record.answered_at = bench.wall
        bench.engine.on_record(record)
        bench.report(record, provider_lost=count)
        bench.end(record, by="provider")

    hourly(bench, lost, 2)
    hourly(bench, lambda: lost(0), 1)
    hourly(bench, lost, 2)
    assert bench.told == []
    (fired,) = hourly(bench, lost, 1)
    assert (fired.rule, fired.severity) == ("provider_errors", "page")
    assert fired.summary == "agent reception: the last 3 sessions at openai failed; cause: speech service"


# The speech service


def answers(bench: Bench, calls: int, each: list[float]) -> None:
    for _ in range(calls):
        record = bench.call()
        bench.report(record, each)
        bench.end(record)


def test_one_answer_in_twenty_over_a_second_is_a_ticket(bench):
    answers(bench, 95, [700.0])
    answers(bench, 5, [1100.0])
    bench.run(1)
    assert bench.told == []
    answers(bench, 1, [1700.0])
    (fired,) = bench.run(1)
    assert (fired.rule, fired.subject, fired.severity) == ("turn_latency", "agent reception", "ticket")
    assert fired.summary == "agent reception: one answer in twenty takes more than 1 s; cause: speech service"
    assert fired.verdict is not None
    assert fired.verdict.causes[0].name == "provider"


def test_the_summary_says_how_slow(bench):
    answers(bench, 50, [700.0])
    answers(bench, 4, [2100.0])
    bench.run(1)
    assert bench.only().summary.startswith("agent reception: one answer in twenty takes more than 2 s")


def test_slow_answers_of_one_call_are_no_alert(bench):
    answers(bench, 10, [700.0] * 4)
    answers(bench, 1, [3000.0] * 40)
    bench.run(1)
    assert bench.told == []


def test_a_turn_is_counted_once_whenever_its_latency_is_known(bench):
    record = bench.call()
    for _ in range(30):
        bench.report(record, [2000.0])
    others = [bench.call() for _ in range(2)]
    for other in others:
        bench.report(other, [2000.0])
    answers(bench, 10, [500.0] * 2)
    bench.run(1)
    assert "of 23 within 15 min" in bench.only().detail[0]


def test_slow_answers_of_one_call_an_hour_are_a_ticket(bench):
    def slow() -> None:
        answers(bench, 1, [1500.0] * 4)

    assert hourly(bench, slow, 4) == []
    (fired,) = hourly(bench, slow, 1)
    assert (fired.rule, fired.severity) == ("turn_latency", "ticket")
    assert fired.detail[0].startswith("100 % of 20 within 6 h took more than 1 s")
    assert len(fired.calls) == 5


def test_what_was_slow_this_morning_is_no_ticket_in_a_quiet_hour(bench):
    rules = RulesConfig(disabled=["turn_latency"])
    bench.engine.use(rules)
    answers(bench, 20, [1500.0] * 4)
    bench.skip(3600)
    bench.poll()
    bench.engine.use(RulesConfig())
    answers(bench, 2, [500.0] * 4)
    bench.run(5)
    assert bench.told == []


def test_answers_that_were_slow_by_another_limit_are_forgotten_by_a_reload(bench):
    answers(bench, 30, [1500.0] * 4)
    bench.engine.use(RulesConfig(turn_latency=LatencyConfig(limit_s=2.0, leave_s=1.8)))
    bench.run(5)
    assert bench.told == []


def test_a_late_first_word_is_a_ticket(bench):
    for latency in [900.0] * 9 + [2500.0] * 3:
        bench.report(bench.call(), first_audio_ms=latency)
    (fired,) = bench.run(1)
    assert (fired.rule, fired.severity) == ("first_audio", "ticket")
    assert fired.summary.startswith("agent reception: one first word in twenty takes more than 2 s")


def test_slow_answers_of_a_late_host_are_the_hosts(bench):
    for _ in range(30):
        bench.worker(loop_lag_ms=400.0)
        bench.run(1)
    assert bench.only().rule == "host"
    answers(bench, 10, [2500.0] * 4)
    bench.worker(loop_lag_ms=400.0)
    bench.run(1)
    assert bench.only().rule == "host"
    assert "agent reception, too: one answer in twenty takes more than 2 s" in bench.only().detail


def test_sessions_that_are_refused_page(bench):
    for _ in range(20):
        bench.session(bench.call(answered=False))
    for _ in range(2):
        bench.session(bench.call(answered=False), ok=False)
    bench.run(1)
    assert bench.told == []
    bench.session(bench.call(answered=False), ok=False)
    (fired,) = bench.run(1)
    assert (fired.rule, fired.subject, fired.severity) == ("provider_errors", "agent reception", "page")
    assert fired.summary == "agent reception: 13 % of sessions at openai fail; cause: speech service"


def test_sessions_that_are_lost_page(bench):
    for _ in range(3):
        record = bench.call(answered=False)
        bench.session(record)
        for _ in range(5):
            bench.report(record, provider_lost=1)
    bench.run(1)
    assert bench.only().severity == "page"
    assert "3 of 3 sessions refused or lost" in bench.only().detail[0]


def test_errors_that_calls_survive_are_a_ticket(bench):
    records = [bench.call() for _ in range(3)]
    for record in records:
        bench.report(record, provider_errors=2, provider_reconnects=1)
    bench.run(1)
    assert bench.told == []
    bench.report(records[0], provider_errors=3, provider_reconnects=1)
    (fired,) = bench.run(1)
    assert (fired.rule, fired.severity) == ("provider_errors", "ticket")
    assert fired.summary == "agent reception: openai reports errors or loses sessions; cause: speech service"


def test_all_agents_with_a_bad_provider_are_one_alert():
    bench = Bench(agents="reception sales support")
    for agent in bench.agents:
        for _ in range(5):
            bench.session(bench.call(agent=agent, answered=False), ok=False)
    bench.run(1)
    assert [(alert.rule, alert.subject) for alert in bench.told] == [("provider_errors", "gateway")]
    assert bench.only().summary.startswith("agent reception, agent sales, agent support: 100 % of sessions")


# Echo


def test_an_agent_that_hears_itself_pages(bench):
    bench.calls(20, good(echo=0.2), good(echo=None))
    bench.calls(4, good(echo=0.9), good(echo=0.95))
    bench.run(1)
    assert bench.told == []
    bench.calls(2, good(echo=0.9))
    (fired,) = bench.run(1)
    assert (fired.rule, fired.subject, fired.severity) == ("echo", "trunk vonage", "page")
    assert fired.summary == "trunk vonage: 23 % of calls send the agent's own speech back; cause: echo from the far end"


# The gateway itself


def test_records_that_are_not_written_page_after_a_minute(bench):
    bench.records = RecordsHealth(False, 3, "disk full")
    bench.poll()
    assert bench.run(59) == []
    (fired,) = bench.run(1)
    assert (fired.rule, fired.subject, fired.severity) == ("records", "gateway", "page")
    assert fired.summary == "call records are not written: disk full"
    bench.records = RecordsHealth(True, 0)
    bench.run(60)
    assert [alert.state for alert in bench.run(1)] == ["resolved"]


def test_a_channel_that_fails_is_a_ticket_after_five_minutes_and_ends_with_success(bench):
    bench.alerting = ["alert channel pager fails: pager.example answered 500"]
    bench.poll()
    assert bench.run(299) == []
    (fired,) = bench.run(1)
    assert (fired.rule, fired.subject, fired.severity) == ("alerting", "gateway", "ticket")
    assert fired.summary == "alert channel pager fails: pager.example answered 500"
    bench.alerting = []
    bench.poll()
    assert bench.run(59) == []
    assert [alert.state for alert in bench.run(1)] == ["resolved"]


def test_a_channel_that_a_retry_reaches_is_no_alert(bench):
    bench.alerting = ["alert channel pager fails: pager.example answered 500"]
    bench.run(200)
    bench.alerting = []
    assert bench.run(600) == []


def test_a_queue_of_records_ends_at_half_its_limit(bench):
    bench.records = RecordsHealth(True, 201)
    bench.run(70)
    assert len(bench.told) == 1
    bench.records = RecordsHealth(True, 101)
    bench.run(300)
    assert len(bench.told) == 1
    bench.records = RecordsHealth(True, 100)
    assert [alert.state for alert in bench.run(70)] == ["resolved"]


def test_a_late_clock_pages_and_a_late_loop_is_a_ticket():
    for figures, severity in (({"clock_late_ms": 21.0}, "page"), ({"loop_lag_ms": 101.0}, "ticket")):
        bench = Bench()
        for _ in range(285):
            bench.worker()
            bench.run(1)
        for _ in range(14):
            bench.worker(**figures)
            bench.run(1)
        assert bench.told == []
        for _ in range(2):
            bench.worker(**figures)
            bench.run(1)
        alert = bench.only()
        assert (alert.rule, alert.severity) == ("host", severity)
        assert "media-1" in alert.summary


def test_a_young_worker_hides_no_late_one(bench):
    for second in range(60):
        bench.worker(clock_late_ms=50.0 if second % 3 == 0 else 1.0)
        bench.run(1)
    assert bench.only().severity == "page"
    bench.engine.on_worker_status("media-2", WorkerStatus(1, 90.0, 0))
    bench.run(1)
    assert "media-1" in bench.only().summary


def test_a_clock_that_is_late_without_calls_wakes_nobody(bench):
    for _ in range(100):
        bench.worker(clock_late_ms=500.0, legs=0)
        bench.run(1)
    assert bench.told == []


def test_the_switchs_own_loop_counts(bench):
    for _ in range(30):
        bench.engine.on_loop_lag(0.5)
        bench.run(1)
    assert bench.only().summary.startswith("the event loop of switch was more than 100 ms late")


def test_a_worker_that_dies_is_a_ticket_and_with_its_calls_a_page(bench):
    bench.engine.on_worker_lost("media-1")
    bench.run(1)
    assert (bench.only().rule, bench.only().severity) == ("host", "ticket")
    for _ in range(3):
        bench.end(bench.call(), by="gateway", reason="media worker lost: killed by signal 9")
    bench.run(1)
    assert bench.only().severity == "page"
    assert {alert.rule for alert in bench.told} == {"host"}


def test_a_worker_that_does_not_come_back_pages(bench):
    bench.workers_missing = 1
    bench.poll()
    assert bench.run(59) == []
    (fired,) = bench.run(1)
    assert fired.summary == "1 media workers are missing; cause: this host"


# What all have in common


def test_what_comes_and_goes_stays_open_until_it_is_calm():
    rules = RulesConfig(
        records=RecordsConfig(for_s=10, hold_s=10),
        flapping=FlappingConfig(times=3, period_s=600, calm_s=300),
    )
    bench = Bench(rules)

    def flap() -> None:
        bench.records = RecordsHealth(False, 3, "disk full")
        bench.run(20)
        bench.records = RecordsHealth(True, 0)
        bench.run(30)

    for _ in range(8):
        flap()
    assert [alert.state for alert in bench.told] == ["firing", "resolved", "firing", "resolved", "firing"]
    assert "flapping" in bench.told[-1].detail[-1]
    assert "calm for 5 min" in bench.only().detail[-1]
    bench.run(269)
    assert len(bench.told) == 5
    (resolved,) = bench.run(5)
    assert resolved.state == "resolved"
    # calm for long enough, it is an ordinary alert again
    bench.run(600)
    flap()
    assert [alert.state for alert in bench.told[6:]] == ["firing", "resolved"]
    assert not any("flapping" in line for line in bench.told[6].detail)


def test_an_alert_that_is_still_true_after_a_restart_is_the_same(bench):
    bench.trunks["vonage"] = DOWN
    (fired,) = bench.run(200)
    bench.restart()
    assert bench.run(300) == []
    assert bench.only().id == fired.id
    bench.trunks["vonage"] = UP
    (resolved,) = bench.run(100)
    assert resolved.id == fired.id


def test_one_that_is_not_true_any_more_resolves_after_its_hold(bench):
    bench.calls(12, *[lossy()] * 40)
    (fired,) = bench.run(1)
    bench.restart()
    bench.poll()
    assert bench.run(599) == []
    (resolved,) = bench.run(1)
    assert (resolved.id, resolved.state) == (fired.id, "resolved")


def test_an_alert_about_several_trunks_survives_a_restart():
    bench = Bench(trunks="vonage other")
    bench.trunks = dict.fromkeys(bench.trunks, DOWN)
    (fired,) = bench.run(200)
    bench.restart()
    assert bench.run(300) == []
    assert bench.only().id == fired.id


@pytest.mark.parametrize(
    ("rule", "subject"),
    [("trunk_down", "trunk gone"), ("quality", "agent gone"), ("no_such_rule", "gateway"), ("quality", "nonsense")],
)
def test_a_stored_alert_about_nothing_resolves(bench, rule, subject):
    bench.engine.restore(
        [Alert(id="1", rule=rule, subject=subject, severity="page", summary="", started_at="", updated_at="")]
    )
    assert [alert.state for alert in bench.poll()] == ["resolved"]
    assert bench.engine.alerts == []


def test_an_acknowledged_alert_stays_its_owners(bench):
    bench.trunks["vonage"] = DOWN
    (fired,) = bench.run(200)
    owned = bench.engine.acknowledge(fired.id, "ada", "2026-01-01T00:05:00.000Z")
    assert owned is not None
    assert (owned.state, owned.acknowledged_by) == ("acknowledged", "ada")
    assert bench.engine.acknowledge(fired.id, "bob", "2026-01-01T00:06:00.000Z") == owned
    assert bench.poll() == [owned]
    bench.restart()
    bench.run(60)
    assert bench.only().acknowledged_by == "ada"
    assert bench.engine.acknowledge("another", "ada", "2026-01-01T00:05:00.000Z") is None


def test_a_trunk_that_a_reload_removes_takes_its_alert_along():
    bench = Bench(trunks="vonage other")
    bench.trunks["other"] = DOWN
    bench.run(200)
    del bench.trunks["other"]
    assert [alert.state for alert in bench.run(1)] == ["resolved"]


def test_a_rule_that_a_reload_disables_takes_its_alerts_along(bench):
    bench.trunks["vonage"] = DOWN
    bench.run(200)
    bench.engine.use(RulesConfig(disabled=["trunk_down"]))
    assert [alert.state for alert in bench.run(1)] == ["resolved"]
    assert bench.run(300) == []


def test_a_reload_keeps_what_was_counted(bench):
    bench.fail(4)
    bench.engine.use(RulesConfig(flapping=FlappingConfig(times=5)))
    bench.fail(1)
    bench.run(1)
    assert bench.only().rule == "call_failures"


def test_a_step_of_the_wall_clock_does_no_harm(bench):
    bench.trunks["vonage"] = DOWN
    (fired,) = bench.run(200)
    bench.wall = "1999-12-31T23:59:59.000Z"
    bench.calls(12, *[lossy()] * 40)
    bench.run(1)
    assert len(bench.engine.alerts) == 2
    bench.trunks["vonage"] = UP
    (resolved,) = bench.run(100)
    assert resolved.id == fired.id
    assert resolved.resolved_at == fired.started_at


def test_memory_is_bounded(bench):
    for day in range(30):
        bench.calls(40, *[lossy()] * 10, stuttering(), silent())
        bench.fail(100, f"reason {day}")
        bench.skip(86400 / 10)
        bench.poll()
    small = len(_weight(bench))
    for day in range(30):
        bench.calls(40, *[lossy()] * 10, stuttering(), silent())
        bench.fail(100, f"reason {day}")
        bench.skip(86400 / 10)
        bench.poll()
    assert len(_weight(bench)) <= small
    assert len(bench.only().calls if len(bench.engine.alerts) == 1 else bench.engine.alerts[0].calls) <= 10


def _weight(bench: Bench) -> list[int]:
    """Every object that hangs on the engine, once."""
    seen: dict[int, object] = {}
    waiting: list[object] = [bench.engine]
    skipped = (str, int, float, bool, type(None), Bench, RulesConfig, type, type(lambda: 0))
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, skipped):
            continue
        seen[id(item)] = item
        if isinstance(item, dict):
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple | set | frozenset) or type(item).__name__ == "deque":
            waiting += list(item)
        else:
            waiting += list(getattr(item, "__dict__", {}).values())
            waiting += [getattr(item, name, None) for name in getattr(type(item), "__slots__", ())]
    return list(seen)


def test_calls_that_are_over_are_forgotten(bench):
    bench.calls(50, good())
    assert "calls=0" in repr(bench.engine)


# Whatever comes

numbers = st.floats(allow_nan=True, allow_infinity=True)
maybe = st.none() | numbers
streams = st.builds(StreamSlice, mos=maybe, bad=st.booleans(), dead=st.booleans(), lost=maybe, discarded=maybe)
slices = st.builds(
    Slice,
    start_s=numbers,
    length_s=numbers,
    received=streams,
    sent=streams,
    underruns=st.integers(-5, 50),
    clock_late_ms=numbers,
    loop_lag_ms=numbers,
    echo=maybe,
)
TRUNKS = st.sampled_from(["vonage", "other", "unknown"])
AGENTS = st.sampled_from(["reception", "sales", "unknown"])
steps = st.one_of(
    st.tuples(st.just("calls"), st.integers(1, 30), slices, TRUNKS, AGENTS),
    st.tuples(st.just("open"), TRUNKS, AGENTS),
    st.tuples(st.just("slice"), slices),
    st.tuples(st.just("dead"), st.sampled_from(["received", "sent"])),
    st.tuples(st.just("report"), st.lists(numbers, max_size=5), maybe, st.integers(-3, 30), st.integers(-3, 3)),
    st.tuples(st.just("session"), st.booleans()),
    st.tuples(st.just("fail"), st.integers(1, 20)),
    st.tuples(st.just("worker"), numbers, numbers),
    st.tuples(st.just("lost"), st.sampled_from(["media-1", "media-2"])),
    st.tuples(st.just("lag"), numbers),
    st.tuples(st.just("trunk"), st.sampled_from(["vonage", "other"]), st.sampled_from([UP, DOWN, None])),
    st.tuples(st.just("records"), st.booleans(), st.integers(0, 300)),
    st.tuples(st.just("missing"), st.integers(0, 3)),
    st.tuples(st.just("run"), st.floats(0, 400)),
    st.tuples(st.just("skip"), st.floats(0, 1e5)),
    st.tuples(st.just("ack")),
    st.tuples(st.just("restart")),
    st.tuples(st.just("use"), st.lists(st.sampled_from(["quality", "host", "echo", "trunk_down"]), max_size=2)),
    st.tuples(st.just("stray"), slices),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(steps, max_size=25))
def test_whatever_happens_nothing_raises_and_no_alert_is_double(story):
    bench = Bench(trunks="vonage other", agents="reception sales")
    record = bench.call()
    for name, *given_ in story:
        match name, given_:
            case "calls", [count, part, trunk, agent]:
                bench.calls(count, part, trunk=trunk, agent=agent)
            case "open", [trunk, agent]:
                record = bench.call(trunk, agent)
            case "slice", [part]:
                bench.slice(record, part)
            case "dead", [direction]:
                bench.engine.on_fact(record.id, MediaAlarm(record.id, direction, True, ""))
            case "report", [turns, first, errors, lost]:
                bench.report(record, turns, first, provider_errors=errors, provider_lost=lost)
            case "session", [ok]:
                bench.session(record, ok)
            case "fail", [count]:
                bench.fail(count)
            case "worker", [clock, loop]:
                bench.worker(clock, loop)
            case "lost", [worker]:
                bench.engine.on_worker_lost(worker)
            case "lag", [seconds]:
                bench.engine.on_loop_lag(seconds)
            case "trunk", [trunk, None]:
                bench.trunks.pop(trunk, None)
            case "trunk", [trunk, state]:
                bench.trunks[trunk] = state
            case "records", [writable, queued]:
                bench.records = RecordsHealth(writable, queued)
            case "missing", [count]:
                bench.workers_missing = count
            case "run", [seconds]:
                bench.run(seconds)
            case "skip", [seconds]:
                bench.skip(seconds)
            case "ack", []:
                for alert in bench.engine.alerts:
                    bench.engine.acknowledge(alert.id, "ada", bench.wall)
            case "restart", []:
                bench.restart()
                record = bench.call()
            case "use", [disabled]:
                bench.engine.use(RulesConfig(disabled=disabled))
            case "stray", [part]:
                bench.engine.on_fact("no such call", SliceEnded("no such call", part))
        told = bench.poll()
        msgspec.json.encode(told)
        about = [(alert.rule, alert.subject) for alert in bench.engine.alerts]
        assert len(about) == len(set(about))
        assert all(alert.state != "resolved" for alert in bench.engine.alerts)
    starts = [alert.id for alert in bench.told if alert.state == "resolved"]
    assert len(starts) == len(set(starts))
