"""Call recordings: a stereo WAV, the caller left and the agent right.

The media path only appends references to the frames it handled. Once a second a worker thread turns them into samples
and writes them; the header is brought up to date with each write, so that the file can be played whatever happens.
The agent's side has one frame a tick and is the time base; the caller's side is held to it.
"""

import asyncio
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import structlog

from ...codecs.base import Pcm
from ...codecs.resample import Resampler
from ..bridges.base import AudioFormat
from .convert import decoder_of

log = structlog.get_logger(__name__)

SLACK_S = 0.2
"""The caller's side may lag by this much before silence takes the place of what did not come."""
LEAD_MAX_S = 1.0
"""The caller's side may lead by this much, seconds; more is dropped."""
_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")


def wav_header(sample_rate: int, frames: int) -> bytes:
    """RIFF/WAVE header of 16-bit stereo PCM; sizes stop at the format's 4 GiB."""
    octets = min(frames * 4, 0xFFFFFFFF - 36)
    return _HEADER.pack(
        b"RIFF", 36 + octets, b"WAVE", b"fmt ", 16, 1, 2, sample_rate, sample_rate * 4, 4, 16, b"data", octets
    )


class _Channel:
    """One side: frames as they came, and the samples they become."""

    def __init__(self, sample_rate: int, audio: AudioFormat) -> None:
        self.frames: list[bytes] = []
        self.pcm: list[Pcm] = []
        self.samples = 0
        self._sample_rate = sample_rate
        self.use(audio)

    def use(self, audio: AudioFormat) -> None:
        self.decode = decoder_of(audio)
        self.resample: Callable[[Pcm], Pcm] | None = None
        if audio.sample_rate != self._sample_rate:
            self.resample = Resampler(audio.sample_rate, self._sample_rate).process

    def convert(self, frames: list[bytes]) -> None:
        """Decode frames (any thread)."""
        if frames:
            pcm = self.decode(b"".join(frames))
            self.add(self.resample(pcm) if self.resample is not None else pcm)

    def add(self, pcm: Pcm) -> None:
        self.pcm.append(pcm)
        self.samples += len(pcm)

    def pad(self, samples: int) -> None:
        """Silence up to a total of `samples`."""
        if samples > self.samples:
            self.add(np.zeros(samples - self.samples, np.int16))

    def take(self, samples: int) -> Pcm:
        """The first `samples` samples; the rest stays."""
        whole = np.concatenate(self.pcm) if self.pcm else np.zeros(0, np.int16)
        self.pcm = [whole[samples:]]
        self.samples = len(whole) - samples
        return whole[:samples]


class Recorder:
    """Records one call to `path`. Failures are logged once and never reach the call."""

    def __init__(self, path: Path, audio: AudioFormat) -> None:
        self.path = path
        self.sample_rate = audio.sample_rate
        self.failed = False
        self._caller = _Channel(self.sample_rate, audio)
        self._agent = _Channel(self.sample_rate, audio)
        self._changes: list[tuple[AudioFormat, list[bytes], list[bytes]]] = []
        self._file: BinaryIO | None = None
        self._frames = 0
        self._writing: asyncio.Task[None] | None = None
        self.caller: Callable[[bytes], None] = self._caller.frames.append
        """Take a frame of the caller, in line octets."""
        self.agent: Callable[[bytes], None] = self._agent.frames.append
        """Take the frame that this tick sent, in line octets."""

    def use(self, audio: AudioFormat) -> None:
        """The call changed its codec; the file keeps its rate."""
        caller, agent = self._swap()
        self._changes.append((audio, caller, agent))

    def flush(self) -> None:
        """Write what came since the last time, off the loop; called once a second."""
        if self.failed:
            self._swap()
        elif self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(asyncio.to_thread(self._write, *self._batch(), False))

    async def close(self) -> None:
        """Write the rest."""
        if self._writing is not None:
            await self._writing
        await asyncio.to_thread(self._write, *self._batch(), True)

    def _swap(self) -> tuple[list[bytes], list[bytes]]:
        caller, agent = self._caller.frames, self._agent.frames
        self._caller.frames, self._agent.frames = [], []
        self.caller, self.agent = self._caller.frames.append, self._agent.frames.append
        return caller, agent

    def _batch(self) -> tuple[list[tuple[AudioFormat, list[bytes], list[bytes]]], list[bytes], list[bytes]]:
        changes, self._changes = self._changes, []
        caller, agent = self._swap()
        return changes, caller, agent

    # In a worker thread, one at a time

    def _write(
        self,
        changes: list[tuple[AudioFormat, list[bytes], list[bytes]]],
        caller: list[bytes],
        agent: list[bytes],
        last: bool,
    ) -> None:
        if self.failed:
            return
        try:
            for audio, caller_before, agent_before in changes:
                self._caller.convert(caller_before)
                self._agent.convert(agent_before)
                self._caller.use(audio)
                self._agent.use(audio)
            self._caller.convert(caller)
            self._agent.convert(agent)
            self._align(last)
            self._append(min(self._caller.samples, self._agent.samples))
            if last and self._file is not None:
                self._file.close()
        except Exception as error:  # top frame of the writing thread: a recording never takes its call down
            self.failed = True
            self._file = None
            log.error("recording stopped, the call goes on", call=self.path.stem, path=str(self.path), error=str(error))

    def _align(self, last: bool) -> None:
        agent = self._agent.samples
        if last:
            self._caller.pad(agent)
            return
        self._caller.pad(agent - int(SLACK_S * self.sample_rate))
        excess = self._caller.samples - agent - int(LEAD_MAX_S * self.sample_rate)
        if excess > 0:
            self._caller.take(excess)

    def _append(self, samples: int) -> None:
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("wb")
            self._file.write(wav_header(self.sample_rate, 0))
        if not samples:
            return
        stereo = np.empty((samples, 2), "<i2")
        stereo[:, 0] = self._caller.take(samples)
        stereo[:, 1] = self._agent.take(samples)
        self._file.write(stereo.tobytes())
        self._frames += samples
        self._file.seek(0)
        self._file.write(wav_header(self.sample_rate, self._frames))
        self._file.seek(0, 2)
        self._file.flush()
