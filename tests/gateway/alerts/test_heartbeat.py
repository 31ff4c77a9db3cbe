"""The dead-man's switch: sent while the gateway is well, silent while it is sick."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from pydantic import SecretStr
from structlog.testing import capture_logs

from trunkline.gateway.alerts.heartbeat import Heartbeat

TOKEN = "T0KEN-recognisable"


class Monitor:
    """Whoever waits for heartbeats."""

    def __init__(self) -> None:
        self.beats = 0
        self.status = 200

    async def beat(self, _request: web.Request) -> web.Response:
        self.beats += 1
        return web.Response(status=self.status)


class World:
    def __init__(self, monitor: Monitor, session: aiohttp.ClientSession, url: str) -> None:
        self.monitor = monitor
        self.sick: str | None = None
        self.heartbeat = Heartbeat(SecretStr(url), 0.01, lambda: session, lambda: self.sick)
        self.task = asyncio.create_task(self.heartbeat.run())

    async def more(self, result: str, count: int = 2) -> None:
        wanted = self.heartbeat.results[result] + count
        async with asyncio.timeout(10):
            while self.heartbeat.results[result] < wanted:
                await asyncio.sleep(0.005)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    monitor = Monitor()
    application = web.Application()
    application.add_routes([web.get(f"/{TOKEN}", monitor.beat)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as session:
        world = World(monitor, session, f"http://127.0.0.1:{runner.addresses[0][1]}/{TOKEN}")
        yield world
        world.task.cancel()
        await asyncio.wait([world.task])
    await runner.cleanup()


async def test_it_is_sent_again_and_again_while_the_gateway_is_well(world):
    await world.more("sent", 3)
    assert world.monitor.beats >= 3
    assert world.heartbeat.trouble is None


async def test_a_sick_gateway_sends_none_until_it_is_well(world):
    await world.more("sent")
    with capture_logs() as logs:
        world.sick = "media clock of media-1 stands still"
        await world.more("withheld", 1)
        before = world.monitor.beats
        await world.more("withheld", 5)
        assert world.monitor.beats == before
        assert world.heartbeat.trouble == "the gateway is sick: media clock of media-1 stands still"
        world.sick = None
        await world.more("sent")
    assert [line["event"] for line in logs] == ["heartbeat is not sent", "heartbeat is sent again"], "once each"


async def test_a_refusal_is_said_once_and_without_the_address(world):
    world.monitor.status = 404
    with capture_logs() as logs:
        await world.more("failed", 4)
    assert world.heartbeat.trouble == "it is answered with 404"
    assert len(logs) <= 1
    assert TOKEN not in repr(logs)


async def test_an_address_that_nobody_listens_to_is_no_fault_and_not_told(world):
    async with aiohttp.ClientSession() as session:
        lonely = Heartbeat(SecretStr(f"http://127.0.0.1:1/{TOKEN}"), 0.01, lambda: session, lambda: None)
        with capture_logs() as logs:
            task = asyncio.create_task(lonely.run())
            async with asyncio.timeout(10):
                while lonely.results["failed"] < 3:
                    await asyncio.sleep(0.005)
            task.cancel()
            await asyncio.wait([task])
    assert len(logs) == 1
    assert TOKEN not in repr(logs)
    assert lonely.trouble is not None
    assert TOKEN not in lonely.trouble
