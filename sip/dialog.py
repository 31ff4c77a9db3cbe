"""Dialogs: identity, route set, remote target, sequence numbers (RFC 3261 §12)."""

import enum
import ipaddress
from typing import NamedTuple

from .flow import DEFAULT_PORT, Flow
from .headers import Headers
from .message import Request, Response
from .uri import NameAddr, SipUri, Uri


class DialogState(enum.Enum):
    """RFC 3261 §12."""

    EARLY = "early"
    CONFIRMED = "confirmed"
    TERMINATED = "terminated"


class DialogId(NamedTuple):
    """What identifies a dialog on our side; an RFC 2543 peer has no tag."""

    call_id: str
    local_tag: str
    remote_tag: str | None


class Dialog:
    """One dialog. It builds our requests and judges the far end's; it sends nothing."""

    def __init__(
        self,
        ident: DialogId,
        local: NameAddr,
        remote: NameAddr,
        route_set: list[NameAddr],
        remote_target: Uri,
        flow: Flow,
        local_cseq: int,
        remote_cseq: int | None,
    ) -> None:
        self.id = ident
        self.local = local
        self.remote = remote
        self.route_set = route_set
        self.remote_target = remote_target
        self.flow = flow
        """Where the far end (or its proxy) was when the dialog began."""
        self.local_cseq = local_cseq
        self.remote_cseq = remote_cseq
        self.state = DialogState.EARLY

    @classmethod
    def from_request(cls, request: Request, local_tag: str, flow: Flow, local_cseq: int) -> "Dialog":
        """The called side (§12.1.1). ParseError when Contact, From or Record-Route cannot be read."""
        contacts = request.contacts
        remote = request.from_
        return cls(
            DialogId(request.call_id, local_tag, remote.tag),
            request.to.with_tag(local_tag),
            remote,
            request.record_routes,
            contacts[0].uri if contacts else remote.uri,
            flow,
            local_cseq,
            request.cseq.number,
        )

    @classmethod
    def from_response(cls, request: Request, response: Response, flow: Flow) -> "Dialog":
        """The calling side (§12.1.2, and §13.2.2.4: a 2xx recomputes the route set). ParseError as above."""
        contacts = response.contacts
        local = request.from_
        remote = response.to
        return cls(
            DialogId(request.call_id, local.tag or "", remote.tag),
            local,
            remote,
            response.record_routes[::-1],
            contacts[0].uri if contacts else request.uri,
            flow,
            request.cseq.number,
            None,
        )

    def __repr__(self) -> str:
        return f"<Dialog {self.id.call_id} {self.state.value} cseq={self.local_cseq}/{self.remote_cseq}>"

    def request(self, method: str, cseq: int | None = None) -> Request:
        """Our next request in this dialog, without Via, Contact and body (§12.2.1.1). `cseq` is given for ACK alone."""
        if cseq is None:
            self.local_cseq += 1
            cseq = self.local_cseq
        uri, routes = self._route()
        headers = Headers([("Max-Forwards", "70")])
        for route in routes:
            headers.add("Route", str(route))
        headers.add("From", str(self.local))
        headers.add("To", str(self.remote))
        headers.add("Call-ID", self.id.call_id)
        headers.add("CSeq", f"{cseq} {method}")
        return Request(method, uri, headers=headers)

    def _route(self) -> tuple[Uri, list[NameAddr]]:
        target = self.remote_target
        if isinstance(target, SipUri):
            target = target.without_headers()
        if not self.route_set:
            return target, []
        first = self.route_set[0].uri
        if not isinstance(first, SipUri) or first.is_loose_router:
            return target, self.route_set
        # A strict router wants to find itself in the Request-URI, and the target at the end of the route.
        return first.without_headers(), [*self.route_set[1:], NameAddr(target)]

    def targets(self) -> list[Flow]:
        """Where our requests go, in order of preference. Names are not resolved here: the flow that the dialog began on
        stands for them, and for a private address of a peer that is seen under a public one."""
        flow = self.flow
        uri = self.route_set[0].uri if self.route_set else self.remote_target
        if not isinstance(uri, SipUri):
            return [flow]
        if not self.route_set and _is_private(uri.host) and not _is_private(flow.host):
            return [flow]
        is_name = _address(uri.host) is None
        host = flow.host if is_name else uri.host
        # A URI without a transport that leads back to where the dialog came from means the transport that worked.
        transport = uri.transport or (flow.transport if host == flow.host else "udp")
        if uri.scheme == "sips":
            transport = "tls"
        if transport not in ("udp", "tcp", "tls"):
            return [flow]
        fixed = uri.transport is not None or (flow.fixed and transport == flow.transport)
        named = Flow(transport, host, uri.port or DEFAULT_PORT[transport], fixed)
        if not is_name and not flow.reliable:
            return [named]
        if (named.transport, named.host) == (flow.transport, flow.host):
            # The connection that is there is better than a second one, which stands in when it is gone.
            return list(dict.fromkeys([flow, named]))
        return [flow] if is_name else [named]

    def accepts(self, request: Request) -> bool:
        """Whether the far end's request is in order (§12.2.2); False asks for 500. Remembers its number."""
        number = request.cseq.number
        if request.method in ("ACK", "CANCEL"):
            return True
        if self.remote_cseq is not None and number < self.remote_cseq:
            return False
        self.remote_cseq = number
        return True

    def refresh_target(self, message: Request | Response) -> None:
        """Take the Contact of a target refresh request or of its 2xx (§12.2). ParseError when it cannot be read."""
        contacts = message.contacts
        if contacts:
            self.remote_target = contacts[0].uri

    def confirm(self, response: Response) -> None:
        """The 2xx is there: its Contact and Record-Route count (§13.2.2.4)."""
        self.state = DialogState.CONFIRMED
        self.route_set = response.record_routes[::-1]
        self.refresh_target(response)


def _is_private(host: str) -> bool:
    address = _address(host)
    return address is not None and not address.is_global


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
