"""A service manager's ear: the socket that NOTIFY_SOCKET names, and what came over it."""

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import Self


class NotifySocket:
    """Collects the datagrams of sd_notify(3), each as a table of its assignments."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.messages: list[dict[str, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def __enter__(self) -> Self:
        self._socket.bind(str(self.path))
        asyncio.get_running_loop().add_reader(self._socket, self._read)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                lines = self._socket.recv(65536).decode().splitlines()
                self.messages.append(dict(line.split("=", 1) for line in lines))

    def times(self, key: str) -> list[int]:
        """Where in the order of messages this assignment came."""
        return [index for index, message in enumerate(self.messages) if key in message]

    def statuses(self) -> list[str]:
        """Every STATUS, in order."""
        return [message["STATUS"] for message in self.messages if "STATUS" in message]
