"""The switch: it owns the user agent, the trunks, the workers and the calls, and decides who may come in.

Everything here runs in one event loop and nothing waits: SIP events and facts from the workers are handed to the call
they belong to. Refusals name the check that failed, in the SIP answer and in one log line.
"""

import asyncio
import random
import time
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

import structlog

from ..sip.errors import TransportError
from ..sip.events import (
    Event,
    IncomingInvite,
    MalformedReceived,
    PeerReachable,
    PeerUnreachable,
    PublishEnded,
    RegistrationChanged,
    RequestRefused,
)
from ..sip.flow import Address, Flow
from ..sip.session import InviteSession
from ..sip.session_uac import OutgoingSession
from ..sip.transport import SipTransport
from ..sip.user_agent import UserAgent, UserAgentConfig
from .admission import RETRY_AFTER, Admission, user_of
from .announcement_call import AnnouncementCall
from .call import Call, OperatorHangUp, WorkerLost
from .config import Config
from .errors import CallRefused, GatewayError
from .gauges import SwitchGauges
from .http import LiveCall, Readiness
from .ids import new_call_id
from .inbound import InboundCall
from .log_limit import LogLimit
from .loop_lag import LoopLag
from .messages import Announcement, Fact, OpenLeg, WorkerStatus
from .metrics import Metrics
from .observer import Observer, Observers
from .outbound import OutboundCall
from .record import CallRecord
from .routing import route_for
from .trunk import Trunk
from .trunks import Trunks
from .worker_config import configuration_of
from .workers import Worker, WorkerPool

log = structlog.get_logger(__name__)

BYE_TIMEOUT = 2.0
"""Seconds for the far ends to answer our BYEs before the sockets close: enough for two repetitions."""


class RecordSink(Protocol):
    """Where call records go."""

    def write(self, record: CallRecord) -> None:
        """Keep one record as it stands now; never waits."""
        ...


class Switch:
    """One gateway. `start`, then `drain` (no new calls, running ones may finish), then `stop`."""

    def __init__(self, config: Config, records: RecordSink, observers: Sequence[Observer] = ()) -> None:
        self.config = config
        self.trunks = Trunks(config.sip.listen)
        self.calls: dict[str, Call] = {}
        self.metrics = Metrics()
        self.metrics.watch(SwitchGauges(self))
        self._prepare_metrics()
        self._observers = Observers((self.metrics, *observers))
        self._lag = LoopLag(self._lagged)
        self._records = records
        self._by_session: dict[InviteSession, Call] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._pool = WorkerPool(self, config.gateway.worker_count, configuration_of(config))
        self._quiet = asyncio.Event()
        self._started = False
        self._admission = Admission(config, self.trunks, self.calls, self.write_record)
        self._limit = LogLimit()
        self._transport: SipTransport | None = None
        self._ua: UserAgent | None = None

    def __repr__(self) -> str:
        return f"<Switch calls={len(self.calls)} {self._pool!r} {self.trunks!r}>"

    # Life

    async def start(self) -> None:
        """Bind, start the workers, bring the trunks up. Raises GatewayError."""
        config = self.config
        try:
            self._transport = await SipTransport.open([str(url) for url in config.sip.listen])
        except TransportError as error:
            raise GatewayError(f"[sip] listen: {error}; free the address, or choose another") from None
        self._ua = UserAgent(
            UserAgentConfig(user_agent=config.gateway.name, public_host=config.sip.public_address),
            random.SystemRandom(),  # tags and branches are not to be guessed
            self._transport.local_address,
            self._admission.screen,
        )
        self._lag.start()
        await self._pool.start()
        self.trunks.prepare(config.trunks, self._ua)
        self._transport.run(self._ua, self._on_sip, self._message)
        self.trunks.start()
        self._started = True
        log.info("gateway is up", listen=self._transport.listening, trunks=list(self.trunks))

    def _spawn(self, story: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(story)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self, seconds: float) -> None:
        """Take no new call; return when the last one is over or the time is."""
        self._admission.draining = True
        if self._ua is not None:
            self._ua.draining = True
        log.info("draining", calls=len(self.calls), at_most_s=seconds)
        self._quiet.clear()
        if self.calls:
            try:
                async with asyncio.timeout(seconds):
                    await self._quiet.wait()
            except TimeoutError:
                log.warning("calls are still up, hanging up", calls=len(self.calls))

    async def stop(self) -> None:
        """Hang up what is left, write the records, take the registrations back, close everything."""
        self._admission.draining = True
        if self.calls:
            self._quiet.clear()
            for call in list(self.calls.values()):
                call.deliver(OperatorHangUp("gateway", "gateway stops"))
            try:
                async with asyncio.timeout(5.0):
                    await self._quiet.wait()
            except TimeoutError:
                log.error("calls did not end in time", calls=[repr(call) for call in self.calls.values()])
        await self.trunks.close()
        await self._byes_answered()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._pool.stop()
        self._lag.stop()
        if self._transport is not None:
            await self._transport.close()
        self._limit.flush()

    async def _byes_answered(self) -> None:
        for _ in range(int(BYE_TIMEOUT / 0.02)):
            if self._ua is None or self._ua.settled:
                return
            await asyncio.sleep(0.02)

    def retry_trunks(self) -> None:
        """Try every trunk that is down again at once."""
        self.trunks.retry(time.monotonic())

    def reload(self, config: Config) -> None:
        """Use another configuration from now on, which differs from the running one in what reload.py says; calls that
        are up keep theirs."""
        self.config = self._admission.config = config
        self._pool.reconfigure(configuration_of(config))
        self._prepare_metrics()
        if self._ua is not None:
            self.trunks.reload(config.trunks, self._ua)

    def _prepare_metrics(self) -> None:
        config = self.config
        self.metrics.prepare(
            [name for name, trunk in config.trunks.items() if trunk.registers],
            [(name, agent.provider) for name, agent in config.agents.items()],
            [f"media-{index + 1}" for index in range(config.gateway.worker_count)] or ["media-0"],
        )

    # Events

    def _lagged(self, seconds: float) -> None:
        self._observers.on_loop_lag(seconds)

    def _message(self, received: bool, flow: Flow, data: bytes) -> None:
        if self._transport is None:
            return
        local = self._transport.local_address(flow)
        self._observers.on_sip(received, flow, local, data)

    def _on_sip(self, event: Event) -> None:
        match event:
            case IncomingInvite():
                self._incoming(event)
            case RegistrationChanged() | PeerReachable() | PeerUnreachable():
                heard = self.trunks.on_event(event)
                if isinstance(heard, RegistrationChanged):
                    self._observers.on_registration(heard)
            case PublishEnded():
                self._observers.on_published(event)
            case RequestRefused() if self._limit.allows("request refused", event.source.host):
                log.warning(
                    "request refused",
                    method=event.method,
                    status=event.status,
                    check=event.reason,
                    source=str(event.source),
                    uri=event.uri,
                    sip_call_id=event.call_id,
                )
            case MalformedReceived() if self._limit.allows("malformed message", event.source.host):
                log.warning("malformed message", source=str(event.source), reason=event.reason, octets=event.octets)
            case RequestRefused() | MalformedReceived():
                return
            case _:
                call = self._by_session.get(event.session)
                if call is not None:
                    call.deliver(event)

    def _incoming(self, event: IncomingInvite) -> None:
        request = event.request
        trunk = self._admission.trunk_of(request, event.source)
        if trunk is None:
            event.session.reject(403, time.monotonic())
            return
        event.session.use_credentials(trunk.credentials)
        number = trunk.dialled(user_of(request.uri), user_of(request.to.uri))
        route = route_for(self.config.routes, number, trunk.name)
        caller = user_of(request.from_.uri)
        self._begin(InboundCall(new_call_id(), event.session, trunk, route, self, caller, number))

    def _begin(self, call: Call) -> None:
        self.calls[call.id] = call
        if call.session is not None:
            self._by_session[call.session] = call
        self._spawn(call.run())

    def on_fact(self, worker: Worker, fact: Fact) -> None:
        """A fact from a worker belongs to the call it names."""
        call = self.calls.get(getattr(fact, "call_id", ""))
        if call is not None:
            self._observers.on_fact(call.id, fact)
            call.deliver(fact)

    def on_worker_status(self, worker: Worker, status: WorkerStatus) -> None:
        """How a worker is: only counted."""
        self._observers.on_worker_status(worker.name, status)

    def on_worker_lost(self, worker: Worker, call_ids: set[str], reason: str) -> None:
        """Only its own calls end."""
        self._observers.on_worker_lost(worker.name)
        for call_id in call_ids:
            call = self.calls.get(call_id)
            if call is not None:
                call.deliver(WorkerLost(reason))

    # What calls need (call.Services, outbound.Dialler)

    def open_leg(self, order: OpenLeg) -> Worker | None:
        """Give a leg to the worker that carries least."""
        return self._pool.pick(order)

    def media_host(self, session: InviteSession | None, trunk: Trunk) -> str:
        """The configured address, else the one that the trunk sees."""
        configured = self.config.rtp_public_address
        if configured is not None:
            return configured
        if session is not None:
            return session.advertised.host
        return self._advertised(trunk).host

    def _advertised(self, trunk: Trunk) -> Address:
        return self._user_agent.advertised(trunk.targets[0])

    @property
    def _user_agent(self) -> UserAgent:
        if self._ua is None:
            raise CallRefused(503, "the gateway is not up")
        return self._ua

    def invite(self, call: Call, number: str, sdp: bytes) -> OutgoingSession:
        """Send the INVITE of an outbound call over its trunk."""
        trunk = call.trunk
        session = self._user_agent.invite(
            trunk.uri_for(number),
            from_=f"<{trunk.from_uri}>",
            targets=trunk.targets,
            route=trunk.route,
            credentials=trunk.credentials,
            sdp=sdp,
            now=time.monotonic(),
        )
        self._by_session[session] = call
        call.record.sip_call_id = session.call_id
        return session

    def write_record(self, record: CallRecord) -> None:
        """Queue the record as it stands."""
        self._observers.on_record(record)
        self._records.write(record)

    def forget(self, call: Call) -> None:
        """The call is recorded."""
        if self.calls.pop(call.id, None) is None:
            return
        if call.session is not None:
            self._by_session.pop(call.session, None)
        if not self.calls:
            self._quiet.set()

    @property
    def workers(self) -> list[Worker]:
        """The media workers that live."""
        return self._pool.workers

    @property
    def user_agent(self) -> UserAgent | None:
        """The SIP side; None before the start."""
        return self._ua

    @property
    def up(self) -> bool:
        """Between start and drain."""
        return self._started and not self._admission.draining

    def stalled(self, now: float) -> str | None:
        """Why media is not served, None while every media clock ticks."""
        return self._pool.stalled(now)

    # What the admin API asks (http.Gateway)

    def readiness(self) -> Readiness:
        """Ready means: not stopping, every trunk up, every worker up."""
        readiness = Readiness(reasons=[], parts={})
        if self._admission.draining:
            readiness.reasons.append("gateway is stopping")
        elif not self._started:
            readiness.reasons.append("gateway is starting")
            return readiness
        for trunk in self.trunks.values():
            readiness.parts[f"trunk {trunk.name}"] = trunk.state
            if not trunk.up:
                readiness.reasons.append(f"trunk {trunk.name} is {trunk.state}: {trunk.reason}")
        for worker in self._pool.workers:
            readiness.parts[f"worker {worker.name}"] = "alive" if worker.ready else "down"
        missing = max(1, self.config.gateway.worker_count) - sum(worker.ready for worker in self._pool.workers)
        if missing:
            readiness.reasons.append(f"{missing} media worker(s) are down")
        return readiness

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Every metric."""
        return self.metrics.exposition(accept)

    def live_calls(self) -> list[LiveCall]:
        """Every call that has not ended."""
        return [_live(call) for call in self.calls.values()]

    async def place_call(self, to: str, agent: str, trunk: str | None) -> str:
        """Start an outbound call; its story is in the record."""
        self._check_up()
        if agent not in self.config.agents:
            raise CallRefused(404, f"there is no agent {agent!r}")
        chosen = self._choose_trunk(trunk)
        chosen.check_number(to)
        full = self._admission.full(chosen)
        if full is not None:
            raise CallRefused(503, f"all lines are in use: {full[0].lower()}{full[1:]}", RETRY_AFTER)
        call = OutboundCall(new_call_id(), chosen, agent, self, self, to)
        self._begin(call)
        return call.id

    def trunks_up(self) -> list[str]:
        """Names of the trunks that calls can be expected to pass (alerts.channels.telephone.Dial)."""
        return [trunk.name for trunk in self.trunks.values() if trunk.up]

    async def announce(self, to: str, trunk: str, announcement: Announcement, ring_s: float) -> CallRecord:
        """Place a call that announces an alert, and return its record when it is over; being cancelled hangs up. No
        limit of calls refuses it. While the gateway stops it is refused: it would be cut off, and is not lost, since
        its delivery is stored. Raises CallRefused."""
        self._check_up()
        chosen = self._choose_trunk(trunk)
        chosen.check_number(to)
        call = AnnouncementCall(new_call_id(), chosen, self, self, to, announcement, ring_s)
        self._begin(call)
        try:
            await call.over.wait()
        except asyncio.CancelledError:
            call.deliver(OperatorHangUp("gateway", "the page is not wanted any more"))
            raise
        return call.record

    def _check_up(self) -> None:
        if not self.up:
            doing = "stopping" if self._admission.draining else "starting"
            raise CallRefused(503, f"the gateway is {doing}", RETRY_AFTER)

    def _choose_trunk(self, name: str | None) -> Trunk:
        if name is None:
            if len(self.trunks) != 1:
                raise CallRefused(409, f"name one of the trunks: {', '.join(sorted(self.trunks)) or 'none'}")
            return next(iter(self.trunks.values()))
        if name not in self.trunks:
            raise CallRefused(404, f"there is no trunk {name!r}")
        return self.trunks[name]

    def hang_up(self, call_id: str) -> bool:
        """The operator ends a call."""
        call = self.calls.get(call_id)
        if call is None:
            return False
        call.deliver(OperatorHangUp("operator", "hung up over the admin API"))
        return True


def _live(call: Call) -> LiveCall:
    status = call.status
    if status is None:
        return LiveCall(record=call.record, state=call.state)
    return LiveCall(
        record=call.record,
        state=call.state,
        speaker=status.speaker,
        caller_dbov=status.caller_dbov,
        agent_dbov=status.agent_dbov,
        queued_ms=status.queued_ms,
    )
