"""`trunkline run` as a process: starts that fail, signals, trunks that refuse, workers that die, records in trouble."""

import asyncio
import os
import resource
import signal
import socket
import sqlite3
import wave
from pathlib import Path
from typing import Any

import numpy as np
from support.lab import API_KEY, HOST, PASSWORD, USER, LabGateway, RawSip, alive, eventually, offer
from support.ports import Ports
from support.processes import Programs

from trunkline.gateway.lab.agent import AgentOptions
from trunkline.gateway.lab.caller import LabCaller
from trunkline.gateway.lab.voice import speech

TALKS = AgentOptions(script=("greeting+hours+address", "hours+address+goodbye"))


def variant(lab: LabGateway, name: str, **tables: dict[str, Any]) -> Path:
    """A second configuration file."""
    path = lab.directory / f"{name}.toml"
    lab.write_config(**tables).rename(path)
    return path


async def run_and_fail(lab: LabGateway, config: Path) -> tuple[int, str]:
    status, out, err = await lab.command("run", "--config", config)
    assert out == ""
    assert "Traceback" not in err
    assert err.count("\n") == 1, err
    return status, err


async def over(caller: LabCaller, timeout_s: float = 10.0) -> str:
    async with asyncio.timeout(timeout_s):
        await caller.ended.wait()
    return caller.end_reason


# Starts that fail


async def test_a_wrong_configuration_is_one_line_and_status_2(programs: Programs, ports: Ports) -> None:
    async with LabGateway(programs, ports) as lab:
        wrong = [
            variant(lab, "unknown", sip={"listn": ["udp://127.0.0.1"]}),
            variant(lab, "unset", trunks__lab={"password": "$NO_SUCH_PASSWORD"}),
            variant(lab, "type", gateway={"drain_s": "long"}),
        ]
        found = await asyncio.gather(*(run_and_fail(lab, path) for path in wrong))
    assert [status for status, _ in found] == [2, 2, 2]
    unknown, unset, kind = (
        line.replace(f"trunkline: {path}:", "") for (_, line), path in zip(found, wrong, strict=True)
    )
    assert unknown.split(":", 1)[1] == " sip.listn: unknown key; did you mean listen?\n"
    assert "trunks.lab.password: environment variable NO_SUCH_PASSWORD is not set; set it" in unset
    assert "gateway.drain_s: must be a valid number" in kind
    assert lab.trunk.asked == 0


async def test_a_port_in_use_is_named_with_status_1_before_any_call_can_come(programs: Programs, ports: Ports) -> None:
    async with LabGateway(programs, ports) as lab:
        taken: list[Path] = []
        addresses: list[str] = []
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as http:
            for name, held, keys in (("tcp", tcp, "sip"), ("udp", udp, "sip"), ("http", http, "http")):
                held.bind((HOST, 0))
                if held.type == socket.SOCK_STREAM:
                    held.listen()
                address = f"{HOST}:{held.getsockname()[1]}"
                addresses.append(address)
                # each on a state directory of its own: two gateways never share one
                tables: dict[str, dict[str, Any]] = {
                    "gateway": {"state_dir": str(lab.directory / name)},
                    "sip": {"listen": [f"{name}://{address}"] if keys == "sip" else [f"udp://{HOST}:0"]},
                    "http": {"listen": address if keys == "http" else f"{HOST}:0"},
                }
                taken.append(variant(lab, name, **tables))
            found = await asyncio.gather(*(run_and_fail(lab, path) for path in taken))
    for (status, line), path, address in zip(found, taken, addresses, strict=True):
        assert status == 1
        assert str(path) in line
        assert f"{address}: cannot listen: Address already in use" in line
        assert "choose another" in line
    assert ["[sip] listen" in line for _, line in found] == [True, True, False]
    assert "[http] listen" in found[2][1]
    assert lab.trunk.asked == 0, "a gateway that cannot start has registered"


# Signals


async def test_sigterm_takes_no_new_call_and_lets_the_running_one_finish(programs: Programs, ports: Ports) -> None:
    async with LabGateway(programs, ports, gateway={"drain_s": 60}) as lab:
        await lab.start()
        caller = await lab.call()
        lab.program.signal(signal.SIGTERM)
        await eventually(lambda: lab.log("draining"), 5, "the gateway to drain")
        with RawSip(lab.sip_port) as raw:
            refused = await raw.ask("INVITE", body=offer())
        assert (refused.status, refused.headers.get("Retry-After")) == (503, "30")
        readiness = await lab.until_readyz(503)
        assert readiness.json["reasons"] == ["gateway is stopping"]
        placed = await lab.ask("POST", "/api/calls", {"to": "1555", "agent": "reception"})
        assert placed.status == 503
        await caller.hear_speech(200)
        assert USER in lab.trunk.agent.bindings
        caller.hang_up()
        assert await lab.wait() == 0
        assert lab.trunk.agent.bindings == {}, "still registered after the end"
        lab_output = lab.program.output()
    assert "Traceback" not in lab_output
    first, second = lab.stored()
    assert (first["ended_by"], first["end_reason"], first["sip_status"]) == ("caller", "bye", 200)
    assert (second["ended_by"], second["end_reason"], second["sip_status"]) == ("gateway", "gateway is stopping", 503)


async def test_after_the_drain_time_or_a_kill_or_two_sigints_nothing_is_left_over(
    programs: Programs, ports: Ports
) -> None:
    async with LabGateway(programs, ports, gateway={"drain_s": 0.3, "workers": 2}) as lab:
        await lab.start()
        caller = await lab.call()
        workers = lab.workers
        assert len(workers) == 2
        assert await lab.stop(signal.SIGINT) == 0
        assert await over(caller) == "bye"
        assert lab.trunk.agent.bindings == {}
        assert not any(map(alive, workers))
        (record,) = lab.stored()
        assert (record["ended_by"], record["end_reason"], record["sip_status"]) == ("gateway", "gateway stops", 200)
        assert record["duration_s"] > 0.3

        lab.write_config(gateway={"drain_s": 60})
        await lab.start()
        await lab.call("15550101")
        workers = lab.workers
        assert await lab.stop(signal.SIGKILL) == -signal.SIGKILL
        await eventually(lambda: not any(map(alive, workers)), 5, "the workers to end by themselves")
        assert lab.stored()[1]["end_reason"] is None

        await lab.start()
        second = (await lab.calls())[1]
        assert (second["from"], second["ended_by"]) == ("15550101", "gateway")
        assert second["end_reason"] == "gateway stopped unexpectedly"
        assert second["answered_at"] is not None
        assert second["ended_at"] is None, "when it ended is not known"
        await lab.call("15550102")
        workers = lab.workers
        lab.program.signal(signal.SIGINT)
        await eventually(lambda: lab.log("draining"), 5, "the gateway to drain")
        assert await lab.stop(signal.SIGINT, timeout_s=2) == 130
        await eventually(lambda: not any(map(alive, workers)), 5, "the workers to end by themselves")


async def test_a_signal_during_the_start_ends_it_in_order(programs: Programs, ports: Ports) -> None:
    async with LabGateway(programs, ports) as lab:
        await lab.start(ready=False)
        await lab.until_readyz(503, timeout_s=25, reason="gateway is starting")
        workers = await eventually(lambda: lab.workers, 5, "a worker to start")
        assert await lab.stop(signal.SIGTERM) == 0
        await eventually(lambda: not any(map(alive, workers)), 5, "the workers to end")
        assert "Traceback" not in lab.program.output()


# Trunks that refuse


async def test_trunks_in_trouble_are_named_and_recover_without_a_restart(programs: Programs, ports: Ports) -> None:
    other_port = ports.take()
    second = {
        "registrar": f"sip:{HOST}:{other_port};transport=tcp",
        "username": USER,
        "password": "$LAB_PASSWORD",
        "codecs": ["PCMU"],
    }
    async with LabGateway(programs, ports, trunks__second=second) as lab:
        lab.trunk.passwords[USER] = "changed at the carrier"
        await lab.start(ready=False)
        await lab.until_readyz(503, 20, "trunk second is failed")
        readiness = await lab.until_readyz(503, 5, "trunk lab is failed")
        lab_reason, second_reason = readiness.json["reasons"]
        assert "wrong" in lab_reason or "403" in lab_reason
        assert "Connection refused" in second_reason
        # the trunk without a server has tried again; the one with a wrong password must not have
        async with LabGateway(programs, ports) as other:
            await other.trunk.stop()
            await other.trunk.start(port=other_port)
            await asyncio.wait_for(other.trunk.agent.registered.wait(), 15)
            await lab.until_readyz(503, 5, '"trunk second":"registered"')
            assert (lab.trunk.agent.challenged, lab.trunk.agent.refused) == (1, 1), "a wrong password was sent again"
            (failure,) = [line for line in lab.log("trunk failed") if line["trunk"] == "lab"]
            assert failure["level"] == "error"
            assert failure["retry_in_s"] >= 60

            lab.trunk.passwords[USER] = PASSWORD
            lab.program.signal(signal.SIGHUP)
            await lab.until_ready()

            await other.trunk.stop()
            await lab.until_readyz(503, 10, "trunk second is failed")
            await other.trunk.start(port=other_port)
            await lab.until_ready()
        assert len(lab.log("trunk registered")) == 3
        lab.assert_sound()


async def test_check_live_tells_what_is_right_and_what_is_wrong(programs: Programs, ports: Ports) -> None:
    async with LabGateway(programs, ports, AgentOptions(api_key=API_KEY)) as lab:
        right = variant(lab, "right")
        agents: dict[str, dict[str, Any]] = {
            "agents__reception": {"api_key": "sk-recognisable-wrong-key"},
            "agents__unreachable": {"provider": "openai", "base_url": "ws://127.0.0.1:9/v1", "api_key": "$LAB_API_KEY"},
        }
        wrong = variant(lab, "wrong", trunks__lab={"password": "recognisable-wrong"}, **agents)
        good, bad = await asyncio.gather(
            lab.command("check", "--live", "--config", right), lab.command("check", "--live", "--config", wrong)
        )
        assert lab.trunk.agent.bindings == {}, "a check stays registered"
    status, out, err = good
    assert status == 0, out + err
    assert [line.split(":")[:2] for line in out.splitlines()[1:]] == [["trunk lab", " ok"], ["agent reception", " ok"]]
    status, out, err = bad
    assert status == 1
    findings = {line.split(":")[0]: line for line in out.splitlines()[1:]}
    assert "trunk lab: FAILED" in findings["trunk lab"]
    assert "403" in findings["trunk lab"] or "wrong" in findings["trunk lab"]
    assert "agent reception: FAILED" in findings["agent reception"]
    assert "401" in findings["agent reception"]
    assert "agent unreachable: FAILED" in findings["agent unreachable"]
    for secret in (PASSWORD, API_KEY, "recognisable"):
        assert secret not in out + err, "a secret is shown"
    assert "Traceback" not in err


# Workers


async def test_killed_and_stuck_workers_cost_their_own_calls_alone(programs: Programs, ports: Ports) -> None:
    async with LabGateway(programs, ports, TALKS, gateway={"workers": 2}) as lab:
        await lab.start()
        first, second = await lab.call("15550101"), await lab.call("15550102")
        killed, stuck = (next(pid for pid in lab.workers if _carries(pid, caller)) for caller in (first, second))
        assert killed != stuck
        os.kill(stuck, signal.SIGSTOP)
        os.kill(killed, signal.SIGKILL)
        assert await over(first) == "bye"
        assert not second.ended.is_set()
        assert await over(second) == "bye"
        records = await lab.ended(2)
        assert records[0]["end_reason"] == "media worker lost: killed by signal 9"
        assert records[1]["end_reason"].startswith("media worker lost: stuck: ")
        assert [record["ended_by"] for record in records] == ["gateway", "gateway"]
        await lab.until_ready()
        assert not {killed, stuck} & set(lab.workers)
        assert len(lab.workers) == 2
        (await lab.call("15550103")).hang_up()
        await lab.ended(3)
        lab.assert_sound()


def _carries(pid: int, caller: LabCaller) -> bool:
    """Whether this worker holds the port that the caller's RTP goes to."""
    port = caller._rtp.destination[1]
    inodes = {
        line.split()[9] for line in Path("/proc/net/udp").read_text().splitlines() if f":{port:04X}" in line.split()[1]
    }
    links = (os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir())
    return any(link == f"socket:[{inode}]" for link in links for inode in inodes)


# Records


async def test_records_wait_for_a_locked_database_and_a_full_disk(programs: Programs, ports: Ports) -> None:
    async with LabGateway(programs, ports, TALKS, gateway={"workers": 0}) as lab:
        await lab.start()
        caller = await lab.call()
        with sqlite3.connect(lab.state_dir / "calls.db", isolation_level=None) as thief:
            thief.execute("BEGIN EXCLUSIVE")
            caller.say(speech("caller_hours", "pcmu"))
            late = await lab.call("15550101")
            await lab.until_readyz(503, 15, "database is locked")
            late.hang_up()
            await over(late)
            assert not caller.ended.is_set()
            thief.execute("ROLLBACK")
        thief.close()
        await lab.until_ready()
        records = await lab.ended_calls("15550101")
        assert [record["ended_by"] for record in records] == ["caller"]

        # a full disk: neither the database nor the log take any more, the spool still takes a little
        with lab.program.log.open("ab") as log:
            log.write(b'{"event": "a long night"}\n' * 400)
        resource.prlimit(lab.program.pid, resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))
        later = await lab.call("15550102")
        await lab.until_readyz(503, 15, "call records cannot be written")
        later.hang_up()
        await over(later)
        await caller.hear_speech(200)
        assert not caller.ended.is_set(), "a call suffered from the disk"
        caller.hang_up()
        await over(caller)
        assert await lab.stop() == 0
        assert not lab.log("draining"), "the disk was not full for the log"
        stored = {record["from"]: record["ended_by"] for record in lab.stored()}
        assert "15550102" not in stored
        assert (lab.state_dir / "records.spool.jsonl").exists()

        await lab.start()
        stored = {record["from"]: record["ended_by"] for record in lab.stored()}
        assert stored == {"15550100": "caller", "15550101": "caller", "15550102": "caller"}
        lab.assert_sound()


# Placing and ending calls


async def test_calls_are_placed_listed_shown_and_hung_up(programs: Programs, ports: Ports, tmp_path: Path) -> None:
    async with LabGateway(programs, ports, AgentOptions(script=("greeting", "goodbye:hang_up"))) as lab:
        await lab.start()
        await _problem_documents(lab)

        callees: dict[str | None, LabCaller] = {}

        def answer(event: Any) -> None:
            callee = callees[event.request.uri.user] = lab.caller()
            callee.take(event)

        lab.trunk.on_call = answer
        placed = await lab.ask("POST", "/api/calls", {"to": "15550777", "agent": "reception"})
        assert placed.status == 201
        call_id = placed.json["id"]
        assert placed.headers["Location"] == f"/api/calls/{call_id}"
        await eventually(lambda: "15550777" in callees, 5, "the call to arrive")
        await callees["15550777"].hear_speech(200)
        live = (await lab.ask("GET", f"/api/calls/{call_id}")).json
        assert (live["live"]["state"], live["to"], live["ended_at"]) == ("answered", "15550777", None)
        assert (await lab.ask("DELETE", f"/api/calls/{call_id}")).status == 202
        assert await over(callees["15550777"]) == "bye"
        (record,) = await lab.ended()
        assert (record["id"], record["direction"], record["ended_by"]) == (call_id, "outbound", "operator")
        assert (await lab.ask("DELETE", f"/api/calls/{call_id}")).status == 409

        heard, line = tmp_path / "heard.wav", tmp_path / "line.wav"
        _write_wav(line, speech("caller_hours", "pcmu"))
        through = asyncio.create_task(lab.command("call", "15550888", "--json", timeout_s=40))
        alone = asyncio.create_task(
            lab.command("call", "15550999", "--play", line, "--record", heard, "--dtmf", "12#", "--json", timeout_s=40)
        )
        for number in ("15550888", "15550999"):
            await eventually(lambda number=number: number in callees, 30, f"the call to {number} to arrive")
            await callees[number].hear_speech(200)
            callees[number].say(speech("caller_address", "pcmu"))

        status, out, err = await alone
        assert (status, err) == (0, "")
        shown = lab.json(out)
        assert (shown["to"], shown["sip_status"], shown["recording"]) == ("15550999", 200, str(heard))
        with wave.open(str(heard)) as file:
            stereo = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
        assert np.abs(stereo).max(axis=0).min() > 1000, "one side of the recording is silent"

        status, out, err = await through
        assert (status, err) == (0, "")
        shown = lab.json(out)
        assert (shown["ended_by"], shown["to"]) == ("agent", "15550888")
        del shown["timeline"]  # lists have none
        assert (await lab.ended(2))[1] == shown

        listed, one = await asyncio.gather(
            lab.command("calls", "--json"), lab.command("calls", "show", call_id, "--json")
        )
        assert [call["id"] for call in lab.json(listed[1])] == [shown["id"], call_id]
        whole = lab.json(one[1])
        assert whole.pop("timeline")["moments"]
        assert whole == record
        lab.assert_sound()


async def _problem_documents(lab: LabGateway) -> None:
    """Every refusal of the API is one (RFC 9457), with the status that is true."""
    agent = {"to": "1", "agent": "reception"}
    for status, answer in [
        (400, await lab.ask("POST", "/api/calls", data=b"{", headers={"Content-Type": "application/json"})),
        (415, await lab.ask("POST", "/api/calls", data=b"{}")),
        (400, await lab.ask("POST", "/api/calls", {"agent": "reception"})),
        (400, await lab.ask("POST", "/api/calls", {"to": "1\r\nX: y", "agent": "reception"})),
        (404, await lab.ask("POST", "/api/calls", {"to": "1", "agent": "nobody"})),
        (404, await lab.ask("POST", "/api/calls", {**agent, "trunk": "none"})),
        (413, await lab.ask("POST", "/api/calls", {"to": "1" * 100_000, "agent": "reception"})),
        (404, await lab.ask("GET", "/api/calls/none")),
        (404, await lab.ask("DELETE", "/api/calls/none")),
        (400, await lab.ask("GET", "/api/calls?limit=x")),
        (405, await lab.ask("PUT", "/api/calls")),
        (404, await lab.ask("GET", "/nothing")),
    ]:
        assert answer.status == status, answer.text
        assert answer.headers["Content-Type"].startswith("application/problem+json")
        assert (answer.json["status"], bool(answer.json["detail"])) == (status, True)
    assert await lab.calls() == []


def _write_wav(path: Path, ulaw: bytes) -> None:
    from trunkline.codecs.g711 import ULAW

    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(ULAW.decode(ulaw).tobytes())
