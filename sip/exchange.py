"""One request of ours until its final answer: over challenges (401, 407), over the targets of RFC 3263 §4.3, and from
UDP to TCP for what is too large for a datagram (RFC 3261 §18.1.1). Each try is a client transaction of its own."""

from collections.abc import Callable, Sequence
from typing import Protocol

from .digest import DigestClient
from .errors import LocalError
from .flow import Flow
from .message import Request, Response
from .transaction import ClientTransaction
from .transaction_layer import TransactionLayer

DATAGRAM_LIMIT = 1300
"""Octets from which a request prefers a stream (RFC 3261 §18.1.1: 200 less than the path MTU of an Ethernet)."""
FIXED_DATAGRAM_LIMIT = 65000
"""The same where the URI says `;transport=udp`: whoever wrote it knows what the peer listens on, and a SYN into a
firewall costs a caller seconds. IP cuts the datagram into fragments; what is larger fits into none."""
_VIA_ROOM = 110
STREAM_RETRY = 600.0
"""Seconds for which a peer that refused TCP is not asked again."""


class ExchangeUser(Protocol):
    """Who wants to know how the request went."""

    def on_exchange_response(self, exchange: "Exchange", response: Response, now: float) -> None:
        """A response that ends or advances the exchange; challenges that could be answered are not shown."""
        ...

    def on_exchange_failure(self, exchange: "Exchange", status: int, reason: str, now: float) -> None:
        """No response from any target: 408 (time-out) or 503 (transport), and one sentence."""
        ...


class StreamRefusals:
    """Peers that listen on UDP only, remembered for a while."""

    def __init__(self) -> None:
        self._until: dict[Flow, float] = {}

    def note(self, flow: Flow, now: float) -> None:
        """`flow` (TCP) could not be reached."""
        if len(self._until) > 1000:
            self._until.clear()
        self._until[flow] = now + STREAM_RETRY

    def holds(self, flow: Flow, now: float) -> bool:
        """Whether `flow` failed lately."""
        return self._until.get(flow, now) > now


class Exchange:
    """One request of ours, whatever number of tries it takes."""

    def __init__(
        self,
        layer: TransactionLayer,
        refusals: StreamRefusals,
        make: Callable[[Flow], Request],
        targets: Sequence[Flow],
        user: ExchangeUser,
        digest: DigestClient | None = None,
    ) -> None:
        """`make` builds the request for one try: same Call-ID, a CSeq of its own, no Via, the Contact for the flow."""
        self._layer = layer
        self._refusals = refusals
        self._make = make
        self._targets = list(targets)
        self._user = user
        self._attempt = digest.attempt() if digest is not None else None
        self._fallback: Flow | None = None
        self._final = False
        self.flow = self._targets.pop(0)
        """The target of the current try, before a switch to TCP."""
        self.transaction: ClientTransaction | None = None
        self.refusal: str | None = None
        """Why a 401 or 407 was not answered, one sentence."""

    def __repr__(self) -> str:
        return f"<Exchange {self.transaction!r} left={len(self._targets)}>"

    @property
    def request(self) -> Request:
        """The request of the current try, as sent; LocalError before start()."""
        if self.transaction is None:
            raise LocalError("the exchange was not started")
        return self.transaction.request

    def start(self, now: float) -> None:
        """Send the first try."""
        self._try(now)

    def give_up(self) -> None:
        """Whatever comes next is final: no further target, no further credentials."""
        self._final = True

    def abandon(self) -> None:
        """Forget the running transaction; nothing more is reported."""
        if self.transaction is not None:
            self._layer.abandon(self.transaction)

    def _try(self, now: float, *, may_stream: bool = True) -> None:
        request = self._make(self.flow)
        if self._attempt is not None:
            self._attempt.authorize(request)
        self._fallback = None
        flow = self.flow
        limit = FIXED_DATAGRAM_LIMIT if flow.fixed else DATAGRAM_LIMIT
        if may_stream and flow.transport == "udp" and len(request.to_bytes()) + _VIA_ROOM > limit:
            stream = Flow("tcp", flow.host, flow.port)
            if not self._refusals.holds(stream, now):
                self._fallback, flow = flow, stream
        self.transaction = self._layer.request(request, flow, self, now)

    def on_response(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        """ClientUser."""
        if transaction is not self.transaction:
            return
        if response.status in (401, 407) and not self._final and self._answers(response):
            self._try(now)
        elif response.status == 503 and self._targets and not self._final:
            self._next_target(now)
        else:
            self._user.on_exchange_response(self, response, now)

    def _answers(self, challenge: Response) -> bool:
        if self._attempt is None:
            self.refusal = "a password is asked for, none is configured"
            return False
        answers = self._attempt.challenged(challenge)
        self.refusal = self._attempt.refusal
        return answers

    def on_failure(self, transaction: ClientTransaction, cause: str, now: float) -> None:
        """ClientUser."""
        if transaction is not self.transaction:
            return
        if self._fallback is not None and cause == "transport" and not self._final:
            self._refusals.note(transaction.flow, now)
            self._try(now, may_stream=False)
        elif self._targets and not self._final:
            self._next_target(now)
        elif cause == "timeout":
            self._user.on_exchange_failure(self, 408, f"no answer from {transaction.flow}", now)
        else:
            reason = self._layer.failure or "cannot be reached"
            self._user.on_exchange_failure(self, 503, f"{transaction.flow}: {reason}", now)

    def _next_target(self, now: float) -> None:
        self.flow = self._targets.pop(0)
        self._try(now)
