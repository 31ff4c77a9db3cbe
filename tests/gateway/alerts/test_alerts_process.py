"""Alerts of the real process: killed in the middle, dead channels, acknowledged over the API and the command line."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from support.lab import HOST, USER, LabGateway, eventually
from support.ports import Ports
from support.processes import Programs

from trunkline.gateway.lab.agent import AgentOptions

SECRET = "whsec-0123456789-recognisable"
DEAD_TRUNK = {"username": USER, "password": "$LAB_PASSWORD", "codecs": ["PCMU"]}
"""A trunk whose registrar nobody runs: its alert fires within seconds."""


class Receiver:
    """What a webhook is sent to; while `silent` it takes requests and answers none."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.beats = 0
        self.silent = False
        self._never = asyncio.Event()

    async def start(self, port: int) -> None:
        application = web.Application()
        application.add_routes([web.post("/hook", self._take), web.get("/beat/T0KEN", self._beat)])
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, port).start()

    async def stop(self) -> None:
        self._never.set()
        await self._runner.cleanup()

    def of(self, action: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["action"] == action]

    async def _take(self, request: web.Request) -> web.Response:
        self.events.append(json.loads(await request.read()))
        if self.silent:
            await self._never.wait()
        return web.Response()

    async def _beat(self, _request: web.Request) -> web.Response:
        self.beats += 1
        return web.Response()


class Scene:
    """A gateway with a trunk that works, one that never will, and a webhook."""

    def __init__(self, programs: Programs, ports: Ports) -> None:
        self.receiver = Receiver()
        self.port = ports.take()
        self.dead_port = ports.take()
        hook = {"kind": "webhook", "url": f"http://{HOST}:{self.port}/hook", "secrets": [SECRET]}
        nobody = {"kind": "webhook", "url": f"http://{HOST}:{self.dead_port}/hook", "secrets": [SECRET]}
        on_call = [{"name": "Ada", "channels": ["pager"]}, {"name": "Bo", "channels": ["dead"]}]
        self.lab = LabGateway(
            programs,
            ports,
            AgentOptions(script=("greeting+hours+address",)),
            env={
                "TRUNKLINE_ALERTS__ON_CALL": json.dumps(on_call),
                "TRUNKLINE_ALERTS__CHANNELS": json.dumps({"pager": hook, "dead": nobody}),
            },
            alerts={"heartbeat_url": f"http://{HOST}:{self.port}/beat/T0KEN", "heartbeat_s": 3600, "notify": ["dead"]},
            alerts__rules__trunk_down={"for_s": 1},
        )

    def with_dead_trunk(self) -> dict[str, Any]:
        return {"trunks__gone": DEAD_TRUNK | {"registrar": f"sip:{HOST}:{self.dead_port};transport=tcp"}}

    async def alerts(self, state: str = "open") -> list[dict[str, Any]]:
        answer = await self.lab.ask("GET", f"/api/alerts?state={state}")
        assert answer.status == 200, answer.text
        return answer.json["alerts"]

    async def alert(self) -> dict[str, Any]:
        """The one that is open."""
        async with asyncio.timeout(30):
            while not (alerts := await self.alerts()):
                await asyncio.sleep(0.03)
        (alert,) = alerts
        return alert


@pytest.fixture
async def scene(programs: Programs, ports: Ports) -> AsyncIterator[Scene]:
    scene = Scene(programs, ports)
    await scene.receiver.start(scene.port)
    async with scene.lab:
        yield scene
    await scene.receiver.stop()


async def test_killed_while_the_receiver_is_silent_the_page_arrives_once_more_and_the_end_as_well(scene: Scene) -> None:
    lab, receiver = scene.lab, scene.receiver
    await lab.start()
    receiver.silent = True
    lab.write_config(**scene.with_dead_trunk())
    assert (await lab.command("reload"))[0] == 0
    first = (await eventually(lambda: receiver.of("trigger"), 40, "the page"))[0]
    assert first["person"] == "Ada"
    assert first["alert"]["subject"] == "trunk gone"
    await lab.stop(signal.SIGKILL)
    receiver.silent = False
    receiver.events.clear()
    await lab.start(ready=False)
    again = (await eventually(lambda: receiver.of("trigger"), 40, "the page after the restart"))[0]
    assert (again["id"], again["dedup_key"]) == (first["id"], first["dedup_key"])
    assert (await scene.alert())["id"] == first["alert"]["id"], "another alert for the same trouble"

    # owned over the API, and told; then the trunk is taken out of the file, and the alert is over
    alert_id = first["alert"]["id"]
    path = f"/api/alerts/{alert_id}/acknowledge"
    owned = await lab.ask("POST", path, {"by": "Ada"})
    assert (owned.status, owned.json["state"], owned.json["acknowledged_by"]) == (200, "acknowledged", "Ada")
    await eventually(lambda: receiver.of("acknowledge"), 20, "the acknowledgement to be told")
    await lab.until_readyz(503, reason="trunk gone")
    lab.write_config()
    status, _, err = await lab.command("reload")
    assert status == 0, err
    await eventually(lambda: receiver.of("resolve"), 40, "the end to be told")
    assert len(receiver.of("trigger")) == 1, "the page came a second time after it was taken"
    late = await lab.ask("POST", path, {"by": "Bo"})
    assert (late.status, late.json["status"]) == (409, 409)
    assert [alert["state"] for alert in await scene.alerts("all")] == ["resolved"]
    await lab.until_ready()
    lab.assert_sound()
    assert SECRET not in lab.program.output()
    assert "T0KEN" not in lab.program.output()
    assert await lab.stop() == 0


async def test_the_command_line_and_a_dead_webhook_that_harms_no_call(scene: Scene) -> None:
    lab, receiver = scene.lab, scene.receiver
    await lab.start()
    await eventually(lambda: receiver.beats == 1, 20, "the heartbeat")
    caller = await lab.call()
    assert await lab.command("alerts") == (0, "no open alerts\n", "")
    # in the middle of a call a trunk goes down, and notify is told over a channel that nobody listens to
    lab.write_config(**scene.with_dead_trunk())
    assert (await lab.command("reload"))[0] == 0
    alert = await scene.alert()
    await eventually(lambda: receiver.of("trigger"), 20, "the page")
    async with asyncio.timeout(20):
        while "alert channel dead" not in (await lab.ask("GET", "/readyz")).json["parts"]:
            await asyncio.sleep(0.03)
    metrics = (await lab.ask("GET", "/metrics")).text
    assert 'trunkline_alert_deliveries_total{channel="dead",result="failed"} 0.0' not in metrics
    assert 'trunkline_alert_deliveries_total{channel="pager",result="delivered"} 1.0' in metrics

    status, out, _ = await lab.command("alerts", "list", "--json")
    assert (status, [found["id"] for found in lab.json(out)]) == (0, [alert["id"]])
    status, out, _ = await lab.command("alerts")
    assert (status, alert["id"] in out, "trunk gone" in out) == (0, True, True)
    status, out, _ = await lab.command("alerts", "ack", alert["id"], "--by", "Ada")
    assert (status, f"{alert['id']} belongs to Ada since " in out) == (0, True)
    await eventually(lambda: receiver.of("acknowledge"), 20, "the acknowledgement to be told")
    status, out, err = await lab.command("alerts", "ack", "01a1fd30-nobody")
    assert (status, out, err) == (1, "", "trunkline: there is no alert 01a1fd30-nobody\n")

    status, out, _ = await lab.command("alerts", "test", "pager")
    assert (status, out.startswith("pager: delivered within ")) == (0, True)
    assert receiver.of("test")
    status, out, _ = await lab.command("alerts", "test", "dead", "--json")
    assert (status, lab.json(out)["delivered"]) == (1, False)
    status, _, err = await lab.command("alerts", "test", "fax")
    assert (status, err) == (1, "trunkline: there is no channel 'fax'; use one of: dead, pager\n")

    heard = len(caller.heard)
    await eventually(lambda: len(caller.heard) > heard + 1600, 20, "the call to go on")
    caller.hang_up()
    (record,) = await lab.ended()
    assert (record["ended_by"], record["sip_status"]) == ("caller", 200)
    lab.assert_sound()
