"""PUBLISH of what is no state: one report, neither refreshed nor taken back (RFC 3903, as RFC 6035 uses it)."""

from .events import PublishEnded
from .exchange import Exchange
from .flow import Flow
from .headers import Headers
from .message import Request, Response
from .owner import Owner
from .uri import NameAddr, Uri


class Publication:
    """One PUBLISH; `PublishEnded` follows."""

    def __init__(
        self,
        owner: Owner,
        name: str,
        uri: Uri,
        from_: NameAddr,
        call_id: str,
        event: str,
        content_type: str,
        body: bytes,
    ) -> None:
        """`from_` carries our tag; `event` is the package's name."""
        self._owner = owner
        self._name = name
        self._uri = uri
        self._from = from_
        self._call_id = call_id
        self._event = event
        self._content_type = content_type
        self._body = body
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
                ("CSeq", f"{self._cseq} PUBLISH"),
                ("Contact", self._owner.contact(flow, None)),
                ("Event", self._event),
                ("Content-Type", self._content_type),
                ("User-Agent", self._owner.product),
            ]
        )
        return Request("PUBLISH", self._uri, headers=headers, body=self._body)

    def on_exchange_response(self, exchange: Exchange, response: Response, now: float) -> None:
        """ExchangeUser."""
        if not response.is_provisional:
            reason = exchange.refusal or response.reason
            self._owner.emit(PublishEnded(self._name, response.status, reason, response.retry_after))

    def on_exchange_failure(self, exchange: Exchange, status: int, reason: str, now: float) -> None:
        """ExchangeUser."""
        self._owner.emit(PublishEnded(self._name, status, reason))
