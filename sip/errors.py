"""What can go wrong in the SIP room. Everything it raises is one of these:

SipError
├── ParseError           received bytes break the grammar; `status` is the answer to give (400, 505, 513)
├── LocalError           we were asked for something the protocol does not allow: a bug on our side
├── NegotiationError     an offer or answer leaves no audio to agree on; `status` is 488
└── TransportError       a message could not be sent, or its connection broke
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .message import Request


class SipError(Exception):
    """Base of all errors of this room; `reason` is one sentence for a log line."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ParseError(SipError):
    """Received bytes break the grammar; the sentence names the field.

    `status` is the response code to answer a broken request with. `request` is what could be read of it, enough for
    `message.response_to`, or None when nothing can be answered (a response, or no usable start line).
    """

    def __init__(self, reason: str, *, status: int = 400, request: Request | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.request = request


class LocalError(SipError):
    """We were asked for something the protocol does not allow; nothing was sent."""


class NegotiationError(SipError):
    """An offer or answer leaves no audio to agree on (RFC 3264); `status` is the response code to answer with."""

    def __init__(self, reason: str, *, status: int = 488) -> None:
        super().__init__(reason)
        self.status = status


class TransportError(SipError):
    """A message could not be sent, or the connection it needs broke."""
