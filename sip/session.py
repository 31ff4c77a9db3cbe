"""INVITE sessions: what both roles share once a dialog exists.

Every method takes `now` (time.monotonic() seconds) and returns at once; what it sends leaves through the UserAgent's
`transmissions()`. A method that lost a race (answer after CANCEL, bye after BYE, accept_offer after the offer was
withdrawn) does nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from .answer import PendingAnswer
from .body import session_description
from .dialog import Dialog, DialogState
from .digest import Credentials, DigestClient
from .errors import ParseError
from .events import Ended, InfoReceived, OfferAnswered, Refusal
from .exchange import Exchange
from .flow import Address, Flow
from .message import Request, Response, response_to
from .modification import Modification
from .owner import Owner
from .session_refresh import SUPPORTED, SessionRefresh
from .session_state import ALLOW, SessionState
from .transaction import ServerTransaction
from .transaction_layer import TransactionLayer

__all__ = ["InviteSession", "SessionOwner", "SessionState"]


class SessionOwner(Owner, Protocol):
    """What a session needs of its UserAgent."""

    layer: TransactionLayer
    session_expires: int
    """Seconds asked for in our INVITEs; 0 for none."""
    min_se: int
    ring_limit: float

    def digest_of(self, credentials: Credentials | None) -> DigestClient | None:
        """What answers challenges for an account."""
        ...

    def respond(
        self,
        transaction: ServerTransaction,
        status: int,
        now: float,
        *,
        reason: str | None = None,
        to_tag: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Send a plain response that the owner of the session decided, or the far end asked for."""
        ...

    def refuse(self, transaction: ServerTransaction, refusal: Refusal, now: float) -> None:
        """Refuse a request that the rules of the protocol forbid; reported as RequestRefused."""
        ...

    def answer_options(self, transaction: ServerTransaction, now: float) -> None:
        """200 with what we can do."""
        ...

    def add_dialog(self, dialog: Dialog, session: "InviteSession") -> None:
        """Route the dialog's requests to `session`."""
        ...

    def remove_dialog(self, dialog: Dialog) -> None:
        """Forget the dialog: what comes for it gets 481."""
        ...


class InviteSession:
    """One INVITE session (RFC 3261 §13–15, RFC 3311, RFC 4028), either role. Made by UserAgent, never by hand."""

    role: Literal["uas", "uac"]

    def __init__(self, owner: SessionOwner, call_id: str, user: str | None, digest: DigestClient | None) -> None:
        """`user` stands in our Contact, `digest` answers challenges to our requests."""
        self.state = SessionState.PROCEEDING
        self.call_id = call_id
        self.dialog: Dialog | None = None
        self.digest = digest
        self.local_sdp: bytes | None = None
        """The SDP that we sent last."""
        self.remote_allows_update = False
        self.refresh = SessionRefresh(
            owner.timers,
            owner.session_expires,
            owner.min_se,
            lambda now: self._modification.refresh(now),
            lambda now: self.fail(now, "session timer expired"),
        )
        self._owner = owner
        self._user = user
        self._advertised: Address | None = None
        self._modification = Modification(self, owner)
        self._pending_answers: dict[int, PendingAnswer] = {}
        self._acks: dict[tuple[str | None, int], tuple[Flow, bytes]] = {}
        self._bye_waits = False
        self._reason_header: str | None = None

    def __repr__(self) -> str:
        where = self.dialog.flow if self.dialog is not None else self._near
        return f"<{type(self).__name__} {self.call_id} {self.state.value} {where}>"

    @property
    def advertised(self) -> Address:
        """The signalling address that our Contact of this session shows (configured, learned or local; never 0.0.0.0).
        Its host is the one to put into SDP when no RTP address is configured."""
        return self._advertised or self._owner.advertised(self._near)

    @property
    def peer(self) -> Flow:
        """Where our requests of this session go."""
        return self._near if self.dialog is None else self.dialog.targets()[0]

    @property
    def _near(self) -> Flow:
        """The flow by which the far end reaches us."""
        raise NotImplementedError

    # What the owner may do

    def hang_up(self, now: float, reason_header: str | None = None) -> None:
        """End the session in whatever state it is: 480 (incoming, unanswered), CANCEL, or BYE. Idempotent."""
        raise NotImplementedError

    def bye(self, now: float, reason_header: str | None = None) -> None:
        """End the answered call; `reason_header` is a Reason header value (RFC 3326). `Ended` follows at once; before
        the ACK of our 2xx the BYE itself waits for it (RFC 3261 §15). Ignored when not answered or already over."""
        if self.state in (SessionState.ANSWERED, SessionState.ESTABLISHED):
            self._end_with_bye(now, "local", "bye", reason_header, waits=self.state is SessionState.ANSWERED)

    def reinvite(self, sdp: bytes, now: float) -> None:
        """Offer new media inside the call. Waits while another offer is on its way, and backs off and repeats on 491.
        `OfferAnswered` or `OfferRefused` follows. Ignored when the call is not answered or already over."""
        if self.state in (SessionState.ANSWERED, SessionState.ESTABLISHED):
            self._modification.offer(sdp, now)

    def accept_offer(self, sdp: bytes | None, now: float) -> None:
        """Answer the last ReOffer with 200; ignored when it was withdrawn."""
        self._modification.accept(sdp, now)

    def refuse_offer(self, status: int, now: float, reason: str | None = None) -> None:
        """Refuse the last ReOffer (488, 500, …); the call goes on with the media it had."""
        self._modification.refuse(status, now, reason)

    def info(self, content_type: str, body: bytes, now: float) -> None:
        """Send INFO (RFC 6086). The response is not reported. Ignored when the call is not answered or already over."""
        dialog = self.dialog
        if dialog is None or self.state not in (SessionState.ANSWERED, SessionState.ESTABLISHED):
            return

        def make(_: Flow) -> Request:
            request = self.request_in(dialog, "INFO")
            request.headers.set("Content-Type", content_type)
            request.body = body
            return request

        self._owner.exchange(make, dialog.targets(), _Unreported(), self.digest, now)

    def on_timer(self, timer: str, now: float) -> None:
        """For TimerHeap: the timers that the role sets."""
        raise NotImplementedError

    # Requests of the far end inside the dialog; called by UserAgent

    def on_request(self, transaction: ServerTransaction, dialog: Dialog, now: float) -> None:
        """A request inside a dialog of this session, with known method and extensions."""
        request = transaction.request
        if not dialog.accepts(request):
            retry = ("Retry-After", str(self._owner.rng.randint(0, 10)))
            self._owner.refuse(transaction, Refusal(500, "CSeq out of order", (retry,)), now)
            return
        transaction.user = self
        match request.method:
            case "BYE":
                self._on_bye(transaction, dialog, now)
            case "INVITE" | "UPDATE":
                self._modification.on_request(transaction, dialog, now)
            case "INFO":
                self._owner.respond(transaction, 200, now)
                if self.state is not SessionState.ENDED:
                    kind = request.headers.get("Content-Type") or ""
                    self._owner.emit(InfoReceived(self, kind, request.body))
            case _:
                self._owner.answer_options(transaction, now)

    def on_ack(self, ack: Request, now: float) -> bool:
        """The ACK of a 2xx of ours; False when no 2xx waits for it."""
        pending = self._pending_answers.pop(ack.cseq.number, None)
        if pending is None:
            return False
        pending.stop()
        self._on_acknowledged(pending, session_description(ack))
        if self._bye_waits and not self._pending_answers:
            self._send_bye(now)
        self._modification.send_queued(now)
        return True

    def on_cancel(self, transaction: ServerTransaction, cancel: Request, now: float) -> None:
        """CANCEL of an INVITE that has no final response yet; the CANCEL itself is answered."""
        self._modification.withdraw(transaction, now)

    def on_unacknowledged(self, transaction: ServerTransaction, cause: str, now: float) -> None:
        """ServerUser: a response was not delivered. The timers of 2xx and session decide; a refusal needs no ACK."""

    def _on_acknowledged(self, pending: PendingAnswer, sdp: bytes | None) -> None:
        if pending.holds_offer:
            self._owner.emit(OfferAnswered(self, sdp))

    def _on_bye(self, transaction: ServerTransaction, dialog: Dialog, now: float) -> None:
        self._owner.respond(transaction, 200, now)
        dialog.state = DialogState.TERMINATED
        self._owner.remove_dialog(dialog)
        if dialog is self.dialog:
            self._finish("remote", "bye", now, reason_header=transaction.request.headers.get("Reason"))

    # The 2xx that we send, and their ACKs

    @property
    def awaits_ack(self) -> bool:
        """A 2xx of ours is not acknowledged."""
        return bool(self._pending_answers)

    @property
    def awaits_answer(self) -> bool:
        """A 2xx of ours holds an offer, whose answer comes with the ACK."""
        return any(pending.holds_offer for pending in self._pending_answers.values())

    def await_ack(self, transaction: ServerTransaction, response: Response, holds_offer: bool, now: float) -> None:
        """A 2xx to an INVITE or re-INVITE was sent."""
        pending = PendingAnswer(self._owner.layer, transaction, response, holds_offer, self._on_no_ack)
        self._pending_answers[response.cseq.number] = pending
        pending.start(now)

    def _on_no_ack(self, now: float) -> None:
        """64*T1 without ACK (RFC 3261 §13.3.1.4)."""
        if self._bye_waits:
            self._pending_answers.clear()
            self._send_bye(now)
        else:
            self.fail(now, "no ACK")

    # The 2xx that we get, and our ACKs

    def repeat_ack(self, response: Response) -> bool:
        """Send the ACK of a repeated 2xx again; False when this 2xx is new."""
        ack = self._acks.get((response.to.tag, response.cseq.number))
        if ack is None:
            return False
        self._owner.layer.send_octets(*ack)
        return True

    def acknowledge(self, invite: Request, response: Response) -> None:
        """A 2xx to our re-INVITE, first or repeated."""
        if self.dialog is not None and not self.repeat_ack(response):
            self._send_ack(self.dialog, invite)

    def _send_ack(self, dialog: Dialog, invite: Request) -> None:
        number = invite.cseq.number
        ack = dialog.request("ACK", number)
        # RFC 3261 §13.2.2.4: the ACK carries the credentials of its INVITE.
        for name in ("Authorization", "Proxy-Authorization"):
            for value in invite.headers.get_all(name):
                ack.headers.add(name, value)
        ack.headers.add("User-Agent", self._owner.product)
        flow = dialog.targets()[0]
        # Older ones stay for the forks' sake; a call with many re-INVITEs must not keep them all.
        while len(self._acks) > 16:
            del self._acks[next(iter(self._acks))]
        self._acks[dialog.id.remote_tag, number] = flow, self._owner.layer.send(ack, flow)

    # Ending

    def fail(self, now: float, reason: str) -> None:
        """The far end is gone as far as we can see: BYE all the same."""
        if self.state is not SessionState.ENDED:
            self._end_with_bye(now, "failure", reason, f'SIP;cause=408;text="{reason}"')

    def _end_with_bye(
        self,
        now: float,
        by: Literal["local", "failure"],
        reason: str,
        reason_header: str | None,
        *,
        waits: bool = False,
    ) -> None:
        self._reason_header = reason_header
        self._finish(by, reason, now, keep_answers=waits)
        if waits:
            self._bye_waits = True
        else:
            self._send_bye(now)

    def _send_bye(self, now: float) -> None:
        self._bye_waits = False
        if self.dialog is not None and self.dialog.state is not DialogState.TERMINATED:
            self._send_bye_in(self.dialog, now, self._reason_header)

    def _send_bye_in(self, dialog: Dialog, now: float, reason_header: str | None) -> None:
        def make(_: Flow) -> Request:
            request = self.request_in(dialog, "BYE")
            if reason_header is not None:
                request.headers.add("Reason", reason_header)
            return request

        dialog.state = DialogState.TERMINATED
        self._owner.exchange(make, dialog.targets(), _AfterBye(self._owner, dialog), self.digest, now)

    def _finish(
        self,
        by: Literal["local", "remote", "failure"],
        reason: str,
        now: float,
        *,
        status: int | None = None,
        reason_header: str | None = None,
        keep_answers: bool = False,
    ) -> None:
        """The way into ENDED; says `Ended` once."""
        if self._close(now, keep_answers=keep_answers):
            self._owner.emit(Ended(self, by, reason, status, reason_header))

    def _close(self, now: float, *, keep_answers: bool = False) -> bool:
        """Stop everything that runs; False when it was stopped before."""
        if not keep_answers:
            for pending in self._pending_answers.values():
                pending.stop()
            self._pending_answers.clear()
            self._bye_waits = False
        if self.state is SessionState.ENDED:
            return False
        self.state = SessionState.ENDED
        self._owner.timers.cancel_all(self)
        self.refresh.stop()
        self._modification.close(now)
        return True

    # Building messages

    def request_in(self, dialog: Dialog, method: str) -> Request:
        """Our next request in `dialog`."""
        request = dialog.request(method)
        request.headers.add("User-Agent", self._owner.product)
        return request

    def response(self, request: Request, status: int) -> Response:
        """A response that may create or refresh the dialog."""
        tag = self.dialog.id.local_tag if self.dialog is not None else None
        response = response_to(request, status, None, tag)
        response.headers.add("Contact", self.contact(self._near))
        response.headers.add("Allow", ALLOW)
        response.headers.add("Supported", SUPPORTED)
        response.headers.add("Server", self._owner.product)
        return response

    def contact(self, flow: Flow) -> str:
        """Our Contact value in this session towards `flow`."""
        return self._owner.contact(flow, self._user, self._advertised)

    def note_allow(self, message: Request | Response) -> None:
        """Remember what the far end says it can do."""
        if "Allow" in message.headers:
            self.remote_allows_update = message.headers.has_token("Allow", "UPDATE")

    def refresh_target(self, response: Response) -> None:
        """Take the Contact of a 2xx."""
        if self.dialog is None:
            return
        try:
            self.dialog.refresh_target(response)
        except ParseError:
            # The target that served until now still does.
            return


class _Unreported:
    """For requests whose response nobody waits for."""

    def on_exchange_response(self, exchange: Exchange, response: Response, now: float) -> None:
        """ExchangeUser."""

    def on_exchange_failure(self, exchange: Exchange, status: int, reason: str, now: float) -> None:
        """ExchangeUser."""


@dataclass(slots=True)
class _AfterBye:
    """Keeps the dialog, so that a crossing BYE is answered, until ours is."""

    owner: SessionOwner
    dialog: Dialog

    def on_exchange_response(self, exchange: Exchange, response: Response, now: float) -> None:
        """ExchangeUser."""
        if not response.is_provisional:
            self.owner.remove_dialog(self.dialog)

    def on_exchange_failure(self, exchange: Exchange, status: int, reason: str, now: float) -> None:
        """ExchangeUser."""
        self.owner.remove_dialog(self.dialog)
