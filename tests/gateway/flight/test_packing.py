"""The rings of many legs that close at once."""

import asyncio
import threading

import pytest

from trunkline.gateway.flight import packing as packing_module
from trunkline.gateway.flight.file import leg_of
from trunkline.gateway.flight.leg_ring import LegRing
from trunkline.gateway.flight.packing import Packing


def ring() -> LegRing:
    return LegRing(8192, 30000, 1.0, 2.0)


async def test_one_thread_at_a_time_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    busy, most = threading.Semaphore(1), []
    real = packing_module.sealed

    def watched(leg):
        most.append(busy.acquire(blocking=False))
        try:
            return real(leg)
        finally:
            busy.release()

    monkeypatch.setattr(packing_module, "sealed", watched)
    packing = Packing(patience_s=60)
    packed = await asyncio.gather(*(packing.packed(ring()) for _ in range(20)))
    assert most == [True] * 20
    assert all(data is not None and leg_of(data).local_port == 30000 for data in packed)


async def test_a_ring_that_does_not_get_its_turn_is_given_up_and_the_next_one_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow, begun = threading.Event(), threading.Event()

    def stuck(leg):
        begun.set()
        slow.wait(20)
        return b"packed"

    monkeypatch.setattr(packing_module, "sealed", stuck)
    packing = Packing(patience_s=0.01)
    first = asyncio.create_task(packing.packed(ring()))
    await asyncio.to_thread(begun.wait, 20)
    assert await packing.packed(ring()) is None
    slow.set()
    assert await first == b"packed"
    assert await packing.packed(ring()) == b"packed"
