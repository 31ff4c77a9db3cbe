"""A voice without a mind: plays an audio file into the call and listens. What `trunkline call --play` talks with."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import av
import numpy as np
from av.error import FFmpegError

from ...codecs.g711 import ALAW, ULAW
from .base import (
    AgentConfig,
    AudioDelta,
    AudioDone,
    AudioFormat,
    BridgeEvent,
    BridgeRefused,
    CallContext,
    Capabilities,
    Closed,
    Heard,
)

ITEM = "file"
LONGEST_S = 300
"""What a call may have queued, seconds."""


class WavConfig(AgentConfig):
    """An agent that plays one file."""

    provider: str = "wav"
    play: Path | None = None
    """The file, in any format that libav reads; None only listens."""
    hang_up: bool = True
    """End the call when the file is over."""


class WavBridge:
    """One call with a file on the other side."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        turn_detection=False, truncation=False, tools=False, transcripts=False
    )

    def __init__(self, config: WavConfig, context: CallContext) -> None:
        self.input_format = self.output_format = context.preferred
        self.speaks_first = config.play is not None
        self._config = config
        self._audio = b""
        self._closed = asyncio.Event()

    async def open(self) -> None:
        """Read the file. Raises BridgeRefused when it cannot be read."""
        if self._config.play is None:
            return
        try:
            self._audio = await asyncio.to_thread(read_audio, self._config.play, self.output_format)
        except (OSError, FFmpegError) as error:
            raise BridgeRefused(f"{self._config.play}: {error.strerror}") from None
        if len(self._audio) > LONGEST_S * 1000 * self.output_format.octets_per_ms:
            raise BridgeRefused(f"{self._config.play} is longer than {LONGEST_S} s")

    def send(self, frame: bytes) -> None:
        """Nobody listens; the recording has it."""

    async def events(self) -> AsyncIterator[BridgeEvent]:
        """The whole file at once, then nothing until the end."""
        if self._audio:
            yield AudioDelta(ITEM, self._audio)
            yield AudioDone(ITEM)
            if self._config.hang_up:
                yield Closed("the file is over", clean=True)
                return
        await self._closed.wait()
        yield Closed("closed", clean=True)

    def interrupt(self, heard: Sequence[Heard]) -> None:
        """Never asked: it hears no speech."""

    def send_tool_result(self, call_id: str, output: str) -> None:
        """Never asked: it calls no tool."""

    def send_dtmf(self, digits: str) -> None:
        """Nobody listens."""

    async def close(self) -> None:
        """Let `events` end."""
        self._closed.set()


def read_audio(path: Path, wanted: AudioFormat) -> bytes:
    """All of a file in one format. Raises OSError or FFmpegError."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=wanted.sample_rate)
    parts: list[np.ndarray] = []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            parts += [part.to_ndarray() for part in resampler.resample(frame)]
    parts += [part.to_ndarray() for part in resampler.resample(None)]
    pcm = np.concatenate([part.reshape(-1) for part in parts]) if parts else np.zeros(0, np.int16)
    if wanted.encoding == "pcmu":
        return ULAW.encode(pcm)
    if wanted.encoding == "pcma":
        return ALAW.encode(pcm)
    return pcm.astype("<i2").tobytes()


class _Provider:
    config = WavConfig

    def bridge(self, config: Any, context: CallContext) -> WavBridge:
        """A bridge for one call."""
        return WavBridge(config, context)


BRIDGE = _Provider()
