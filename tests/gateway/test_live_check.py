"""`trunkline check --live` against the lab's trunk and agent, over sockets on loopback."""

from contextlib import asynccontextmanager

from trunkline.gateway.config import Config
from trunkline.gateway.lab.agent import AgentServer
from trunkline.gateway.lab.trunk import LabTrunk
from trunkline.gateway.live_check import check_live


@asynccontextmanager
async def lab_trunk():
    trunk = LabTrunk({"u": "right"})
    port = await trunk.start()
    try:
        yield trunk, port
    finally:
        await trunk.stop()


def config(trunk_port: int, agent_url: str, password: str = "right") -> Config:
    trunk = {"registrar": f"sip:127.0.0.1:{trunk_port};transport=udp", "username": "u", "password": password}
    return Config.model_validate(
        {
            "sip": {"listen": ["udp://127.0.0.1:0"]},
            "rtp": {"bind": "127.0.0.1"},
            "trunks": {"lab": trunk},
            "agents": {"a": {"provider": "openai", "base_url": agent_url, "api_key": "k", "patience_s": 5}},
        }
    )


async def test_all_is_well_and_nothing_stays_registered():
    async with lab_trunk() as (trunk, port), AgentServer() as agent:
        findings = await check_live(config(port, agent.url))
    assert trunk.agent.registered.is_set()
    assert trunk.agent.bindings == {}
    assert [(finding.part, finding.ok) for finding in findings] == [("trunk lab", True), ("agent a", True)]
    assert findings[0].detail.startswith("registered")


async def test_a_wrong_password_and_a_dead_service_are_named():
    async with lab_trunk() as (_trunk, port):
        findings = await check_live(config(port, "ws://127.0.0.1:1/v1", password="hunter2"))
    assert [(finding.part, finding.ok) for finding in findings] == [("trunk lab", False), ("agent a", False)]
    assert all(finding.detail for finding in findings)
    assert "hunter2" not in repr(findings)
