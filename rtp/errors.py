"""What can go wrong with packets.

RtpError
 ├─ ParseError        octets from the network that are not what they claim; counted and dropped by the session
 ├─ LocalError        we were asked for what the protocol does not allow; a bug of the owner
 └─ PortsExhausted    no free even/odd pair in the configured range; the call is refused with 503
"""


class RtpError(Exception):
    """The family of this room."""


class ParseError(RtpError):
    """Octets from the network that are not what they claim. The sentence names the field."""


class LocalError(RtpError):
    """We were asked for what the protocol does not allow."""


class PortsExhausted(RtpError):
    """No free even/odd pair of UDP ports in the configured range."""
