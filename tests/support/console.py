"""A console over parts that the test holds, behind the admin API's server on a real socket."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from trunkline.gateway.alerts.alert import Alert, Cause, Verdict
from trunkline.gateway.config_tables import HttpConfig
from trunkline.gateway.console.pages import Console
from trunkline.gateway.console.watch import CallWatch
from trunkline.gateway.errors import AlertRefused, RecordsError
from trunkline.gateway.flight.ladder import LadderLine
from trunkline.gateway.http import AdminServer, LiveCall, Readiness
from trunkline.gateway.record import CallRecord, Media, Moment, Received, Sent, Slice, StreamSlice, Timeline, Turn
from trunkline.gateway.record_search import searchable
from trunkline.gateway.records import RecordsHealth

TOKEN = "a token that nobody guesses"
LIVE, PAST = "01a1fd30-dcdc-7b71-bbc6-c746cf67706f", "01a1fd30-dcdc-7b71-bbc6-c746cf677000"
NASTY = "<script>alert(1)</script>\"'"


def record(call_id: str, **fields: Any) -> CallRecord:
    values: dict[str, Any] = {
        "direction": "inbound",
        "trunk": "vonage",
        "agent": "reception",
        "codec": "PCMU",
        "from_": "+14155550134",
        "to": "15550123",
        "started_at": "2026-01-02T03:04:04.000Z",
        "answered_at": "2026-01-02T03:04:05.000Z",
        "sip_status": 200,
    }
    return CallRecord(id=call_id, **(values | fields))


def bad_call(call_id: str, **fields: Any) -> CallRecord:
    """A call with a bad slice, a barge-in, a pressed key and two turns."""
    slices = [
        Slice(0.0, 10.0, StreamSlice(4.41, jitter_ms=1.0, lost=0.0), StreamSlice(4.4), 80.0),
        Slice(
            10.0, 10.0, StreamSlice(2.87, bad=True, jitter_ms=31.0, lost=0.08, discarded=0.01), StreamSlice(4.3), 90.0
        ),
    ]
    moments = [Moment(1.0, "turn"), Moment(6.0, "barge_in"), Moment(8.0, "dtmf", "7"), Moment(9.0, "tool", NASTY)]
    turns = [
        Turn(0, agent_said="Hello."),
        Turn(1, caller_said=f"Call me at +14155550134 {NASTY}", agent_said="Yes.", latency_ms=1240.0, interrupted=True),
    ]
    given = {
        "media": Media(Received(packets=900, mos_min=2.87, mos_lq=3.9), Sent(packets=1000, mos_min=4.3)),
        "turns": turns,
    }
    return record(call_id, timeline=Timeline(slices, moments), **(given | fields))


def alert(number: int, **fields: Any) -> Alert:
    cause = Cause("carrier", 1.0, ["loss 6.1 % in 14 of 16 bad slices, on trunk vonage alone"])
    values: dict[str, Any] = {
        "rule": "quality",
        "subject": "trunk vonage",
        "severity": "page",
        "summary": f"Calls on trunk vonage sound bad {number}",
        "verdict": Verdict([cause], "the carrier or access network before us: loss 6.1 %"),
        "calls": [PAST],
        "started_at": "2026-01-02T03:04:05.000Z",
        "updated_at": "2026-01-02T03:05:05.000Z",
    }
    return Alert(id=f"01a1fd30-0000-7000-8000-00000000000{number}", **(values | fields))


class FakeGateway:
    def __init__(self) -> None:
        self.ready = Readiness(parts={"trunk vonage": "registered", "worker media-1": "alive"})
        self.live = [LiveCall(bad_call(LIVE), state="answered", speaker="agent")]
        self.ended: list[str] = []

    def readiness(self) -> Readiness:
        return self.ready

    def exposition(self, accept: str) -> tuple[bytes, str]:
        return b"", "text/plain"

    def live_calls(self) -> list[LiveCall]:
        return self.live

    async def place_call(self, to: str, agent: str, trunk: str | None) -> str:
        raise NotImplementedError

    def hang_up(self, call_id: str) -> bool:
        self.ended.append(call_id)
        return call_id in [call.record.id for call in self.live]


class FakeRecords:
    def __init__(self) -> None:
        self.rows = [
            bad_call(PAST, ended_at="2026-01-02T03:05:05.000Z", duration_s=60.0, end_reason="bye +14155550134")
        ]
        self.health = RecordsHealth(writable=True, queued=0)
        self.broken = False

    async def get(self, call_id: str) -> CallRecord | None:
        return next((row for row in await self.list() if row.id == call_id), None)

    async def list(self, limit=50, before=None, query=None) -> list[CallRecord]:
        if self.broken:
            raise RecordsError("the call records cannot be read: disk I/O error")
        rows = [row for row in self.rows if before is None or row.id < before]
        return [row for row in rows if query is None or query.admits(searchable(row))][:limit]


class FakeAlerts:
    def __init__(self) -> None:
        self.alerts = [alert(1), alert(2, state="resolved", resolved_at="2026-01-02T04:00:00.000Z")]
        self.acknowledged: list[tuple[str, str]] = []

    def list(self, state: str = "open", limit: int = 50) -> list[Alert]:
        return [alert for alert in self.alerts if state == "all" or alert.state != "resolved"]

    async def acknowledge(self, alert_id: str, by: str) -> Alert:
        for found in self.alerts:
            if found.id == alert_id:
                self.acknowledged.append((alert_id, by))
                found.state, found.acknowledged_by, found.acknowledged_at = "acknowledged", by, found.updated_at
                return found
        raise AlertRefused(404, "there is no such alert")

    def troubles(self) -> Sequence[str]:
        return []

    def parts(self) -> dict[str, str]:
        return {"alerts": "1 open", "alert channel slack": "failing: 500"}

    def get(self, alert_id: str) -> Alert:
        raise NotImplementedError

    async def test(self, channel: str) -> Any:
        raise NotImplementedError


class FakeLadder:
    async def ladder(self, call_id: str) -> list[LadderLine] | None:
        if call_id != PAST:
            return None
        text = f"INVITE sip:15550123@192.0.2.1 SIP/2.0\r\nFrom: <sip:+14155550134@a>\r\nSubject: {NASTY}\r\n\r\n"
        return [
            LadderLine(
                at="2026-01-02T03:04:04.000Z",
                unix=1767323044.0,
                received=True,
                far_end="udp 192.0.2.7:5060",
                summary="INVITE sip:15550123@192.0.2.1",
                cseq="1 INVITE",
                sdp=True,
                text=text,
            )
        ]


class Site:
    """The server, and a browser's habits: it keeps cookies and sends its Origin with a form."""

    def __init__(self, recordings_dir: Path, token: str | None, **http: Any) -> None:
        self.gateway, self.records, self.alerts, self.watch = FakeGateway(), FakeRecords(), FakeAlerts(), CallWatch()
        config = HttpConfig.model_validate({"listen": "127.0.0.1:0", "token": token, **http})
        self.console = Console(
            config, "edge-1", recordings_dir, self.gateway, self.records, self.watch, self.alerts, FakeLadder()
        )
        self.server = AdminServer(config, self.gateway, self.records, console=self.console)
        for call in self.gateway.live:
            self.watch.on_record(call.record)

    async def start(self) -> None:
        self.origin = f"http://127.0.0.1:{await self.server.start()}"
        self.session = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))

    async def get(self, path: str, **options: Any) -> tuple[aiohttp.ClientResponse, str]:
        async with self.session.get(self.origin + path, allow_redirects=False, **options) as response:
            return response, await response.text()

    async def post(self, path: str, origin: str | None = "", **fields: str) -> tuple[aiohttp.ClientResponse, str]:
        headers = {} if origin is None else {"Origin": origin or self.origin}
        async with self.session.post(
            self.origin + path, data=fields, headers=headers, allow_redirects=False
        ) as response:
            return response, await response.text()

    async def form_token(self) -> str:
        """What stands in the forms of this session."""
        _, text = await self.get("/alerts")
        return text.partition('name="form" value="')[2].partition('"')[0]

    async def log_in(self, token: str = TOKEN, **fields: str) -> tuple[aiohttp.ClientResponse, str]:
        return await self.post("/login", token=token, **fields)


@asynccontextmanager
async def site(recordings_dir: Path, token: str | None = None, **http: Any) -> AsyncIterator[Site]:
    found = Site(recordings_dir, token, **http)
    await found.start()
    try:
        yield found
    finally:
        await found.session.close()
        await found.server.stop()
