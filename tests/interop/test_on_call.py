"""The whole way at night: a trunk goes down, the first person cannot be reached, the second is called and presses 1."""

import asyncio
import json
from typing import Any

from aiohttp import web
from support.lab import USER, LabGateway, eventually
from support.peers import require
from support.pjsua import start_pjsua
from support.ports import HOST, Ports
from support.processes import Programs
from support.speech import write_speech


async def test_a_page_climbs_to_a_phone_over_another_trunk_and_1_owns_it(programs: Programs, ports: Ports) -> None:
    require("pjsua2", "speech")
    phone = start_pjsua(programs, ports, "", "person", "", play=write_speech(programs.directory / "person.wav"))
    await asyncio.to_thread(phone.program.wait_for, '"ready"', 20)
    events: list[dict[str, Any]] = []

    async def chat(request: web.Request) -> web.Response:
        events.append(await request.json())
        return web.Response()

    async def refuse(_request: web.Request) -> web.Response:
        return web.Response(status=400)

    application = web.Application()
    application.add_routes([web.post("/chat", chat), web.post("/refuses", refuse)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    port, dead = ports.take(), ports.take()
    await web.TCPSite(runner, HOST, port).start()

    def hook(path: str) -> dict[str, Any]:
        return {"kind": "webhook", "url": f"http://{HOST}:{port}/{path}", "secrets": ["0123456789abcdef"]}

    on_call = [{"name": "Ada", "channels": ["pager"]}, {"name": "Bo", "channels": ["bo-phone"]}]
    channels = {
        "chat": hook("chat"),
        "pager": hook("refuses"),
        "bo-phone": {"kind": "telephone", "to": "15550177", "trunk": "gone"},
    }
    tables = {
        # the trunk that is up leads to the person's phone
        "trunks__lab": {
            **dict.fromkeys(("registrar", "username", "password")),
            "peer": f"sip:{HOST}:{phone.port}",
            "options_interval_s": 0,
        },
        "alerts": {"notify": ["chat"]},
        "alerts__rules__trunk_down": {"for_s": 1},
    }
    env = {"TRUNKLINE_ALERTS__ON_CALL": json.dumps(on_call), "TRUNKLINE_ALERTS__CHANNELS": json.dumps(channels)}
    gone = {"registrar": f"sip:{HOST}:{dead};transport=tcp", "username": USER, "password": "$LAB_PASSWORD"}
    async with LabGateway(programs, ports, env=env, trunks__gone=gone, **tables) as gateway:
        await gateway.start(ready=False)
        await asyncio.to_thread(phone.call_state, "CONFIRMED")
        await asyncio.sleep(0.5)  # a person listens first
        phone.dial("1")
        await eventually(lambda: [event for event in events if event["action"] == "acknowledge"], 30, "the owner")
        assert [event["action"] for event in events] == ["trigger", "acknowledge"]
        (alert,) = (await gateway.ask("GET", "/api/alerts")).json["alerts"]
        assert (alert["subject"], alert["state"], alert["acknowledged_by"]) == ("trunk gone", "acknowledged", "Bo")
        (record,) = await gateway.ended()
        assert (record["trunk"], record["agent"], record["dtmf"]) == ("lab", "alert", ["1"])
        gateway.assert_sound()
    await runner.cleanup()
