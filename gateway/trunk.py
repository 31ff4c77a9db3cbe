"""A trunk while the gateway runs: where its server is, whether it is up, and which signalling belongs to it."""

import asyncio
import time
from collections.abc import Callable, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

import structlog

from ..sip.digest import Credentials
from ..sip.errors import SipError
from ..sip.events import PeerReachable, PeerUnreachable, RegistrationChanged
from ..sip.flow import Flow
from ..sip.registration import Registration
from ..sip.resolver import Resolver
from ..sip.uri import SipUri, Uri, parse_uri
from ..sip.user_agent import UserAgent
from .addresses import bracketed
from .config import TrunkConfig
from .errors import CallRefused

log = structlog.get_logger(__name__)

RESOLVE_EVERY = 300.0
"""Seconds between look-ups of a trunk's server: carriers move their addresses."""
RESOLVE_RETRY = 10.0
OWN = frozenset({"codecs", "sources", "max_calls", "options_interval_s", "caller_id"})
"""Keys that the trunk's server and account do not depend on: they change without a new registration."""


class Trunk:
    """One `[trunks.NAME]`. `run` keeps it registered (or probed) until cancelled; `state` is what it came to."""

    def __init__(
        self, name: str, config: TrunkConfig, ua: UserAgent, resolver: Resolver, *, key: str | None = None
    ) -> None:
        self.name = name
        self.key = key or name
        """What the user agent calls it: the name alone does not tell it from a predecessor of before a reload."""
        self.config = config
        self.targets: list[Flow] = []
        self.state = "starting"
        """`starting`, `registered`, `reachable`, `failed` or `unreachable`."""
        self.reason = "not tried yet"
        self.registration: Registration | None = None
        self.changed = asyncio.Event()
        """Set at each change of state; whoever waits clears it."""
        self.resolved = asyncio.Event()
        """Set once the server's addresses are known."""
        self._ua = ua
        self._resolver = resolver
        self._hosts: set[str] = set()
        self._working: Flow | None = None
        self._use_sources()

    def __repr__(self) -> str:
        return f"<Trunk {self.name} {self.state} {self.reason!r}>"

    def _use_sources(self) -> None:
        sources = self.config.sources
        self._networks = [ip_network(source, strict=False) for source in sources if _is_network(source)]
        self._names = [source for source in sources if not _is_network(source)]

    # What it is

    @property
    def up(self) -> bool:
        """True when calls can be expected to pass."""
        return self.state in ("registered", "reachable")

    @property
    def credentials(self) -> Credentials | None:
        """What answers the trunk's challenges."""
        if self.config.username is None or self.config.password is None:
            return None
        return Credentials(self.config.username, self.config.password.get_secret_value(), self.config.realm)

    @property
    def domain(self) -> str:
        """Host part of our address of record."""
        return bracketed(self.config.domain or self.config.server.host)

    @property
    def from_uri(self) -> str:
        """Our identity on this trunk."""
        user = self.config.caller_id or self.config.username
        return f"sip:{user}@{self.domain}" if user else f"sip:{self.domain}"

    def uri_for(self, number: str) -> str:
        """Request-URI of a number (or a whole SIP URI, taken as it is) on this trunk."""
        if number.startswith(("sip:", "sips:")):
            return number
        server = self.config.server
        port = f":{server.port}" if server.port else ""
        return f"sip:{number}@{self.domain}{port if self.config.domain is None else ''}"

    def check_number(self, number: str) -> None:
        """Raises CallRefused (400) when no INVITE can be sent to this number."""
        try:
            parse_uri(self.uri_for(number))
        except SipError as error:
            raise CallRefused(400, f"{number!r} is neither a number nor a SIP URI: {error}") from None

    @property
    def route(self) -> list[str]:
        """Route values that the registrar asks for in calls through it (Service-Route, RFC 3608)."""
        return self.registration.service_route if self.registration is not None else []

    @property
    def binding(self) -> tuple[str, str] | None:
        """Registrar and address of record; None for a trunk that does not register."""
        if not self.config.registers:
            return None
        return str(self.config.server), f"sip:{self.config.username}@{self.domain}"

    def owns(self, source: Flow) -> bool:
        """True when signalling from this address is this trunk's."""
        if source.host in self._hosts:
            return True
        address = ip_address(source.host)
        return any(address in network for network in self._networks)

    def dialled(self, request_user: str, to_user: str) -> str:
        """The number that was called: registrars relay to our Contact's user, then only To says which number it was."""
        if request_user and request_user != self.config.username:
            return request_user
        return to_user or request_user

    # Life

    async def run(self) -> None:
        """Resolve, register or probe, for ever."""
        while True:
            try:
                await self._resolve()
                if self.config.registers:
                    self._register()
            except SipError as error:
                if not self._started:
                    self._set_state("failed" if self.config.registers else "unreachable", str(error))
                    await asyncio.sleep(RESOLVE_RETRY)
                    continue
                # The name service is away, which says nothing of the trunk.
                log.warning("trunk look-up failed, its last addresses stand", trunk=self.name, reason=str(error))
            if self.config.registers:
                await asyncio.sleep(RESOLVE_EVERY)
            else:
                await self._probe_until_stale()

    @property
    def _started(self) -> bool:
        return self.registration is not None if self.config.registers else self.resolved.is_set()

    def retry(self, now: float) -> None:
        """When the registration is down: try again now, whatever its back-off says."""
        if self.registration is not None and not self.up:
            self.registration.retry(now)

    async def _resolve(self) -> None:
        self.targets = await self._resolver.resolve(str(self.config.server))
        self._prefer(self._working)
        hosts = {flow.host for flow in self.targets}
        for name in self._names:
            hosts |= {flow.host for flow in await self._resolver.resolve(f"sip:{name}")}
        self._hosts = hosts
        self.resolved.set()

    def _prefer(self, working: Flow | None) -> None:
        """What answered last comes first: a call over one that is down would wait for 64*T1 (RFC 3263 section 4.3)."""
        self._working = working
        self.targets = sorted(self.targets, key=lambda target: target != working)

    def _register(self) -> None:
        now = time.monotonic()
        if self.registration is not None:
            self.registration.set_targets(self.targets, now)
            return
        self.registration = self._ua.register(
            self.key,
            registrar=f"sip:{self.domain}",
            aor=f"sip:{self.config.username}@{self.domain}",
            targets=self.targets,
            credentials=self.credentials,
            expires=self.config.expires,
            contact_user=self.config.username,
            now=now,
        )

    async def _probe_until_stale(self) -> None:
        interval = self.config.options_interval_s
        if interval == 0:
            self._set_state("reachable", "not probed (options_interval_s = 0)")
            await asyncio.sleep(RESOLVE_EVERY)
            return
        stale = time.monotonic() + RESOLVE_EVERY
        while time.monotonic() < stale:
            for target in self.targets[:1]:
                uri = f"sip:{self.domain}"
                self._ua.options(
                    self.key, target, uri, time.monotonic(), from_=f"<{self.from_uri}>", credentials=self.credentials
                )
            await asyncio.sleep(interval)

    def close(self, now: float) -> None:
        """Take the binding back, if there is one."""
        if self.registration is not None:
            self.registration.unregister(now)

    # A reload

    def adopt(self, config: TrunkConfig) -> bool:
        """Take over a configuration that leaves server and account alone; False when it does not. `run` is to be begun
        anew: it resolves the new sources, and keeps the registration."""
        if config.model_copy(update={key: getattr(self.config, key) for key in OWN}) != self.config:
            return False
        self.config = config
        self._use_sources()
        return True

    def inherit(self, old: "Trunk") -> None:
        """Take the place of a trunk with the same server: its signalling is known before the first look-up."""
        if str(old.config.server) == str(self.config.server):
            self.targets, self._hosts = old.targets, old._hosts

    def release(self) -> None:
        """Let go of the registration without a word to the registrar."""
        if self.registration is not None:
            self._ua.release(self.registration)

    # Events

    def on_event(self, event: RegistrationChanged | PeerReachable | PeerUnreachable) -> None:
        """What the user agent found out about this trunk."""
        match event:
            case RegistrationChanged(state="registered"):
                if self.registration is not None:
                    self._prefer(self.registration.target)
                self._set_state("registered", f"for {event.expires or 0:.0f} s")
            case RegistrationChanged(state="failed"):
                self._set_state("failed", event.reason, retry_in_s=round(event.retry_in or 0), retry_now="send SIGHUP")
            case RegistrationChanged(state="registering") if self.state == "starting":
                self.reason = f"{event.reason}, no answer yet"
            case RegistrationChanged(state="registering") if self.state == "registered":
                self._set_state("failed", event.reason)
            case RegistrationChanged(state="unregistered"):
                self._set_state("unregistered", event.reason)
            case PeerReachable(target=target):
                self._prefer(target)
                self._set_state("reachable", f"answers OPTIONS with {event.status}")
            case PeerUnreachable(target=target):
                others = [other for other in self.targets if other != target]
                self._prefer(others[0] if others else None)
                self._set_state("unreachable", event.reason)

    def _set_state(self, state: str, reason: str, **more: Any) -> None:
        if (state, reason) == (self.state, self.reason):
            return
        self.state, self.reason = state, reason
        self.changed.set()
        level = log.info if self.up or state == "unregistered" else log.error
        level("trunk " + state, trunk=self.name, reason=reason, server=str(self.config.server), **more)


def trunk_of(trunks: Sequence[Trunk], source: Flow, called: Sequence[Uri]) -> Trunk | None:
    """The trunk that sent a request: by its source address; where several share one, by the user that was called (the
    Contact that we registered), then by its server's port, transport and domain. `called`: Request-URI and To."""
    owners = [trunk for trunk in trunks if trunk.owns(source)]
    users = {uri.unescaped_user for uri in called}
    hosts = {uri.host.lower() for uri in called if isinstance(uri, SipUri)}
    evidence: list[Callable[[Trunk], bool]] = [
        lambda trunk: trunk.config.username in users,
        lambda trunk: any(target.port == source.port for target in trunk.targets),
        lambda trunk: any(target.transport == source.transport for target in trunk.targets),
        lambda trunk: trunk.domain.strip("[]").lower() in hosts,
    ]
    for speaks_for in evidence:
        if len(owners) > 1:
            owners = [trunk for trunk in owners if speaks_for(trunk)] or owners
    return owners[0] if owners else None


def _is_network(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True
