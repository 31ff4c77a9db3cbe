"""The asyncio shell over real sockets on loopback."""

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from trunkline.sip import connection
from trunkline.sip.errors import TransportError
from trunkline.sip.events import Answered, Ended, Event, IncomingInvite, MalformedReceived, PeerReachable, Rejected
from trunkline.sip.flow import Address, Flow
from trunkline.sip.message import parse_message
from trunkline.sip.transport import SipTransport
from trunkline.sip.user_agent import UserAgent, UserAgentConfig

SDP = b"v=0\r\n"
OPTIONS = (
    "OPTIONS sip:bob@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/{} 127.0.0.1:9;rport;branch=z9hG4bK{}\r\n"
    "From: <sip:ann@127.0.0.1>;tag=a\r\nTo: <sip:bob@127.0.0.1>\r\nCall-ID: {}\r\nCSeq: 1 OPTIONS\r\n"
    "Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)


class Station:
    """A transport, its user agent, and its events."""

    def __init__(self, transport: SipTransport, on_event: Callable[[Event], None] | None) -> None:
        self.transport = transport
        self.ua = UserAgent(UserAgentConfig(), random.Random(), transport.local_address)
        self.events: list[Event] = []
        self._on_event = on_event
        self._news = asyncio.Event()
        transport.run(self.ua, self._take)

    def _take(self, event: Event) -> None:
        self.events.append(event)
        self._news.set()
        if self._on_event is not None:
            self._on_event(event)

    def port(self, scheme: str) -> int:
        (address,) = [item for item in self.transport.listening if item.startswith(scheme)]
        return int(address.rsplit(":", 1)[1])

    async def wait_for(self, kind: type, seconds: float = 10.0):
        async with asyncio.timeout(seconds):
            while True:
                for event in self.events:
                    if isinstance(event, kind):
                        return event
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def station(*listen: str, on_event: Callable[[Event], None] | None = None) -> AsyncIterator[Station]:
    transport = await SipTransport.open(listen or ("udp://127.0.0.1:0", "tcp://127.0.0.1:0"))
    try:
        yield Station(transport, on_event)
    finally:
        await transport.close()


def answering(event: Event) -> None:
    if isinstance(event, IncomingInvite):
        event.session.ring(time.monotonic())
        event.session.answer(SDP, time.monotonic())


def place(caller: Station, target: Flow, sdp: bytes = SDP):
    return caller.ua.invite(
        f"sip:bob@{target.host}:{target.port}",
        from_="<sip:ann@127.0.0.1>",
        targets=[target],
        sdp=sdp,
        now=time.monotonic(),
    )


@pytest.mark.parametrize("scheme", ["udp", "tcp"])
async def test_a_call_over_real_sockets(scheme):
    async with station() as ann, station(on_event=answering) as bob:
        session = place(ann, Flow(scheme, "127.0.0.1", bob.port(scheme)))
        answered = await ann.wait_for(Answered)
        assert answered.sdp == SDP
        invite = await bob.wait_for(IncomingInvite)
        assert invite.source.transport == scheme
        session.bye(time.monotonic())
        assert (await bob.wait_for(Ended)).by == "remote"


async def test_one_connection_carries_both_directions():
    async with station() as ann, station(on_event=answering) as bob:
        place(ann, Flow("tcp", "127.0.0.1", bob.port("tcp")))
        await ann.wait_for(Answered)
        invite = await bob.wait_for(IncomingInvite)
        while not (bob.ua.live_sessions and invite.session.state.value == "established"):
            await asyncio.sleep(0)
        invite.session.bye(time.monotonic())
        await ann.wait_for(Ended)
        assert (ann.transport.connections, bob.transport.connections) == (1, 1)


async def test_a_refused_connection_rejects_the_call_at_once():
    async with station() as ann:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            place(ann, Flow("tcp", "127.0.0.1", unused.getsockname()[1]))
            rejected = await ann.wait_for(Rejected)
    assert (rejected.status, rejected.local) == (503, True)
    assert "refused" in rejected.reason.lower()


async def test_a_large_invite_falls_back_to_udp_where_nobody_listens_on_tcp():
    async with station() as ann, station("udp://127.0.0.1:0", on_event=answering) as bob:
        place(ann, Flow("udp", "127.0.0.1", bob.port("udp")), SDP + b"a=x\r\n" * 300)
        await ann.wait_for(Answered)
        assert (await bob.wait_for(IncomingInvite)).source.transport == "udp"


async def test_a_port_in_use_is_one_clear_sentence():
    async with station() as ann:
        for scheme in ("udp", "tcp"):
            address = f"{scheme}://127.0.0.1:{ann.port(scheme)}"
            with pytest.raises(TransportError, match=f"{address}: cannot listen: Address already in use; another"):
                await SipTransport.open([address])


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("tls://127.0.0.1:5061", "TLS is not supported yet"),
        ("127.0.0.1:5060", "not a listen address"),
        ("udp://127.0.0.1:70000", "not a listen address"),
        ("ws://127.0.0.1:80", "not a listen address"),
    ],
)
async def test_listen_addresses_that_cannot_be(address, message):
    with pytest.raises(TransportError, match=message):
        await SipTransport.open([address])


async def test_what_was_bound_before_a_failure_is_closed():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        free = taken.getsockname()[1]
    with pytest.raises(TransportError):
        await SipTransport.open([f"udp://127.0.0.1:{free}", "tls://127.0.0.1:1"])
    async with station(f"udp://127.0.0.1:{free}") as again:
        assert again.port("udp") == free


async def test_a_wildcard_is_never_shown():
    async with station("udp://0.0.0.0:0", "tcp://0.0.0.0:0") as ann:
        for scheme in ("udp", "tcp"):
            address = ann.transport.local_address(Flow(scheme, "127.0.0.1", 5060))
            assert address == Address("127.0.0.1", ann.port(scheme))
        assert ann.transport.local_address(Flow("udp", "192.0.2.1", 5060)).host != "0.0.0.0"
        assert ann.transport.local_address(Flow("tls", "127.0.0.1", 5061)) == Address("127.0.0.1", 5061)


async def test_of_several_sockets_the_one_that_the_peer_used_answers():
    async with station("udp://127.0.0.1:0", "udp://127.0.0.1:0") as bob:
        second = int(bob.transport.listening[1].rsplit(":", 1)[1])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
            phone.bind(("127.0.0.1", 0))
            phone.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_sendto(phone, OPTIONS.format("UDP", 1, 1).encode(), ("127.0.0.1", second))
            _, peer = await asyncio.wait_for(loop.sock_recvfrom(phone, 65535), 5)
        assert peer[1] == second


async def test_a_stream_is_cut_into_messages_and_pings_get_their_pong():
    async with station() as bob:
        reader, writer = await asyncio.open_connection("127.0.0.1", bob.port("tcp"))
        both = OPTIONS.format("TCP", 1, 1) + OPTIONS.format("TCP", 2, 2)
        for piece in (both[:100], both[100:], "\r\n\r\n"):
            writer.write(piece.encode())
            await writer.drain()
        answers = b""
        while not answers.endswith(b"\r\n\r\n\r\n"):
            answers += await asyncio.wait_for(reader.read(65535), 5)
        writer.close()
        assert answers.count(b"SIP/2.0 200 OK") == 2


async def test_a_stream_that_lost_its_framing_is_answered_and_closed():
    async with station() as bob:
        reader, writer = await asyncio.open_connection("127.0.0.1", bob.port("tcp"))
        writer.write(OPTIONS.format("TCP", 1, 1).replace("Content-Length: 0\r\n", "").encode())
        answer = await asyncio.wait_for(reader.read(-1), 5)
        writer.close()
        assert answer.startswith(b"SIP/2.0 400")
        await bob.wait_for(MalformedReceived)


async def test_garbage_datagrams_do_no_harm():
    async with station(on_event=answering) as bob, station() as ann:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as noise:
            for size in range(200):
                noise.sendto(random.Random(size).randbytes(size), ("127.0.0.1", bob.port("udp")))
        place(ann, Flow("udp", "127.0.0.1", bob.port("udp")))
        await ann.wait_for(Answered)
        assert bob.ua.counters["malformed"] > 100


async def test_timers_run_by_themselves():
    async with station() as ann:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            silent.setblocking(False)
            ann.ua.options("t", Flow("udp", "127.0.0.1", silent.getsockname()[1]), "sip:127.0.0.1", time.monotonic())
            loop = asyncio.get_running_loop()
            first = await asyncio.wait_for(loop.sock_recv(silent, 65535), 5)
            began = time.monotonic()
            second = await asyncio.wait_for(loop.sock_recv(silent, 65535), 5)
        assert first == second
        assert time.monotonic() - began > 0.3


async def test_a_peer_that_does_not_read_loses_its_connection(monkeypatch):
    monkeypatch.setattr(connection, "WRITE_LIMIT", 2000)
    async with station() as ann, station() as bob:
        flow = Flow("tcp", "127.0.0.1", bob.port("tcp"))
        for number in range(20):
            ann.ua.options(str(number), flow, "sip:127.0.0.1", time.monotonic())
        ann.transport.flush()
        for _ in range(20):
            await asyncio.sleep(0)
        assert ann.ua.counters["flows_failed"] >= 1


async def test_a_connection_that_nobody_uses_is_closed(monkeypatch):
    monkeypatch.setattr(connection, "PING_INTERVAL", 0.02)
    monkeypatch.setattr(connection, "IDLE_LIMIT", 0.01)
    async with station() as bob:
        reader, writer = await asyncio.open_connection("127.0.0.1", bob.port("tcp"))
        assert await asyncio.wait_for(reader.read(-1), 5) == b""
        writer.close()
        assert bob.transport.connections == 0


async def test_a_peer_that_says_nothing_whole_is_closed_soon(monkeypatch):
    monkeypatch.setattr(connection, "PING_INTERVAL", 0.02)
    monkeypatch.setattr(connection, "FIRST_MESSAGE_LIMIT", 0.05)
    async with station() as bob:
        reader, writer = await asyncio.open_connection("127.0.0.1", bob.port("tcp"))
        other, speaks = await asyncio.open_connection("127.0.0.1", bob.port("tcp"))
        speaks.write(OPTIONS.format("TCP", 1, 1).encode())
        await asyncio.wait_for(other.readuntil(b"\r\n\r\n"), 5)
        async with asyncio.timeout(5):
            while not reader.at_eof():
                writer.write(b"\r\n\r\nOPT")
                await asyncio.wait({asyncio.ensure_future(reader.read(100))}, timeout=0.01)
        assert bob.transport.connections == 1
        writer.close()
        speaks.close()


async def test_one_address_cannot_take_all_connections(monkeypatch):
    monkeypatch.setattr(connection, "MAX_PER_HOST", 3)
    async with station() as bob:
        flows = [await asyncio.open_connection("127.0.0.1", bob.port("tcp")) for _ in range(4)]
        assert await asyncio.wait_for(flows[3][0].read(-1), 5) == b""
        flows[0][1].write(OPTIONS.format("TCP", 1, 1).encode())
        assert (await asyncio.wait_for(flows[0][0].readuntil(b"\r\n"), 5)).startswith(b"SIP/2.0 200")
        assert bob.transport.connections == 3
        for _, writer in flows:
            writer.close()


async def test_our_own_idle_connections_get_pings(monkeypatch):
    monkeypatch.setattr(connection, "PING_INTERVAL", 0.02)
    received = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65535):
            received.extend(data)
            if data.startswith(b"OPTIONS"):
                request = parse_message(data)
                head = request.to_bytes().split(b"\r\n", 1)[1]
                writer.write(b"SIP/2.0 200 OK\r\n" + head)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with station() as ann:
        port = server.sockets[0].getsockname()[1]
        ann.ua.options("t", Flow("tcp", "127.0.0.1", port), "sip:127.0.0.1", time.monotonic())
        await ann.wait_for(PeerReachable)
        async with asyncio.timeout(5):
            while not received.endswith(b"\r\n\r\n\r\n\r\n"):
                await asyncio.sleep(0.01)
    server.close()
    await server.wait_closed()


async def test_after_close_nothing_runs():
    transport = await SipTransport.open(["udp://127.0.0.1:0"])
    ann = Station(transport, None)
    ann.ua.options("t", Flow("udp", "127.0.0.1", 9), "sip:127.0.0.1", time.monotonic())
    await transport.close()
    await transport.close()
    assert ann.ua.on_output is None
