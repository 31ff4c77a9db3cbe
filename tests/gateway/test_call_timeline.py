"""How a call went, from the media worker to the database: through the gateway as it runs."""

import asyncio
import os
import signal
import sqlite3

import msgspec
import pytest
from support.lab import LabGateway
from support.ports import Ports
from support.processes import Programs

from trunkline.gateway.lab.agent import AgentOptions
from trunkline.gateway.lab.voice import speech
from trunkline.gateway.media.echo import ECHO_FROM
from trunkline.gateway.record import Timeline

TALKS = AgentOptions(script=("greeting+hours+address", "hours+address+goodbye"))


def stored(lab: LabGateway) -> dict[str, Timeline]:
    """The timelines in the database, by caller."""
    with sqlite3.connect(lab.state_dir / "calls.db") as database:
        rows = database.execute('SELECT "from", timeline FROM calls').fetchall()
    return {caller: msgspec.json.decode(timeline, type=Timeline) for caller, timeline in rows}


async def test_a_call_has_its_timeline_and_one_whose_worker_died_what_was_told_of_it(
    programs: Programs, ports: Ports
) -> None:
    async with LabGateway(programs, ports, TALKS) as lab:
        await lab.start()
        whole, _ = await lab.call("15550101"), await lab.call("15550102")
        await whole.hear_speech(1500)
        whole.say(speech("caller_interruption", "pcmu"))
        await asyncio.sleep(10.2)
        whole.hang_up()
        await lab.ended_calls("15550101")
        (worker,) = lab.workers
        os.kill(worker, signal.SIGKILL)
        await lab.ended(2)
        timelines = stored(lab)
    first, rest = timelines["15550101"].slices
    (kept,) = timelines["15550102"].slices
    assert (first.start_s, rest.start_s) == (0.0, pytest.approx(first.length_s))
    for part in (first, kept):
        assert part.length_s == pytest.approx(10.0, abs=2.0)
        assert part.received.mos is not None
        assert (part.received.dead, part.sent.dead) == (False, False)
        assert part.received.jitter_ms is not None
        assert part.clock_late_ms > 0.0
        assert part.echo is not None
        assert part.echo < ECHO_FROM
    moments = timelines["15550101"].moments
    assert [moment.kind for moment in moments] == ["turn", "barge_in", "turn"]
    assert moments[0].detail == "greeting"
    assert moments[2].detail.startswith("latency ")
    assert 0.0 <= moments[0].at_s < moments[1].at_s < moments[2].at_s < 11.0
    assert [moment.kind for moment in timelines["15550102"].moments] == ["turn"]
