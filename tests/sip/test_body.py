"""Where the session description of a message stands."""

import pytest

from trunkline.sip.body import session_description
from trunkline.sip.message import Response

SDP = b"v=0\r\ns=-\r\n"
MIXED = (
    b"preamble\r\n--b 1\r\nContent-Type: application/isup\r\n\r\n\x01\x02\r\n"
    b"--b 1\r\ncontent-type:application/sdp\r\nContent-Disposition: session\r\n\r\n" + SDP + b"\r\n--b 1--\r\n"
)


def message(kind: str | None, body: bytes) -> Response:
    response = Response(200, body=body)
    if kind is not None:
        response.headers.add("Content-Type", kind)
    return response


@pytest.mark.parametrize(
    ("kind", "body", "found"),
    [
        ("application/sdp", SDP, SDP),
        ("Application/SDP;charset=utf-8", SDP, SDP),
        (None, SDP, SDP),
        ("application/sdp", b"", None),
        ("application/isup", SDP, None),
        ('multipart/mixed;boundary="b 1"', MIXED, SDP),
        ('multipart/mixed;boundary="other"', MIXED, None),
        ("multipart/mixed", MIXED, None),
        ("multipart/mixed;;=", MIXED, None),
        ("multipart/mixed;boundary=x", b"--x\r\n\r\nplain\r\n--x--", None),
        ("multipart/mixed;boundary=x", b"--x\r\nContent-Type: application/sdp\r\n\r\nv=0", None),
    ],
)
def test_where_the_sdp_stands(kind, body, found):
    assert session_description(message(kind, body)) == found
