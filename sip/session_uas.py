"""The called side of an INVITE session (RFC 3261 §13.3)."""

from collections.abc import Sequence

from .answer import PendingAnswer
from .body import SDP, session_description
from .dialog import Dialog, DialogState
from .digest import Credentials
from .errors import LocalError
from .events import Confirmed
from .flow import Address, Flow
from .grammar import quote
from .headers import parse_number
from .message import Request, reason_phrase
from .session import InviteSession, SessionOwner
from .session_state import SessionState
from .transaction import ServerTransaction

REPEAT_PROVISIONAL = 60.0
"""Seconds after which a provisional response is sent again, for the proxies' Timer C (RFC 3261 §13.3.1.1)."""


class IncomingSession(InviteSession):
    """A call to us. `Ended` is its last event, whoever ended it."""

    role = "uas"

    def __init__(
        self,
        owner: SessionOwner,
        transaction: ServerTransaction,
        source: Flow,
        dialog: Dialog,
        user: str | None,
        advertised: Address | None,
    ) -> None:
        super().__init__(owner, transaction.call_id, user, None)
        self.request: Request = transaction.request
        """The INVITE, with received/rport filled in."""
        self.source = source
        self.remote_offer: bytes | None = session_description(transaction.request)
        """SDP of the INVITE; None for a delayed offer: `answer` then takes our offer, `Confirmed.sdp` is the answer."""
        self.dialog: Dialog | None = dialog
        self._advertised = advertised
        self._transaction = transaction
        self._provisional: tuple[int, bytes | None] | None = None
        transaction.user = self
        self.note_allow(self.request)

    @property
    def _near(self) -> Flow:
        return self.source

    @property
    def _unanswered(self) -> bool:
        return self.state is SessionState.PROCEEDING

    def use_credentials(self, credentials: Credentials | None) -> None:
        """What answers challenges to our own requests inside this call; without it they end the request."""
        self.digest = self._owner.digest_of(credentials)

    def start(self, now: float) -> None:
        """Limit how long the call may stay unanswered; UserAgent calls it."""
        limit = self._owner.ring_limit
        expires = self.request.headers.get("Expires")
        if expires is not None and expires.strip().isdigit():
            limit = min(limit, parse_number(expires[:10], "Expires", maximum=2**40))
        self._owner.timers.set(self, "ring limit", now + limit)

    def ring(self, now: float) -> None:
        """180 Ringing, repeated every minute (RFC 3261 §13.3.1.1)."""
        self.progress(180, None, now)

    def progress(self, status: int, sdp: bytes | None, now: float) -> None:
        """Any provisional response 101–199, 183 with early media's SDP for one. LocalError for another status."""
        if not 100 < status < 200:
            raise LocalError(f"{status} is not a provisional response that a session can send")
        if not self._unanswered:
            return
        self._provisional = status, sdp
        response = self.response(self.request, status)
        if sdp is not None:
            self.local_sdp = sdp
            response.headers.set("Content-Type", SDP)
            response.body = sdp
        self._owner.layer.respond(self._transaction, response, now)
        self._owner.timers.set(self, "provisional", now + REPEAT_PROVISIONAL)

    def answer(self, sdp: bytes, now: float) -> bool:
        """200 OK, repeated from T1 up to T2 until the ACK. `Confirmed` follows, or `Ended` ("no ACK") after 64*T1.
        False when it comes too late: the call is over (a CANCEL was faster) and has its `Ended`."""
        if not self._unanswered or self.dialog is None:
            return False
        self._stop_ringing()
        self.state = SessionState.ANSWERED
        self.dialog.state = DialogState.CONFIRMED
        self.local_sdp = sdp
        response = self.response(self.request, 200)
        self.refresh.answer(self.request, response, now)
        response.headers.set("Content-Type", SDP)
        response.body = sdp
        self._owner.layer.respond(self._transaction, response, now)
        self.await_ack(self._transaction, response, self.remote_offer is None, now)
        return True

    def reject(
        self,
        status: int,
        now: float,
        reason: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
        warning: str | None = None,
    ) -> None:
        """Final response 300–699; `warning` is a Warning text (RFC 3261 §20.43, code 399). `Ended` follows.
        Raises LocalError for another status."""
        if not 300 <= status <= 699:
            raise LocalError(f"{status} is no refusal")
        if not self._unanswered:
            return
        self._refuse(status, now, reason, headers, warning)
        self._finish("local", f"rejected {self._status_line(status, reason)}", now, status=status)

    def hang_up(self, now: float, reason_header: str | None = None) -> None:
        """End the session in whatever state it is: 480 while unanswered, else BYE. Idempotent."""
        if self._unanswered:
            headers = [("Reason", reason_header)] if reason_header is not None else []
            self.reject(480, now, headers=headers)
        else:
            self.bye(now, reason_header)

    def on_cancel(self, transaction: ServerTransaction, cancel: Request, now: float) -> None:
        """The caller gave up: 487 (RFC 3261 §9.2). After our 2xx it changes nothing; the caller sends BYE."""
        if transaction is not self._transaction:
            super().on_cancel(transaction, cancel, now)
        elif self._unanswered:
            self._refuse(487, now)
            self._finish("remote", "cancelled", now, status=487, reason_header=cancel.headers.get("Reason"))

    def on_timer(self, timer: str, now: float) -> None:
        """For TimerHeap."""
        match timer:
            case "provisional" if self._provisional is not None:
                self.progress(*self._provisional, now)
            case "ring limit" if self._unanswered:
                self._refuse(480, now, "nobody answered in time")
                self._finish("failure", "nobody answered in time", now, status=480)

    def _on_bye(self, transaction: ServerTransaction, dialog: Dialog, now: float) -> None:
        if self._unanswered:
            self._refuse(487, now)
            reason_header = transaction.request.headers.get("Reason")
            self._finish("remote", "bye", now, status=487, reason_header=reason_header)
        super()._on_bye(transaction, dialog, now)

    def _on_acknowledged(self, pending: PendingAnswer, sdp: bytes | None) -> None:
        if self.state is SessionState.ANSWERED:
            self.state = SessionState.ESTABLISHED
            self._owner.emit(Confirmed(self, sdp if pending.holds_offer else None))
        elif self.state is SessionState.ESTABLISHED:
            super()._on_acknowledged(pending, sdp)

    def _refuse(
        self,
        status: int,
        now: float,
        reason: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
        warning: str | None = None,
    ) -> None:
        """Send the final response and forget the early dialog."""
        self._stop_ringing()
        dialog = self.dialog
        tag = dialog.id.local_tag if dialog is not None else None
        extra = list(headers)
        if warning is not None:
            # it may quote what the peer sent
            text = "".join(character for character in " ".join(warning.split()) if character.isprintable())
            extra.append(("Warning", f"399 {self.advertised} {quote(text)}"))
        self._owner.respond(self._transaction, status, now, reason=reason, to_tag=tag, headers=extra)
        if dialog is not None:
            dialog.state = DialogState.TERMINATED
            self._owner.remove_dialog(dialog)

    def _stop_ringing(self) -> None:
        for timer in ("provisional", "ring limit"):
            self._owner.timers.cancel(self, timer)

    @staticmethod
    def _status_line(status: int, reason: str | None) -> str:
        return f"{status} {reason or reason_phrase(status)}"
