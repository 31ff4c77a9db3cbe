"""Phones that nobody here wrote are called about an alert: the person hears speech and presses a key."""

import asyncio
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.baresip import Baresip
from support.lab import LabGateway
from support.paging import Pager, delivery
from support.peers import require
from support.pjsua import PjsuaPhone, start_pjsua
from support.ports import HOST, Ports
from support.processes import Programs
from support.speech import write_speech

from trunkline.gateway.alerts.channels.base import DeliveryError

LOUD = 1000
"""Samples beyond this are speech."""


@pytest.fixture
def pjsua(programs: Programs, ports: Ports) -> Callable[..., PjsuaPhone]:
    """Start the person's PJSIP phone; somebody talks into it all the time."""
    require("pjsua2", "speech")

    def start(**options: int) -> PjsuaPhone:
        play = write_speech(programs.directory / "person.wav")
        phone = start_pjsua(programs, ports, "", "person", "", play=play, **options)
        phone.program.wait_for('"ready"', 20)
        return phone

    return start


def spoken_s(recording: Path) -> float:
    """Seconds of a recording in which somebody speaks, counted in blocks of 100 ms."""
    with wave.open(str(recording)) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(int)
    blocks = pcm[: len(pcm) // 800 * 800].reshape(-1, 800)
    return float((np.abs(blocks).max(axis=1) > LOUD).sum()) / 10


async def press(dial: Callable[[str], None], phone: PjsuaPhone, key: str, after_s: float) -> None:
    """Listen for a while, then press."""
    await asyncio.to_thread(phone.call_state, "CONFIRMED")
    await asyncio.sleep(after_s)
    dial(key)


async def test_a_pjsip_phone_hears_the_announcement_and_acknowledges(
    pjsua: Callable[..., PjsuaPhone], ports: Ports, tmp_path: Path
) -> None:
    require("espeak-ng")
    phone = pjsua()
    async with Pager(ports, tmp_path, {"backup": phone.port}) as pager:
        pressing = asyncio.create_task(press(phone.dial, phone, "1", after_s=3))
        assert await pager.page() == "acknowledged"
        await pressing
        await asyncio.to_thread(phone.call_state, "DISCONNECTED")
    (record,) = pager.records
    assert (record.dtmf, record.ended_by, record.codec) == (["1"], "agent", "PCMU")
    assert record.media.sent.lost == 0
    assert 2 < spoken_s(phone.recording) < 7


async def test_a_pjsip_phone_passes_it_to_the_next_person_by_info(
    pjsua: Callable[..., PjsuaPhone], ports: Ports, tmp_path: Path
) -> None:
    phone = pjsua()
    async with Pager(ports, tmp_path, {"backup": phone.port}) as pager:
        pressing = asyncio.create_task(press(phone.dial_by_info, phone, "2", after_s=1))
        assert await pager.page() == "next"
        await pressing
    assert "INFO" in pager.requests


async def test_a_pjsip_phone_that_is_busy(pjsua: Callable[..., PjsuaPhone], ports: Ports, tmp_path: Path) -> None:
    phone = pjsua(answer=486)
    async with Pager(ports, tmp_path, {"backup": phone.port}) as pager:
        with pytest.raises(DeliveryError, match="busy") as failed:
            await pager.page()
    assert not failed.value.permanent


async def test_a_pjsip_phone_behind_another_trunk_is_called_when_the_first_is_in_trouble(
    pjsua: Callable[..., PjsuaPhone], ports: Ports, tmp_path: Path
) -> None:
    phone = pjsua()
    async with Pager(ports, tmp_path, {"vonage": ports.take(), "backup": phone.port}) as pager:
        pressing = asyncio.create_task(press(phone.dial, phone, "1", after_s=0.5))
        assert await pager.page(delivery(trunk="vonage"), trunk="vonage") == "acknowledged"
        await pressing
    assert [record.trunk for record in pager.records] == ["backup"]


@pytest.mark.parametrize(("offered", "codec"), [("PCMA/8000", "PCMA"), ("opus/48000/2", "opus")])
async def test_a_baresip_phone_acknowledges(
    baresip: Callable[..., Baresip], ports: Ports, tmp_path: Path, offered: str, codec: str
) -> None:
    phone = baresip(offered, answer=True)
    async with Pager(ports, tmp_path, {"backup": phone.port}, codecs="opus PCMU PCMA") as pager:
        paging = asyncio.create_task(pager.page(to=f"sip:baresip@{HOST}:{phone.port}"))
        await asyncio.to_thread(phone.event, "CALL_ESTABLISHED")
        await asyncio.sleep(1)
        phone.press("1")
        assert await paging == "acknowledged"
        await asyncio.to_thread(phone.event, "CALL_CLOSED")
    (record,) = pager.records
    assert (record.dtmf, record.codec) == (["1"], codec)
    assert record.media.sent.packets > 50
    assert "INFO" not in pager.requests


async def test_a_test_from_the_command_line_really_calls_and_prompts_speak_where_no_espeak_ng_is(
    pjsua: Callable[..., PjsuaPhone], programs: Programs, ports: Ports
) -> None:
    phone = pjsua()
    tables = {
        "trunks__backup": {"peer": f"sip:{HOST}:{phone.port}", "options_interval_s": 0, "codecs": ["PCMA"]},
        "alerts__channels__ana": {"kind": "telephone", "to": "15550177", "trunk": "backup"},
    }
    async with LabGateway(programs, ports, env={"PATH": str(programs.directory)}, **tables) as gateway:
        await gateway.start()
        pressing = asyncio.create_task(press(phone.dial, phone, "1", after_s=2))
        status, out, _ = await gateway.command("alerts", "test", "ana")
        await pressing
        assert (status, "acknowledged" in out) == (0, True), out
        (record,) = await gateway.ended()
        assert (record["agent"], record["trunk"], record["dtmf"]) == ("alert", "backup", ["1"])
        await asyncio.to_thread(phone.call_state, "DISCONNECTED")
        assert spoken_s(phone.recording) > 1
        assert "This is a test." in record["turns"][0]["agent_said"]
        gateway.assert_sound()
        assert "15550177" not in gateway.program.output()
