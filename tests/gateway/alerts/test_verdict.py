"""Who is blamed: each cause by synthetic slices, mixtures, comparisons, and the words that a person reads."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.alert_bench import good, host_late, lossy, silent, stalled, stream, stuttering, way_out

from trunkline.gateway.alerts.alert import CauseName, Verdict
from trunkline.gateway.alerts.attribution import causes_of
from trunkline.gateway.alerts.evidence import Traffic
from trunkline.gateway.alerts.rules import Symptom
from trunkline.gateway.alerts.verdict import NAMES, judge
from trunkline.gateway.record import Slice, StreamSlice

UNDERRUNS = 3


def symptoms(parts: Sequence[Slice], *, trunk: str = "vonage", agent: str = "reception", callers: int = 8):
    """Each slice of another call, of so many callers."""
    return [
        Symptom(float(number), f"call-{number}", trunk, agent, "openai", f"+1415{number % callers}", part)
        for number, part in enumerate(parts)
    ]


def verdict_on(*parts: Slice, trunks: dict[str, Traffic] | None = None, **whose) -> Verdict:
    return judge(symptoms(parts, **whose), trunks or {}, UNDERRUNS)


def names(verdict: Verdict) -> list[CauseName]:
    return [cause.name for cause in verdict.causes]


def late_arrivals(discarded: float = 0.06, jitter_ms: float = 45.0, **more) -> Slice:
    return Slice(
        start_s=0,
        length_s=10,
        received=stream(58.0, lost=0.0, discarded=discarded, jitter_ms=jitter_ms),
        sent=stream(),
        **more,
    )


def late_at_the_far_end(**more) -> Slice:
    return Slice(start_s=0, length_s=10, received=stream(), sent=stream(60.0, lost=0.0, discarded=0.05), **more)


def shaky(**more) -> Slice:
    return Slice(
        start_s=0, length_s=10, received=stream(55.0, lost=0.08, discarded=0.0, jitter_ms=45.0), sent=stream(), **more
    )


def both_ways(**more) -> Slice:
    return Slice(start_s=0, length_s=10, received=stream(58.0, lost=0.07), sent=stream(55.0, lost=0.08), **more)


# One slice


@pytest.mark.parametrize(
    ("part", "causes"),
    [
        (good(), set()),
        (lossy(), {"carrier"}),
        (silent(), {"carrier"}),
        (late_arrivals(), {"carrier"}),
        (late_arrivals(jitter_ms=5.0), {"carrier"}),
        (both_ways(), {"carrier"}),
        (way_out(), {"way_out"}),
        (stuttering(3), {"provider"}),
        (stuttering(2), set()),
        (good(echo=0.75), {"echo"}),
        (good(echo=0.74), set()),
        # the same with this host late
        (late_arrivals(loop_lag_ms=60.0, skipped=3), {"host"}),
        (late_arrivals(loop_lag_ms=59.0, clock_late_ms=39.0, skipped=3), {"carrier"}),
        (stuttering(3, clock_late_ms=40.0, skipped=3), {"host"}),
        (late_at_the_far_end(clock_late_ms=40.0, skipped=3), {"host"}),
        (late_at_the_far_end(), {"way_out"}),
        (good(clock_late_ms=900.0, skipped=39), set()),
        (stalled(40), {"host"}),
        # a late second that the call itself did not meet
        (late_arrivals(clock_late_ms=900.0, loop_lag_ms=900.0), {"carrier"}),
        (late_arrivals(clock_late_ms=900.0, loop_lag_ms=900.0, skipped=1), {"carrier"}),
        # each break takes a period in which the clock was late
        (stuttering(40, clock_late_ms=90.0, skipped=4), {"provider"}),
        # lateness loses no packets, either way, but for stalls that overrun the socket's buffer
        (lossy(clock_late_ms=200.0, loop_lag_ms=200.0, skipped=10), {"carrier"}),
        (way_out(clock_late_ms=200.0, loop_lag_ms=200.0, skipped=10), {"way_out"}),
        (lossy(loop_lag_ms=2000.0, skipped=39), {"carrier"}),
        (lossy(loop_lag_ms=2000.0, skipped=100), {"host"}),
        # both: neither alone would be enough of an explanation
        (lossy(clock_late_ms=250.0, skipped=100), {"carrier", "host"}),
        # R is made of loss: jitter beside it explains nothing more
        (shaky(clock_late_ms=45.0, skipped=1), {"carrier"}),
        # several at once
        (lossy(underruns=5), {"carrier", "provider"}),
        (way_out(echo=0.9), {"way_out", "echo"}),
        (way_out(underruns=3), {"way_out", "provider"}),
        # an R that nothing explains
        (Slice(start_s=0, length_s=10, received=stream(60.0, lost=0.001)), set()),
    ],
)
def test_a_slice_is_attributed(part, causes):
    assert causes_of(part, UNDERRUNS) == causes


def test_nothing_received_at_all_is_silence_before_us():
    nothing = Slice(start_s=0, length_s=10, received=StreamSlice(bad=True))
    assert causes_of(nothing, UNDERRUNS) == {"carrier"}


# One cause


@pytest.mark.parametrize(
    ("part", "name", "begins"),
    [
        (lossy(0.061), "carrier", "the carrier or access network before us: 6.1 % of the packets lost before us"),
        (silent(), "carrier", "the carrier or access network before us: no media from the far end in 16 of 16"),
        (host_late(), "host", "this host: its media clock was up to 180 ms late (limit 40)"),
        (stalled(), "host", "this host: its media clock was up to 250 ms late (limit 40)"),
        (stuttering(4), "provider", "the speech service (openai): the agent's speech broke 64 times in 16 of 16"),
        (way_out(), "way_out", "the network on the way out: the far end reports that our stream is bad"),
        (good(echo=0.9), "echo", "echo from the far end: what came in resembles what the agent had said (0.90 of 1"),
        (Slice(start_s=0, length_s=10, received=stream(60.0)), "unknown", "no known cause"),
    ],
)
def test_each_cause_is_named_with_its_figures(part, name, begins):
    verdict = verdict_on(*[part] * 16)
    assert names(verdict) == [name]
    assert verdict.causes[0].share == 1.0
    assert not verdict.mixed
    assert verdict.summary.startswith(begins)


def test_a_few_slices_of_another_cause_do_not_make_it_mixed():
    verdict = verdict_on(*[lossy()] * 13, *[stuttering()] * 3)
    assert names(verdict) == ["carrier"]
    assert verdict.causes[0].share == 0.812
    assert verdict.causes[0].evidence[-1] == "besides, the speech service in 3 of 16 bad slices"


# Mixtures


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([lossy()] * 8 + [stuttering()] * 8, ["carrier", "provider"]),
        ([lossy()] * 10 + [way_out()] * 6, ["carrier", "way_out"]),
        ([host_late()] * 9 + [lossy()] * 7, ["host", "carrier"]),
        ([lossy(underruns=5)] * 16, ["carrier", "provider"]),
        ([lossy()] * 6 + [stuttering()] * 5 + [way_out()] * 5, ["carrier", "provider", "way_out"]),
        ([way_out(echo=0.9)] * 12 + [good(echo=0.9)] * 4, ["echo", "way_out"]),
    ],
)
def test_mixtures_say_that_they_are_mixed(parts, expected):
    verdict = verdict_on(*parts)
    assert names(verdict) == expected
    assert verdict.mixed
    assert verdict.summary.startswith("mixed: ")
    assert all(cause.evidence for cause in verdict.causes)


def test_the_summary_of_a_mixture_has_the_shares():
    verdict = verdict_on(*[lossy()] * 10, *[stuttering()] * 6)
    assert (
        verdict.summary
        == "mixed: the carrier or access network before us (62 %) and the speech service (openai) (38 %)"
    )


# Comparisons


def evidence_of(verdict: Verdict) -> str:
    return "; ".join(verdict.causes[0].evidence)


def test_one_trunk_alone():
    trunks = {"vonage": Traffic(100, 38, inbound=38), "other": Traffic(500, 2, inbound=2), "idle": Traffic(0, 0)}
    assert "trunk vonage alone (other 0.4 %, vonage 38 % of their slices bad inbound)" in evidence_of(
        verdict_on(*[lossy()] * 16, trunks=trunks)
    )


def test_another_trunk_with_another_trouble_is_not_in_it():
    trunks = {"vonage": Traffic(100, 38, inbound=38), "other": Traffic(100, 90, outbound=90)}
    assert "trunk vonage alone (other 0 %, vonage 38 % of their slices bad inbound)" in evidence_of(
        verdict_on(*[lossy()] * 16, trunks=trunks)
    )
    trunks = {"vonage": Traffic(100, 0, echoes=38), "other": Traffic(100, 90, inbound=90)}
    assert "trunk vonage alone (other 0 %, vonage 38 % of their slices with echo)" in evidence_of(
        verdict_on(*[good(echo=0.9)] * 16, trunks=trunks)
    )


def test_some_trunks_in_the_same_trouble():
    trunks = {"vonage": Traffic(9, 8, inbound=8), "other": Traffic(9, 8, inbound=8), "clear": Traffic(9, 0)}
    assert "trunk vonage as well as other (clear 0 %, other 89 %, vonage 89 % of their slices bad inbound)" in (
        evidence_of(verdict_on(*[lossy()] * 16, trunks=trunks))
    )


def test_all_trunks_alike_point_at_this_sites_line():
    trunks = {"vonage": Traffic(100, 38, inbound=38), "other": Traffic(100, 30, inbound=30)}
    assert (
        "all trunks alike (other 30 %, vonage 38 % of their slices bad inbound): look at this site's own line"
        in evidence_of(verdict_on(*[lossy()] * 16, trunks=trunks))
    )


def test_the_only_trunk_has_nothing_to_be_compared_with():
    assert "trunk vonage is the only one with calls" in evidence_of(
        verdict_on(*[lossy()] * 16, trunks={"vonage": Traffic(100, 38)})
    )


def test_one_caller_or_many():
    assert "16 calls of one number: that phone or its line" in evidence_of(verdict_on(*[lossy()] * 16, callers=1))
    assert "16 calls of 8 different numbers: no single phone" in evidence_of(verdict_on(*[lossy()] * 16))


def test_both_directions_bad_are_the_line_before_us():
    verdict = verdict_on(*[both_ways()] * 16)
    assert names(verdict) == ["carrier"]
    assert "the far end reports the same of what we sent in 16 of 16 bad slices" in evidence_of(verdict)


def test_a_carrier_is_blamed_with_this_hosts_alibi():
    assert "this host was in time: clock at most 0 ms late (limit 40), event loop 0 ms (limit 60)" in evidence_of(
        verdict_on(*[lossy()] * 16)
    )


def test_a_little_lateness_is_not_blamed_when_slices_in_time_are_as_bad():
    parts = [late_arrivals(clock_late_ms=70.0, loop_lag_ms=70.0, skipped=3)] * 16
    as_bad = {"vonage": Traffic(slices=40, bad=38, late=20, late_bad=19)}
    assert names(verdict_on(*parts, trunks=as_bad)) == ["carrier"]
    better = {"vonage": Traffic(slices=40, bad=22, late=20, late_bad=19)}
    assert names(verdict_on(*parts, trunks=better)) == ["host"]
    never_in_time = {"vonage": Traffic(slices=20, bad=19, late=20, late_bad=19)}
    assert names(verdict_on(*parts, trunks=never_in_time)) == ["host"]


def test_much_lateness_is_blamed_in_any_case():
    parts = [late_arrivals(clock_late_ms=250.0, skipped=12)] * 16
    as_bad = {"vonage": Traffic(slices=40, bad=38, late=20, late_bad=19)}
    assert names(verdict_on(*parts, trunks=as_bad)) == ["host"]


def test_no_slices_are_no_verdict_and_no_fault():
    verdict = judge([], {}, UNDERRUNS)
    assert verdict.causes == []
    assert verdict.summary == "nothing to judge by"


# Whatever comes


@given(
    st.lists(
        st.sampled_from([lossy(), silent(), host_late(), stuttering(), way_out(), good(echo=0.9), both_ways(), good()]),
        min_size=1,
        max_size=40,
    )
)
def test_shares_and_names_hold_together(parts):
    verdict = verdict_on(*parts)
    assert verdict.causes
    assert all(0 < cause.share <= 1 and cause.evidence for cause in verdict.causes)
    assert [cause.share for cause in verdict.causes] == sorted((c.share for c in verdict.causes), reverse=True)
    assert len(set(names(verdict))) == len(verdict.causes)
    assert set(names(verdict)) <= set(NAMES)
    assert all(cause.share >= 0.25 for cause in verdict.causes[1:])
