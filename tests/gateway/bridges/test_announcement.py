"""The announcement as a conversation: what is heard when, by ticks of a clock that the test holds."""

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest

from trunkline.codecs.g711 import ALAW, ULAW
from trunkline.gateway.bridges._announcement import (
    LEAD_S,
    PATIENCE_S,
    PAUSE_S,
    STARTS_MAX,
    AnnouncementBridge,
    in_format,
)
from trunkline.gateway.bridges.base import AudioFormat, CallContext
from trunkline.gateway.media.conversation import Conversation
from trunkline.gateway.messages import Announcement, KeyAnswer

PCMU, PCMA, PCM24 = AudioFormat("pcmu", 8000), AudioFormat("pcma", 8000), AudioFormat("pcm16", 24000)
FRAME = 160


def sound(hz: float, seconds: float) -> bytes:
    """A tone: no two of these tests' are alike."""
    return ULAW.encode((np.sin(2 * np.pi * hz * np.arange(int(seconds * 8000)) / 8000) * 8000).astype(np.int16))


SPEECH, FAREWELL, ONE, TWO = sound(440, 1.0), sound(550, 0.4), sound(660, 0.2), sound(770, 0.2)
ANNOUNCEMENT = Announcement(
    text="Call quality is bad.",
    speech=SPEECH,
    repeat=2,
    keys={"1": KeyAnswer("acknowledged", ONE), "2": KeyAnswer("next", TWO)},
    farewell=FAREWELL,
)


def silence(seconds: float) -> bytes:
    return ULAW.silent(int(seconds * 8000))


WHOLE = silence(LEAD_S) + SPEECH + silence(PAUSE_S) + SPEECH + silence(PATIENCE_S) + FAREWELL


class Listener:
    """The leg: plays frame by frame, and hears how the conversation goes."""

    def __init__(self, announcement: Announcement = ANNOUNCEMENT, preferred: AudioFormat = PCMU) -> None:
        self.now = 100.0
        self.heard = bytearray()
        self.ready = asyncio.Event()
        self.over: tuple[str, str] | None = None
        self.bridge = AnnouncementBridge(announcement, CallContext("c1", "outbound", None, None, preferred))
        self.conversation = Conversation("c1", self.bridge, self, 5.0, lambda: self.now)

    def conversation_ready(self, provider_ms: float) -> None:
        self.ready.set()

    def conversation_failed(self, status: int, reason: str) -> None:
        raise AssertionError(reason)

    def conversation_over(self, by: str, reason: str) -> None:
        self.over = by, reason

    def last_speech(self) -> float | None:
        return None

    def play(self, seconds: float) -> bytes:
        """What is heard in these seconds, or until the hang-up."""
        heard = bytearray()
        for _ in range(round(seconds * 50)):
            if self.over is not None:
                break
            heard += self.conversation.queue.take() or ULAW.silent(FRAME)
            self.now += 0.02
            self.conversation.poll(self.now)
        return bytes(heard)

    async def press(self, keys: str) -> None:
        """Press keys, and let the bridge hear them."""
        for key in keys:
            self.bridge.send_dtmf(key)
        for _ in range(10):
            await asyncio.sleep(0)


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    """Has just answered."""
    listener = await answered(Listener())
    yield listener
    await listener.conversation.close()


async def answered(listener: Listener) -> Listener:
    listener.conversation.start()
    await listener.ready.wait()
    await listener.press("")
    listener.conversation.answer()
    return listener


async def test_it_is_said_as_often_as_asked_then_farewell_and_the_end(listener: Listener) -> None:
    heard = listener.play(60)
    assert heard.startswith(WHOLE)
    assert listener.over == ("agent", "no key was pressed")
    assert len(heard) - len(WHOLE) < 8000
    assert listener.conversation.turns.turns(listener.conversation.queue.heard_ms)[0].agent_said == ANNOUNCEMENT.text


@pytest.mark.parametrize(("key", "reason", "words"), [("1", "acknowledged", ONE), ("2", "next", TWO)])
@pytest.mark.parametrize("after_s", [0.1, LEAD_S + 0.5, 5.0, len(WHOLE) / 8000 - 0.1])
async def test_a_key_cuts_it_short_whenever_it_comes(
    listener: Listener, key: str, reason: str, words: bytes, after_s: float
) -> None:
    listener.play(after_s)
    await listener.press(key)
    assert listener.play(60).startswith(words)
    assert listener.over == ("agent", reason)


async def test_another_key_says_it_again_from_the_beginning(listener: Listener) -> None:
    listener.play(LEAD_S + 0.5)
    await listener.press("7")
    assert listener.play(60).startswith(WHOLE[len(silence(LEAD_S)) :])
    assert listener.over == ("agent", "no key was pressed")


async def test_the_first_key_that_means_something_decides(listener: Listener) -> None:
    listener.play(1)
    await listener.press("7*21")
    assert listener.play(60).startswith(TWO)
    assert listener.over == ("agent", "next")


async def test_keys_without_a_meaning_do_not_hold_the_line_for_ever(listener: Listener) -> None:
    longest_s = STARTS_MAX * 0.5 + len(WHOLE) / 8000
    for _ in range(2 * STARTS_MAX):
        listener.play(0.5)
        await listener.press("#")
        longest_s -= 0.5
    assert listener.over is None
    while longest_s > 0 and listener.over is None:
        listener.play(0.5)
        await listener.press("#")
        longest_s -= 0.5
    assert listener.over == ("agent", "no key was pressed")


@pytest.mark.parametrize("preferred", [PCMA, PCM24], ids=["PCMA", "opus"])
async def test_it_is_said_in_the_format_of_the_call(preferred: AudioFormat) -> None:
    listener = await answered(Listener(preferred=preferred))
    octets = int(preferred.octets_per_ms * 1000 * len(WHOLE) / 8000)
    heard = bytearray()
    while len(heard) < octets:
        heard += listener.conversation.queue.take() or b""
    lead = int(LEAD_S * 1000) * preferred.octets_per_ms
    speech = bytes(heard[lead : lead + 1000 * preferred.octets_per_ms])
    assert speech == in_format(SPEECH, preferred)[: len(speech)]
    if preferred is PCMA:
        assert speech == ALAW.encode(ULAW.decode(SPEECH))
    await listener.conversation.close()


async def test_a_minute_said_five_times_fits_the_queue() -> None:
    long = Announcement("long", sound(440, 45), 5, ANNOUNCEMENT.keys, FAREWELL)
    listener = await answered(Listener(long))
    assert listener.conversation.queue.refused_octets == 0
    await listener.conversation.close()
