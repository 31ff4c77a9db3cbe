"""What we are called: our address in Via, Contact and SDP, configured, learned or local; never a wildcard."""

from collections.abc import Callable

from .flow import Address, Flow
from .message import Response
from .uri import SipUri, Uri


class OwnAddresses:
    """Our address towards each peer."""

    def __init__(
        self, local_address: Callable[[Flow], Address], public_host: str | None, public_port: int | None
    ) -> None:
        """`local_address` as the transport gives it; `public_host` overrides all that is learned."""
        self._local = local_address
        self._public_host = public_host
        self._public_port = public_port
        self._learned: dict[tuple[str, str], Address] = {}

    def sent_by(self, flow: Flow) -> Address:
        """What our Via says: configured, else local."""
        local = self._local(flow)
        return local if self._public_host is None else Address(self._public_host, self._public_port or local.port)

    def advertised(self, flow: Flow) -> Address:
        """What our Contact says: configured, else learned, else local."""
        learned = None if self._public_host is not None else self._learned.get((flow.transport, flow.host))
        return learned or self.sent_by(flow)

    def contact(self, flow: Flow, user: str | None, advertised: Address | None) -> str:
        """A Contact value for `flow`; `advertised` replaces the address."""
        address = advertised or self.advertised(flow)
        uri = SipUri(host=address.host, user=user, port=address.port)
        if flow.transport != "udp":
            uri = uri.with_param("transport", flow.transport)
        return f"<{uri}>"

    def learn(self, response: Response, source: Flow) -> None:
        """Where the peer saw our request come from (RFC 3581). A stream's port is that of one connection: it is worth
        telling only behind a NAT, where no other would reach us."""
        via = response.top_via
        if via.received is None and via.rport is None:
            return
        local = self._local(source)
        host = via.received or via.host
        address = local
        if not source.reliable or host != local.host:
            address = Address(host, via.rport or via.port or local.port)
        if address == local:
            self._learned.pop((source.transport, source.host), None)
        else:
            self._learned[source.transport, source.host] = address

    def known(self, uri: Uri) -> Address | None:
        """A Request-URI that names a learned address is our Contact come back: it is shown again."""
        if not isinstance(uri, SipUri):
            return None
        address = Address(uri.host, uri.port or 5060)
        return address if address in self._learned.values() else None
