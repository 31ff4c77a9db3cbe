"""What a leg tells of itself once a second, and in the alarm of a dead direction."""

from ...rtp.events import ReceiveDead
from ...rtp.session import RtpSession
from ..messages import LegCounts
from ..record import Media, MediaReport, Setup
from .conversation import Conversation
from .figures import Figures
from .slice_report import SliceReport


def media_report(
    conversation: Conversation,
    figures: Figures | None,
    codec: str | None,
    first_audio_ms: float | None,
    keys: list[str],
    recording: str | None,
) -> MediaReport:
    """Everything known of the call's media at this moment; `keys` are those that the caller pressed."""
    queue = conversation.queue
    return MediaReport(
        codec=codec,
        setup=Setup(_rounded(conversation.provider_ms), _rounded(first_audio_ms)),
        media=figures.media(queue.underruns) if figures is not None else Media(),
        turns=conversation.turns.turns(queue.heard_ms),
        dtmf=list(keys),
        tools=list(conversation.tools),
        usage=dict(conversation.usage),
        recording=recording,
    )


def leg_counts(
    conversation: Conversation, session: RtpSession | None, slices: SliceReport | None, send_errors: int
) -> LegCounts:
    """What is counted beside the report."""
    counts = LegCounts(
        send_errors=send_errors,
        provider_errors=conversation.errors,
        provider_reconnects=conversation.reconnects,
        provider_lost=int(conversation.lost),
    )
    if slices is not None:
        received, sent = slices.received, slices.sent
        counts.received_good, counts.received_bad = received.good, received.bad
        counts.sent_good, counts.sent_bad = sent.good, sent.bad
    if session is not None:
        counts.rejected = session.rejected
    return counts


def silence_detail(event: ReceiveDead, session: RtpSession, local_port: int) -> str:
    """What whoever looks for the lost audio needs: what came instead, and to where we send."""
    expected = event.expected_from
    origin = f"{expected[0]}:{expected[1]}" if expected is not None else "an unknown address"
    foreign = ", ".join(f"{count} from {host}:{port}" for (host, port), count in event.foreign.items())
    types = ", ".join(f"{count} of payload type {kind}" for kind, count in event.unknown_types.items())
    to = session.destination
    return (
        f"no audio for {event.silent_s:.1f} s on port {local_port}: expected from {origin}, "
        f"came from elsewhere: {foreign or 'nothing'}, not negotiated: {types or 'nothing'}; "
        f"we send to {f'{to[0]}:{to[1]}' if to else 'nowhere'}"
    )


def _rounded(value: float | None) -> float | None:
    return round(value, 1) if value is not None else None
