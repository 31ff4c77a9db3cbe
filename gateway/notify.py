"""What systemd is told and what it wants to know: sd_notify(3) without a library.

One datagram to $NOTIFY_SOCKET for each call; nothing happens when there is none.
"""

import os
import socket
import time


def notify(*lines: str) -> None:
    """Send state lines such as `READY=1` or `STATUS=…`; a missing or broken socket is no reason to fail."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        try:
            client.sendto("\n".join(lines).encode(), address)
        except OSError:
            return


def reloading() -> tuple[str, str]:
    """The lines that begin a reload; `READY=1` ends it."""
    return "RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}"


def watchdog_seconds() -> float | None:
    """How long systemd's watchdog waits for `WATCHDOG=1` (WatchdogSec=); None when this process has none."""
    pid, microseconds = os.environ.get("WATCHDOG_PID"), os.environ.get("WATCHDOG_USEC", "")
    if pid not in (None, str(os.getpid())) or not microseconds.isdecimal() or int(microseconds) == 0:
        return None
    return int(microseconds) / 1e6
