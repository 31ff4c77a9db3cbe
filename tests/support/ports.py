"""Ports for one test run that no other run on the machine takes.

Each run owns a block of ports below the kernel's ephemeral range; it owns the block while it holds the block's
first port. Ports are handed out in turn, so that a port just given back is the last to be given again.
"""

import socket

FIRST = 20000
BLOCK = 1500
BLOCKS = 8
HOST = "127.0.0.1"


def _bound(kind: socket.SocketKind, port: int) -> socket.socket | None:
    sock = socket.socket(socket.AF_INET, kind)
    if kind == socket.SOCK_STREAM:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((HOST, port))
    except OSError:
        sock.close()
        return None
    return sock


def _free(port: int) -> bool:
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        sock = _bound(kind, port)
        if sock is None:
            return False
        sock.close()
    return True


class Ports:
    """A block of ports on 127.0.0.1, UDP and TCP."""

    def __init__(self) -> None:
        for block in range(BLOCKS):
            base = FIRST + block * BLOCK
            lock = _bound(socket.SOCK_DGRAM, base)
            if lock is not None:
                self._lock = lock
                self._first = base + 2
                self._end = base + BLOCK
                self._next = self._first
                return
        raise RuntimeError(f"all {BLOCKS} blocks of test ports from {FIRST} are taken")

    def take(self) -> int:
        """One free port, even (so that RTP may have it)."""
        return self.take_range(2)

    def take_range(self, count: int) -> int:
        """The first, even, of `count` free ports in a row."""
        for start in (*range(self._next, self._end - count, 2), *range(self._first, self._next, 2)):
            if start + count <= self._end and all(_free(port) for port in range(start, start + count)):
                self._next = start + count + (count & 1)
                return start
        raise RuntimeError(f"no {count} free ports in a row in {self._first}-{self._end}")

    def close(self) -> None:
        """Give the block back."""
        self._lock.close()
