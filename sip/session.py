"""INVITE sessions: what both roles share once a dialog exists.

Every method takes `now` (time.monotonic() seconds) and returns at once; what it sends leaves through the UserAgent's
`transmissions()`. A method that lost a race (answer after CANCEL, bye after BYE, accept_offer after the offer was
withdrawn) does nothing.
"""

import enum
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from .answer import PendingAnswer
from .dialog import Dialog, DialogState
from .digest import DigestClient
from .errors import ParseError
from .events import Ended, Event, InfoReceived, OfferAnswered, OfferRefused, ReOffer, ReOfferWithdrawn
from .exchange import Exchange, ExchangeUser
from .flow import Address, Flow
from .message import Request, Response, response_to
from .session_timer import (
    SessionExpires,
    SessionInterval,
    answer_as_uas,
    interval_as_uac,
    interval_as_uas,
    min_se,
)
from .timers import TimerHeap
from .transaction import ServerTransaction
from .transaction_layer import TransactionLayer

SDP = "application/sdp"
ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE"
SUPPORTED = "timer"


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


class SessionOwner(Protocol):
    """What a session needs of its UserAgent."""

    layer: TransactionLayer
    timers: TimerHeap
    rng: random.Random
    session_expires: int
    """Seconds asked for in our INVITEs; 0 for none."""
    min_se: int
    ring_limit: float
    product: str
    """User-Agent and Server header."""

    def emit(self, event: Event) -> None:
        """Queue an event."""
        ...

    def contact(self, flow: Flow, user: str | None, advertised: Address | None = None) -> str:
        """Our Contact value towards `flow`."""
        ...

    def advertised(self, flow: Flow) -> Address:
        """Our address as the peer of `flow` should see it."""
        ...

    def exchange(
        self,
        make: Callable[[Flow], Request],
        targets: Sequence[Flow],
        user: ExchangeUser,
        digest: DigestClient | None,
        now: float,
    ) -> Exchange:
        """Start a request of ours."""
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
        """Send a plain response; one that refuses is counted and reported as RequestRefused."""
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


@dataclass(slots=True)
class _RemoteOffer:
    """A re-INVITE or UPDATE that the owner has not answered."""

    transaction: ServerTransaction
    sdp: bytes | None


def session_description(message: Request | Response) -> bytes | None:
    """The SDP of a message; None when it has no body. Other content is the caller's to refuse beforehand."""
    return message.body or None


class InviteSession:
    """One INVITE session (RFC 3261 §13–15, RFC 3311, RFC 4028), either role. Made by UserAgent, never by hand."""

    role: Literal["uas", "uac"]

    def __init__(self, owner: SessionOwner, call_id: str, user: str | None, digest: DigestClient | None) -> None:
        """`user` stands in our Contact, `digest` answers challenges to our requests."""
        self.state = SessionState.PROCEEDING
        self.call_id = call_id
        self.dialog: Dialog | None = None
        self.local_sdp: bytes | None = None
        """The SDP that we sent last."""
        self._owner = owner
        self._user = user
        self._digest = digest
        self._advertised: Address | None = None
        self._remote_offer: _RemoteOffer | None = None
        self._pending_answers: dict[int, PendingAnswer] = {}
        self._modifying: Exchange | None = None
        self._offered: bytes | None = None
        self._queued_offer: bytes | None = None
        self._acks: dict[tuple[str | None, int], tuple[Flow, bytes]] = {}
        self._bye_waits = False
        self._reason_header: str | None = None
        self._interval: SessionInterval | None = None
        self._interval_asked = owner.session_expires
        self._remote_allows_update = False

    def __repr__(self) -> str:
        where = self.dialog.flow if self.dialog is not None else "-"
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

    # What the owner may do

    def hang_up(self, now: float, reason_header: str | None = None) -> None:
        """End the session in whatever state it is: 480 (incoming, unanswered), CANCEL, or BYE. Idempotent."""
        raise NotImplementedError

    def bye(self, now: float, reason_header: str | None = None) -> None:
        """End the answered call; `reason_header` is a Reason header value (RFC 3326). `Ended` follows at once; before
        the ACK of our 2xx the BYE itself waits for it (RFC 3261 §15). Ignored when not answered or already over."""
        if self.state not in (SessionState.ANSWERED, SessionState.ESTABLISHED):
            return
        self._hang_up_with_bye(now, "local", "bye", reason_header)

    def reinvite(self, sdp: bytes, now: float) -> None:
        """Offer new media inside the call. Waits while another offer is on its way, and backs off and repeats on 491.
        `OfferAnswered` or `OfferRefused` follows. Ignored when the call is not answered or already over."""
        if self.state not in (SessionState.ANSWERED, SessionState.ESTABLISHED):
            return
        self._queued_offer = sdp
        self._send_queued_offer(now)

    def accept_offer(self, sdp: bytes | None, now: float) -> None:
        """Answer the last ReOffer with 200; ignored when it was withdrawn."""
        offer, self._remote_offer = self._remote_offer, None
        if offer is None:
            return
        self._owner.timers.cancel(self, "offer")
        self._accept(offer, sdp, now)
        self._send_queued_offer(now)

    def refuse_offer(self, status: int, now: float, reason: str | None = None) -> None:
        """Refuse the last ReOffer (488, 500, …); the call goes on with the media it had."""
        offer, self._remote_offer = self._remote_offer, None
        if offer is None:
            return
        self._owner.timers.cancel(self, "offer")
        self._owner.respond(offer.transaction, status, now, reason=reason)
        self._send_queued_offer(now)

    def info(self, content_type: str, body: bytes, now: float) -> None:
        """Send INFO (RFC 6086). The response is not reported. Ignored when the call is not answered or already over."""
        if self.dialog is None or self.state not in (SessionState.ANSWERED, SessionState.ESTABLISHED):
            return
        dialog = self.dialog

        def make(_: Flow) -> Request:
            request = self._request("INFO", dialog)
            request.headers.set("Content-Type", content_type)
            request.body = body
            return request

        self._owner.exchange(make, dialog.targets(), _Unreported(), self._digest, now)

    # Requests of the far end inside the dialog; called by UserAgent

    def on_request(self, transaction: ServerTransaction, dialog: Dialog, now: float) -> None:
        """A request inside a dialog of this session, with known method and extensions."""
        request = transaction.request
        if not dialog.accepts(request):
            retry = str(self._owner.rng.randint(0, 10))
            self._owner.respond(transaction, 500, now, reason="CSeq out of order", headers=[("Retry-After", retry)])
            return
        transaction.user = self
        match request.method:
            case "BYE":
                self._on_bye(transaction, dialog, now)
            case "INVITE" | "UPDATE":
                self._on_modification(transaction, dialog, now)
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
        self._on_acknowledged(pending, session_description(ack), now)
        if self._bye_waits and not self._pending_answers:
            self._send_bye(now)
        self._send_queued_offer(now)
        return True

    def on_cancel(self, transaction: ServerTransaction, cancel: Request, now: float) -> None:
        """CANCEL of an INVITE that has no final response yet; the CANCEL itself is answered."""
        offer = self._remote_offer
        if offer is None or offer.transaction is not transaction:
            return
        self._remote_offer = None
        self._owner.timers.cancel(self, "offer")
        self._owner.respond(transaction, 487, now)
        self._owner.emit(ReOfferWithdrawn(self))
        self._send_queued_offer(now)

    def on_unacknowledged(self, transaction: ServerTransaction, cause: str, now: float) -> None:
        """ServerUser: a response was not delivered. The timers of 2xx and session decide; a refusal needs no ACK."""

    def _on_acknowledged(self, pending: PendingAnswer, sdp: bytes | None, now: float) -> None:
        if pending.holds_offer:
            self._owner.emit(OfferAnswered(self, sdp))

    def _on_bye(self, transaction: ServerTransaction, dialog: Dialog, now: float) -> None:
        self._owner.respond(transaction, 200, now)
        dialog.state = DialogState.TERMINATED
        self._owner.remove_dialog(dialog)
        if dialog is self.dialog:
            self._finish("remote", "bye", now, reason_header=transaction.request.headers.get("Reason"))

    def _on_modification(self, transaction: ServerTransaction, dialog: Dialog, now: float) -> None:
        request = transaction.request
        refusal = self._modification_refusal(request, dialog)
        if refusal is not None:
            status, reason = refusal
            headers: list[tuple[str, str]] = []
            if status == 500:
                headers.append(("Retry-After", str(self._owner.rng.randint(0, 10))))
            elif status == 422:
                headers.append(("Min-SE", str(self._owner.min_se)))
            self._owner.respond(transaction, status, now, reason=reason, headers=headers)
            return
        dialog.refresh_target(request)
        self._note_allow(request)
        offer = _RemoteOffer(transaction, session_description(request))
        if request.method == "UPDATE" and offer.sdp is None:
            self._accept(offer, None, now)
            return
        self._remote_offer = offer
        # An owner that never answers must not leave the far end waiting.
        self._owner.timers.set(self, "offer", now + self._owner.layer.timing.give_up)
        self._owner.emit(ReOffer(self, offer.sdp))

    def _modification_refusal(self, request: Request, dialog: Dialog) -> tuple[int, str] | None:
        """Why this re-INVITE or UPDATE cannot be taken now (RFC 3261 §14.2, RFC 3311 §5.2)."""
        if self.state is SessionState.ENDED or dialog.state is DialogState.TERMINATED:
            return 481, "call is over"
        asked = SessionExpires.of(request.headers)
        if asked is not None and asked.seconds < self._owner.min_se:
            return 422, "Session Interval Too Small"
        if request.method == "UPDATE" and session_description(request) is None:
            return None
        if self._remote_offer is not None or (self.role == "uas" and self.state is SessionState.PROCEEDING):
            return 500, "an earlier offer is not answered"
        offering = self._modifying is not None or any(answer.holds_offer for answer in self._pending_answers.values())
        if offering or self.state not in (SessionState.ANSWERED, SessionState.ESTABLISHED):
            return 491, "our own offer is not answered"
        return None

    def _accept(self, offer: _RemoteOffer, sdp: bytes | None, now: float) -> None:
        transaction = offer.transaction
        request = transaction.request
        response = self._response(request, 200)
        self._add_session_expires(request, response, now)
        if sdp is not None:
            self.local_sdp = sdp
            response.headers.set("Content-Type", SDP)
            response.body = sdp
        self._owner.layer.respond(transaction, response, now)
        if request.method == "INVITE":
            self._await_ack(transaction, response, offer.sdp is None, now)

    def _await_ack(self, transaction: ServerTransaction, response: Response, holds_offer: bool, now: float) -> None:
        pending = PendingAnswer(self._owner.layer, transaction, response, holds_offer, self._on_no_ack)
        self._pending_answers[response.cseq.number] = pending
        pending.start(now)

    def _on_no_ack(self, now: float) -> None:
        """64*T1 without ACK (RFC 3261 §13.3.1.4)."""
        if self._bye_waits:
            self._pending_answers.clear()
            self._send_bye(now)
        else:
            self._hang_up_with_bye(now, "failure", "no ACK", 'SIP;cause=408;text="no ACK"', at_once=True)

    # Answers to our requests inside the dialog

    def on_exchange_response(self, exchange: Exchange, response: Response, now: float) -> None:
        """ExchangeUser, for re-INVITE and session refresh."""
        if response.is_provisional:
            return
        if response.is_success:
            self._on_modified(exchange, response, now)
        else:
            self._on_modification_failed(exchange, response.status, response.reason, response, now)

    def on_exchange_failure(self, exchange: Exchange, status: int, reason: str, now: float) -> None:
        """ExchangeUser, for re-INVITE and session refresh."""
        self._on_modification_failed(exchange, status, reason, None, now)

    def _on_modified(self, exchange: Exchange, response: Response, now: float) -> None:
        request = exchange.request
        sdp = session_description(response)
        if request.method == "INVITE" and self.dialog is not None and not self.repeat_ack(response):
            self._send_ack(self.dialog, request, now)
        if exchange is not self._modifying:
            return
        self._modifying = None
        if self.state is SessionState.ENDED:
            return
        self._refresh_target(response)
        self._note_allow(response)
        self._set_interval(interval_as_uac(response.headers), now)
        if self._offered is not None:
            self.local_sdp = self._offered
            self._owner.emit(OfferAnswered(self, sdp))
        self._send_queued_offer(now)

    def _on_modification_failed(
        self, exchange: Exchange, status: int, reason: str, response: Response | None, now: float
    ) -> None:
        if exchange is not self._modifying:
            return
        self._modifying = None
        if self.state is SessionState.ENDED:
            return
        offered, self._offered = self._offered, None
        if status == 491:
            self._queued_offer = self._queued_offer or offered
            timer = "reoffer" if offered is not None else "refresh"
            self._owner.timers.set(self, timer, now + self._glare_wait())
            return
        if status == 422 and response is not None:
            self._interval_asked = max(self._interval_asked, min_se(response.headers) or 0)
            self._refresh(now)
            return
        if status in (408, 481):
            self._hang_up_with_bye(now, "failure", f"{status} {reason} in the call", None)
            return
        if offered is not None:
            self._owner.emit(OfferRefused(self, status, reason))
        self._send_queued_offer(now)

    def _glare_wait(self) -> float:
        """RFC 3261 §14.1: the owner of the Call-ID waits longer."""
        steps = self._owner.rng.randint(210, 400) if self.role == "uac" else self._owner.rng.randint(0, 200)
        return steps / 100

    def _send_queued_offer(self, now: float) -> None:
        busy = (
            self.state is not SessionState.ESTABLISHED
            or self._modifying is not None
            or self._remote_offer is not None
            or bool(self._pending_answers)
            or self._owner.timers.is_set(self, "reoffer")
        )
        if self._queued_offer is None or busy:
            return
        sdp, self._queued_offer = self._queued_offer, None
        self._modify("INVITE", sdp, now)

    def _modify(self, method: str, sdp: bytes | None, now: float) -> None:
        dialog = self.dialog
        if dialog is None:
            return
        self._offered = sdp

        def make(flow: Flow) -> Request:
            request = self._request(method, dialog)
            request.headers.add("Contact", self._contact(flow))
            request.headers.add("Allow", ALLOW)
            self._ask_session_expires(request)
            if sdp is not None:
                request.headers.set("Content-Type", SDP)
                request.body = sdp
            return request

        self._modifying = self._owner.exchange(make, dialog.targets(), self, self._digest, now)

    # Acknowledging

    def repeat_ack(self, response: Response) -> bool:
        """Send the ACK of a repeated 2xx again; False when this 2xx is new."""
        ack = self._acks.get((response.to.tag, response.cseq.number))
        if ack is None:
            return False
        self._owner.layer.send_octets(*ack)
        return True

    def _send_ack(self, dialog: Dialog, invite: Request, now: float) -> None:
        number = invite.cseq.number
        ack = dialog.request("ACK", number)
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

    def _hang_up_with_bye(
        self,
        now: float,
        by: Literal["local", "failure"],
        reason: str,
        reason_header: str | None,
        *,
        at_once: bool = False,
    ) -> None:
        waits = self.state is SessionState.ANSWERED and not at_once
        self._reason_header = reason_header
        self._finish(by, reason, now, keep_answers=waits)
        if waits:
            self._bye_waits = True
        else:
            self._send_bye(now)

    def _send_bye(self, now: float) -> None:
        self._bye_waits = False
        dialog = self.dialog
        if dialog is not None and dialog.state is not DialogState.TERMINATED:
            self._send_bye_in(dialog, now, self._reason_header)

    def _send_bye_in(self, dialog: Dialog, now: float, reason_header: str | None) -> None:
        def make(_: Flow) -> Request:
            request = self._request("BYE", dialog)
            if reason_header is not None:
                request.headers.add("Reason", reason_header)
            return request

        dialog.state = DialogState.TERMINATED
        release = _AfterBye(self._owner, dialog)
        self._owner.exchange(make, dialog.targets(), release, self._digest, now)

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
        """The one way into ENDED; says `Ended` once."""
        if not self._close(now, keep_answers=keep_answers):
            return
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
        self._queued_offer = None
        offer, self._remote_offer = self._remote_offer, None
        if offer is not None:
            self._owner.respond(offer.transaction, 487, now)
        return True

    # Session timer (RFC 4028)

    def on_timer(self, timer: str, now: float) -> None:
        """For TimerHeap."""
        match timer:
            case "refresh":
                self._refresh(now)
            case "expire":
                header = 'SIP;cause=408;text="Session timer expired"'
                self._hang_up_with_bye(now, "failure", "session timer expired", header)
            case "reoffer":
                self._send_queued_offer(now)
            case "offer":
                self.refuse_offer(504, now, "no answer from the application")

    def _refresh(self, now: float) -> None:
        if self._interval is None or not self._interval.we_refresh:
            return
        if self._modifying is not None or self._remote_offer is not None or self._pending_answers:
            # What is under way refreshes the session itself, or ends soon.
            self._owner.timers.set(self, "refresh", now + self._glare_wait())
        elif self._remote_allows_update or self.local_sdp is None:
            self._modify("UPDATE", None, now)
        else:
            self._modify("INVITE", self.local_sdp, now)

    def _set_interval(self, interval: SessionInterval | None, now: float) -> None:
        timers = self._owner.timers
        self._interval = interval
        timers.cancel(self, "refresh")
        timers.cancel(self, "expire")
        if interval is None:
            return
        timers.set(self, "expire", now + interval.expire_after)
        if interval.we_refresh:
            timers.set(self, "refresh", now + interval.refresh_after)

    def _add_session_expires(self, request: Request, response: Response, now: float) -> None:
        answer = answer_as_uas(request.headers, self._interval)
        self._set_interval(interval_as_uas(answer), now)
        if answer is None:
            return
        response.headers.add("Session-Expires", str(answer))
        if answer.refresher == "uac":
            response.headers.add("Require", "timer")

    def _ask_session_expires(self, request: Request) -> None:
        request.headers.add("Supported", SUPPORTED)
        running = self._interval
        if running is not None:
            refresher: Literal["uac", "uas"] = "uac" if running.we_refresh else "uas"
            asked = SessionExpires(max(running.seconds, self._interval_asked), refresher)
        elif self._interval_asked:
            asked = SessionExpires(self._interval_asked)
        else:
            return
        request.headers.add("Session-Expires", str(asked))
        request.headers.add("Min-SE", str(max(self._owner.min_se, 90)))

    # Building messages

    def _request(self, method: str, dialog: Dialog) -> Request:
        request = dialog.request(method)
        request.headers.add("User-Agent", self._owner.product)
        return request

    def _response(self, request: Request, status: int, reason: str | None = None) -> Response:
        """A response that may create or refresh the dialog."""
        tag = self.dialog.id.local_tag if self.dialog is not None else None
        response = response_to(request, status, reason, tag)
        response.headers.add("Contact", self._contact(self._near))
        response.headers.add("Allow", ALLOW)
        response.headers.add("Supported", SUPPORTED)
        response.headers.add("Server", self._owner.product)
        return response

    @property
    def _near(self) -> Flow:
        """The flow by which the far end reaches us."""
        raise NotImplementedError

    def _contact(self, flow: Flow) -> str:
        return self._owner.contact(flow, self._user, self._advertised)

    def _note_allow(self, message: Request | Response) -> None:
        if "Allow" in message.headers:
            self._remote_allows_update = message.headers.has_token("Allow", "UPDATE")

    def _refresh_target(self, response: Response) -> None:
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
