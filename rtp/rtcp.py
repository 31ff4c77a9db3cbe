"""RTCP compounds (RFC 3550 §6): SR or RR with SDES CNAME, BYE; and the VoIP metrics block of RFC 3611 §4.7.

The packets of RFC 3550 are written and read by aiortc, one at a time: so one that is broken, or of a type that the
library does not know, leaves the rest of its compound readable. Where the library is stricter than the RFC
(profile-specific extensions behind the report blocks) its input is trimmed; XR is read here.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Final

from aiortc.rtp import (
    RtcpByePacket,
    RtcpPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpSdesPacket,
    RtcpSenderInfo,
    RtcpSourceInfo,
    RtcpSrPacket,
)

from .errors import ParseError

SR: Final = 200
RR: Final = 201
SDES: Final = 202
BYE: Final = 203
XR: Final = 207
_CNAME: Final = 1
_VOIP_METRICS: Final = 7
_UNAVAILABLE: Final = 127
_NTP_EPOCH: Final = 2208988800
"""Seconds from 1900 to 1970."""

MINIMUM_INTERVAL_S: Final = 5.0
_COMPENSATION: Final = 2.718281828459045 - 1.5
"""RFC 3550 A.7: makes up for the randomised timer converging below the average."""

_HEADER: Final = struct.Struct("!BBH")
_VOIP: Final = struct.Struct("!I4B4H12B")
"""SSRC, four rates, four durations and delays, signal to MOS-CQ, RX config, reserved (jitter buffer fields follow)."""


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """One reception report (RFC 3550 §6.4.1), in wire units."""

    ssrc: int
    fraction_lost: int
    """Since the previous report, 1/256."""
    lost: int
    """Cumulative packets, signed 24 bit."""
    highest_sequence: int
    """Extended: cycles in the upper 16 bits."""
    jitter: int
    """RTP clock units."""
    last_sr: int
    """Middle 32 bits of the NTP time of the last sender report; 0 if there was none."""
    delay_since_last_sr: int
    """1/65536 s."""


@dataclass(frozen=True, slots=True)
class SenderReport:
    """What a sender says of its own stream (RFC 3550 §6.4.1)."""

    ssrc: int
    ntp: int
    """64-bit NTP time."""
    rtp_timestamp: int
    packets: int
    octets: int


@dataclass(frozen=True, slots=True)
class VoipMetrics:
    """XR block 7 (RFC 3611 §4.7). Rates and densities are 0..1; what the far end marked unavailable (127) is None."""

    ssrc: int
    loss_rate: float
    discard_rate: float
    burst_density: float
    gap_density: float
    burst_ms: int
    gap_ms: int
    round_trip_ms: int
    end_system_delay_ms: int
    r_factor: int | None
    mos_lq: float | None
    mos_cq: float | None


@dataclass(slots=True)
class Compound:
    """What one RTCP datagram held."""

    ssrc: int = 0
    """The sender, from its SR or RR; 0 when the compound had neither."""
    sender_report: SenderReport | None = None
    blocks: list[ReportBlock] = field(default_factory=list)
    voip_metrics: list[VoipMetrics] = field(default_factory=list)
    bye: list[int] = field(default_factory=list)
    """SSRCs that left."""
    bye_reason: str = ""
    cname: str | None = None
    unread: int = 0
    """Packets of the compound that are broken or of a type that is not used here."""


def parse(data: bytes) -> Compound:
    """One RTCP datagram. Raises ParseError when it is not RTCP or its lengths do not add up."""
    compound = Compound()
    for packet_type, count, packet in _packets(data):
        try:
            _read(compound, packet_type, count, packet)
        except (ValueError, struct.error):
            compound.unread += 1
    return compound


def _packets(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Type, count and octets (padding taken off) of each packet of a compound."""
    if len(data) < 8:
        raise ParseError("RTCP datagram is shorter than 8 octets")
    position = 0
    while position < len(data):
        if len(data) - position < 4:
            raise ParseError("RTCP packet header is truncated")
        first, packet_type, words = _HEADER.unpack_from(data, position)
        if first >> 6 != 2:
            raise ParseError("RTCP packet has invalid version")
        end = position + 4 + 4 * words
        if end > len(data):
            raise ParseError("RTCP packet is truncated")
        packet = data[position:end]
        if first & 0x20:
            padding = packet[-1]
            if not padding or padding % 4 or padding > len(packet) - 4:
                raise ParseError("RTCP packet padding length is invalid")
            packet = packet[:-padding]
        yield packet_type, first & 0x1F, packet
        position = end


def _read(compound: Compound, packet_type: int, count: int, packet: bytes) -> None:
    if packet_type == XR:
        _read_xr(compound, packet)
        return
    if packet_type in (SR, RR):
        packet = packet[: (28 if packet_type == SR else 8) + 24 * count]
    elif packet_type == BYE:
        compound.bye_reason = _bye_reason(packet[4 + 4 * count :])
    elif packet_type == SDES and count > 1:
        # The library does not align the chunks that follow the first; of a telephone the first is the only one.
        count = 1
    header = _HEADER.pack(0x80 | count, packet_type, len(packet) // 4 - 1)
    known = RtcpPacket.parse(header + packet[4:])
    if not known:
        compound.unread += 1
    for read in known:
        _keep(compound, read)


def _keep(compound: Compound, packet: object) -> None:
    if isinstance(packet, RtcpSrPacket):
        info = packet.sender_info
        compound.ssrc = packet.ssrc
        compound.sender_report = SenderReport(
            packet.ssrc, info.ntp_timestamp, info.rtp_timestamp, info.packet_count, info.octet_count
        )
        compound.blocks += map(_block, packet.reports)
    elif isinstance(packet, RtcpRrPacket):
        compound.ssrc = packet.ssrc
        compound.blocks += map(_block, packet.reports)
    elif isinstance(packet, RtcpByePacket):
        compound.bye += packet.sources
    elif isinstance(packet, RtcpSdesPacket):
        for kind, value in packet.chunks[0].items if packet.chunks else ():
            if kind == _CNAME:
                compound.cname = value.decode("utf-8", "replace")


def _block(info: RtcpReceiverInfo) -> ReportBlock:
    return ReportBlock(
        info.ssrc, info.fraction_lost, info.packets_lost, info.highest_sequence, info.jitter, info.lsr, info.dlsr
    )


def _bye_reason(octets: bytes) -> str:
    return octets[1 : 1 + octets[0]].decode("utf-8", "replace") if octets else ""


def _read_xr(compound: Compound, packet: bytes) -> None:
    position = 8
    while position + 4 <= len(packet):
        block_type, _, words = _HEADER.unpack_from(packet, position)
        body = packet[position + 4 : position + 4 + 4 * words]
        position += 4 + 4 * words
        if block_type == _VOIP_METRICS and words == 8 and len(body) == 32:
            compound.voip_metrics.append(_voip_metrics(body))


def _voip_metrics(body: bytes) -> VoipMetrics:
    ssrc, *values = _VOIP.unpack_from(body)
    loss, discard, burst_density, gap_density, burst_ms, gap_ms, round_trip_ms, delay_ms = values[:8]
    r_factor, _, mos_lq, mos_cq = values[12:16]
    return VoipMetrics(
        ssrc,
        loss / 256,
        discard / 256,
        burst_density / 256,
        gap_density / 256,
        burst_ms,
        gap_ms,
        round_trip_ms,
        delay_ms,
        None if r_factor == _UNAVAILABLE else r_factor,
        None if mos_lq == _UNAVAILABLE else mos_lq / 10,
        None if mos_cq == _UNAVAILABLE else mos_cq / 10,
    )


def compound(
    ssrc: int,
    cname: str,
    block: ReportBlock | None,
    sender: SenderReport | None,
    *,
    bye: bool = False,
    reason: str = "",
) -> bytes:
    """One datagram: SR when we have sent since the last one, else RR; SDES CNAME; BYE when we leave."""
    reports = [] if block is None else [_info(block)]
    if sender is not None:
        info = RtcpSenderInfo(sender.ntp, sender.rtp_timestamp, sender.packets & 0xFFFFFFFF, sender.octets & 0xFFFFFFFF)
        first = bytes(RtcpSrPacket(ssrc, info, reports))
    else:
        first = bytes(RtcpRrPacket(ssrc, reports))
    data = first + bytes(RtcpSdesPacket([RtcpSourceInfo(ssrc, [(_CNAME, cname.encode()[:255])])]))
    return data + _bye(ssrc, reason) if bye else data


def _info(block: ReportBlock) -> RtcpReceiverInfo:
    return RtcpReceiverInfo(
        block.ssrc,
        block.fraction_lost,
        block.lost,
        block.highest_sequence & 0xFFFFFFFF,
        min(block.jitter, 0xFFFFFFFF),
        block.last_sr,
        min(block.delay_since_last_sr, 0xFFFFFFFF),
    )


def _bye(ssrc: int, reason: str) -> bytes:
    if not reason:
        return bytes(RtcpByePacket([ssrc]))
    text = reason.encode()[:255]
    octets = bytes((len(text),)) + text
    octets += bytes(-len(octets) % 4)
    return _HEADER.pack(0x81, BYE, 1 + len(octets) // 4) + struct.pack("!I", ssrc) + octets


def ntp_time(wallclock: float) -> int:
    """64-bit NTP time of a Unix time."""
    return int((wallclock + _NTP_EPOCH) * (1 << 32)) & 0xFFFFFFFFFFFFFFFF


def middle_32(ntp: int) -> int:
    """The middle 32 bits of an NTP time, as LSR has them: 16.16 seconds."""
    return ntp >> 16 & 0xFFFFFFFF


def interval_s(random: Random, octets: float, bandwidth: float, *, initial: bool) -> float:
    """Seconds to the next report of a session of two (RFC 3550 A.7).

    `octets` is the average size of a compound with its headers, `bandwidth` the RTCP share in octets per second. With
    two members that both send, no share is set apart and no reconsideration is due. The minimum of 5 s (half for the
    first report) decides for every telephone codec; the reduced minimum of §6.2 would not be lower at 64 kbit/s.
    """
    minimum = MINIMUM_INTERVAL_S / 2 if initial else MINIMUM_INTERVAL_S
    return max(minimum, 2 * octets / bandwidth) * (random.random() + 0.5) / _COMPENSATION
