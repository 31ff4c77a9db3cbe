"""HEP3: the datagrams in which a capture agent hands what it saw to a Homer collector. Sans-IO.

`HEP3`, the whole length, then chunks of vendor, type, length and content; all numbers in network order. RTCP goes as
the JSON that Homer's own agents make of it, since the collector does not read RTCP itself.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import ip_address
from socket import AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP
from typing import Any, Final

import orjson

from ..rtp.errors import ParseError
from ..rtp.rtcp import RR, SR, XR, Compound, ReportBlock, VoipMetrics
from ..rtp.rtcp import parse as parse_rtcp
from ..sip.flow import Address

_HEADER: Final = struct.Struct("!4sH")
_CHUNK: Final = struct.Struct("!HHH")
_LONGEST: Final = 65507
"""The largest UDP payload over IPv4; the length of HEP itself ends a little later."""
_GENERIC: Final = 0
_OCTET, _SHORT, _LONG = struct.Struct("!B"), struct.Struct("!H"), struct.Struct("!I")


class HepError(ValueError):
    """What cannot be put into a HEP packet; the sentence says why."""


class Protocol(IntEnum):
    """What the payload is (chunk 0x0b)."""

    SIP = 1
    RTCP_JSON = 5


@dataclass(frozen=True, slots=True)
class Seen:
    """One packet as it was on the wire."""

    protocol: Protocol
    stream: bool
    """Over TCP; else over UDP."""
    source: Address
    destination: Address
    at: float
    """Unix time, seconds."""
    payload: bytes
    correlation_id: str | None = None
    """Homer shows together what has the same one: the Call-ID of the dialog."""


class HepEncoder:
    """Writes packets as one capture agent."""

    def __init__(self, capture_id: int, node: str | None = None, password: str | None = None) -> None:
        """`capture_id` (32 bits) and `node` name this agent to the collector; `password` is the key that it asks
        for, in clear."""
        self._agent = _LONG.pack(capture_id)
        self._node = node.encode() if node else None
        self._password = password.encode() if password else None

    def __repr__(self) -> str:
        return f"<HepEncoder {int.from_bytes(self._agent)}>"

    def encode(self, seen: Seen) -> bytes:
        """One datagram. Raises HepError when it would be too long, or for addresses that are no pair."""
        body = b"".join(_chunk(kind, content) for kind, content in self._chunks(seen))
        whole = _HEADER.size + len(body)
        if whole > _LONGEST:
            raise HepError(f"{whole} octets do not fit into a datagram")
        return _HEADER.pack(b"HEP3", whole) + body

    def _chunks(self, seen: Seen) -> Iterator[tuple[int, bytes]]:
        try:
            source, destination = ip_address(seen.source.host), ip_address(seen.destination.host)
        except ValueError as error:
            raise HepError(str(error)) from None
        if source.version != destination.version:
            raise HepError(f"{source} and {destination} are not of one IP version")
        first = 3 if source.version == 4 else 5
        seconds, micros = divmod(round(seen.at * 1_000_000), 1_000_000)
        yield 0x01, _OCTET.pack(AF_INET if source.version == 4 else AF_INET6)
        yield 0x02, _OCTET.pack(IPPROTO_TCP if seen.stream else IPPROTO_UDP)
        yield first, source.packed
        yield first + 1, destination.packed
        yield 0x07, _SHORT.pack(seen.source.port)
        yield 0x08, _SHORT.pack(seen.destination.port)
        yield 0x09, _LONG.pack(seconds & 0xFFFFFFFF)
        yield 0x0A, _LONG.pack(micros)
        yield 0x0B, _OCTET.pack(seen.protocol)
        yield 0x0C, self._agent
        if self._password is not None:
            yield 0x0E, self._password
        if seen.correlation_id is not None:
            yield 0x11, seen.correlation_id.encode("utf-8", "replace")
        if self._node is not None:
            yield 0x13, self._node
        yield 0x0F, seen.payload


def _chunk(kind: int, content: bytes) -> bytes:
    if len(content) > _LONGEST:
        # the far end chooses the length of a Call-ID as well as of the message
        raise HepError(f"a chunk of {len(content)} octets does not fit into a datagram")
    return _CHUNK.pack(_GENERIC, kind, _CHUNK.size + len(content)) + content


def rtcp_json(data: bytes) -> bytes | None:
    """An RTCP compound as Homer wants it; None when it holds no report, or is no RTCP. Units are those of the wire."""
    try:
        compound = parse_rtcp(data)
    except ParseError:
        return None
    sender = compound.sender_report
    if not (compound.ssrc or compound.voip_metrics):
        return None
    report: dict[str, Any] = {
        "ssrc": compound.ssrc,
        "type": SR if sender is not None else RR if compound.ssrc else XR,
        "report_count": len(compound.blocks),
        "report_blocks": [_block(block) for block in compound.blocks],
    }
    if sender is not None:
        report["sender_information"] = {
            "ntp_timestamp_sec": sender.ntp >> 32,
            "ntp_timestamp_usec": sender.ntp & 0xFFFFFFFF,
            "rtp_timestamp": sender.rtp_timestamp,
            "packets": sender.packets,
            "octets": sender.octets,
        }
    if compound.cname is not None:
        report["sdes_ssrc"] = compound.ssrc
    metrics = _metrics_of(compound)
    if metrics is not None:
        report["report_blocks_xr"] = metrics
    return orjson.dumps(report)


def _block(block: ReportBlock) -> dict[str, int]:
    return {
        "source_ssrc": block.ssrc,
        "fraction_lost": block.fraction_lost,
        "packets_lost": block.lost,
        "highest_seq_no": block.highest_sequence,
        "ia_jitter": block.jitter,
        "lsr": block.last_sr,
        "dlsr": block.delay_since_last_sr,
    }


def _metrics_of(compound: Compound) -> dict[str, int] | None:
    if not compound.voip_metrics:
        return None
    metrics: VoipMetrics = compound.voip_metrics[0]
    return {
        "type": 7,
        "id": metrics.ssrc,
        "fraction_lost": round(metrics.loss_rate * 256),
        "fraction_discard": round(metrics.discard_rate * 256),
        "burst_density": round(metrics.burst_density * 256),
        "gap_density": round(metrics.gap_density * 256),
        "burst_duration": metrics.burst_ms,
        "gap_duration": metrics.gap_ms,
        "round_trip_delay": metrics.round_trip_ms,
        "end_system_delay": metrics.end_system_delay_ms,
    }
