"""Echo of our own speech, told from a caller who talks: with the lab's voices and a human one."""

import wave
from collections.abc import Sequence

import numpy as np
import pytest
from support.peers import SPEECH, require

from trunkline.codecs.g711 import ULAW
from trunkline.gateway.lab import voice
from trunkline.gateway.media.echo import ECHO_FROM, SENT_EVERY, EchoMeter

RATE = 8000
FRAME = 160
SLICE = 500
MARGIN = 0.1
"""How far from ECHO_FROM everything here stays."""

Track = np.ndarray


def track(*parts: tuple[str, float]) -> Track:
    """10 s of speech: recordings, each with the second at which it begins."""
    samples = np.zeros(SLICE * FRAME)
    for name, at_s in parts:
        add(samples, speech(name), at_s)
    return samples


def speech(name: str) -> Track:
    return ULAW.decode(voice.speech(name, "pcmu")).astype(float)


def add(samples: Track, what: Track, at_s: float, gain: float = 1.0) -> None:
    start = round(at_s * RATE)
    end = min(len(samples), start + len(what))
    samples[start:end] += gain * what[: end - start]


def noise(dbov: float, seed: int = 1) -> Track:
    return np.random.default_rng(seed).normal(0, 32768 * 10 ** (dbov / 20), SLICE * FRAME)


def echo(samples: Track, delay_s: float, db: float) -> Track:
    back = np.zeros_like(samples)
    add(back, samples, delay_s, 10 ** (db / 20))
    return back


def likeness(sent: Track, received: Track, meter: EchoMeter | None = None) -> float | None:
    meter = meter or EchoMeter()
    for number, (ours, theirs) in enumerate(zip(frames(sent), frames(received), strict=True)):
        # all of what the agent says is one talk spurt, but for long silence
        talking = sent[number * FRAME : number * FRAME + RATE // 2].any()
        if talking and number % SENT_EVERY == 0:
            meter.sent(ULAW.level(ours))
        meter.frames += 1
        meter.received(ULAW.level(theirs))
    return meter.take()


def frames(samples: Track) -> Sequence[bytes]:
    octets = ULAW.encode(np.clip(samples, -32768, 32767).astype(np.int16))
    return [octets[start : start + FRAME] for start in range(0, len(octets), FRAME)]


AGENT = {
    "hours": track(("hours", 0.3)),
    "address": track(("address", 0.0)),
    "short": track(("greeting", 2.0)),
    "two": track(("wait", 0.5), ("goodbye", 6.0)),
}


@pytest.mark.parametrize("said", AGENT)
@pytest.mark.parametrize("delay_s", [0.04, 0.15, 0.333, 0.6])
@pytest.mark.parametrize("db", [-6.0, -18.0, -30.0])
def test_echo_is_found_at_every_delay_and_level(said, delay_s, db):
    sent = AGENT[said]
    found = likeness(sent, echo(sent, delay_s, db) + noise(-70.0))
    assert found is not None
    assert found >= ECHO_FROM + MARGIN


@pytest.mark.parametrize("said", AGENT)
def test_echo_is_found_in_noise_of_half_its_level(said):
    sent = AGENT[said]
    back = echo(sent, 0.25, -15.0)
    power = 20 * np.log10(np.sqrt(np.mean(back[back != 0] ** 2)) / 32768)
    found = likeness(sent, back + noise(power - 6.0))
    assert found is not None
    assert found >= ECHO_FROM + MARGIN


@pytest.mark.parametrize("said", AGENT)
@pytest.mark.parametrize("dbov", [-127.0, -65.0, -45.0, -25.0])
def test_silence_and_noise_are_no_echo(said, dbov):
    for seed in range(5):
        found = likeness(AGENT[said], noise(dbov, seed))
        assert found is not None
        assert found <= ECHO_FROM - MARGIN


CALLERS = ("caller_hours", "caller_address", "caller_interruption", "caller_thanks")


@pytest.mark.parametrize("answer", CALLERS)
@pytest.mark.parametrize("after_s", [0.1, 0.4, 0.8, 1.5])
def test_a_caller_who_answers_is_no_echo(answer, after_s):
    sent = track(("wait", 0.0))
    received = noise(-60.0)
    add(received, speech(answer), len(speech("wait")) / RATE + after_s)
    found = likeness(sent, received)
    assert found is not None
    assert found <= ECHO_FROM - MARGIN


@pytest.mark.parametrize("interruption", CALLERS)
@pytest.mark.parametrize("at_s", [2.6, 3.4, 5.0])
@pytest.mark.parametrize("overlap_s", [0.1, 0.5])
def test_a_caller_who_interrupts_is_no_echo(interruption, at_s, overlap_s):
    sent = track(("address", 0.0))
    sent[round((at_s + overlap_s) * RATE) :] = 0
    received = noise(-60.0)
    add(received, speech(interruption), at_s)
    found = likeness(sent, received)
    assert found is not None
    assert found <= ECHO_FROM - MARGIN


@pytest.mark.parametrize("said", ["hours", "address"])
@pytest.mark.parametrize("first_s", [0.0, 0.37, 0.81])
def test_double_talk_is_no_echo(said, first_s):
    received = track(
        ("caller_thanks", first_s), ("caller_address", first_s + 2.6), ("caller_hours", first_s + 4.3), ("wait", 6.4)
    )
    found = likeness(AGENT[said], received)
    assert found is not None
    assert found <= ECHO_FROM - MARGIN


def human(name: str) -> Track:
    with wave.open(str(SPEECH / f"{name}.wav")) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(float)


@pytest.mark.parametrize("said", ["demo-abouttotry", "conf-adminmenu", "vm-options"])
def test_a_human_voice_is_an_echo_of_itself_and_not_of_what_it_says_otherwise(said):
    require("speech")
    sent = np.zeros(SLICE * FRAME)
    add(sent, human(said), 0.4)
    back = likeness(sent, echo(sent, 0.21, -20.0) + noise(-65.0))
    assert back is not None
    assert back >= ECHO_FROM + MARGIN
    for other in ("demo-thanks", "vm-intro", "tt-weasels", "queue-periodic-announce"):
        talking = noise(-65.0)
        add(talking, human(other), 1.0, 0.5)
        found = likeness(sent, talking)
        assert found is not None
        assert found <= ECHO_FROM - MARGIN


@pytest.mark.parametrize("seconds", [0.0, 1.9])
def test_an_agent_who_says_too_little_tells_nothing(seconds):
    sent = track(("address", 1.0))
    sent[round((1.0 + seconds) * RATE) :] = 0
    meter = EchoMeter()
    for number in range(SLICE):
        talking = RATE <= number * FRAME < RATE * (1.0 + seconds)
        if talking and number % SENT_EVERY == 0:
            meter.sent(-20.0 - number % 7)
        meter.frames += 1
        meter.received(-20.0 - number % 7)
    assert meter.take() is None


def test_the_last_words_of_a_slice_count_in_the_next_one_with_their_echo():
    sent = AGENT["address"]
    received = echo(sent, 0.6, -12.0)
    meter = EchoMeter()
    first = likeness(sent, received, meter)
    second = likeness(AGENT["hours"], echo(AGENT["hours"], 0.6, -12.0), meter)
    assert first is not None
    assert second is not None
    assert min(first, second) >= ECHO_FROM + MARGIN


def test_nothing_that_comes_overruns_it():
    meter = EchoMeter()
    for _ in range(5000):
        meter.sent(-20.0)
        meter.frames += 1
        meter.received(-30.0)
    assert meter.take() == 0.0
    assert meter.take() is None


def test_a_direction_that_brings_nothing_is_no_echo():
    meter = EchoMeter()
    for frame in frames(AGENT["address"]):
        meter.sent(ULAW.level(frame))
        meter.frames += 1
    assert meter.take() == 0.0


def test_an_echo_that_ends_with_its_stream_is_none_in_the_next_slice():
    said = AGENT["address"]
    meter = EchoMeter()
    assert likeness(said, echo(said, 0.15, -12.0), meter)
    sent = frames(said)
    for number in range(2 * SLICE):
        if number == SLICE:
            # the last words of the slice before are compared as well
            meter.take()
        if number % SENT_EVERY == 0:
            meter.sent(ULAW.level(sent[number % SLICE]))
        meter.frames += 1
    assert meter.take() == 0.0
