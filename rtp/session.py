"""One call's RTP and RTCP, both directions, sans-IO.

The owner hands every datagram to `receive` (or `receive_rtcp`) and calls `poll` once every frame; both return the caller's
media in order (see ring.py for the chunks). Then it drains `next_event()`. What is to be sent is asked for:
`packet()` for each 20 ms frame, `rtcp()` every frame (None until one is due), `bye()` at the end.
Nothing here raises for what the network sent.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from .ring import Chunk
from .telephone_event import Key

Address = tuple[str, int]


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


# Events


@dataclass(frozen=True, slots=True)
class KeyPressed:
    """The caller pressed a key (RFC 4733). `key.duration` is filled in as the key is held."""

    key: Key


@dataclass(frozen=True, slots=True)
class KeyReleased:
    """The key's end is known; `key.duration` in RTP clock units is final."""

    key: Key


@dataclass(frozen=True, slots=True)
class SourceLocked:
    """From now on media is taken from this address only, and sent to it (symmetric RTP)."""

    source: Address
    ssrc: int
    previous: Address | None
    """The source until now; None for the first."""


@dataclass(frozen=True, slots=True)
class StreamChanged:
    """The source began a new stream: new SSRC, or numbering restarted. Statistics go on, the timeline resynchronised."""

    ssrc: int
    reason: str


@dataclass(frozen=True, slots=True)
class ReceiveDead:
    """We expect media and none came for `silent_s`."""

    silent_s: float
    expected_from: Address | None
    """The address that was negotiated, or the source we were locked to."""
    foreign: dict[Address, int]
    """Packets that came from elsewhere since then, by source (at most 8 sources)."""


@dataclass(frozen=True, slots=True)
class ReceiveAlive:
    """Media came again after ReceiveDead."""

    silent_s: float
    source: Address


@dataclass(frozen=True, slots=True)
class FarEndReport:
    """How the far end receives us, from its last RTCP SR/RR (and XR VoIP metrics, RFC 3611 §4.7)."""

    fraction_lost: float
    """Since its previous report, 0..1."""
    lost: int
    """Cumulative packets; may be negative by duplicates (RFC 3550 A.3)."""
    jitter_ms: float
    rtt_ms: float | None
    """None until the far end has answered one of our sender reports."""
    highest_sequence: int
    discard_rate: float | None = None
    """XR: share of packets that came too late there, 0..1."""
    burst_density: float | None = None
    gap_density: float | None = None
    end_system_delay_ms: float | None = None
    r_factor: float | None = None
    mos_lq: float | None = None
    mos_cq: float | None = None


@dataclass(frozen=True, slots=True)
class ReportReceived:
    """The far end reported; same as `session.far_end`."""

    report: FarEndReport


@dataclass(frozen=True, slots=True)
class ByeReceived:
    """The far end's RTCP BYE (RFC 3550 §6.6): its stream is over."""

    reason: str


RtpEvent = (
    KeyPressed
    | KeyReleased
    | SourceLocked
    | StreamChanged
    | ReceiveDead
    | ReceiveAlive
    | ReportReceived
    | ByeReceived
)


@dataclass(frozen=True, slots=True)
class ReceiveReport:
    """The received stream so far, as this end met it; all counts are packets of the whole call."""

    packets: int
    """Valid media packets from the source, duplicates included."""
    expected: int
    lost: int
    """Never came (net of what came late): expected − received in distinct packets, not below 0."""
    discarded: int
    """Came after their place was given up."""
    duplicated: int
    reordered: int
    concealed: int
    """Slots given up and concealed, in packets: lost and discarded as the listener met them."""
    concealed_samples: int
    jitter_ms: float | None
    jitter_max_ms: float | None
    delay_p99_ms: float | None
    """99th percentile of the delay variation (transit − minimum transit)."""
    burst_r: float | None
    rejected: dict[str, int] = field(default_factory=dict)
    """Datagrams not taken, by reason: malformed, foreign, unknown_type, probation, out_of_range."""


class RtpSession:
    """One call's RTP (RFC 3550, RFC 3551 profile), one stream each way.

    Source lock (symmetric RTP): a packet from the negotiated address is taken at once; when that address cannot be reached
    from here (private, loopback, unspecified) or stays silent, the first source whose packets are `probation` in a row is
    latched. Afterwards only the locked source counts, until it has been silent and another one passes probation.
    """

    far_end: FarEndReport | None

    def __init__(self, random: Random, cname: str, media: MediaFormat, now: float) -> None:
        """`random` gives SSRC, first sequence number and timestamp; `cname` is the RTCP canonical name (no personal data)."""

    # configuration

    def set_format(self, media: MediaFormat, now: float) -> Sequence[Chunk]:
        """A new offer/answer: payload types and clock. Returns what the ring still held if the clock changes."""
        raise NotImplementedError

    def set_remote(self, host: str, port: int, rtcp_port: int | None = None, *, rtcp_mux: bool = False, now: float) -> None:
        """Where the far end says it is (SDP). Port 0 or 0.0.0.0: nothing is sent. A changed address opens the lock."""
        raise NotImplementedError

    def set_direction(self, *, sending: bool, receiving: bool, now: float) -> None:
        """What the negotiated direction allows; the dead-direction alarm runs only while `receiving`."""
        raise NotImplementedError

    # receive

    def receive(self, data: bytes, source: Address, now: float) -> Sequence[Chunk]:
        """One datagram from the RTP port (RTCP too when multiplexed, RFC 5761). Never raises for its content."""
        raise NotImplementedError

    def receive_rtcp(self, data: bytes, source: Address, now: float) -> None:
        """One datagram from the RTCP port."""
        raise NotImplementedError

    def poll(self, now: float) -> Sequence[Chunk]:
        """Once every frame: gaps, silence fill, keys, alarm. Next to free when nothing is due."""
        raise NotImplementedError

    def next_event(self) -> RtpEvent | None:
        raise NotImplementedError

    # send

    @property
    def destination(self) -> Address | None:
        """Where RTP goes: the locked source if symmetric RTP found one, else the negotiated address; None: do not send."""
        raise NotImplementedError

    @property
    def rtcp_destination(self) -> Address | None:
        raise NotImplementedError

    @property
    def timestamp(self) -> int:
        """32-bit RTP timestamp that the next packet will carry."""
        raise NotImplementedError

    def packet(self, payload: bytes, samples: int, marker: bool = False) -> bytes:
        """The next media packet; the clock advances by `samples`."""
        raise NotImplementedError

    def event_packet(self, payload: bytes, timestamp: int, marker: bool, samples: int) -> bytes:
        """A telephone-event packet with the event's own timestamp, in place of audio: the clock still advances by `samples`.
        Raises LocalError when no event payload type was negotiated."""
        raise NotImplementedError

    def skip(self, samples: int) -> None:
        """The clock advances without a packet (skipped ticks); the sequence does not jump (RFC 3551 §4.1)."""
        raise NotImplementedError

    def rtcp(self, now: float, wallclock: float) -> bytes | None:
        """The next RTCP compound if its time has come (RFC 3550 §6.3). `wallclock` is Unix time, for NTP timestamps only."""
        raise NotImplementedError

    def bye(self, now: float, wallclock: float) -> bytes:
        """The last RTCP compound, with BYE."""
        raise NotImplementedError

    # figures

    def report(self) -> ReceiveReport:
        """The received stream so far."""
        raise NotImplementedError

    packets_sent: int
    octets_sent: int
    media: MediaFormat
