"""The quality rule: burn rates over two windows, its volume guard, its ways in and out, and whose alert it is."""

import pytest
from pydantic import ValidationError
from support.alert_bench import Bench, fair, good, host_late, lossy, silent, stuttering, way_out

from trunkline.gateway.alerts.rules_config import BurnRateConfig, QualityConfig, RulesConfig
from trunkline.gateway.record import CallRecord, Slice


@pytest.fixture
def bench() -> Bench:
    return Bench()


def traffic(bench: Bench, seconds: int, bad: float, part=None, **whose: str) -> None:
    """A call of one slice each 5 s, of which a share is bad; polled each second."""
    due = 0.0
    for _ in range(0, seconds, 5):
        due += bad
        if due >= 1:
            due -= 1
            bench.calls(1, part or lossy(), **whose)
        else:
            bench.calls(1, good(), **whose)
        bench.run(5)


def test_a_carrier_that_loses_packets_pages_once_the_guard_is_met(bench):
    traffic(bench, 2400, bad=0.0)
    assert bench.told == []
    traffic(bench, 3600, bad=0.5)
    ticket, alert = bench.told
    assert (ticket.id, ticket.severity) == (alert.id, "ticket")
    assert (alert.rule, alert.subject, alert.trunk) == ("quality", "trunk vonage", "vonage")
    assert (alert.severity, alert.state) == ("page", "firing")
    assert alert.summary.startswith("trunk vonage: ")
    assert alert.summary.endswith(" % of the audio is bad; cause: carrier or access network")
    assert alert.verdict is not None
    assert [cause.name for cause in alert.verdict.causes] == ["carrier"]
    assert len(alert.calls) == 10


def test_it_fires_and_resolves_at_exact_times():
    rules = RulesConfig(
        quality=QualityConfig(
            burn_rates=[BurnRateConfig(severity="page", burn_rate=5, long_s=60, short_s=30)],
            min_calls=3,
            min_slices=10,
            hold_s=20,
        )
    )
    bench = Bench(rules)
    bench.now = 1200.0
    bench.calls(9, good())
    bench.calls(2, lossy())
    assert bench.run(1) == []
    bench.calls(1, lossy())
    (fired,) = bench.run(1)
    assert bench.now == 1202
    assert fired.state == "firing"
    # the last bad slice leaves the short window at 1231, and the alert holds for 20 s more
    assert bench.run(48) == []
    assert bench.now == 1250
    (resolved,) = bench.run(1)
    assert (resolved.id, resolved.state, resolved.resolved_at) == (fired.id, "resolved", bench.wall)
    assert bench.engine.alerts == []


def test_one_bad_call_of_many_slices_never_pages(bench):
    record = bench.call()
    for _ in range(720):
        bench.slice(record, lossy())
        bench.run(10)
    assert bench.told == []


def test_one_bad_call_among_good_ones_never_fires(bench):
    """The others are as good as the objective asks for, and enough of them have a bad slice for the guard."""

    def minutes(count: int, *, other: Slice, long_call: CallRecord | None = None) -> None:
        for minute in range(count):
            if long_call is not None:
                bench.slice(long_call, lossy(), 6)
            bench.calls(1, *[good()] * 8, lossy() if minute % 6 == 0 else other)
            bench.skip(60)
            bench.poll()

    minutes(180, other=good())
    record = bench.call()
    minutes(120, other=good(), long_call=record)
    assert bench.told == []
    minutes(30, other=lossy(), long_call=record)
    assert bench.told != []


def test_ten_bad_calls_page_when_nine_do_not():
    for count, alerts in ((9, 0), (10, 1)):
        bench = Bench()
        bench.calls(count, *[lossy()] * 40)
        bench.run(1)
        assert len(bench.told) == alerts


def test_slices_in_which_nothing_was_due_count_for_nothing(bench):
    bench.calls(12, *[lossy()] * 29, *[Slice(start_s=0, length_s=10)] * 10)
    bench.run(1)
    assert bench.told == []


def test_few_slices_never_page(bench):
    bench.calls(12, *[lossy()] * 29)
    bench.run(1)
    assert bench.told == []
    bench.calls(1, *[lossy()] * 12)
    bench.run(1)
    assert len(bench.told) == 1


def test_a_short_burst_that_is_over_does_not_page(bench):
    """The long windows still have it, the short ones say that it is over: what is left is a ticket."""
    bench.calls(9, *[lossy()] * 60)
    bench.run(1900)
    bench.calls(5, lossy(), *[good()] * 60)
    bench.run(1)
    assert [alert.severity for alert in bench.told] == ["ticket"]


def test_a_slow_leak_does_not_hide():
    """3 % bad: far from any page, found by the window of three days, as a ticket."""
    bench = Bench()
    for _ in range(6 * 60):
        bench.calls(97, good())
        bench.calls(3, lossy())
        bench.skip(60)
    assert bench.poll()[0].severity == "ticket"
    alert = bench.only()
    assert alert.summary.startswith("trunk vonage: 3.0 % of the audio is bad")
    assert "within 3 d" in alert.detail[0]


def test_within_the_objective_there_is_no_ticket():
    bench = Bench()
    for _ in range(6 * 60):
        bench.calls(98, good())
        bench.calls(1, lossy())
        bench.skip(60)
        bench.poll()
    assert bench.told == []


def quick(**more) -> RulesConfig:
    return RulesConfig(
        quality=QualityConfig(
            **{
                "burn_rates": [BurnRateConfig(severity="page", burn_rate=14.4, long_s=600, short_s=300)],
                "min_slices": 20,
                "hold_s": 60,
                **more,
            }
        )
    )


def test_r_72_does_not_fire():
    bench = Bench(quick())
    for _ in range(200):
        bench.calls(2, fair(), fair())
        bench.run(10)
    assert bench.told == []


def test_r_72_does_not_resolve():
    bench = Bench(quick())
    bench.calls(12, lossy(), lossy())
    assert [alert.state for alert in bench.run(1)] == ["firing"]
    for _ in range(200):
        bench.calls(2, fair(), fair())
        bench.run(10)
    assert len(bench.told) == 1
    for _ in range(200):
        bench.calls(2, good(), good())
        bench.run(10)
    assert [alert.state for alert in bench.told] == ["firing", "resolved"]


def test_no_calls_any_more_ends_it():
    bench = Bench(quick())
    bench.calls(12, lossy(), lossy())
    bench.run(1)
    assert [alert.state for alert in bench.run(700)] == ["resolved"]
    assert bench.told[-1].summary.startswith("trunk vonage: 100 % of the audio is bad")


def test_breaks_in_speech_make_bad_quality_whatever_r_says():
    bench = Bench(quick())
    bench.calls(12, stuttering(3), stuttering(3))
    bench.run(1)
    alert = bench.only()
    assert (alert.subject, alert.trunk) == ("agent reception", None)
    assert alert.verdict is not None
    assert alert.verdict.causes[0].name == "provider"


def test_fewer_breaks_do_not():
    bench = Bench(quick())
    bench.calls(12, stuttering(2), stuttering(2))
    bench.run(1)
    assert bench.told == []


def test_a_burn_rate_that_could_never_fire_is_refused():
    with pytest.raises(ValidationError, match="asks for 144 % bad slices"):
        QualityConfig(objective=0.9)


# Whose alert it is


def test_the_agents_of_a_bad_trunk_have_no_alert_of_their_own():
    bench = Bench(quick(), agents="reception sales")
    for agent in ("reception", "sales"):
        bench.calls(12, lossy(), lossy(), agent=agent)
    bench.run(16)
    alert = bench.only()
    assert alert.subject == "trunk vonage"
    assert "agent reception, too: 100 % of the audio is bad" in alert.detail
    assert "agent sales, too: 100 % of the audio is bad" in alert.detail


def test_ten_agents_of_a_bad_trunk_have_none_though_each_has_more_evidence_than_is_kept():
    bench = Bench(quick(), agents=" ".join(f"agent{number}" for number in range(10)))
    for _ in range(3):
        for agent in bench.agents:
            bench.calls(12, *[lossy()] * 5, agent=agent)
        bench.run(5)
    bench.run(10)
    assert [alert.subject for alert in bench.told] == ["trunk vonage"]


def test_the_trunk_of_a_bad_provider_has_no_alert_of_its_own():
    bench = Bench(quick(), trunks="vonage other")
    for trunk in ("vonage", "other"):
        bench.calls(12, stuttering(), stuttering(), trunk=trunk)
    bench.run(16)
    alert = bench.only()
    assert alert.subject == "agent reception"
    assert len([line for line in alert.detail if "too:" in line]) == 2


def test_two_troubles_are_two_alerts():
    bench = Bench(quick(), trunks="vonage other", agents="reception sales")
    bench.calls(12, lossy(), lossy(), trunk="vonage", agent="reception")
    bench.calls(12, good(), good(), trunk="vonage", agent="reception")
    bench.calls(12, stuttering(), stuttering(), trunk="other", agent="sales")
    bench.calls(30, good(), good(), trunk="other", agent="reception")
    bench.run(16)
    assert {alert.subject for alert in bench.engine.alerts} == {"trunk vonage", "agent sales"}


def test_all_trunks_alike_are_one_alert_about_the_gateway():
    bench = Bench(quick(), trunks="vonage other third", agents="reception sales")
    for trunk, agent in (("vonage", "reception"), ("other", "sales"), ("third", "sales")):
        bench.calls(12, lossy(), lossy(), trunk=trunk, agent=agent)
    told = bench.run(1)
    assert [(alert.rule, alert.subject, alert.trunk) for alert in told] == [("quality", "gateway", None)]
    alert = bench.only()
    assert alert.summary.startswith("trunk vonage, trunk other, trunk third: 100 % of the audio is bad")
    assert alert.verdict is not None
    assert any("all trunks alike" in sentence for sentence in alert.verdict.causes[0].evidence)
    # one recovers, one goes on: it is still this alert
    for _ in range(60):
        for trunk in ("other", "third"):
            bench.calls(1, good(), trunk=trunk)
        bench.calls(1, lossy(), trunk="vonage")
        bench.run(10)
    assert [alert.state for alert in bench.told] == ["firing"]
    assert bench.only().summary.startswith("trunk vonage: ")
    for _ in range(100):
        bench.calls(1, good(), trunk="vonage")
        bench.run(10)
    assert [alert.state for alert in bench.told] == ["firing", "resolved"]


def test_trunks_that_go_bad_one_after_the_other_within_seconds_are_one_alert():
    bench = Bench(quick(), trunks="one two three four")
    for trunk in bench.trunks:
        bench.calls(12, good(), good(), trunk=trunk)
    for trunk in bench.trunks:
        bench.calls(12, lossy(), lossy(), trunk=trunk)
        bench.run(4)
    bench.run(20)
    (alert,) = bench.told
    assert (alert.subject, alert.severity) == ("gateway", "page")


def test_three_trunks_of_four_are_one_alert_that_names_them():
    bench = Bench(quick(), trunks="one two three four")
    bench.calls(12, good(), good(), trunk="four")
    for trunk in ("one", "two", "three"):
        bench.calls(12, lossy(), lossy(), trunk=trunk)
    bench.run(20)
    (alert,) = bench.told
    assert alert.subject == "gateway"
    assert alert.summary.startswith("trunk one, trunk two, trunk three: ")
    assert (alert.trunk, alert.trunks) == (None, ["one", "two", "three"]), "the telephone goes over the fourth"


def test_two_trunks_of_three_are_two_alerts_after_a_moment():
    bench = Bench(quick(), trunks="one two three")
    bench.calls(12, good(), good(), trunk="three")
    for trunk in ("one", "two"):
        bench.calls(12, lossy(), lossy(), trunk=trunk)
    assert bench.run(15) == []
    assert sorted(alert.subject for alert in bench.run(1)) == ["trunk one", "trunk two"]


def test_a_trunk_without_calls_is_not_alike():
    bench = Bench(quick(), trunks="vonage other")
    bench.calls(12, good(), trunk="other")
    bench.run(1200)
    bench.calls(12, lossy(), lossy(), trunk="vonage")
    bench.run(1)
    assert bench.only().subject == "trunk vonage"


def test_what_the_host_causes_is_about_the_gateway():
    bench = Bench(quick(), trunks="vonage other")
    bench.calls(12, host_late(), host_late())
    bench.calls(12, good(), good(), trunk="other")
    bench.run(1)
    alert = bench.only()
    assert (alert.rule, alert.subject) == ("quality", "gateway")
    assert alert.summary == "trunk vonage: 100 % of the audio is bad; cause: this host"


def late_seconds(bench: Bench, seconds: int) -> None:
    for _ in range(seconds):
        bench.worker(clock_late_ms=150.0)
        bench.run(1)


def test_an_open_host_alert_takes_in_what_the_host_causes():
    bench = Bench(quick())
    late_seconds(bench, 60)
    assert bench.only().rule == "host"
    bench.calls(12, host_late(), host_late())
    late_seconds(bench, 5)
    assert [alert.rule for alert in bench.told] == ["host"]
    assert any(line.startswith("trunk vonage, too:") for line in bench.only().detail)


def test_an_open_host_alert_hides_no_carrier():
    bench = Bench(quick())
    late_seconds(bench, 60)
    bench.calls(12, lossy(), lossy())
    late_seconds(bench, 5)
    assert {(alert.rule, alert.subject) for alert in bench.engine.alerts} == {
        ("host", "gateway"),
        ("quality", "trunk vonage"),
    }


def test_one_way_audio_and_bad_quality_of_the_same_calls_are_one_alert():
    bench = Bench(quick())
    bench.calls(12, silent(), silent())
    bench.run(1)
    assert len(bench.engine.alerts) == 1
    bench.calls(3, silent(), silent())
    bench.run(30)
    assert len(bench.told) == 1


def test_the_slices_in_which_a_silence_begins_and_ends_belong_to_it():
    bench = Bench(quick())
    bench.calls(12, lossy(0.1), silent(), lossy(0.1))
    bench.run(1)
    assert [alert.rule for alert in bench.told] == ["one_way_audio"]


def test_other_calls_are_bad_beside_those_with_one_way_audio():
    bench = Bench(quick())
    bench.calls(6, silent())
    bench.calls(12, lossy(), lossy())
    bench.run(1)
    assert {alert.rule for alert in bench.told} == {"one_way_audio", "quality"}


def test_what_one_speech_service_does_is_one_alert():
    bench = Bench(quick())
    for _ in range(5):
        bench.session(bench.call(answered=False), ok=False)
    bench.run(1)
    assert bench.only().rule == "provider_errors"
    bench.calls(12, stuttering(), stuttering())
    bench.run(1)
    assert [alert.rule for alert in bench.told] == ["provider_errors"]
    assert "agent reception, too: 100 % of the audio is bad" in bench.only().detail
    assert "trunk vonage, too: 100 % of the audio is bad" in bench.only().detail


# An alert's life


def test_a_ticket_that_becomes_a_page_wakes_whoever_has_owned_it():
    rules = RulesConfig(
        quality=QualityConfig(
            burn_rates=[
                BurnRateConfig(severity="page", burn_rate=14.4, long_s=600, short_s=300),
                BurnRateConfig(severity="ticket", burn_rate=1, long_s=600, short_s=300),
            ],
            min_slices=20,
            hold_s=60,
        )
    )
    bench = Bench(rules)
    bench.calls(10, lossy(), *[good()] * 9)
    (ticket,) = bench.run(1)
    assert ticket.severity == "ticket"
    assert bench.engine.acknowledge(ticket.id, "ada", "2026-01-01T00:01:00.000Z") is not None
    bench.calls(20, *[lossy()] * 5)
    acknowledged, page = bench.run(1)
    assert (acknowledged.state, acknowledged.severity) == ("acknowledged", "ticket")
    assert (page.id, page.state, page.severity) == (ticket.id, "firing", "page")
    assert page.acknowledged_by is None


def test_another_cause_is_told_once_it_has_settled():
    bench = Bench(quick())
    bench.calls(12, lossy(), lossy())
    bench.run(1)
    bench.calls(12, *[way_out()] * 9)
    # judged anew after 5 s, settled 60 s later
    assert bench.run(64) == []
    (changed,) = bench.run(1)
    assert changed.verdict is not None
    assert [cause.name for cause in changed.verdict.causes] == ["way_out"]
    assert changed.id == bench.told[0].id


def test_the_verdict_is_about_what_goes_on_now():
    """An hour ago it was the carrier; what the short window has is the way out."""
    bench = Bench()
    bench.calls(12, *[lossy()] * 40)
    bench.run(1)
    assert bench.only().verdict.causes[0].name == "carrier"
    bench.skip(2400)
    bench.calls(12, *[way_out()] * 5)
    bench.run(70)
    assert [cause.name for cause in bench.only().verdict.causes] == ["way_out"]


def test_new_figures_alone_are_not_told_but_shown():
    bench = Bench(quick())
    bench.calls(12, lossy(), lossy())
    (fired,) = bench.run(1)
    bench.wall = "2026-01-01T00:00:10.000Z"
    ids = bench.calls(12, lossy(), good())
    assert bench.run(10) == []
    shown = bench.only()
    assert shown.summary.startswith("trunk vonage: 75 % of the audio is bad")
    assert shown.calls[0] == ids[-1]
    assert (shown.started_at, shown.updated_at) == (fired.started_at, bench.wall)
    assert fired.summary.startswith("trunk vonage: 100 %")


def test_bad_calls_that_go_on_after_a_restart_are_the_same_alert(bench):
    bench.calls(12, *[lossy()] * 40)
    (fired,) = bench.run(1)
    bench.restart()
    traffic(bench, 1800, bad=0.5)
    assert bench.told == [fired]
    assert bench.only().id == fired.id
