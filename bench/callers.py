"""The callers of all calls, one process: SIP set-up, RTP out on a clock of its own, RTP in with the kernel's times.

`python -m bench.callers` reads one JSON object (see `Task`), prints `{"event": "up", …}` when every call is answered or
failed, runs until a line comes on standard input, hangs up, writes its log as .npz and prints `{"event": "done", …}`.
With `echo_port` there is no SIP: call k talks to the echo on that port + 2k.
"""

import ctypes
import json
import os
import select
import socket
import sys
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .batch import Receiver, Sender, udp_socket, wall_clock_offset_ns
from .frames import FRAME, PATTERNS, TAG, speech
from .sip_caller import Leg, SipCaller

SLOTS = 40
"""Phases of the 20 ms period, 0.5 ms apart: callers are not in step with one another, nor with the gateway."""
PERIOD_NS = 20_000_000
SLOT_NS = PERIOD_NS // SLOTS
SPREAD = 23
"""Coprime with SLOTS: consecutive calls get distant phases."""
READ_EVERY = 8
"""Slots between two looks at what came, 4 ms; the kernel's times do not depend on it."""
SOCKETS = 4
"""RTP sockets of the callers; a slot's calls share one."""
BUFFER = 2 << 20
GIVE_UP_NS = 15_000_000_000
HANG_UP_NS = 5_000_000_000
PACKET = 12 + FRAME
_PR_SET_TIMERSLACK = 29

_RTP = np.dtype(
    [
        ("first", "u1"),
        ("second", "u1"),
        ("sequence", ">u2"),
        ("timestamp", ">u4"),
        ("ssrc", ">u4"),
        ("call", ">u2"),
        ("frame", ">u4"),
        ("rest", "u1", (FRAME - TAG,)),
    ]
)
RECEIVED = np.dtype(
    [
        ("arrived_ns", "i8"),
        ("port", "u2"),
        ("marker", "u1"),
        ("sequence", "u2"),
        ("timestamp", "u4"),
        ("connection", "u2"),
        ("reply", "u2"),
        ("frame", "u2"),
    ]
)
"""One packet of the gateway; arrival on CLOCK_MONOTONIC."""


@dataclass(frozen=True, slots=True)
class Task:
    """What this process is told."""

    calls: int
    seconds: float
    """The longest that the calls may stand, for the size of the logs."""
    output: str
    host: str = "127.0.0.1"
    sip_port: int = 0
    rate: float = 20.0
    """Calls begun each second."""
    echo_port: int = 0


class Media:
    """RTP of all calls, on an absolute 0.5 ms clock."""

    def __init__(self, task: Task) -> None:
        self._capacity = -(-task.calls // SLOTS)
        rows = self._capacity * SLOTS
        self._packets = np.zeros(rows, _RTP)
        self._packets["first"] = 0x80
        self._packets["ssrc"] = np.arange(rows) + 0x10000000
        self._packets["sequence"] = np.arange(rows) * 97
        self._patterns = speech(1)[:, TAG:]
        self.sender = Sender(self._packets.view(np.uint8).reshape(rows, PACKET))
        self._sockets, self._rtcp = _rtp_pairs(task.host)
        self._fds = [sock.fileno() for sock in self._sockets]
        self._receivers = [Receiver(sock) for sock in self._sockets]
        self._active = [0] * SLOTS
        self._frames = [0] * SLOTS
        periods = int(task.seconds * 50) + 1000
        self.sent_ns: NDArray[np.int64] = np.zeros((SLOTS, periods), np.int64)
        """When the slot's n-th frame was handed to the kernel, CLOCK_MONOTONIC."""
        self.first_frame: NDArray[np.int64] = np.full(task.calls, -1, np.int64)
        """The number of the call's first frame; -1 when it was not answered."""
        self._log = np.zeros(int(task.calls * periods * 1.1), RECEIVED)
        self.received = 0
        self.foreign = 0
        self._offset_ns = wall_clock_offset_ns()
        self._start = time.monotonic_ns() + PERIOD_NS
        self._step = 0
        self.late_ns: NDArray[np.int64] = np.zeros((SLOTS, periods), np.int64)
        """How long after its time each slot was sent."""

    def slot_of(self, call: int) -> int:
        return call * SPREAD % SLOTS

    def port_of(self, call: int) -> int:
        """Where the call wants its RTP."""
        return self._sockets[self.slot_of(call) % SOCKETS].getsockname()[1]

    @property
    def ports(self) -> list[int]:
        return [sock.getsockname()[1] for sock in self._sockets]

    def begin(self, call: int, remote: tuple[str, int]) -> None:
        """The call is up: its packets leave from the slot's next turn on."""
        slot = self.slot_of(call)
        row = slot * self._capacity + self._active[slot]
        self._packets["call"][row] = call
        self._packets["second"][row] = 0x80
        self.sender.aim(row, *remote)
        self.first_frame[call] = self._frames[slot]
        self._active[slot] += 1

    def run_due(self) -> int:
        """Send every slot whose time has come; ns until the next one."""
        now = time.monotonic_ns()
        while (due := self._start + self._step * SLOT_NS) <= now:
            self._send_slot(self._step % SLOTS, due)
            self._step += 1
            if self._step % READ_EVERY == 0:
                self.read()
            now = time.monotonic_ns()
        return due - now

    def _send_slot(self, slot: int, due: int) -> None:
        count = self._active[slot]
        frame = self._frames[slot]
        if frame >= self.sent_ns.shape[1]:
            return
        first = slot * self._capacity
        packets = self._packets[first : first + self._capacity]
        packets["frame"] = frame
        packets["rest"] = self._patterns[frame % PATTERNS]
        now = time.monotonic_ns()
        self.sent_ns[slot, frame] = now
        self.late_ns[slot, frame] = now - due
        if count:
            self.sender.send(self._fds[slot % SOCKETS], first, count)
        packets["second"] = 0
        packets["sequence"] += 1
        packets["timestamp"] += FRAME
        self._frames[slot] = frame + 1

    def read(self) -> None:
        """Log what came."""
        for receiver in self._receivers:
            while count := receiver.receive():
                self._take(receiver, count)

    def _take(self, receiver: Receiver, count: int) -> None:
        whole = receiver.lengths(count) == PACKET
        self.foreign += int(count - whole.sum())
        packets = receiver.data[:count, :PACKET].copy().view(_RTP)[:, 0]
        log = self._log[self.received : self.received + count]
        packets = packets[: len(log)]
        log["arrived_ns"] = receiver.stamps(count)[: len(log)] - self._offset_ns
        log["port"] = receiver.ports(count)[: len(log)]
        log["marker"] = packets["second"] >> 7
        log["sequence"] = packets["sequence"]
        log["timestamp"] = packets["timestamp"]
        log["connection"] = packets["call"]
        log["reply"] = packets["frame"] >> 16
        log["frame"] = packets["frame"] & 0xFFFF
        self.received += len(log)

    def write(self, path: str, setup_ms: list[float]) -> None:
        """The log of everything sent and received."""
        np.savez(
            path,
            received=self._log[: self.received],
            sent_ns=self.sent_ns,
            late_ns=self.late_ns,
            first_frame=self.first_frame,
            slots=np.array([self.slot_of(call) for call in range(len(self.first_frame))]),
            setup_ms=np.array(setup_ms),
        )


def _rtp_pairs(host: str) -> tuple[list[socket.socket], list[socket.socket]]:
    """Sockets on even ports for RTP, and their odd neighbours, where RTCP comes and is left unread."""
    pairs: list[tuple[socket.socket, socket.socket]] = []
    port = 30000
    while len(pairs) < SOCKETS:
        try:
            rtp = udp_socket(host, port, BUFFER)
            try:
                pairs.append((rtp, udp_socket(host, port + 1)))
            except OSError:
                rtp.close()
        except OSError:
            pass
        port += 2
    return [rtp for rtp, _ in pairs], [rtcp for _, rtcp in pairs]


class Callers:
    """The main loop: media first, signalling when there is time."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self.media = Media(task)
        self.sip = SipCaller(task.host, (task.host, task.sip_port))
        self.setup_ms: list[float] = []

    def say(self, event: str, **facts: object) -> None:
        sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
        sys.stdout.flush()

    def _turn(self) -> list[Leg]:
        """One round of the loop; sleeps until the next slot."""
        wait_ns = self.media.run_due()
        answered = self.sip.poll() if self.sip.legs and self._busy else []
        if wait_ns > 60_000:
            time.sleep((wait_ns - 20_000) / 1e9)
        return answered

    _busy = True

    def run(self) -> None:
        if self._task.echo_port:
            for call in range(self._task.calls):
                self.media.begin(call, (self._task.host, self._task.echo_port + 2 * call))
        else:
            self._call_all()
        legs = self.sip.legs.values()
        self.say(
            "up",
            answered=sum(leg.state == "up" for leg in legs),
            refused={leg.number: leg.status for leg in legs if leg.state != "up"},
            ports=self.media.ports,
        )
        turn = 0
        while not select.select([sys.stdin], [], [], 0)[0]:
            for _ in range(100):
                turn += 1
                self._busy = turn % 8 == 0
                self._turn()
        self._busy = True
        self._hang_up()
        self.media.write(self._task.output, self.setup_ms)
        self.say(
            "done",
            received=self.media.received,
            foreign=self.media.foreign,
            refused=self.media.sender.refused,
            ended_by_gateway=sum(leg.ended_by_gateway for leg in legs),
        )

    def _call_all(self) -> None:
        """Begin the calls at their rate, and wait until the last is answered or refused."""
        task = self._task
        start = time.monotonic_ns()
        begun = 0
        while True:
            now = time.monotonic_ns()
            if begun < task.calls and now >= start + begun * 1e9 / task.rate:
                self.sip.invite(begun, self.media.port_of(begun))
                begun += 1
            for leg in self._turn():
                if leg.remote is not None and leg.setup_ms is not None:
                    self.media.begin(leg.number, leg.remote)
                    self.setup_ms.append(leg.setup_ms)
            waiting = any(leg.state == "inviting" for leg in self.sip.legs.values())
            if begun == task.calls and (not waiting or now > start + begun * 1e9 / task.rate + GIVE_UP_NS):
                return

    def _hang_up(self) -> None:
        up = [leg for leg in self.sip.legs.values() if leg.state == "up"]
        deadline = time.monotonic_ns() + HANG_UP_NS
        for index, leg in enumerate(up):
            self.sip.bye(leg)
            if index % 4 == 3:
                self._turn()
        while any(leg.state == "ending" for leg in up) and time.monotonic_ns() < deadline:
            self._turn()


def main() -> None:
    # a sleep ends when it should, not up to 50 µs later
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    task = Task(**json.loads(sys.stdin.readline()))
    Callers(task).run()


if __name__ == "__main__":
    main()
