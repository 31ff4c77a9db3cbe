"""The call record: what is known of one call, in the names that the API, the database and the command line share.

What is not known is None, never invented. Times are RFC 3339 in UTC, identifiers are UUIDv7 and sort by time.
Durations end in `_ms` or `_s`; counts of packets are packets; MOS is 1 to 4.5 on the scale named beside it.
"""

from typing import Any

import msgspec


class Setup(msgspec.Struct):
    """How long the caller waited before the agent could be heard."""

    provider_ms: float | None = None
    """INVITE accepted to session configured at the speech service, ms."""
    answer_to_first_audio_ms: float | None = None
    """200 OK sent (or received) to the first RTP packet that carries the agent's speech, ms."""


class Received(msgspec.Struct):
    """The caller's stream as this gateway met it (RFC 3550; quality by ITU-T G.107 on `scale`)."""

    packets: int = 0
    lost: int = 0
    discarded: int = 0
    duplicated: int = 0
    reordered: int = 0
    concealed: int = 0
    jitter_ms: float | None = None
    jitter_max_ms: float | None = None
    delay_p99_ms: float | None = None
    burst_r: float | None = None
    r_factor: float | None = None
    mos_lq: float | None = None
    mos_cq: float | None = None
    mos_min: float | None = None
    scale: str | None = None
    basis: str | None = None


class Sent(msgspec.Struct):
    """The agent's stream: packets and underruns as sent, the rest as the far end's RTCP reports it."""

    packets: int = 0
    underruns: int = 0
    lost: int | None = None
    jitter_ms: float | None = None
    rtt_ms: float | None = None
    r_factor: float | None = None
    mos_lq: float | None = None
    mos_cq: float | None = None
    mos_min: float | None = None
    scale: str | None = None
    basis: str | None = None


class Media(msgspec.Struct):
    """Both directions of one call."""

    received: Received = msgspec.field(default_factory=Received)
    sent: Sent = msgspec.field(default_factory=Sent)


class Turn(msgspec.Struct):
    """One exchange: what the caller said and what of the agent's answer was heard."""

    index: int
    caller_said: str | None = None
    agent_said: str | None = None
    latency_ms: float | None = None
    """Caller's last speech to the agent's first RTP packet of the answer, ms; None for a greeting."""
    interrupted: bool = False
    heard_ms: float = 0.0
    """How much of the agent's answer left as RTP, ms."""


class StreamSlice(msgspec.Struct):
    """One direction in one slice of a call. What was not measured is None."""

    mos: float | None = None
    """MOS-LQ of this slice on the call's scale."""
    bad: bool = False
    """R below 70, or no media at all though they were due."""
    dead: bool = False
    """No media came for a part of the slice at least 2 s long."""
    lost: float | None = None
    """Share of the expected packets that never came, 0 to 1."""
    discarded: float | None = None
    """Share of the expected packets that came too late to be heard, 0 to 1."""
    jitter_ms: float | None = None


class Slice(msgspec.Struct):
    """10 s of an answered call, the last one shorter: the unit of the timeline and of the alerts."""

    start_s: float
    """Seconds since the answer."""
    length_s: float
    received: StreamSlice = msgspec.field(default_factory=StreamSlice)
    sent: StreamSlice = msgspec.field(default_factory=StreamSlice)
    """As the far end reports it."""
    rtt_ms: float | None = None
    underruns: int = 0
    """Breaks in the agent's speech because its service was late."""
    clock_late_ms: float = 0.0
    """Worst lateness of the worker's media clock in this slice."""
    loop_lag_ms: float = 0.0
    """Worst delay of the worker's event loop in this slice."""
    skipped: int = 0
    """Periods of 20 ms in which nothing left, since the media clock was too late for them."""
    echo: float | None = None
    """Likeness of what came in with what we had said just before, 0 to 1; None when we said too little to tell. Echo
    from ECHO_FROM of media/echo.py on."""


class Moment(msgspec.Struct):
    """Something that happened at one point of an answered call."""

    at_s: float
    """Seconds since the answer."""
    kind: str
    """`turn` (the first packet of an answer left), `barge_in`, `dtmf`, `dead`, `alive`, `codec`, `reconnected`, `tool`,
    `provider_error`, or `truncated`: after 2000 of them no more are told."""
    detail: str = ""


class Timeline(msgspec.Struct):
    """How a call went: its slices, and what happened when."""

    slices: list[Slice] = []
    moments: list[Moment] = []


class MediaReport(msgspec.Struct):
    """The part of a record that a media worker knows: sent as a checkpoint each second and whole at the end."""

    codec: str | None = None
    setup: Setup = msgspec.field(default_factory=Setup)
    media: Media = msgspec.field(default_factory=Media)
    turns: list[Turn] = []
    dtmf: list[str] = []
    tools: list[dict[str, Any]] = []
    usage: dict[str, Any] = {}
    recording: str | None = None
    """Path of the stereo WAV (left caller, right agent) when the agent records its calls."""


class CallRecord(msgspec.Struct, kw_only=True, rename={"from_": "from"}):
    """One row per call."""

    id: str
    direction: str
    """`inbound` or `outbound`."""
    sip_call_id: str | None = None
    """Call-ID of the dialog (RFC 3261 section 8.1.1.4), as the carrier's logs have it."""
    trunk: str | None = None
    from_: str | None = None
    to: str | None = None
    agent: str | None = None
    provider: str | None = None
    codec: str | None = None
    started_at: str
    answered_at: str | None = None
    ended_at: str | None = None
    duration_s: float | None = None
    """Answer to end, seconds."""
    ended_by: str | None = None
    """`caller`, `callee`, `agent`, `gateway`, `operator`, `trunk` or `provider`."""
    end_reason: str | None = None
    sip_status: int | None = None
    """Final status of the INVITE."""
    setup: Setup = msgspec.field(default_factory=Setup)
    media: Media = msgspec.field(default_factory=Media)
    turns: list[Turn] = []
    dtmf: list[str] = []
    tools: list[dict[str, Any]] = []
    usage: dict[str, Any] = {}
    alarms: list[dict[str, Any]] = []
    """Directions that went dead or came back: {at, direction, dead, detail}."""
    timeline: Timeline = msgspec.field(default_factory=Timeline)
    recording: str | None = None
