"""The SIP user agent: the one boundary object between this room and its owner. No socket, no clock, no task.

The contract is *one mutation, then drain*. After each call that takes `now` (receive, handle_timer, flow_failed, any
method of the UA, of a session or of a registration) the owner drains: send all `transmissions()`, take `next_event()`
until None, arm one timer at `next_timer()`. Handling an event may mutate again; drain again. `on_output`, when set, is
called once per mutation that left something to drain, so that a shell need not know who mutated.

Nothing that comes from the network raises: it is answered, reported as an event, or counted in `counters`.
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .events import Event, Refusal
from .flow import Address, Flow

if TYPE_CHECKING:
    from .digest import Credentials
    from .message import Request
    from .registration import Registration
    from .session_uac import OutgoingSession

Screen = Callable[["Request", Flow], Refusal | None]
"""Says of each new out-of-dialog request, before any state is made for it, why it is refused (None: let it in)."""


@dataclass(frozen=True, slots=True)
class UserAgentConfig:
    """What does not change while the agent lives."""

    user_agent: str = "trunkline"
    """User-Agent and Server header."""
    public_host: str | None = None
    """Address that Contact shows; None: learned from responses (received/rport), else the local one."""
    public_port: int | None = None
    session_expires: int = 1800
    """Session-Expires of our INVITEs, seconds (RFC 4028); 0 asks for none."""
    min_se: int = 90
    """Smallest session interval that we take, seconds."""
    ring_limit: float = 180.0
    """An INVITE unanswered for so long is cancelled (outgoing) or refused with 480 (incoming), seconds."""
    retry_after: int = 30
    """Seconds in Retry-After while draining."""


class UserAgent:
    """Calls, registrations and health checks of one gateway (RFC 3261)."""

    counters: Counter[str]
    """`malformed`, `stray_ack`, `stray_response`, `merged_request`, `refused_<status>`, …"""
    draining: bool
    """While True new INVITEs and OPTIONS get 503 with Retry-After."""
    on_output: Callable[[], None] | None

    def __init__(
        self,
        config: UserAgentConfig,
        rng: random.Random,
        local_address: Callable[[Flow], Address],
        screen: Screen | None = None,
    ) -> None:
        """`local_address` gives our own address towards a peer (never a wildcard); the transport has one."""

    # Input

    def receive(self, data: bytes, source: Flow, now: float) -> None:
        """One whole SIP message (a datagram, or what StreamFramer cut out of a connection)."""
        raise NotImplementedError

    def flow_failed(self, flow: Flow, reason: str, now: float) -> None:
        """Sending to `flow` failed or its connection closed; `reason` is one sentence."""
        raise NotImplementedError

    def handle_timer(self, now: float) -> None:
        """Run what was due by `now`."""
        raise NotImplementedError

    # Output

    def next_timer(self) -> float | None:
        """When handle_timer wants to be called, monotonic seconds."""
        raise NotImplementedError

    def transmissions(self) -> list[tuple[Flow, bytes]]:
        """Everything to send now, in order; the list is emptied."""
        raise NotImplementedError

    def next_event(self) -> Event | None:
        """The oldest event not yet taken."""
        raise NotImplementedError

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
        credentials: "Credentials | None" = None,
        headers: Sequence[tuple[str, str]] = (),
        route: Sequence[str] = (),
    ) -> "OutgoingSession":
        """Place a call.

        `uri` is the Request-URI, `from_` and `to` are name-addrs (`"Ann" <sip:ann@example.com>`; `to` defaults to the
        URI), `targets` the resolved next hops in order of preference (the next is tried on 503, time-out or transport
        failure), `route` Route values (RFC 3261 §8.1.2), `headers` go out as given. Raises LocalError on bad arguments.
        """
        raise NotImplementedError

    def options(
        self,
        name: str,
        target: Flow,
        uri: str,
        now: float,
        *,
        from_: str | None = None,
        credentials: "Credentials | None" = None,
    ) -> None:
        """One health check; `PeerReachable` or `PeerUnreachable` with `name` follows."""
        raise NotImplementedError

    def register(
        self,
        name: str,
        *,
        registrar: str,
        aor: str,
        targets: Sequence[Flow],
        now: float,
        credentials: "Credentials | None" = None,
        expires: int = 600,
        contact_user: str | None = None,
    ) -> "Registration":
        """Register `aor` (`sip:user@domain`) at `registrar` (`sip:domain`) and keep it registered. `RegistrationChanged`
        events follow; end it with `Registration.unregister(now)`, give it newly resolved targets with `set_targets`."""
        raise NotImplementedError

    # What it is

    def advertised(self, flow: Flow) -> Address:
        """Our address as `flow`'s peer should see it: configured, else learned, else local."""
        raise NotImplementedError

    @property
    def live_transactions(self) -> int:
        """Transactions not yet terminated; 0 when all is quiet."""
        raise NotImplementedError

    @property
    def live_sessions(self) -> int:
        """Sessions whose dialog still exists, ended ones whose BYE is under way included."""
        raise NotImplementedError
