"""The admin API and the command line of the alerts, over a real socket on loopback."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator

import aiohttp
import pytest
from rich.console import Console
from support.alerts import an_alert

from trunkline.gateway import cli, cli_alerts
from trunkline.gateway.alerts.alert import Alert, Cause, Verdict
from trunkline.gateway.alerts.deliveries import ChannelTest
from trunkline.gateway.config_tables import HttpConfig
from trunkline.gateway.errors import AlertRefused
from trunkline.gateway.http import AdminServer, Readiness
from trunkline.gateway.records import RecordsHealth

TOKEN = "a token that nobody guesses"
VERDICT = Verdict(causes=[Cause(name="carrier", share=1.0, evidence=["loss 6 %"])], summary="the carrier: loss 6 %")


class Gateway:
    def readiness(self) -> Readiness:
        return Readiness(parts={"trunk vonage": "registered"})


class Records:
    health = RecordsHealth(writable=True, queued=0)


class Alerts:
    """A service with one open and one resolved alert."""

    def __init__(self) -> None:
        self.kept = [an_alert("a2", verdict=VERDICT), an_alert("a1", state="resolved", acknowledged_by="Bo")]
        self.trouble: list[str] = []
        self.tested = ChannelTest(channel="pager", delivered=True, took_ms=12.5)
        self.limits: list[int] = []

    def list(self, state: str = "open", limit: int = 50) -> list[Alert]:
        self.limits.append(limit)
        return [alert for alert in self.kept if state == "all" or alert.state != "resolved"]

    def get(self, alert_id: str) -> Alert:
        for alert in self.kept:
            if alert.id == alert_id:
                return alert
        raise AlertRefused(404, f"there is no alert {alert_id}")

    async def acknowledge(self, alert_id: str, by: str) -> Alert:
        alert = self.get(alert_id)
        if alert.state == "resolved":
            raise AlertRefused(409, f"alert {alert_id} is resolved already")
        alert.state, alert.acknowledged_by, alert.acknowledged_at = "acknowledged", by, "2026-03-02T12:01:00.000Z"
        return alert

    async def test(self, channel: str) -> ChannelTest:
        if channel != "pager":
            raise AlertRefused(404, f"there is no channel {channel!r}; use one of: pager")
        return self.tested

    def troubles(self):
        return self.trouble

    def parts(self) -> dict[str, str]:
        return {"alerts": "1 open"}


class Api:
    def __init__(self, token: str | None = None) -> None:
        self.alerts = Alerts()
        self.config = HttpConfig.model_validate({"listen": "127.0.0.1:0", "token": token})
        self.server = AdminServer(self.config, Gateway(), Records(), alerts=self.alerts)

    async def ask(self, method: str, path: str, body: object = None, **options) -> tuple[int, dict]:
        if body is not None:
            options["json"] = body
        url = f"http://127.0.0.1:{self.port}{path}"
        async with aiohttp.ClientSession() as session, session.request(method, url, **options) as response:
            return response.status, await response.json(content_type=None)


@contextlib.asynccontextmanager
async def served(token: str | None = None) -> AsyncIterator[Api]:
    api = Api(token)
    api.port = await api.server.start()
    try:
        yield api
    finally:
        await api.server.stop()


async def test_alerts_are_listed_and_shown():
    async with served() as api:
        status, body = await api.ask("GET", "/api/alerts")
        assert (status, [alert["id"] for alert in body["alerts"]]) == (200, ["a2"])
        assert body["alerts"][0]["verdict"]["causes"][0]["name"] == "carrier"
        status, body = await api.ask("GET", "/api/alerts?state=all&limit=7")
        assert (status, [alert["state"] for alert in body["alerts"]]) == (200, ["firing", "resolved"])
        assert api.alerts.limits == [50, 7]
        status, body = await api.ask("GET", "/api/alerts/a1")
        assert (status, body["acknowledged_by"]) == (200, "Bo")


async def test_an_alert_is_acknowledged_and_a_channel_tested():
    async with served() as api:
        status, body = await api.ask("POST", "/api/alerts/a2/acknowledge", {"by": "Ada"})
        assert (status, body["state"], body["acknowledged_by"]) == (200, "acknowledged", "Ada")
        status, body = await api.ask("POST", "/api/alerts/test", {"channel": "pager"})
        assert (status, body["delivered"], body["took_ms"]) == (200, True, 12.5)
        api.alerts.tested = ChannelTest(channel="pager", delivered=False, reason="no route to host", took_ms=1.0)
        status, body = await api.ask("POST", "/api/alerts/test", {"channel": "pager"})
        assert (status, body["delivered"], body["reason"]) == (200, False, "no route to host")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "detail"),
    [
        ("GET", "/api/alerts?state=past", None, 400, "the query is wrong"),
        ("GET", "/api/alerts?limit=0", None, 400, "the query is wrong"),
        ("GET", "/api/alerts?limit=1001", None, 400, "the query is wrong"),
        ("GET", "/api/alerts?whose=mine", None, 400, "the query is wrong"),
        ("GET", "/api/alerts/a3", None, 404, "there is no alert a3"),
        ("POST", "/api/alerts/a3/acknowledge", {"by": "Ada"}, 404, "there is no alert a3"),
        ("POST", "/api/alerts/a1/acknowledge", {"by": "Ada"}, 409, "is resolved already"),
        ("POST", "/api/alerts/a2/acknowledge", {"by": ""}, 400, "the body is wrong"),
        ("POST", "/api/alerts/a2/acknowledge", {"by": "x" * 101}, 400, "the body is wrong"),
        ("POST", "/api/alerts/a2/acknowledge", {"by": "A\x1b[2Jda"}, 400, "the body is wrong"),
        ("POST", "/api/alerts/a2/acknowledge", {}, 400, "the body is wrong"),
        ("POST", "/api/alerts/a2/acknowledge", None, 415, "application/json"),
        ("POST", "/api/alerts/test", {"channel": "fax"}, 404, "use one of: pager"),
        ("POST", "/api/alerts/test", {"channel": "pager", "loud": True}, 400, "the body is wrong"),
        ("DELETE", "/api/alerts/a2", None, 405, "does not know the method"),
    ],
)
async def test_refusals_are_problem_documents(method, path, body, status, detail):
    async with served() as api:
        found, problem = await api.ask(method, path, body)
    assert (found, problem["status"]) == (status, status)
    assert detail in problem["detail"]


async def test_a_gateway_without_alerts_has_no_such_resource():
    server = AdminServer(HttpConfig.model_validate({"listen": "127.0.0.1:0"}), Gateway(), Records())
    api = Api()
    api.port = await server.start()
    assert (await api.ask("GET", "/api/alerts"))[0] == 404
    await server.stop()


async def test_the_token_guards_the_alerts():
    async with served(TOKEN) as api:
        assert (await api.ask("GET", "/api/alerts"))[0] == 401
        assert (await api.ask("POST", "/api/alerts/a2/acknowledge", {"by": "Ada"}))[0] == 401
        assert (await api.ask("GET", "/api/alerts", headers={"Authorization": f"Bearer {TOKEN}"}))[0] == 200


async def test_readiness_says_how_the_alerts_stand_and_that_they_cannot_be_stored():
    async with served() as api:
        status, body = await api.ask("GET", "/readyz")
        assert (status, body["parts"]) == (200, {"trunk vonage": "registered", "alerts": "1 open"})
        api.alerts.trouble = ["alerts cannot be stored: No space left on device"]
        status, body = await api.ask("GET", "/readyz")
        assert (status, body["reasons"]) == (503, api.alerts.trouble)


# The command line, in a thread of its own beside the server


@pytest.fixture
async def trunkline(monkeypatch, capsys, tmp_path):
    async with served(TOKEN) as api:
        config = tmp_path / "t.toml"
        config.write_text(f"[http]\nlisten = '127.0.0.1:{api.port}'\ntoken = '{TOKEN}'\n")

        def run(*arguments: str) -> tuple[int, str, str]:
            monkeypatch.setattr(sys, "argv", ["trunkline", "alerts", *arguments])
            monkeypatch.setenv("TRUNKLINE_CONFIG", str(config))
            with pytest.raises(SystemExit) as caught:
                cli.main()
            out, err = capsys.readouterr()
            return int(caught.value.code or 0), out, err

        async def command(*arguments: str) -> tuple[int, str, str]:
            return await asyncio.to_thread(run, *arguments)

        command.api = api
        yield command


async def test_the_list_says_what_why_and_whose_on_a_narrow_terminal(trunkline, monkeypatch):
    monkeypatch.setattr(cli_alerts, "console", lambda: Console(width=40))
    status, out, _ = await trunkline()
    assert status == 0
    assert "a2" in out
    assert out.index("trunk vonage is down") < out.index("the carrier: loss 6 %")
    assert "a1" not in out
    _, out, _ = await trunkline("list", "--all")
    assert "taken by Bo" in out
    _, out, _ = await trunkline("--json", "list", "--all")
    assert [alert["id"] for alert in json.loads(out)] == ["a2", "a1"]
    trunkline.api.alerts.kept.clear()
    assert await trunkline() == (0, "no open alerts\n", "")
    assert await trunkline("--json") == (0, "[]\n", "")


async def test_ack_owns_an_alert_by_name_or_by_user(trunkline, monkeypatch):
    assert (await trunkline("ack", "a2", "--by", "Ada"))[:2] == (
        0,
        "a2 belongs to Ada since 2026-03-02T12:01:00.000Z\n",
    )
    monkeypatch.setenv("LOGNAME", "root-at-night")
    _, out, _ = await trunkline("ack", "a2", "--json")
    assert json.loads(out)["acknowledged_by"] == "root-at-night"
    assert await trunkline("ack", "a1") == (1, "", "trunkline: alert a1 is resolved already\n")
    assert await trunkline("ack", "../calls/x") == (1, "", "trunkline: there is no alert ../calls/x\n")


async def test_a_channel_that_fails_its_test_is_exit_status_1(trunkline):
    assert (await trunkline("test", "pager"))[:2] == (0, "pager: delivered within 0.0 s\n")
    trunkline.api.alerts.tested = ChannelTest(channel="pager", delivered=True, answer="next", took_ms=21_000)
    _, out, _ = await trunkline("test", "pager")
    assert out == "pager: delivered within 21.0 s, and the person said next\n"
    trunkline.api.alerts.tested = ChannelTest(
        channel="pager", delivered=False, reason="pager: no route to host", took_ms=1.0
    )
    assert (await trunkline("test", "pager"))[:2] == (1, "pager: FAILED: no route to host\n")
    status, out, _ = await trunkline("test", "pager", "--json")
    assert (status, json.loads(out)["reason"]) == (1, "pager: no route to host")
    assert (await trunkline("test", "fax"))[2] == "trunkline: there is no channel 'fax'; use one of: pager\n"


async def test_a_gateway_that_is_not_there_is_one_line(trunkline):
    await trunkline.api.server.stop()
    status, out, err = await trunkline()
    assert (status, out) == (1, "")
    assert err.startswith("trunkline: no gateway answers at http://127.0.0.1:")
    assert err.count("\n") == 1


async def test_a_broken_configuration_is_exit_status_2(trunkline, tmp_path):
    (tmp_path / "t.toml").write_text("[http]\nlisten = 'nowhere'\n")
    status, _, err = await trunkline()
    assert status == 2
    assert "t.toml:2: http.listen" in err
