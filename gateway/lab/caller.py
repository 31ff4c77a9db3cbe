"""A caller on loopback: speaks µ-law lines over any codec, hears what comes back, and remembers both."""

import asyncio
import random
import time
import wave
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...codecs.g711 import ULAW
from ...codecs.registry import codec as registered
from ...rtp.ports import PortRange
from ...rtp.ring import AUDIO, Chunk
from ...rtp.session import MediaFormat, RtpSession
from ...rtp.transport import RtpTransport
from ...sip.events import Answered, Ended, Event, IncomingInvite, Rejected, ReOffer
from ...sip.offer_answer import OPUS, PCMA, PCMU, Agreed, AudioNegotiation
from ...sip.sdp import SessionDescription
from ...sip.session import InviteSession
from ..bridges.base import AudioFormat
from ..media.clock import MediaClock
from ..media.convert import Convert, Line, converter, line_of
from ..messages import CodecSpec
from .trunk import LabTrunk

CODECS = {codec.name: codec for codec in (PCMU, PCMA, OPUS)}
ULAW_FORMAT = AudioFormat("pcmu", 8000)
FRAME = 160
"""Samples and octets in 20 ms of G.711."""
SPEECH_DBOV = -45.0
"""Louder than this is somebody speaking: the lab's own lines are far above it, silence far below."""
QUIET_FRAMES = 25
"""So many quiet frames (0.5 s) in a row end what the agent says."""


class CallFailed(Exception):
    """The call did not come to where the script expected it."""


@dataclass(frozen=True, slots=True)
class Echo:
    """A phone or line that sends back what it is sent."""

    delay_ms: float = 120.0
    gain_db: float = -20.0


class LabCaller:
    """One phone. Drive it with `dial`, `say`, `hear_…`, `hang_up`; `heard` and `said` are µ-law since the answer."""

    def __init__(
        self, trunk: LabTrunk, clock: MediaClock, ports: PortRange, number: str = "15550100", codec: str = "PCMU"
    ) -> None:
        self.number = number
        self.said = bytearray()
        self.heard = bytearray()
        self.received = bytearray()
        """What the packets held, in order (PCMU: their very octets); `heard` is the same on the caller's own clock."""
        self.answered = asyncio.Event()
        self.ended = asyncio.Event()
        self.end_reason = ""
        self.echo: Echo | None = None
        """What the agent says is sent back like this, under what the caller says."""
        self._trunk = trunk
        self._clock = clock
        self._session: InviteSession | None = None
        self._words: deque[bytes] = deque()
        self._incoming = bytearray()
        self._quiet = QUIET_FRAMES
        self._agent_spoke = 0
        self._changed = asyncio.Event()
        self._transport = RtpTransport.open(ports, "127.0.0.1")
        self._rtp = RtpSession(random.Random(), "lab-caller", MediaFormat(0, 0), time.monotonic())
        self._line: Line = line_of(CodecSpec("PCMU"))
        self._of_ulaw: Convert | None = None
        self._to_ulaw: Convert | None = None
        self._media = AudioNegotiation((CODECS[codec],), "127.0.0.1", self._transport.local_port, session_id=1)

    # The call

    async def dial(self, user: str, number: str, timeout: float = 20.0) -> None:
        """Call the gateway that registered as `user`; returns when it answers. Raises CallFailed."""
        offer = self._media.create_offer().to_bytes()
        self._session = self._trunk.call(user, number, self.number, offer, self._on_event)
        await self._until(self.answered, timeout, "no answer")

    def take(self, event: IncomingInvite) -> None:
        """Answer a call that the gateway placed."""
        self._session = event.session
        self._trunk.adopt(event.session, self._on_event)
        now = time.monotonic()
        event.session.ring(now)
        answer, agreed = self._media.answer(SessionDescription.parse(event.session.remote_offer or b""))
        event.session.answer(answer.to_bytes(), now)
        self._start(agreed)

    def _on_event(self, event: Event) -> None:
        match event:
            case Answered(sdp=sdp):
                self._start(self._media.accept_answer(SessionDescription.parse(sdp or b"")))
            case ReOffer(sdp=sdp, session=session):
                answer, _ = self._media.answer(SessionDescription.parse(sdp or b""))
                session.accept_offer(answer.to_bytes(), time.monotonic())
            case Rejected(status=status, reason=reason):
                self._over(f"{status} {reason}")
            case Ended(reason=reason):
                self._over(reason)
            case _:
                return

    def _start(self, agreed: Agreed) -> None:
        now = time.monotonic()
        self._use(agreed, now)
        self._rtp.set_remote(
            agreed.remote_address, agreed.remote_port, agreed.remote_rtcp_port, rtcp_mux=agreed.rtcp_mux, now=now
        )
        self._rtp.set_direction(sending=True, receiving=True, now=now)
        self._transport.start(self._rtp, self._hear)
        self._clock.add(self)
        self.answered.set()

    def _use(self, agreed: Agreed, now: float) -> None:
        codec, send, receive = agreed.codec, agreed.send_payload_type, agreed.receive_payload_type
        self._rtp.set_format(MediaFormat(send, receive, codec.clock_hz, registered(codec.name).packet_samples), now)
        self._line = line_of(CodecSpec(codec.name, codec.clock_hz, codec.channels, send, receive))
        self._of_ulaw = converter(ULAW_FORMAT, self._line.format)
        self._to_ulaw = converter(self._line.format, ULAW_FORMAT)

    def _over(self, reason: str) -> None:
        if self.ended.is_set():
            return
        self.end_reason = reason
        self.ended.set()
        self._changed.set()
        self._clock.remove(self)
        self._transport.close(time.monotonic())

    def hang_up(self) -> None:
        """End the call from this side."""
        if self._session is not None:
            self._session.hang_up(time.monotonic())

    # Sound

    def _hear(self, chunks: Sequence[Chunk], now: float) -> None:
        for kind, payload, samples in chunks:
            octets = self._line.received(payload) if kind == AUDIO else self._line.silence(samples)
            if self._to_ulaw is not None:
                octets = self._to_ulaw(octets)
            if kind == AUDIO:
                self.received += octets
            self._incoming += octets

    def tick(self, now: float, skipped: int) -> None:
        """20 ms: say the next frame of the line (or silence), take what came."""
        self._transport.tick(now)
        samples = self._line.clock_rate // 50
        if skipped:
            self._rtp.skip(skipped * samples)
        frame = self._words.popleft() if self._words else ULAW.silent(FRAME)
        if self.echo is not None:
            frame = self._with_echo(frame, self.echo)
        payload = self._line.payload(frame if self._of_ulaw is None else self._of_ulaw(frame))
        self._transport.send(self._rtp.packet(payload, samples))
        heard = bytes(self._incoming[:FRAME])
        del self._incoming[:FRAME]
        self.said += frame
        self.heard += heard + ULAW.silent(FRAME - len(heard))
        loud = ULAW.level(heard) > SPEECH_DBOV
        self._quiet = 0 if loud else self._quiet + 1
        self._agent_spoke += loud
        self._changed.set()

    def _with_echo(self, frame: bytes, echo: Echo) -> bytes:
        end = len(self.heard) - round(echo.delay_ms * FRAME / 20)
        if end < FRAME:
            return frame
        back = ULAW.decode(bytes(self.heard[end - FRAME : end])) * 10 ** (echo.gain_db / 20)
        return ULAW.encode(np.clip(ULAW.decode(frame) + back, -32768, 32767).astype(np.int16))

    def tick_failed(self, error: Exception) -> None:
        """The clock let go of this caller."""
        self._over(f"lab caller failed: {error}")

    @property
    def agent_quiet(self) -> bool:
        """Nothing was heard for half a second."""
        return self._quiet >= QUIET_FRAMES

    def say(self, speech: bytes) -> None:
        """Begin to speak µ-law octets; returns at once."""
        self._words.extend(
            speech[start : start + FRAME].ljust(FRAME, ULAW.silence) for start in range(0, len(speech), FRAME)
        )

    async def said_all(self) -> None:
        """Wait until the line is spoken."""
        await self._until_true(lambda: not self._words, 60.0, "the line was not spoken")

    async def hear_speech(self, ms: float, timeout: float = 10.0) -> None:
        """Wait until `ms` of speech were heard from now on. Raises CallFailed."""
        goal = self._agent_spoke + ms / 20
        await self._until_true(lambda: self._agent_spoke >= goal, timeout, "the agent does not speak")

    async def hear_quiet(self, timeout: float = 30.0) -> None:
        """Wait until the agent has said what it had to say."""
        await self._until_true(lambda: self.agent_quiet, timeout, "the agent does not stop")

    async def _until_true(self, condition: Callable[[], bool], timeout: float, otherwise: str) -> None:
        try:
            async with asyncio.timeout(timeout):
                while not condition():
                    if self.ended.is_set():
                        raise CallFailed(f"call over: {self.end_reason}")
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise CallFailed(f"{otherwise} within {timeout:.0f} s") from None

    async def _until(self, event: asyncio.Event, timeout: float, otherwise: str) -> None:
        waits = [asyncio.create_task(event.wait()), asyncio.create_task(self.ended.wait())]
        try:
            await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
        if not event.is_set():
            raise CallFailed(f"{otherwise}: {self.end_reason or f'{timeout:.0f} s are over'}")

    def write_wav(self, path: Path) -> None:
        """Both sides as the caller had them: left said, right heard."""
        stereo = np.column_stack((ULAW.decode(bytes(self.said)), ULAW.decode(bytes(self.heard))))
        with wave.open(str(path), "wb") as file:
            file.setnchannels(2)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(stereo.tobytes())
