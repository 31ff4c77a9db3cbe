"""Transactions by key: matching (RFC 3261 §17.1.3, §17.2.3), applying their effects, counting the live ones."""

import random
from collections import Counter
from collections.abc import Callable, Collection
from typing import Protocol

from .flow import DEFAULT_PORT, Address, Flow
from .headers import Headers, Via
from .message import Request, Response, response_to
from .timers import TimerHeap, Timing
from .transaction import (
    ClearTimer,
    ClientTransaction,
    Effect,
    Fail,
    InviteClientTransaction,
    InviteServerTransaction,
    NonInviteClientTransaction,
    NonInviteServerTransaction,
    Send,
    ServerTransaction,
    SetTimer,
    Terminated,
    ToUser,
    Transaction,
    TransactionState,
)

MAGIC_COOKIE = "z9hG4bK"
METHODS = frozenset(
    [
        "INVITE",
        "ACK",
        "BYE",
        "CANCEL",
        "OPTIONS",
        "REGISTER",
        "INFO",
        "UPDATE",
        "PRACK",
        "SUBSCRIBE",
        "NOTIFY",
        "REFER",
        "MESSAGE",
        "PUBLISH",
    ]
)
_UNANSWERED = (TransactionState.CALLING, TransactionState.TRYING, TransactionState.PROCEEDING)
ServerKey = tuple[str | int | None, ...]
MergeKey = tuple[str, str | None, int, str]


class ClientUser(Protocol):
    """Who sent a request."""

    def on_response(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        """A response that is not a retransmission; for INVITE also each further 2xx."""
        ...

    def on_failure(self, transaction: ClientTransaction, cause: str, now: float) -> None:
        """No response: `timeout` or `transport`."""
        ...


class ServerUser(Protocol):
    """Who answers a request."""

    def on_unacknowledged(self, transaction: ServerTransaction, cause: str, now: float) -> None:
        """The response could not be delivered (`transport`), or no ACK came for a non-2xx (`timeout`)."""
        ...


class Core(Protocol):
    """What stands above the layer."""

    def on_request(self, transaction: ServerTransaction, now: float) -> None:
        """A new request."""
        ...

    def on_ack(self, ack: Request, flow: Flow, now: float) -> None:
        """An ACK that belongs to no non-2xx response: of a 2xx, or stray."""
        ...

    def on_stray_response(self, response: Response, flow: Flow, now: float) -> None:
        """A response that no transaction waits for."""
        ...


def response_flow(request: Request, source: Flow) -> Flow:
    """Where the responses to a request go (RFC 3261 §18.2.2, RFC 3581 §4); maddr is not followed."""
    via = request.top_via
    if source.reliable or via.wants_rport:
        return source
    return Flow(source.transport, source.host, via.port or DEFAULT_PORT[source.transport])


def ack_for_rejection(request: Request, response: Response) -> bytes:
    """The ACK of a 300–699 response, which is part of the INVITE's transaction (RFC 3261 §17.1.1.3)."""
    headers = Headers([("Via", request.headers.get("Via") or "")])
    for route in request.headers.get_all("Route"):
        headers.add("Route", route)
    headers.add("From", request.headers.get("From") or "")
    headers.add("To", response.headers.get("To") or "")
    headers.add("Call-ID", request.call_id)
    headers.add("CSeq", f"{request.cseq.number} ACK")
    headers.add("Max-Forwards", "70")
    return Request("ACK", request.uri, headers=headers).to_bytes()


def _trying(request: Request) -> bytes:
    return response_to(request, 100).to_bytes()


class TransactionLayer:
    """All transactions of one user agent."""

    def __init__(
        self,
        timing: Timing,
        timers: TimerHeap,
        rng: random.Random,
        sent_by: Callable[[Flow], Address],
        core: Core,
        transmit: Callable[[Flow, bytes], None],
    ) -> None:
        """`sent_by` is our address in Via towards a flow; `transmit` queues octets."""
        self.timing = timing
        self.timers = timers
        self._rng = rng
        self._sent_by = sent_by
        self.failure: str | None = None
        """Why the transport failed, while its users are being told."""
        self.responses: Counter[tuple[str, str, int]] = Counter()
        """How many responses were `sent` or `received`, by method (`other` for one that no RFC knows) and status;
        strays are not counted."""
        self._core = core
        self._transmit = transmit
        self._clients: dict[tuple[str, str], ClientTransaction] = {}
        self._servers: dict[ServerKey, ServerTransaction] = {}
        self._server_keys: dict[ServerTransaction, tuple[ServerKey, MergeKey | None]] = {}
        self._merging: Counter[MergeKey] = Counter()

    @property
    def live(self) -> int:
        """How many transactions are not terminated."""
        return len(self._clients) + len(self._servers)

    def awaits(self, methods: Collection[str]) -> bool:
        """Whether a request of ours by one of these methods has no final response yet."""
        return any(
            transaction.method in methods and transaction.state in _UNANSWERED for transaction in self._clients.values()
        )

    def transactions(self) -> list[Transaction]:
        """Every live transaction, for a debug dump."""
        return [*self._clients.values(), *self._servers.values()]

    # Client side

    def via(self, flow: Flow) -> str:
        """A new Via value with a new branch, asking for rport (RFC 3581)."""
        branch = f"{MAGIC_COOKIE}{self._rng.getrandbits(80):020x}"
        return f"SIP/2.0/{flow.transport.upper()} {self._sent_by(flow)};rport;branch={branch}"

    def request(self, request: Request, flow: Flow, user: ClientUser | None, now: float) -> ClientTransaction:
        """Send a request in a transaction of its own. A Via that is already there (CANCEL's) is kept."""
        if "Via" not in request.headers:
            request.headers.insert_first("Via", self.via(flow))
        kind = InviteClientTransaction if request.method == "INVITE" else NonInviteClientTransaction
        transaction = kind(request, flow, self.timing, ack_for_rejection)
        transaction.layer = self
        transaction.user = user
        self._clients[_client_key(request)] = transaction
        self.apply(transaction, transaction.start(), now)
        return transaction

    def send(self, request: Request, flow: Flow) -> bytes:
        """Send a request without a transaction (the ACK of a 2xx); returns the octets, to be repeated as they are."""
        request.headers.insert_first("Via", self.via(flow))
        octets = request.to_bytes()
        self._transmit(flow, octets)
        return octets

    def send_octets(self, flow: Flow, octets: bytes) -> None:
        """Send again what `send` returned."""
        self._transmit(flow, octets)

    def abandon(self, transaction: Transaction) -> None:
        """Forget a transaction at once; its user hears no more of it (RFC 3261 §8.2.7, and §9.1 after CANCEL)."""
        transaction.state = TransactionState.TERMINATED
        self._remove(transaction)

    def expects(self, response: Response) -> bool:
        """Whether a transaction waits for this response."""
        return (response.top_via.branch or "", response.cseq.method) in self._clients

    def receive_response(self, response: Response, source: Flow, now: float) -> None:
        """Match a response to its transaction, or hand it to the core as stray."""
        transaction = self._clients.get((response.top_via.branch or "", response.cseq.method))
        if transaction is None:
            self._core.on_stray_response(response, source, now)
        else:
            self._count("received", response.cseq.method, response.status)
            self.apply(transaction, transaction.receive(response), now)

    # Server side

    def receive_request(self, request: Request, source: Flow, now: float) -> None:
        """Match a request to its transaction, or start one and hand it to the core."""
        key = server_key(request)
        transaction = self._servers.get(key)
        if transaction is not None:
            self.apply(transaction, transaction.receive(request), now)
            return
        _record_source(request, source)
        if request.method == "ACK":
            self._core.on_ack(request, source, now)
            return
        kind = InviteServerTransaction if request.method == "INVITE" else NonInviteServerTransaction
        transaction = kind(request, response_flow(request, source), self.timing, _trying)
        transaction.layer = self
        transaction.source = source
        self._servers[key] = transaction
        merge_key = _merge_key(request)
        self._server_keys[transaction] = key, merge_key
        if merge_key is not None:
            transaction.merged = self._merging[merge_key] > 0
            self._merging[merge_key] += 1
        self.apply(transaction, transaction.start(), now)

    def invite_of(self, cancel: Request) -> ServerTransaction | None:
        """The INVITE transaction that a CANCEL means (RFC 3261 §9.2)."""
        return self._servers.get(server_key(cancel, "INVITE"))

    def respond(self, transaction: ServerTransaction, response: Response, now: float) -> None:
        """Send a response in its transaction; absorbed when a final one was sent before."""
        self._count("sent", transaction.request.method, response.status)
        self.apply(transaction, transaction.respond(response), now)

    # Both

    def _count(self, direction: str, method: str, status: int) -> None:
        self.responses[direction, method if method in METHODS else "other", status] += 1

    def flow_failed(self, flow: Flow, reason: str, now: float) -> None:
        """The transport could not deliver to `flow`, or its connection closed."""
        self.failure = reason
        for transaction in self.transactions():
            if transaction.flow != flow or not transaction.live:
                continue
            if isinstance(transaction, ServerTransaction) and flow.reliable:
                via = transaction.request.top_via
                sent_by = Flow(flow.transport, flow.host, via.port or DEFAULT_PORT[flow.transport])
                self.apply(transaction, transaction.reroute(sent_by), now)
            else:
                self.apply(transaction, transaction.transport_error(), now)
        self.failure = None

    def apply(self, transaction: Transaction, effects: list[Effect], now: float) -> None:
        """Do what a machine returned, in order."""
        for effect in effects:
            match effect:
                case Send(data):
                    self._transmit(transaction.flow, data)
                case SetTimer(timer, delay):
                    self.timers.set(transaction, timer, now + delay)
                case ClearTimer(timer):
                    self.timers.cancel(transaction, timer)
                case ToUser(message):
                    self._to_user(transaction, message, now)
                case Fail(cause):
                    _report_failure(transaction, cause, now)
                case Terminated():
                    self._remove(transaction)

    def _to_user(self, transaction: Transaction, message: Request | Response, now: float) -> None:
        if isinstance(transaction, ClientTransaction):
            if transaction.user is not None and isinstance(message, Response):
                transaction.user.on_response(transaction, message, now)
        elif isinstance(transaction, ServerTransaction) and isinstance(message, Request):
            if message.method == "ACK":
                self._core.on_ack(message, transaction.flow, now)
            else:
                self._core.on_request(transaction, now)

    def _remove(self, transaction: Transaction) -> None:
        self.timers.cancel_all(transaction)
        if isinstance(transaction, ServerTransaction):
            key, merge_key = self._server_keys.pop(transaction)
            del self._servers[key]
            if merge_key is not None:
                self._merging[merge_key] -= 1
                if not self._merging[merge_key]:
                    del self._merging[merge_key]
        else:
            self._clients.pop(_client_key(transaction.request), None)


def server_key(request: Request, method: str | None = None) -> ServerKey:
    """What identifies a server transaction (RFC 3261 §17.2.3); the second form is that of RFC 2543 peers, which send no
    unique branch. `method` overrides the request's own; an ACK has the key of its INVITE."""
    via = request.top_via
    branch = via.branch
    method = method or ("INVITE" if request.method == "ACK" else request.method)
    if branch and branch.startswith(MAGIC_COOKIE) and len(branch) > len(MAGIC_COOKIE):
        return (branch, via.sent_by.lower(), method)
    return (
        str(request.uri),
        request.from_.tag,
        request.call_id,
        request.cseq.number,
        via.sent_by.lower(),
        branch,
        method,
    )


def _client_key(request: Request) -> tuple[str, str]:
    return request.top_via.branch or "", request.method


def _merge_key(request: Request) -> MergeKey | None:
    if request.to.tag is not None or request.method in ("ACK", "CANCEL"):
        return None
    return request.call_id, request.from_.tag, request.cseq.number, request.method


def _record_source(request: Request, source: Flow) -> None:
    """Note in the top Via where the request really came from (RFC 3261 §18.2.1, RFC 3581 §4)."""
    via = request.headers.remove_first("Via")
    if via is not None:
        request.headers.insert_first("Via", str(Via.parse(via).received_from(source.host, source.port)))


def _report_failure(transaction: Transaction, cause: str, now: float) -> None:
    if isinstance(transaction, ClientTransaction):
        if transaction.user is not None:
            transaction.user.on_failure(transaction, cause, now)
    elif isinstance(transaction, ServerTransaction) and transaction.user is not None:
        transaction.user.on_unacknowledged(transaction, cause, now)
