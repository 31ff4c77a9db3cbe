"""The called side of an INVITE session."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .flow import Flow
from .session import InviteSession

if TYPE_CHECKING:
    from .message import Request


class IncomingSession(InviteSession):
    """A call to us. `Ended` is its last event, whoever ended it."""

    role = "uas"
    request: "Request"
    """The INVITE, with received/rport filled in."""
    source: Flow
    remote_offer: bytes | None
    """SDP of the INVITE; None for a delayed offer: then `answer` takes our offer and `Confirmed.sdp` is the answer."""

    def ring(self, now: float) -> None:
        """180 Ringing, repeated every minute (RFC 3261 §13.3.1.1)."""
        raise NotImplementedError

    def progress(self, status: int, sdp: bytes | None, now: float) -> None:
        """Any provisional response 101–199, 183 with early media's SDP for one."""
        raise NotImplementedError

    def answer(self, sdp: bytes, now: float) -> None:
        """200 OK, repeated from T1 up to T2 until the ACK. `Confirmed` follows, or `Ended` ("no ACK") after 64*T1."""
        raise NotImplementedError

    def reject(
        self,
        status: int,
        now: float,
        reason: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
        warning: str | None = None,
    ) -> None:
        """Final response 300–699; `warning` is a Warning header text (RFC 3261 §20.43, code 399). `Ended` follows."""
        raise NotImplementedError
