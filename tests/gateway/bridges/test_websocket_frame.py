"""Frames of our own making, read by the library's server side."""

from hypothesis import example, given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side

from trunkline.gateway.bridges._websocket_frame import text_frame


def received(data: bytes) -> list[tuple[Opcode, bool, bytes]]:
    """What a server makes of these octets; it fails the connection on an unmasked or malformed frame."""
    server = Protocol(Side.SERVER, state=OPEN, max_size=None)
    server.receive_data(data)
    events = [event for event in server.events_received() if isinstance(event, Frame)]
    return [(event.opcode, event.fin, bytes(event.data)) for event in events]


@given(st.text().map(str.encode))
@example(b"x" * 125)
@example(b"x" * 126)
@example(b"x" * 65535)
@example(b"x" * 65536)
def test_a_server_reads_what_was_said(payload: bytes) -> None:
    assert received(text_frame(payload)) == [(Opcode.TEXT, True, payload)]


def test_frames_follow_one_another_across_the_pool_of_keys() -> None:
    payloads = [str(number).encode() for number in range(3000)]
    assert [data for _, _, data in received(b"".join(map(text_frame, payloads)))] == payloads


def test_every_frame_has_a_key_of_its_own() -> None:
    keys = {text_frame(b"same")[2:6] for _ in range(100)}
    assert len(keys) == 100
