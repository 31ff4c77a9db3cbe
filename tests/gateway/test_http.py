"""The admin API over a real socket on loopback."""

import asyncio
from contextlib import asynccontextmanager

import aiohttp
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.gateway.config_tables import HttpConfig
from trunkline.gateway.errors import CallRefused, GatewayError, RecordsError
from trunkline.gateway.http import AdminServer, LiveCall, Readiness
from trunkline.gateway.http_guard import is_local
from trunkline.gateway.record import CallRecord
from trunkline.gateway.record_search import RecordQuery
from trunkline.gateway.records import RecordsHealth
from trunkline.gateway.records_table import row_of

TOKEN = "a token that nobody guesses"


def record(call_id: str, **fields) -> CallRecord:
    values = {"direction": "inbound", "trunk": "vonage", "agent": "reception", "started_at": "2026-01-02T03:04:05.678Z"}
    return CallRecord(id=call_id, **(values | fields))


class FakeGateway:
    def __init__(self) -> None:
        self.ready = Readiness(parts={"trunk vonage": "registered"})
        self.live = [LiveCall(record("05"), state="answered", speaker="agent", queued_ms=480.0)]
        self.placed: list[tuple[str, str, str | None]] = []
        self.refusal: CallRefused | None = None

    def readiness(self) -> Readiness:
        return self.ready

    def exposition(self, accept: str) -> tuple[bytes, str]:
        return f"calls 1 # for {accept}".encode(), "text/plain; version=0.0.4; charset=utf-8"

    def live_calls(self) -> list[LiveCall]:
        return self.live

    async def place_call(self, to: str, agent: str, trunk: str | None) -> str:
        if self.refusal:
            raise self.refusal
        self.placed.append((to, agent, trunk))
        return "06"

    def hang_up(self, call_id: str) -> bool:
        return call_id in [call.record.id for call in self.live]


class FakeRecords:
    def __init__(self) -> None:
        ended = {"ended_at": "2026-01-02T03:05:05.678Z"}
        self.rows = [record("04", **ended), record("03", agent="other", **ended), record("02", **ended)]
        self.rows.insert(0, record("05"))
        self.health = RecordsHealth(writable=True, queued=0)
        self.broken = False

    async def get(self, call_id: str) -> CallRecord | None:
        return next((row for row in await self.list(9) if row.id == call_id), None)

    async def list(self, limit=50, before=None, query: RecordQuery | None = None) -> list[CallRecord]:
        if self.broken:
            raise RecordsError("the call records cannot be read: disk I/O error")
        rows = [row for row in self.rows if before is None or row.id < before]
        return [row for row in rows if query is None or query.admits(row_of(row, ""))][:limit]


class FakeFlights:
    """A flight recorder whose disk is full."""

    def parts(self) -> dict[str, str]:
        return {"flight recorder": "failing: No space left on device"}

    async def ladder(self, call_id: str) -> None:
        return None


class Api:
    """One API that runs, and a client for it."""

    def __init__(self, token: str | None) -> None:
        self.gateway = FakeGateway()
        self.records = FakeRecords()
        self.config = HttpConfig.model_validate({"listen": "127.0.0.1:0", "token": token})

    async def request(self, method: str, path: str, **options) -> tuple[int, dict, aiohttp.ClientResponse]:
        url = f"http://127.0.0.1:{self.port}{path}"
        async with aiohttp.ClientSession() as session, session.request(method, url, **options) as response:
            return response.status, await response.json(content_type=None), response

    async def problem(self, method: str, path: str, **options) -> tuple[int, str]:
        status, body, response = await self.request(method, path, **options)
        assert response.headers["Content-Type"] == "application/problem+json"
        assert body["type"] == "about:blank"
        assert body["status"] == status
        assert body["title"]
        return status, body["detail"]


@asynccontextmanager
async def running(token: str | None = None, flights: "FakeFlights | None" = None):
    api = Api(token)
    server = AdminServer(api.config, api.gateway, api.records, flights=flights)
    api.port = await server.start()
    try:
        yield api
    finally:
        await server.stop()


async def test_healthz_answers_while_the_process_lives():
    async with running() as api:
        assert (await api.request("GET", "/healthz"))[:2] == (200, {"alive": True})


async def test_readyz_names_every_reason():
    async with running() as api:
        status, body, _ = await api.request("GET", "/readyz")
        assert (status, body["ready"], body["parts"]) == (200, True, {"trunk vonage": "registered"})
        api.gateway.ready = Readiness(reasons=["trunk vonage: 403 Forbidden"], parts={"trunk vonage": "failed"})
        api.records.health = RecordsHealth(writable=False, queued=7, reason="database or disk is full")
        status, body, _ = await api.request("GET", "/readyz")
        assert status == 503
        assert body == {
            "ready": False,
            "reasons": ["trunk vonage: 403 Forbidden", "call records cannot be written: database or disk is full"],
            "parts": {"trunk vonage": "failed"},
            "records_queued": 7,
        }


async def test_bad_calls_that_cannot_be_kept_are_said_and_make_nothing_unready():
    async with running(flights=FakeFlights()) as api:
        status, body, _ = await api.request("GET", "/readyz")
        assert (status, body["ready"]) == (200, True)
        assert body["parts"] == {"trunk vonage": "registered", "flight recorder": "failing: No space left on device"}


async def test_metrics_come_in_the_form_that_is_asked_for():
    async with running() as api, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{api.port}/metrics"
        async with session.get(url, headers={"Accept": "application/openmetrics-text"}) as response:
            assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            assert await response.text() == "calls 1 # for application/openmetrics-text"


async def test_calls_are_live_and_past_ones_newest_first_each_once():
    async with running() as api:
        _, body, _ = await api.request("GET", "/api/calls")
        assert [call["id"] for call in body["calls"]] == ["05", "04", "03", "02"]
        assert body["calls"][0]["live"]["speaker"] == "agent"
        assert "live" not in body["calls"][1]
        assert body["next"] is None


async def test_calls_page_and_filter():
    async with running() as api:
        _, body, _ = await api.request("GET", "/api/calls?limit=2")
        assert ([call["id"] for call in body["calls"]], body["next"]) == (["05", "04"], "04")
        _, body, _ = await api.request("GET", "/api/calls?limit=2&before=04")
        assert ([call["id"] for call in body["calls"]], body["next"]) == (["03", "02"], None)
        _, body, _ = await api.request("GET", "/api/calls?agent=other")
        assert [call["id"] for call in body["calls"]] == ["03"]
        _, body, _ = await api.request("GET", "/api/calls?live=true")
        assert [call["id"] for call in body["calls"]] == ["05"]


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=many", "live=perhaps", "colour=red"])
async def test_a_wrong_query_is_400(query):
    async with running() as api:
        status, detail = await api.problem("GET", f"/api/calls?{query}")
        assert status == 400
        assert "query" in detail


async def test_one_call_has_the_names_of_the_record():
    async with running() as api:
        status, body, _ = await api.request("GET", "/api/calls/04")
        assert status == 200
        assert body == msgspec.to_builtins(api.records.rows[1])
        assert {"from", "to", "media", "turns", "sip_status"} <= body.keys()
        assert (await api.request("GET", "/api/calls/05"))[1]["live"]["state"] == "answered"
        assert await api.problem("GET", "/api/calls/99") == (404, "there is no call 99")


async def test_a_call_is_placed():
    async with running() as api:
        status, body, response = await api.request("POST", "/api/calls", json={"to": "+14155550100", "agent": "a"})
        assert (status, body, response.headers["Location"]) == (201, {"id": "06"}, "/api/calls/06")
        assert api.gateway.placed == [("+14155550100", "a", None)]


async def test_a_refused_call_says_why_and_when_to_retry():
    async with running() as api:
        api.gateway.refusal = CallRefused(503, "the gateway has its 300 calls", retry_after_s=5)
        status, body, response = await api.request("POST", "/api/calls", json={"to": "1", "agent": "a"})
        assert (status, body["detail"], response.headers["Retry-After"]) == (503, "the gateway has its 300 calls", "5")


@pytest.mark.parametrize(
    ("body", "content_type", "status", "words"),
    [
        (b"{", "application/json", 400, "not a call to place"),
        (b'{"to": "1"}', "application/json", 400, "agent"),
        (b'{"to": 1, "agent": "a"}', "application/json", 400, "$.to"),
        (b'{"to": "1", "agent": "a", "colour": 1}', "application/json", 400, "colour"),
        (b"\xff\xfe", "application/json", 400, "not a call to place"),
        (b'{"to": "1", "agent": "a"}', "text/plain", 415, "application/json"),
        (b'{"to": "' + b"1" * 70_000 + b'"}', "application/json", 413, "too large"),
    ],
)
async def test_a_wrong_body_is_a_problem(body, content_type, status, words):
    async with running() as api:
        given_status, detail = await api.problem(
            "POST", "/api/calls", data=body, headers={"Content-Type": content_type}
        )
        assert given_status == status
        assert words in detail
        assert api.gateway.placed == []


async def test_hanging_up():
    async with running() as api:
        assert (await api.request("DELETE", "/api/calls/05"))[0] == 202
        assert await api.problem("DELETE", "/api/calls/04") == (409, "call 04 has already ended")
        assert await api.problem("DELETE", "/api/calls/99") == (404, "there is no call 99")


async def test_unknown_paths_and_methods_are_problems():
    async with running() as api:
        assert (await api.problem("GET", "/nothing"))[0] == 404
        status, _, response = await api.request("PUT", "/api/calls")
        assert status == 405
        assert set(response.headers["Allow"].split(",")) == {"GET", "HEAD", "POST"}


async def test_records_that_cannot_be_read_are_503():
    async with running() as api:
        api.records.broken = True
        assert await api.problem("GET", "/api/calls") == (503, "the call records cannot be read: disk I/O error")


async def test_a_failure_of_our_own_is_500_without_its_text(caplog):
    async with running() as api:
        api.gateway.refusal = ValueError("with a secret")  # pyright: ignore[reportAttributeAccessIssue]
        status, detail = await api.problem("POST", "/api/calls", json={"to": "1", "agent": "a"})
        assert status == 500
        assert "secret" not in detail


@pytest.mark.parametrize("value", [None, "Bearer wrong", f"Basic {TOKEN}", "Bearer", "Bearer \xfc"])
async def test_without_the_token_nothing_is_told(value):
    async with running(TOKEN) as api:
        headers = {"Authorization": value} if value else {}
        status, detail = await api.problem("GET", "/api/calls", headers=headers)
        assert status == 401
        assert TOKEN not in detail
        assert (await api.request("GET", "/readyz", headers=headers))[:2] == (200, {"ready": True})
        assert (await api.request("GET", "/healthz"))[0] == 200
        assert (await api.problem("GET", "/metrics", headers=headers))[0] == 401


async def test_with_the_token_everything_is_told():
    async with running(TOKEN) as api:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        assert (await api.request("GET", "/api/calls", headers=headers))[0] == 200
        assert "parts" in (await api.request("GET", "/readyz", headers=headers))[1]


async def test_a_rebound_name_is_refused_without_a_token():
    async with running() as api:
        assert (await api.problem("GET", "/api/calls", headers={"Host": "evil.example:8080"}))[0] == 403
        assert (await api.problem("GET", "/readyz", headers={"Host": "evil.example"}))[0] == 403


async def test_a_foreign_page_is_refused_without_a_token():
    async with running() as api:
        headers = {"Origin": "http://evil.example"}
        assert (await api.problem("POST", "/api/calls", json={"to": "1", "agent": "a"}, headers=headers))[0] == 403
        assert (await api.problem("DELETE", "/api/calls/05", headers={"Origin": "null"}))[0] == 403
        own = {"Origin": f"http://127.0.0.1:{api.port}"}
        assert (await api.request("GET", "/api/calls", headers=own))[0] == 200


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1:8080", "[::1]:8080", "[::1]"])
def test_local_hosts(host):
    assert is_local(host)


@settings(max_examples=200)
@given(st.text())
def test_any_host_header_is_judged(host):
    assert is_local(host) in (True, False)


@pytest.mark.parametrize("path", ["/healthz", "/api/calls", "/api/calls/none", "/nothing", "/metrics"])
async def test_no_answer_is_a_script_or_names_what_made_it(path):
    async with (
        running() as api,
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{api.port}{path}") as response,
    ):
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Server"] == "trunkline"


async def test_an_address_in_use_is_named():
    async with running() as api:
        other = HttpConfig.model_validate({"listen": f"127.0.0.1:{api.port}"})
        with pytest.raises(GatewayError, match=rf"127.0.0.1:{api.port}: cannot listen: Address already in use; "):
            await AdminServer(other, api.gateway, api.records).start()


async def test_an_export_has_every_call_that_the_search_finds():
    async with running() as client:
        client.records.rows = [record(f"{index:04}", agent="a" if index % 2 else "b") for index in range(1000, 0, -1)]
        url = f"http://127.0.0.1:{client.port}/api/calls"
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{url}.csv", params={"agent": "a"}) as response:
                assert response.content_type == "text/csv"
                lines = (await response.text()).splitlines()
            async with session.get(f"{url}.json", params={"agent": "a"}) as response:
                found = msgspec.convert(await response.json(), list[CallRecord])
        assert [one.id for one in found] == [f"{index:04}" for index in range(999, 0, -2)]
        assert [line.split(",")[0] for line in lines] == ["id", *(one.id for one in found)]


async def test_an_export_without_a_database_is_a_problem_not_half_a_file():
    async with running() as client:
        client.records.broken = True
        status, problem, _ = await client.request("GET", "/api/calls.csv")
        assert (status, problem["status"]) == (503, 503)
        status, _, _ = await client.request("GET", "/api/calls.csv?limit=3")
        assert status == 400


@pytest.mark.parametrize("form", ["csv", "json"])
async def test_an_export_whose_database_fails_is_no_whole_file(form):
    async with running() as api:
        api.records.rows = [record(f"{index:04}") for index in range(60, 0, -1)]
        reads, whole = iter([False, True]), api.records.list

        async def failing(*arguments):
            api.records.broken = next(reads)
            return await whole(*arguments)

        api.records.list = failing
        url = f"http://127.0.0.1:{api.port}/api/calls.{form}"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            assert response.status == 200
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()


async def test_idle_connections_do_not_take_the_descriptors_of_calls(monkeypatch):
    monkeypatch.setattr("trunkline.gateway.http.CONNECTIONS_MOST", 3)
    async with running() as api:
        idle = [await asyncio.open_connection("127.0.0.1", api.port) for _ in range(3)]
        with pytest.raises(aiohttp.ClientConnectionError):
            await api.request("GET", "/healthz")
        idle[0][1].close()
        async with asyncio.timeout(5):
            while True:
                try:
                    status, _, _ = await api.request("GET", "/healthz")
                    break
                except aiohttp.ClientConnectionError:
                    # the server has not seen the end of the idle one yet
                    await asyncio.sleep(0.01)
        assert status == 200
        for _, writer in idle:
            writer.close()
