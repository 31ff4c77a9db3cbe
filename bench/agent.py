"""The agent of all calls, one process: a websocket server with just enough of OpenAI Realtime, and precise clocks.

Whoever measures must cost less than what is measured: frames are read straight from the sockets, and of the caller's
audio only the tag is unmasked (one frame in CHECK_EVERY is compared whole). Arrival times are the kernel's.
`python -m bench.agent` reads one JSON object (see `Task`), prints its port, serves until a line comes on standard
input, writes its log as .npz and prints a summary.
"""

import base64
import binascii
import ctypes
import hashlib
import heapq
import json
import select
import socket
import struct
import sys
import time
from dataclasses import dataclass
from random import Random

import numpy as np

from .batch import SO_TIMESTAMPNS, wall_clock_offset_ns
from .events import Reply, session_created, session_updated
from .frames import CALLER_TAG, FRAME, PATTERNS, SILENCE, TAG, speech

TURN_NS = 2_000_000
"""Between two looks at the sockets; arrival times do not depend on it, 20 ms frames do not pile up."""
CHECK_EVERY = 64
_UPGRADE = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _CLOSE, _PING = 0x81, 0x88, 0x89
_AUDIO = b'"audio":"'
_ENTRY = struct.Struct("<qHB4s8s")
_ENTRY_TYPE = np.dtype(
    [("arrived_ns", "<i8"), ("connection", "<u2"), ("turn", "u1"), ("mask", "u1", 4), ("tag", "u1", 8)]
)
_STAMP = struct.Struct("qq")
_PR_SET_TIMERSLACK = 29
_BASE64 = np.zeros(256, np.uint8)
_BASE64[np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", np.uint8)] = np.arange(64)


@dataclass(frozen=True, slots=True)
class Task:
    """What this process is told."""

    output: str
    host: str = "127.0.0.1"
    reply_frames: int = 135
    """20 ms frames in one reply, 2.7 s."""
    pause_ms: int = 300
    """Silence between two replies."""
    delta_frames: int = 5
    """Frames in one delta, 100 ms."""
    speed: float = 5.0
    """A reply comes so many times faster than it is spoken."""


class Connection:
    """One session, that is one call."""

    def __init__(self, number: int, sock: socket.socket) -> None:
        self.number = number
        self.sock = sock
        self.recvmsg_into = sock.recvmsg_into
        self.buffer = b""
        self.unsent = b""
        self.upgraded = False
        self.configured = False
        self.talking = False
        self.append_size = 0
        """Octets of a whole frame that carries an append of 20 ms; 0 until one came."""
        self.tag_at = 0
        self.appends = 0
        self.reply: Reply | None = None
        self.replies = 0


class Agent:
    """All sessions."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._listener = socket.create_server((task.host, 0), backlog=512)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._poll = select.epoll()
        self._poll.register(self._listener, select.EPOLLIN)
        self._poll.register(sys.stdin, select.EPOLLIN)
        self._connections: dict[int, Connection] = {}
        self._count = 0
        self._opening = 0
        self._due: list[tuple[int, int, Connection, int]] = []
        self._offset_ns = wall_clock_offset_ns()
        self._log = bytearray()
        self._spurts: list[tuple[int, int, int]] = []
        self._late_ns: list[int] = []
        self._octets = bytearray(1 << 18)
        self._view = memoryview(self._octets)
        self._speech = speech(1)
        self._random = Random(3)
        self._stop = False
        self.checked = self.wrong = self.filled = self.closed = self.stalled = 0

    def run(self) -> None:
        """Serve until a line comes on standard input."""
        while not self._stop:
            for descriptor, _ in self._poll.poll(0, 2048):
                connection = self._connections.get(descriptor)
                if connection is not None:
                    self._read(connection)
                elif descriptor == sys.stdin.fileno():
                    self._stop = True
                else:
                    self._accept()
            self._speak()
            # whoever is still in the handshake is answered at once: set-up time is measured
            time.sleep(TURN_NS / 1e9 if not self._opening else 0.0001)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._connections[sock.fileno()] = Connection(self._count, sock)
        self._poll.register(sock, select.EPOLLIN)
        self._count += 1
        self._opening += 1

    # reading

    def _read(self, connection: Connection) -> None:
        try:
            size, ancillary, _, _ = connection.recvmsg_into((self._octets,), 64)
        except BlockingIOError:
            return
        except ConnectionError:
            size, ancillary = 0, []
        if not size:
            self._drop(connection)
            return
        arrived = time.monotonic_ns()
        for _, kind, stamp in ancillary:
            if kind == SO_TIMESTAMPNS:
                seconds, ns = _STAMP.unpack(stamp)
                arrived = seconds * 1_000_000_000 + ns - self._offset_ns
        if size == connection.append_size and not connection.buffer and connection.appends % CHECK_EVERY:
            self._log_append(connection, self._octets, 0, arrived)
            return
        data = connection.buffer + bytes(self._view[:size])
        connection.buffer = b""
        if not connection.upgraded:
            self._upgrade(connection, data)
        else:
            self._frames(connection, data, arrived)

    def _drop(self, connection: Connection) -> None:
        del self._connections[connection.sock.fileno()]
        self._poll.unregister(connection.sock)
        connection.sock.close()
        connection.reply = None
        connection.talking = False
        self._opening -= not connection.configured
        connection.configured = True
        self.closed += 1

    def _log_append(self, connection: Connection, data: bytes | bytearray, at: int, arrived: int) -> None:
        tag = at + connection.tag_at
        connection.appends += 1
        self._log += _ENTRY.pack(
            arrived, connection.number, (connection.tag_at - 8) & 3, data[at + 4 : at + 8], data[tag : tag + 8]
        )

    def _upgrade(self, connection: Connection, data: bytes) -> None:
        head, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            connection.buffer = data
            return
        lines = head.split(b"\r\n")[1:]
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        accept = base64.b64encode(hashlib.sha1(headers[b"sec-websocket-key"] + _UPGRADE).digest())
        answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        self._send(connection, answer + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        connection.upgraded = True
        self._send(connection, session_created(connection.number))
        connection.buffer = rest

    def _frames(self, connection: Connection, data: bytes, arrived: int) -> None:
        at = 0
        while len(data) - at >= 6:
            size, header = data[at + 1] & 0x7F, 6
            if size == 126:
                size, header = int.from_bytes(data[at + 2 : at + 4], "big"), 8
            elif size == 127:
                size, header = int.from_bytes(data[at + 2 : at + 10], "big"), 14
            end = at + header + size
            if end > len(data):
                break
            self._frame(connection, data, at, header, end, arrived)
            at = end
        connection.buffer = data[at:]

    def _frame(self, connection: Connection, data: bytes, at: int, header: int, end: int, arrived: int) -> None:
        if end - at == connection.append_size and data[at] == _TEXT:
            if connection.appends % CHECK_EVERY == 0:
                self._check(_unmask(data[at + header - 4 : at + header], data[at + header : end]))
            self._log_append(connection, data, at, arrived)
            return
        payload = _unmask(data[at + header - 4 : at + header], data[at + header : end])
        if data[at] == _PING:
            self._send(connection, bytes((0x8A, len(payload))) + payload)
        elif data[at] == _CLOSE:
            self._send(connection, b"\x88\x02" + payload[:2])
        elif b"input_audio_buffer.append" in payload[:64]:
            position = payload.index(_AUDIO) + len(_AUDIO)
            if payload.index(b'"', position) - position == len(base64.b64encode(bytes(FRAME))):
                connection.append_size, connection.tag_at = end - at, header + position
                self._log_append(connection, data, at, arrived)
            self._begin(connection)
        elif b'"session.update"' in payload:
            update = json.loads(payload)["session"]
            self._send(connection, session_updated(connection.number, update))
            connection.configured = True
            self._opening -= 1

    def _check(self, payload: bytes) -> None:
        """Whether the caller's octets came as they were."""
        try:
            audio = np.frombuffer(base64.b64decode(json.loads(payload)["audio"]), np.uint8)
        except (ValueError, KeyError, binascii.Error):
            self.wrong += 1
            return
        tag = audio[:TAG].copy().view(CALLER_TAG)[0]
        number = int(tag["frame"])
        self.checked += 1
        if tag["call"] == SILENCE:
            self.filled += 1
            return
        self.wrong += not np.array_equal(audio[TAG:], self._speech[number % PATTERNS, TAG:])

    # speaking

    def _begin(self, connection: Connection) -> None:
        """The call is up: the first reply comes at a moment of its own."""
        if connection.talking:
            return
        connection.talking = True
        cycle_ms = self._task.reply_frames * 20 + self._task.pause_ms
        self._schedule(connection, time.monotonic_ns() + int(self._random.random() * cycle_ms * 1e6), 0)

    def _schedule(self, connection: Connection, due: int, step: int) -> None:
        heapq.heappush(self._due, (due, connection.number, connection, step))

    def _speak(self) -> None:
        task = self._task
        while self._due and self._due[0][0] <= time.monotonic_ns():
            due, _, connection, step = heapq.heappop(self._due)
            if not connection.talking:
                continue
            if step == 0:
                connection.reply = Reply(connection.number, connection.replies, task.reply_frames, task.delta_frames)
                connection.replies += 1
            reply = connection.reply
            if reply is None:
                continue
            data = reply.step(step)
            now = time.monotonic_ns()
            self._send(connection, data)
            self._late_ns.append(now - due)
            if step == 0:
                self._spurts.append((connection.number, connection.replies - 1, now))
            if step + 1 < reply.steps:
                self._schedule(connection, due + int(task.delta_frames * 20e6 / task.speed), step + 1)
            else:
                begun = due - int(step * task.delta_frames * 20e6 / task.speed)
                self._schedule(connection, begun + int((task.reply_frames * 20 + task.pause_ms) * 1e6), 0)

    def _send(self, connection: Connection, data: bytes) -> None:
        if connection.unsent:
            self.stalled += 1
            data = connection.unsent + data
        try:
            sent = connection.sock.send(data)
        except BlockingIOError:
            sent = 0
        except ConnectionError:
            return
        connection.unsent = data[sent:]

    def write(self) -> None:
        """The log: arrival, connection, call and frame of every append; when every reply began."""
        entries = np.frombuffer(bytes(self._log), _ENTRY_TYPE)
        turn = (entries["turn"][:, None] + np.arange(8)) & 3
        sextets = _BASE64[entries["tag"] ^ np.take_along_axis(entries["mask"], turn, 1)].astype(np.uint64)
        tags = np.zeros(len(entries), np.uint64)
        for index in range(8):
            tags = tags << np.uint64(6) | sextets[:, index]
        np.savez(
            self._task.output,
            arrived_ns=entries["arrived_ns"],
            connection=entries["connection"],
            call=(tags >> np.uint64(32)).astype(np.int64),
            frame=(tags & np.uint64(0xFFFFFFFF)).astype(np.int64),
            spurts=np.array(self._spurts, np.int64).reshape(-1, 3),
            late_ns=np.array(self._late_ns, np.int64),
        )


def _unmask(mask: bytes, payload: bytes) -> bytes:
    whole = (mask * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(whole, "big")).to_bytes(len(payload), "big")


def _say(**facts: object) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def main() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    agent = Agent(Task(**json.loads(sys.stdin.readline())))
    _say(port=agent.port)
    agent.run()
    agent.write()
    _say(
        sessions=agent._count,
        checked=agent.checked,
        wrong=agent.wrong,
        filled=agent.filled,
        closed=agent.closed,
        stalled=agent.stalled,
    )


if __name__ == "__main__":
    main()
