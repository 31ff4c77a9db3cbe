"""The short way of text messages against the library's own: whatever comes, however it is cut, means the same."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri
from websockets.utils import accept_key

from trunkline.gateway.bridges import _websocket_connection
from trunkline.gateway.bridges._websocket_connection import TextConnection, frame_bounds


class FakeTransport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def is_closing(self) -> bool:
        return False


def frame(opcode: Opcode, data: bytes, fin: bool = True) -> bytes:
    """As a server sends it."""
    return Frame(opcode, data, fin).serialize(mask=False)


def begun() -> tuple[TextConnection, FakeTransport, bytes]:
    """A connection that waits for the answer to its handshake, and that answer."""
    protocol = ClientProtocol(parse_uri("ws://lab/"), max_size=None)
    connection = TextConnection(protocol, ping_interval=None)
    transport = FakeTransport()
    connection.connection_made(transport)
    request = protocol.connect()
    protocol.send_request(request)
    protocol.data_to_send()
    accept = accept_key(request.headers["Sec-WebSocket-Key"])
    head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
    return connection, transport, f"{head}{accept}\r\n\r\n".encode()


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(edges)]


async def drained(connection: TextConnection) -> list[bytes]:
    messages: list[bytes] = []
    while True:
        try:
            messages.append(await asyncio.wait_for(connection.receive(), 0.001))
        except TimeoutError:
            return messages


text = st.binary(max_size=300) | st.integers(120, 130).map(bytes) | st.just(b"x" * 70000)
"""Payloads around every form of the length."""
whole = text.map(lambda data: ([data], frame(Opcode.TEXT, data)))
ping = st.binary(max_size=125).map(lambda data: ([], frame(Opcode.PING, data)))
parts = st.tuples(text, text, st.booleans()).map(
    lambda three: (
        [three[0] + three[1]],
        frame(Opcode.TEXT, three[0], fin=False)
        + (frame(Opcode.PING, b"between") if three[2] else b"")
        + frame(Opcode.CONT, three[1]),
    )
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(whole | ping | parts, max_size=8), st.lists(st.integers(0, 1 << 20), max_size=12))
@example([([b"a"], frame(Opcode.TEXT, b"a"))], list(range(400)))
async def test_messages_come_whole_and_in_order_however_the_stream_is_cut(
    said: list[tuple[list[bytes], bytes]], places: list[int]
) -> None:
    connection, transport, answer = begun()
    stream = answer + b"".join(octets for _, octets in said)
    for piece in cut(stream, places):
        connection.data_received(piece)
    wanted = [message for messages, _ in said for message in messages]
    messages = [connection._messages.popleft() for _ in range(len(connection._messages))]
    assert messages == wanted
    pinged = any(octets[0] == 0x89 for _, octets in said)
    assert transport.written or not pinged


async def test_a_large_frame_is_left_to_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_websocket_connection, "_LARGE", 1000)
    connection, _, answer = begun()
    connection.data_received(answer)
    stream = frame(Opcode.TEXT, b"y" * 5000) + frame(Opcode.TEXT, b"after")
    for start in range(0, len(stream), 700):
        connection.data_received(stream[start : start + 700])
        assert len(connection._held) <= 1000
    assert await drained(connection) == [b"y" * 5000, b"after"]


async def test_a_masked_frame_of_a_server_fails_the_connection() -> None:
    connection, _, answer = begun()
    connection.data_received(answer + Frame(Opcode.TEXT, b"x").serialize(mask=True))
    assert await drained(connection) == []
    assert connection.protocol.close_sent is not None
    assert connection.protocol.close_sent.code == 1002


async def talk(server: Any, client: Any) -> Any:
    async with serve(server, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}", create_connection=TextConnection, compression=None) as connection:
            return await client(connection)


async def test_messages_then_the_close_with_its_code() -> None:
    async def server(websocket: ServerConnection) -> None:
        await websocket.send("one")
        await websocket.send(["t", "w", "o"])
        await websocket.close(4001, "enough")

    async def client(connection: TextConnection) -> None:
        assert await connection.receive() == b"one"
        assert await connection.receive() == b"two"
        with pytest.raises(ConnectionClosed) as closed:
            await connection.receive()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4001

    await talk(server, client)


async def test_who_waits_hears_of_a_connection_that_is_cut() -> None:
    async def server(websocket: ServerConnection) -> None:
        await websocket.recv()
        websocket.transport.abort()

    async def client(connection: TextConnection) -> None:
        waiting = asyncio.create_task(connection.receive())
        await connection.send("go")
        with pytest.raises(ConnectionClosed):
            await waiting

    await talk(server, client)


async def test_a_refusal_is_the_librarys_error() -> None:
    async with serve(lambda websocket: None, "127.0.0.1", 0, process_request=lambda c, r: c.respond(401, "no\n")) as it:
        port = it.sockets[0].getsockname()[1]
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://127.0.0.1:{port}", create_connection=TextConnection)
    assert refused.value.response.status_code == 401
    assert refused.value.response.body == b"no\n"


async def test_a_refusal_whose_body_comes_later() -> None:
    connection, _, _ = begun()
    for piece in (b"HTTP/1.1 401 Unauthorized\r\nConte", b"nt-Length: 6\r\n\r\n", b"no\r", b"\n\r\n"):
        connection.data_received(piece)
    assert connection.response is not None
    assert connection.response.status_code == 401
    assert connection.response.body == b"no\r\n\r\n"


@given(st.binary(max_size=20), st.integers(0, 20))
def test_bounds_of_anything(data: bytes, start: int) -> None:
    bounds = frame_bounds(data, start)
    assert bounds is None or start + 2 <= bounds[0] <= len(data)
    assert bounds is None or bounds[0] <= bounds[1]
