"""Offers inside a call: re-INVITE and UPDATE from both sides (RFC 3261 §14, RFC 3311), glare, session refresh.

One offer is under way at a time: what the far end may not send now is refused (491, 500), what we may not send waits.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .body import SDP, session_description
from .dialog import Dialog, DialogState
from .events import OfferAnswered, OfferRefused, Refusal, ReOffer, ReOfferWithdrawn
from .exchange import Exchange
from .flow import Flow
from .message import Request, Response
from .session_state import ALLOW, SessionState
from .session_timer import SessionExpires, interval_as_uac
from .transaction import ServerTransaction

if TYPE_CHECKING:
    from .session import InviteSession, SessionOwner


@dataclass(slots=True)
class _RemoteOffer:
    """A re-INVITE or UPDATE that the owner has not answered."""

    transaction: ServerTransaction
    sdp: bytes | None


class Modification:
    """The offers of one session after its first."""

    def __init__(self, session: "InviteSession", owner: "SessionOwner") -> None:
        self._session = session
        self._owner = owner
        self._remote: _RemoteOffer | None = None
        self._local: Exchange | None = None
        self._offered: bytes | None = None
        self._queued: bytes | None = None

    def close(self, now: float) -> None:
        """The session is over: answer what the far end waits for, send nothing more."""
        self._owner.timers.cancel_all(self)
        self._queued = None
        remote, self._remote = self._remote, None
        if remote is not None:
            self._owner.respond(remote.transaction, 487, now)

    def on_timer(self, timer: str, now: float) -> None:
        """For TimerHeap."""
        if timer == "reoffer":
            self.send_queued(now)
        else:
            self.refuse(504, now, "no answer from the application")

    # The far end's offers

    def on_request(self, transaction: ServerTransaction, dialog: Dialog, now: float) -> None:
        """A re-INVITE or UPDATE. ParseError when its Contact cannot be read."""
        request = transaction.request
        refusal = self._refusal(request, dialog)
        if refusal is not None:
            self._owner.refuse(transaction, refusal, now)
            return
        dialog.refresh_target(request)
        self._session.note_allow(request)
        offer = _RemoteOffer(transaction, session_description(request))
        if request.method == "UPDATE" and offer.sdp is None:
            self._accept(offer, None, now)
            return
        self._remote = offer
        # An owner that never answers must not leave the far end waiting.
        self._owner.timers.set(self, "answer", now + self._owner.layer.timing.give_up)
        self._owner.emit(ReOffer(self._session, offer.sdp))

    def _refusal(self, request: Request, dialog: Dialog) -> Refusal | None:
        """Why this cannot be taken now (RFC 3261 §14.2, RFC 3311 §5.2)."""
        session = self._session
        if session.state is SessionState.ENDED or dialog.state is DialogState.TERMINATED:
            return Refusal(481, "call is over")
        asked = SessionExpires.of(request.headers)
        if asked is not None and asked.seconds < self._owner.min_se:
            return Refusal(422, "Session Interval Too Small", (("Min-SE", str(self._owner.min_se)),))
        if request.method == "UPDATE" and session_description(request) is None:
            return None
        if self._remote is not None or (session.role == "uas" and session.state is SessionState.PROCEEDING):
            retry = ("Retry-After", str(self._owner.rng.randint(0, 10)))
            return Refusal(500, "an earlier offer is not answered", (retry,))
        answered = session.state in (SessionState.ANSWERED, SessionState.ESTABLISHED)
        if self._local is not None or session.awaits_answer or not answered:
            return Refusal(491, "our own offer is not answered")
        return None

    def accept(self, sdp: bytes | None, now: float) -> None:
        """Answer the far end's offer with 200; ignored when there is none (it was withdrawn)."""
        remote = self._take_remote()
        if remote is not None:
            self._accept(remote, sdp, now)
            self.send_queued(now)

    def refuse(self, status: int, now: float, reason: str | None) -> None:
        """Refuse the far end's offer; ignored when there is none."""
        remote = self._take_remote()
        if remote is not None:
            self._owner.respond(remote.transaction, status, now, reason=reason)
            self.send_queued(now)

    def withdraw(self, transaction: ServerTransaction, now: float) -> None:
        """CANCEL of a re-INVITE."""
        if self._remote is None or self._remote.transaction is not transaction:
            return
        self._take_remote()
        self._owner.respond(transaction, 487, now)
        self._owner.emit(ReOfferWithdrawn(self._session))
        self.send_queued(now)

    def _take_remote(self) -> _RemoteOffer | None:
        remote, self._remote = self._remote, None
        self._owner.timers.cancel(self, "answer")
        return remote

    def _accept(self, offer: _RemoteOffer, sdp: bytes | None, now: float) -> None:
        session = self._session
        request = offer.transaction.request
        response = session.response(request, 200)
        session.refresh.answer(request, response, now)
        if sdp is not None:
            session.local_sdp = sdp
            response.headers.set("Content-Type", SDP)
            response.body = sdp
        self._owner.layer.respond(offer.transaction, response, now)
        if request.method == "INVITE":
            session.await_ack(offer.transaction, response, offer.sdp is None, now)

    # Our offers

    def offer(self, sdp: bytes, now: float) -> None:
        """Offer as soon as nothing else is under way."""
        self._queued = sdp
        self.send_queued(now)

    def send_queued(self, now: float) -> None:
        """Something ended: our waiting offer may go out now."""
        if self._queued is None or self._busy or self._owner.timers.is_set(self, "reoffer"):
            return
        if self._session.state is SessionState.ESTABLISHED:
            sdp, self._queued = self._queued, None
            self._send("INVITE", sdp, now)

    @property
    def _busy(self) -> bool:
        return self._local is not None or self._remote is not None or self._session.awaits_ack

    def refresh(self, now: float) -> None:
        """The session timer wants a refresh: UPDATE where the far end knows it, else the same offer again."""
        session = self._session
        if self._busy:
            # What is under way refreshes the session itself, or ends soon.
            session.refresh.try_again(now + self._glare_wait())
        elif session.remote_allows_update or session.local_sdp is None:
            self._send("UPDATE", None, now)
        else:
            self._send("INVITE", session.local_sdp, now)

    def _send(self, method: str, sdp: bytes | None, now: float) -> None:
        session = self._session
        dialog = session.dialog
        if dialog is None:
            return
        self._offered = sdp

        def make(flow: Flow) -> Request:
            request = session.request_in(dialog, method)
            request.headers.add("Contact", session.contact(flow))
            request.headers.add("Allow", ALLOW)
            session.refresh.ask(request)
            if sdp is not None:
                request.headers.set("Content-Type", SDP)
                request.body = sdp
            return request

        self._local = self._owner.exchange(make, dialog.targets(), self, session.digest, now)

    def on_exchange_response(self, exchange: Exchange, response: Response, now: float) -> None:
        """ExchangeUser."""
        if response.is_provisional:
            return
        if response.is_success:
            self._on_accepted(exchange, response, now)
        else:
            self._on_refused(exchange, response.status, response.reason, response, now)

    def on_exchange_failure(self, exchange: Exchange, status: int, reason: str, now: float) -> None:
        """ExchangeUser."""
        self._on_refused(exchange, status, reason, None, now)

    def _on_accepted(self, exchange: Exchange, response: Response, now: float) -> None:
        session = self._session
        if exchange.request.method == "INVITE":
            session.acknowledge(exchange.request, response)
        if exchange is not self._local:
            return
        self._local = None
        if session.state is SessionState.ENDED:
            return
        session.refresh_target(response)
        session.note_allow(response)
        session.refresh.agree(interval_as_uac(response.headers), now)
        if self._offered is not None:
            session.local_sdp = self._offered
            self._owner.emit(OfferAnswered(session, session_description(response)))
        self.send_queued(now)

    def _on_refused(self, exchange: Exchange, status: int, reason: str, response: Response | None, now: float) -> None:
        if exchange is not self._local:
            return
        self._local = None
        session = self._session
        if session.state is SessionState.ENDED:
            return
        offered, self._offered = self._offered, None
        if status in (408, 481):
            session.fail(now, f"{status} {reason} in the call")
        elif status == 491:
            self._try_again(offered, now)
        elif status == 422 and response is not None and session.refresh.raise_to(response.headers):
            self._send(exchange.request.method, offered, now)
        else:
            if offered is not None:
                self._owner.emit(OfferRefused(session, status, reason))
            self.send_queued(now)

    def _try_again(self, offered: bytes | None, now: float) -> None:
        """Glare. A newer offer of the owner has replaced the one that failed."""
        at = now + self._glare_wait()
        if offered is None:
            self._session.refresh.try_again(at)
            self.send_queued(now)
            return
        self._queued = self._queued or offered
        self._owner.timers.set(self, "reoffer", at)

    def _glare_wait(self) -> float:
        """RFC 3261 §14.1: the owner of the Call-ID waits longer."""
        rng = self._owner.rng
        return (rng.randint(210, 400) if self._session.role == "uac" else rng.randint(0, 200)) / 100
