"""OPTIONS as a health check of a peer (RFC 3261 §11)."""

from .events import PeerReachable, PeerUnreachable
from .exchange import Exchange
from .flow import Flow
from .headers import Headers
from .message import Request, Response
from .owner import Owner
from .uri import NameAddr, Uri


class HealthCheck:
    """One OPTIONS; any answer but 408 and 503 proves that the peer lives."""

    def __init__(self, owner: Owner, name: str, uri: Uri, from_: NameAddr, call_id: str) -> None:
        """`from_` carries our tag."""
        self._owner = owner
        self._name = name
        self._uri = uri
        self._from = from_
        self._call_id = call_id
        self._cseq = 0

    def make(self, flow: Flow) -> Request:
        """The request of one try."""
        self._cseq += 1
        headers = Headers(
            [
                ("Max-Forwards", "70"),
                ("From", str(self._from)),
                ("To", str(NameAddr(self._uri))),
                ("Call-ID", self._call_id),
                ("CSeq", f"{self._cseq} OPTIONS"),
                ("Contact", self._owner.contact(flow, None)),
                ("Accept", "application/sdp"),
                ("User-Agent", self._owner.product),
            ]
        )
        return Request("OPTIONS", self._uri, headers=headers)

    def on_exchange_response(self, exchange: Exchange, response: Response, now: float) -> None:
        """ExchangeUser."""
        if response.is_provisional:
            return
        if response.status in (408, 503):
            reason = f"{response.status} {response.reason}"
            self._owner.emit(PeerUnreachable(self._name, exchange.flow, reason))
        else:
            self._owner.emit(PeerReachable(self._name, exchange.flow, response.status))

    def on_exchange_failure(self, exchange: Exchange, status: int, reason: str, now: float) -> None:
        """ExchangeUser."""
        self._owner.emit(PeerUnreachable(self._name, exchange.flow, reason))
