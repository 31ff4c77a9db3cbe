"""What a UserAgent tells its owner. Taken one by one with `UserAgent.next_event()`, in the order they happened.

A session ends with exactly one `Ended` or (an outgoing one that was refused) one `Rejected`, and says nothing after it.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from .flow import Address, Flow

if TYPE_CHECKING:
    from .message import Request
    from .session import InviteSession
    from .session_uac import OutgoingSession
    from .session_uas import IncomingSession


@dataclass(frozen=True, slots=True)
class IncomingInvite:
    """A new call, already screened. Answer with `session.ring`, `progress`, `answer` or `reject`; 100 is automatic."""

    session: "IncomingSession"
    request: "Request"
    source: Flow


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The ACK for our 200 arrived: the call is up. `sdp` is the answer when our 200 carried the offer, else None."""

    session: "IncomingSession"
    sdp: bytes | None


@dataclass(frozen=True, slots=True)
class Progress:
    """A provisional response (101–199) to our INVITE; forked branches may answer with different `sdp`."""

    session: "OutgoingSession"
    status: int
    sdp: bytes | None


@dataclass(frozen=True, slots=True)
class Answered:
    """The first 2xx to our INVITE; its ACK is already sent. `sdp` is the answer to our offer."""

    session: "OutgoingSession"
    sdp: bytes | None


@dataclass(frozen=True, slots=True)
class Rejected:
    """Our INVITE came to nothing. 408 and 503 also stand for "no answer" and "unreachable" (RFC 3261 §8.1.3.1)."""

    session: "OutgoingSession"
    status: int
    reason: str
    retry_after: int | None = None
    """Seconds, when the far end said so."""
    local: bool = False
    """True when no far end sent this status: timer, transport or name failed here."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The session is over. `by` is `failure` for no ACK, an expired session timer, or a far end that vanished."""

    session: "InviteSession"
    by: Literal["local", "remote", "failure"]
    reason: str
    """`bye`, `cancelled`, `rejected 486 Busy Here`, `no ACK`, `session timer expired`, …"""
    status: int | None = None
    """Final status of the INVITE when it was not a 2xx."""
    reason_header: str | None = None
    """Value of the far end's Reason header (RFC 3326), verbatim."""


@dataclass(frozen=True, slots=True)
class ReOffer:
    """A re-INVITE or UPDATE inside the call. Answer with `session.accept_offer` or `refuse_offer`.

    `sdp` None asks us for an offer (re-INVITE without a body); the answer then comes as `OfferAnswered`.
    """

    session: "InviteSession"
    sdp: bytes | None


@dataclass(frozen=True, slots=True)
class ReOfferWithdrawn:
    """The far end cancelled its re-INVITE before we answered; the media stay as they were."""

    session: "InviteSession"


@dataclass(frozen=True, slots=True)
class OfferAnswered:
    """The answer to an offer that we made inside the call."""

    session: "InviteSession"
    sdp: bytes | None


@dataclass(frozen=True, slots=True)
class OfferRefused:
    """Our offer inside the call was refused; the media stay as they were and the call goes on."""

    session: "InviteSession"
    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class InfoReceived:
    """An INFO inside the call, already answered with 200."""

    session: "InviteSession"
    content_type: str
    body: bytes


RegistrationState = Literal["unregistered", "registering", "registered", "failed", "unregistering"]


@dataclass(frozen=True, slots=True)
class RegistrationChanged:
    """A trunk's registration changed its state, its expiry or the address that it learned."""

    name: str
    state: RegistrationState
    reason: str
    """One sentence, free of secrets: `registered`, `wrong password (401)`, `no answer from udp:192.0.2.1:5060`."""
    status: int | None = None
    expires: float | None = None
    """Granted seconds when registered."""
    retry_in: float | None = None
    """Seconds until the next attempt when failed."""
    learned: Address | None = None
    """Our address as the registrar sees it (Via received/rport, RFC 3581)."""


@dataclass(frozen=True, slots=True)
class PeerReachable:
    """Our OPTIONS was answered; any status counts, the far end is alive (503 is not)."""

    name: str
    target: Flow
    status: int


@dataclass(frozen=True, slots=True)
class PeerUnreachable:
    """Our OPTIONS was not answered, or with 503."""

    name: str
    target: Flow
    reason: str


@dataclass(frozen=True, slots=True)
class PublishEnded:
    """Our PUBLISH was answered, or found nobody: 408 (time-out) or 503 (transport)."""

    name: str
    status: int
    reason: str
    retry_after: int | None = None
    """Seconds that the collector asks to be left alone for."""


@dataclass(frozen=True, slots=True)
class RequestRefused:
    """The UA answered a request itself: screen, unknown dialog, method, extension or syntax. One log line each."""

    source: Flow
    method: str
    status: int
    reason: str
    call_id: str | None = None
    uri: str | None = None


@dataclass(frozen=True, slots=True)
class MalformedReceived:
    """Octets that are no SIP message; counted, and answered with 400 when enough of them could be read."""

    source: Flow
    reason: str
    octets: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a screen says to a request that it does not let in."""

    status: int
    reason: str
    """Reason phrase; names the check that failed."""
    headers: tuple[tuple[str, str], ...] = field(default=())
    stateless: bool = False
    """Forget the request at once (RFC 3261 §8.2.7): a stranger's costs no memory, and gets one answer instead of eleven
    until an ACK comes."""


Event = (
    IncomingInvite
    | Confirmed
    | Progress
    | Answered
    | Rejected
    | Ended
    | ReOffer
    | ReOfferWithdrawn
    | OfferAnswered
    | OfferRefused
    | InfoReceived
    | RegistrationChanged
    | PeerReachable
    | PeerUnreachable
    | PublishEnded
    | RequestRefused
    | MalformedReceived
)
