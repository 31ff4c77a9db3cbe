"""What the switch and a media worker say to each other.

Typed messages (msgspec, MessagePack) over one local stream socket per worker, each behind its length as a
32-bit unsigned integer in network order. The switch decides, the worker carries: every message to a worker
is an order about one leg, every message from it a fact. With `workers = 0` the same messages pass in memory.
"""

import struct
from typing import Any

import msgspec

from .record import MediaReport, Moment, Slice


class CodecSpec(msgspec.Struct, frozen=True):
    """One negotiated codec, as SDP names it (RFC 4566 a=rtpmap, RFC 3551)."""

    name: str
    """`PCMU`, `PCMA` or `opus`."""
    clock_rate: int = 8000
    channels: int = 1
    send_type: int = 0
    """Payload type that the far end wants to receive."""
    receive_type: int = 0
    """Payload type that we said we receive."""
    fmtp: str = ""


class MediaParameters(msgspec.Struct, frozen=True):
    """What one offer/answer exchange agreed (RFC 3264); sent anew after every re-INVITE or UPDATE."""

    codec: CodecSpec
    remote_host: str
    remote_port: int
    remote_rtcp_port: int
    rtcp_mux: bool = False
    direction: str = "sendrecv"
    """Our direction: sendrecv, sendonly, recvonly or inactive."""
    ptime_ms: int = 20
    event_send_type: int | None = None
    """telephone-event payload type (RFC 4733) that the far end receives, None when not negotiated."""
    event_receive_type: int | None = None
    event_clock_rate: int | None = None
    """Clock of the events' durations, Hz; peers name telephone-event/8000 beside Opus too. None: that of the codec."""


# Orders: switch → worker


class Configure(msgspec.Struct, tag=True):
    """First message to a worker, and again after a reload: agents as plain tables (secrets already resolved)."""

    agents: dict[str, dict[str, Any]]
    bind_host: str
    port_first: int
    port_last: int
    recordings_dir: str
    gateway: dict[str, Any] = {}
    """The `[gateway]` table, for the worker's logs."""
    rtcp: bool = False
    """Whether somebody wants each RTCP datagram of the legs that open from now on, as RtcpSeen."""
    flight_octets: int = 0
    """Memory of the flight recorder for each leg that opens from now on."""


ANNOUNCEMENT = "announcement"
"""The provider in the record of a call that announces something."""


class KeyAnswer(msgspec.Struct, frozen=True):
    """What one key of an announcement does: it ends the call."""

    reason: str
    """Why the call ended, for its record."""
    speech: bytes
    """Said before the hang-up; µ-law."""


class Announcement(msgspec.Struct, frozen=True):
    """A call that says something and takes a key; G.711 µ-law at 8000 Hz throughout."""

    text: str
    """What is said, for the record's transcript."""
    speech: bytes
    repeat: int
    """How often it is said."""
    keys: dict[str, KeyAnswer]
    """Any other key says it again."""
    farewell: bytes
    """Said when no key came."""


class OpenLeg(msgspec.Struct, tag=True):
    """Bind an RTP port pair and dial the agent's speech service while the phone rings."""

    call_id: str
    agent: str
    direction: str
    from_: str | None
    to: str | None
    codec: CodecSpec
    """The codec that the call will most likely use; MediaParameters decides."""
    announcement: Announcement | None = None
    """Say this in place of an agent's speech service."""


class SetMedia(msgspec.Struct, tag=True):
    """Where and how to send and receive from now on."""

    call_id: str
    parameters: MediaParameters


class Answered(msgspec.Struct, tag=True):
    """The call is up: play what the agent has ready."""

    call_id: str


class CloseLeg(msgspec.Struct, tag=True):
    """End the media (RTCP BYE), close the bridge, report."""

    call_id: str
    keep: str = "bad"
    """When the leg hands its flight ring over: `all`, `bad` (its media were bad) or `none`."""


class SendDtmf(msgspec.Struct, tag=True):
    """Send digits to the far end as RFC 4733 events."""

    call_id: str
    digits: str


class CallerKey(msgspec.Struct, tag=True):
    """A key that the caller pressed, heard by SIP INFO instead of RFC 4733."""

    call_id: str
    digit: str


class Shutdown(msgspec.Struct, tag=True):
    """Close what is left and exit."""


Order = Configure | OpenLeg | SetMedia | Answered | CloseLeg | SendDtmf | CallerKey | Shutdown

# Facts: worker → switch


class WorkerReady(msgspec.Struct, tag=True):
    """The worker is configured and takes legs; said after each Configure."""

    pid: int


class LegOpened(msgspec.Struct, tag=True):
    """RTP is bound on `rtp_port` (even), RTCP on the next port."""

    call_id: str
    rtp_port: int


class LegReady(msgspec.Struct, tag=True):
    """The speech service's session is configured and, if the agent speaks first, its first audio is here."""

    call_id: str
    provider_ms: float


class LegFailed(msgspec.Struct, tag=True):
    """The leg could not open: no port, or the speech service refused. `status` is the SIP answer that is true."""

    call_id: str
    status: int
    reason: str
    retry_after_s: int | None = None


class HangUp(msgspec.Struct, tag=True):
    """The worker asks to end the call."""

    call_id: str
    by: str
    """`agent` (its hang_up tool), `provider` (lost for good) or `gateway`."""
    reason: str


class Dtmf(msgspec.Struct, tag=True):
    """One key pressed by the caller (RFC 4733)."""

    call_id: str
    digit: str
    duration_ms: float


class MediaAlarm(msgspec.Struct, tag=True):
    """One direction of an answered call is dead, or lives again."""

    call_id: str
    direction: str
    """`received` or `sent`."""
    dead: bool
    detail: str
    """Names the address that was tried and what came from where."""


class LegCounts(msgspec.Struct):
    """What is counted of one leg beside its report, since it opened; the switch makes metrics of the differences.

    A slice is 10 s of an answered call. It is bad when its R is below 70 (of the narrowband scale's 93.2), or when the
    caller's media were due and did not come.
    """

    received_good: int = 0
    """Slices of what we received."""
    received_bad: int = 0
    sent_good: int = 0
    """Slices of what we sent, as the far end's RTCP reports it."""
    sent_bad: int = 0
    rejected: dict[str, int] = {}
    """Datagrams that were not taken, by reason (rtp.events.ReceiveReport.rejected)."""
    send_errors: int = 0
    provider_errors: int = 0
    """Errors that the speech service reported while the conversation went on."""
    provider_reconnects: int = 0
    provider_lost: int = 0
    """1 when the speech service was lost for good."""


class SliceEnded(msgspec.Struct, tag=True):
    """A slice of an answered call is complete: each 10 s, and what is left at the end (before LegClosed)."""

    call_id: str
    slice: Slice


class Happened(msgspec.Struct, tag=True):
    """Something worth a mark on the call's timeline."""

    call_id: str
    moment: Moment


class LegStatus(msgspec.Struct, tag=True):
    """Once a second: the live view, and the checkpoint that the record falls back to when the worker dies."""

    call_id: str
    speaker: str
    """`caller`, `agent`, `both` or `nobody`."""
    caller_dbov: float | None
    agent_dbov: float | None
    queued_ms: float
    report: MediaReport
    counts: LegCounts = msgspec.field(default_factory=LegCounts)


class RtcpSeen(msgspec.Struct, tag=True):
    """One RTCP datagram of a leg, as it came or went; said only when Configure asked for it."""

    call_id: str
    received: bool
    remote_host: str
    remote_port: int
    local_port: int
    at: float
    """Unix time, seconds."""
    data: bytes


class FlightRing(msgspec.Struct, tag=True):
    """What the flight recorder kept of a leg that closes, before LegClosed; said when CloseLeg wanted it."""

    call_id: str
    data: bytes
    """gateway/flight/leg_ring.py `sealed`."""


class FarEndMetrics(msgspec.Struct):
    """What the far end said of itself by RTCP XR (RFC 3611 section 4.7); rates and densities are 0 to 1."""

    discard_rate: float
    burst_density: float | None = None
    gap_density: float | None = None
    end_system_delay_ms: float | None = None
    r_factor: float | None = None
    mos_lq: float | None = None
    mos_cq: float | None = None


class MediaPath(msgspec.Struct):
    """Between which two streams a call was, and what of their quality the record has no place for."""

    local_port: int
    local_ssrc: int
    remote_host: str
    remote_port: int
    remote_ssrc: int | None
    """None when nothing was received."""
    payload_type: int
    clock_rate: int
    packet_ms: float
    """Length of a received packet."""
    expected: int
    """Packets that should have been received."""
    burst_density: float
    """Share of the packets within bursts of loss (RFC 3611 section 4.7.2, Gmin 16) that were missing, 0 to 1."""
    burst_ms: float
    """Mean length of a burst."""
    gap_density: float
    gap_ms: float
    far_end: FarEndMetrics | None = None


class LegClosed(msgspec.Struct, tag=True):
    """The leg is gone; its ports are free. The last word on its media."""

    call_id: str
    report: MediaReport
    counts: LegCounts = msgspec.field(default_factory=LegCounts)
    path: MediaPath | None = None
    """None when media never had a place to go."""


class WorkerStatus(msgspec.Struct, tag=True):
    """Once a second: how the worker itself is."""

    legs: int
    clock_late_max_ms: float
    clock_skipped_ticks: int
    loop_lag_max_ms: float = 0.0
    """The worst delay of the event loop in this second."""
    cpu_s: float = 0.0
    """Processor time of the process since it started, seconds."""
    clock_ticks: int = 0
    """Slots that the media clock has run since it started, 200 a second; the same number twice is a dead clock."""


Fact = (
    WorkerReady
    | LegOpened
    | LegReady
    | LegFailed
    | HangUp
    | Dtmf
    | MediaAlarm
    | SliceEnded
    | Happened
    | RtcpSeen
    | FlightRing
    | LegStatus
    | LegClosed
    | WorkerStatus
)

_encoder = msgspec.msgpack.Encoder()
_order_decoder = msgspec.msgpack.Decoder(Order)
_fact_decoder = msgspec.msgpack.Decoder(Fact)
_LENGTH = struct.Struct("!I")


def encode(message: Order | Fact) -> bytes:
    """Frame one message."""
    body = _encoder.encode(message)
    return _LENGTH.pack(len(body)) + body


class Framer:
    """Cuts the stream into messages: feed octets, get decoded messages."""

    def __init__(self, decoder: "msgspec.msgpack.Decoder[Any]") -> None:
        self._decoder = decoder
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Any]:
        """Whole messages that `data` completes. Raises msgspec.DecodeError for one that cannot be read and goes on with
        the next one at the next call; what came whole before it is returned first."""
        self._buffer += data
        messages: list[Any] = []
        start = 0
        try:
            while len(self._buffer) - start >= _LENGTH.size:
                (length,) = _LENGTH.unpack_from(self._buffer, start)
                end = start + _LENGTH.size + length
                if len(self._buffer) < end:
                    break
                try:
                    messages.append(self._decoder.decode(self._buffer[start + _LENGTH.size : end]))
                except msgspec.DecodeError:
                    if messages:
                        break
                    start = end
                    raise
                start = end
        finally:
            del self._buffer[:start]
        return messages


def order_framer() -> Framer:
    """What a worker reads with."""
    return Framer(_order_decoder)


def fact_framer() -> Framer:
    """What the switch reads with."""
    return Framer(_fact_decoder)
