"""User agents joined by a faulty network in virtual time: no socket, no sleep."""

import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

from trunkline.sip.events import Event
from trunkline.sip.flow import Address, Flow
from trunkline.sip.message import Request, Response, parse_message
from trunkline.sip.user_agent import UserAgent, UserAgentConfig

Fault = Callable[["Packet"], Sequence[float] | None]
"""Says when copies of a packet arrive, as delays in seconds; () loses it, None leaves it to the next fault."""


@dataclass
class Packet:
    """One message on the wire."""

    at: float
    source: Flow
    target: Flow
    data: bytes

    @property
    def message(self) -> Request | Response:
        return parse_message(self.data)

    @property
    def kind(self) -> str:
        """`INVITE`, `200 INVITE`, …"""
        message = self.message
        if isinstance(message, Request):
            return message.method
        return f"{message.status} {message.cseq.method}"


@dataclass
class Node:
    """One user agent and what it said."""

    ua: UserAgent
    flow: Flow
    events: list[Event] = field(default_factory=list)
    on_event: Callable[[Event], None] | None = None

    def of(self, kind: type) -> list:
        return [event for event in self.events if isinstance(event, kind)]

    def one(self, kind: type):
        found = self.of(kind)
        assert len(found) == 1, f"{len(found)} {kind.__name__} in {self.events}"
        return found[0]


class Network:
    """Packets between nodes, by the clock `now`. Packets to nobody are only kept in `wire`."""

    def __init__(self, latency: float = 0.01) -> None:
        self.now = 0.0
        self.wire: list[Packet] = []
        self.faults: list[Fault] = []
        self.agents: list[Node] = []
        self.nodes: dict[tuple[str, str], Node] = {}
        """Who gets what is sent to (transport, host)."""
        self.unreachable: set[Flow] = set()
        self._latency = latency
        self._queue: list[tuple[float, int, Packet]] = []
        self._count = count()

    def add(self, host: str, transport: str = "udp", screen=None, seed: int | None = None, **config) -> Node:
        """A user agent at host:5060."""
        rng = random.Random(host if seed is None else seed)
        agent = UserAgent(UserAgentConfig(**config), rng, lambda flow: Address(host, 5060), screen)
        node = Node(agent, Flow(transport, host, 5060))
        self.agents.append(node)
        self.nodes["udp", host] = self.nodes["tcp", host] = node
        return node

    def kinds(self) -> list[str]:
        """What went over the wire, in order."""
        return [packet.kind for packet in self.wire]

    def times(self, kind: str) -> list[float]:
        """When packets of that kind were sent."""
        return [round(packet.at, 3) for packet in self.wire if packet.kind == kind]

    def pump(self) -> None:
        """Drain every node until all is quiet."""
        busy = True
        while busy:
            busy = False
            for node in self.agents:
                busy |= self._drain(node)

    def _drain(self, node: Node) -> bool:
        sent = node.ua.transmissions()
        for target, data in sent:
            self._send(node, target, data)
        busy = bool(sent)
        while (event := node.ua.next_event()) is not None:
            busy = True
            node.events.append(event)
            if node.on_event is not None:
                node.on_event(event)
        return busy

    def _send(self, node: Node, target: Flow, data: bytes) -> None:
        packet = Packet(self.now, Flow(target.transport, node.flow.host, 5060), target, data)
        if target in self.unreachable:
            node.ua.flow_failed(target, "connection refused", self.now)
            return
        self.wire.append(packet)
        delays: Sequence[float] | None = None
        for fault in self.faults:
            delays = fault(packet)
            if delays is not None:
                break
        for delay in (self._latency,) if delays is None else delays:
            heapq.heappush(self._queue, (self.now + delay, next(self._count), packet))

    def next_time(self) -> float | None:
        times = [node.ua.next_timer() for node in self.agents]
        times.append(self._queue[0][0] if self._queue else None)
        return min((time for time in times if time is not None), default=None)

    def step(self) -> bool:
        """Go to the next moment at which something happens; False when nothing will."""
        self.pump()
        at = self.next_time()
        if at is None:
            return False
        self.now = max(self.now, at)
        while self._queue and self._queue[0][0] <= self.now:
            _, _, packet = heapq.heappop(self._queue)
            node = self.nodes.get((packet.target.transport, packet.target.host))
            if node is not None and packet.target.port == 5060:
                node.ua.receive(packet.data, packet.source, self.now)
                self.pump()
        for node in self.agents:
            node.ua.handle_timer(self.now)
        self.pump()
        return True

    def run(self, seconds: float) -> None:
        """Let this much time pass."""
        end = self.now + seconds
        self.pump()
        while (at := self.next_time()) is not None and at <= end:
            self.step()
        self.now = end

    def settle(self, limit: float = 10_000.0) -> None:
        """Run until nothing is left to happen."""
        end = self.now + limit
        while self.step():
            assert self.now < end, "never quiet"


def lose(kind: str, times: int = 1) -> Fault:
    """Lose the first `times` packets of that kind."""
    left = [times]

    def fault(packet: Packet) -> Sequence[float] | None:
        if packet.kind != kind or left[0] == 0:
            return None
        left[0] -= 1
        return ()

    return fault


def delay(kind: str, seconds: float, times: int = 1) -> Fault:
    """Hold the first `times` packets of that kind back."""
    left = [times]

    def fault(packet: Packet) -> Sequence[float] | None:
        if packet.kind != kind or left[0] == 0:
            return None
        left[0] -= 1
        return (seconds,)

    return fault


def duplicate(kind: str) -> Fault:
    """Deliver packets of that kind twice."""
    return lambda packet: (0.01, 0.02) if packet.kind == kind else None


def lossy(seed: int, share: float, jitter: float = 0.3) -> Fault:
    """Lose, duplicate and reorder at random."""
    rng = random.Random(seed)

    def fault(packet: Packet) -> Sequence[float]:
        drawn = rng.random()
        if drawn < share:
            return ()
        if drawn > 1 - share / 2:
            return (rng.uniform(0, jitter), rng.uniform(0, jitter))
        return (rng.uniform(0, jitter),)

    return fault
