"""What is over is freed at once: a full collection stops every call of a process for as long as it walks them all."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.media import FRAME, OPUS, FakeBridge, LegHarness

from trunkline.gateway.bridges import _openai_line
from trunkline.gateway.bridges.base import SpeechStarted
from trunkline.gateway.lab.rig import NUMBER, USER, Rig
from trunkline.gateway.media import worker as worker_module


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def test_a_closed_leg_is_freed_without_the_collector(no_collector: None) -> None:
    h = LegHarness(FakeBridge(), rtcp=True)
    await h.answer()
    await h.speak("a", bytes(FRAME * 20))
    h.tick(600)
    h.leg.set_media(h.parameters(codec=OPUS))
    h.leg.send_dtmf("1")
    h.tick(50)
    await h.say(SpeechStarted())
    await h.leg.close()
    leg, session = weakref.ref(h.leg), weakref.ref(h.transport.session)
    del h.leg, h.transport, h.caller
    await h.settle()
    assert leg() is None
    assert session() is None


async def test_a_leg_that_never_opened_is_freed_without_the_collector(no_collector: None) -> None:
    h = LegHarness(FakeBridge())
    h.leg.start()
    await h.settle()
    await h.leg.close()
    leg = weakref.ref(h.leg)
    del h.leg
    await h.settle()
    assert leg() is None


async def test_a_finished_call_is_freed_without_the_collector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_collector: None
) -> None:
    made: list[weakref.ref] = []
    leg, line = worker_module.MediaLeg.__init__, _openai_line.Line.__init__

    def remember_leg(self, *args, **options) -> None:
        leg(self, *args, **options)
        made.append(weakref.ref(self))

    def remember_connection(self, *args) -> None:
        line(self, *args)
        made.append(weakref.ref(self._websocket))

    monkeypatch.setattr(worker_module.MediaLeg, "__init__", remember_leg)
    monkeypatch.setattr(_openai_line.Line, "__init__", remember_connection)
    async with Rig(tmp_path, gateway={"workers": 0}) as rig:
        caller = rig.caller()
        await caller.dial(USER, NUMBER)
        await caller.hear_speech(400)
        (call,) = rig.application.switch.calls.values()
        made.append(weakref.ref(call))
        over = call.over
        del call
        caller.hang_up()
        async with asyncio.timeout(10):
            await over.wait()
            await rig.records()
            while any(one() is not None for one in made):
                await asyncio.sleep(0.05)
    assert len(made) == 3
