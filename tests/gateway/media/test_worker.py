"""The worker: orders in, facts out, over real sockets on loopback; in this process and as a process of its own."""

import asyncio
import os
import signal
import socket
import struct
import sys
from itertools import pairwise
from random import Random

import pytest
from structlog.testing import capture_logs
from support.media import ULAW_FORMAT, Facts, FakeBridge

from trunkline.gateway.bridges.base import AgentConfig, AudioDelta, AudioFormat, SpeechStarted
from trunkline.gateway.media import worker as worker_module
from trunkline.gateway.media.worker import LocalWorker
from trunkline.gateway.messages import (
    Answered,
    CloseLeg,
    CodecSpec,
    Configure,
    LegClosed,
    LegFailed,
    LegOpened,
    LegReady,
    MediaParameters,
    OpenLeg,
    SetMedia,
    Shutdown,
    WorkerReady,
    WorkerStatus,
    encode,
    fact_framer,
)

PCMU = CodecSpec("PCMU")
FIRST_PORT = 41000


class EchoBridge(FakeBridge):
    """Says back what the caller says, as one item."""

    def send(self, frame: bytes) -> None:
        super().send(frame)
        self.said.put_nowait(AudioDelta("echo", frame))


class FakeProvider:
    config = AgentConfig

    def __init__(self) -> None:
        self.bridges: dict[str, EchoBridge] = {}

    def bridge(self, config, context):
        self.preferred = context.preferred
        bridge = EchoBridge(ULAW_FORMAT)
        bridge.opening.set_result(None)
        self.bridges[context.call_id] = bridge
        return bridge


def configure(first: int = FIRST_PORT, last: int = FIRST_PORT + 99, host: str = "127.0.0.1", **agents) -> Configure:
    tables = agents or {"echo": {"provider": "echo"}}
    return Configure(tables, host, first, last, "/nonexistent")


def open_leg(call_id: str = "c1", agent: str = "echo") -> OpenLeg:
    return OpenLeg(call_id, agent, "inbound", "+1", "+2", PCMU)


def media(call_id: str, port: int) -> SetMedia:
    return SetMedia(call_id, MediaParameters(PCMU, "127.0.0.1", port, port + 1))


@pytest.fixture
def provider(monkeypatch) -> FakeProvider:
    provider = FakeProvider()

    def load(name: str) -> FakeProvider:
        if name != "echo":
            raise KeyError(name)
        return provider

    monkeypatch.setattr(worker_module, "load", load)
    return provider


@pytest.fixture
async def local(provider):
    facts = Facts()
    worker = LocalWorker(facts, Random(4))
    worker.start()
    yield worker, facts, provider
    await worker.stop()


@pytest.fixture
def phone():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        yield sock


async def test_rtp_in_bridge_and_rtp_out_over_real_sockets(local, phone):
    worker, facts, provider = local
    loop = asyncio.get_running_loop()
    worker.handle(configure())
    worker.handle(open_leg())
    opened = await facts.next(LegOpened)
    assert opened.rtp_port % 2 == 0
    await facts.next(LegReady)
    assert provider.preferred == AudioFormat("pcmu", 8000)
    worker.handle(media("c1", phone.getsockname()[1]))
    worker.handle(Answered("c1"))

    spoken = [bytes((index * 7 + n) % 120 for n in range(160)) for index in range(40)]
    received: list[bytes] = []
    for index, payload in enumerate(spoken):
        header = struct.pack("!BBHII", 0x80, 0, index, index * 160, 99)
        await loop.sock_sendto(phone, header + payload, ("127.0.0.1", opened.rtp_port))
        received.append(await asyncio.wait_for(loop.sock_recv(phone, 2048), 5))
    echoed = b"".join(spoken)
    async with asyncio.timeout(5):
        while b"".join(packet[12:] for packet in received).count(spoken[-1]) == 0:
            received.append(await loop.sock_recv(phone, 2048))
    assert b"".join(provider.bridges["c1"].frames) == echoed
    heard = b"".join(packet[12:] for packet in received).replace(b"\xff" * 160, b"")
    assert heard == echoed
    sequences = [struct.unpack_from("!H", packet, 2)[0] for packet in received]
    assert {(b - a) & 0xFFFF for a, b in pairwise(sequences)} == {1}

    worker.handle(CloseLeg("c1"))
    closed = await facts.next(LegClosed)
    assert closed.report.codec == "PCMU"
    assert closed.report.media.received.packets == 40
    assert closed.report.media.received.lost == 0
    assert closed.report.turns[0].heard_ms == 800.0


async def test_barge_in_over_real_sockets_leaves_at_most_the_frame_in_flight(local, phone):
    worker, facts, provider = local
    loop = asyncio.get_running_loop()
    worker.handle(configure())
    worker.handle(open_leg())
    await facts.next(LegReady)
    worker.handle(media("c1", phone.getsockname()[1]))
    worker.handle(Answered("c1"))
    bridge = provider.bridges["c1"]
    bridge.said.put_nowait(AudioDelta("long", bytes(80_000)))
    heard = 0
    while heard < 10:
        heard += (await asyncio.wait_for(loop.sock_recv(phone, 2048), 5))[12:] == bytes(160)
    bridge.said.put_nowait(SpeechStarted())
    quiet = 0
    while quiet < 5:
        payload = (await asyncio.wait_for(loop.sock_recv(phone, 2048), 5))[12:]
        heard, quiet = heard + (payload == bytes(160)), quiet + (payload == b"\xff" * 160)
    assert heard <= 11
    cut = bridge.interrupts[0][0]  # behind it the echo of the silent caller
    assert (cut.item_id, cut.heard_ms, cut.received_ms) == ("long", heard * 20, 10_000)


async def test_an_agent_that_is_not_there_is_a_503_that_names_it(local):
    worker, facts, _ = local
    worker.handle(configure())
    worker.handle(open_leg(agent="nobody"))
    failed = await facts.next(LegFailed)
    assert (failed.status, failed.reason) == (503, "agent 'nobody': not configured")


async def test_a_bad_agent_table_fails_only_its_own_calls(local):
    worker, facts, _ = local
    with capture_logs() as logs:
        worker.handle(
            configure(
                bad={"provider": "echo", "patience": 3, "api_key": "sesame"},
                none={"provider": "x"},
                echo={"provider": "echo"},
            )
        )
    assert "sesame" not in str(logs)
    worker.handle(open_leg("c1", "bad"))
    worker.handle(open_leg("c2", "none"))
    worker.handle(open_leg("c3", "echo"))
    assert "patience" in (await facts.next(LegFailed, "c1")).reason
    assert "no speech service named 'x'" in (await facts.next(LegFailed, "c2")).reason
    await facts.next(LegReady, "c3")


async def test_the_range_used_up_is_a_503_with_retry_after_and_ports_come_back(local):
    worker, facts, _ = local
    worker.handle(configure(FIRST_PORT + 200, FIRST_PORT + 203))
    for number in range(3):
        worker.handle(open_leg(f"c{number}"))
    failed = await facts.next(LegFailed, "c2")
    assert (failed.status, failed.retry_after_s) == (503, 5)
    assert "41200-41203" in failed.reason


async def test_an_address_that_is_not_ours_is_a_503(local):
    worker, facts, _ = local
    worker.handle(configure(host="192.0.2.1"))
    worker.handle(open_leg())
    failed = await facts.next(LegFailed)
    assert failed.status == 503
    assert "192.0.2.1" in failed.reason


async def test_an_unknown_codec_is_a_failed_leg_and_frees_its_ports(local):
    worker, facts, _ = local
    worker.handle(configure(FIRST_PORT + 300, FIRST_PORT + 301))
    with capture_logs():
        worker.handle(OpenLeg("c1", "echo", "inbound", None, None, CodecSpec("G729")))
    failed = await facts.next(LegFailed)
    assert "G729" in failed.reason
    assert worker._ports.free == 1


async def test_closing_a_leg_that_never_opened_still_has_a_last_word(local):
    worker, facts, _ = local
    worker.handle(CloseLeg("ghost"))
    assert (await facts.next(LegClosed)).call_id == "ghost"


async def test_orders_for_unknown_legs_and_broken_orders_do_no_harm(local):
    worker, facts, provider = local
    worker.handle(configure())
    worker.handle(Answered("ghost"))
    worker.handle(media("ghost", 4000))
    provider.bridge = None
    with capture_logs() as logs:
        worker.handle(open_leg("c1"))
    assert logs[-1]["event"] == "order failed"
    assert (await facts.next(LegFailed)).status == 500


async def test_status_once_a_second(local):
    _, facts, _ = local
    status = await facts.next(WorkerStatus)
    assert status.legs == 0
    assert status.clock_late_max_ms >= 0


async def test_shutdown_closes_what_is_left(local):
    worker, facts, provider = local
    worker.handle(configure())
    worker.handle(open_leg())
    await facts.next(LegReady)
    worker.handle(Shutdown())
    await asyncio.wait_for(worker.done.wait(), 5)
    assert (await facts.next(LegClosed)).call_id == "c1"
    assert provider.bridges["c1"].closed


class Child:
    """A worker process and our end of its socket."""

    def __init__(self, process, reader, writer) -> None:
        self.process, self.reader, self.writer = process, reader, writer
        self.facts = Facts()
        self.pump = asyncio.create_task(self._pump())

    async def _pump(self) -> None:
        framer = fact_framer()
        while data := await self.reader.read(65536):
            for fact in framer.feed(data):
                self.facts(fact)


@pytest.fixture
async def child():
    ours, theirs = socket.socketpair()
    with theirs:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "trunkline.gateway.media.worker", str(theirs.fileno()), pass_fds=(theirs.fileno(),)
        )
    reader, writer = await asyncio.open_connection(sock=ours)
    child = Child(process, reader, writer)
    yield child
    if process.returncode is None:
        process.kill()
        await process.wait()
    writer.close()
    child.pump.cancel()


async def test_the_process_reports_ignores_signals_and_nonsense_and_ends_with_its_socket(child):
    async with asyncio.timeout(20):
        child.writer.write(encode(Configure({}, "127.0.0.1", 30000, 30009, "")))
        ready = await child.facts.next(WorkerReady)
        assert ready.pid == child.process.pid
        os.kill(ready.pid, signal.SIGTERM)
        os.kill(ready.pid, signal.SIGINT)
        child.writer.write(struct.pack("!I", 3) + b"\xc1\xc1\xc1")
        child.writer.write(encode(CloseLeg("ghost")))
        assert (await child.facts.next(LegClosed)).call_id == "ghost"
        child.writer.close()
        assert await child.process.wait() == 0


async def test_the_process_ends_at_shutdown(child):
    async with asyncio.timeout(20):
        child.writer.write(encode(Shutdown()))
        assert await child.process.wait() == 0
