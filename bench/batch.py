"""Many UDP datagrams a system call (sendmmsg, recvmmsg), received with the kernel's own arrival times.

A load generator that reads late must not see late packets: SO_TIMESTAMPNS says when the kernel got each one. The
message headers are numpy arrays laid out as the C structures of 64-bit Linux, so that a batch costs two array
operations and no Python object for each packet.
"""

import ctypes
import errno
import os
import socket
import time

import numpy as np
from numpy.typing import NDArray

SO_TIMESTAMPNS = 35
_CONTROL = 64
_NAME = 16

_MESSAGE = np.dtype(
    {
        "names": ["name", "namelen", "iov", "iovlen", "control", "controllen", "flags", "length"],
        "formats": ["u8", "u4", "u8", "u8", "u8", "u8", "i4", "u4"],
        "offsets": [0, 8, 16, 24, 32, 40, 48, 56],
        "itemsize": 64,
    }
)
"""struct mmsghdr."""
_VECTOR = np.dtype([("base", "u8"), ("length", "u8")])
"""struct iovec."""

_libc = ctypes.CDLL(None, use_errno=True)


def wall_clock_offset_ns() -> int:
    """CLOCK_REALTIME minus CLOCK_MONOTONIC, ns: kernel arrival times are of the former, all else of the latter."""
    best = None
    for _ in range(20):
        before = time.monotonic_ns()
        wall = time.time_ns()
        width = time.monotonic_ns() - before
        if best is None or width < best[0]:
            best = (width, wall - before - width // 2)
    return best[1] if best else 0


def udp_socket(host: str, port: int = 0, buffer: int = 2 << 20) -> socket.socket:
    """A bound, non-blocking socket with arrival times and as large a buffer as the system allows."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    sock.bind((host, port))
    return sock


class Receiver:
    """Reads one socket, up to `slots` datagrams of at most `size` octets at a time."""

    def __init__(self, sock: socket.socket, slots: int = 512, size: int = 256) -> None:
        self._fd = sock.fileno()
        self._slots = slots
        self.data: NDArray[np.uint8] = np.zeros((slots, size), np.uint8)
        """Row k is datagram k of the last `receive`."""
        self._control: NDArray[np.int64] = np.zeros((slots, _CONTROL // 8), np.int64)
        self._names: NDArray[np.uint8] = np.zeros((slots, _NAME), np.uint8)
        self._vectors = np.zeros(slots, _VECTOR)
        self._messages = np.zeros(slots, _MESSAGE)
        self._vectors["base"] = self.data.ctypes.data + np.arange(slots, dtype=np.uint64) * size
        self._vectors["length"] = size
        self._messages["name"] = self._names.ctypes.data + np.arange(slots, dtype=np.uint64) * _NAME
        self._messages["iov"] = self._vectors.ctypes.data + np.arange(slots, dtype=np.uint64) * _VECTOR.itemsize
        self._messages["iovlen"] = 1
        self._messages["control"] = self._control.ctypes.data + np.arange(slots, dtype=np.uint64) * _CONTROL
        self._address = ctypes.c_void_p(self._messages.ctypes.data)
        self._rearm(slots)

    def _rearm(self, count: int) -> None:
        self._messages["namelen"][:count] = _NAME
        self._messages["controllen"][:count] = _CONTROL

    def receive(self) -> int:
        """Read what is there; the number of datagrams, 0 when there is none."""
        count = _libc.recvmmsg(self._fd, self._address, self._slots, socket.MSG_DONTWAIT, None)
        if count <= 0:
            return 0
        self._rearm(count)
        return count

    def ports(self, count: int) -> NDArray[np.uint16]:
        """Source ports of the last `count` datagrams."""
        return self._names[:count, 2:4].copy().view(">u2")[:, 0].astype(np.uint16)

    def stamps(self, count: int) -> NDArray[np.int64]:
        """Arrival times of the last `count` datagrams, CLOCK_REALTIME in ns."""
        return self._control[:count, 2] * 1_000_000_000 + self._control[:count, 3]

    def lengths(self, count: int) -> NDArray[np.uint32]:
        """Octets of the last `count` datagrams."""
        return self._messages["length"][:count].copy()


class Sender:
    """Sends rows of one array of packets, each row to its own destination and from its own socket's port."""

    def __init__(self, packets: NDArray[np.uint8]) -> None:
        rows, size = packets.shape
        self._names: NDArray[np.uint8] = np.zeros((rows, _NAME), np.uint8)
        self._vectors = np.zeros(rows, _VECTOR)
        self._messages = np.zeros(rows, _MESSAGE)
        self._vectors["base"] = packets.ctypes.data + np.arange(rows, dtype=np.uint64) * size
        self._vectors["length"] = size
        self._messages["name"] = self._names.ctypes.data + np.arange(rows, dtype=np.uint64) * _NAME
        self._messages["namelen"] = _NAME
        self._messages["iov"] = self._vectors.ctypes.data + np.arange(rows, dtype=np.uint64) * _VECTOR.itemsize
        self._messages["iovlen"] = 1
        self._base = self._messages.ctypes.data
        self.refused = 0
        """Datagrams that the kernel did not take."""

    def aim(self, row: int, host: str, port: int) -> None:
        """Where the packets of this row go."""
        family = int(socket.AF_INET).to_bytes(2, "little")
        name = family + port.to_bytes(2, "big") + socket.inet_aton(host) + bytes(8)
        self._names[row] = np.frombuffer(name, np.uint8)

    def send(self, sock: int, first: int, count: int) -> None:
        """Send rows `first` to `first + count` through the socket of this file descriptor."""
        while count > 0:
            sent = _libc.sendmmsg(sock, ctypes.c_void_p(self._base + first * _MESSAGE.itemsize), count, 0)
            if sent < 0:
                # an error left behind by ICMP (port unreachable), or a full buffer: this packet is lost
                self.refused += 1
                if ctypes.get_errno() not in (errno.ECONNREFUSED, errno.EAGAIN, errno.ENOBUFS):
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
                sent = 1
            first += sent
            count -= sent
