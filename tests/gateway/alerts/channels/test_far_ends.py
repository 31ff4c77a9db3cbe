"""Far ends that are dead, hang, talk rubbish, talk for ever or echo.

Every channel ends in time, in a DeliveryError that holds no secret. On both event loops, since they report failures in
different words.
"""

import asyncio
import contextlib
import functools
import inspect
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
import uvloop
from pydantic import TypeAdapter
from structlog.testing import capture_logs
from support.alert_messages import a_context, a_delivery
from support.certificates import Authority
from support.mail import MailServer
from support.ports import HOST, Ports
from support.receiver import Receiver

from trunkline.gateway.alerts.channels.base import Channel, DeliveryError
from trunkline.gateway.alerts.channels.config import ChannelConfig
from trunkline.gateway.alerts.channels.http_post import ANSWER_MAX
from trunkline.gateway.alerts.channels.registry import make_channel

KEY = "0recognisable-routing-key0000000"
SECRETS = [KEY, "sesame-1recognisable", "sesame-2recognisable", "sesame-3recognisable", "sesame-4recognisable"]
HTTP = ["pagerduty", "alertmanager", "slack", "webhook"]
ALL = [*HTTP, "email"]
GIVE_UP_S = 30.0
"""A channel that takes longer hangs."""

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
TABLE: TypeAdapter[Any] = TypeAdapter(ChannelConfig)


def on_both_loops(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """The test on asyncio's loop and on uvloop, with a session made there."""
    signature = inspect.signature(test)
    loop = inspect.Parameter("loop", inspect.Parameter.KEYWORD_ONLY)
    fixtures = [parameter for name, parameter in signature.parameters.items() if name != "session"]

    @functools.wraps(test)
    def run(*, loop: Callable[[], asyncio.AbstractEventLoop], **given: Any) -> None:
        async def main() -> None:
            async with aiohttp.ClientSession() as session:
                await test(session=session, **given)

        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(main())

    run.__signature__ = signature.replace(parameters=[*fixtures, loop])  # pyright: ignore[reportAttributeAccessIssue]
    loops = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
    return loops(run)


def channel(kind: str, port: int, session: aiohttp.ClientSession, scheme: str = "http", **more: Any) -> Channel:
    """A channel whose every secret is one of SECRETS."""
    timeout_s = more.pop("timeout_s", 10.0)
    base = f"{scheme}://{HOST}:{port}"
    tables: dict[str, dict[str, Any]] = {
        "pagerduty": {"routing_key": KEY, "url": f"{base}/v2/enqueue"},
        "alertmanager": {"urls": [base], "username": "edge1", "password": SECRETS[1]},
        "slack": {"url": f"{base}/services/{SECRETS[2]}"},
        "webhook": {"url": f"{base}/hook?key={SECRETS[3]}", "secrets": [SECRETS[4]]},
        "email": {"host": HOST, "port": port, "security": "none", "sender": "a@b.example", "to": ["c@d.example"]},
    }
    login = {"username": "edge1", "password": SECRETS[1]} if kind == "email" else {}
    table = {"kind": kind, **tables[kind], **login, **more}
    return make_channel("way", TABLE.validate_python(table), a_context(session, timeout_s=timeout_s))


@contextlib.asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[int]:
    """A TCP server; its port. What still runs in a handler ends with it."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await handler(reader, writer)
        writer.close()

    server = await asyncio.start_server(handle, HOST, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def failing(way: Channel) -> DeliveryError:
    """The error of a delivery; it and what was logged hold no secret."""
    handler = _Lines()
    logging.getLogger().addHandler(handler)
    try:
        with capture_logs() as logs, pytest.raises(DeliveryError) as caught:
            async with asyncio.timeout(GIVE_UP_S):
                await way.deliver(a_delivery("trigger"))
    finally:
        logging.getLogger().removeHandler(handler)
    told = [*traceback.format_exception(caught.value), repr(caught.value), repr(way), repr(logs), *handler.lines]
    assert [secret for secret in SECRETS if any(secret in text for text in told)] == []
    assert str(caught.value).startswith(f"way: {HOST}: ")
    return caught.value


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


async def hang(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def close(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    return


async def rubbish(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\xff\xfe rubbish \r\n\r\n" * 3)
    await writer.drain()


async def endless(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()


async def trickle(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # each octet is in time and may begin an answer, which never is
    writer.write(b"HTTP/1.1 200 Fine")
    while True:
        writer.write(b"2")
        await writer.drain()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("kind", ALL)
@on_both_loops
async def test_a_dead_port(kind: str, session: aiohttp.ClientSession, ports: Ports) -> None:
    error = await failing(channel(kind, ports.take(), session))
    assert not error.permanent
    assert str(error).endswith("cannot be reached: Connection refused")


@pytest.mark.parametrize("kind", ALL)
@on_both_loops
async def test_a_name_that_nobody_has(kind: str, session: aiohttp.ClientSession) -> None:
    names = {
        "email": {"host": "nobody.invalid", "security": "starttls"},
        "alertmanager": {"urls": ["http://nobody.invalid"]},
    }
    more = names.get(kind, {"url": "http://nobody.invalid/"})
    with pytest.raises(DeliveryError, match=r"^way: nobody\.invalid: its name cannot be resolved$") as caught:
        await channel(kind, 1, session, **more).deliver(a_delivery("trigger"))
    assert not caught.value.permanent


@pytest.mark.parametrize("handler", [hang, trickle])
@pytest.mark.parametrize("kind", ALL)
@on_both_loops
async def test_no_answer_in_time(kind: str, handler: Handler, session: aiohttp.ClientSession) -> None:
    async with serving(handler) as port:
        error = await failing(channel(kind, port, session, timeout_s=0.2))
    assert not error.permanent
    assert "in time" in str(error) or "within 0.2 s" in str(error)


@pytest.mark.parametrize("handler", [close, rubbish, endless])
@pytest.mark.parametrize("kind", ALL)
@on_both_loops
async def test_no_answer_of_the_protocol(kind: str, handler: Handler, session: aiohttp.ClientSession) -> None:
    async with serving(handler) as port:
        error = await failing(channel(kind, port, session))
    assert not error.permanent


@pytest.mark.parametrize("status", [200, 202, 400, 503])
@pytest.mark.parametrize("kind", HTTP)
@on_both_loops
async def test_an_answer_without_an_end(kind: str, status: int, session: aiohttp.ClientSession) -> None:
    sent = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status} Fine\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        while True:
            writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            await writer.drain()
            sent += 65536

    async with serving(answer) as port:
        with contextlib.suppress(DeliveryError):
            await channel(kind, port, session).deliver(a_delivery("trigger"))
    # what the sockets of both ends may hold, and no more
    assert sent < 64 * ANSWER_MAX


@pytest.mark.parametrize("status", [301, 307])
@pytest.mark.parametrize("kind", HTTP)
@on_both_loops
async def test_a_redirect_is_not_followed(kind: str, status: int, session: aiohttp.ClientSession) -> None:
    async with Receiver() as elsewhere, Receiver((status, {"Location": elsewhere.url()}, b"")) as receiver:
        error = await failing(channel(kind, receiver.port, session))
    assert error.permanent
    assert str(error).endswith(f"answered {status}; give the address that it points to")
    assert elsewhere.requests == []


@pytest.mark.parametrize("status", [400, 401, 500])
@pytest.mark.parametrize("kind", HTTP)
@on_both_loops
async def test_an_answer_that_echoes_the_request(kind: str, status: int, session: aiohttp.ClientSession) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard = await reader.readuntil(b"\r\n\r\n")
        echoed = " ".join(heard.decode().split())
        head = f"HTTP/1.1 {status} {echoed[:4000]}\r\nX-Echo: {echoed}\r\nRetry-After: {SECRETS[1]}\r\n"
        writer.write(f"{head}Content-Length: {len(heard)}\r\n\r\n".encode() + heard)
        await writer.drain()

    async with serving(echo) as port:
        error = await failing(channel(kind, port, session))
    assert str(error).endswith(f"answered {status}")


@on_both_loops
async def test_a_mail_server_that_echoes_the_password(session: aiohttp.ClientSession) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        while line := await reader.readline():
            hello = line.startswith(b"EHLO")
            writer.write(b"250-here\r\n250 AUTH PLAIN\r\n" if hello else b"535 " + SECRETS[1].encode() + b" " + line)

    async with serving(echo) as port:
        error = await failing(channel("email", port, session))
    assert str(error).endswith("refused username and password with 535")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def another(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("another"), "Another CA")


@pytest.mark.parametrize("kind", HTTP)
@on_both_loops
async def test_an_unknown_authority(
    kind: str, session: aiohttp.ClientSession, authority: Authority, another: Authority
) -> None:
    status = 202 if kind == "pagerduty" else 200
    async with Receiver((status, {}, b"ok"), tls=authority.server()) as receiver:
        for more in ({}, {"ca_file": another.ca_file}):
            error = await failing(channel(kind, receiver.port, session, "https", **more))
            assert error.permanent
            assert str(error).endswith("its certificate is not trusted; renew it, or set ca_file")
        assert receiver.requests == []
        for more in ({"ca_file": authority.ca_file}, {"verify_tls": False}):
            await channel(kind, receiver.port, session, "https", **more).deliver(a_delivery("trigger"))
    assert len(receiver.requests) == 2


@pytest.mark.parametrize("kind", HTTP)
@on_both_loops
async def test_tls_where_there_is_none(kind: str, session: aiohttp.ClientSession) -> None:
    async with Receiver() as receiver:
        error = await failing(channel(kind, receiver.port, session, "https"))
    assert not error.permanent
    assert receiver.requests == []


@on_both_loops
async def test_mail_by_tls_where_there_is_none(session: aiohttp.ClientSession) -> None:
    async with MailServer() as server:
        error = await failing(channel("email", server.port, session, security="tls", timeout_s=1.0))
    assert not error.permanent
    assert server.mails == []
