"""A kept call as a capture file that Wireshark opens.

SIP and RTCP are whole (SIP without its credentials). RTP packets have their headers and lengths, but no payload, which
was never kept: they are captured short, as with a snap length. IP and UDP headers are made up of what is known, and all
SIP is shown in UDP, whatever carried it. Times are kept in nanoseconds.
"""

import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import BinaryIO, NamedTuple

from ...rtp.packet import HEADER, PLAIN
from ..messages import MediaParameters
from .entries import NOTE, LegFlight, Packet, Rtcp, entries_of, parameters_of
from .file import Flight, leg_of
from .ladder import SipMessage

_MAGIC_NANOSECONDS = 0xA1B23C4D
_LINKTYPE_RAW = 101
_SNAP_LENGTH = 65535
_FILE_HEADER = struct.Struct("<IHHiIII")
_RECORD_HEADER = struct.Struct("<IIII")
_UDP = struct.Struct("!HHHH")
_UDP_NUMBER = 17
_PAYLOAD_MAX = 65535 - 48
_UNKNOWN = ("0.0.0.0", 0)  # noqa: S104

Ip = IPv4Address | IPv6Address
Place = tuple[str, int]


class _Datagram(NamedTuple):
    at: float
    """Unix time, seconds."""
    source: Place
    destination: Place
    data: bytes
    octets: int
    """Of the whole payload; `data` may be the beginning of it."""


def write_pcap(flight: Flight, file: BinaryIO) -> int:
    """Write all messages and packets, in the order of their times; their number. Raises FlightError and OSError."""
    datagrams = [*map(_sip, flight.sip)]
    host = _media_host(flight.sip)
    for section in flight.legs:
        datagrams += _media(leg_of(section), host)
    datagrams.sort(key=lambda datagram: datagram.at)
    file.write(_FILE_HEADER.pack(_MAGIC_NANOSECONDS, 2, 4, 0, 0, _SNAP_LENGTH, _LINKTYPE_RAW))
    for datagram in datagrams:
        packet, octets = _ip(datagram)
        nanoseconds = max(0, round(datagram.at * 1e9))
        seconds, rest = divmod(nanoseconds, 1_000_000_000)
        file.write(_RECORD_HEADER.pack(seconds & 0xFFFFFFFF, rest, len(packet), octets) + packet)
    return len(datagrams)


def _sip(message: SipMessage) -> _Datagram:
    far, local = (message.far_host, message.far_port), (message.local_host, message.local_port)
    source, destination = (far, local) if message.received else (local, far)
    return _Datagram(message.at, source, destination, message.data, len(message.data))


def _media_host(messages: list[SipMessage]) -> str:
    """The address that we named in SDP, so that the streams are found to belong to the call."""
    for message in messages:
        if not message.received:
            _, found, rest = message.data.partition(b"\nc=IN IP")
            if found:
                return rest[2:].split(None, 1)[0].split(b"/")[0].decode("ascii", "replace")
    return messages[0].local_host if messages else _UNKNOWN[0]


def _media(leg: LegFlight, host: str) -> Iterator[_Datagram]:
    notes = {note.number: note for note in leg.notes}
    parameters = next((agreed for note in leg.notes if (agreed := parameters_of(note))), None)
    rtp_local, far = (host, leg.local_port), None
    for entry in entries_of(leg):
        if isinstance(entry, Packet):
            if entry.received:
                far = leg.sources[entry.source]
            remote = far or _remote(parameters)
            source, destination = (remote, rtp_local) if entry.received else (rtp_local, remote)
            header = HEADER.pack(PLAIN, entry.second, entry.sequence, entry.timestamp, entry.ssrc)
            yield _Datagram(leg.unix + entry.at, source, destination, header, 12 + entry.octets)
        elif isinstance(entry, Rtcp):
            muxed = parameters is not None and parameters.rtcp_mux
            local = rtp_local if muxed else (host, leg.local_port + 1)
            remote = leg.sources[entry.source] if entry.received else _remote_rtcp(parameters, far)
            source, destination = (remote, local) if entry.received else (local, remote)
            yield _Datagram(leg.unix + entry.at, source, destination, entry.data, len(entry.data))
        elif entry.kind == NOTE and entry.value in notes:
            parameters = parameters_of(notes[entry.value]) or parameters


def _remote(parameters: MediaParameters | None) -> Place:
    return (parameters.remote_host, parameters.remote_port) if parameters is not None else _UNKNOWN


def _remote_rtcp(parameters: MediaParameters | None, far: Place | None) -> Place:
    if parameters is None or parameters.rtcp_mux:
        return far or _remote(parameters)
    return parameters.remote_host, parameters.remote_rtcp_port


def _ip(datagram: _Datagram) -> tuple[bytes, int]:
    """The datagram with its headers, and the length that it had."""
    source, destination = _address(datagram.source[0]), _address(datagram.destination[0])
    if isinstance(source, IPv6Address) or isinstance(destination, IPv6Address):
        source, destination = _as_ipv6(source), _as_ipv6(destination)
    data = datagram.data[:_PAYLOAD_MAX]
    octets = min(max(datagram.octets, len(data)), _PAYLOAD_MAX)
    length = _UDP.size + octets
    addresses = source.packed + destination.packed
    ports = datagram.source[1] & 0xFFFF, datagram.destination[1] & 0xFFFF
    pseudo = addresses + struct.pack("!II", length, _UDP_NUMBER)
    # what was not kept counts as zeros
    checksum = _checksum(pseudo + _UDP.pack(*ports, length, 0) + data) or 0xFFFF
    udp = _UDP.pack(*ports, length, checksum) + data
    if isinstance(source, IPv6Address):
        return struct.pack("!IHBB", 6 << 28, length, _UDP_NUMBER, 64) + addresses + udp, 40 + length
    start, rest = struct.pack("!BBHHHBB", 0x45, 0, 20 + length, 0, 0x4000, 64, _UDP_NUMBER), addresses
    return start + struct.pack("!H", _checksum(start + rest)) + rest + udp, 20 + length


def _address(host: str) -> Ip:
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        return IPv4Address(_UNKNOWN[0])


def _as_ipv6(address: Ip) -> IPv6Address:
    return address if isinstance(address, IPv6Address) else IPv6Address(f"::ffff:{address}")


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
