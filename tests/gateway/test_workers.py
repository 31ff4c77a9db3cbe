"""Media workers as processes: they come up, they die alone, they are replaced."""

import asyncio
import os
import signal
import time
from typing import Any

import pytest

from trunkline.gateway.messages import (
    CodecSpec,
    Configure,
    Fact,
    LegFailed,
    OpenLeg,
    WorkerReady,
    WorkerStatus,
    encode,
)
from trunkline.gateway.workers import STUCK_AFTER, Worker, WorkerPool, WorkerProcess

CONFIGURE = Configure({}, "127.0.0.1", 21001, 21040, "recordings")


class Listener:
    def __init__(self) -> None:
        self.facts: asyncio.Queue[Fact] = asyncio.Queue()
        self.lost: asyncio.Queue[tuple[str, set[str], str]] = asyncio.Queue()

    def on_fact(self, worker: Worker, fact: Fact) -> None:
        self.facts.put_nowait(fact)

    def on_worker_status(self, worker: Worker, status: WorkerStatus) -> None:
        pass

    def on_worker_lost(self, worker: Worker, call_ids: set[str], reason: str) -> None:
        self.lost.put_nowait((worker.name, call_ids, reason))


def order(call_id: str) -> OpenLeg:
    return OpenLeg(call_id, "nobody", "inbound", None, None, CodecSpec("PCMU"))


def process(worker: Any) -> WorkerProcess:
    assert isinstance(worker, WorkerProcess)
    return worker


@pytest.mark.parametrize("count", [0, 1])
async def test_orders_and_facts_cross_the_wall(count: int) -> None:
    listener = Listener()
    pool = WorkerPool(listener, count, CONFIGURE)
    await pool.start()
    try:
        assert pool.pick(order("a")) is not None
        async with asyncio.timeout(5):
            fact = await listener.facts.get()
        assert isinstance(fact, LegFailed)
        assert "nobody" in fact.reason
    finally:
        await pool.stop()


async def test_a_killed_worker_takes_only_its_own_legs_and_is_replaced() -> None:
    listener = Listener()
    pool = WorkerPool(listener, 2, CONFIGURE)
    await pool.start()
    try:
        first, second = pool.pick(order("a")), pool.pick(order("b"))
        assert first is not second
        pid = process(first).pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(10):
            name, lost, reason = await listener.lost.get()
            assert (lost, reason) == ({"a"}, "killed by signal 9")
            assert pool.workers == [second]
            while len(pool.workers) < 2 or not all(worker.ready for worker in pool.workers):
                await asyncio.sleep(0.02)
        assert name in [worker.name for worker in pool.workers]
        assert process(pool.workers[-1]).pid != pid
    finally:
        await pool.stop()


async def test_a_stuck_worker_is_killed_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trunkline.gateway.workers.WATCH_INTERVAL", 0.1)
    monkeypatch.setattr("trunkline.gateway.workers.STUCK_AFTER", 1.5)
    listener = Listener()
    pool = WorkerPool(listener, 2, CONFIGURE)
    await pool.start()
    try:
        first, second = pool.pick(order("a")), pool.pick(order("b"))
        pid = process(first).pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        async with asyncio.timeout(10):
            _, lost, reason = await listener.lost.get()
            assert lost == {"a"}
            # both are true of it, and either may be seen first
            assert reason in ("stuck: it said nothing any more", "stuck: its media clock stood still")
            assert pool.workers == [second]
            while len(pool.workers) < 2 or not all(worker.ready for worker in pool.workers):
                await asyncio.sleep(0.02)
    finally:
        await pool.stop()
    assert listener.lost.empty(), "a worker that lives was taken for stuck"


async def test_a_held_up_switch_does_not_take_its_workers_for_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trunkline.gateway.workers.WATCH_INTERVAL", 0.1)
    monkeypatch.setattr("trunkline.gateway.workers.STUCK_AFTER", 1.5)
    listener = Listener()
    pool = WorkerPool(listener, 1, CONFIGURE)
    await pool.start()
    try:
        time.sleep(2.0)  # noqa: ASYNC251 - the loop must stand still
        heard = process(pool.workers[0]).heard_at
        async with asyncio.timeout(5):
            while process(pool.workers[0]).heard_at <= heard + 1.0:
                await asyncio.sleep(0.02)
    finally:
        await pool.stop()
    assert listener.lost.empty()


async def test_workers_share_the_ports_without_overlap() -> None:
    pool = WorkerPool(Listener(), 3, CONFIGURE)
    shares = [pool._share(index) for index in range(3)]
    ports = [port for share in shares for port in range(share.port_first, share.port_last + 1)]
    assert len(ports) == len(set(ports))
    assert min(ports) == 21002
    assert all(share.port_first % 2 == 0 for share in shares)
    assert max(ports) <= 21040


async def test_secrets_are_not_on_the_command_line() -> None:
    configure = Configure({"a": {"provider": "openai", "api_key": "sk-secret"}}, "127.0.0.1", 21002, 21041, "r")
    pool = WorkerPool(Listener(), 1, configure)
    await pool.start()
    try:
        pid = process(pool.workers[0]).pid
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            assert b"sk-secret" not in file.read()
        with open(f"/proc/{pid}/environ", "rb") as file:
            assert b"sk-secret" not in file.read()
    finally:
        await pool.stop()


async def test_a_clock_that_stands_still_is_a_stuck_worker() -> None:
    worker = WorkerProcess(0, Listener(), lambda *_: None)
    pool = WorkerPool(Listener(), 1, CONFIGURE)
    pool._workers.append(worker)
    now = asyncio.get_running_loop().time()
    assert pool.stalled(now) == "no media worker is up"
    worker.data_received(encode(WorkerReady(1)))
    assert pool.stalled(now) is None
    worker.data_received(encode(WorkerStatus(0, 0.0, 0, clock_ticks=200)))
    for seconds in range(1, 7):
        assert pool.stalled(now + STUCK_AFTER - 0.1) is None
        worker.data_received(encode(WorkerStatus(0, 0.0, 0, clock_ticks=200)))
        worker.heard_at = now + seconds
    late = now + STUCK_AFTER + 0.5
    assert pool.stalled(late) == "the media clock of media-1 stands still"
    worker.check(late)
    assert worker.stuck == "its media clock stood still"


async def test_the_media_clock_of_a_real_worker_is_seen_to_tick() -> None:
    pool = WorkerPool(Listener(), 1, CONFIGURE)
    await pool.start()
    try:
        worker = pool.workers[0]
        seen: set[int] = set()
        async with asyncio.timeout(10):
            while len(seen) < 2:
                await asyncio.sleep(0.05)
                if worker.status is not None:
                    seen.add(worker.status.clock_ticks)
        assert 100 < max(seen) - min(seen) < 400, "about 200 in a second"
    finally:
        await pool.stop()
