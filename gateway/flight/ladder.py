"""The SIP messages of one call, as they are shown: one line for each, with the message behind it."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from ...sip.redact import without_credentials

UNREADABLE = "(not a SIP message)"


class SipMessage(msgspec.Struct, frozen=True, array_like=True):
    """One message as it came or went, its credentials removed."""

    at: float
    """Unix time, seconds."""
    received: bool
    transport: str
    """`udp`, `tcp` or `tls`."""
    far_host: str
    far_port: int
    local_host: str
    local_port: int
    data: bytes


class LadderLine(msgspec.Struct, frozen=True, kw_only=True):
    """One SIP message of a call."""

    at: str
    """When it came or went, RFC 3339 in UTC with milliseconds."""
    unix: float
    """The same as Unix time, seconds."""
    received: bool
    """True: it came from the far end."""
    far_end: str
    """`udp 203.0.113.7:5060`."""
    summary: str
    """Its first line without `SIP/2.0`: `INVITE sip:15550123@203.0.113.7`, `180 Ringing`."""
    cseq: str = ""
    """`1 INVITE`."""
    sdp: bool = False
    """It carries a session description."""
    text: str = ""
    """The whole message without its credentials."""


class SipLadder(Protocol):
    """The flight recorder, for who shows a call's messages."""

    async def ladder(self, call_id: str) -> Sequence[LadderLine] | None:
        """The SIP messages of a call, live or kept, oldest first; None when nothing is kept of it. Waits for the disk
        only."""
        ...


class Flights(SipLadder, Protocol):
    """The flight recorder, for who also asks how it is."""

    def parts(self) -> dict[str, str]:
        """How the recorder stands, as /readyz tells it."""
        ...


def sip_message(
    at: float, received: bool, far: tuple[str, str, int], local: tuple[str, int], data: bytes
) -> SipMessage:
    """Take the credentials out of a message, for keeping. `far` is transport, host and port."""
    return SipMessage(at, received, *far, *local, without_credentials(data))


def ladder_of(messages: Iterable[SipMessage]) -> list[LadderLine]:
    """Oldest first."""
    return [_line(message) for message in messages]


def rfc3339(unix: float) -> str:
    """A Unix time in UTC with milliseconds."""
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _line(message: SipMessage) -> LadderLine:
    text = message.data.decode("utf-8", "replace")
    head, _, body = text.replace("\r\n", "\n").partition("\n\n")
    first, *headers = head.lstrip("\n").split("\n")
    host = f"[{message.far_host}]" if ":" in message.far_host else message.far_host
    return LadderLine(
        at=rfc3339(message.at),
        unix=message.at,
        received=message.received,
        far_end=f"{message.transport} {host}:{message.far_port}",
        summary=_summary(first),
        cseq=_value(headers, "cseq"),
        sdp=body.lstrip("\n").startswith("v=0"),
        text=text,
    )


def _summary(first: str) -> str:
    first = "".join(character if character.isprintable() else " " for character in first)
    if first.upper().startswith("SIP/2.0 "):
        return first[8:].strip()
    request, _, version = first.rpartition(" ")
    return request if version.upper() == "SIP/2.0" else UNREADABLE


def _value(headers: list[str], name: str) -> str:
    for header in headers:
        key, _, value = header.partition(":")
        if key.strip().lower() == name:
            return " ".join(value.split())
    return ""
