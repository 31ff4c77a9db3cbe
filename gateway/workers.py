"""The media workers as the switch sees them: start them, give each leg to one, notice when one dies.

A worker is a process behind a local stream socket (or, with `workers = 0`, the same code in this process).
A worker that dies is reported once with the legs it carried, and another is started in its place.
"""

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from typing import Protocol, cast

import msgspec
import structlog

from .errors import WorkerError
from .media.worker import LocalWorker
from .messages import Configure, Fact, OpenLeg, Order, Shutdown, WorkerReady, WorkerStatus, encode, fact_framer

log = structlog.get_logger(__name__)

READY_TIMEOUT = 20.0
"""Seconds from start until a worker must report; importing the media libraries takes most of it."""
RESTART_DELAY = 0.5
RESTART_DELAY_MAX = 30.0
STABLE_AFTER = 60.0
"""A worker that lived this long, seconds, dies for a new reason: its replacement starts at once."""


class Worker(Protocol):
    """One media worker, wherever it runs."""

    name: str
    legs: set[str]
    ready: bool
    status: WorkerStatus | None

    def send(self, order: Order) -> None:
        """Give an order; silently dropped when the worker is gone (its loss is reported on its own)."""
        ...


class WorkerListener(Protocol):
    """Who hears of facts and losses."""

    def on_fact(self, worker: Worker, fact: Fact) -> None: ...

    def on_worker_lost(self, worker: Worker, call_ids: set[str], reason: str) -> None: ...


class InProcessWorker:
    """`workers = 0`: the worker's own code behind the same two calls."""

    def __init__(self, listener: WorkerListener) -> None:
        self.name = "media-0"
        self.legs: set[str] = set()
        self.ready = False
        self.status: WorkerStatus | None = None
        self._listener = listener
        self._worker = LocalWorker(self._on_fact)

    def _on_fact(self, fact: Fact) -> None:
        if isinstance(fact, WorkerReady):
            self.ready = True
        elif isinstance(fact, WorkerStatus):
            self.status = fact
        else:
            self._listener.on_fact(self, fact)

    def send(self, order: Order) -> None:
        self._worker.handle(order)

    def start(self, configure: Configure) -> None:
        self._worker.start()
        self.send(configure)

    async def stop(self) -> None:
        await self._worker.stop()


class WorkerProcess(asyncio.Protocol):
    """One child process and its socket."""

    def __init__(self, index: int, listener: WorkerListener, on_exit: Callable[["WorkerProcess", str], None]) -> None:
        self.index = index
        self.name = f"media-{index + 1}"
        self.legs: set[str] = set()
        self.ready = False
        self.status: WorkerStatus | None = None
        self.pid: int | None = None
        self.started_at = 0.0
        self.up = asyncio.Event()
        self._listener = listener
        self._on_exit = on_exit
        self._framer = fact_framer()
        self._transport: asyncio.WriteTransport | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._watcher: asyncio.Task[None] | None = None

    async def start(self, configure: Configure) -> None:
        """Spawn the process and send it its configuration (never on its command line: it holds secrets)."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setblocking(False)
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "trunkline.gateway.media.worker",
                str(theirs.fileno()),
                pass_fds=(theirs.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,
                env=os.environ.copy(),
            )
        self.pid = self._process.pid
        self.started_at = loop.time()
        await loop.create_unix_connection(lambda: self, sock=ours)
        self._watcher = asyncio.create_task(self._watch(self._process))
        self.send(configure)

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        code = await process.wait()
        self.ready = False
        self._on_exit(self, f"killed by signal {-code}" if code < 0 else f"exited with status {code}")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            facts = self._framer.feed(data)
        except msgspec.DecodeError as error:
            log.error("media worker spoke nonsense, killing it", worker=self.name, error=str(error))
            self.kill()
            return
        for fact in facts:
            if isinstance(fact, WorkerReady):
                self.ready = True
                self.up.set()
            elif isinstance(fact, WorkerStatus):
                self.status = fact
            else:
                self._listener.on_fact(self, fact)

    def send(self, order: Order) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(encode(order))

    def kill(self) -> None:
        """End the process at once."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def stop(self) -> None:
        """Ask the process to close its legs and exit; kill it when it does not."""
        if self._process is None or self._watcher is None:
            return
        self.send(Shutdown())
        done, _ = await asyncio.wait({self._watcher}, timeout=3.0)
        if not done:
            self.kill()
            await self._watcher
        if self._transport is not None:
            self._transport.close()


class WorkerPool:
    """All workers of this gateway. `pick` gives the next leg to the one that carries least."""

    def __init__(self, listener: WorkerListener, count: int, configure: Configure) -> None:
        """`count` processes, or 0 for this process; each gets an equal share of the ports in `configure`."""
        self._listener = listener
        self._count = count
        self._configure = configure
        self._workers: list[WorkerProcess | InProcessWorker] = []
        self._stopping = False
        self._restarts: set[asyncio.Task[None]] = set()
        self._failures = 0

    def __repr__(self) -> str:
        states = ", ".join(f"{w.name}={'ready' if w.ready else 'down'}/{len(w.legs)}" for w in self._workers)
        return f"<WorkerPool {states}>"

    @property
    def workers(self) -> list[Worker]:
        return list(self._workers)

    async def start(self) -> None:
        """Start every worker and wait until each reports. Raises WorkerError."""
        if self._count == 0:
            worker = InProcessWorker(self._listener)
            self._workers.append(worker)
            worker.start(self._configure)
            return
        for index in range(self._count):
            await self._spawn(index)
        started = [worker.up.wait() for worker in self._workers if isinstance(worker, WorkerProcess)]
        try:
            await asyncio.wait_for(asyncio.gather(*started), READY_TIMEOUT)
        except TimeoutError:
            raise WorkerError(f"media workers not ready after {READY_TIMEOUT:.0f} s: {self!r}") from None

    async def _spawn(self, index: int) -> None:
        worker = WorkerProcess(index, self._listener, self._exited)
        self._workers.append(worker)
        await worker.start(self._share(index))

    def _share(self, index: int) -> Configure:
        """The configuration with the worker's own part of the port range: workers never compete for a port."""
        whole = self._configure
        first = whole.port_first + whole.port_first % 2
        pairs = (whole.port_last - first + 1) // 2
        start, end = (first + 2 * (pairs * i // self._count) for i in (index, index + 1))
        return msgspec.structs.replace(whole, port_first=start, port_last=end - 1)

    def _exited(self, worker: WorkerProcess, reason: str) -> None:
        self._workers.remove(worker)
        if self._stopping:
            return
        loop = asyncio.get_running_loop()
        lived = loop.time() - worker.started_at
        self._failures = 0 if lived > STABLE_AFTER else self._failures + 1
        delay = min(RESTART_DELAY * 2 ** max(0, self._failures - 1), RESTART_DELAY_MAX)
        log.error(
            "media worker died",
            worker=worker.name,
            pid=worker.pid,
            reason=reason,
            calls_lost=len(worker.legs),
            restart_in_s=delay,
        )
        lost, worker.legs = worker.legs, set()
        self._listener.on_worker_lost(worker, lost, reason)
        task = asyncio.create_task(self._restart(worker.index, delay))
        self._restarts.add(task)
        task.add_done_callback(self._restarts.discard)

    async def _restart(self, index: int, delay: float) -> None:
        await asyncio.sleep(delay)
        if not self._stopping:
            await self._spawn(index)

    def pick(self, order: OpenLeg) -> Worker | None:
        """Give a new leg to the ready worker with the fewest; None when none is ready."""
        ready = [worker for worker in self._workers if worker.ready]
        if not ready:
            return None
        worker = min(ready, key=lambda w: len(w.legs))
        worker.legs.add(order.call_id)
        worker.send(order)
        return worker

    async def stop(self) -> None:
        """End every worker."""
        self._stopping = True
        for task in self._restarts:
            task.cancel()
        await asyncio.gather(*(worker.stop() for worker in list(self._workers)))
