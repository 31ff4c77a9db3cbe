"""The media workers as the switch sees them: start them, give each leg to one, notice when one dies.

A worker is a process behind a local stream socket (or, with `workers = 0`, the same code in this process).
A worker that dies is reported once with the legs it carried, and another is started in its place. One that runs but
says nothing for STUCK_AFTER (it reports each second), or whose media clock stands still for so long, is killed, and so
dies like any other.
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
STUCK_AFTER = 5.0
"""Seconds of silence, or of a media clock that does not tick, after which a ready worker is taken for stuck; it says
once a second how it is and how often its clock has ticked."""
WATCH_INTERVAL = 1.0
STABLE_AFTER = 60.0
"""A worker that lived this long, seconds, dies for a new reason: its replacement starts at once."""


class Worker(Protocol):
    """One media worker, wherever it runs."""

    name: str
    legs: set[str]
    ready: bool
    status: WorkerStatus | None
    ticked_at: float
    """When its media clock was last known to tick, the loop's seconds."""

    def send(self, order: Order) -> None:
        """Give an order; silently dropped when the worker is gone (its loss is reported on its own)."""
        ...


class WorkerListener(Protocol):
    """Who hears of facts and losses."""

    def on_fact(self, worker: Worker, fact: Fact) -> None: ...

    def on_worker_status(self, worker: Worker, status: WorkerStatus) -> None: ...

    def on_worker_lost(self, worker: Worker, call_ids: set[str], reason: str) -> None: ...


def _take_status(worker: Worker, status: WorkerStatus) -> None:
    """Keep the status; a clock that has ticked since the last one is alive."""
    if worker.status is None or status.clock_ticks > worker.status.clock_ticks:
        worker.ticked_at = asyncio.get_running_loop().time()
    worker.status = status


class InProcessWorker:
    """`workers = 0`: the worker's own code behind the same two calls."""

    def __init__(self, listener: WorkerListener) -> None:
        self.name = "media-0"
        self.legs: set[str] = set()
        self.ready = False
        self.status: WorkerStatus | None = None
        self.ticked_at = 0.0
        self._listener = listener
        self._worker = LocalWorker(self._on_fact)

    def _on_fact(self, fact: Fact) -> None:
        if isinstance(fact, WorkerReady):
            self.ready = True
            self.ticked_at = asyncio.get_running_loop().time()
        elif isinstance(fact, WorkerStatus):
            _take_status(self, fact)
            self._listener.on_worker_status(self, fact)
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
        self.heard_at = 0.0
        """When it last said anything, the loop's seconds."""
        self.ticked_at = 0.0
        self.stuck: str | None = None
        """Why it was killed for being stuck."""
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
        if self.stuck is not None:
            self._on_exit(self, f"stuck: {self.stuck}")
        else:
            self._on_exit(self, f"killed by signal {-code}" if code < 0 else f"exited with status {code}")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        try:
            facts = self._framer.feed(data)
        except msgspec.DecodeError as error:
            log.error("media worker spoke nonsense, killing it", worker=self.name, error=str(error))
            self.kill()
            return
        for fact in facts:
            if isinstance(fact, WorkerReady):
                self.ready = True
                self.ticked_at = self.heard_at
                self.up.set()
            elif isinstance(fact, WorkerStatus):
                _take_status(self, fact)
                self._listener.on_worker_status(self, fact)
            else:
                self._listener.on_fact(self, fact)

    def send(self, order: Order) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(encode(order))

    def check(self, now: float) -> None:
        """Kill the process when it is stuck."""
        if self.stuck is not None:
            return
        if now - max(self.heard_at, self.started_at) > (STUCK_AFTER if self.ready else READY_TIMEOUT):
            self.stuck = "it said nothing any more"
        elif self.ready and now - self.ticked_at > STUCK_AFTER:
            self.stuck = "its media clock stood still"
        if self.stuck is not None:
            log.error("media worker is stuck, killing it", worker=self.name, pid=self.pid, reason=self.stuck)
            self.kill()

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
        self._watch: asyncio.TimerHandle | None = None

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
        try:
            for index in range(self._count):
                await self._spawn(index)
        except OSError as error:
            raise WorkerError(f"media workers cannot be started: {error}") from error
        started = [worker.up.wait() for worker in self._workers if isinstance(worker, WorkerProcess)]
        try:
            await asyncio.wait_for(asyncio.gather(*started), READY_TIMEOUT)
        except TimeoutError:
            raise WorkerError(f"media workers not ready after {READY_TIMEOUT:.0f} s: {self!r}") from None
        self._watch_after(WATCH_INTERVAL)

    def _watch_after(self, delay: float) -> None:
        loop = asyncio.get_running_loop()
        self._watch = loop.call_later(delay, self._look_after, loop.time() + delay)

    def _look_after(self, due: float) -> None:
        """Find stuck workers; when this process itself was held up, what they said meanwhile is still to be read."""
        now = asyncio.get_running_loop().time()
        for worker in self._workers:
            if isinstance(worker, WorkerProcess):
                if now - due > WATCH_INTERVAL:
                    worker.heard_at = worker.ticked_at = now
                worker.check(now)
        self._watch_after(WATCH_INTERVAL)

    async def _spawn(self, index: int) -> None:
        worker = WorkerProcess(index, self._listener, self._exited)
        self._workers.append(worker)
        try:
            await worker.start(self._share(index))
        except OSError:
            self._workers.remove(worker)
            raise

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
        while not self._stopping:
            await asyncio.sleep(delay)
            try:
                await self._spawn(index)
            except OSError as error:
                log.error(
                    "media worker cannot be started", index=index, reason=str(error), retry_in_s=RESTART_DELAY_MAX
                )
                delay = RESTART_DELAY_MAX
            else:
                return

    def reconfigure(self, configure: Configure) -> None:
        """Give every worker another configuration; legs that are open keep what they have."""
        self._configure = configure
        for worker in self._workers:
            worker.send(self._share(worker.index) if isinstance(worker, WorkerProcess) else configure)

    def pick(self, order: OpenLeg) -> Worker | None:
        """Give a new leg to the ready worker with the fewest; None when none is ready."""
        ready = [worker for worker in self._workers if worker.ready]
        if not ready:
            return None
        worker = min(ready, key=lambda w: len(w.legs))
        worker.legs.add(order.call_id)
        worker.send(order)
        return worker

    def stalled(self, now: float) -> str | None:
        """Why media is not served, None while every clock ticks. A worker that is being replaced has none."""
        ready = [worker for worker in self._workers if worker.ready]
        for worker in ready:
            if now - worker.ticked_at > STUCK_AFTER:
                return f"the media clock of {worker.name} stands still"
        return None if ready else "no media worker is up"

    async def stop(self) -> None:
        """End every worker."""
        self._stopping = True
        if self._watch is not None:
            self._watch.cancel()
        for task in self._restarts:
            task.cancel()
        await asyncio.gather(*(worker.stop() for worker in list(self._workers)))
