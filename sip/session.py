"""INVITE sessions: what both roles share once a dialog exists.

Every method takes `now` (time.monotonic() seconds) and returns at once; what it sends leaves through the UserAgent's
`transmissions()`. A method that lost a race (answer after CANCEL, bye after BYE) does nothing; one that makes no sense
in any race (accept_offer without an offer) raises LocalError.
"""

import enum
from typing import Literal

from .flow import Address, Flow


class SessionState(enum.Enum):
    """Life of an INVITE session."""

    CALLING = "calling"
    """Outgoing: INVITE sent, nothing came back."""
    PROCEEDING = "proceeding"
    """A provisional response was sent or received, or (incoming) nothing yet."""
    CANCELLING = "cancelling"
    """Outgoing: we gave up, the final response is awaited."""
    ANSWERED = "answered"
    """Incoming: 2xx sent, ACK awaited."""
    ESTABLISHED = "established"
    """2xx and ACK passed."""
    ENDED = "ended"


class InviteSession:
    """One INVITE session (RFC 3261 §13–15, RFC 4028), either role. Made by UserAgent, never by hand."""

    role: Literal["uas", "uac"]
    state: SessionState
    call_id: str

    @property
    def advertised(self) -> Address:
        """The signalling address that our Contact of this session shows (configured, learned or local; never 0.0.0.0).
        Its host is the one to put into SDP when no RTP address is configured."""
        raise NotImplementedError

    @property
    def peer(self) -> Flow:
        """Where our requests of this session go."""
        raise NotImplementedError

    def hang_up(self, now: float, reason_header: str | None = None) -> None:
        """End the session in whatever state it is: reject with 480 (incoming, unanswered), CANCEL, or BYE. Idempotent."""
        raise NotImplementedError

    def bye(self, now: float, reason_header: str | None = None) -> None:
        """End the answered call; `reason_header` is a Reason header value (RFC 3326). `Ended` follows at once; before
        the ACK of our 2xx the BYE itself waits for it (RFC 3261 §15). Ignored when not answered or already over."""
        raise NotImplementedError

    def reinvite(self, sdp: bytes, now: float) -> None:
        """Offer new media inside the call. Waits while another offer is on its way, and backs off and repeats on 491.
        `OfferAnswered` or `OfferRefused` follows."""
        raise NotImplementedError

    def accept_offer(self, sdp: bytes | None, now: float) -> None:
        """Answer the last ReOffer with 200; ignored when it was withdrawn."""
        raise NotImplementedError

    def refuse_offer(self, status: int, now: float, reason: str | None = None) -> None:
        """Refuse the last ReOffer (488, 500, …); the call goes on with the media it had."""
        raise NotImplementedError

    def info(self, content_type: str, body: bytes, now: float) -> None:
        """Send INFO (RFC 6086). The response is not reported."""
        raise NotImplementedError
