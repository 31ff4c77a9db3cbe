"""One call, from INVITE to record: what both directions share.

A call is one task that reads one mailbox: SIP events, facts from its media worker, and the operator's wish. Its script
(`inbound.py`, `outbound.py`) is read from top to bottom; whatever ends the call raises CallOver at the point where the
script waits, and `run` then settles the SIP side, the media and the record, in that order, exactly once.
"""

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, TypeVar

import structlog

from ..sip.errors import SipError
from ..sip.events import (
    Ended,
    InfoReceived,
    OfferAnswered,
    OfferRefused,
    Rejected,
    ReOffer,
    ReOfferWithdrawn,
)
from ..sip.events import Event as SipEvent
from ..sip.session import InviteSession
from .config import Config
from .flight.verdict import KEEP_ALL, KEEP_NONE, keep_leg
from .messages import (
    Answered,
    CallerKey,
    CloseLeg,
    CodecSpec,
    Dtmf,
    Fact,
    FlightRing,
    HangUp,
    Happened,
    LegClosed,
    LegFailed,
    LegOpened,
    LegStatus,
    MediaAlarm,
    MediaParameters,
    OpenLeg,
    RtcpSeen,
    SendDtmf,
    SetMedia,
    SliceEnded,
)
from .negotiation import Negotiation
from .record import CallRecord, MediaReport
from .trunk import Trunk
from .workers import Worker

OPEN_TIMEOUT = 3.0
"""Seconds for a worker to bind ports; it takes milliseconds, so a longer wait is a stuck worker."""
CLOSE_TIMEOUT = 2.0
"""Seconds for a worker's last report; the last checkpoint stands in for it."""


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """The media worker of this call died."""

    reason: str


@dataclass(frozen=True, slots=True)
class OperatorHangUp:
    """Somebody asked over HTTP, or the gateway is stopping."""

    by: str
    reason: str


Event = SipEvent | Fact | WorkerLost | OperatorHangUp
T = TypeVar("T")


class CallOver(Exception):
    """The call ends here: who ended it and why; `status` is the SIP answer when it was not answered yet."""

    def __init__(self, by: str, reason: str, status: int = 503, retry_after: int | None = None) -> None:
        super().__init__(reason)
        self.by = by
        self.reason = reason
        self.status = status
        self.retry_after = retry_after


def refusal_of(failed: LegFailed) -> CallOver:
    """Why a call ends whose leg failed: the agent's service, or (with Retry-After) no room here."""
    by = "provider" if failed.retry_after_s is None else "gateway"
    return CallOver(by, failed.reason, failed.status, failed.retry_after_s)


class Services(Protocol):
    """What a call needs of the switch."""

    config: Config

    def open_leg(self, order: OpenLeg) -> Worker | None:
        """Give the leg to a worker; None when none is ready."""
        ...

    def media_host(self, session: InviteSession | None, trunk: Trunk) -> str:
        """The address to put into SDP."""
        ...

    def write_record(self, record: CallRecord) -> None: ...

    def forget(self, call: "Call") -> None:
        """The call is over and recorded."""
        ...


def timestamp() -> str:
    """Now, RFC 3339 in UTC with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Call:
    """Base of both directions."""

    direction: str
    far_end: str
    """What `ended_by` calls the other side."""
    counted = True
    """It takes one of the calls that a gateway or a trunk may have."""

    def __init__(
        self, call_id: str, trunk: Trunk, agent: str | None, services: Services, from_: str | None, to: str
    ) -> None:
        self.id = call_id
        self.trunk = trunk
        self.session: InviteSession | None = None
        self.status: LegStatus | None = None
        self.state = "ringing"
        self.up = asyncio.Event()
        """Set when the call is answered."""
        self.over = asyncio.Event()
        """Set when the record is written."""
        self._services = services
        self._config = services.config
        """As it was when the call began: a reload in the middle of a call is not for this call."""
        self._worker: Worker | None = None
        self._mailbox: asyncio.Queue[Event] = asyncio.Queue()
        self._negotiation = Negotiation(trunk.config.codecs)
        self._report = MediaReport()
        self._answered_at: float | None = None
        self._log = structlog.get_logger(__name__).bind(call=call_id, trunk=trunk.name)
        self.record = CallRecord(
            id=call_id,
            direction=self.direction,
            trunk=trunk.name,
            from_=from_,
            to=to,
            agent=agent,
            provider=self._provider(agent),
            started_at=timestamp(),
        )

    def __repr__(self) -> str:
        return f"<Call {self.id} {self.direction} {self.state} {self.record.from_} -> {self.record.to}>"

    def deliver(self, event: Event) -> None:
        """Put one event into the mailbox. What is only written down does not wake the script."""
        if isinstance(event, LegStatus):
            self.status = event
            self._absorb(event.report)
        elif isinstance(event, SliceEnded):
            self.record.timeline.slices.append(event.slice)
        elif isinstance(event, Happened):
            self.record.timeline.moments.append(event.moment)
        elif not isinstance(event, RtcpSeen | FlightRing):
            self._mailbox.put_nowait(event)

    # The story

    async def run(self) -> None:
        """Live the call; never raises."""
        self._services.write_record(self.record)
        try:
            self._settle(await self._story())
        finally:
            await self._close()

    async def _story(self) -> CallOver:
        try:
            await self._script()
        except CallOver as over:
            # its traceback's frames hold it in turn: without them a call that is over is freed at once
            over.__traceback__ = over.__context__ = None
            return over
        except SipError as error:
            return CallOver("gateway", str(error), getattr(error, "status", 500))
        except Exception:
            self._log.exception("call failed in a way nobody foresaw")
        return CallOver("gateway", "internal error", 500)

    async def _script(self) -> None:
        """The direction's own story; ends by raising CallOver."""
        raise CallOver("gateway", "a call has a direction")

    async def _wait(self, kinds: type[T] | tuple[type[T], ...], timeout: float, otherwise: CallOver) -> T:
        """The next event of these kinds. What else comes is handled on the way; `otherwise` after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while True:
                    event = await self._mailbox.get()
                    if isinstance(event, kinds):
                        return event
                    self._handle(event)
        except TimeoutError:
            raise otherwise from None

    async def _talk(self) -> None:
        """The call is up; live until something ends it."""
        while True:
            self._handle(await self._mailbox.get())

    # What can happen at any time

    def _handle(self, event: Event) -> None:
        """Raises CallOver when the event ends the call."""
        over = self._end_of(event)
        if over is not None:
            raise over
        match event:
            case ReOffer(sdp=sdp):
                self._renegotiate(sdp)
            case OfferAnswered(sdp=sdp):
                self._use(self._negotiation.accept(sdp))
            case OfferRefused(status=status, reason=reason):
                self._negotiation.withdraw()
                self._log.warning("the far end refused our offer, media stay", status=status, reason=reason)
            case ReOfferWithdrawn():
                self._negotiation.withdraw()
                self._log.info("the far end withdrew its offer, media stay")
            case InfoReceived(content_type=content_type, body=body):
                self._info(content_type, body)
            case Dtmf(digit=digit, duration_ms=duration):
                self._log.info("dtmf", digit=digit, duration_ms=duration)
            case MediaAlarm():
                self._alarm(event)
            case _:
                self._log.debug("event without effect", kind=type(event).__name__)

    def _end_of(self, event: Event) -> CallOver | None:
        """What the event means when it ends the call."""
        match event:
            case Ended(by=by, reason=reason, status=status):
                return CallOver(self.far_end if by == "remote" else "gateway", reason, status or 200)
            case Rejected(status=status, reason=reason, retry_after=retry_after, local=local):
                return CallOver("gateway" if local else "trunk", f"{status} {reason}", status, retry_after)
            case HangUp(by=by, reason=reason):
                return CallOver(by, reason)
            case LegFailed():
                return refusal_of(event)
            case WorkerLost(reason=reason):
                return CallOver("gateway", f"media worker lost: {reason}")
            case OperatorHangUp(by=by, reason=reason):
                return CallOver(by, reason, 503 if by == "gateway" else 480)
        return None

    def _alarm(self, alarm: MediaAlarm) -> None:
        words = "media dead" if alarm.dead else "media back"
        (self._log.error if alarm.dead else self._log.info)(words, direction=alarm.direction, detail=alarm.detail)
        self.record.alarms.append(
            {"at": timestamp(), "direction": alarm.direction, "dead": alarm.dead, "detail": alarm.detail}
        )

    def _info(self, content_type: str, body: bytes) -> None:
        """Keys by INFO, as older phones and PBXs send them (`Signal=5`)."""
        if content_type.split(";")[0].strip().lower() not in ("application/dtmf-relay", "application/dtmf"):
            return
        text = body.decode("ascii", "replace").strip()
        signal = text.lower().partition("signal=")[2] if "=" in text else text
        digit = signal.strip()[:1].upper()
        if digit and digit in "0123456789*#ABCD" and self._worker is not None:
            self._worker.send(CallerKey(self.id, digit))

    def _renegotiate(self, sdp: bytes | None) -> None:
        """A re-INVITE or UPDATE: hold, resume, a new address, another codec (RFC 3264 section 8)."""
        session = self._established_session
        now = time.monotonic()
        if sdp is None:
            session.accept_offer(self._negotiation.offer(), now)
            return
        try:
            answer, parameters = self._negotiation.answer(sdp)
        except SipError as error:
            self._log.warning("re-offer refused", check="codec", status=488, reason=str(error))
            session.refuse_offer(488, now)
            return
        self._use(parameters)
        session.accept_offer(answer, now)

    @property
    def _established_session(self) -> InviteSession:
        if self.session is None:
            raise CallOver("gateway", "no session", 500)
        return self.session

    def _use(self, parameters: MediaParameters) -> None:
        """Tell the worker what was agreed."""
        self.record.codec = parameters.codec.name
        if self.state != "ringing":
            self.state = "answered" if parameters.direction in ("sendrecv", "sendonly") else "held"
        self._log.info(
            "media",
            codec=parameters.codec.name,
            remote=f"{parameters.remote_host}:{parameters.remote_port}",
            direction=parameters.direction,
        )
        if self._worker is not None:
            self._worker.send(SetMedia(self.id, parameters))

    # The media leg

    async def _open_leg(self, agent: str, codec: CodecSpec) -> LegFailed | None:
        """Have a worker bind ports and dial the agent. Why it cannot; raises CallOver when there is no worker."""
        self._worker = self._services.open_leg(self._leg_order(agent, codec))
        if self._worker is None:
            raise CallOver("gateway", "no media worker is up", 503, retry_after=5)
        stuck = CallOver("gateway", "media worker does not answer")
        opened = await self._wait((LegOpened, LegFailed), OPEN_TIMEOUT, stuck)
        if isinstance(opened, LegFailed):
            return opened
        host = self._services.media_host(self.session, self.trunk)
        self._negotiation.bind(host, opened.rtp_port)
        return None

    def _leg_order(self, agent: str, codec: CodecSpec) -> OpenLeg:
        return OpenLeg(self.id, agent, self.direction, self.record.from_, self.record.to, codec)

    async def _drop_leg(self) -> None:
        """Close a leg whose agent failed, so that the call can have another."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.send(CloseLeg(self.id, KEEP_NONE if self._config.flight.keep == KEEP_NONE else KEEP_ALL))
            late = CallOver("gateway", "media worker does not close the leg")
            try:
                await self._wait((LegClosed, WorkerLost), CLOSE_TIMEOUT, late)
            finally:
                worker.legs.discard(self.id)

    def _answered(self) -> None:
        self._answered_at = time.monotonic()
        self.state = "answered"
        self.up.set()
        self.record.answered_at = timestamp()
        self.record.sip_status = 200
        self._services.write_record(self.record)
        if self._worker is not None:
            self._worker.send(Answered(self.id))

    def _provider(self, agent: str | None) -> str | None:
        config = self._config.agents.get(agent or "")
        return config.provider if config else None

    # The end

    def _settle(self, over: CallOver) -> None:
        """Write down why, and end the SIP side."""
        self.state = "ending"
        record = self.record
        record.ended_at = timestamp()
        record.ended_by, record.end_reason = over.by, over.reason
        if self._answered_at is not None:
            record.duration_s = round(time.monotonic() - self._answered_at, 3)
        elif record.sip_status is None:
            record.sip_status = over.status
        self._end_session(over)

    def _end_session(self, over: CallOver) -> None:
        """Refuse, cancel or hang up, whatever fits."""
        if self.session is not None:
            self.session.hang_up(time.monotonic(), reason_header=self._reason_header(over))

    def _reason_header(self, over: CallOver) -> str | None:
        """Tells the trunk why we hang up (RFC 3326 with ITU-T Q.850 causes)."""
        cause, text = (16, "Normal call clearing") if over.by in ("agent", "operator") else (41, "Temporary failure")
        return None if over.by == self.far_end else f'Q.850;cause={cause};text="{text}"'

    async def _close(self) -> None:
        """Get the last word on the media, write the record, and be forgotten."""
        worker = self._worker
        if worker is not None and self.id in worker.legs:
            worker.send(CloseLeg(self.id, keep_leg(self._config.flight.keep, self.record)))
            try:
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    while True:
                        event = await self._mailbox.get()
                        if isinstance(event, LegClosed):
                            self._absorb(event.report)
                            break
                        if isinstance(event, WorkerLost):
                            break
            except TimeoutError:
                self._log.error("media worker does not close the leg", worker=worker.name)
            worker.legs.discard(self.id)
        self._services.write_record(self.record)
        self._log.info(
            "call over",
            direction=self.direction,
            ended_by=self.record.ended_by,
            reason=self.record.end_reason,
            status=self.record.sip_status,
            duration_s=self.record.duration_s,
            mos=self.record.media.received.mos_lq,
        )
        self._services.forget(self)
        self.over.set()

    def press(self, digits: str) -> None:
        """Send keys to the far end (RFC 4733)."""
        if self._worker is not None:
            self._worker.send(SendDtmf(self.id, digits))

    def _absorb(self, report: MediaReport) -> None:
        """Copy what the worker knows into the record."""
        for name in ("setup", "media", "turns", "dtmf", "tools", "usage", "recording"):
            setattr(self.record, name, getattr(report, name))
