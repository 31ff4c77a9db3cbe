"""A media leg on a clock that the test moves: a fake speech service on one side, captured RTP on the other."""

import asyncio
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from trunkline.gateway.bridges.base import (
    AudioDelta,
    AudioDone,
    AudioFormat,
    BridgeEvent,
    Capabilities,
    Heard,
)
from trunkline.gateway.media.leg import MediaLeg
from trunkline.gateway.messages import CodecSpec, Fact, MediaParameters

PCMU = CodecSpec("PCMU", send_type=0, receive_type=0)
PCMA = CodecSpec("PCMA", send_type=8, receive_type=8)
OPUS = CodecSpec("opus", 48000, 2, send_type=111, receive_type=111)
ULAW_FORMAT = AudioFormat("pcmu", 8000)
CALLER = ("203.0.113.9", 40000)
FRAME = 160


class FakeTime:
    """Monotonic seconds that only the test moves."""

    def __init__(self) -> None:
        self.now = 500.0

    def __call__(self) -> float:
        return self.now


class FakeBridge:
    """Records what it is told and says what the test tells it to."""

    capabilities = Capabilities(turn_detection=True, truncation=True, tools=True, transcripts=True)

    def __init__(
        self,
        input_format: AudioFormat = ULAW_FORMAT,
        output_format: AudioFormat | None = None,
        speaks_first: bool = False,
    ) -> None:
        self.input_format = input_format
        self.output_format = output_format or input_format
        self.speaks_first = speaks_first
        self.opening: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.said: asyncio.Queue[BridgeEvent | None] = asyncio.Queue()
        self.frames: list[bytes] = []
        self.interrupts: list[list[Heard]] = []
        self.tool_results: list[tuple[str, str]] = []
        self.keys = ""
        self.closed = False

    async def open(self) -> None:
        await self.opening

    def send(self, frame: bytes) -> None:
        self.frames.append(frame)

    async def events(self):
        while (event := await self.said.get()) is not None:
            yield event

    def interrupt(self, heard: Sequence[Heard]) -> None:
        self.interrupts.append(list(heard))

    def send_tool_result(self, call_id: str, output: str) -> None:
        self.tool_results.append((call_id, output))

    def send_dtmf(self, digits: str) -> None:
        self.keys += digits

    async def close(self) -> None:
        self.closed = True


@dataclass
class SentPacket:
    """One RTP packet that left."""

    at: float
    payload_type: int
    marker: bool
    sequence: int
    timestamp: int
    payload: bytes


class FakeTransport:
    """What rtp/transport.py does, without sockets."""

    local_port = 30000

    def __init__(self, time: FakeTime) -> None:
        self.time = time
        self.session: Any = None
        self.sink: Callable[..., None] | None = None
        self.sent: list[SentPacket] = []
        self.send_errors = 0
        self.refuse = False
        self.closed = False

    def start(self, session: Any, sink: Callable[..., None]) -> None:
        self.session, self.sink = session, sink

    def arrive(self, datagram: bytes, source: tuple[str, int] = CALLER) -> None:
        chunks = self.session.receive(datagram, source, self.time.now)
        if chunks:
            self.sink(chunks, self.time.now)

    def send(self, packet: bytes) -> None:
        if self.refuse:
            self.send_errors += 1
        _, second, sequence, timestamp, _ = struct.unpack_from("!BBHII", packet)
        self.sent.append(SentPacket(self.time.now, second & 0x7F, second >= 0x80, sequence, timestamp, packet[12:]))

    def tick(self, now: float) -> None:
        chunks = self.session.poll(now)
        if chunks:
            self.sink(chunks, now)

    def close(self, now: float) -> None:
        self.closed = True


class Caller:
    """Makes the caller's RTP."""

    def __init__(self, transport: FakeTransport, payload_type: int = 0) -> None:
        self.transport = transport
        self.payload_type = payload_type
        self.sequence = 65000
        self.timestamp = 0xFFFFF000
        self.ssrc = 77

    def packet(
        self, payload: bytes, samples: int | None = None, marker: bool = False, kind: int | None = None
    ) -> bytes:
        second = (self.payload_type if kind is None else kind) | (0x80 if marker else 0)
        header = struct.pack("!BBHII", 0x80, second, self.sequence, self.timestamp, self.ssrc)
        self.sequence = (self.sequence + 1) & 0xFFFF
        self.timestamp = (self.timestamp + (len(payload) if samples is None else samples)) & 0xFFFFFFFF
        return header + payload

    def say(self, payload: bytes, **options: Any) -> None:
        self.transport.arrive(self.packet(payload, **options))


class LegHarness:
    """One leg with everything around it."""

    def __init__(self, bridge: FakeBridge, spec: CodecSpec = PCMU, **options: Any) -> None:
        self.time = FakeTime()
        self.bridge = bridge
        self.transport = FakeTransport(self.time)
        self.facts: list[Fact] = []
        self.spec = spec
        self.leg = MediaLeg(
            "call-1", spec, bridge, self.transport, self.facts.append, Random(1), monotonic=self.time, **options
        )
        self.caller = Caller(self.transport, spec.receive_type)

    def parameters(self, **changes: Any) -> MediaParameters:
        values: dict[str, Any] = {
            "codec": self.spec,
            "remote_host": CALLER[0],
            "remote_port": CALLER[1],
            "remote_rtcp_port": CALLER[1] + 1,
            "event_send_type": 101,
            "event_receive_type": 101,
        }
        return MediaParameters(**(values | changes))

    async def settle(self) -> None:
        """Let the conversation's task read what was said."""
        for _ in range(5):
            await asyncio.sleep(0)

    async def open(self) -> None:
        self.leg.start()
        self.bridge.opening.set_result(None)
        await self.settle()

    async def answer(self, **changes: Any) -> None:
        await self.open()
        self.leg.set_media(self.parameters(**changes))
        self.leg.answered()

    async def say(self, *events: BridgeEvent) -> None:
        for event in events:
            self.bridge.said.put_nowait(event)
        await self.settle()

    async def speak(self, item_id: str, octets: bytes, done: bool = True) -> None:
        await self.say(AudioDelta(item_id, octets), *([AudioDone(item_id)] if done else []))

    def tick(self, count: int = 1, skipped: int = 0) -> None:
        for _ in range(count):
            self.time.now += 0.020 * (1 + skipped)
            self.leg.tick(self.time.now, skipped)

    def of(self, kind: type) -> list[Any]:
        return [fact for fact in self.facts if isinstance(fact, kind)]


class Facts:
    """What the worker said, and a way to wait for more of it."""

    def __init__(self) -> None:
        self.all: list = []
        self._changed = asyncio.Event()

    def __call__(self, fact) -> None:
        self.all.append(fact)
        self._changed.set()

    async def next(self, kind, call_id: str | None = None):
        async with asyncio.timeout(5):
            while True:
                for fact in self.all:
                    if isinstance(fact, kind) and call_id in (None, getattr(fact, "call_id", None)):
                        self.all.remove(fact)
                        return fact
                self._changed.clear()
                await self._changed.wait()
