"""Bad days of the real process: dead webhooks, a full disk, a clock that steps, a reload in the middle of a call
set-up, and the end in the middle of these. No call is harmed, nothing stored is lost, and the gateway says so."""

import asyncio
import contextlib
import json
import re
import signal
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from aiohttp import web
from support.conversation import converse
from support.lab import HOST, NUMBER, USER, LabGateway, RawSip, eventually, offer
from support.peers import FAKETIME, require
from support.ports import Ports
from support.processes import Programs

from trunkline.gateway.lab.agent import AgentOptions, Faults
from trunkline.gateway.lab.caller import LabCaller

SECRET = "whsec-0123456789-recognisable"
ANSWER = "goodbye"
TURNS = AgentOptions(script=(ANSWER, ANSWER))


class Hook:
    """What a webhook is sent to. Answers with `statuses` in turn, then with 200; not at all while `silent`."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.events: list[dict[str, Any]] = []
        self.statuses: list[int] = []
        self.silent = False
        self._never = asyncio.Event()

    async def __aenter__(self) -> "Hook":
        application = web.Application()
        application.add_routes([web.post("/hook", self._take)])
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, self.port).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._never.set()
        await self._runner.cleanup()

    def of(self, action: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["action"] == action]

    async def until(self, action: str, timeout_s: float = 30.0) -> dict[str, Any]:
        """The first event of this kind."""
        return (await eventually(lambda: self.of(action), timeout_s, f"{action} at the webhook"))[0]

    async def _take(self, request: web.Request) -> web.Response:
        self.events.append(json.loads(await request.read()))
        if self.silent:
            await self._never.wait()
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200)


def channel(port: int) -> dict[str, Any]:
    return {"kind": "webhook", "url": f"http://{HOST}:{port}/hook", "secrets": [SECRET]}


def alerting(channels: dict[str, Any], on_call: list[dict[str, Any]]) -> dict[str, str]:
    """Lists of tables, by the environment."""
    return {"TRUNKLINE_ALERTS__CHANNELS": json.dumps(channels), "TRUNKLINE_ALERTS__ON_CALL": json.dumps(on_call)}


QUICK = {"min_calls": 2, "enter_share": 0.1, "leave_share": 0.05}
"""Two failed calls page: an alert that leaves the gateway ready."""


async def fail_calls(lab: LabGateway, count: int) -> None:
    """Calls that no route takes."""
    with RawSip(lab.sip_port) as raw:
        for _ in range(count):
            assert (await raw.ask("INVITE", user="4930999", body=offer())).status == 404


async def alerts(lab: LabGateway, state: str = "open") -> list[dict[str, Any]]:
    answer = await lab.ask("GET", f"/api/alerts?state={state}")
    assert answer.status == 200, answer.text
    return answer.json["alerts"]


async def metric(lab: LabGateway, name: str) -> float:
    """One sample; `name` with its labels."""
    text = (await lab.ask("GET", "/metrics")).text
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    assert found, f"no {name}"
    return float(found[1])


async def until_metric(lab: LabGateway, name: str, least: float) -> None:
    async with asyncio.timeout(30):
        while await metric(lab, name) < least:
            await asyncio.sleep(0.1)


async def ended(lab: LabGateway, caller: str) -> dict[str, Any]:
    """The record of this caller's call, once it is over."""
    async with asyncio.timeout(20):
        while True:
            for record in await lab.calls():
                if record["from"] == caller and record["ended_at"]:
                    return record
            await asyncio.sleep(0.05)


def unharmed(record: dict[str, Any]) -> None:
    assert (record["ended_by"], record["sip_status"]) == ("caller", 200)
    received = record["media"]["received"]
    assert received["lost"] == 0, received


# Dead webhooks


async def test_dead_webhooks_and_a_page_by_telephone_outlive_a_sigterm_and_harm_no_call(
    programs: Programs, ports: Ports
) -> None:
    refuser, hanger, moody = (Hook(ports.take()) for _ in range(3))
    hanger.silent = True
    moody.statuses = [503]
    channels = {"refuser": channel(refuser.port), "hanger": channel(hanger.port), "moody": channel(moody.port)}
    phone = {"kind": "telephone", "to": "15550177"}
    tables: dict[str, Any] = {
        "gateway": {"workers": 0, "drain_s": 1},
        "alerts": {"notify": list(channels)},
        "alerts__rules__call_failures": QUICK,
    }
    env = alerting(channels | {"phone": phone}, [{"name": "Ada", "channels": ["phone"]}])
    async with hanger, moody, LabGateway(programs, ports, TURNS, env=env, **tables) as lab:
        people: list[LabCaller] = []

        def answer(event: Any) -> None:
            people.append(lab.caller())
            people[-1].take(event)

        lab.trunk.on_call = answer
        await lab.start()
        caller = await lab.call()
        await caller.hear_quiet()
        await fail_calls(lab, 2)
        await asyncio.gather(
            until_metric(lab, 'trunkline_alert_deliveries_total{channel="refuser",result="failed"}', 1),
            until_metric(lab, 'trunkline_alert_deliveries_total{channel="moody",result="delivered"}', 1),
            hanger.until("trigger"),
            eventually(lambda: people, 20, "the telephone to ring"),
            converse(lab, caller, [ANSWER]),
        )
        assert len(moody.events) == 2
        assert len({event["id"] for event in moody.events}) == 1, "each attempt is the same delivery"
        ready = await lab.ask("GET", "/readyz")
        assert ready.status == 200, "a dead webhook is no reason to refuse calls"
        assert "Connection refused" in ready.json["parts"]["alert channel refuser"]
        assert [line["channel"] for line in lab.log("alert not delivered")].count("refuser") == 1, "said once"
        (alert,) = await alerts(lab)
        caller.hang_up()
        unharmed(await ended(lab, "15550100"))

        # told to end while one webhook is silent and a person listens: neither holds it up, both hear of it again
        await people[0].hear_speech(200)
        assert await lab.stop() == 0
        assert people[0].end_reason == "bye"
        assert not people[1:]
        (page,) = [record for record in lab.stored() if record["direction"] == "outbound"]
        assert (page["agent"], page["ended_by"]) == ("alert", "gateway")
        hanger.silent = False
        hanger.events.clear()
        async with refuser:
            await lab.start()
            told = [await hook.until("trigger") for hook in (hanger, refuser)]
            assert {event["alert"]["id"] for event in told} == {alert["id"]}
            assert len(moody.events) == 2, "what was delivered is not delivered again"
            await eventually(lambda: people[1:], 20, "the telephone to ring again")
            await people[1].hear_speech(200)
            assert (await lab.ask("POST", f"/api/alerts/{alert['id']}/acknowledge", {"by": "Bo"})).status == 200
            await eventually(people[1].ended.is_set, 10, "the telephone to be left alone")
            lab.assert_sound()
            assert await lab.stop() == 0


# A full disk


class SmallDisk:
    """A file system of `octets` on a directory, seen in a mount namespace of its own; gone with its holder."""

    def __init__(self, programs: Programs, directory: Path, octets: int) -> None:
        directory.mkdir(parents=True)
        script = f"mount -t tmpfs -o size={octets} tmpfs {directory} && echo mounted && exec sleep infinity"
        self._holder = programs.start("disk", ["unshare", "--mount", "sh", "-c", script])
        self._holder.wait_for("mounted", 10)
        self.prefix = ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt"]
        """Of a command that is to see it."""
        self.path = Path(f"/proc/{self._holder.pid}/root{directory}")
        """Where everybody else sees it."""

    def fill(self) -> None:
        """Not an octet is left."""
        with (self.path / "filling").open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass

    def free(self) -> None:
        (self.path / "filling").unlink()


async def test_a_full_disk_is_said_and_told_and_what_waits_is_stored_in_the_end(
    programs: Programs, ports: Ports
) -> None:
    require("raw sockets")  # root may mount
    hook = Hook(ports.take())
    env = alerting({"pager": channel(hook.port)}, [{"name": "Ada", "channels": ["pager"]}])
    tables: dict[str, Any] = {
        "gateway": {"workers": 0},
        "alerts__rules__records": {"for_s": 1, "hold_s": 1},
        "agents__reception": {"recording": True},
        "flight": {"keep": "all"},
    }
    async with hook, LabGateway(programs, ports, TURNS, env=env, **tables) as lab:
        disk = SmallDisk(programs, lab.state_dir, 8 << 20)
        await lab.start(prefix=disk.prefix)
        caller, second = await lab.call("15550100"), await lab.call("15550101")
        await caller.hear_quiet()
        disk.fill()
        second.hang_up()
        answer, _ = await asyncio.gather(
            lab.until_readyz(503, reason="call records cannot be written"), converse(lab, caller, [ANSWER])
        )
        assert "disk" in answer.text
        page = await hook.until("trigger")
        assert page["alert"]["rule"] == "records"
        await lab.until_readyz(503, reason="alerts cannot be stored: No space left on device")
        assert await metric(lab, "trunkline_records_writable") == 0
        assert await metric(lab, "trunkline_alerts_storable") == 0
        assert {call["from"]: call["ended_at"] is not None for call in await lab.calls()} == {
            "15550100": False,
            "15550101": True,
        }, "what waits is found all the same"
        assert (await lab.ask("POST", f"/api/alerts/{page['alert']['id']}/acknowledge", {"by": "Ada"})).status == 200
        await hook.until("acknowledge")

        disk.free()
        await lab.until_ready()
        await hook.until("resolve")
        assert not caller.ended.is_set()
        assert len(lab.log("bad calls cannot be kept")) == 1
        stopped = [line["call"] for line in lab.log("recording stopped, the call goes on")]
        assert stopped
        assert len(stopped) == len(set(stopped)), "said once a call"
        lab.assert_sound()
        # killed now: all that waited is on the disk
        assert (await lab.ask("GET", "/readyz")).json["records_queued"] == 0
        await eventually(lambda: "resolved" in (disk.path / "alerts.journal.jsonl").read_text(), 10, "the end stored")
        await lab.stop(signal.SIGKILL)
        await lab.start(prefix=disk.prefix)
        (alert,) = await alerts(lab, "all")
        assert (alert["id"], alert["state"], alert["acknowledged_by"]) == (page["alert"]["id"], "resolved", "Ada")
        ended = {call["from"]: call["end_reason"] for call in await lab.calls()}
        assert ended == {"15550100": "gateway stopped unexpectedly", "15550101": "bye"}
        assert len(hook.of("trigger")) == 1
        lab.assert_sound()


# A clock that steps


async def test_a_wall_clock_that_steps_by_hours_harms_no_call_and_delays_no_page(
    programs: Programs, ports: Ports, tmp_path: Path
) -> None:
    require("libfaketime")
    hook = Hook(ports.take())
    channels = {name: channel(hook.port) for name in ("ada", "bo", "cy")}
    on_call = [
        {"name": "Ada", "channels": ["ada"], "ack_timeout_s": 5},
        {"name": "Bo", "channels": ["bo"], "ack_timeout_s": 3600},
        {"name": "Cy", "channels": ["cy"]},
    ]
    clock = tmp_path / "clock"
    clock.write_text("+0")
    env = {
        **alerting(channels, on_call),
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }
    # a session of the agent has an end, by the true clock
    options = AgentOptions(script=TURNS.script, faults=Faults(expires_in_s=1800))
    async with hook, LabGateway(programs, ports, options, env=env, alerts__rules__call_failures=QUICK) as lab:
        await lab.start()
        caller = await lab.call("15550100")
        await caller.hear_quiet()
        began = time.time()
        await fail_calls(lab, 1)
        clock.write_text("+3600")
        # two failures in one window, an hour apart by the wall clock
        await fail_calls(lab, 1)
        (page,) = [await hook.until("trigger")]
        assert page["person"] == "Ada"
        assert (await lab.ask("GET", "/readyz")).status == 200
        second = await lab.call("15550101")
        clock.write_text("-3600")
        await asyncio.gather(
            converse(lab, caller, [ANSWER]),
            eventually(lambda: len(hook.of("trigger")) == 2, 20, "the second person, whom no clock delays"),
        )
        clock.write_text("+7200")
        third = await lab.call("15550102")
        for phone in (caller, second, third):
            phone.hang_up()
        calls = await lab.ended(5)
        took = time.time() - began
        assert [event["person"] for event in hook.of("trigger")] == ["Ada", "Bo"], "a clock step is no time-out"
        (alert,) = await alerts(lab)
        assert (alert["id"], alert["state"]) == (page["alert"]["id"], "firing")
        assert (await lab.ask("GET", "/readyz")).status == 200
        assert len(lab.agent.sessions) == 3, "a session was taken for one that is over"

        # in the order in which they came, whatever the clock said
        assert [call["from"] for call in calls] == ["15550100", "raw", "raw", "15550101", "15550102"]
        answered = [call for call in calls if call["duration_s"] is not None]
        for call in answered:
            unharmed(call)
            assert 0 < call["duration_s"] < took + 60, "a duration by the wall clock"
            assert (call["media"]["sent"]["rtt_ms"] or 0) < 5000, "a round trip by the wall clock"
        began_at = [datetime.fromisoformat(call["started_at"]).timestamp() - began for call in calls]
        assert [round(at / 3600) for at in began_at] == [0, 0, 1, 1, 2], "the record has the time of day"
        lab.assert_sound()


# A reload in the middle of a call set-up


def without(text: str, *tables: str) -> str:
    """A configuration file without these tables."""
    parts = re.split(r"(?m)^(?=\[)", text)
    return "".join(part for part in parts if not part.startswith(tuple(f"[{table}]" for table in tables)))


async def test_a_reload_takes_trunk_agent_and_route_from_calls_in_set_up_and_they_go_on(
    programs: Programs, ports: Ports
) -> None:
    hook, dead = Hook(ports.take()), ports.take()
    gone = {"registrar": f"sip:127.0.0.2:{dead};transport=tcp", "username": USER, "password": "$LAB_PASSWORD"}
    options = AgentOptions(script=TURNS.script, think_ms=1000)
    async with (
        hook,
        LabGateway(
            programs,
            ports,
            options,
            trunks__gone=gone,
            alerts={"notify": ["pager"]},
            alerts__channels__pager=channel(hook.port),
            alerts__rules__trunk_down={"for_s": 1},
        ) as lab,
    ):
        await lab.start(ready=False)
        page = await hook.until("trigger")
        ringing: list[Any] = []
        lab.trunk.on_call = lambda event: (event.session.ring(time.monotonic()), ringing.append(event))
        with RawSip(lab.sip_port) as raw:
            up = await raw.ask("INVITE", body=offer())
            call_id, tag = up.call_id, up.to.tag
            assert up.status == 200
            raw.send(raw.request("ACK", call_id=call_id, to_tag=tag)[0])
            phone, callee = lab.caller("15550100"), lab.caller()
            dial = asyncio.create_task(phone.dial(USER, NUMBER))
            placed = await lab.ask("POST", "/api/calls", {"to": "15550777", "agent": "reception", "trunk": "lab"})
            assert placed.status == 201, placed.text
            await eventually(lambda: ringing and len(lab.log("incoming call")) == 2, 10, "calls in set-up")

            text = lab.config.read_text()
            lab.config.write_text(text.replace("[gateway]", "[gateway", 1))
            assert (await lab.ask("POST", "/api/reload")).status == 422
            lab.config.write_text(
                without(text, "trunks.lab", "agents.reception", "[routes]") + "[alerts.rules.records]\nfor_s = 5\n"
            )
            answer = await lab.ask("POST", "/api/reload")
            assert answer.status == 200, answer.text
            assert {"trunks.lab (removed)", "agents.reception (removed)", "routes"} < set(answer.json["changed"])
            assert not dial.done(), "the call was up before the reload"
            (alert,) = await alerts(lab)
            assert (alert["id"], alert["state"]) == (page["alert"]["id"], "firing")

            async def again(method: str, cseq: int, body: bytes = b"") -> Any:
                """A request within the dialog of the call that is up."""
                data, _ = raw.request(method, call_id=call_id, to_tag=tag, body=body)
                raw.send(data.replace(b"CSeq: 1 ", b"CSeq: %d " % cseq))
                while (response := await raw.final(call_id)).cseq.method != method or response.cseq.number != cseq:
                    pass
                return response

            changed = await again("INVITE", 2, offer(port=40002))
            assert changed.status == 200
            assert b"m=audio" in changed.body
            ack, _ = raw.request("ACK", call_id=call_id, to_tag=tag)
            raw.send(ack.replace(b"CSeq: 1 ", b"CSeq: 2 "))
            callee.take(ringing[0])
            await dial
            await asyncio.gather(phone.hear_speech(200), callee.hear_speech(200))
            await phone.hear_quiet()
            await converse(lab, phone, [ANSWER], session=1)
            assert (await again("BYE", 3)).status == 200
            for one in (phone, callee):
                one.hang_up()
            calls = await lab.ended(3)
            assert {(call["trunk"], call["agent"], call["sip_status"]) for call in calls} == {("lab", "reception", 200)}
            assert (await raw.ask("INVITE", body=offer())).status == 403, "the trunk is still there"
        assert len(hook.of("trigger")) == 1
        lab.config.write_text(without(lab.config.read_text(), "trunks.gone"))
        assert (await lab.ask("POST", "/api/reload")).status == 200
        assert (await hook.until("resolve"))["alert"]["id"] == alert["id"]
        lab.assert_sound()
