"""One call's RTP and RTCP, both directions, sans-IO.

The owner hands every datagram to `receive` (or `receive_rtcp`) and calls `poll` once every frame; `receive` and `poll`
return the caller's media in order (see ring.py for the chunks). Then it drains `next_event()`. What is to be sent is
asked for: `packet()` for each 20 ms frame, `rtcp()` every frame (None until one is due), `bye()` at the end.
Nothing here raises for what the network sent.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from . import rtcp
from .control import Control
from .errors import LocalError, ParseError
from .events import (
    Address,
    FarEndReport,
    KeyPressed,
    KeyReleased,
    ReceiveAlive,
    ReceiveDead,
    ReceiveReport,
    RtpEvent,
    SourceLocked,
    StreamChanged,
)
from .loss_runs import BurstMetrics, LossRuns
from .packet import MARKER, Fields, is_rtcp, parse
from .ring import NOTHING, Chunk, FrameRing
from .rtcp import ReportBlock, SenderReport
from .sender import RtpSender
from .source_lock import Position, SourceLock, is_unspecified
from .statistics import DelayVariation, ReceivedStream
from .tap import Tap
from .telephone_event import EventReceiver
from .watch import Absence, DirectionWatch

_COMFORT_NOISE: Final = 13
_CHECK_S: Final = 0.1
_FRESH_S: Final = 0.25
"""Shorter than any silence after which another source may be looked at."""
_PATIENCE_S: Final = 1.0
_TYPES: Final = 8


@dataclass(frozen=True, slots=True)
class MediaFormat:
    """What offer/answer agreed on the payload (RFC 3264, RFC 3551)."""

    send_type: int
    """Payload type of the codec in what we send."""
    receive_type: int
    """Payload type of the codec in what we receive."""
    clock_rate: int = 8000
    """RTP clock, Hz: 8000 for G.711, 48000 for Opus."""
    samples: Callable[[bytes], int] = len
    """Samples (RTP clock units) in one payload; `len` for G.711. 0 for a payload that cannot be measured: dropped."""
    event_send_type: int | None = None
    event_receive_type: int | None = None


class RtpSession:
    """One call's RTP (RFC 3550, RFC 3551 profile), one stream each way.

    `destination` is where RTP goes: the locked source when symmetric RTP found one, else the negotiated address; None:
    do not send. `settled` is that address while it is also the one and only source that media may come from now.
    `route` counts the changes of these and of `sending`.
    """

    def __init__(self, random: Random, cname: str, media: MediaFormat, now: float) -> None:
        """`random` gives SSRC, first sequence number and timestamp; `cname` is the RTCP canonical name (no personal
        data)."""
        self.media = media
        self.destination: Address | None = None
        self.rtcp_destination: Address | None = None
        self.settled: Address | None = None
        self.sending = True
        self.route = 0
        self.on_rtcp: Callable[[bool, bool, Address, bytes], None] | None = None
        """Told of each RTCP datagram that is taken or sent: received, on the RTP port, far end, octets."""
        self.tap: Tap | None = None
        """Told of every RTP packet and RTCP datagram, whether taken or not."""
        self._sender = RtpSender(random)
        self.packet = self._sender.packet
        """`packet(payload, samples, marker=False) -> bytes`: the next media packet; the clock advances by `samples`."""
        self._control = Control(random, cname, self._sender.ssrc, now)
        self._lock = SourceLock()
        self._runs = LossRuns()
        self._ring = FrameRing(media.clock_rate, self._runs)
        self._delay = DelayVariation(media.clock_rate)
        self._keys = EventReceiver()
        self._events: deque[RtpEvent] = deque()
        self._stream: ReceivedStream | None = None
        self._source: Address | None = None
        self._ssrc = -1
        self._receive_type = media.receive_type
        self._samples = media.samples
        self._heard_at = now
        self._check_at = now
        self._watch = DirectionWatch()
        self._absence = Absence()
        self._mux = False
        self._blocked_packets = 0
        self._sent_before_report = 0
        self._packets_before = 0
        self._expected_before = 0
        self._rejected: dict[str, int] = {}
        self._unknown_types: dict[int, int] = {}
        self._use_format(media)

    # configuration

    def set_format(self, media: MediaFormat, now: float) -> Sequence[Chunk]:
        """A new offer/answer: payload types and clock. Returns what the ring still held of another codec."""
        self._watch.renew(now)
        held: Sequence[Chunk] = NOTHING
        if media.clock_rate != self.media.clock_rate:
            held = self._ring.set_clock_rate(media.clock_rate)
            self._delay.set_clock_rate(media.clock_rate)
        elif media.receive_type != self.media.receive_type:
            held = self._ring.release()
        self._use_format(media)
        return held

    def _use_format(self, media: MediaFormat) -> None:
        self.media = media
        self._receive_type = media.receive_type
        self._samples = media.samples
        self._sender.media_type = media.send_type
        self._sender.event_type = media.event_send_type

    def set_remote(
        self, host: str, port: int, rtcp_port: int | None = None, *, rtcp_mux: bool = False, now: float
    ) -> None:
        """Where the far end says it is (SDP). Port 0 or an unspecified address: nothing is sent. Another address than
        before opens the source lock; `rtcp_port` is the next port when None."""
        address = None if is_unspecified(host) or not 0 < port < 65536 else (host, port)
        self._mux = rtcp_mux
        if self._lock.negotiate(address, now):
            self._aim(address)
        if self.destination == address:
            self._aim_rtcp(address, rtcp_port)

    def _aim(self, destination: Address | None) -> None:
        self.destination = destination
        self.settled = None
        self.route += 1

    def _aim_rtcp(self, address: Address | None, rtcp_port: int | None) -> None:
        if address is None or self._mux:
            self.rtcp_destination = address
        else:
            self.rtcp_destination = (address[0], min(rtcp_port or address[1] + 1, 65535))

    def set_direction(self, *, sending: bool, receiving: bool, now: float) -> None:
        """What the negotiated direction allows, once the call is answered. While not `sending` the transport drops what
        it is given; the dead-direction alarm runs only while `receiving`. The caller's time runs from the first call
        on."""
        self.sending = sending
        self.route += 1
        self._ring.start(now)
        if receiving:
            self._watch.expect(now)
        else:
            self._watch.rest()
            self._absence.end(now, self._missing)

    # receive

    def receive(self, data: bytes, source: Address, now: float) -> Sequence[Chunk]:
        """One datagram from the RTP port (RTCP too when multiplexed, RFC 5761)."""
        try:
            fields = parse(data)
        except ParseError:
            return self._receive_other(data, source, now)
        if fields[3] == self._ssrc and (source is self._source or source == self._source):
            if self.tap is not None:
                self.tap.received(fields, source, now)
            return self._take(fields, now)
        if is_rtcp(data):
            return self._receive_other(data, source, now)
        if self.tap is not None:
            self.tap.received(fields, source, now)
        return self._admit(fields, source, now)

    def _take(self, fields: Fields, now: float) -> Sequence[Chunk]:
        """A packet of the locked stream."""
        second, sequence, timestamp, _, payload = fields
        stream = self._stream
        if stream is None:
            return NOTHING
        extended = stream.tracker.update(sequence)
        if extended is None:
            return self._reject("out_of_range")
        if stream.tracker.restarts:
            return self._restart(fields, now)
        stream.received += 1
        if second & 0x7F == self._receive_type:
            samples = self._samples(payload)
            if samples > 0:
                self._heard_at = now
                marker = second >= MARKER
                self._delay.update(timestamp, marker, now)
                return self._ring.push(extended, timestamp, marker, payload, samples, now)
        return self._take_other(second, extended, timestamp, payload, now)

    def _take_other(self, second: int, extended: int, timestamp: int, payload: bytes, now: float) -> Sequence[Chunk]:
        payload_type = second & 0x7F
        if payload_type == self.media.event_receive_type:
            self._heard_at = now
            key = self._keys.receive(payload, timestamp, second >= MARKER, now)
            if key is not None:
                self._events.append(KeyPressed(key))
            self._check_at = now
        elif payload_type == _COMFORT_NOISE:
            self._heard_at = now
            return self._ring.comfort_noise(extended, timestamp, now)
        elif payload_type == self._receive_type:
            self._reject("empty")
        else:
            self._reject("unknown_type")
            if payload_type in self._unknown_types or len(self._unknown_types) < _TYPES:
                self._unknown_types[payload_type] = self._unknown_types.get(payload_type, 0) + 1
        return self._ring.skip(extended, now)

    def _admit(self, fields: Fields, source: Address, now: float) -> Sequence[Chunk]:
        """A packet that is not of the locked stream."""
        stream = self._stream
        position = Position(self._ssrc, stream.tracker.highest & 0xFFFF, self._heard_at) if stream else None
        packets = self._lock.admit(fields, source, position, now)
        if packets is None:
            return self._reject("foreign" if source != self._source else "probation")
        previous, self._source = self._source, self._lock.source
        ssrc = fields[3]
        chunks: list[Chunk] = []
        if previous != source:
            self._events.append(SourceLocked(source, ssrc, previous))
            self._aim(source)
            if source != self._lock.negotiated:
                self._aim_rtcp(source, None)
        if ssrc != self._ssrc or stream is None:
            if stream is not None:
                self._events.append(StreamChanged(ssrc, "new SSRC"))
            self._ssrc = ssrc
            chunks += self._begin_stream(packets[0][0][1])
        for kept, arrived in packets:
            chunks += self._take(kept, arrived)
        return chunks

    def _restart(self, fields: Fields, now: float) -> Sequence[Chunk]:
        """The numbering begins anew under the same SSRC (RFC 3550 A.1)."""
        self._events.append(StreamChanged(self._ssrc, "sequence restarted"))
        return [*self._begin_stream(fields[1]), *self._take(fields, now)]

    def _begin_stream(self, sequence: int) -> Sequence[Chunk]:
        if self._stream is not None:
            self._packets_before += self._stream.received
            self._expected_before += self._stream.expected
        self._stream = ReceivedStream(sequence)
        self._blocked_packets = 0
        self._control.stream_changed()
        self._delay.rebase()
        self._keys.reset()
        return self._ring.resync()

    def _receive_other(self, data: bytes, source: Address, now: float) -> Sequence[Chunk]:
        if is_rtcp(data):
            self.receive_rtcp(data, source, now, muxed=True)
            return NOTHING
        return self._reject("malformed")

    def _reject(self, reason: str) -> Sequence[Chunk]:
        self._rejected[reason] = self._rejected.get(reason, 0) + 1
        return NOTHING

    def receive_rtcp(self, data: bytes, source: Address, now: float, *, muxed: bool = False) -> None:
        """One datagram from the RTCP port, or `muxed` on the RTP port. Taken only from the host of the media."""
        if self.tap is not None:
            self.tap.rtcp_received(data, source, now)
        hosts = [address[0] for address in (self._source, self._lock.negotiated) if address]
        if source[0] not in hosts:
            self._reject("foreign")
            return
        try:
            compound = rtcp.parse(data)
        except ParseError:
            self._reject("rtcp")
            return
        if self.on_rtcp is not None:
            self.on_rtcp(True, muxed, source, data)
        if self._source not in (None, self._lock.negotiated) and source[0] == hosts[0] and not self._mux:
            self.rtcp_destination = source
        ssrc = self._ssrc if self._stream is not None else None
        self._events.extend(self._control.receive(compound, len(data), ssrc, self.media.clock_rate, now))

    def poll(self, now: float) -> Sequence[Chunk]:
        """Once every frame: gaps, silence fill, keys, alarm. Next to free when nothing is due."""
        if now >= self._check_at:
            self._check(now)
        return self._ring.poll(now)

    def _check(self, now: float) -> None:
        self._check_at = now + _CHECK_S
        while (key := self._keys.poll(now)) is not None:
            self._events.append(KeyReleased(key))
        silent = now - self._heard_at
        source = self._source
        if source is not None and source != self.destination and silent < _FRESH_S:
            self._return_to(source, now)
        certain = source == self.destination and silent < _FRESH_S and self._lock.certain(now)
        settled = source if certain else None
        if settled is not self.settled:
            self.settled = settled
            self.route += 1
        self._check_direction(source, now)

    def _check_direction(self, source: Address | None, now: float) -> None:
        dead_s = self._watch.died(self._heard_at, self._ring.silent, now)
        if dead_s is not None:
            expected = source or self._lock.negotiated
            self._events.append(ReceiveDead(dead_s, expected, dict(self._lock.foreign), dict(self._unknown_types)))
            if self._stream is not None and not self._ring.silent:
                self._absence.begin(now - dead_s, self._ring.packet_s, self._missing)
        alive_s = self._watch.revived(self._heard_at)
        if alive_s is None:
            self._absence.extend(now)
            return
        self._absence.end(self._heard_at, self._missing)
        if source is not None:
            self._events.append(ReceiveAlive(alive_s, source))

    def _return_to(self, source: Address, now: float) -> None:
        """A re-INVITE named another address, and a second later the media still comes from the old one: it is the way
        through the NAT, whatever SDP says."""
        if self._lock.negotiated is not None and now - self._lock.negotiated_at >= _PATIENCE_S:
            self._aim(source)
            self._aim_rtcp(source, None)

    def next_event(self) -> RtpEvent | None:
        """The oldest event not yet taken."""
        return self._events.popleft() if self._events else None

    # send

    @property
    def timestamp(self) -> int:
        """32-bit RTP timestamp that the next packet will carry."""
        return self._sender.timestamp

    @property
    def packets_sent(self) -> int:
        return self._sender.packets

    @property
    def octets_sent(self) -> int:
        """Payload octets."""
        return self._sender.octets

    @property
    def far_end(self) -> FarEndReport | None:
        """How the far end receives us, by its last report."""
        return self._control.far_end

    def event_packet(self, payload: bytes, timestamp: int, marker: bool, samples: int) -> bytes:
        """A telephone-event packet with the event's own timestamp, in place of audio: the clock still advances by
        `samples`. Raises LocalError when no event payload type was negotiated."""
        if self._sender.event_type is None:
            raise LocalError("telephone-event was not negotiated")
        return self._sender.event_packet(self._sender.event_type, payload, timestamp, marker, samples)

    def skip(self, samples: int) -> None:
        """The clock advances without a packet (skipped ticks); the sequence does not jump (RFC 3551 §4.1)."""
        self._sender.timestamp = (self._sender.timestamp + samples) & 0xFFFFFFFF

    def rtcp_due(self, now: float) -> bool:
        """Whether `rtcp` has something to say."""
        return now >= self._control.due and self.rtcp_destination is not None

    def rtcp(self, now: float, wallclock: float) -> bytes | None:
        """The next RTCP compound if its time has come (RFC 3550 §6.3). `wallclock` is Unix time, for NTP timestamps
        only."""
        if not self.rtcp_due(now):
            return None
        return self._compound(now, wallclock)

    def bye(self, now: float, wallclock: float) -> bytes:
        """The last RTCP compound, with BYE. No more media is expected: what was measured so far is final."""
        self._delay.flush()
        return self._compound(now, wallclock, bye=True)

    def _compound(self, now: float, wallclock: float, *, bye: bool = False) -> bytes:
        data = self._control.compound(self._block(now), self._sender_report(wallclock), now, wallclock, bye=bye)
        if self.tap is not None:
            self.tap.rtcp_sent(data, now, wallclock)
        return data

    def _block(self, now: float) -> ReportBlock | None:
        """Our report on the far end's stream, if anything came since the last one."""
        stream = self._stream
        if stream is None or stream.received == self._blocked_packets:
            return None
        self._blocked_packets = stream.received
        last_sr, delay = self._control.last_sr(now)
        return ReportBlock(
            ssrc=self._ssrc,
            fraction_lost=stream.fraction_lost(),
            lost=stream.lost,
            highest_sequence=stream.tracker.highest,
            jitter=int(self._delay.jitter),
            last_sr=last_sr,
            delay_since_last_sr=delay,
        )

    def _sender_report(self, wallclock: float) -> SenderReport | None:
        """Ours, if we sent since the last one. Asked for at a tick, where the media clock stands at `timestamp`."""
        sender = self._sender
        if sender.packets == self._sent_before_report:
            return None
        self._sent_before_report = sender.packets
        ntp = rtcp.ntp_time(wallclock)
        return SenderReport(sender.ssrc, ntp, sender.timestamp, sender.packets, sender.octets)

    # figures

    @property
    def _packets(self) -> int:
        return self._packets_before + (self._stream.received if self._stream else 0)

    @property
    def _expected(self) -> int:
        return self._expected_before + (self._stream.expected if self._stream else 0)

    @property
    def _missing(self) -> int:
        return self._expected - self._packets

    @property
    def ssrc(self) -> int:
        """Of what we send."""
        return self._sender.ssrc

    @property
    def remote_ssrc(self) -> int | None:
        """Of the stream that is received now."""
        return self._ssrc if self._stream is not None else None

    @property
    def packet_s(self) -> float:
        """Length of a received packet, seconds."""
        return self._ring.packet_s

    def bursts(self) -> BurstMetrics:
        """Bursts and gaps of what the listener missed so far (RFC 3611 §4.7.2)."""
        self._ring.flush_runs()
        return self._runs.metrics()

    @property
    def rejected(self) -> dict[str, int]:
        """Datagrams not taken, by reason; see ReceiveReport.rejected."""
        return dict(self._rejected)

    def report(self) -> ReceiveReport:
        """The received stream so far."""
        ring, delay, runs = self._ring, self._delay, self._runs
        ring.flush_runs()
        per_ms = 1000 / self.media.clock_rate
        return ReceiveReport(
            packets=self._packets,
            expected=self._expected,
            absent=self._absence.packets(self._missing),
            lost=max(0, ring.lost - ring.discarded),
            discarded=ring.discarded,
            duplicated=ring.duplicated,
            reordered=ring.reordered,
            concealed=ring.lost,
            concealed_samples=ring.concealed,
            jitter_ms=delay.jitter * per_ms if delay.measured else None,
            jitter_max_ms=delay.jitter_max * per_ms if delay.measured else None,
            delay_p99_ms=delay.percentile_ms(0.99),
            burst_r=runs.burst_r if ring.lost else None,
            loss_runs=runs.runs,
            rejected=dict(self._rejected),
        )
