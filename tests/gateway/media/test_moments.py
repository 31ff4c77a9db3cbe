"""Marks on a call's timeline."""

from trunkline.gateway.media.moments import DETAIL_MAX, MOMENTS_MAX, Moments
from trunkline.gateway.messages import Happened


def test_times_are_since_the_answer_and_there_is_nothing_before_it():
    facts: list[Happened] = []
    now = 100.0
    moments = Moments("call", facts.append, lambda: now)
    moments.happened("dtmf", "1")
    moments.answered(100.0)
    now = 102.5
    moments.happened("provider_error", "x" * 1000)
    (fact,) = facts
    assert (fact.call_id, fact.moment.at_s, fact.moment.kind) == ("call", 2.5, "provider_error")
    assert len(fact.moment.detail) == DETAIL_MAX


def test_after_the_last_one_there_is_one_that_says_so():
    facts: list[Happened] = []
    moments = Moments("call", facts.append, lambda: 1.0)
    moments.answered(1.0)
    for _ in range(MOMENTS_MAX + 50):
        moments.happened("dtmf", "1")
    assert [fact.moment.kind for fact in facts] == ["dtmf"] * MOMENTS_MAX + ["truncated"]
