"""An announcement in place of a speech service: says something until a key answers it, and hangs up.

Not a service that an agent may name: what it says comes with the one call that it is made for (OpenLeg).
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import ClassVar

import msgspec
import numpy as np

from ...codecs.g711 import ULAW
from ...codecs.resample import Resampler
from ..messages import Announcement, KeyAnswer
from .base import (
    AudioCleared,
    AudioDelta,
    AudioDone,
    AudioFormat,
    BridgeEvent,
    CallContext,
    Capabilities,
    Closed,
    Heard,
    LastWord,
    Transcript,
)

RATE = 8000
"""Samples, and octets of µ-law, in a second."""
LEAD_S = 0.8
"""From the answer to the first word, seconds: the telephone is on its way to the ear."""
PAUSE_S = 1.5
"""Between two repetitions, seconds."""
PATIENCE_S = 6.0
"""From the last repetition to the farewell, seconds: time to find the key."""
STARTS_MAX = 3
"""How often a key that means nothing begins the announcement anew: nobody can hold the line for ever."""


class AnnouncementBridge:
    """One call with an announcement on the other side. A key counts once the call is up; the first that means something
    decides."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        turn_detection=False, truncation=False, tools=False, transcripts=False
    )
    speaks_first = True

    def __init__(self, announcement: Announcement, context: CallContext) -> None:
        self.input_format = self.output_format = context.preferred
        self._announcement = announcement
        """In `output_format` once open."""
        self._keys: asyncio.Queue[str] = asyncio.Queue()
        self._items = 0

    async def open(self) -> None:
        """Bring what is said into the call's format; in a thread, since a minute for Opus takes longer than a tick."""
        self._announcement = await asyncio.to_thread(_converted, self._announcement, self.output_format)

    def send(self, frame: bytes) -> None:
        """Nobody listens."""

    async def events(self) -> AsyncIterator[BridgeEvent]:
        """The announcement at once; then what the keys ask for."""
        for event in self._announce(LEAD_S):
            yield event
        starts = 1
        while key := await self._keys.get():
            answer = self._announcement.keys.get(key)
            if answer is not None:
                yield AudioCleared()
                for event in self._say(answer.speech):
                    yield event
                yield LastWord(answer.reason)
                break
            if starts < STARTS_MAX:
                starts += 1
                yield AudioCleared()
                for event in self._announce(0):
                    yield event
        while key:
            key = await self._keys.get()
        yield Closed("closed", clean=True)

    def _announce(self, lead_s: float) -> Iterator[BridgeEvent]:
        announcement = self._announcement
        speech = self._silence(PAUSE_S).join([announcement.speech] * announcement.repeat)
        yield from self._say(self._silence(lead_s) + speech, announcement.text)
        yield from self._say(self._silence(PATIENCE_S) + announcement.farewell)
        yield LastWord("no key was pressed")

    def _say(self, audio: bytes, text: str | None = None) -> Iterator[BridgeEvent]:
        self._items += 1
        item = f"announcement-{self._items}"
        yield AudioDelta(item, audio)
        if text is not None:
            yield Transcript("agent", item, text)
        yield AudioDone(item)

    def _silence(self, seconds: float) -> bytes:
        return in_format(ULAW.silent(int(seconds * RATE)), self.output_format)

    def interrupt(self, heard: Sequence[Heard]) -> None:
        """Never asked: it hears no speech."""

    def send_tool_result(self, call_id: str, output: str) -> None:
        """Never asked: it calls no tool."""

    def send_dtmf(self, digits: str) -> None:
        """The keys that the person pressed."""
        for digit in digits:
            self._keys.put_nowait(digit)

    async def close(self) -> None:
        """Let `events` end."""
        self._keys.put_nowait("")


def _converted(announcement: Announcement, wanted: AudioFormat) -> Announcement:
    return msgspec.structs.replace(
        announcement,
        speech=in_format(announcement.speech, wanted),
        keys={
            key: KeyAnswer(answer.reason, in_format(answer.speech, wanted)) for key, answer in announcement.keys.items()
        },
        farewell=in_format(announcement.farewell, wanted),
    )


def in_format(ulaw: bytes, wanted: AudioFormat) -> bytes:
    """µ-law octets in another format."""
    if wanted.encoding == "pcmu":
        return ulaw
    if wanted.encoding == "pcma":
        return ULAW.to_other(ulaw)
    resampler = Resampler(RATE, wanted.sample_rate)
    pcm = np.concatenate([resampler.process(ULAW.decode(ulaw)), resampler.flush()])
    return pcm[resampler.latency :].astype("<i2").tobytes()
