"""What a session tells its owner, and the figures that it keeps."""

from dataclasses import dataclass, field

from .telephone_event import Key

Address = tuple[str, int]
"""Host as a literal IP address, port."""


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
    """The source began a new stream: new SSRC, or its numbering restarted. Counts go on, the timeline is begun anew."""

    ssrc: int
    reason: str


@dataclass(frozen=True, slots=True)
class ReceiveDead:
    """We expect media and none came for `silent_s`."""

    silent_s: float
    expected_from: Address | None
    """The address that was negotiated, or the source we were locked to."""
    foreign: dict[Address, int]
    """Packets that came from elsewhere, by source (at most 8 sources)."""
    unknown_types: dict[int, int]
    """Packets of payload types that were not negotiated, by type (at most 8 types)."""


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
    """Of what we send, in the clock of our codec."""
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
    KeyPressed | KeyReleased | SourceLocked | StreamChanged | ReceiveDead | ReceiveAlive | ReportReceived | ByeReceived
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
    """Packets given up: lost and discarded as the listener met them."""
    concealed_samples: int
    jitter_ms: float | None
    jitter_max_ms: float | None
    delay_p99_ms: float | None
    """99th percentile of the delay variation (transit − minimum transit)."""
    burst_r: float | None
    loss_runs: int
    """Runs of consecutive packets that the listener missed."""
    absent: int = 0
    """Should have come while the direction was dead; in none of the counts above, since no numbering tells of them."""
    rejected: dict[str, int] = field(default_factory=dict)
    """Datagrams not taken, by reason: malformed, foreign, unknown_type, empty, out_of_range, rtcp."""
