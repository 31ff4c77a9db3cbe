"""The calling side of an INVITE session (RFC 3261 §13.2)."""

from collections.abc import Sequence

from .body import SDP, session_description
from .dialog import Dialog, DialogState
from .digest import DigestClient
from .errors import ParseError
from .events import Answered, Progress, Rejected
from .exchange import Exchange
from .flow import Flow
from .headers import Headers
from .message import Request, Response
from .session import InviteSession, SessionOwner
from .session_state import ALLOW, SessionState
from .session_timer import interval_as_uac
from .uri import NameAddr, Uri


class OutgoingSession(InviteSession):
    """A call from us. Its last event is `Rejected` when the INVITE was refused, else `Ended`."""

    role = "uac"

    def __init__(
        self,
        owner: SessionOwner,
        call_id: str,
        uri: Uri,
        from_: NameAddr,
        to: NameAddr,
        targets: Sequence[Flow],
        sdp: bytes,
        digest: DigestClient | None,
        headers: Sequence[tuple[str, str]],
        route: Sequence[str],
    ) -> None:
        """`from_` carries our tag."""
        super().__init__(owner, call_id, from_.uri.user, digest)
        self.state = SessionState.CALLING
        self.uri = uri
        self.local_sdp = sdp
        self._from = from_
        self._to = to
        self._targets = targets
        self._headers = headers
        self._route = route
        self._cseq = 0
        self._early: dict[str | None, Dialog] = {}
        self._early_sdp: dict[str | None, bytes] = {}
        self._cancel_waits = False
        self._cancel_reason = "cancelled"
        self._invite: Exchange | None = None

    @property
    def _near(self) -> Flow:
        return self._targets[0] if self._invite is None else self._invite.flow

    def start(self, now: float) -> None:
        """Send the INVITE; UserAgent calls it."""
        self._owner.timers.set(self, "ring limit", now + self._owner.ring_limit)
        self._send_invite(now)

    def cancel(self, now: float) -> None:
        """Give up before the answer. CANCEL waits for the first provisional response (RFC 3261 §9.1); if a 2xx wins the
        race it is ACKed and ended with BYE. `Ended` follows when the far end is done. Ignored once answered."""
        if self.state not in (SessionState.CALLING, SessionState.PROCEEDING) or self._invite is None:
            return
        heard = self.state is SessionState.PROCEEDING
        self.state = SessionState.CANCELLING
        self._invite.give_up()
        self._owner.timers.cancel(self, "ring limit")
        if heard:
            self._send_cancel(now)
        else:
            self._cancel_waits = True

    def hang_up(self, now: float, reason_header: str | None = None) -> None:
        """End the session in whatever state it is: CANCEL before the answer, else BYE. Idempotent."""
        if self.state is SessionState.ESTABLISHED:
            self.bye(now, reason_header)
        else:
            self._reason_header = reason_header
            self.cancel(now)

    def on_timer(self, timer: str, now: float) -> None:
        """For TimerHeap."""
        match timer:
            case "ring limit":
                self._cancel_reason = "nobody answered in time"
                self.cancel(now)
            case "no final response":
                if self._invite is not None:
                    self._invite.abandon()
                self._drop_early()
                self._finish("local", self._cancel_reason, now)

    # The INVITE

    def _send_invite(self, now: float) -> None:
        self._invite = self._owner.exchange(self._make_invite, self._targets, self, self.digest, now)

    def _make_invite(self, flow: Flow) -> Request:
        self._cseq += 1
        headers = Headers([("Max-Forwards", "70")])
        for route in self._route:
            headers.add("Route", route)
        headers.add("From", str(self._from))
        headers.add("To", str(self._to))
        headers.add("Call-ID", self.call_id)
        headers.add("CSeq", f"{self._cseq} INVITE")
        headers.add("Contact", self.contact(flow))
        headers.add("Allow", ALLOW)
        headers.add("User-Agent", self._owner.product)
        for name, value in self._headers:
            headers.add(name, value)
        request = Request("INVITE", self.uri, headers=headers)
        self.refresh.ask(request)
        headers.set("Content-Type", SDP)
        request.body = self.local_sdp or b""
        return request

    def _send_cancel(self, now: float) -> None:
        """RFC 3261 §9.1: the INVITE's own branch, and 64*T1 for its final response."""
        invite = self._invite
        if invite is None or invite.transaction is None:
            return
        self._cancel_waits = False
        sent = invite.request
        headers = Headers([("Via", sent.headers.get("Via") or ""), ("Max-Forwards", "70")])
        for route in sent.headers.get_all("Route"):
            headers.add("Route", route)
        for name in ("From", "To", "Call-ID"):
            headers.add(name, sent.headers.get(name) or "")
        headers.add("CSeq", f"{sent.cseq.number} CANCEL")
        if self._reason_header is not None:
            headers.add("Reason", self._reason_header)
        headers.add("User-Agent", self._owner.product)
        layer = self._owner.layer
        layer.request(Request("CANCEL", sent.uri, headers=headers), invite.transaction.flow, None, now)
        self._owner.timers.set(self, "no final response", now + layer.timing.give_up)

    # Responses

    def on_exchange_response(self, exchange: Exchange, response: Response, now: float) -> None:
        """ExchangeUser, for the INVITE."""
        if exchange is not self._invite:
            return
        if response.is_provisional:
            self._on_provisional(exchange, response, now)
        elif response.is_success:
            self.on_success(exchange.request, response, now)
        else:
            self._on_refused(exchange, response, now)

    def on_exchange_failure(self, exchange: Exchange, status: int, reason: str, now: float) -> None:
        """ExchangeUser."""
        if exchange is not self._invite:
            return
        if self.state is SessionState.CANCELLING:
            self._drop_early()
            self._finish("local", self._cancel_reason, now)
        else:
            self._reject(status, reason, now, local=True)

    def _on_provisional(self, exchange: Exchange, response: Response, now: float) -> None:
        if self._cancel_waits:
            self._send_cancel(now)
        if self.state is SessionState.CALLING:
            self.state = SessionState.PROCEEDING
        if response.status == 100 or self.state is not SessionState.PROCEEDING:
            return
        tag = response.to.tag
        if tag is not None:
            self._note_early(exchange, response, tag)
        sdp = session_description(response)
        if sdp is not None:
            self._early_sdp[tag] = sdp
        self._owner.emit(Progress(self, response.status, sdp))

    def _note_early(self, exchange: Exchange, response: Response, tag: str) -> None:
        if tag in self._early:
            return
        dialog = self._dialog_from(exchange.request, response, exchange.flow)
        self._early[tag] = dialog
        self._owner.add_dialog(dialog, self)

    def on_success(self, invite: Request, response: Response, now: float) -> None:
        """A 2xx to our INVITE: the first, a repeated one, or that of another fork (§13.2.2.4)."""
        if self.repeat_ack(response):
            return
        tag = response.to.tag
        dialog = self._early.pop(tag, None)
        if dialog is None:
            dialog = self._dialog_from(invite, response, self._near)
            self._owner.add_dialog(dialog, self)
        try:
            dialog.confirm(response)
        except ParseError:
            dialog.state = DialogState.CONFIRMED
        # CSeq goes on from the INVITE that succeeded, which may be a later try than the one of the early dialog.
        dialog.local_cseq = max(dialog.local_cseq, invite.cseq.number)
        self._send_ack(dialog, invite)
        if self.dialog is not None:
            self._send_bye_in(dialog, now, 'SIP;cause=200;text="Call completed elsewhere"')
            return
        self.dialog = dialog
        self._drop_early()
        self.note_allow(response)
        if self.state not in (SessionState.CALLING, SessionState.PROCEEDING):
            self._finish("local", self._cancel_reason, now)
            self._send_bye(now)
            return
        self._owner.timers.cancel(self, "ring limit")
        self.state = SessionState.ESTABLISHED
        self.refresh.agree(interval_as_uac(response.headers), now)
        self._owner.emit(Answered(self, session_description(response) or self._early_sdp.get(tag)))

    def _on_refused(self, exchange: Exchange, response: Response, now: float) -> None:
        if self.state is SessionState.CANCELLING:
            self._drop_early()
            self._finish("local", self._cancel_reason, now, status=response.status)
            return
        if response.status == 422 and self.refresh.raise_to(response.headers):
            self._drop_early()
            self._send_invite(now)
            return
        reason = response.reason
        if response.status in (401, 407):
            reason = exchange.refusal or reason
        self._reject(response.status, reason, now, retry_after=response.retry_after)

    def _reject(
        self, status: int, reason: str, now: float, *, retry_after: int | None = None, local: bool = False
    ) -> None:
        self._drop_early()
        if self._close(now):
            self._owner.emit(Rejected(self, status, reason, retry_after, local))

    def _drop_early(self) -> None:
        for dialog in self._early.values():
            dialog.state = DialogState.TERMINATED
            self._owner.remove_dialog(dialog)
        self._early.clear()

    def _dialog_from(self, request: Request, response: Response, flow: Flow) -> Dialog:
        try:
            return Dialog.from_response(request, response, flow)
        except ParseError:
            # A Contact or Record-Route that cannot be read: reach the far end as the INVITE did.
            plain = Response(response.status, headers=response.headers.copy())
            plain.headers.remove("Contact")
            plain.headers.remove("Record-Route")
            return Dialog.from_response(request, plain, flow)
