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
    recording: str | None = None
