"""An export that does not come to its end: whoever asked must see that it is not whole, and may leave."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from trunkline.gateway.errors import RecordsError
from trunkline.gateway.http_guard import problems
from trunkline.gateway.record import CallRecord
from trunkline.gateway.record_export import PAGE, exported
from trunkline.gateway.record_search import RecordQuery


class Records:
    """Whole pages without end, or one and then a database that is gone."""

    def __init__(self, *, endless: bool) -> None:
        self._endless = endless

    async def list(self, limit=50, before=None, query=None):
        await asyncio.sleep(0)
        if before is not None and not self._endless:
            raise RecordsError("the database is gone")
        started = "2026-01-01T00:00:00.000Z"
        return [
            CallRecord(id=f"c{index}", direction="inbound", trunk="a", from_="1", to="2", started_at=started)
            for index in range(PAGE)
        ]


@asynccontextmanager
async def asked_for(records: Records, form: str):
    """The connection on which an export comes, and what is set when its handler returns."""
    over = asyncio.Event()

    async def export(request: web.Request) -> web.StreamResponse:
        try:
            return await exported(request, records, RecordQuery(), form)
        finally:
            over.set()

    application = web.Application(middlewares=[problems])
    application.router.add_get("/", export)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        reader, writer = await asyncio.open_connection(*runner.addresses[0])
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        async with asyncio.timeout(10):
            yield reader, writer, over
        writer.close()
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("form", ["csv", "json"])
async def test_a_database_that_fails_in_the_middle_ends_file_and_connection(form):
    with capture_logs() as logs:
        async with asked_for(Records(endless=False), form) as (reader, _, _over):
            answer = await reader.read()
    assert f"c{PAGE - 1}".encode() in answer
    assert answer.count(b"HTTP/1.1") == 1, "a second answer in the first"
    assert not answer.endswith(b"0\r\n\r\n"), "the end of a whole file"
    assert [line["event"] for line in logs] == ["an export ends in the middle"]


async def test_whoever_leaves_ends_the_export_and_is_no_fault():
    with capture_logs() as logs:
        async with asked_for(Records(endless=True), "csv") as (reader, writer, over):
            await reader.readuntil(f"c{PAGE - 1}".encode())
            writer.transport.abort()
            await over.wait()
    assert [line["event"] for line in logs if line["log_level"] != "debug"] == []
