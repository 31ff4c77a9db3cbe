"""What a leg tells of how its call goes: slices every 10 s, and moments."""

import pytest
from support.media import FRAME, OPUS, PCMU, FakeBridge, LegHarness

from trunkline.gateway.bridges.base import (
    Closed,
    Reconnected,
    ResponseStarted,
    ServiceError,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
)
from trunkline.gateway.lab import voice
from trunkline.gateway.media.echo import ECHO_FROM
from trunkline.gateway.media.lateness import Lateness
from trunkline.gateway.messages import Happened, LegClosed, LegStatus, SliceEnded
from trunkline.gateway.record import Slice, StreamSlice
from trunkline.rtp.events import FarEndReport

SILENCE = b"\xff" * FRAME


@pytest.fixture
async def call() -> LegHarness:
    """An answered PCMU call."""
    harness = LegHarness(FakeBridge())
    await harness.answer()
    return harness


def talk(h: LegHarness, seconds: float, lost: frozenset[int] = frozenset()) -> None:
    """The caller's media come in for so long; of each 50 packets those of `lost` never do."""
    for number in range(round(seconds * 50)):
        packet = h.caller.packet(SILENCE)
        if number % 50 not in lost:
            h.transport.arrive(packet)
        h.tick()


def slices(h: LegHarness) -> list[Slice]:
    return [fact.slice for fact in h.of(SliceEnded)]


def moments(h: LegHarness) -> list[tuple[str, str]]:
    return [(fact.moment.kind, fact.moment.detail) for fact in h.of(Happened)]


# Slices


async def test_a_slice_each_10_s_and_the_rest_before_the_last_word(call):
    talk(call, 24.0)
    assert [round(s.start_s, 1) for s in slices(call)] == [0.0, 10.0]
    await call.leg.close()
    starts, lengths = zip(*((s.start_s, s.length_s) for s in slices(call)), strict=True)
    assert starts == pytest.approx((0.0, 10.0, 20.0), abs=0.03)
    assert lengths == pytest.approx((10.0, 10.0, 4.0), abs=0.03)
    assert isinstance(call.facts[-1], LegClosed)
    assert isinstance(call.facts[-2], SliceEnded)
    for part in slices(call):
        assert (part.received.bad, part.received.dead, part.received.lost) == (False, False, 0.0)
        assert part.received.mos == pytest.approx(4.4, abs=0.1)
        assert part.received.jitter_ms is not None
        assert part.sent == StreamSlice()


async def test_loss_is_in_the_slice_where_it_was(call):
    talk(call, 10.0)
    talk(call, 10.0, lost=frozenset({3, 9, 14, 22, 27, 33, 38, 44}))
    talk(call, 10.5)
    before, bad, after = slices(call)
    assert bad.received.lost == pytest.approx(0.16, abs=0.01)
    assert (before.received.bad, bad.received.bad, after.received.bad) == (False, True, False)
    assert after.received.lost == pytest.approx(0.0, abs=0.01)


async def test_the_counters_of_good_and_bad_are_those_of_the_slices(call):
    talk(call, 10.1)
    call.tick(700)
    talk(call, 8.0)
    await call.leg.close()
    told = [s.received for s in slices(call)]
    counts = call.of(LegClosed)[0].counts
    assert counts.received_bad == sum(part.bad for part in told) > 0
    assert counts.received_good == sum(part.mos is not None and not part.bad for part in told) > 0
    assert [part.dead for part in told] == [False, True, True, False]


async def test_a_caller_who_was_never_heard_is_bad_and_dead(call):
    call.tick(501)
    (part,) = slices(call)
    assert (part.received.bad, part.received.dead, part.received.mos) == (True, True, None)


async def test_a_call_on_hold_is_neither_good_nor_bad(call):
    talk(call, 10.1)
    call.leg.set_media(call.parameters(direction="inactive"))
    call.tick(1000)
    held = slices(call)[-1]
    assert (held.received, held.sent) == (StreamSlice(), StreamSlice())
    assert call.of(LegStatus)[-1].counts.received_bad == 0


async def test_a_short_rest_without_a_score_is_not_told(call):
    talk(call, 10.5)
    await call.leg.close()
    assert len(slices(call)) == 1


async def test_a_short_call_with_a_score_is_told(call):
    talk(call, 1.5)
    await call.leg.close()
    (part,) = slices(call)
    assert part.received.mos is not None
    assert part.length_s == pytest.approx(1.5)


async def test_a_call_that_was_never_answered_has_no_slice():
    h = LegHarness(FakeBridge())
    await h.open()
    h.leg.set_media(h.parameters())
    h.tick(600)
    await h.leg.close()
    assert slices(h) == []


async def test_what_we_sent_is_as_the_far_end_reported_it(call, monkeypatch):
    reports: list[FarEndReport | None] = [None]
    monkeypatch.setattr(type(call.transport.session), "far_end", property(lambda session: reports[0]))
    talk(call, 5.0)
    reports[0] = FarEndReport(fraction_lost=0.0, lost=0, jitter_ms=4.0, rtt_ms=80.0, highest_sequence=250)
    talk(call, 4.0)
    reports[0] = FarEndReport(fraction_lost=0.2, lost=50, jitter_ms=9.0, rtt_ms=90.0, highest_sequence=450)
    talk(call, 12.0)
    first, second = slices(call)
    assert first.sent.bad
    assert first.sent.lost == pytest.approx(50 / 450, abs=0.02)
    assert (first.sent.jitter_ms, first.sent.discarded, first.rtt_ms) == (9.0, None, 90.0)
    assert (second.sent, second.rtt_ms) == (StreamSlice(), None)


async def test_a_port_that_refuses_everything_is_a_dead_slice_of_what_we_sent(call):
    call.transport.refuse = True
    talk(call, 10.1)
    (part,) = slices(call)
    assert (part.sent.dead, part.sent.bad, part.received.bad) == (True, True, False)


async def test_underruns_are_those_of_the_slice(call):
    await call.speak("a", bytes(FRAME * 4), done=False)
    talk(call, 10.1)
    talk(call, 10.0)
    assert [s.underruns for s in slices(call)] == [1, 0]


async def test_the_workers_lateness_is_that_of_the_slice():
    lateness = Lateness()
    h = LegHarness(FakeBridge(), lateness=lateness)
    await h.answer()
    for second in range(21):
        talk(h, 1.0)
        lateness.second(h.time.now, 250.0 if second == 3 else 1.0, 40.0 if second == 14 else 2.0)
    first, second = slices(h)
    assert (first.clock_late_ms, first.loop_lag_ms) == (250.0, 2.0)
    assert (second.clock_late_ms, second.loop_lag_ms) == (1.0, 40.0)


async def test_a_line_that_sends_our_speech_back_is_an_echo(call):
    await call.speak("address", voice.speech("address", "pcmu"))
    for number in range(1010):
        sent = call.transport.sent
        back = sent[number - 10].payload if number >= 10 else SILENCE
        call.caller.say(back)
        call.tick()
    first, second = slices(call)
    assert first.echo is not None
    assert first.echo > ECHO_FROM
    assert second.echo is None


async def test_a_call_to_a_quiet_caller_is_no_echo(call):
    await call.speak("address", voice.speech("address", "pcmu"))
    talk(call, 10.1)
    assert slices(call)[0].echo == 0.0


# Moments


async def test_turns_barge_in_and_the_time_of_each(call):
    await call.speak("hello", bytes(FRAME * 20))
    talk(call, 2.0)
    await call.say(SpeechStarted())
    talk(call, 1.0)
    await call.say(SpeechStopped())
    await call.say(ResponseStarted())
    talk(call, 0.5)
    await call.speak("answer", bytes(FRAME * 100))
    talk(call, 0.6)
    await call.say(SpeechStarted())
    kinds = moments(call)
    assert kinds[0] == ("turn", "greeting")
    assert kinds[1][0] == "turn"
    assert kinds[2] == ("barge_in", "heard 600 ms")
    assert len(kinds) == 3
    at = [fact.moment.at_s for fact in call.of(Happened)]
    assert at[0] == pytest.approx(0.02)
    assert at[1] == pytest.approx(0.02 * (100 + 50 + 25 + 1))


async def test_latency_is_told_with_the_turn(call):
    await call.say(SpeechStarted())
    loud = voice.speech("caller_hours", "pcmu")
    for start in range(0, len(loud) // FRAME * FRAME, FRAME):
        call.caller.say(loud[start : start + FRAME])
        call.tick()
    await call.say(SpeechStopped())
    call.tick(25)
    await call.speak("answer", bytes(FRAME * 5))
    call.tick(5)
    ((kind, detail),) = moments(call)
    turn = call.leg.report().turns[0]
    assert turn.latency_ms is not None
    assert (kind, detail) == ("turn", f"latency {turn.latency_ms:.0f} ms")


async def test_a_caller_who_speaks_while_nothing_plays_interrupts_nothing(call):
    await call.speak("hello", bytes(FRAME * 5))
    call.tick(20)
    await call.say(SpeechStarted())
    assert [kind for kind, _ in moments(call)] == ["turn"]


async def test_keys_tools_errors_and_a_new_connection(call):
    call.leg.caller_key("5")
    await call.say(ToolCall("c1", "nothing_known", "{}"))
    await call.say(ServiceError("rate_limit", "slow down"))
    await call.say(Reconnected("connection lost"))
    assert moments(call) == [
        ("dtmf", "5"),
        ("tool", "nothing_known"),
        ("provider_error", "rate_limit"),
        ("reconnected", "connection lost"),
    ]


async def test_a_service_lost_for_good_is_an_error(call):
    await call.say(Closed("gone", clean=False))
    assert ("provider_error", "gone") in moments(call)


async def test_dead_and_alive_by_direction(call):
    talk(call, 1.0)
    call.tick(150)
    talk(call, 1.0)
    assert moments(call) == [("dead", "received"), ("alive", "received")]


async def test_a_codec_that_changes_in_mid_call(call):
    call.leg.set_media(call.parameters())
    assert moments(call) == []
    call.leg.set_media(call.parameters(codec=OPUS))
    call.leg.set_media(call.parameters(codec=PCMU))
    assert moments(call) == [("codec", "opus"), ("codec", "PCMU")]


async def test_nothing_happened_before_the_answer():
    h = LegHarness(FakeBridge())
    await h.open()
    h.leg.set_media(h.parameters())
    h.leg.caller_key("1")
    h.tick(10)
    assert moments(h) == []
