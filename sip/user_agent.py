"""The SIP user agent: the one boundary object between this room and its owner. No socket, no clock, no task.

The contract is *one mutation, then drain*. After each call that takes `now` (receive, handle_timer, flow_failed, any
method of the UA, of a session or of a registration) the owner drains: send all `transmissions()`, take `next_event()`
until None, arm one timer at `next_timer()`. Handling an event may mutate again; drain again. `on_output`, when set, is
called when there is something to drain and was not before, so that a shell need not know who mutated.

Nothing that comes from the network raises: it is answered, reported as an event, or counted in `counters`.
"""

import hashlib
import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .addresses import OwnAddresses
from .body import SDP
from .dialog import Dialog, DialogId
from .digest import Credentials, DigestClient
from .errors import LocalError, ParseError
from .events import Event, IncomingInvite, MalformedReceived, Refusal, RequestRefused
from .exchange import Exchange, ExchangeUser, StreamRefusals
from .flow import Address, Flow
from .health import HealthCheck
from .message import KEEPALIVE, Request, Response, is_keepalive, parse_message, response_to
from .publication import Publication
from .registration import Backoff, Registration
from .screening import Screen, refusal_in_dialog, refusal_of_invite, refusal_of_request
from .session import InviteSession
from .session_refresh import SUPPORTED
from .session_state import ALLOW
from .session_uac import OutgoingSession
from .session_uas import IncomingSession
from .timers import TimerHeap, Timing
from .transaction import InviteServerTransaction, ServerTransaction, TransactionState
from .transaction_layer import TransactionLayer, response_flow
from .uri import NameAddr, SipUri, Uri, parse_uri

__all__ = ["Screen", "UserAgent", "UserAgentConfig"]

# Anybody can name a dialog that is not there: no state is kept for it.
_NO_DIALOG = Refusal(481, "Call/Transaction Does Not Exist", stateless=True)
_NO_INVITE = Refusal(481, "no such INVITE", stateless=True)


@dataclass(frozen=True, slots=True)
class UserAgentConfig:
    """What does not change while the agent lives."""

    user_agent: str = "trunkline"
    """User-Agent and Server header."""
    public_host: str | None = None
    """Address that Contact shows; None: learned from responses (received/rport), else the local one."""
    public_port: int | None = None
    """Port beside `public_host`; None: the local one."""
    session_expires: int = 1800
    """Session-Expires of our INVITEs, seconds (RFC 4028); 0 asks for none."""
    min_se: int = 90
    """Smallest session interval that we take, seconds."""
    ring_limit: float = 180.0
    """An INVITE unanswered for so long is cancelled (outgoing) or refused with 480 (incoming), seconds."""
    retry_after: int = 30
    """Seconds in Retry-After while draining."""
    timing: Timing = field(default_factory=Timing)
    backoff: Backoff = field(default_factory=Backoff)


class UserAgent:
    """Calls, registrations and health checks of one gateway (RFC 3261)."""

    def __init__(
        self,
        config: UserAgentConfig,
        rng: random.Random,
        local_address: Callable[[Flow], Address],
        screen: Screen | None = None,
    ) -> None:
        """`local_address` gives our own address towards a peer (never a wildcard); the transport has one. `screen` says
        of each new out-of-dialog request, before any state is made for it, why it is refused (None: let it in)."""
        self.config = config
        self.counters: Counter[str] = Counter()
        """`malformed`, `keepalives`, `stray_ack`, `stray_response`, `merged_requests`, `refused_<status>`, …"""
        self.draining = False
        """While True new INVITEs and OPTIONS get 503 with Retry-After."""
        self.on_output: Callable[[], None] | None = None
        self.rng = rng
        self.timers = TimerHeap()
        self._addresses = OwnAddresses(local_address, config.public_host, config.public_port)
        self.layer = TransactionLayer(config.timing, self.timers, rng, self._addresses.sent_by, self, self._transmit)
        self.product = config.user_agent
        self.session_expires = config.session_expires
        self.min_se = config.min_se
        self.ring_limit = config.ring_limit
        self._screen = screen
        self._refusals = StreamRefusals()
        self._dialogs: dict[DialogId, tuple[Dialog, InviteSession]] = {}
        self._registrations: dict[str, Registration] = {}
        self._digests: dict[Credentials, DigestClient] = {}
        self._outbox: list[tuple[Flow, bytes]] = []
        self._events: deque[Event] = deque()
        self._announced = False
        self._secret = self._tag()

    def __repr__(self) -> str:
        return (
            f"<UserAgent transactions={self.live_transactions} sessions={self.live_sessions} "
            f"registrations={[registration.state for registration in self._registrations.values()]} "
            f"timers={len(self.timers)}>"
        )

    # Input

    def receive(self, data: bytes, source: Flow, now: float) -> None:
        """One whole SIP message (a datagram, or what StreamFramer cut out of a connection)."""
        if is_keepalive(data):
            self.counters["keepalives"] += 1
            return
        try:
            message = parse_message(data)
            if isinstance(message, Request):
                self.layer.receive_request(message, source, now)
            else:
                self._receive_response(message, source, now)
        except ParseError as error:
            self._malformed(error, len(data), source)

    def receive_broken(self, error: ParseError, source: Flow) -> None:
        """What a stream could not be cut into: answered when enough of it could be read. The connection is to be closed
        afterwards."""
        self._malformed(error, 0, source)

    def flow_failed(self, flow: Flow, reason: str, now: float) -> None:
        """Sending to `flow` failed or its connection closed; `reason` is one sentence."""
        self.counters["flows_failed"] += 1
        self.layer.flow_failed(flow, reason, now)
        for registration in self._registrations.values():
            registration.flow_failed(flow, now)

    def handle_timer(self, now: float) -> None:
        """Run what was due by `now`."""
        self.timers.run(now)

    # Output

    def next_timer(self) -> float | None:
        """When handle_timer wants to be called, monotonic seconds."""
        return self.timers.next()

    def transmissions(self) -> list[tuple[Flow, bytes]]:
        """Everything to send now, in order; the list is emptied."""
        outbox, self._outbox = self._outbox, []
        self._announced = False
        return outbox

    @property
    def has_transmissions(self) -> bool:
        """Whether `transmissions()` would return something."""
        return bool(self._outbox)

    def next_event(self) -> Event | None:
        """The oldest event not yet taken."""
        self._announced = False
        return self._events.popleft() if self._events else None

    # What the owner starts

    def invite(
        self,
        uri: str,
        *,
        from_: str,
        to: str | None = None,
        targets: Sequence[Flow],
        sdp: bytes,
        now: float,
        credentials: Credentials | None = None,
        headers: Sequence[tuple[str, str]] = (),
        route: Sequence[str] = (),
    ) -> OutgoingSession:
        """Place a call.

        `uri` is the Request-URI, `from_` and `to` are name-addrs (`"Ann" <sip:ann@example.com>`; `to` defaults to the
        URI), `targets` the resolved next hops in order of preference (the next is tried on 503, time-out or transport
        failure), `route` Route values (RFC 3261 §8.1.2), `headers` go out as given. Raises LocalError on bad arguments.
        """
        request_uri = _local_uri(uri)
        session = OutgoingSession(
            self,
            self._call_id(),
            request_uri,
            _local_name_addr(from_, "From").with_tag(self._tag()),
            _local_name_addr(to, "To") if to is not None else NameAddr(request_uri),
            _some(targets),
            sdp,
            self.digest_of(credentials),
            headers,
            route,
        )
        session.start(now)
        return session

    def options(
        self,
        name: str,
        target: Flow,
        uri: str,
        now: float,
        *,
        from_: str | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        """One health check; `PeerReachable` or `PeerUnreachable` with `name` follows."""
        sender = _local_name_addr(from_ or f"<sip:{self.advertised(target)}>", "From").with_tag(self._tag())
        check = HealthCheck(self, name, _local_uri(uri), sender, self._call_id())
        self.exchange(check.make, [target], check, self.digest_of(credentials), now)

    def publish(
        self,
        name: str,
        uri: str,
        *,
        from_: str,
        targets: Sequence[Flow],
        event: str,
        content_type: str,
        body: bytes,
        now: float,
        credentials: Credentials | None = None,
    ) -> None:
        """Send one report of an event package to `uri`; `PublishEnded` with `name` follows. Raises LocalError on bad
        arguments."""
        sender = _local_name_addr(from_, "From").with_tag(self._tag())
        report = Publication(self, name, _local_uri(uri), sender, self._call_id(), event, content_type, body)
        self.exchange(report.make, _some(targets), report, self.digest_of(credentials), now)

    def register(
        self,
        name: str,
        *,
        registrar: str,
        aor: str,
        targets: Sequence[Flow],
        now: float,
        credentials: Credentials | None = None,
        expires: int = 600,
        contact_user: str | None = None,
    ) -> Registration:
        """Register `aor` (`sip:user@domain`) at `registrar` (`sip:domain`) and keep it registered.

        `RegistrationChanged` events follow. End it with `Registration.unregister(now)`, give it newly resolved targets
        with `set_targets`. Raises LocalError on bad arguments.
        """
        domain = _local_uri(registrar)
        if not isinstance(domain, SipUri):
            raise LocalError(f"registrar {registrar!r} is no SIP URI")
        registration = Registration(
            self,
            name,
            domain,
            _local_name_addr(aor if "<" in aor else f"<{aor}>", "aor").with_tag(self._tag()),
            _some(targets),
            self._call_id(),
            self.digest_of(credentials),
            expires,
            contact_user,
            self.config.backoff,
        )
        self._registrations[name] = registration
        registration.start(now)
        return registration

    def release(self, registration: Registration) -> None:
        """Forget a registration without a word to its registrar; nothing more is heard of it."""
        registration.release()
        if self._registrations.get(registration.name) is registration:
            del self._registrations[registration.name]

    # What it is

    @property
    def responses(self) -> Counter[tuple[str, str, int]]:
        """Responses by `sent` or `received`, method and status."""
        return self.layer.responses

    def advertised(self, flow: Flow) -> Address:
        """Our address as `flow`'s peer should see it: configured, else learned, else local."""
        return self._addresses.advertised(flow)

    @property
    def live_transactions(self) -> int:
        """Transactions not yet terminated; 0 when all is quiet."""
        return self.layer.live

    @property
    def live_sessions(self) -> int:
        """Sessions that have a dialog, ended ones whose BYE is under way included."""
        return len({id(session) for _, session in self._dialogs.values()})

    @property
    def settled(self) -> bool:
        """No call stands, and each INVITE, CANCEL and BYE of ours has its answer: the sockets may close."""
        return not self._dialogs and not self.layer.awaits(("INVITE", "CANCEL", "BYE"))

    def dump(self) -> list[str]:
        """One line for each live transaction, session and registration."""
        sessions = {id(session): session for _, session in self._dialogs.values()}
        return [repr(item) for item in (*self.layer.transactions(), *sessions.values(), *self._registrations.values())]

    # For sessions, registrations and health checks (Owner, SessionOwner)

    def emit(self, event: Event) -> None:
        """Queue an event."""
        self._events.append(event)
        self._announce()

    def contact(self, flow: Flow, user: str | None, advertised: Address | None = None) -> str:
        """Our Contact value towards `flow`."""
        return self._addresses.contact(flow, user, advertised)

    def keep_alive(self, flow: Flow) -> bool:
        """Send a keep-alive (RFC 5626 §3.5.1) when a NAT stands between us and the peer; False when none does."""
        if self._addresses.advertised(flow) == self._addresses.sent_by(flow):
            return False
        self._transmit(flow, KEEPALIVE)
        return True

    def exchange(
        self,
        make: Callable[[Flow], Request],
        targets: Sequence[Flow],
        user: ExchangeUser,
        digest: DigestClient | None,
        now: float,
    ) -> Exchange:
        """Start a request of ours."""
        exchange = Exchange(self.layer, self._refusals, make, targets, user, digest)
        exchange.start(now)
        return exchange

    def digest_of(self, credentials: Credentials | None) -> DigestClient | None:
        """The one client of an account, which knows the nonces that it was given."""
        if credentials is None:
            return None
        client = self._digests.get(credentials)
        if client is None:
            client = self._digests[credentials] = DigestClient(credentials, self.rng)
        return client

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
        """Send a plain response; one that refuses is counted."""
        request = transaction.request
        response = response_to(request, status, reason, to_tag or self._tag())
        for name, value in headers:
            response.headers.add(name, value)
        response.headers.add("Server", self.product)
        self.layer.respond(transaction, response, now)
        if status >= 300:
            self.counters[f"refused_{status}"] += 1

    def refuse(
        self, transaction: ServerTransaction, refusal: Refusal, now: float, *, to_tag: str | None = None
    ) -> None:
        """Refuse a request by our own rules; reported as RequestRefused."""
        status, reason = refusal.status, refusal.reason
        self.respond(transaction, status, now, reason=reason, to_tag=to_tag, headers=refusal.headers)
        request = transaction.request
        uri = str(request.uri)
        self.emit(RequestRefused(transaction.source, request.method, status, reason, request.call_id, uri))

    def answer_options(self, transaction: ServerTransaction, now: float) -> None:
        """200 with what we can do (RFC 3261 §11.2)."""
        self.respond(
            transaction,
            200,
            now,
            headers=[
                ("Contact", self.contact(transaction.flow, None)),
                ("Allow", ALLOW),
                ("Accept", SDP),
                ("Supported", SUPPORTED),
            ],
        )

    def add_dialog(self, dialog: Dialog, session: InviteSession) -> None:
        """Route the dialog's requests to `session`."""
        self._dialogs[dialog.id] = dialog, session

    def remove_dialog(self, dialog: Dialog) -> None:
        """Forget the dialog: what comes for it gets 481."""
        self._dialogs.pop(dialog.id, None)

    # From the transaction layer (Core)

    def on_request(self, transaction: ServerTransaction, now: float) -> None:
        """A new request."""
        request = transaction.request
        try:
            if transaction.merged:
                self.counters["merged_requests"] += 1
                self.refuse(transaction, Refusal(482, "merged request"), now)
            elif request.method == "CANCEL":
                self._on_cancel(transaction, now)
            elif request.to.tag is not None:
                self._on_request_in_dialog(transaction, now)
            else:
                self._on_new_request(transaction, now)
        except ParseError as error:
            self.counters["malformed"] += 1
            self.refuse(transaction, Refusal(error.status, error.reason), now)

    def on_ack(self, ack: Request, flow: Flow, now: float) -> None:
        """An ACK that belongs to no non-2xx response."""
        found = self._find_dialog(ack)
        if found is None or not found[1].on_ack(ack, now):
            self.counters["stray_acks"] += 1

    def on_stray_response(self, response: Response, flow: Flow, now: float) -> None:
        """A response that no transaction waits for: a late 2xx to INVITE wants its ACK again, the rest is dropped."""
        self.counters["stray_responses"] += 1
        if not response.is_success or response.cseq.method != "INVITE":
            return
        found = self._dialogs.get(DialogId(response.call_id, response.from_.tag or "", response.to.tag))
        if found is not None:
            found[1].repeat_ack(response)

    def _receive_response(self, response: Response, source: Flow, now: float) -> None:
        if self.layer.expects(response):
            self._addresses.learn(response, source)
        self.layer.receive_response(response, source, now)

    def _malformed(self, error: ParseError, octets: int, source: Flow) -> None:
        self.counters["malformed"] += 1
        self.emit(MalformedReceived(source, error.reason, octets))
        request = error.request
        if request is None or request.method == "ACK":
            return
        try:
            flow = response_flow(request, source)
            # Stateless: what cannot be read cannot be matched either (RFC 3261 §8.2.7).
            response = response_to(request, error.status, error.reason)
            self._transmit(flow, response.to_bytes())
        except (ParseError, LocalError):
            self.counters["malformed_unanswered"] += 1

    # Requests

    def _on_cancel(self, transaction: ServerTransaction, now: float) -> None:
        invite = self.layer.invite_of(transaction.request)
        if invite is None:
            self._refuse_and_forget(transaction, _NO_INVITE, now)
            return
        session = invite.user if isinstance(invite.user, InviteSession) else None
        tag = session.dialog.id.local_tag if session is not None and session.dialog is not None else None
        self.respond(transaction, 200, now, to_tag=tag)
        if session is not None and invite.state is TransactionState.PROCEEDING:
            session.on_cancel(invite, transaction.request, now)

    def _on_request_in_dialog(self, transaction: ServerTransaction, now: float) -> None:
        request = transaction.request
        found = self._find_dialog(request)
        if found is None:
            self._refuse_and_forget(transaction, _NO_DIALOG, now)
            return
        refusal = refusal_in_dialog(request)
        if refusal is not None:
            self.refuse(transaction, refusal, now)
            return
        dialog, session = found
        session.on_request(transaction, dialog, now)

    def _on_new_request(self, transaction: ServerTransaction, now: float) -> None:
        request = transaction.request
        source = transaction.source
        refusal = self._screen(request, source) if self._screen is not None else None
        refusal = refusal or refusal_of_request(request) or self._refusal_while_draining(request)
        if refusal is None and request.method == "INVITE":
            refusal = refusal_of_invite(request, self.min_se)
        if refusal is not None and refusal.stateless:
            self._refuse_and_forget(transaction, refusal, now)
        elif refusal is not None:
            self.refuse(transaction, refusal, now)
        elif isinstance(transaction, InviteServerTransaction):
            self._on_invite(transaction, source, now)
        else:
            self.answer_options(transaction, now)

    def _on_invite(self, transaction: ServerTransaction, source: Flow, now: float) -> None:
        request = transaction.request
        dialog = Dialog.from_request(request, self._tag(), source, self.rng.randint(1, 2**16))
        known = self._addresses.known(request.uri)
        session = IncomingSession(self, transaction, source, dialog, request.uri.user, known)
        self.add_dialog(dialog, session)
        session.start(now)
        self.emit(IncomingInvite(session, request, source))

    def _refusal_while_draining(self, request: Request) -> Refusal | None:
        if not self.draining or request.method not in ("INVITE", "OPTIONS"):
            return None
        return Refusal(503, "shutting down", (("Retry-After", str(self.config.retry_after)),))

    def _refuse_and_forget(self, transaction: ServerTransaction, refusal: Refusal, now: float) -> None:
        """A repeated request gets the same answer, tag included, though nothing is remembered of the first."""
        request = transaction.request
        seed = "\0".join((self._secret, request.call_id, request.from_.tag or "", request.top_via.branch or ""))
        tag = hashlib.sha256(seed.encode(errors="surrogateescape")).hexdigest()[:16]
        self.refuse(transaction, refusal, now, to_tag=tag)
        self.layer.abandon(transaction)

    def _find_dialog(self, request: Request) -> tuple[Dialog, InviteSession] | None:
        return self._dialogs.get(DialogId(request.call_id, request.to.tag or "", request.from_.tag))

    # Small things

    def _transmit(self, flow: Flow, data: bytes) -> None:
        self._outbox.append((flow, data))
        self._announce()

    def _announce(self) -> None:
        if not self._announced and self.on_output is not None:
            self._announced = True
            self.on_output()

    def _tag(self) -> str:
        return f"{self.rng.getrandbits(64):016x}"

    def _call_id(self) -> str:
        return f"{self.rng.getrandbits(128):032x}"


def _local_uri(text: str) -> Uri:
    try:
        return parse_uri(text)
    except ParseError as error:
        raise LocalError(error.reason) from error


def _local_name_addr(text: str, field: str) -> NameAddr:
    try:
        return NameAddr.parse(text, field)
    except ParseError as error:
        raise LocalError(error.reason) from error


def _some(targets: Sequence[Flow]) -> Sequence[Flow]:
    if not targets:
        raise LocalError("no target to send to")
    return targets
