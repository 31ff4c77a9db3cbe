"""The RTP header (RFC 3550 §5.1): the plain twelve octets by `struct`, everything else by aiortc.

Telephone media has no CSRC, extension or padding: that form is read and written without an object per packet. The other
forms belong to the library, whose types and errors stay in this module.
"""

import struct
from typing import Final

from aiortc.rtp import RtpPacket

from .errors import ParseError

HEADER: Final = struct.Struct("!BBHII")
"""Version/padding/extension/CSRC count, marker/payload type, sequence number, timestamp, SSRC."""
PLAIN: Final = 0x80
"""First octet of version 2 without padding, extension and CSRC."""
MARKER: Final = 0x80

Fields = tuple[int, int, int, int, bytes]
"""Marker and payload type as they stand in the octet, sequence number, timestamp, SSRC, payload."""


def parse(data: bytes) -> Fields:
    """The fields of one datagram. Raises ParseError with a sentence that names what is wrong."""
    if len(data) >= 12:
        first, second, sequence, timestamp, ssrc = HEADER.unpack_from(data)
        if first == PLAIN:
            return second, sequence, timestamp, ssrc, data[12:]
    return _parse_any(data)


def _parse_any(data: bytes) -> Fields:
    try:
        packet = RtpPacket.parse(data)
    except (ValueError, struct.error) as error:
        # An extension of a known shape with a value of the wrong size surfaces as struct.error.
        raise ParseError(str(error)) from error
    second = packet.marker << 7 | packet.payload_type
    return second, packet.sequence_number, packet.timestamp, packet.ssrc, packet.payload


def is_rtcp(data: bytes) -> bool:
    """Whether a datagram on a multiplexed port is RTCP (RFC 5761 §4: packet types 192 to 223)."""
    return len(data) >= 2 and 192 <= data[1] <= 223
