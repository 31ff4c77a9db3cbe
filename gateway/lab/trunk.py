"""A small SIP trunk on loopback: a digest registrar, and the network behind it that calls and is called."""

import asyncio
import random
import time
from collections.abc import Callable

import structlog

from ...sip.digest import DigestVerifier
from ...sip.errors import ParseError
from ...sip.events import Event, IncomingInvite
from ...sip.flow import Flow
from ...sip.message import Request, parse_message, response_to
from ...sip.session_uac import OutgoingSession
from ...sip.transport import SipTransport
from ...sip.uri import Uri
from ...sip.user_agent import UserAgent, UserAgentConfig

log = structlog.get_logger(__name__)

REALM = "lab.trunkline.example"
EXPIRES = 60
"""Seconds that the registrar grants at most."""


class RegistrarAgent(UserAgent):
    """A user agent with a location service: REGISTER is challenged (RFC 3261 section 10.3), the rest is a UA's."""

    def __init__(self, passwords: dict[str, str], rng: random.Random, transport: SipTransport) -> None:
        super().__init__(UserAgentConfig(user_agent="trunkline-lab"), rng, transport.local_address)
        self._verifier = DigestVerifier(REALM, passwords.get, rng)
        self._answers: list[tuple[Flow, bytes]] = []
        self._rng = rng
        self.bindings: dict[str, tuple[Uri, Flow]] = {}
        """User → Contact and the flow that it registered over."""
        self.challenged = 0
        self.refused = 0
        self.registered = asyncio.Event()

    def receive(self, data: bytes, source: Flow, now: float) -> None:
        """As a UserAgent; REGISTER stops here."""
        if not data.startswith(b"REGISTER "):
            super().receive(data, source, now)
            return
        try:
            request = parse_message(data)
        except ParseError as error:
            log.warning("lab registrar got nonsense", reason=str(error))
            return
        if isinstance(request, Request):
            self._answers.append((source, self._register(request, source, now)))
            if self.on_output is not None:
                self.on_output()

    def transmissions(self) -> list[tuple[Flow, bytes]]:
        """The registrar's answers first."""
        answers, self._answers = self._answers, []
        return answers + super().transmissions()

    def _register(self, request: Request, source: Flow, now: float) -> bytes:
        via = request.top_via.received_from(source.host, source.port)
        request.headers.remove_first("Via")
        request.headers.insert_first("Via", str(via))
        tag = f"{self._rng.getrandbits(32):08x}"
        verdict = self._verifier.verify(request.headers.get("Authorization"), "REGISTER", now)
        if not verdict.ok:
            if verdict.username is not None and not verdict.stale:
                self.refused += 1
                return response_to(request, 403, to_tag=tag).to_bytes()
            self.challenged += 1
            response = response_to(request, 401, to_tag=tag)
            for challenge in self._verifier.challenges(now, stale=verdict.stale):
                response.headers.add("WWW-Authenticate", str(challenge))
            return response.to_bytes()
        return self._bind(request, source, tag)

    def _bind(self, request: Request, source: Flow, tag: str) -> bytes:
        user = request.to.uri.user or ""
        response = response_to(request, 200, to_tag=tag)
        contact = next(iter(request.contacts), None)
        asked = request.headers.get("Expires")
        if contact is not None:
            asked = dict(contact.params).get("expires") or asked
        expires = min(int(asked), EXPIRES) if asked and asked.isdigit() else EXPIRES
        if contact is None or expires == 0:
            self.bindings.pop(user, None)
            return response.to_bytes()
        self.bindings[user] = (contact.uri, source)
        response.headers.add("Contact", f"<{contact.uri}>;expires={expires}")
        self.registered.set()
        return response.to_bytes()


class LabTrunk:
    """`start` it, let a gateway register, then `call` through it; calls of the gateway go to `on_call`."""

    def __init__(self, passwords: dict[str, str], seed: int | None = None) -> None:
        self._passwords = passwords
        self._rng = random.Random(seed)
        self._transport: SipTransport | None = None
        self._owners: dict[object, Callable[[Event], None]] = {}
        self.agent: RegistrarAgent
        self.on_call: Callable[[IncomingInvite], None] | None = None
        """Who answers a call that the gateway places; None: nobody is there (480)."""
        self.relay: Callable[[bytes, Callable[[Event], None]], tuple[bytes, Callable[[Event], None]]] | None = None
        """What stands between a phone's media and the gateway's: `Network.join` of relay.py."""

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Bind; the port (UDP, and TCP beside it when it is free)."""
        self._transport = await SipTransport.open([f"udp://{host}:{port}"])
        self.agent = RegistrarAgent(self._passwords, self._rng, self._transport)
        self._transport.run(self.agent, self._on_event)
        return int(self._transport.listening[0].rsplit(":", 1)[1])

    async def stop(self) -> None:
        """Close the sockets."""
        if self._transport is not None:
            await self._transport.close()

    def call(self, user: str, number: str, caller: str, sdp: bytes, owner: Callable[[Event], None]) -> OutgoingSession:
        """Call `number` at the gateway that registered as `user`; `owner` gets the events. KeyError: not registered."""
        contact, flow = self.agent.bindings[user]
        if self.relay is not None:
            sdp, owner = self.relay(sdp, owner)
        session = self.agent.invite(
            str(contact),
            from_=f"<sip:{caller}@{REALM}>",
            to=f"<sip:{number}@{REALM}>",
            targets=[flow],
            sdp=sdp,
            now=time.monotonic(),
        )
        self._owners[session] = owner
        return session

    def adopt(self, session: object, owner: Callable[[Event], None]) -> None:
        """Send the events of an incoming session to `owner`."""
        self._owners[session] = owner

    def _on_event(self, event: Event) -> None:
        if isinstance(event, IncomingInvite):
            if self.on_call is None:
                event.session.reject(480, time.monotonic())
            else:
                self.on_call(event)
            return
        owner = self._owners.get(getattr(event, "session", None))
        if owner is not None:
            owner(event)
