"""One leg on a fake clock: barge-in, uplink, downlink, hold, alarms, keys, failures."""

import time
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from support.media import CALLER, FRAME, OPUS, PCMA, PCMU, FakeBridge, LegHarness

from trunkline.codecs.g711 import ALAW, ULAW
from trunkline.codecs.registry import codec
from trunkline.gateway.bridges.base import (
    AudioDelta,
    AudioDone,
    AudioFormat,
    BridgeRefused,
    Closed,
    Heard,
    Reconnected,
    ResponseDone,
    ResponseStarted,
    ServiceError,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
    Transcript,
)
from trunkline.gateway.flight.leg_ring import LegRing
from trunkline.gateway.flight.packing import Packing
from trunkline.gateway.flight.verdict import KEEP_ALL
from trunkline.gateway.messages import (
    Dtmf,
    FlightRing,
    HangUp,
    LegClosed,
    LegFailed,
    LegReady,
    LegStatus,
    MediaAlarm,
    MediaPath,
    RtcpSeen,
)

PCM24 = AudioFormat("pcm16", 24000)
SILENCE = b"\xff" * FRAME


def speech(octets: int, seed: int = 0) -> bytes:
    """Octets that are never µ-law silence."""
    return bytes((seed + i) % 120 for i in range(octets))


def loud(frames: int = 1, at: int = 8000) -> bytes:
    """µ-law of a loud 400 Hz tone."""
    time = np.arange(frames * FRAME) / 8000
    return ULAW.encode((np.sin(2 * np.pi * 400 * time) * at).astype(np.int16))


@pytest.fixture
async def call() -> LegHarness:
    """An answered PCMU call to a service that takes PCMU."""
    harness = LegHarness(FakeBridge())
    await harness.answer()
    return harness


# Opening


async def test_ready_when_the_session_is_configured():
    h = LegHarness(FakeBridge())
    h.leg.start()
    await h.settle()
    h.time.now += 0.3
    assert h.of(LegReady) == []
    h.bridge.opening.set_result(None)
    await h.settle()
    assert h.of(LegReady)[0].provider_ms == pytest.approx(300)


async def test_an_agent_that_speaks_first_is_ready_with_its_first_audio():
    h = LegHarness(FakeBridge(speaks_first=True))
    await h.open()
    h.tick(50)
    assert h.of(LegReady) == []
    await h.speak("greeting", speech(400), done=False)
    assert len(h.of(LegReady)) == 1
    await h.speak("greeting", speech(400))
    assert len(h.of(LegReady)) == 1


async def test_patience_answers_a_configured_agent_without_audio():
    h = LegHarness(FakeBridge(speaks_first=True), patience_s=2.0)
    await h.open()
    h.tick(99)
    assert h.of(LegReady) == []
    h.tick(2)
    assert len(h.of(LegReady)) == 1
    assert h.of(LegFailed) == []


async def test_patience_fails_an_agent_that_is_not_configured():
    h = LegHarness(FakeBridge(), patience_s=2.0)
    h.leg.start()
    await h.settle()
    h.tick(101)
    (failure,) = h.of(LegFailed)
    assert (failure.status, failure.reason) == (503, "speech service not ready within 2 s")
    h.bridge.opening.set_result(None)
    await h.settle()
    assert h.of(LegReady) == []


async def test_a_refused_session_is_a_503_with_the_services_reason():
    h = LegHarness(FakeBridge())
    h.leg.start()
    h.bridge.opening.set_exception(BridgeRefused("the service refused the key"))
    await h.settle()
    (failure,) = h.of(LegFailed)
    assert (failure.status, failure.reason) == (503, "the service refused the key")


async def test_a_session_lost_while_it_rings_is_a_503():
    h = LegHarness(FakeBridge(speaks_first=True))
    await h.open()
    await h.say(Closed("gone", clean=False))
    assert h.of(LegFailed)[0].reason == "gone"
    assert h.of(HangUp) == []


async def test_a_bridge_that_breaks_is_a_failed_leg_and_not_a_dead_task():
    h = LegHarness(FakeBridge())
    h.leg.start()
    h.bridge.opening.set_exception(RuntimeError("bug"))
    await h.settle()
    assert h.of(LegFailed)[0].reason == "bridge failed: RuntimeError"


# Agent to caller


async def test_nothing_leaves_before_the_answer_and_always_something_after_it():
    h = LegHarness(FakeBridge())
    await h.open()
    h.leg.set_media(h.parameters())
    await h.speak("a", speech(FRAME * 5))
    h.tick(10)
    assert h.transport.sent == []
    h.leg.answered()
    h.tick(10)
    assert len(h.transport.sent) == 10
    assert [p.payload for p in h.transport.sent[5:]] == [SILENCE] * 5


async def test_sequence_and_timestamps_are_continuous_over_speech_and_silence(call):
    call.tick(3)
    await call.speak("a", speech(FRAME * 4 + 30))
    call.tick(20)
    sent = call.transport.sent
    assert {(b.sequence - a.sequence) & 0xFFFF for a, b in pairwise(sent)} == {1}
    assert {(b.timestamp - a.timestamp) & 0xFFFFFFFF for a, b in pairwise(sent)} == {FRAME}
    assert {len(p.payload) for p in sent} == {FRAME}


async def test_marker_at_the_first_packet_and_at_each_talk_spurt(call):
    call.tick(3)
    await call.speak("a", speech(FRAME * 3))
    call.tick(5)
    await call.speak("b", speech(FRAME * 2))
    call.tick(4)
    assert [index for index, packet in enumerate(call.transport.sent) if packet.marker] == [0, 3, 8]


async def test_skipped_ticks_move_the_timestamp_and_not_the_sequence(call):
    await call.speak("a", speech(FRAME * 10))
    call.tick(2)
    call.tick(1, skipped=3)
    before, after = call.transport.sent[-2:]
    assert (after.sequence - before.sequence) & 0xFFFF == 1
    assert (after.timestamp - before.timestamp) & 0xFFFFFFFF == 4 * FRAME
    assert after.marker
    assert after.payload == speech(FRAME * 10)[2 * FRAME : 3 * FRAME]


async def test_the_agents_octets_leave_untouched(call):
    await call.speak("a", speech(FRAME * 7, seed=5))
    call.tick(7)
    assert b"".join(p.payload for p in call.transport.sent) == speech(FRAME * 7, seed=5)


async def test_a_service_of_the_other_law_is_translated():
    h = LegHarness(FakeBridge(AudioFormat("pcma", 8000)))
    await h.answer()
    octets = bytes(range(160)) * 2
    await h.speak("a", octets)
    h.tick(2)
    assert b"".join(p.payload for p in h.transport.sent) == ALAW.to_other(octets)


async def test_24_khz_speech_becomes_8_khz_frames_with_exact_counts_and_clean_sound():
    h = LegHarness(FakeBridge(PCM24))
    await h.answer()
    time = np.arange(24000) / 24000
    tone = (np.sin(2 * np.pi * 500 * time) * 8000).astype("<i2").tobytes()
    for start in range(0, len(tone), 1234):
        await h.say(AudioDelta("a", tone[start : start + 1234]))
    await h.say(AudioDone("a"))
    h.tick(50)
    assert h.leg.report().turns[0].heard_ms == 1000.0
    heard = ULAW.decode(b"".join(p.payload for p in h.transport.sent)).astype(float)
    assert len(heard) == 8000
    spectrum = np.abs(np.fft.rfft(heard[800:7200]))
    assert spectrum.argmax() == 400
    assert spectrum[400] ** 2 / (spectrum**2).sum() > 0.99


async def test_the_last_word_is_not_cut_by_the_resamplers_delay():
    h = LegHarness(FakeBridge(PCM24))
    await h.answer()
    click = np.zeros(960, "<i2")
    click[-1] = 30000
    await h.speak("a", click.tobytes())
    h.tick(4)
    heard = ULAW.decode(b"".join(p.payload for p in h.transport.sent)).astype(float)
    assert np.abs(heard[320:]).max() > 1000
    assert np.abs(heard[480:]).max() < 16


async def test_an_opus_call_gets_opus_packets_of_20_ms():
    h = LegHarness(FakeBridge(PCM24), OPUS)
    await h.answer()
    time = np.arange(24000) / 24000
    await h.speak("a", (np.sin(2 * np.pi * 500 * time) * 8000).astype("<i2").tobytes())
    h.tick(55)
    sent = h.transport.sent
    assert {(b.timestamp - a.timestamp) & 0xFFFFFFFF for a, b in pairwise(sent)} == {960}
    decoder = codec("opus").decoder()
    heard = np.concatenate([decoder.decode(p.payload) for p in sent]).astype(float)
    spectrum = np.abs(np.fft.rfft(heard[9600:38400]))
    assert spectrum.argmax() == 300


async def test_underruns_are_reported(call):
    await call.speak("a", speech(FRAME * 3), done=False)
    call.tick(6)
    await call.speak("a", speech(FRAME * 3))
    call.tick(6)
    assert call.leg.report().media.sent.underruns == 1


# Barge-in


async def test_after_speech_started_no_more_than_the_frame_in_flight_leaves(call):
    await call.speak("a", speech(FRAME * 500))
    call.tick(17)
    await call.say(SpeechStarted())
    call.tick(20)
    assert [p.payload for p in call.transport.sent[17:]] == [SILENCE] * 20


async def test_heard_is_what_left_as_rtp_to_the_millisecond(call):
    await call.speak("a", speech(FRAME * 5 + 64), done=True)
    await call.speak("b", speech(5000, seed=3))
    await call.speak("c", speech(777), done=False)
    call.tick(9)
    await call.say(SpeechStarted())
    assert call.bridge.interrupts == [[Heard("b", 9 * 20 - (FRAME * 5 + 64) / 8, 625.0), Heard("c", 0.0, 97.125)]]
    spoken = b"".join(p.payload for p in call.transport.sent)
    assert len(spoken.replace(b"\xff", b"")) / 8 == (FRAME * 5 + 64) / 8 + call.bridge.interrupts[0][0].heard_ms


async def test_a_response_that_the_service_has_completed_is_still_cut_and_reported(call):
    await call.say(ResponseStarted())
    await call.speak("a", speech(FRAME * 100))
    await call.say(ResponseDone("completed", {}))
    call.tick(10)
    await call.say(SpeechStarted())
    assert call.bridge.interrupts == [[Heard("a", 200.0, 2000.0)]]
    turn = call.leg.report().turns[0]
    assert (turn.interrupted, turn.heard_ms) == (True, 200.0)


async def test_speech_while_nothing_is_queued_still_interrupts_the_service(call):
    await call.say(SpeechStarted())
    assert call.bridge.interrupts == [[]]


async def test_events_are_read_while_a_minute_of_audio_is_queued(call):
    await call.speak("a", bytes(60 * 8000))
    await call.say(Transcript("agent", "a", "a long story"), SpeechStarted())
    assert call.bridge.interrupts
    assert call.leg.report().turns[0].agent_said == "a long story"


# Caller to agent


@pytest.mark.parametrize("octets", [80, 160, 240, 320, 480])
async def test_the_callers_octets_reach_the_service_bit_exact_in_20_ms_frames(call, octets):
    whole = speech(octets * 24, seed=11)
    for start in range(0, len(whole), octets):
        call.caller.say(whole[start : start + octets])
        call.time.now += octets / 8000
    assert {len(frame) for frame in call.bridge.frames} == {FRAME}
    assert b"".join(call.bridge.frames) == whole


async def test_a_20_ms_packet_goes_on_at_once_as_the_object_that_came(call):
    call.caller.say(speech(FRAME))
    assert call.bridge.frames == [speech(FRAME)]


async def test_a_law_call_to_a_u_law_service_is_translated():
    h = LegHarness(FakeBridge(), PCMA)
    await h.answer()
    h.caller.say(bytes(range(96, 256)))
    assert h.bridge.frames == [ALAW.to_other(bytes(range(96, 256)))]


async def test_a_24_khz_service_gets_480_samples_for_each_frame():
    h = LegHarness(FakeBridge(PCM24))
    await h.answer()
    for start in range(0, 50 * FRAME, FRAME):
        h.caller.say(loud(50)[start : start + FRAME])
    assert [len(frame) for frame in h.bridge.frames] == [960] * 50
    heard = np.frombuffer(b"".join(h.bridge.frames), "<i2").astype(float)
    assert np.abs(np.fft.rfft(heard[2400:21600])).argmax() == 320


async def test_an_opus_call_reaches_the_service_as_24_khz_samples():
    h = LegHarness(FakeBridge(PCM24), OPUS)
    await h.answer()
    encoder = codec("opus").encoder(None)
    time = np.arange(48000) / 48000
    tone = (np.sin(2 * np.pi * 500 * time) * 8000).astype(np.int16)
    for start in range(0, 48000, 960):
        h.caller.say(encoder.encode(tone[start : start + 960]), samples=960)
    assert [len(frame) for frame in h.bridge.frames] == [960] * 50
    heard = np.frombuffer(b"".join(h.bridge.frames), "<i2").astype(float)
    assert np.abs(np.fft.rfft(heard[4800:19200])).argmax() == 300


async def test_a_lost_packet_is_concealed_after_the_reorder_window(call):
    tone = loud(12)
    for index in range(12):
        packet = call.caller.packet(tone[index * FRAME : (index + 1) * FRAME])
        if index != 5:
            call.transport.arrive(packet)
        call.tick()
    assert len(call.bridge.frames) == 12
    assert call.bridge.frames[:5] == [tone[i * FRAME : (i + 1) * FRAME] for i in range(5)]
    concealed = ULAW.decode(call.bridge.frames[5]).astype(float)
    assert np.abs(concealed).max() > 4000
    assert call.leg.report().media.received.concealed == 1


async def test_before_the_answer_the_agent_hears_nothing():
    h = LegHarness(FakeBridge())
    await h.open()
    h.leg.set_media(h.parameters())
    h.caller.say(speech(FRAME))
    assert h.bridge.frames == []
    h.leg.answered()
    h.caller.say(speech(FRAME))
    assert len(h.bridge.frames) == 1


async def test_a_caller_who_sends_nothing_is_silent_to_the_agent_and_no_moment_is_missing(call):
    call.tick(101)
    assert set(call.bridge.frames) == {SILENCE}
    assert 100 <= len(call.bridge.frames) <= 101


async def test_on_hold_the_agent_hears_silence_and_nothing_is_played(call):
    await call.speak("a", speech(FRAME * 100))
    call.tick(5)
    call.caller.say(speech(FRAME))
    call.leg.set_media(call.parameters(direction="recvonly"))
    sent, frames = len(call.transport.sent), len(call.bridge.frames)
    for _ in range(50):
        call.caller.say(speech(FRAME, seed=50))
        call.tick()
    assert len(call.transport.sent) == sent
    assert call.bridge.frames[frames:] == [SILENCE] * 50
    call.leg.set_media(call.parameters())
    call.tick()
    resumed = call.transport.sent[-1]
    assert resumed.marker
    assert resumed.payload == speech(FRAME * 100)[5 * FRAME : 6 * FRAME]
    assert (resumed.timestamp - call.transport.sent[-2].timestamp) & 0xFFFFFFFF == 51 * FRAME
    call.caller.say(speech(FRAME, seed=9))
    assert call.bridge.frames[-1] == speech(FRAME, seed=9)


async def test_when_the_caller_sends_nothing_on_hold_the_agents_timeline_goes_on(call):
    call.caller.say(speech(FRAME))
    call.leg.set_media(call.parameters(direction="inactive"))
    call.tick(250)
    filled = b"".join(call.bridge.frames[1:])
    assert set(filled) == {0xFF}
    assert 4.5 < len(filled) / 8000 <= 5.02


async def test_a_codec_change_in_mid_call_keeps_what_is_queued(call):
    await call.speak("a", speech(FRAME * 10))
    call.tick(4)
    call.leg.set_media(call.parameters(codec=PCMA))
    call.tick(2)
    first = call.transport.sent[4]
    assert first.payload_type == 8
    assert first.payload == ULAW.to_other(speech(FRAME * 10)[4 * FRAME : 5 * FRAME])
    call.caller.payload_type = 8
    call.caller.say(speech(FRAME))
    assert call.bridge.frames[-1] == ALAW.to_other(speech(FRAME))
    assert call.leg.report().codec == "PCMA"


# Keys


def key_packets(call: LegHarness, event: int, count: int = 6) -> None:
    start = call.caller.timestamp
    for index in range(count):
        end = 0x80 if index >= count - 3 else 0
        duration = min(index + 1, count - 3) * FRAME
        call.caller.timestamp = start
        call.caller.say(bytes([event, end | 10, duration >> 8, duration & 255]), samples=0, marker=index == 0, kind=101)
        call.tick()
    call.caller.timestamp = start + count * FRAME


async def test_a_key_reaches_agent_record_and_switch_once(call):
    call.caller.say(speech(FRAME))
    key_packets(call, 5)
    call.tick(60)
    assert call.bridge.keys == "5"
    assert call.leg.report().dtmf == ["5"]
    (fact,) = call.of(Dtmf)
    assert (fact.digit, fact.duration_ms) == ("5", 60.0)


async def test_keys_of_8000_hz_beside_opus_keep_their_own_clock():
    h = LegHarness(FakeBridge(PCM24), OPUS)
    await h.answer(event_clock_rate=8000)
    key_packets(h, 5)
    h.tick(60)
    assert [(fact.digit, fact.duration_ms) for fact in h.of(Dtmf)] == [("5", 60.0)]
    h.leg.send_dtmf("1")
    h.tick(20)
    durations = [int.from_bytes(p.payload[2:4], "big") for p in h.transport.sent if p.payload_type == 101]
    assert max(durations) == 100 * 8


async def test_a_key_from_signalling_reaches_agent_and_record(call):
    call.leg.caller_key("#")
    assert (call.bridge.keys, call.leg.report().dtmf) == ("#", ["#"])


async def test_keys_are_sent_as_events_in_place_of_audio_and_speech_waits(call):
    await call.speak("a", speech(FRAME * 10))
    call.tick(2)
    call.leg.send_dtmf("1")
    call.tick(40)
    events = [p for p in call.transport.sent if p.payload_type == 101]
    assert {p.payload[0] for p in events} == {1}
    assert events[0].marker
    assert len({p.timestamp for p in events}) == 1
    audio = b"".join(p.payload for p in call.transport.sent if p.payload_type == 0)
    assert audio.replace(b"\xff", b"") == speech(FRAME * 10)
    sent = call.transport.sent
    assert {(b.sequence - a.sequence) & 0xFFFF for a, b in pairwise(sent)} == {1}


async def test_keys_without_a_negotiated_event_type_are_not_sent():
    h = LegHarness(FakeBridge())
    await h.answer(event_send_type=None)
    h.leg.send_dtmf("1")
    h.tick(10)
    assert {p.payload_type for p in h.transport.sent} == {0}


async def test_keys_are_given_up_when_the_far_end_takes_them_no_longer(call):
    call.leg.send_dtmf("123")
    call.tick(3)
    call.leg.set_media(call.parameters(event_send_type=None))
    call.tick(10)
    assert [p.payload_type for p in call.transport.sent] == [101] * 3 + [0] * 10


async def test_a_letter_that_is_no_key_is_not_sent(call):
    call.leg.send_dtmf("x2")
    call.tick(10)
    assert {p.payload[0] for p in call.transport.sent if p.payload_type == 101} == {2}


# Alarms


async def test_a_caller_who_is_never_heard_raises_the_alarm_within_two_seconds(call):
    call.tick(92)
    assert call.of(MediaAlarm) == []
    call.tick(8)
    (alarm,) = call.of(MediaAlarm)
    assert (alarm.direction, alarm.dead) == ("received", True)
    assert f"expected from {CALLER[0]}:{CALLER[1]}" in alarm.detail
    call.caller.say(speech(FRAME))
    call.tick(10)
    assert [(a.direction, a.dead) for a in call.of(MediaAlarm)] == [("received", True), ("received", False)]


async def test_a_stream_that_dies_is_the_worst_quality_and_one_on_hold_is_none():
    worst = {}
    for direction in ("sendrecv", "inactive", "recvonly"):
        h = LegHarness(FakeBridge())
        await h.answer()
        for _ in range(500):
            h.caller.say(loud())
            h.tick()
        h.leg.set_media(h.parameters(direction=direction))
        h.tick(1500)
        await h.leg.close()
        worst[direction] = h.of(LegClosed)[0].report.media.received.mos_min
    assert worst["sendrecv"] == 1.0
    assert worst["inactive"] == worst["recvonly"] > 4.3


@pytest.mark.parametrize("direction", ["inactive", "recvonly"])
async def test_no_alarm_on_hold_or_before_the_answer(direction):
    h = LegHarness(FakeBridge())
    await h.open()
    h.leg.set_media(h.parameters())
    h.tick(200)
    h.leg.answered()
    h.leg.set_media(h.parameters(direction=direction))
    h.tick(300)
    assert h.of(MediaAlarm) == []


async def test_refused_packets_raise_the_alarm_for_the_sent_direction(call):
    for _ in range(60):
        call.caller.say(speech(FRAME))
        call.tick()
    call.transport.refuse = True
    for _ in range(150):
        call.caller.say(speech(FRAME))
        call.tick()
    (alarm,) = call.of(MediaAlarm)
    assert (alarm.direction, alarm.dead) == ("sent", True)
    assert f"to {CALLER[0]}:{CALLER[1]} were refused" in alarm.detail
    call.transport.refuse = False
    for _ in range(150):
        call.caller.say(speech(FRAME))
        call.tick()
    assert not call.of(MediaAlarm)[-1].dead


# Turns and setup times


async def converse(call: LegHarness, frames: int, payload: bytes) -> None:
    for start in range(0, frames * FRAME, FRAME):
        call.tick()
        call.caller.say(payload[start % len(payload) :][:FRAME])


async def test_turn_latency_runs_from_the_last_speech_to_the_first_packet_of_the_answer():
    h = LegHarness(FakeBridge(speaks_first=True))
    await h.open()
    await h.speak("greeting", speech(FRAME * 5))
    h.leg.set_media(h.parameters())
    h.leg.answered()
    await converse(h, 10, SILENCE)
    await h.say(SpeechStarted("u1"))
    await converse(h, 50, loud(10))
    last_speech = h.time.now
    await converse(h, 25, SILENCE)
    await h.say(SpeechStopped(), Transcript("caller", "u1", "hello"), ResponseStarted())
    await converse(h, 10, SILENCE)
    await h.speak("answer", speech(FRAME * 20))
    await h.say(Transcript("agent", "answer", "hi there"), ResponseDone("completed", {}))
    await converse(h, 30, SILENCE)
    first = next(p for p in h.transport.sent if p.at > last_speech and p.marker)
    turns = h.leg.report().turns
    assert [(t.index, t.caller_said, t.agent_said, t.interrupted) for t in turns] == [
        (0, None, None, False),
        (1, "hello", "hi there", False),
    ]
    assert turns[0].latency_ms is None
    assert turns[1].latency_ms == pytest.approx((first.at - last_speech) * 1000, abs=0.1)
    assert turns[1].latency_ms == pytest.approx(720, abs=1)
    assert (turns[0].heard_ms, turns[1].heard_ms) == (100.0, 400.0)


async def test_answer_to_first_audio_is_until_the_agents_first_packet(call):
    call.tick(25)
    await call.speak("a", speech(FRAME * 3))
    call.tick(3)
    assert call.leg.report().setup.answer_to_first_audio_ms == pytest.approx(26 * 20)


# Tools and the end


async def test_hang_up_lets_the_queued_words_out_first(call):
    await call.say(ResponseStarted())
    await call.speak("bye", speech(FRAME * 50))
    await call.say(ToolCall("t1", "hang_up", '{"reason": "done"}'), ResponseDone("completed", {}))
    call.tick(50 + 14)
    assert call.of(HangUp) == []
    call.tick(2)
    (hang_up,) = call.of(HangUp)
    assert (hang_up.by, hang_up.reason) == ("agent", "hang_up")
    assert b"".join(p.payload for p in call.transport.sent[:50]) == speech(FRAME * 50)
    assert call.bridge.tool_results == [("t1", '{"ok":true}')]
    (tool,) = call.leg.report().tools
    assert (tool["name"], tool["arguments"], tool["result"]) == ("hang_up", {"reason": "done"}, {"ok": True})


async def test_hang_up_waits_for_the_rest_of_the_response(call):
    await call.say(ResponseStarted(), ToolCall("t1", "hang_up", "{}"))
    call.tick(10)
    assert call.of(HangUp) == []
    await call.speak("bye", speech(FRAME * 5))
    await call.say(ResponseDone("completed", {}))
    call.tick(5 + 16)
    assert len(call.of(HangUp)) == 1
    assert speech(FRAME * 5) in b"".join(p.payload for p in call.transport.sent)


async def test_hang_up_lets_a_long_last_word_out(call):
    await call.speak("story", speech(FRAME * 1500))
    await call.say(ToolCall("t1", "hang_up", "{}"))
    call.tick(1500)
    assert call.of(HangUp) == []
    assert call.transport.sent[-1].payload == speech(FRAME * 1500)[-FRAME:]
    call.tick(17)
    assert len(call.of(HangUp)) == 1


async def test_hang_up_does_not_wait_for_ever(call):
    await call.speak("story", speech(FRAME * 100))
    await call.say(ResponseStarted(), ToolCall("t1", "hang_up", "{}"))
    call.tick(100 + 499)
    assert call.of(HangUp) == []
    call.tick(3)
    assert len(call.of(HangUp)) == 1


async def test_what_ends_before_the_answer_is_still_said_after_it():
    h = LegHarness(FakeBridge(speaks_first=True))
    await h.open()
    await h.speak("file", speech(FRAME * 100))
    await h.say(Closed("the file is over", clean=True))
    h.tick(1500)
    assert h.of(HangUp) == []
    h.leg.set_media(h.parameters())
    h.leg.answered()
    h.tick(100)
    assert h.of(HangUp) == []
    assert b"".join(p.payload for p in h.transport.sent) == speech(FRAME * 100)
    h.tick(17)
    assert [over.by for over in h.of(HangUp)] == ["agent"]


async def test_an_unknown_tool_is_answered_with_an_error_and_recorded(call):
    await call.say(ToolCall("t9", "weather", "not json"))
    ((call_id, output),) = call.bridge.tool_results
    assert call_id == "t9"
    assert "weather" in msgspec.json.decode(output)["error"]
    (tool,) = call.leg.report().tools
    assert (tool["name"], tool["arguments"]) == ("weather", "not json")
    call.tick(100)
    assert call.of(HangUp) == []


async def test_a_service_lost_in_mid_call_is_a_tone_and_a_hang_up_with_the_reason(call):
    await call.speak("a", speech(FRAME * 5), done=False)
    call.tick(2)
    await call.say(Closed("connection lost", clean=False))
    call.tick(85)
    (hang_up,) = call.of(HangUp)
    assert (hang_up.by, hang_up.reason) == ("provider", "connection lost")
    heard = b"".join(p.payload for p in call.transport.sent)
    assert heard.startswith(speech(FRAME * 5))
    tone = ULAW.decode(heard[FRAME * 5 : FRAME * 5 + 2640]).astype(float)
    assert np.abs(np.fft.rfft(tone)).argmax() * 8000 / 2640 == pytest.approx(950, abs=5)
    assert 0.9 < sum(p.payload != SILENCE for p in call.transport.sent[5:]) * 0.02 < 1.1
    assert [turn.heard_ms for turn in call.leg.report().turns] == [100.0]


async def test_a_lost_service_with_much_to_say_ends_its_sentence_and_then_the_tone_sounds(call):
    await call.speak("a", speech(FRAME * 700))
    await call.speak("b", speech(FRAME * 700, seed=1))
    call.tick(100)
    await call.say(Closed("connection lost", clean=False))
    call.tick(600)
    heard = b"".join(p.payload for p in call.transport.sent)
    assert heard == speech(FRAME * 700)
    call.tick(60)
    assert call.of(HangUp) == []
    rest = [p.payload for p in call.transport.sent[700:]]
    assert 0.9 < sum(payload != SILENCE for payload in rest) * 0.02 < 1.1
    call.tick(10)
    assert len(call.of(HangUp)) == 1


async def test_a_service_whose_responses_fail_again_and_again_is_lost(call):
    failed = ServiceError("rate_limit_exceeded", "slow down"), ResponseDone("failed", {})
    await call.say(*failed, ResponseStarted(), ResponseDone("completed", {}), *failed)
    call.tick(100)
    assert call.of(HangUp) == []
    await call.say(*failed)
    call.tick(100)
    (hang_up,) = call.of(HangUp)
    assert hang_up.by == "provider"
    assert hang_up.reason.endswith("rate_limit_exceeded")
    assert 0.9 < sum(p.payload != SILENCE for p in call.transport.sent) * 0.02 < 1.1


async def test_events_that_end_without_a_word_are_a_lost_service(call):
    call.bridge.said.put_nowait(None)
    await call.settle()
    call.tick(85)
    assert call.of(HangUp)[0].by == "provider"


async def test_a_service_that_ends_the_conversation_is_drained_and_hung_up_as_the_agent(call):
    await call.speak("bye", speech(FRAME * 10), done=False)
    await call.say(Closed("the service ended the conversation", clean=True))
    call.tick(10 + 14)
    assert call.of(HangUp) == []
    call.tick(2)
    assert (call.of(HangUp)[0].by, len(call.of(HangUp))) == ("agent", 1)


async def test_a_reconnected_service_keeps_what_is_queued(call):
    await call.speak("a", speech(FRAME * 10), done=False)
    await call.say(Reconnected("lost for a moment"))
    call.tick(11)
    assert speech(FRAME * 10) in b"".join(p.payload for p in call.transport.sent)
    assert call.of(HangUp) == []


async def test_usage_is_summed_over_responses(call):
    usage = {"total_tokens": 10, "output_token_details": {"audio_tokens": 4}}
    await call.say(ResponseDone("completed", usage), ResponseDone("cancelled", usage))
    assert call.leg.report().usage == {"total_tokens": 20, "output_token_details": {"audio_tokens": 8}}


async def test_close_ends_media_and_conversation_and_has_the_last_word(call):
    for _ in range(60):
        call.caller.say(speech(FRAME))
        call.tick()
    await call.leg.close()
    await call.leg.close()
    (closed,) = call.of(LegClosed)
    assert call.transport.closed
    assert call.bridge.closed
    received, sent = closed.report.media.received, closed.report.media.sent
    assert (received.packets, received.lost, received.scale, received.basis) == (60, 0, "nb", "G.113 App I")
    assert received.mos_lq > 4.3
    assert (sent.packets, sent.lost, sent.mos_lq) == (60, None, None)
    count = len(call.transport.sent)
    call.tick(3)
    assert len(call.transport.sent) == count


async def test_a_call_that_was_never_answered_reports_no_quality():
    h = LegHarness(FakeBridge())
    await h.open()
    await h.leg.close()
    (closed,) = h.of(LegClosed)
    assert closed.report.media.received.mos_lq is None
    assert closed.report.setup.provider_ms is not None


async def test_status_once_a_second_with_levels_and_speaker(call):
    await call.speak("a", loud(400))
    for index in range(150):
        # steady sound is noise: words have gaps
        call.caller.say(SILENCE if index % 25 > 20 else loud())
        call.tick()
    statuses = call.of(LegStatus)
    assert len(statuses) in (2, 3)
    assert statuses[-1].speaker == "both"
    assert statuses[-1].caller_dbov == pytest.approx(-15.2, abs=1)
    assert statuses[-1].agent_dbov == pytest.approx(-15.2, abs=1)
    assert statuses[-1].queued_ms > 1000


async def test_a_leg_whose_tick_fails_hangs_up_by_the_gateway(call):
    call.leg.tick_failed(ValueError("bug"))
    (hang_up,) = call.of(HangUp)
    assert (hang_up.by, hang_up.reason) == ("gateway", "media failed: ValueError")


async def test_preferred_spec_may_differ_from_what_was_agreed():
    h = LegHarness(FakeBridge(), PCMU)
    await h.open()
    h.leg.set_media(h.parameters(codec=PCMA))
    h.leg.answered()
    await h.speak("a", speech(FRAME * 2))
    h.tick(2)
    assert {p.payload_type for p in h.transport.sent} == {8}
    assert h.transport.sent[0].payload == ULAW.to_other(speech(FRAME))


# For reports


async def test_rtcp_is_told_only_when_it_is_asked_for(call):
    assert call.leg._session.on_rtcp is None
    asked = LegHarness(FakeBridge(), rtcp=True)
    await asked.answer()
    before = time.time()
    asked.leg._session.on_rtcp(True, False, ("192.0.2.9", 4001), b"sr")
    asked.leg._session.on_rtcp(False, True, ("192.0.2.9", 4000), b"rr")
    first, second = asked.of(RtcpSeen)
    port = asked.transport.local_port
    assert (first.call_id, first.received, first.remote_host, first.remote_port, first.local_port, first.data) == (
        "call-1",
        True,
        "192.0.2.9",
        4001,
        port + 1,
        b"sr",
    )
    assert (second.received, second.local_port) == (False, port)
    assert before <= first.at <= time.time()


async def test_the_last_word_names_both_streams(call):
    call.tick(10)
    await call.leg.close()
    path = call.of(LegClosed)[0].path
    session = call.leg._session
    assert isinstance(path, MediaPath)
    assert (path.local_port, path.local_ssrc) == (call.transport.local_port, session.ssrc)
    assert (path.remote_host, path.remote_port, path.remote_ssrc) == (*session.destination, None)
    assert (path.payload_type, path.clock_rate, path.far_end) == (0, 8000, None)


async def test_a_leg_without_media_names_none():
    harness = LegHarness(FakeBridge())
    await harness.open()
    await harness.leg.close()
    assert harness.of(LegClosed)[0].path is None


# The flight recorder's ring


class NoTurn(Packing):
    """So many calls end at once that this one's ring does not get its turn."""

    async def packed(self, ring: LegRing) -> bytes | None:
        return None


@pytest.mark.parametrize(("packing", "rings"), [(Packing(), 1), (NoTurn(), 0)])
async def test_the_last_report_comes_whether_or_not_the_ring_could_be_packed(packing: Packing, rings: int):
    h = LegHarness(FakeBridge(), packing=packing)
    await h.answer()
    h.tick(10)
    await h.leg.close(KEEP_ALL)
    assert len(h.of(FlightRing)) == rings
    assert len(h.of(LegClosed)) == 1
