"""The client side of a registration (RFC 3261 §10.2): refresh, back-off, recovery.

| state | what happens | next |
| --- | --- | --- |
| unregistered | start | registering |
| registering | 2xx | registered |
| registering | refused, no answer from any target | failed |
| registered | refresh (due, or the connection broke) | registered, or failed |
| registered | the granted time is over, the refresh not yet answered | registering |
| failed | back-off is over, `retry` | registering |
| any | `unregister` | unregistering, then unregistered whatever the answer |
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from .digest import DigestClient
from .errors import ParseError
from .events import RegistrationChanged, RegistrationState
from .exchange import Exchange
from .flow import Address, Flow
from .headers import Headers, parse_number
from .message import Request, Response
from .owner import Owner
from .uri import NameAddr, SipUri

_MAX_EXPIRES = 2**32 - 1
_KEEPALIVE = 25.0
"""Seconds between keep-alives through a NAT on UDP: few forget sooner than 30 s (RFC 5626 §4.4.2)."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait after a failure, seconds."""

    first: float = 5.0
    """After the first failure; doubled by each further one."""
    cap: float = 300.0
    """Never longer than this for what may heal by itself: no answer, 5xx."""
    refused: float = 300.0
    """After a refusal that only a person can heal: wrong password, 403, 404. Doubled up to `refused_cap`."""
    refused_cap: float = 1800.0

    def delay(self, failures: int, by_person: bool, rng: random.Random) -> float:
        """The wait after the `failures`-th failure in a row, drawn from the upper half, so that many clients spread."""
        first, cap = (self.refused, self.refused_cap) if by_person else (self.first, self.cap)
        return min(cap, first * 2 ** min(failures - 1, 16)) * rng.uniform(0.5, 1.0)


class Registration:
    """One binding at one registrar. Made by UserAgent.register."""

    def __init__(
        self,
        owner: Owner,
        name: str,
        registrar: SipUri,
        aor: NameAddr,
        targets: Sequence[Flow],
        call_id: str,
        digest: DigestClient | None,
        expires: int,
        contact_user: str | None,
        backoff: Backoff,
    ) -> None:
        self.name = name
        self.state: RegistrationState = "unregistered"
        self.reason = "not started"
        self.expires: float | None = None
        """Granted seconds while registered."""
        self.learned: Address | None = None
        """Our address as the registrar sees it."""
        self.service_route: list[str] = []
        """Route values for calls through this registrar (RFC 3608)."""
        self._owner = owner
        self._registrar = registrar
        self._aor = aor
        self._targets = list(targets)
        self._call_id = call_id
        self._digest = digest
        self._asked = expires
        self._contact_user = contact_user or aor.uri.user
        self._backoff = backoff
        self._cseq = 0
        self._failures = 0
        self._contact: NameAddr | None = None
        self._stale_contact: NameAddr | None = None
        self._exchange: Exchange | None = None
        self._answering: Flow | None = None
        self._raised = False
        self._corrected = False
        self._stopping = False

    def __repr__(self) -> str:
        return f"<Registration {self.name} {self.state} {self.reason} expires={self.expires}>"

    @property
    def target(self) -> Flow | None:
        """The flow that the last REGISTER used."""
        return None if self._exchange is None else self._exchange.flow

    def start(self, now: float) -> None:
        """First REGISTER; UserAgent calls it."""
        self._change("registering", f"asking {self._targets[0]}")
        self._send(now)

    def set_targets(self, targets: Sequence[Flow], now: float) -> None:
        """Newly resolved addresses of the registrar, used from the next attempt on."""
        if targets:
            self._targets = list(targets)

    def retry(self, now: float) -> None:
        """Try again at once, whatever the back-off says. Ignored while an attempt runs or after `unregister`."""
        if self._stopping or not self._owner.timers.is_set(self, "attempt"):
            return
        self._owner.timers.cancel(self, "attempt")
        self.on_timer("attempt", now)

    def unregister(self, now: float) -> None:
        """Remove the binding and stop; `RegistrationChanged` to unregistered follows, answered or not."""
        if self._stopping:
            return
        self._stopping = True
        self._owner.timers.cancel_all(self)
        if self._exchange is not None and self.state == "registering":
            self._exchange.abandon()
        if self.expires is None and self.state != "registering":
            self._change("unregistered", "unregistered")
            return
        self._change("unregistering", "removing the binding")
        self._send(now)

    def release(self) -> None:
        """Stop without a word to the registrar: another registration takes the binding over, or it may run out."""
        self._stopping = True
        self._owner.timers.cancel_all(self)
        if self._exchange is not None:
            self._exchange.abandon()
            self._exchange = None

    def flow_failed(self, flow: Flow, now: float) -> None:
        """A connection broke: the registrar can reach us no more through it, so register again soon."""
        if self.state == "registered" and flow.reliable and self._exchange is not None and not self._stopping:
            used = self._exchange.transaction
            if used is not None and used.flow == flow and self._owner.timers.is_set(self, "attempt"):
                self._owner.timers.set(self, "attempt", now + self._owner.rng.uniform(0.0, 2.0))

    def on_timer(self, timer: str, now: float) -> None:
        """For TimerHeap: the refresh, the next attempt or a keep-alive is due, or the binding ran out."""
        if timer == "keepalive":
            self._keep_alive(now)
            return
        if timer == "expiry":
            self.expires = None
            self._change("registering", "the registration ran out, its refresh is not answered")
            return
        self._raised = self._corrected = False
        if self.expires is None:
            self._change("registering", f"asking {self._targets[0]}")
        self._send(now)

    # The request

    def _send(self, now: float) -> None:
        # The registrar that answered last is asked first: another that is down would cost 64*T1 each time.
        targets = sorted(self._targets, key=lambda target: target != self._answering)
        self._exchange = self._owner.exchange(self._make, targets, self, self._digest, now)

    def _make(self, flow: Flow) -> Request:
        self._cseq += 1
        contact = NameAddr.parse(self._owner.contact(flow, self._contact_user), "Contact")
        expires = 0 if self._stopping else self._asked
        if self._contact is not None and contact.uri != self._contact.uri:
            self._stale_contact = self._contact
        self._contact = contact
        headers = Headers(
            [
                ("Max-Forwards", "70"),
                ("From", str(self._aor)),
                ("To", str(NameAddr(self._aor.uri, self._aor.display_name))),
                ("Call-ID", self._call_id),
                ("CSeq", f"{self._cseq} REGISTER"),
                ("Contact", str(contact.with_param("expires", str(expires)))),
            ]
        )
        if self._stale_contact is not None:
            # The address that we had before must not attract calls any more.
            headers.add("Contact", str(self._stale_contact.with_param("expires", "0")))
        headers.add("Expires", str(expires))
        headers.add("Supported", "path")
        headers.add("User-Agent", self._owner.product)
        return Request("REGISTER", self._registrar, headers=headers)

    # Answers

    def on_exchange_response(self, exchange: Exchange, response: Response, now: float) -> None:
        """ExchangeUser."""
        if exchange is not self._exchange or response.is_provisional:
            return
        if self._stopping:
            self._stopped(f"{response.status} {response.reason}")
        elif response.is_success:
            self._on_granted(exchange, response, now)
        elif response.status == 423 and self._raise_expires(response):
            self._send(now)
        else:
            self._on_refused(exchange, response, now)

    def on_exchange_failure(self, exchange: Exchange, status: int, reason: str, now: float) -> None:
        """ExchangeUser."""
        if exchange is not self._exchange:
            return
        if self._stopping:
            self._stopped(reason)
        else:
            self._fail(status, reason, now)

    def _on_granted(self, exchange: Exchange, response: Response, now: float) -> None:
        granted = self._granted(response)
        if granted <= 0:
            self._fail(response.status, "the registrar granted no time", now)
            return
        self._failures = 0
        self._stale_contact = None
        self._answering = exchange.flow
        self.service_route = response.headers.get_all("Service-Route")
        learned = self._owner.advertised(exchange.flow)
        changed = self.expires != granted or self.learned != learned
        self.expires, self.learned = granted, learned
        self._owner.timers.set(self, "expiry", now + granted)
        if self.state != "registered" or changed:
            self._change("registered", f"registered at {exchange.flow}", status=response.status)
        contact = NameAddr.parse(self._owner.contact(exchange.flow, self._contact_user), "Contact")
        if self._contact is not None and contact.uri != self._contact.uri and not self._corrected:
            # The answer told another address than the Contact that we gave.
            self._corrected = True
            self._send(now)
            return
        self._owner.timers.set(self, "attempt", now + granted * self._owner.rng.uniform(0.7, 0.85))
        if not self._owner.timers.is_set(self, "keepalive"):
            self._keep_alive(now)

    def _keep_alive(self, now: float) -> None:
        """Calls reach us only while the NAT remembers us; a stream has keep-alives of its own."""
        flow = self.target
        if flow is not None and self.expires is not None and not flow.reliable and self._owner.keep_alive(flow):
            self._owner.timers.set(self, "keepalive", now + _KEEPALIVE)

    def _granted(self, response: Response) -> float:
        """What the registrar says of our Contact, else of the message, else what we asked (§10.2.4)."""
        value = response.headers.get("Expires")
        try:
            contacts = response.contacts
            ours = [contact for contact in contacts if self._contact is not None and _same(contact, self._contact)]
            chosen = ours or (contacts if len(contacts) == 1 else [])
            value = (chosen[0].params.get("expires") if chosen else None) or value
            return self._asked if value is None else parse_number(value, "Expires", maximum=_MAX_EXPIRES)
        except ParseError:
            return self._asked

    def _raise_expires(self, response: Response) -> bool:
        """423: take Min-Expires, once an attempt (§10.2.8)."""
        try:
            wanted = parse_number(response.headers.get("Min-Expires") or "", "Min-Expires", maximum=_MAX_EXPIRES)
        except ParseError:
            return False
        if self._raised or wanted <= self._asked:
            return False
        self._asked = wanted
        self._raised = True
        return True

    def _on_refused(self, exchange: Exchange, response: Response, now: float) -> None:
        status = response.status
        reason = f"{status} {response.reason} from {exchange.flow}"
        by_person = 300 <= status < 500 and status not in (408, 423, 480, 491)
        if exchange.refusal is not None:
            reason = f"{exchange.refusal}, {status} from {exchange.flow}"
        self._fail(status, reason, now, by_person=by_person, retry_after=response.retry_after)

    def _fail(
        self, status: int, reason: str, now: float, *, by_person: bool = False, retry_after: int | None = None
    ) -> None:
        self._failures += 1
        self.expires = None
        self._owner.timers.cancel(self, "expiry")
        delay = self._backoff.delay(self._failures, by_person, self._owner.rng)
        if retry_after is not None:
            # Spread here too: the others were told the same.
            delay = max(1.0, retry_after * self._owner.rng.uniform(1.0, 1.1))
        self._owner.timers.set(self, "attempt", now + delay)
        self._change("failed", reason, status=status, retry_in=delay)

    def _stopped(self, reason: str) -> None:
        self.expires = None
        self._change("unregistered", reason)

    def _change(
        self, state: RegistrationState, reason: str, *, status: int | None = None, retry_in: float | None = None
    ) -> None:
        self.state, self.reason = state, reason
        self._owner.emit(RegistrationChanged(self.name, state, reason, status, self.expires, retry_in, self.learned))


def _same(theirs: NameAddr, ours: NameAddr) -> bool:
    """Whether the registrar lists our binding: user, host and port decide, parameters may have been rewritten."""
    a, b = theirs.uri, ours.uri
    if not isinstance(a, SipUri) or not isinstance(b, SipUri):
        return a == b
    return (a.user, a.host.lower(), a.port or 5060) == (b.user, b.host.lower(), b.port or 5060)
