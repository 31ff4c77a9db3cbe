"""Finding the session description in a message's body."""

from .errors import ParseError
from .grammar import Params, unquote
from .message import Request, Response

SDP = "application/sdp"


def session_description(message: Request | Response) -> bytes | None:
    """The SDP of a message: its body, or the part of a multipart/mixed body (RFC 5621); None when there is none."""
    if not message.body:
        return None
    kind = message.content_type
    if kind in (None, SDP):
        return message.body
    return _sdp_part(message) if kind == "multipart/mixed" else None


def _sdp_part(message: Request | Response) -> bytes | None:
    _, semicolon, rest = (message.headers.get("Content-Type") or "").partition(";")
    try:
        boundary = Params.parse(semicolon + rest, "Content-Type").get("boundary")
    except ParseError:
        return None
    if not boundary:
        return None
    boundary = unquote(boundary)
    # The line break before a delimiter belongs to the delimiter (RFC 2046 §5.1.1).
    parts = (b"\r\n" + message.body).split(b"\r\n--" + boundary.encode())
    for part in parts[1:-1]:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        if any(line.replace(b" ", b"").startswith(b"content-type:application/sdp") for line in lines):
            return content
    return None
