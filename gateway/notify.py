"""Tell systemd how the service is: one datagram to $NOTIFY_SOCKET (sd_notify(3)); nothing when there is none."""

import os
import socket


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
