"""systemd's journal, by its native protocol: one datagram an entry, each field its own.

An entry begins with its MESSAGE, which is the JSON line that would stand on standard error; the fields beside it are
what `journalctl TRUNKLINE_CALL=…` finds. Nothing here waits or raises: what the journal does not take goes to standard
error, which the service manager reads too, and what would block is lost.
"""

import contextlib
import logging
import os
import socket
import struct
from typing import Any, TextIO

SOCKET = "/run/systemd/journal/socket"
IDENTIFIER = "trunkline"

_PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
"""Levels as syslog counts them."""
_FIELDS = ("event", "call", "trunk", "agent", "worker", "gateway")
"""Keys of a line that become fields, `TRUNKLINE_CALL` and so on."""
_LENGTH = struct.Struct("<Q")
_SEND_BUFFER = 1 << 20


def is_journal(stream: TextIO) -> bool:
    """Whether the service manager connected this stream to the journal ($JOURNAL_STREAM, systemd.exec(5))."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def entry(line: str, event: dict[str, Any]) -> str:
    """The datagram of one line: `line` without its end is the message, `event` what it was made of. A string, since the
    standard library's formatters pass nothing else on; `Journal` has its octets."""
    fields = [
        ("MESSAGE", line),
        ("PRIORITY", str(_PRIORITIES.get(str(event.get("level")), 6))),
        ("SYSLOG_IDENTIFIER", IDENTIFIER),
    ]
    fields += [(f"TRUNKLINE_{key.upper()}", str(event[key])) for key in _FIELDS if event.get(key) is not None]
    return b"".join(_field(name, value) for name, value in fields).decode("utf-8", "surrogateescape")


def _field(name: str, value: str) -> bytes:
    octets = value.encode("utf-8", "replace")
    if b"\n" in octets:
        return name.encode() + b"\n" + _LENGTH.pack(len(octets)) + octets + b"\n"
    return name.encode() + b"=" + octets + b"\n"


class Journal:
    """The socket, as structlog wants a logger: each level is a method that takes an entry."""

    def __init__(self, otherwise: TextIO, path: str = SOCKET) -> None:
        """`otherwise` takes the line of an entry that the journal does not; its failures stay its own."""
        self._otherwise = otherwise
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)

    def msg(self, text: str) -> None:
        """Send one entry."""
        data = text.encode("utf-8", "surrogateescape")
        try:
            self._socket.sendto(data, self._path)
        except BlockingIOError:
            # the journal is behind; a call is not to wait for it
            return
        except OSError:
            # not there, or an entry too long for it
            message = data.partition(b"\n")[0].removeprefix(b"MESSAGE=")
            self._otherwise.write(f"{message.decode('utf-8', 'replace')}\n")
            self._otherwise.flush()

    debug = info = warning = error = critical = exception = log = msg

    def close(self) -> None:
        """Idempotent."""
        self._socket.close()


class JournalHandler(logging.Handler):
    """The same for the standard library; its formatter makes entries."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record. What its own arguments break is lost."""
        with contextlib.suppress(Exception):  # top frame of another library's log line
            self._journal.msg(self.format(record))

    def close(self) -> None:
        """With its socket."""
        self._journal.close()
        super().close()
