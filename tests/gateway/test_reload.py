"""Reload: what is taken over, what waits for a restart, and that no call notices."""

import asyncio
import signal
from typing import Any

import pytest
from support.lab import PASSWORD, USER, LabGateway, eventually
from support.ports import Ports
from support.processes import Programs

from trunkline.gateway.config import Config
from trunkline.gateway.lab.agent import AgentOptions
from trunkline.gateway.reload import plan

TABLES: dict[str, Any] = {
    "gateway": {"name": "edge-1", "workers": 2},
    "trunks": {"vonage": {"registrar": "sip:sip.example.com", "username": "alice", "password": "pw"}},
    "agents": {"reception": {"provider": "wav"}, "sales": {"provider": "wav"}},
    "routes": [{"to": "*", "agent": "reception"}],
}


def config(**changes: Any) -> Config:
    return Config(**(TABLES | changes))


@pytest.mark.parametrize(
    ("changes", "changed", "restart"),
    [
        ({}, [], []),
        ({"gateway": {**TABLES["gateway"], "max_calls": 10}}, ["gateway.max_calls"], []),
        ({"gateway": {**TABLES["gateway"], "workers": 4, "drain_s": 60}}, ["gateway.drain_s"], ["gateway.workers"]),
        ({"sip": {"listen": ["udp://0.0.0.0:5070"], "allow": ["192.0.2.0/24"]}}, ["sip.allow"], ["sip.listen"]),
        ({"http": {"listen": "127.0.0.1:8081"}}, [], ["http.listen"]),
        ({"records": {"url": "sqlite:////elsewhere/calls.db"}}, [], ["records.url"]),
        ({"routes": []}, ["routes"], []),
        (
            {"trunks": {"backup": {"peer": "sip:192.0.2.1"}}},
            ["trunks.vonage (removed)", "trunks.backup (new)"],
            [],
        ),
        (
            {"agents": {**TABLES["agents"], "sales": {"provider": "wav", "hang_up": False}}},
            ["agents.sales"],
            [],
        ),
        # A default that is written out is no change.
        ({"gateway": {**TABLES["gateway"], "max_calls": 300}, "routes": [*TABLES["routes"]]}, [], []),
    ],
)
def test_what_changes_and_what_waits(changes: dict[str, Any], changed: list[str], restart: list[str]) -> None:
    outcome = plan(config(), config(**changes))
    assert (outcome.changed, outcome.restart) == (changed, restart)


def test_what_waits_for_a_restart_stays_as_it_runs() -> None:
    wanted = config(
        gateway={"name": "other", "workers": 8, "max_calls": 5},
        http={"listen": "127.0.0.1:9090"},
        agents={"reception": {"provider": "wav", "patience_s": 3}},
    )
    used = plan(config(), wanted).config
    assert (used.gateway.name, used.gateway.workers, used.gateway.max_calls) == ("edge-1", 2, 5)
    assert used.http == config().http
    assert used.agents["reception"].patience_s == 3
    assert plan(used, wanted).restart == ["gateway.name", "gateway.workers", "http.listen"]
    assert plan(used, wanted).changed == []


def test_a_changed_secret_is_a_change_and_is_not_told() -> None:
    trunk = {**TABLES["trunks"]["vonage"], "password": "recognisable"}
    outcome = plan(config(), config(trunks={"vonage": trunk}))
    assert outcome.changed == ["trunks.vonage"]
    assert "recognisable" not in repr(outcome)


async def test_trunks_agents_and_routes_change_under_a_call(programs: Programs, ports: Ports) -> None:
    async with LabGateway(programs, ports, AgentOptions(script=("greeting", "wait"))) as lab:
        await lab.start()
        caller = await lab.call()
        bindings = lab.trunk.agent.bindings

        # A new agent takes the route, the old one is gone; the call on it goes on.
        sales = {"provider": "openai", "base_url": lab.agent.url, "api_key": "$LAB_API_KEY", "greeting": True}
        text = lab.write_config(gateway={"max_calls": 7, "workers": 3}, agents__sales=sales).read_text()
        begin, end = text.index("[agents.reception]"), text.index("[http]")
        lab.config.write_text((text[:begin] + text[end:]).replace('agent = "reception"', 'agent = "sales"'))
        status, out, _ = await lab.command("reload")
        assert status == 0
        told, waits = out.splitlines()
        for change in ("agents.reception (removed)", "agents.sales (new)", "routes", "gateway.max_calls"):
            assert change in told
        assert waits.endswith("needs a restart: gateway.workers")
        second = await lab.call("15550101")
        assert sorted(call["agent"] for call in await lab.calls()) == ["reception", "sales"]
        assert len(lab.workers) == 1

        # Another limit of the same account: the registration is not touched.
        challenged = lab.trunk.asked
        lab.write_config(trunks__lab={"max_calls": 2})
        assert (await lab.command("reload"))[0] == 0
        assert lab.trunk.asked == challenged
        readiness = await lab.until_readyz(200)
        assert readiness.json["parts"]["trunk lab"] == "registered"

        # Another password: registered anew over the binding, which nobody takes away.
        lab.trunk.passwords[USER] = lab.env["LAB_PASSWORD"] = "another"
        lab.write_config(trunks__lab={"password": "another"})
        kept = bindings[USER]
        assert (await lab.command("reload"))[0] == 0
        await eventually(lambda: bindings[USER] is not kept, 5, "a registration with the new password")
        await lab.until_ready()
        assert lab.trunk.agent.refused == 0

        # The trunk goes: it is unregistered, its call still goes on, and ends as the caller says.
        text = lab.config.read_text()
        begin, end = text.index("[trunks.lab]"), text.index("[agents.reception]")
        lab.config.write_text(text[:begin] + text[end:])
        answer = await lab.ask("POST", "/api/reload")
        assert answer.json == {"changed": ["trunks.lab (removed)"], "restart": []}
        await eventually(lambda: USER not in bindings, 5, "the binding to be taken back")
        assert "trunk lab" not in (await lab.until_readyz(200)).json["parts"]
        assert not caller.ended.is_set()
        for phone in (caller, second):
            phone.hang_up()
        ended = await lab.ended(2)
        assert [(call["ended_by"], call["trunk"]) for call in ended] == [("caller", "lab")] * 2

        # And comes back.
        lab.write_config(trunks__lab={"password": "another"})
        lab.program.signal(signal.SIGHUP)
        await eventually(lambda: USER in bindings, 5, "the trunk to register again")
        await lab.until_ready()
        again = await lab.call("15550102")
        again.hang_up()
        await lab.ended(3)
        lab.assert_sound()


async def test_a_broken_file_is_refused_and_nothing_changes(programs: Programs, ports: Ports) -> None:
    async with LabGateway(programs, ports, AgentOptions(script=("greeting", "wait"))) as lab:
        await lab.start()
        caller = await lab.call()
        lab.write_config(agents__reception={"voise": "marin"}, trunks__lab={"password": "$NO_SUCH_VARIABLE"})
        status, out, err = await lab.command("reload")
        assert (status, out) == (2, "")
        assert len(err.splitlines()) == 2
        assert "trunks.lab.password: environment variable NO_SUCH_VARIABLE is not set" in err
        assert "agents.reception.voise: unknown key; did you mean voice?" in err

        lab.config.write_text("[gateway\n")
        answer = await lab.ask("POST", "/api/reload")
        assert answer.status == 422
        assert answer.headers["Content-Type"].startswith("application/problem+json")
        assert "not valid TOML" in answer.json["detail"]

        lab.program.signal(signal.SIGHUP)
        await eventually(lambda: len(lab.log("reload refused, the running configuration stays")) == 3, 5, "a log line")
        assert lab.trunk.agent.bindings
        await lab.until_ready()
        second = await lab.call("15550101")
        assert not caller.ended.is_set()
        for phone in (caller, second):
            phone.hang_up()
        await lab.ended(2)
        assert PASSWORD not in lab.program.output()


async def test_a_reload_in_the_middle_of_a_call_set_up(programs: Programs, ports: Ports) -> None:
    """The agent that is being got ready leaves the configuration; the call does not notice."""
    async with LabGateway(programs, ports, AgentOptions(script=("greeting", "wait"), think_ms=1000)) as lab:
        await lab.start()
        phones = [lab.caller(f"1555020{index}") for index in range(3)]
        dials = [asyncio.create_task(phone.dial(USER, "15550123")) for phone in phones]
        await eventually(lambda: len(lab.log("incoming call")) == 3, 5, "three calls in set-up")
        text = lab.write_config().read_text()
        lab.config.write_text(text[: text.index("[agents.reception]")] + text[text.index("[http]") : text.index("[[")])
        answer = await lab.ask("POST", "/api/reload")
        assert answer.json["changed"] == ["agents.reception (removed)", "routes"]
        assert not any(dial.done() for dial in dials), "the calls were up before the reload"
        await asyncio.gather(*dials)
        for phone in phones:
            await phone.hear_speech(200)
            phone.hang_up()
        assert {call["ended_by"] for call in await lab.ended(3)} == {"caller"}
        lab.assert_sound()
