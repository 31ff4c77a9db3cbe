"""Whole calls over real sockets: the lab's trunk, caller and agent around the gateway that production runs."""

import asyncio
import os
import signal
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trunkline.gateway.config import Config
from trunkline.gateway.config_tables import RouteConfig
from trunkline.gateway.lab.agent import AgentOptions, Faults
from trunkline.gateway.lab.agent_session import AgentSession
from trunkline.gateway.lab.caller import CallFailed, LabCaller
from trunkline.gateway.lab.rig import NUMBER, USER, Rig
from trunkline.gateway.lab.voice import speech, words
from trunkline.gateway.workers import WorkerProcess

FRAME = 160
OCTETS_PER_MS = 8
IN_PROCESS: dict[str, Any] = {"workers": 0}


def octets_heard(caller: LabCaller, name: str) -> int:
    """How many octets of a piece of speech the caller's RTP carried: its longest prefix in what was heard."""
    wanted, heard = speech(name, "pcmu"), bytes(caller.received)
    start = heard.find(wanted[: 2 * FRAME])
    if start < 0:
        return 0
    count = 0
    while count < len(wanted) and start + count < len(heard) and heard[start + count] == wanted[count]:
        count += 1
    return count


async def greeted(rig: Rig) -> LabCaller:
    caller = rig.caller()
    await caller.dial(USER, NUMBER)
    await caller.hear_speech(400)
    await caller.hear_quiet()
    return caller


async def interrupt(caller: LabCaller, line: str = "caller_hours") -> None:
    """Ask, listen to the beginning of the answer, and speak into it."""
    caller.say(speech(line, "pcmu"))
    await caller.said_all()
    await caller.hear_speech(900)
    caller.say(speech("caller_interruption", "pcmu"))
    await caller.said_all()
    await caller.hear_speech(400)


def truncations(session: AgentSession) -> dict[str, int]:
    """What the agent was told of each piece that it said: {piece: audio_end_ms}."""
    said = [piece for entry in session.options.script for piece in entry.split(":")[0].split("+")]
    pieces = dict(zip(session.audio_sent, said, strict=False))
    return {pieces[cut.item_id]: cut.audio_end_ms for cut in session.truncations}


@pytest.mark.parametrize("speed", [1.5, 0.0], ids=["while it is generated", "after the response was complete"])
async def test_truncation_is_what_left_as_rtp(tmp_path: Path, speed: float) -> None:
    options = AgentOptions(script=("greeting", "address", "wait"), speed=speed)
    async with Rig(tmp_path, options, gateway=IN_PROCESS) as rig:
        caller = await greeted(rig)
        await interrupt(caller)
        caller.hang_up()
        (record,) = await rig.records()
        told = truncations(rig.agent.sessions[0])
    heard = octets_heard(caller, "address")
    assert 0 < heard < len(speech("address", "pcmu"))
    assert told == {"address": heard // OCTETS_PER_MS}
    assert record.turns[1].interrupted
    assert record.turns[1].heard_ms == heard / OCTETS_PER_MS


async def test_items_still_queued_are_truncated_at_zero(tmp_path: Path) -> None:
    options = AgentOptions(script=("greeting", "hours+address+goodbye", "wait"), speed=0.0)
    async with Rig(tmp_path, options, gateway=IN_PROCESS) as rig:
        caller = await greeted(rig)
        await interrupt(caller)
        caller.hang_up()
        await rig.records()
        told = truncations(rig.agent.sessions[0])
    assert told == {"hours": octets_heard(caller, "hours") // OCTETS_PER_MS, "address": 0, "goodbye": 0}
    assert octets_heard(caller, "address") == octets_heard(caller, "goodbye") == 0


async def test_what_was_heard_whole_is_not_truncated(tmp_path: Path) -> None:
    async with Rig(tmp_path, AgentOptions(script=("greeting", "wait")), gateway=IN_PROCESS) as rig:
        caller = await greeted(rig)
        caller.say(speech("caller_hours", "pcmu"))
        await caller.said_all()
        await caller.hear_speech(400)
        await caller.hear_quiet()
        caller.hang_up()
        (record,) = await rig.records()
        assert rig.agent.sessions[0].truncations == []
    assert octets_heard(caller, "greeting") == len(speech("greeting", "pcmu"))
    assert record.turns[0].heard_ms == len(speech("greeting", "pcmu")) / OCTETS_PER_MS
    assert (record.ended_by, record.sip_status) == ("caller", 200)


@pytest.mark.parametrize(("codec", "scale", "basis"), [("PCMA", "nb", "G.113 App I"), ("opus", "fb", "estimate")])
async def test_a_conversation_and_a_barge_in_over_another_codec(
    tmp_path: Path, codec: str, scale: str, basis: str
) -> None:
    options = AgentOptions(script=("greeting", "address", "wait"), speed=1.5)
    async with Rig(tmp_path, options, gateway=IN_PROCESS, trunk={"codecs": [codec]}) as rig:
        caller = rig.caller(codec=codec)
        await caller.dial(USER, NUMBER)
        await caller.hear_speech(400)
        await caller.hear_quiet()
        await interrupt(caller)
        caller.hang_up()
        (record,) = await rig.records()
        told = truncations(rig.agent.sessions[0])
    # on a busy machine a hiccup may split a line in two, of which neither is recognised
    assert {words("caller_hours"), words("caller_interruption")} & {turn.caller_said for turn in record.turns}
    assert record.turns[1].interrupted
    # a hiccup may cut the next answer as well
    assert told["address"] == int(record.turns[1].heard_ms)
    assert 0 < told["address"] < len(speech("address", "pcmu")) / OCTETS_PER_MS
    received = record.media.received
    assert (record.codec, received.lost, received.scale, received.basis) == (codec, 0, scale, basis)
    assert received.mos_lq is not None
    assert received.mos_lq > 3.5


async def test_responses_that_fail_by_rate_limit_are_an_announcement_and_a_bye(tmp_path: Path) -> None:
    options = AgentOptions(script=("greeting", "hours"), faults=Faults(rate_limited_responses=100))
    async with Rig(tmp_path, options, gateway=IN_PROCESS, agent={"greeting": False}) as rig:
        caller = rig.caller()
        await caller.dial(USER, NUMBER)
        caller.say(speech("caller_hours", "pcmu"))
        async with asyncio.timeout(20):
            await caller.ended.wait()
        (record,) = await rig.records()
    assert (record.ended_by, record.sip_status) == ("provider", 200)
    assert "rate_limit_exceeded" in (record.end_reason or "")
    assert len(set(bytes(caller.received))) > 2, "nothing but silence before the end"


async def test_both_sides_are_recorded_in_stereo(tmp_path: Path) -> None:
    options = AgentOptions(script=("greeting", "goodbye:hang_up"))
    async with Rig(tmp_path, options, gateway=IN_PROCESS, agent={"recording": True}) as rig:
        caller = await greeted(rig)
        caller.say(speech("caller_thanks", "pcmu"))
        await caller.ended.wait()
        (record,) = await rig.records()
    assert record.ended_by == "agent"
    assert record.recording is not None
    with wave.open(record.recording) as file:
        assert (file.getnchannels(), file.getframerate()) == (2, 8000)
        stereo = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    assert record.duration_s is not None
    assert abs(len(stereo) / 8000 - record.duration_s) < 0.5
    assert np.abs(stereo[:, 0]).max() > 1000
    assert np.abs(stereo[:, 1]).max() > 1000


async def test_a_refused_key_is_503_and_a_record(tmp_path: Path) -> None:
    async with Rig(tmp_path, AgentOptions(api_key="another"), gateway=IN_PROCESS) as rig:
        caller = rig.caller()
        with pytest.raises(CallFailed, match="503"):
            await caller.dial(USER, NUMBER)
        (record,) = await rig.records()
    assert (record.sip_status, record.ended_by, record.answered_at) == (503, "provider", None)
    assert record.end_reason is not None
    assert "lab-key" not in record.end_reason


async def test_an_unreachable_provider_is_503_and_a_record(tmp_path: Path) -> None:
    async with Rig(tmp_path, gateway=IN_PROCESS, agent={"base_url": "ws://127.0.0.1:9/v1"}) as rig:
        caller = rig.caller()
        with pytest.raises(CallFailed, match="503"):
            await caller.dial(USER, NUMBER)
        (record,) = await rig.records()
    assert (record.sip_status, record.ended_by) == (503, "provider")


async def test_the_routes_fallback_answers_when_the_agent_cannot(tmp_path: Path) -> None:
    class WithFallback(Rig):
        def config(self, trunk_port: int) -> Config:
            config = super().config(trunk_port)
            spare = config.agents["reception"]
            broken = spare.model_copy(update={"base_url": "ws://127.0.0.1:9/v1"})
            route = RouteConfig(to="*", agent="reception", fallback="spare")
            return config.model_copy(
                update={"agents": {"reception": broken, "spare": spare}, "routes": [route]},
            )

    async with WithFallback(tmp_path, gateway=IN_PROCESS) as rig:
        caller = await greeted(rig)
        caller.hang_up()
        (record,) = await rig.records()
        assert [worker.legs for worker in rig.application.switch.workers] == [set()]
    assert (record.sip_status, record.agent, record.ended_by) == (200, "spare", "caller")


async def test_a_lost_connection_gets_a_new_session(tmp_path: Path) -> None:
    faults = Faults(sessions=1, drop_after_responses=1)
    options = AgentOptions(script=("greeting", "wait"), faults=faults)
    async with Rig(tmp_path, options, gateway=IN_PROCESS) as rig:
        caller = await greeted(rig)
        second = await rig.agent.session(1)
        caller.say(speech("caller_hours", "pcmu"))
        await caller.said_all()
        await caller.hear_speech(400)
        caller.hang_up()
        (record,) = await rig.records()
    assert second.answers_done >= 1
    assert record.ended_by == "caller"


async def test_a_provider_that_stays_away_ends_with_a_tone_and_bye(tmp_path: Path) -> None:
    options = AgentOptions(script=("greeting",), faults=Faults(drop_after_responses=1))
    async with Rig(tmp_path, options, gateway=IN_PROCESS) as rig:
        caller = rig.caller()
        await caller.dial(USER, NUMBER)
        await caller.hear_speech(400)
        rig.agent.options = AgentOptions(faults=Faults(refuse_status=500))
        async with asyncio.timeout(30):
            await caller.ended.wait()
        (record,) = await rig.records()
    assert (record.ended_by, record.sip_status) == ("provider", 200)
    greeting = len(speech("greeting", "pcmu"))
    after = bytes(caller.received)[bytes(caller.received).find(speech("greeting", "pcmu")[:FRAME]) + greeting :]
    assert len(set(after)) > 2, "nothing but silence after the loss"


async def test_a_killed_worker_ends_its_calls_with_bye_and_records(tmp_path: Path) -> None:
    async with Rig(tmp_path, gateway={"workers": 1}) as rig:
        caller = await greeted(rig)
        (worker,) = rig.application.switch.workers
        assert isinstance(worker, WorkerProcess)
        assert worker.pid is not None
        await asyncio.sleep(1.2)  # a checkpoint comes once a second
        os.kill(worker.pid, signal.SIGKILL)
        async with asyncio.timeout(10):
            await caller.ended.wait()
        (record,) = await rig.records()
        assert (record.ended_by, record.sip_status) == ("gateway", 200)
        assert record.end_reason == "media worker lost: killed by signal 9"
        assert record.media.received.packets > 0
        async with asyncio.timeout(20):
            while not any(one.ready for one in rig.application.switch.workers):
                await asyncio.sleep(0.05)
        again = await greeted(rig)
        again.hang_up()
        assert len(await rig.records()) == 2


async def test_the_gateway_places_a_call(tmp_path: Path) -> None:
    async with Rig(tmp_path, AgentOptions(script=("greeting", "goodbye:hang_up")), gateway=IN_PROCESS) as rig:
        callee = rig.caller()
        rig.trunk.on_call = callee.take
        call_id = await rig.application.switch.place_call("15550777", "reception", None)
        await callee.hear_speech(400, timeout=10)
        await callee.hear_quiet()
        callee.say(speech("caller_thanks", "pcmu"))
        async with asyncio.timeout(20):
            await callee.ended.wait()
        (record,) = await rig.records()
    assert (record.id, record.direction, record.to) == (call_id, "outbound", "15550777")
    assert (record.ended_by, record.sip_status) == ("agent", 200)


async def test_nobody_answers_a_placed_call(tmp_path: Path) -> None:
    async with Rig(tmp_path, gateway=IN_PROCESS) as rig:
        await rig.application.switch.place_call("15550777", "reception", None)
        (record,) = await rig.records()
    assert (record.sip_status, record.ended_by, record.answered_at) == (480, "trunk", None)


async def test_a_full_gateway_says_503_and_records_it(tmp_path: Path) -> None:
    async with Rig(tmp_path, gateway={"workers": 0, "max_calls": 1}) as rig:
        caller = await greeted(rig)
        second = rig.caller("15550101")
        with pytest.raises(CallFailed, match="503"):
            await second.dial(USER, NUMBER)
        caller.hang_up()
        records = await rig.records()
    assert sorted(record.sip_status or 0 for record in records) == [200, 503]


async def test_draining_lets_calls_finish_and_takes_no_new_ones(tmp_path: Path) -> None:
    async with Rig(tmp_path, gateway=IN_PROCESS) as rig:
        caller = await greeted(rig)
        drained = asyncio.create_task(rig.application.switch.drain(20))
        await asyncio.sleep(0)
        late = rig.caller("15550101")
        with pytest.raises(CallFailed, match="503"):
            await late.dial(USER, NUMBER)
        assert not drained.done()
        caller.hang_up()
        async with asyncio.timeout(5):
            await drained
        assert USER in rig.trunk.agent.bindings
        await rig.application.switch.stop()
        assert USER not in rig.trunk.agent.bindings, "still registered after the end"
