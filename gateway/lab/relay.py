"""A bad network in user space: UDP relays between a phone's media and a gateway's, with loss, delay and worse.

    network = Network(PortRange(20000, 20099), seed=1)
    trunk.relay = network.join                                  # each call of the trunk gets a relay of its own
    network.impair(to_gateway=Conditions(loss=0.2, burst=2.0))  # from now on, also for calls that are up

What an Impairment decides depends on its seed and on the order of packets alone, so that a bad call can be had again.
"""

import asyncio
import contextlib
import dataclasses
import errno
import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from ...rtp.ports import PortRange
from ...sip.events import Ended, Event, Rejected

Address = tuple[str, int]
Owner = Callable[[Event], None]

HOST = "127.0.0.1"
REORDERED_MS = 30.0
"""How much longer a packet takes that others are to overtake: more than one packet of 20 ms."""
_ATTEMPTS = 16
_OCTETS = 2048


@dataclass(frozen=True, slots=True)
class Conditions:
    """What one direction of the network does to packets. Shares are from 0 to 1."""

    loss: float = 0.0
    burst: float = 1.0
    """Mean length of a run of lost packets, over that of random loss of the same share (G.107's BurstR): two-state
    Markov loss after Gilbert."""
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    """At most so much more than `delay_ms`, evenly spread; the order stays."""
    duplicate: float = 0.0
    reorder: float = 0.0
    """Share of packets that are held back until the next ones have overtaken them."""
    blocked: bool = False
    """Nothing passes: the firewall of one-way audio."""


class Impairment:
    """One direction for one kind of packet; no clock and no socket."""

    def __init__(self, random: Random) -> None:
        self.conditions = Conditions()
        self.lost = 0
        self.passed = 0
        self._random = random
        self._losing = False
        self._last = 0.0

    def leaves(self, now: float) -> list[float]:
        """When the copies of a packet that came at `now` leave, the same clock: none when it is lost."""
        conditions = self.conditions
        if conditions.blocked or self._lose(conditions):
            self.lost += 1
            return []
        self.passed += 1
        copies = 2 if self._random.random() < conditions.duplicate else 1
        return [self._departure(conditions, now) for _ in range(copies)]

    def _lose(self, conditions: Conditions) -> bool:
        """Good to losing with loss/B, back with (1 - loss)/B: the share lost is `loss`, whatever B is."""
        share = (1 - conditions.loss if self._losing else conditions.loss) / max(1.0, conditions.burst)
        if self._random.random() < share:
            self._losing = not self._losing
        return self._losing

    def _departure(self, conditions: Conditions, now: float) -> float:
        departure = now + (conditions.delay_ms + self._random.random() * conditions.jitter_ms) / 1000
        if self._random.random() < conditions.reorder:
            return departure + REORDERED_MS / 1000
        self._last = max(departure, self._last)
        return self._last


class Relay:
    """The media of one call: two pairs of ports, one that the phone sees as the gateway and one the other way round."""

    def __init__(self, ports: PortRange, random: Random) -> None:
        """Raises PortsExhausted."""
        self._ports = ports
        self._loop = asyncio.get_running_loop()
        self.to_gateway = (Impairment(random), Impairment(random))
        """RTP and RTCP, as all pairs here."""
        self.to_phone = (Impairment(random), Impairment(random))
        self._phone_port, self._phone_side = _bind_pair(ports)
        self._gateway_port, self._gateway_side = _bind_pair(ports)
        self._phone: list[Address | None] = [None, None]
        self._gateway: list[Address | None] = [None, None]
        for kind in (0, 1):
            self._loop.add_reader(self._phone_side[kind], self._from_phone, kind)
            self._loop.add_reader(self._gateway_side[kind], self._from_gateway, kind)

    def offered(self, sdp: bytes) -> bytes:
        """The phone's description as the gateway shall have it."""
        return _redirect(sdp, self._phone, self._gateway_port)

    def answered(self, sdp: bytes) -> bytes:
        """The gateway's description as the phone shall have it."""
        return _redirect(sdp, self._gateway, self._phone_port)

    def impair(self, to_gateway: Conditions, to_phone: Conditions) -> None:
        """From now on."""
        for impairment in self.to_gateway:
            impairment.conditions = to_gateway
        for impairment in self.to_phone:
            impairment.conditions = to_phone

    def close(self) -> None:
        """Give the ports back; what is under way is lost. Idempotent."""
        for sock in (*self._phone_side, *self._gateway_side):
            if sock.fileno() >= 0:
                self._loop.remove_reader(sock)
                sock.close()
        for port in (self._phone_port, self._gateway_port):
            self._ports.release(port, time.monotonic())

    def _from_phone(self, kind: int) -> None:
        self._forward(self._phone_side[kind], self.to_gateway[kind], self._gateway_side[kind], self._gateway[kind])

    def _from_gateway(self, kind: int) -> None:
        self._forward(self._gateway_side[kind], self.to_phone[kind], self._phone_side[kind], self._phone[kind])

    def _forward(
        self, source: socket.socket, impairment: Impairment, sink: socket.socket, target: Address | None
    ) -> None:
        try:
            packet = source.recv(_OCTETS)
        except OSError:  # ICMP: the far side has closed already
            return
        if target is None:
            return
        now = time.monotonic()
        for departure in impairment.leaves(now):
            if departure <= now:
                _send(sink, packet, target)
            else:
                self._loop.call_later(departure - now, _send, sink, packet, target)


class Network:
    """Relays for all calls of a trunk, under the same conditions."""

    def __init__(self, ports: PortRange, seed: int) -> None:
        self._ports = ports
        self._seeds = Random(seed)
        self._to_gateway = self._to_phone = Conditions()
        self.relays: list[Relay] = []
        """Of the calls that are up."""

    def impair(self, *, to_gateway: Conditions | None = None, to_phone: Conditions | None = None) -> None:
        """From now on, for all calls; a direction that is not named is left perfect."""
        self._to_gateway, self._to_phone = to_gateway or Conditions(), to_phone or Conditions()
        for relay in self.relays:
            relay.impair(self._to_gateway, self._to_phone)

    def join(self, sdp: bytes, owner: Owner) -> tuple[bytes, Owner]:
        """Put a relay into a call that a phone begins: the offer to send, and who gets the call's events first."""
        relay = Relay(self._ports, Random(self._seeds.random()))
        relay.impair(self._to_gateway, self._to_phone)
        self.relays.append(relay)

        def relayed(event: Event) -> None:
            answer = getattr(event, "sdp", None)
            owner(dataclasses.replace(event, sdp=relay.answered(answer)) if answer else event)
            if isinstance(event, Ended | Rejected) and relay in self.relays:
                self.relays.remove(relay)
                relay.close()

        return relay.offered(sdp), relayed

    def close(self) -> None:
        """Close what is open still."""
        while self.relays:
            self.relays.pop().close()


def _bind_pair(ports: PortRange) -> tuple[int, tuple[socket.socket, socket.socket]]:
    for _ in range(_ATTEMPTS):
        port = ports.acquire(time.monotonic())
        pair = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            for kind, sock in enumerate(pair):
                sock.setblocking(False)
                sock.bind((HOST, port + kind))
        except OSError as error:
            for sock in pair:
                sock.close()
            ports.release(port, time.monotonic())
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return port, pair
    raise OSError(errno.EADDRINUSE, "no free port pair for a relay")


def _redirect(sdp: bytes, seen: list[Address | None], port: int) -> bytes:
    """Note where a description's audio is, and put the relay's port in its place; the host is this one either way."""
    audio = re.search(rb"^m=audio (\d+)", sdp, re.MULTILINE)
    if audio is None:
        return sdp
    rtcp = re.search(rb"^a=rtcp:(\d+)", sdp, re.MULTILINE)
    rtp_port = int(audio[1])
    seen[0] = HOST, rtp_port
    seen[1] = HOST, int(rtcp[1]) if rtcp else rtp_port + 1
    sdp = sdp.replace(audio[0], b"m=audio %d" % port)
    return sdp if rtcp is None else sdp.replace(rtcp[0], b"a=rtcp:%d" % (port + 1))


def _send(sock: socket.socket, packet: bytes, target: Address) -> None:
    # closed since, or nobody there any more: a network does not complain
    with contextlib.suppress(OSError):
        sock.sendto(packet, target)
