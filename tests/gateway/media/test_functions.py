"""An agent's functions: one POST each, and an error that the agent can tell when it fails."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from support.media import FRAME, FakeBridge, LegHarness

from trunkline.gateway.bridges.base import AudioFormat, CallContext, FunctionTool, ToolCall
from trunkline.gateway.media.functions import ANSWER_MAX, Functions

CALL = CallContext("call-1", "inbound", "15550100", "15550123", AudioFormat("pcmu", 8000))


class Backend:
    """A web server that answers as told."""

    def __init__(self) -> None:
        self.asked: list[tuple[dict[str, Any], str | None]] = []
        self.answer = web.Response(text='{"table": 4}')
        self.delay: asyncio.Event | None = None
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append((json.loads(await request.read()), request.headers.get("Authorization")))
        if self.delay is not None:
            await self.delay.wait()
        return self.answer


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    backend = Backend()
    application = web.Application()
    application.router.add_post("/book", backend.handle)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    backend.url = f"http://127.0.0.1:{runner.addresses[0][1]}/book"
    yield backend
    await runner.cleanup()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def functions(http: aiohttp.ClientSession, **tool: Any) -> Functions:
    return Functions([FunctionTool(name="book", **tool)], CALL, lambda: http)


async def test_a_function_is_posted_with_its_call_and_token(backend: Backend, http: aiohttp.ClientSession) -> None:
    answer = await functions(http, url=backend.url, token="s3cret").call("book", {"people": 2})
    assert answer == {"table": 4}
    ((body, authorization),) = backend.asked
    assert body == {
        "name": "book",
        "arguments": {"people": 2},
        "call": {"id": "call-1", "direction": "inbound", "from": "15550100", "to": "15550123"},
    }
    assert authorization == "Bearer s3cret"


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (web.Response(status=500, text="trace"), {"error": "HTTP status 500"}),
        (web.Response(status=302, headers={"Location": "http://192.0.2.1/"}), {"error": "HTTP status 302"}),
        (web.Response(text="<html>"), {"error": "the answer is not JSON"}),
        (web.Response(body=b"\xff\xfe"), {"error": "the answer is not JSON"}),
        (web.Response(text=""), {"ok": True}),
        (web.Response(text='"' + "x" * ANSWER_MAX + '"'), {"error": f"answer over {ANSWER_MAX} octets"}),
    ],
    ids=["failed", "redirect", "html", "binary", "empty", "huge"],
)
async def test_what_a_backend_may_answer(
    backend: Backend, http: aiohttp.ClientSession, response: web.Response, answer: Any
) -> None:
    backend.answer = response
    assert await functions(http, url=backend.url).call("book", {}) == answer


async def test_a_backend_that_is_silent_or_away(backend: Backend, http: aiohttp.ClientSession) -> None:
    backend.delay = asyncio.Event()
    late = await functions(http, url=backend.url, timeout_s=0.05).call("book", {})
    assert late == {"error": "no answer within 0.05 s"}
    backend.delay.set()
    away = await functions(http, url="http://127.0.0.1:9/").call("book", {})
    assert away["error"].startswith("not reachable")


async def test_a_tool_without_an_address_is_not_carried_out(http: aiohttp.ClientSession) -> None:
    assert "book" not in functions(http)


async def test_speech_goes_on_while_a_function_runs_and_the_agent_gets_its_result(
    backend: Backend, http: aiohttp.ClientSession
) -> None:
    backend.delay = asyncio.Event()
    leg = LegHarness(FakeBridge(), functions=functions(http, url=backend.url))
    await leg.answer()
    await leg.speak("a", b"\x01" * FRAME * 5)
    await leg.say(ToolCall("t1", "book", '{"people": 2}'))
    leg.tick(8)
    assert b"".join(packet.payload for packet in leg.transport.sent).count(b"\x01") == FRAME * 5
    assert not leg.bridge.tool_results
    backend.delay.set()
    async with asyncio.timeout(5):
        while not leg.bridge.tool_results:
            await asyncio.sleep(0.01)
    assert leg.bridge.tool_results == [("t1", '{"table":4}')]
    (tool,) = leg.leg.report().tools
    assert (tool["name"], tool["arguments"], tool["result"]) == ("book", {"people": 2}, {"table": 4})


async def test_a_call_that_ends_does_not_wait_for_its_functions(backend: Backend, http: aiohttp.ClientSession) -> None:
    backend.delay = asyncio.Event()
    leg = LegHarness(FakeBridge(), functions=functions(http, url=backend.url))
    await leg.answer()
    await leg.say(ToolCall("t1", "book", "{}"))
    await leg.leg.close()
    backend.delay.set()
    await leg.settle()
    assert not leg.bridge.tool_results
