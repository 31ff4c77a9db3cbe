"""The end-of-call report of RFC 6035 (`application/vq-rtcpxr`): what a call's record says of its quality, in the words
that SIP collectors read. Pure.

What is not known is left out. Rates are percent, times milliseconds.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from .messages import FarEndMetrics, MediaPath
from .record import CallRecord, Received, Sent

EVENT = "vq-rtcpxr"
CONTENT_TYPE = "application/vq-rtcpxr"

_GMIN = 16
_ALGORITHMS = {"nb": "G.107", "wb": "G.107.1", "fb": "G.107.2"}
_CONCEALMENT = {"PCMU": 3, "PCMA": 3, "opus": 2}
"""RFC 3611 section 4.7.6: 3 standard (replay and fading), 2 enhanced (libopus)."""


@dataclass(frozen=True, slots=True)
class Parties:
    """Who spoke with whom, by SIP. URIs are as in From and To, without tags."""

    call_id: str
    local: str
    remote: str
    local_tag: str | None
    remote_tag: str | None
    local_address: str
    """Numeric address of our media."""
    local_group: str
    """This gateway's name."""
    remote_group: str
    """The trunk's name."""


def session_report(record: CallRecord, path: MediaPath, parties: Parties) -> bytes:
    """The body of one PUBLISH for a call that was answered and is over."""
    return "".join(f"{line}\r\n" for line in _lines(record, path, parties)).encode()


def _lines(record: CallRecord, path: MediaPath, parties: Parties) -> Iterator[str]:
    outbound = record.direction == "outbound"
    yield "VQSessionReport: CallTerm"
    yield f"CallID: {_printable(parties.call_id)}"
    yield f"LocalID: <{_printable(parties.local)}>"
    yield f"RemoteID: <{_printable(parties.remote)}>"
    yield f"OrigID: <{_printable(parties.local if outbound else parties.remote)}>"
    yield f"LocalGroup: {_printable(parties.local_group)}"
    yield f"RemoteGroup: {_printable(parties.remote_group)}"
    yield f"LocalAddr: IP={parties.local_address} PORT={path.local_port} SSRC=0x{path.local_ssrc:08x}"
    ssrc = f" SSRC=0x{path.remote_ssrc:08x}" if path.remote_ssrc is not None else ""
    yield f"RemoteAddr: IP={path.remote_host} PORT={path.remote_port}{ssrc}"
    yield "LocalMetrics:"
    yield from _common(record, path)
    yield from _local(record.media.received, record.media.sent, path)
    if path.far_end is not None:
        yield "RemoteMetrics:"
        yield from _common(record, path)
        yield from _remote(record.media.sent, path.far_end)
    if parties.local_tag is not None and parties.remote_tag is not None:
        from_tag, to_tag = parties.remote_tag, parties.local_tag
        if outbound:
            from_tag, to_tag = to_tag, from_tag
        yield f"DialogID: {_printable(parties.call_id)};to-tag={to_tag};from-tag={from_tag}"


def _common(record: CallRecord, path: MediaPath) -> Iterator[str]:
    yield from _line("Timestamps", START=_seconds(record.answered_at), STOP=_seconds(record.ended_at))
    yield from _line(
        "SessionDesc",
        PT=path.payload_type,
        PD=record.codec,
        SR=path.clock_rate,
        FD=round(path.packet_ms) or None,
        PPS=round(1000 / path.packet_ms) if path.packet_ms else None,
        PLC=_CONCEALMENT.get(record.codec or ""),
        SSUP="off",
    )


def _local(received: Received, sent: Sent, path: MediaPath) -> Iterator[str]:
    if path.expected:
        yield from _line(
            "PacketLoss",
            NLR=_percent(received.lost / path.expected),
            JDR=_percent(received.discarded / path.expected),
        )
        yield from _line(
            "BurstGapLoss",
            BLD=_percent(path.burst_density),
            BD=round(path.burst_ms),
            GLD=_percent(path.gap_density),
            GD=round(path.gap_ms),
            GMIN=_GMIN,
        )
    yield from _line("Delay", RTD=_whole(sent.rtt_ms), IAJ=_whole(received.jitter_ms))
    yield from _line(
        "QualityEst",
        RLQ=_whole(received.r_factor),
        MOSLQ=_mos(received.mos_lq),
        MOSCQ=_mos(received.mos_cq),
        QoEEstAlg=_ALGORITHMS.get(received.scale or "") if received.mos_lq is not None else None,
    )


def _remote(sent: Sent, far_end: FarEndMetrics) -> Iterator[str]:
    """As the far end reported what it received of us."""
    lost = max(0, sent.lost) / sent.packets if sent.lost is not None and sent.packets else None
    yield from _line("PacketLoss", NLR=_percent(lost), JDR=_percent(far_end.discard_rate))
    yield from _line("BurstGapLoss", BLD=_percent(far_end.burst_density), GLD=_percent(far_end.gap_density))
    yield from _line(
        "Delay", RTD=_whole(sent.rtt_ms), ESD=_whole(far_end.end_system_delay_ms), IAJ=_whole(sent.jitter_ms)
    )
    yield from _line("QualityEst", RLQ=_whole(far_end.r_factor), MOSLQ=_mos(far_end.mos_lq), MOSCQ=_mos(far_end.mos_cq))


def _line(name: str, **values: str | int | None) -> Iterator[str]:
    """Nothing when nothing of it is known."""
    known = [f"{key}={value}" for key, value in values.items() if value is not None]
    if known:
        yield f"{name}:{' '.join(known)}"


def _percent(share: float | None) -> str | None:
    return f"{min(100.0, 100 * share):.1f}" if share is not None else None


def _whole(value: float | None) -> int | None:
    return round(value) if value is not None else None


def _mos(value: float | None) -> str | None:
    return f"{value:.2f}" if value is not None else None


def _seconds(timestamp: str | None) -> str | None:
    """RFC 3339 without the fraction, which some collectors cannot read."""
    return f"{timestamp[:19]}Z" if timestamp is not None else None


def _printable(text: str) -> str:
    """What the far end named, on one line."""
    return "".join(character for character in text if character.isprintable())
