"""The worker against the lab's Realtime server, real sockets and real time on both sides: heard-exact barge-in."""

import asyncio
import socket
import struct
import time
from pathlib import Path
from random import Random

from support.media import Facts

from trunkline.gateway import lab
from trunkline.gateway.lab.agent import AgentServer
from trunkline.gateway.lab.agent_options import AgentOptions
from trunkline.gateway.media.worker import LocalWorker
from trunkline.gateway.messages import (
    Answered,
    CloseLeg,
    CodecSpec,
    Configure,
    LegClosed,
    LegOpened,
    LegReady,
    MediaParameters,
    OpenLeg,
    SetMedia,
)

SPEECH = Path(next(iter(lab.__path__))) / "speech"
PCMU = CodecSpec("PCMU")


class Phone:
    """A caller on a UDP socket: sends 20 ms packets, keeps what it hears."""

    def __init__(self, port: int) -> None:
        self.to = ("127.0.0.1", port)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.port = self.socket.getsockname()[1]
        self.heard: list[bytes] = []
        self.said = bytearray()
        self._sequence = 0
        self._listener = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        while True:
            self.heard.append(await asyncio.get_running_loop().sock_recv(self.socket, 2048))

    async def say(self, octets: bytes) -> None:
        start = time.monotonic()
        for index in range(len(octets) // 160):
            await asyncio.sleep(max(0.0, start + index * 0.020 - time.monotonic()))
            payload = octets[index * 160 : index * 160 + 160]
            header = struct.pack("!BBHII", 0x80, 0, self._sequence, self._sequence * 160, 5)
            self.socket.sendto(header + payload, self.to)
            self.said += payload
            self._sequence += 1

    def close(self) -> None:
        self._listener.cancel()
        self.socket.close()


def common(one: bytes, other: bytes) -> int:
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


async def test_a_caller_who_interrupts_is_obeyed_and_the_service_knows_what_was_heard():
    facts = Facts()
    options = AgentOptions(script=("address+greeting+hours", "wait"), speed=0)
    async with AgentServer(options=options) as server:
        agent = {"provider": "openai", "base_url": server.url, "greeting": True}
        worker = LocalWorker(facts, Random(2))
        worker.start()
        worker.handle(Configure({"a": agent}, "127.0.0.1", 44000, 44019, ""))
        worker.handle(OpenLeg("c1", "a", "inbound", None, None, PCMU))
        await facts.next(LegReady)
        phone = Phone((await facts.next(LegOpened)).rtp_port)
        try:
            worker.handle(SetMedia("c1", MediaParameters(PCMU, "127.0.0.1", phone.port, phone.port + 1)))
            worker.handle(Answered("c1"))
            await phone.say(b"\xff" * 8000 + (SPEECH / "caller_interruption.ul").read_bytes() + b"\xff" * 4000)
            worker.handle(CloseLeg("c1"))
            closed = await facts.next(LegClosed)
            session = await server.session(0)
        finally:
            phone.close()
            await worker.stop()

    payloads = [packet[12:] for packet in phone.heard]
    first = next(n for n, payload in enumerate(payloads) if payload != b"\xff" * 160)
    stream = b"".join(payloads[first:])
    heard_ms = common(stream, (SPEECH / "address.ul").read_bytes()) // 8
    assert heard_ms > 1000
    assert heard_ms % 20 == 0
    cuts = {cut.item_id: cut.audio_end_ms for cut in session.truncations}
    assert list(cuts.values()) == [heard_ms, 0, 0]
    assert stream[heard_ms * 8 : heard_ms * 8 + 1600] == b"\xff" * 1600
    assert bytes(session.audio) == bytes(phone.said[: len(session.audio)])
    assert len(session.audio) >= len(phone.said) - 320
    greeting = closed.report.turns[0]
    assert (greeting.latency_ms, greeting.interrupted, greeting.heard_ms) == (None, True, heard_ms)
    assert closed.report.media.received.lost == 0
