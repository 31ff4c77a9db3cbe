"""Turns: who said what to which answer, how late and how much of it was heard."""

import pytest

from trunkline.gateway.media.turns import TRANSCRIPT_AGE_MAX, TurnLog


def heard(_: str) -> float:
    return 100.0


@pytest.fixture
def log() -> TurnLog:
    return TurnLog()


def exchange(log: TurnLog, number: int, start: float) -> None:
    """Caller speaks for a second, agent answers 0.8 s after the last word."""
    log.caller_started(f"u{number}")
    log.caller_stopped(start + 1.5, start + 1.0)
    log.agent_item(f"a{number}")
    log.agent_heard(f"a{number}", start + 1.8, start + 1.0)


def test_greeting_is_turn_0_without_latency(log):
    log.agent_item("greeting")
    log.agent_heard("greeting", 5.0, 4.0)
    exchange(log, 1, 10.0)
    turns = log.turns(heard)
    assert [turn.index for turn in turns] == [0, 1]
    assert turns[0].latency_ms is None
    assert turns[1].latency_ms == pytest.approx(800)


def test_without_a_greeting_the_first_exchange_is_turn_0(log):
    exchange(log, 1, 10.0)
    (turn,) = log.turns(heard)
    assert (turn.index, turn.latency_ms) == (0, pytest.approx(800))


def test_items_of_one_answer_are_one_turn(log):
    exchange(log, 1, 10.0)
    log.agent_item("a1b")
    log.agent_heard("a1b", 14.0, 11.0)
    log.agent_said("a1", "first")
    log.agent_said("a1b", "second")
    (turn,) = log.turns(heard)
    assert (turn.agent_said, turn.heard_ms, turn.latency_ms) == ("first second", 200.0, pytest.approx(800))


def test_a_caller_who_goes_on_before_the_answer_stays_in_the_turn(log):
    log.caller_started("u1")
    log.caller_stopped(2.0, 1.5)
    log.caller_started("u2")
    log.caller_stopped(4.0, 3.5)
    log.agent_item("a")
    log.agent_heard("a", 4.3, 3.5)
    (turn,) = log.turns(heard)
    assert turn.latency_ms == pytest.approx(800)


def test_an_unheard_answer_is_not_interrupted_and_the_turn_goes_on(log):
    log.caller_started()
    log.caller_stopped(2.0, 1.5)
    log.agent_item("a")
    log.interrupted(["a"])
    log.caller_started()
    (turn,) = log.turns(lambda _: 0.0)
    assert not turn.interrupted


def test_interruption_marks_the_answers_turn(log):
    exchange(log, 1, 10.0)
    log.interrupted(["a1", "unknown"])
    log.caller_started("u2")
    assert [turn.interrupted for turn in log.turns(heard)] == [True, False]


def test_last_speech_that_is_too_old_is_not_used(log):
    log.caller_started()
    log.caller_stopped(100.0, 50.0)
    log.agent_item("a")
    log.agent_heard("a", 101.0, 50.0)
    assert log.turns(heard)[0].latency_ms is None


def test_where_no_service_tells_turns_the_detector_serves(log):
    log.caller_started()
    log.agent_item("a")
    log.agent_heard("a", 11.0, 10.4)
    assert log.turns(heard)[0].latency_ms == pytest.approx(600)


def test_late_transcripts_find_their_turn_by_item(log):
    exchange(log, 1, 10.0)
    exchange(log, 2, 20.0)
    log.caller_said("u1", "one", 23.0)
    log.caller_said("u2", "two", 23.0)
    assert [turn.caller_said for turn in log.turns(heard)] == ["one", "two"]


def test_transcripts_without_known_items_go_to_the_oldest_recent_turn_without_one(log):
    for number, start in ((1, 10.0), (2, 13.0)):
        log.caller_started()
        log.caller_stopped(start + 1.5, start + 1.0)
        log.agent_item(f"a{number}")
        log.agent_heard(f"a{number}", start + 1.8, start + 1.0)
    log.caller_said("x", "one", 14.0)
    log.caller_said("y", "two", 15.0)
    assert [turn.caller_said for turn in log.turns(heard)] == ["one", "two"]
    exchange(log, 3, 30.0)
    exchange(log, 4, 30.0 + TRANSCRIPT_AGE_MAX + 5)
    log.caller_said("z", "four", 30.0 + TRANSCRIPT_AGE_MAX + 8)
    assert [turn.caller_said for turn in log.turns(heard)][2:] == [None, "four"]


def test_a_transcript_before_any_turn_makes_one(log):
    log.caller_said("u", "hello?", 1.0)
    assert log.turns(heard)[0].caller_said == "hello?"
