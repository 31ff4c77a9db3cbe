"""The sockets of a call, on loopback."""

import asyncio
import random
import socket
import struct
import time
from collections.abc import Callable, Iterator

import pytest

from trunkline.rtp import rtcp
from trunkline.rtp.errors import PortsExhausted
from trunkline.rtp.ports import PortRange
from trunkline.rtp.session import MediaFormat, RtpSession
from trunkline.rtp.transport import RtpTransport

HOST = "127.0.0.1"
FIRST = 21000


class Phone:
    """The far end: a plain socket and a few packets."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((HOST, 0))
        self.socket.settimeout(2)
        self.address = self.socket.getsockname()
        self._sequence = 0

    def send(self, port: int, ssrc: int = 7) -> bytes:
        self._sequence += 1
        payload = self._sequence.to_bytes(2) * 80
        head = struct.pack("!BBHII", 0x80, 0, self._sequence, self._sequence * 160, ssrc)
        self.socket.sendto(head + payload, (HOST, port))
        return payload

    def receive(self) -> bytes:
        return self.socket.recv(2048)


class Leg:
    """A transport with a session, as the gateway's leg has it."""

    def __init__(self, ports: PortRange, phone: Phone, host: str = HOST, *, rtcp_mux: bool = False) -> None:
        self.heard: list[bytes] = []
        self.transport = RtpTransport.open(ports, host)
        now = time.monotonic()
        self.session = RtpSession(random.Random(3), "c", MediaFormat(0, 0), now)
        self.session.set_remote(*phone.address, rtcp_mux=rtcp_mux, now=now)
        self.session.set_direction(sending=True, receiving=True, now=now)
        self.transport.start(self.session, lambda chunks, now: self.heard.extend(payload for _, payload, _ in chunks))

    def tick(self) -> None:
        self.transport.tick(time.monotonic())

    def say(self, payload: bytes = b"\xff" * 160) -> bytes:
        packet = self.session.packet(payload, 160)
        self.transport.send(packet)
        return packet

    def close(self) -> None:
        self.transport.close(time.monotonic())


@pytest.fixture
def phone() -> Iterator[Phone]:
    made = Phone()
    yield made
    made.socket.close()


@pytest.fixture
async def leg(phone: Phone):
    made = Leg(PortRange(FIRST, FIRST + 199, cooldown_s=0), phone)
    yield made
    made.close()


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("not within three seconds")


async def test_audio_both_ways(leg: Leg, phone: Phone):
    payloads = [phone.send(leg.transport.local_port) for _ in range(3)]
    await until(lambda: len(leg.heard) == 3)
    assert leg.heard == payloads
    leg.tick()
    packet = leg.say()
    assert phone.receive() == packet


async def test_nothing_is_read_before_the_start_nor_sent_after_the_close(phone: Phone):
    ports = PortRange(FIRST + 200, FIRST + 209, cooldown_s=0)
    transport = RtpTransport.open(ports, HOST)
    transport.send(b"x")
    transport.tick(0.0)
    transport.close(0.0)
    transport.close(0.0)
    transport.send(b"x")
    assert ports.free == 5
    assert transport.send_errors == 0


async def test_close_says_bye_on_the_rtcp_port(leg: Leg, phone: Phone):
    control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    control.bind((HOST, 0))
    control.settimeout(2)
    leg.session.set_remote(*phone.address, control.getsockname()[1], now=time.monotonic())
    leg.close()
    data, source = control.recvfrom(2048)
    control.close()
    assert rtcp.parse(data).bye
    assert source == (HOST, leg.transport.local_port + 1)


@pytest.mark.parametrize("mux", [False, True])
async def test_whoever_watches_sees_the_rtcp_that_leaves(mux: bool, phone: Phone):
    leg = Leg(PortRange(FIRST + 360, FIRST + 361), phone, rtcp_mux=mux)
    seen = []
    leg.session.on_rtcp = lambda *told: seen.append(told)
    leg.transport.close(time.monotonic())
    ((received, muxed, far_end, data),) = seen
    where = phone.address if mux else (HOST, phone.address[1] + 1)
    assert (received, muxed, far_end) == (False, mux, where)
    assert rtcp.parse(data).bye


async def test_rtcp_comes_in_on_the_odd_port(leg: Leg, phone: Phone):
    ssrc = struct.unpack("!I", leg.session.packet(b"", 0)[8:12])[0]
    block = rtcp.ReportBlock(ssrc, 0, 5, 0, 0, 0, 0)
    phone.socket.sendto(rtcp.compound(7, "far", block, None), (HOST, leg.transport.local_port + 1))
    await until(lambda: leg.session.far_end is not None)
    assert leg.session.far_end is not None
    assert leg.session.far_end.lost == 5


@pytest.mark.parametrize("host", [HOST, "0.0.0.0"])
async def test_settled_socket_keeps_strangers_out_in_the_kernel_and_opens_again_in_silence(host: str, phone: Phone):
    leg = Leg(PortRange(FIRST + 340, FIRST + 349, cooldown_s=0), phone, host)
    port = leg.transport.local_port
    phone.send(port)
    await until(lambda: len(leg.heard) == 1)
    leg.tick()
    stranger = Phone()
    stranger.send(port)
    phone.send(port)
    await until(lambda: len(leg.heard) == 2)
    assert leg.session.report().rejected == {}
    packet = leg.say()
    assert phone.receive() == packet
    silent = time.monotonic() + 0.4
    leg.transport.tick(silent)
    stranger.send(port)
    await until(lambda: bool(leg.session.report().rejected))
    assert leg.session.report().rejected == {"foreign": 1}
    packet = leg.say()
    assert phone.receive() == packet
    stranger.socket.close()
    leg.close()


@pytest.mark.parametrize("settled", [False, True])
async def test_multiplexed_rtcp_leaves_on_the_rtp_port(settled: bool, phone: Phone):
    leg = Leg(PortRange(FIRST + 350, FIRST + 351), phone, rtcp_mux=True)
    if settled:
        phone.send(leg.transport.local_port)
        await until(lambda: len(leg.heard) == 1)
    leg.tick()
    leg.transport.tick(time.monotonic() + 7)
    data, source = phone.socket.recvfrom(2048)
    assert rtcp.parse(data).cname == "c"
    assert source == (HOST, leg.transport.local_port)
    leg.close()


async def test_silence_is_filled_by_the_tick(leg: Leg, phone: Phone):
    phone.send(leg.transport.local_port)
    await until(lambda: len(leg.heard) == 1)
    leg.transport.tick(time.monotonic() + 0.5)
    assert leg.heard[1:] == [b""]


async def test_caller_that_moves_to_another_port_is_followed_through_the_connected_socket(leg: Leg, phone: Phone):
    port = leg.transport.local_port
    for _ in range(3):
        phone.send(port)
    await until(lambda: len(leg.heard) == 3)
    leg.tick()
    moved = Phone()
    moved._sequence = phone._sequence
    await asyncio.sleep(0.35)  # the silence after which the same stream may come from elsewhere
    leg.tick()
    for _ in range(2):
        moved.send(port)
    await until(lambda: len([heard for heard in leg.heard if heard]) == 5)
    assert leg.session.destination == moved.address
    leg.tick()
    packet = leg.say()
    assert moved.receive() == packet
    moved.socket.close()


async def test_far_end_that_is_gone_is_counted_and_never_raises(leg: Leg, phone: Phone):
    phone.send(leg.transport.local_port)
    await until(lambda: len(leg.heard) == 1)
    leg.tick()
    phone.socket.close()
    for _ in range(4):
        leg.say()
        await asyncio.sleep(0.01)
    assert leg.transport.send_errors >= 1


async def test_hold_sends_nothing(leg: Leg, phone: Phone):
    leg.session.set_direction(sending=False, receiving=True, now=time.monotonic())
    leg.tick()
    leg.say()
    leg.session.set_direction(sending=True, receiving=True, now=time.monotonic())
    leg.tick()
    packet = leg.say()
    assert phone.receive() == packet


async def test_port_of_another_program_is_passed_over():
    other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    other.bind((HOST, FIRST + 301))
    ports = PortRange(FIRST + 300, FIRST + 303, cooldown_s=0)
    transport = RtpTransport.open(ports, HOST)
    other.close()
    assert transport.local_port == FIRST + 302
    assert ports.free == 1
    transport.close(0.0)


async def test_range_used_up():
    ports = PortRange(FIRST + 310, FIRST + 311)
    transport = RtpTransport.open(ports, HOST)
    with pytest.raises(PortsExhausted):
        RtpTransport.open(ports, HOST)
    transport.close(0.0)


async def test_host_that_is_not_ours_is_no_lack_of_ports():
    ports = PortRange(FIRST + 320, FIRST + 321, cooldown_s=0)
    with pytest.raises(OSError, match="Cannot assign"):
        RtpTransport.open(ports, "203.0.113.1")
    assert ports.free == 1


async def test_packets_carry_expedited_forwarding(leg: Leg):
    assert leg.transport._rtp.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 46 << 2


async def test_ipv6():
    transport = RtpTransport.open(PortRange(FIRST + 330, FIRST + 331), "::1")
    transport.close(0.0)
