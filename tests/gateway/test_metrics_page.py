"""GET /metrics of a gateway that takes calls and loses a worker."""

import os
import signal

from support.lab import LabGateway, eventually
from support.pages import fell, samples, total
from support.ports import Ports
from support.processes import Programs

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
