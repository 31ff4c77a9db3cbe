"""One call's media: RTP on one side, the agent's conversation on the other, and the clock between them.

Caller to agent is driven by arrival (uplink.py), agent to caller by the worker's clock (`tick`, downlink.py). Both are
synchronous, allocate no more than the frames themselves and never log per packet.
"""

import time
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Protocol

import msgspec
import structlog

from ...rtp.errors import LocalError
from ...rtp.events import (
    ByeReceived,
    KeyPressed,
    KeyReleased,
    ReceiveAlive,
    ReceiveDead,
    RtpEvent,
    SourceLocked,
    StreamChanged,
)
from ...rtp.ring import Chunk
from ...rtp.session import RtpSession
from ...rtp.telephone_event import EventSender
from ..bridges.base import Bridge
from ..flight.entries import MEDIA
from ..flight.leg_ring import ANSWERED, CLOSED, LegRing
from ..flight.packing import Packing
from ..flight.verdict import KEEP_ALL, KEEP_BAD, low
from ..messages import (
    CodecSpec,
    Dtmf,
    Fact,
    FlightRing,
    HangUp,
    LegClosed,
    LegCounts,
    LegFailed,
    LegReady,
    LegStatus,
    MediaAlarm,
    MediaParameters,
    RtcpSeen,
    SliceEnded,
)
from ..record import Media, MediaReport
from .agreement import aim, may_listen, may_send, measure, media_format, same_line
from .conversation import TONE_ITEM, Conversation
from .convert import Line, line_of
from .downlink import Downlink
from .echo import EchoMeter
from .figures import Figures, media_path
from .functions import Functions
from .lateness import Lateness
from .leg_report import leg_counts, media_report, silence_detail
from .moments import Moments
from .recorder import Recorder
from .sending import SendWatch
from .slice_report import SliceReport
from .uplink import Uplink

log = structlog.get_logger(__name__)

STATUS_INTERVAL = 1.0


class Transport(Protocol):
    """The sockets of one call; see rtp/transport.py."""

    local_port: int
    send_errors: int

    def start(self, session: RtpSession, sink: Callable[[Sequence[Chunk], float], None]) -> None: ...

    def send(self, packet: bytes) -> None: ...

    def tick(self, now: float) -> None: ...

    def close(self, now: float) -> None: ...


class MediaLeg:
    """The media of one call, from OpenLeg to LegClosed. Its worker gives it orders, its clock ticks it."""

    def __init__(
        self,
        call_id: str,
        spec: CodecSpec,
        bridge: Bridge,
        transport: Transport,
        on_fact: Callable[[Fact], None],
        random: Random,
        *,
        patience_s: float = 8.0,
        recording: Path | None = None,
        functions: Functions | None = None,
        rtcp: bool = False,
        lateness: Lateness | None = None,
        flight_octets: int = 0,
        packing: Packing | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`recording` is the WAV to write, if any; with `rtcp` RTCP is told as RtcpSeen; `lateness` and `packing` are
        the worker's; `flight_octets` bound the flight recorder's memory. Raises CodecError when the call's codec and
        the bridge's formats cannot be brought together."""
        self.call_id = call_id
        self.report_codec: str | None = None
        self._bridge = bridge
        self._transport = transport
        self._on_fact = on_fact
        self._random = random
        self._monotonic = monotonic
        self._log = log.bind(call=call_id)
        self._recording = recording
        self._recorder: Recorder | None = None
        self._rtcp = rtcp
        self._session: RtpSession | None = None
        self._figures: Figures | None = None
        self._slices: SliceReport | None = None
        self._moments = Moments(call_id, on_fact, monotonic)
        self._lateness = lateness or Lateness()
        self._echo = EchoMeter()
        self._watch = SendWatch()
        self._digits: list[str] = []
        self._keys: EventSender | None = None
        self._event_clock = spec.clock_rate
        self._packing = packing or Packing()
        self._flight = LegRing(flight_octets, transport.local_port, monotonic())
        self._conversation = Conversation(call_id, bridge, self, patience_s, monotonic, functions, self._flight)
        self._queue = self._conversation.queue
        self._spec = spec
        self._line = line_of(spec)
        self._uplink = Uplink(bridge, self._line, self._echo)
        self._uplink.flight = self._flight
        # no cycles: a closed leg is freed at once, and not by a collector that stops all other legs
        self._me = weakref.proxy(self)
        item_begins = partial(MediaLeg._item_begins, self._me)
        self._downlink = Downlink(bridge, self._queue, self._line, self._echo, item_begins)
        self._answered_at: float | None = None
        self._first_audio_ms: float | None = None
        self._sending = False
        self._status_due = monotonic() + random.random() * STATUS_INTERVAL
        self._due = self._status_due
        """When a status or a slice is due, whichever is first."""
        self._closed = False

    def __repr__(self) -> str:
        state = "closed" if self._closed else "answered" if self._answered_at is not None else "opening"
        return f"<MediaLeg {self.call_id} {state} {self._conversation!r}>"

    # Orders

    def start(self) -> None:
        """Dial the agent's service."""
        self._conversation.start()

    def set_media(self, parameters: MediaParameters) -> None:
        """What offer/answer agreed, now or anew. Raises CodecError for a codec that is not known here."""
        now = self._monotonic()
        spec = parameters.codec
        media = media_format(parameters, measure(spec))
        line = None if same_line(spec, self._spec) else line_of(spec)
        self._flight.note(MEDIA, msgspec.json.encode(parameters).decode(), now)
        self._flight.use(media.samples)
        session = self._session
        if session is None:
            session = self._session = RtpSession(self._random, self.call_id, media, now)
            session.tap = self._flight
            if self._rtcp:
                session.on_rtcp = partial(MediaLeg._rtcp_seen, self._me)
            self._transport.start(session, self._uplink.take)
        else:
            # what the ring still holds is of the codec before
            self._uplink.take(session.set_format(media, now), now)
        self._spec = spec
        if line is not None:
            self._use(line, now)
        self._direct(parameters, session, now)
        self._rate(now)

    def answered(self) -> None:
        """The call is up."""
        if self._answered_at is not None or self._closed:
            return
        now = self._monotonic()
        self._answered_at = now
        self._flight.note(ANSWERED, "", now)
        self._moments.answered(now)
        self._conversation.answer()
        self._uplink.open = True
        if self._recording is not None:
            self._recorder = Recorder(self._recording, self._line.format)
            self._uplink.recorder = self._downlink.recorder = self._recorder
        if self._session is not None:
            self._session.set_direction(sending=self._sending, receiving=self._uplink.listening, now=now)
        self._rate(now)

    def send_dtmf(self, digits: str) -> None:
        """Play keys to the far end (RFC 4733)."""
        session = self._session
        if session is None or session.media.event_send_type is None:
            self._log.warning("keys not sent: the far end takes no telephone-event", digits=digits)
            return
        if self._keys is None:
            self._keys = EventSender(self._event_clock)
        for digit in digits:
            try:
                self._keys.start(digit)
            except LocalError as error:
                self._log.warning("key not sent", error=str(error))

    def caller_key(self, digit: str) -> None:
        """A key that the caller pressed, from RTP or from signalling."""
        self._digits.append(digit)
        self._moments.happened("dtmf", digit)
        self._bridge.send_dtmf(digit)

    async def close(self, keep: str = KEEP_BAD) -> None:
        """End the media at once, then the conversation and the recording; LegClosed comes when the file is whole.
        `keep` says when the flight recorder wants the leg (CloseLeg)."""
        if self._closed:
            return
        self._closed = True
        now = self._monotonic()
        self._transport.close(now)
        self._flight.note(CLOSED, str(self._queue.underruns), now)
        if self._figures is not None:
            self._figures.close(now)
        if self._slices is not None and (rest := self._slices.close(now)) is not None:
            self._on_fact(SliceEnded(self.call_id, rest))
        if self._line.undecodable:
            self._log.warning("payloads that the codec could not decode were concealed", count=self._line.undecodable)
        report = self.report()
        if self._recorder is not None:
            await self._recorder.close()
            report.recording = self._recorded
        await self._keep_flight(keep, report.media)
        path = media_path(self._session, self._transport.local_port) if self._session is not None else None
        self._on_fact(LegClosed(self.call_id, report, self.counts(), path))
        await self._conversation.close()

    async def _keep_flight(self, keep: str, media: Media) -> None:
        bad = self._flight.bad or low(media.received) or low(media.sent)
        if self._slices is not None:
            bad = bad or self._slices.received.bad + self._slices.sent.bad > 0
        if keep == KEEP_ALL or (keep == KEEP_BAD and bad):
            data = await self._packing.packed(self._flight)
            if data is None:
                self._log.warning("the call's packets are not kept: too many calls end at once")
            else:
                self._on_fact(FlightRing(self.call_id, data))

    def fail(self, status: int, reason: str) -> None:
        """The leg cannot go on; before the answer the call is refused, after it hung up."""
        if self._answered_at is None:
            self._on_fact(LegFailed(self.call_id, status, reason))
        else:
            self._on_fact(HangUp(self.call_id, "gateway", reason))

    # What the conversation tells

    def conversation_ready(self, provider_ms: float) -> None:
        self._on_fact(LegReady(self.call_id, provider_ms))

    def conversation_failed(self, status: int, reason: str) -> None:
        self._log.error("agent not available", reason=reason)
        self._on_fact(LegFailed(self.call_id, status, reason))

    def conversation_over(self, by: str, reason: str) -> None:
        self._on_fact(HangUp(self.call_id, by, reason))

    def last_speech(self) -> float | None:
        return self._uplink.detector.last_speech

    def happened(self, kind: str, detail: str = "") -> None:
        self._moments.happened(kind, detail)

    def _item_begins(self, item_id: str, now: float) -> None:
        """The first packet of an item leaves."""
        if item_id == TONE_ITEM:
            return
        turn = self._conversation.turns.agent_heard(item_id, now, self._uplink.detector.last_speech)
        if turn is not None:
            self._moments.happened("turn", turn)
        if self._first_audio_ms is None and self._answered_at is not None:
            self._first_audio_ms = (now - self._answered_at) * 1000

    # Codec and direction

    def _use(self, line: Line, now: float) -> None:
        """The call has this codec from now on."""
        self._line = line
        self._uplink.use(line)
        self._downlink.use(line)
        self._keys = None
        if self._recorder is not None:
            self._recorder.use(line.format)
        if self._figures is not None:
            self._figures.change(self._spec.name, now)
        self._moments.happened("codec", self._spec.name)

    def _rate(self, now: float) -> None:
        """Quality is that of the answered call."""
        if self._figures is None and self._session is not None and self._answered_at is not None:
            self._figures = Figures(self._spec.name, self._session, now)
            self._slices = SliceReport(
                self._figures,
                self._echo,
                self._lateness,
                self._queue,
                receiving=self._uplink.listening,
                sending=self._sending,
                now=now,
            )
            self._due = min(self._due, self._slices.due)

    def _direct(self, parameters: MediaParameters, session: RtpSession, now: float) -> None:
        event_clock = parameters.event_clock_rate or parameters.codec.clock_rate
        if event_clock != self._event_clock or parameters.event_send_type is None:
            self._event_clock, self._keys = event_clock, None
        self._sending = may_send(parameters)
        self._uplink.listening = may_listen(parameters)
        self.report_codec = parameters.codec.name
        aim(session, parameters, now)
        # before the answer nothing need come, and on hold music may: their absence is no alarm
        receiving = self._uplink.listening and self._answered_at is not None
        session.set_direction(sending=self._sending, receiving=receiving, now=now)
        if self._slices is not None:
            self._slices.received.due(receiving, now)
            self._slices.sent.due(self._sending, now)

    def _rtcp_seen(self, received: bool, muxed: bool, far_end: tuple[str, int], data: bytes) -> None:
        local_port = self._transport.local_port + (0 if muxed else 1)
        self._on_fact(RtcpSeen(self.call_id, received, *far_end, local_port, time.time(), data))

    # The clock

    def tick(self, now: float, skipped: int) -> None:
        """One 20 ms period: what is timed, then one packet to the caller."""
        session = self._session
        if self._closed:
            return
        if session is not None:
            self._transport.tick(now)
            while (event := session.next_event()) is not None:
                self._session_event(event, session)
            if self._answered_at is not None:
                self._send(session, now, skipped)
            else:
                self._flight.tick(now)
        self._conversation.poll(now)
        if now >= self._due:
            self._timed(now)

    def tick_failed(self, error: Exception) -> None:
        self.fail(500, f"media failed: {type(error).__name__}")

    def _send(self, session: RtpSession, now: float, skipped: int) -> None:
        samples = self._line.clock_rate // 50
        if skipped:
            # the worker was too late for these periods: time goes on without packets
            session.skip(skipped * samples)
            self._downlink.pause(skipped)
            if self._sending and self._slices is not None:
                self._slices.skipped += skipped
        if not self._sending:
            session.skip(samples)
            self._downlink.pause()
            self._flight.tick(now)
            return
        keys = self._keys
        pressing = keys is not None and keys.active
        event = keys.tick(session.timestamp) if keys is not None and pressing else None
        payload, marker = self._downlink.tick(now, pressing)
        if event is not None:
            packet = session.event_packet(*event, samples)
            self._flight.sent(packet, samples, now)
        else:
            packet = session.packet(payload, samples, marker)
            self._flight.sent_media(packet, samples, now)
        self._transport.send(packet)

    def _session_event(self, event: RtpEvent, session: RtpSession) -> None:
        match event:
            case KeyPressed(key=key):
                self.caller_key(key.digit)
            case KeyReleased(key=key):
                duration_ms = key.duration * 1000 / self._event_clock
                self._on_fact(Dtmf(self.call_id, key.digit, duration_ms))
            case ReceiveDead():
                self._alarm("received", True, silence_detail(event, session, self._transport.local_port))
                if self._slices is not None:
                    self._slices.received.died(self._monotonic() - event.silent_s)
            case ReceiveAlive(silent_s=silent_s, source=source):
                if self._slices is not None:
                    self._slices.received.revived(self._monotonic())
                detail = f"audio from {source[0]}:{source[1]} again after {silent_s:.1f} s"
                self._alarm("received", False, detail)
            case SourceLocked(source=source, previous=previous):
                self._log.info("media source", source=f"{source[0]}:{source[1]}", previous=previous)
            case StreamChanged(ssrc=ssrc, reason=reason):
                self._log.info("media stream changed", ssrc=ssrc, reason=reason)
            case ByeReceived(reason=reason):
                self._log.info("far end ended its RTP stream", reason=reason)
            case _:
                pass

    def _alarm(self, direction: str, dead: bool, detail: str) -> None:
        self._moments.happened("dead" if dead else "alive", direction)
        self._flight.note("dead" if dead else "alive", f"{direction}: {detail}", self._monotonic(), bad=dead)
        self._on_fact(MediaAlarm(self.call_id, direction, dead, detail))

    # Once a second, and every 10 s

    def _timed(self, now: float) -> None:
        slices = self._slices
        if slices is not None and now >= slices.due:
            self._flight.slice_ended(now)
            self._on_fact(SliceEnded(self.call_id, slices.end(now)))
        if now >= self._status_due:
            self._second(now)
        self._due = self._status_due if slices is None else min(self._status_due, slices.due)

    def _second(self, now: float) -> None:
        self._status_due = max(self._status_due + STATUS_INTERVAL, now)
        session = self._session
        if self._figures is not None and session is not None:
            self._flight.second(now)
            self._figures.update(now)
            self._watch_sending(session, now)
        if self._recorder is not None:
            self._recorder.flush()
        status = LegStatus(
            self.call_id,
            self._speaker(now),
            self._uplink.meter.take(),
            self._downlink.meter.take(),
            self._queue.queued_ms,
            self.report(),
            self.counts(),
        )
        self._on_fact(status)

    def _watch_sending(self, session: RtpSession, now: float) -> None:
        if not self._sending:
            self._watch.pause()
            return
        change = self._watch.check(
            session.destination, session.packets_sent, self._transport.send_errors, session.far_end
        )
        if change is not None:
            self._alarm("sent", *change)
        if self._slices is not None:
            if self._watch.dead:
                self._slices.sent.died(now)
            else:
                self._slices.sent.revived(now)

    def _speaker(self, now: float) -> str:
        detector = self._uplink.detector
        last = detector.last_speech
        caller = detector.speaking and last is not None and now - last < STATUS_INTERVAL
        if self._downlink.talking:
            return "both" if caller else "agent"
        return "caller" if caller else "nobody"

    @property
    def _recorded(self) -> str | None:
        recorder = self._recorder
        return str(recorder.path) if recorder is not None and not recorder.failed else None

    def report(self) -> MediaReport:
        """Everything known of the call's media at this moment."""
        return media_report(
            self._conversation, self._figures, self.report_codec, self._first_audio_ms, self._digits, self._recorded
        )

    def counts(self) -> LegCounts:
        """What is counted beside the report."""
        return leg_counts(self._conversation, self._session, self._slices, self._transport.send_errors)
