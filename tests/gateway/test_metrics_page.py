"""GET /metrics of a gateway that takes calls and loses a worker."""

import os
import signal
from pathlib import Path

import pytest
from support.lab import LabGateway, eventually
from support.pages import fell, samples, total
from support.ports import Ports
from support.processes import Programs

from trunkline.gateway.lab.agent import AgentOptions, Faults
from trunkline.gateway.lab.caller import CallFailed
from trunkline.gateway.lab.relay import Conditions, Network
from trunkline.gateway.lab.rig import NUMBER, USER, Rig
from trunkline.rtp.ports import PortRange

TOKEN = "metrics-7Hq2m"


async def page_of(lab: LabGateway) -> str:
    answer = await lab.ask("GET", "/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status == 200
    return answer.text


async def test_the_page_outlives_a_worker(programs: Programs, ports: Ports) -> None:
    async with LabGateway(programs, ports, http={"token": TOKEN}) as lab:
        await lab.start()
        assert (await lab.ask("GET", "/metrics")).status == 401
        empty = await page_of(lab)
        assert total(empty, "trunkline_trunk_up", trunk="lab") == 1
        assert total(empty, "trunkline_sip_responses_total", method="REGISTER", status="200") == 1
        caller = await lab.call()

        async def counted(page: str, packets: int) -> str:
            while total(page, "trunkline_rtp_packets_total", direction="received", result="received") < packets:
                page = await page_of(lab)
            return page

        before = await counted(empty, 50)
        assert total(before, "trunkline_calls_active", agent="reception", direction="inbound") == 1
        assert total(before, "trunkline_calls_answered_total", trunk="lab", agent="reception") == 1
        assert total(before, "trunkline_provider_connects_total", result="ok") == 1

        (pid,) = lab.workers
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: caller.ended.is_set(), 10, "the call of the killed worker to end")
        await eventually(lambda: lab.workers and pid not in lab.workers, 10, "another worker")
        await lab.until_ready()
        lost = await page_of(lab)
        assert fell(before, lost) == []
        assert total(lost, "trunkline_worker_deaths_total", worker="media-1") == 1
        assert total(lost, "trunkline_calls_total", result="dropped") == 1
        assert total(lost, "trunkline_calls_active") == 0

        await lab.call("15550101")
        packets = total(lost, "trunkline_rtp_packets_total", direction="received", result="received")
        after = await counted(lost, int(packets) + 50)
        assert fell(lost, after) == []
        assert not [key for key in samples(after) if any("1555" in part[1] for part in key[1:])]
        lab.assert_sound()


def page_in(rig: Rig) -> str:
    return rig.application.switch.exposition("")[0].decode()


async def test_one_way_audio_and_its_bad_slice(tmp_path: Path, ports: Ports) -> None:
    first = ports.take_range(16)
    network = Network(PortRange(first, first + 15), seed=1)
    network.impair(to_gateway=Conditions(blocked=True))
    async with Rig(tmp_path, gateway={"workers": 0}) as rig:
        rig.trunk.relay = network.join
        caller = rig.caller()
        await caller.dial(USER, NUMBER)
        await eventually(lambda: total(page_in(rig), "trunkline_media_dead_total", direction="received"), 5, "an alarm")
        caller.hang_up()
        await rig.records()
        page = page_in(rig)
    assert total(page, "trunkline_calls_one_way_total", trunk="lab", agent="reception") == 1
    assert total(page, "trunkline_media_dead_total", direction="sent") == 0
    assert total(page, "trunkline_call_slices_total", direction="received", quality="bad") == 1
    assert total(page, "trunkline_call_slices_total", direction="received", quality="good") == 0
    assert total(page, "trunkline_calls_degraded_total", direction="received") == 1
    assert total(page, "trunkline_calls_total", result="completed") == 1


async def test_a_service_that_is_lost_and_regained_or_refuses(tmp_path: Path) -> None:
    faults = Faults(sessions=1, drop_after_responses=1)
    async with Rig(tmp_path, AgentOptions(script=("greeting", "wait"), faults=faults), gateway={"workers": 0}) as rig:
        caller = rig.caller()
        await caller.dial(USER, NUMBER)
        await eventually(lambda: total(page_in(rig), "trunkline_provider_reconnects_total"), 10, "a reconnect")
        caller.hang_up()
        rig.agent.options = AgentOptions(faults=Faults(refuse_status=401))
        refused = rig.caller("15550101")
        with pytest.raises(CallFailed, match="503"):
            await refused.dial(USER, NUMBER)
        await rig.records()
        page = page_in(rig)
    assert total(page, "trunkline_provider_reconnects_total", agent="reception", provider="openai") == 1
    assert total(page, "trunkline_provider_connects_total", result="ok") == 1
    assert total(page, "trunkline_provider_connects_total", result="failed") == 1
    assert total(page, "trunkline_provider_errors_total", kind="lost") == 0
    assert total(page, "trunkline_calls_total", result="failed") == 1
