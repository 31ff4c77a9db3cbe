"""Cutting a TCP or TLS byte stream into messages by Content-Length (RFC 3261 §18.3, RFC 5626 §3.5.1)."""

from __future__ import annotations

import re

from .errors import ParseError
from .message import DEFAULT_LIMITS, KEEPALIVE, Limits, Request, parse_message

_HEAD_END = re.compile(rb"\r?\n\r?\n")
_FOLD = re.compile(rb"\r?\n[ \t]+")
_LENGTH = re.compile(rb"^(?:content-length|l)[ \t]*:[ \t]*([^\r\n]*?)[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)


class StreamFramer:
    """Collects what a connection delivers and gives back whole messages.

    A stream that loses its framing cannot be followed any further: `error` is then set (with `request`, when the broken
    message can be answered), all that comes later is dropped, and the connection is to be closed after the answer.
    """

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._searched = 0  # octets of the buffer in which no end of the headers begins
        self._whole: int | None = None  # octets of the message at the front, once its headers are known
        self.error: ParseError | None = None

    def feed(self, data: bytes) -> list[bytes]:
        """Take octets in; return the messages now complete, each as `parse_message` wants it.

        A double CRLF between messages comes out as `KEEPALIVE`, to be answered by a single CRLF.
        """
        if self.error is not None:
            return []
        self._buffer += data
        messages: list[bytes] = []
        try:
            while (message := self._next()) is not None:
                messages.append(message)
        except ParseError as error:
            self.error = error
            self._buffer.clear()
        return messages

    @property
    def pending(self) -> int:
        """How many octets wait for the rest of their message."""
        return len(self._buffer)

    def _next(self) -> bytes | None:
        if self._whole is None:
            if self._buffer[:4] == KEEPALIVE:
                return self._take(4)
            self._skip_line_ends()
            self._whole = self._measure()
        if self._whole is None or len(self._buffer) < self._whole:
            return None
        return self._take(self._whole)

    def _skip_line_ends(self) -> None:
        """Drop stray line ends before a start line; a lone CRLF may still become a keep-alive."""
        if self._buffer[:1] in (b"\r", b"\n") and bytes(self._buffer) not in (b"\r", b"\r\n", b"\r\n\r"):
            rest = self._buffer.lstrip(b"\r\n")
            del self._buffer[: len(self._buffer) - len(rest)]

    def _measure(self) -> int | None:
        """The length of the message at the front, or None when its headers are not complete."""
        end = _HEAD_END.search(self._buffer, self._searched)
        if end is None:
            if len(self._buffer) > self._limits.max_message_octets:
                raise ParseError(f"stream: no end of the headers within {len(self._buffer)} octets", status=513)
            self._searched = max(0, len(self._buffer) - 3)
            return None
        head = bytes(self._buffer[: end.end()])
        try:
            total = end.end() + _content_length(head)
        except ParseError as error:
            raise _answerable(error, head, self._limits) from error
        if total > self._limits.max_message_octets:
            error = ParseError(f"Content-Length: a message of {total} octets is too large", status=513)
            raise _answerable(error, head, self._limits)
        return total

    def _take(self, octets: int) -> bytes:
        message = bytes(self._buffer[:octets])
        del self._buffer[:octets]
        self._searched = 0
        self._whole = None
        return message


def _content_length(head: bytes) -> int:
    stated = set(_LENGTH.findall(_FOLD.sub(b" ", head)))
    if not stated:
        raise ParseError("Content-Length: missing on a stream")
    if len(stated) > 1:
        raise ParseError("Content-Length: two different values")
    digits = stated.pop()
    if not digits.isdigit() or len(digits) > 10:
        raise ParseError(f"Content-Length: {digits[:20].decode('latin-1')!r} is not a number")
    return int(digits)


def _answerable(error: ParseError, head: bytes, limits: Limits) -> ParseError:
    """The same error with the request that its answer needs, when the head can be read."""
    try:
        message = parse_message(head, limits)
    except ParseError as other:
        error.request = other.request
    else:
        error.request = message if isinstance(message, Request) else None
    return error
