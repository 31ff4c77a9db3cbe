"""One measurement: the processes, where they run, and the window in which everything is read at once."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import proc
from .proc import Usage

HOST = "127.0.0.1"
SIP_PORT = 25060
HTTP_PORT = 28080
RTP_PORTS = (40000, 44999)
ECHO_PORT = 46000
WORKER_MODULE = "trunkline.gateway.media.worker"
SETTLE_S = 3.0
"""From the last answer to the window."""
START_TIMEOUT_S = 30.0

CONFIG = """
[gateway]
name = "bench"
state_dir = "{state}"
workers = 1
max_calls = {calls}
log_level = "warning"
log_format = "json"
[sip]
listen = ["udp://{host}:{sip_port}"]
[rtp]
ports = "{rtp_first}-{rtp_last}"
bind = "{host}"
public_address = "{host}"
[trunks.callers]
peer = "sip:{host}:5999;transport=udp"
codecs = ["PCMU"]
sources = ["{host}/32"]
options_interval_s = 0
[agents.bench]
provider = "openai"
base_url = "ws://{host}:{agent_port}/v1"
api_key = "bench"
instructions = "You answer the telephone."
patience_s = 15
[[routes]]
to = "*"
agent = "bench"
[http]
listen = "{host}:{http_port}"
"""


class RigError(Exception):
    """The measurement could not be made; the text says why."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Which core carries what."""

    worker: int
    others: set[int]

    @classmethod
    def of_this_machine(cls) -> "Layout":
        """The last core for the worker alone, the rest for everything else. Raises RigError with one core only."""
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            raise RigError("the benchmark needs two cores: one for the media worker, one for everything else")
        return cls(cores[-1], set(cores[:-1]))


@dataclass(slots=True)
class Window:
    """What was read at its two ends."""

    begin_ns: int
    end_ns: int
    before: Usage
    after: Usage
    drops: int = 0
    """Datagrams that the kernel had no room for at the gateway's RTP sockets."""
    generator_drops: int = 0

    @property
    def seconds(self) -> float:
        return (self.end_ns - self.begin_ns) / 1e9

    def percent(self, process: str) -> float:
        """CPU of a process, % of one core."""
        return (self.after.processes[process] - self.before.processes[process]) / self.seconds * 100

    def core_percent(self, core: int) -> float:
        """How busy a core was, whoever used it, %."""
        return (self.after.cores[core][0] - self.before.cores[core][0]) / self.seconds * 100


@dataclass(slots=True)
class Run:
    """Everything that one measurement left behind."""

    calls: int
    window: Window
    callers: dict[str, Any]
    up: dict[str, Any]
    callers_log: Path
    agent: dict[str, Any] = field(default_factory=dict)
    agent_log: Path | None = None
    idle_mb: dict[str, float] = field(default_factory=dict)
    loaded_mb: dict[str, float] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class Child:
    """A process that is told a task on its standard input and answers in lines of JSON."""

    def __init__(self, module: str, cores: set[int], *arguments: str, task: dict[str, Any] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        os.sched_setaffinity(self.process.pid, cores)
        if task is not None:
            self.tell(json.dumps(task))

    @property
    def pid(self) -> int:
        return self.process.pid

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        """The next line. Raises RigError when the process ended."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RigError(f"{self.process.args} ended with status {self.process.wait()}")
        return line

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def measure_floor(layout: Layout, calls: int, seconds: float, directory: Path) -> Run:
    """The same packets to and from a bare echo on the worker's core."""
    with ExitStack() as stack:
        echo = Child("bench.echo", {layout.worker}, HOST, str(ECHO_PORT), str(calls))
        stack.callback(echo.close)
        echo.hear()
        log = directory / f"floor-{calls}.npz"
        task = {"calls": calls, "seconds": seconds + 10, "output": str(log), "echo_port": ECHO_PORT}
        callers = Child("bench.callers", layout.others, task=task)
        stack.callback(callers.close)
        up = json.loads(callers.hear())
        time.sleep(1.0)
        window = _window({"echo": echo.pid, "callers": callers.pid}, seconds, up["ports"])
        callers.tell("stop")
        return Run(calls, window, json.loads(callers.hear()), up, log)


def measure_gateway(layout: Layout, calls: int, seconds: float, rate: float, directory: Path) -> Run:
    """N calls through the gateway."""
    with ExitStack() as stack:
        agent_log = directory / f"agent-{calls}.npz"
        agent = Child("bench.agent", layout.others, task={"output": str(agent_log)})
        stack.callback(agent.close)
        agent_port = json.loads(agent.hear())["port"]
        gateway, worker = stack.enter_context(_gateway(layout, calls, agent_port, directory))
        pids = {"switch": gateway, "worker": worker}
        idle_mb = {name: proc.memory_mb(pid) for name, pid in pids.items()}
        log = directory / f"callers-{calls}.npz"
        longest = seconds + calls / rate + SETTLE_S + 30
        task = {"calls": calls, "seconds": longest, "output": str(log), "sip_port": SIP_PORT, "rate": rate}
        callers = Child("bench.callers", layout.others, task=task)
        stack.callback(callers.close)
        up = json.loads(callers.hear())
        time.sleep(SETTLE_S)
        window = _window({**pids, "callers": callers.pid, "agent": agent.pid}, seconds, up["ports"])
        loaded_mb = {name: proc.memory_mb(pid) for name, pid in pids.items()}
        callers.tell("stop")
        done = json.loads(callers.hear())
        records = _records(calls)
        agent.tell("stop")
        summary = json.loads(agent.hear())
        return Run(calls, window, done, up, log, summary, agent_log, idle_mb, loaded_mb, records)


def _window(pids: dict[str, int], seconds: float, generator_ports: list[int]) -> Window:
    ours = set(generator_ports)
    theirs = set(range(RTP_PORTS[0], RTP_PORTS[1], 2)) | set(range(ECHO_PORT, ECHO_PORT + 2000, 2))
    drops = [proc.udp_drops(theirs), proc.udp_drops(ours)]
    before, begin = Usage.now(pids), time.monotonic_ns()
    time.sleep(seconds)
    after, end = Usage.now(pids), time.monotonic_ns()
    window = Window(begin, end, before, after)
    window.drops = proc.udp_drops(theirs) - drops[0]
    window.generator_drops = proc.udp_drops(ours) - drops[1]
    return window


@contextmanager
def _gateway(layout: Layout, calls: int, agent_port: int, directory: Path) -> Iterator[tuple[int, int]]:
    """`trunkline run` as production runs it; the pids of switch and worker."""
    state = directory / f"state-{calls}"
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(parents=True)
    config = directory / f"trunkline-{calls}.toml"
    config.write_text(
        CONFIG.format(
            state=state,
            calls=calls,
            host=HOST,
            sip_port=SIP_PORT,
            http_port=HTTP_PORT,
            rtp_first=RTP_PORTS[0],
            rtp_last=RTP_PORTS[1],
            agent_port=agent_port,
        )
    )
    log = directory / f"gateway-{calls}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "trunkline.gateway", "run", "--config", str(config)], stdout=output, stderr=output
        )
        try:
            os.sched_setaffinity(process.pid, layout.others)
            worker = _ready(process, log)
            proc.pin(worker, {layout.worker})
            yield process.pid, worker
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _ready(process: "subprocess.Popen[bytes]", log: Path) -> int:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RigError(f"the gateway ended with status {process.returncode}: {log.read_text()[-2000:]}")
        worker = proc.child_running(process.pid, WORKER_MODULE)
        if worker is not None and _http("/readyz") is not None:
            return worker
        time.sleep(0.2)
    raise RigError(f"the gateway was not ready within {START_TIMEOUT_S:.0f} s: {log.read_text()[-2000:]}")


def _http(path: str) -> Any:
    """The JSON at this path, None when it is not there (yet)."""
    try:
        with urllib.request.urlopen(f"http://{HOST}:{HTTP_PORT}{path}", timeout=5) as answer:
            return json.loads(answer.read())
    except (OSError, urllib.error.URLError, ValueError):
        return None


def _records(calls: int) -> list[dict[str, Any]]:
    """What the gateway itself wrote of the calls, once all are written."""
    deadline = time.monotonic() + 10
    while True:
        found: list[dict[str, Any]] = []
        before = ""
        while (answer := _http(f"/api/calls?limit=100{before}")) is not None:
            found += [record for record in answer["calls"] if record["ended_at"] and "live" not in record]
            if answer["next"] is None:
                break
            before = f"&before={answer['next']}"
        if len(found) >= calls or time.monotonic() > deadline:
            return found
        time.sleep(0.3)
