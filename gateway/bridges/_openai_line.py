"""One websocket to a Realtime service: dialled through the openai package, then written to without waiting."""

import asyncio
import contextlib
import logging
import ssl
import time
from binascii import b2a_base64
from email.utils import parsedate_to_datetime
from typing import Any, cast

import msgspec
from openai import AsyncOpenAI, DefaultAsyncHttpxClient, OpenAIError
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from openai.types.websocket_connection_options import WebSocketConnectionOptions
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI, SecurityError
from websockets.protocol import State

from ._openai_config import OpenAIConfig
from ._websocket_connection import TextConnection
from ._websocket_frame import text_frame
from .base import AudioFormat, BridgeError, BridgeRefused, BridgeUnreachable

DIAL_TIMEOUT_S = 8.0
"""Name, TCP, TLS and upgrade together."""
CLOSE_TIMEOUT_S = 1.0
"""How long a closing handshake may take."""
STALLED_S = 5.0
"""A write buffer over its mark for this long is a dead connection."""
_BUFFER_MS = 2000
_PING_S = 10.0
_APPEND = b'{"type":"input_audio_buffer.append","audio":"'
_OPENAI_URL = "wss://api.openai.com/v1"

# At level DEBUG the websocket library writes the request's headers, and with them the key, to its log.
_logger = logging.getLogger(__name__)
_logger.setLevel(logging.WARNING)


class Line:
    """A connection that is written to at once or not at all.

    Messages leave through the library's sans-IO protocol and its transport, since `send_raw` may only be called from
    a task, and a caller's frame arrives in a datagram callback; audio leaves as frames of our own making. Flow control
    is ours: audio is refused while more than _BUFFER_MS of it waits in the transport, everything else is always
    written.
    """

    __slots__ = ("_high_water", "_protocol", "_stalled_at", "_transport", "_websocket", "epoch")

    def __init__(self, connection: AsyncRealtimeConnection, audio: AudioFormat) -> None:
        self._websocket = cast(TextConnection, connection._connection)
        # nothing else of it is used, and its parts hold it in turn: only the collector would free them
        vars(connection).clear()
        self._protocol = self._websocket.protocol
        self._transport = cast(asyncio.Transport, self._websocket.transport)
        self._high_water = audio.octets_per_ms * _BUFFER_MS * 4 // 3
        self._stalled_at: float | None = None
        self.epoch = _service_time(self._websocket) - time.monotonic()
        """Unix time at monotonic 0 by the service's clock, or by ours where it tells none. Ours may be wrong, and may
        be set in the middle of a call."""

    async def receive(self) -> bytes:
        """The next message; raises websockets' ConnectionClosed."""
        return await self._websocket.receive()

    def post(self, message: bytes) -> bool:
        """Write one text message now; False when the connection is not open."""
        if self._protocol.state is not State.OPEN:
            return False
        self._protocol.send_text(message)
        self._write()
        return True

    def append(self, frame: bytes) -> bool:
        """Write `input_audio_buffer.append`; False when the frame was dropped. Base64 needs no escaping."""
        if self._protocol.state is not State.OPEN:
            return False
        if self._transport.get_write_buffer_size() > self._high_water:
            self._stall()
            return False
        self._stalled_at = None
        self._transport.write(text_frame(_APPEND + b2a_base64(frame, newline=False) + b'"}'))
        return True

    def _write(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._transport.write(data)

    def _stall(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._stalled_at is None:
            self._stalled_at = now
        elif now - self._stalled_at > STALLED_S:
            self._transport.abort()

    def leave(self) -> None:
        """Say goodbye and close, without waiting for an answer; `receive` then raises."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(1000)
            self._write()
        self._transport.close()

    async def close(self) -> None:
        """End the connection in good order, or after CLOSE_TIMEOUT_S without."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._websocket.close()
        except (TimeoutError, OSError, ConnectionClosed):
            self._transport.abort()
        else:
            self._websocket.let_go()


def _service_time(websocket: TextConnection) -> float:
    """Unix time as the answer to the upgrade has it."""
    date = None if websocket.response is None else websocket.response.headers.get("Date")
    try:
        return time.time() if date is None else parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return time.time()


class Dialer:
    """Makes connections. One for the process: TLS contexts and SDK clients take tens of ms each to build."""

    def __init__(self) -> None:
        self._tls = ssl.create_default_context()
        self._http = DefaultAsyncHttpxClient(verify=self._tls)
        self._clients: dict[tuple[str, str], AsyncOpenAI] = {}

    def _client(self, config: OpenAIConfig) -> AsyncOpenAI:
        url = config.base_url or _OPENAI_URL
        key = config.api_key.get_secret_value() if config.api_key is not None else "unused"
        if (url, key) not in self._clients:
            self._clients[url, key] = AsyncOpenAI(
                api_key=key, base_url="http" + url.removeprefix("ws"), websocket_base_url=url, http_client=self._http
            )
        return self._clients[url, key]

    async def dial(self, config: OpenAIConfig, audio: AudioFormat) -> Line:
        """Connect; raises BridgeRefused or BridgeUnreachable with a reason that holds no secret."""
        url = config.base_url or _OPENAI_URL
        options: dict[str, Any] = {
            "max_size": None,
            "compression": None,
            "create_connection": TextConnection,
            "ping_interval": _PING_S,
            "ping_timeout": _PING_S,
            "logger": _logger,
        }
        if url.startswith("wss:"):
            options["ssl"] = self._tls
        realtime = self._client(config).realtime.connect(
            model=config.model, websocket_connection_options=cast(WebSocketConnectionOptions, options)
        )
        where = url.partition("://")[2].rpartition("@")[2].partition("/")[0]
        try:
            async with asyncio.timeout(DIAL_TIMEOUT_S):
                return Line(await realtime.enter(), audio)
        except InvalidStatus as error:
            raise _refusal(where, error.response.status_code, bytes(error.response.body or b"")) from None
        except TimeoutError:
            raise BridgeUnreachable(f"{where} did not answer within {DIAL_TIMEOUT_S:.0f} s") from None
        except (OSError, InvalidHandshake, InvalidURI, SecurityError, ConnectionClosed, OpenAIError) as error:
            raise BridgeUnreachable(f"{where} cannot be reached: {_why(error)}") from None


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {error.verify_message}"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return type(error).__name__


def _refusal(where: str, status: int, body: bytes) -> BridgeError:
    """Only the error's code is taken from the body: its message quotes parts of the key."""
    if status in (401, 403):
        return BridgeRefused(f"{where} refused the API key (HTTP {status})")
    code = ""
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, IndexError):
        code = msgspec.json.decode(body)["error"]["code"]
    detail = f", {code}" if isinstance(code, str) and code else ""
    if status == 429:
        return BridgeRefused(f"{where} refused the session: rate limit (HTTP 429{detail})")
    if status >= 500:
        return BridgeUnreachable(f"{where} is out of order (HTTP {status}{detail})")
    return BridgeRefused(f"{where} refused the session (HTTP {status}{detail})")
