"""`trunkline run` as a process between the lab's trunk and agent, which live in the test's own event loop."""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp

from trunkline.gateway.lab.agent import AgentOptions, AgentServer
from trunkline.gateway.lab.caller import LabCaller
from trunkline.gateway.lab.trunk import LabTrunk, RegistrarAgent
from trunkline.gateway.lab.voice import speech
from trunkline.gateway.media.clock import MediaClock
from trunkline.rtp.ports import PortRange
from trunkline.sip.message import Request, Response, parse_message
from trunkline.sip.transport import SipTransport

from .ports import HOST, Ports
from .processes import Program, Programs

USER, NUMBER = "trunkline", "15550123"
PASSWORD, API_KEY = "pw-7Hq2mZrecognisable", "sk-lab-9Xw4recognisable"
TRUNKLINE = Path(sys.executable).with_name("trunkline")
T = TypeVar("T")


async def eventually(condition: Callable[[], T], timeout_s: float, what: str, every_s: float = 0.02) -> T:
    """The first true value of `condition`, looked at from the running loop; AssertionError naming `what`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while not (value := condition()):
        assert loop.time() < deadline, f"after {timeout_s:g} s still not: {what} (last seen: {value!r})"
        await asyncio.sleep(every_s)
    return value


class Trunk(LabTrunk):
    """The lab's trunk, on TCP as well, counting what the gateway asks; its passwords may change while it runs."""

    def __init__(self, passwords: dict[str, str]) -> None:
        super().__init__(passwords)
        self.passwords = passwords

    async def start(self, host: str = HOST, port: int = 0) -> int:
        self._transport = await SipTransport.open([f"udp://{host}:{port}", f"tcp://{host}:{port}"])
        self.agent = RegistrarAgent(self._passwords, self._rng, self._transport)
        self._transport.run(self.agent, self._on_event)
        return int(self._transport.listening[0].rsplit(":", 1)[1])

    @property
    def asked(self) -> int:
        """How many REGISTERs were refused or challenged."""
        return self.agent.challenged + self.agent.refused


class Answer:
    """What the admin API answered."""

    def __init__(self, status: int, headers: Mapping[str, str], text: str) -> None:
        self.status = status
        self.headers = headers
        self.text = text

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class LabGateway:
    """One gateway process with its trunk, its agent and phones. `tables` changes its configuration, table by table."""

    def __init__(
        self,
        programs: Programs,
        ports: Ports,
        options: AgentOptions | None = None,
        *,
        rtp_ports: int = 64,
        env: Mapping[str, str] | None = None,
        **tables: Mapping[str, Any],
    ) -> None:
        self.trunk = Trunk({USER: PASSWORD})
        self.agent = AgentServer(options=options)
        self.trunk_port, self.sip_port, self.http_port = ports.take(), ports.take(), ports.take()
        first = ports.take_range(rtp_ports)
        self.directory = programs.directory / f"lab-{self.sip_port}"
        self.directory.mkdir()
        self.state_dir = self.directory / "state"
        self.config = self.directory / "trunkline.toml"
        self.env = {"LAB_PASSWORD": PASSWORD, "LAB_API_KEY": API_KEY, **(env or {})}
        self._rtp = f"{first}-{first + rtp_ports - 1}"
        self._tables = tables
        self._programs = programs
        self._program: Program | None = None
        self._callers: list[LabCaller] = []
        self._clock = MediaClock()
        callers = ports.take_range(64)
        self._ports = PortRange(callers, callers + 63, cooldown_s=0.0)

    async def __aenter__(self) -> Self:
        await self.trunk.start(port=self.trunk_port)
        await self.agent.start()
        self._clock.start()
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if self._program is not None:
            await asyncio.to_thread(self._program.stop)
        for caller in self._callers:
            caller.tick_failed(RuntimeError("the test is over"))
        self._clock.stop()
        await self.trunk.stop()
        await self.agent.stop()

    # The process

    def write_config(self, **tables: Mapping[str, Any]) -> Path:
        """Write the file anew with these changes on top; a value of None removes its key."""
        given: dict[str, dict[str, Any]] = {
            "gateway": {"state_dir": str(self.state_dir), "workers": 1, "drain_s": 5, "name": "lab"},
            "sip": {"listen": [f"{kind}://{HOST}:{self.sip_port}" for kind in ("udp", "tcp")]},
            "rtp": {"ports": self._rtp, "bind": HOST},
            "trunks.lab": {
                "registrar": f"sip:{HOST}:{self.trunk_port};transport=udp",
                "username": USER,
                "password": "$LAB_PASSWORD",
                "codecs": ["PCMU"],
            },
            "agents.reception": {
                "provider": "openai",
                "base_url": self.agent.url,
                "api_key": "$LAB_API_KEY",
                "instructions": "You are the receptionist.",
                "greeting": True,
            },
            "http": {"listen": f"{HOST}:{self.http_port}"},
        }
        for changes in (self._tables, tables):
            for name, keys in changes.items():
                table = given.setdefault(name.replace("__", "."), {})
                table.update(keys)
        lines = [line for name, keys in given.items() for line in (f"[{name}]", *_lines(keys))]
        self.config.write_text("\n".join([*lines, "[[routes]]", 'to = "1555*"', 'agent = "reception"', ""]))
        return self.config

    @property
    def program(self) -> Program:
        """The running process."""
        assert self._program is not None
        return self._program

    async def start(
        self, *, ready: bool = True, prefix: Sequence[str] = (), command: Sequence[str] | None = None
    ) -> Self:
        """Start `trunkline run` (behind the command `prefix`), or another `command`, and wait for /readyz."""
        if not self.config.exists():
            self.write_config()
        command = command or [str(TRUNKLINE), "run", "--config", str(self.config)]
        self._program = self._programs.start("gateway", [*prefix, *command], env=self.env)
        if ready:
            await self.until_ready()
        return self

    async def until_ready(self, timeout_s: float = 40.0) -> None:
        """Wait until GET /readyz is 200."""
        await self.until_readyz(200, timeout_s)

    async def until_readyz(self, status: int, timeout_s: float = 30.0, reason: str = "") -> Answer:
        """Wait until GET /readyz has this status, and `reason` in its text."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        answer: Answer | None = None
        while loop.time() < deadline:
            assert self.program.exit_status is None, f"the gateway ended:\n{self.program.tail()}"
            with contextlib.suppress(aiohttp.ClientConnectionError):
                answer = await self.ask("GET", "/readyz")
                if answer.status == status and reason in answer.text:
                    return answer
            await asyncio.sleep(0.03)
        raise AssertionError(f"after {timeout_s:g} s /readyz is not {status} {reason!r}: {answer and answer.text}")

    async def wait(self, timeout_s: float = 30.0) -> int:
        """Its exit status."""
        await eventually(lambda: self.program.exit_status is not None, timeout_s, "the gateway to end")
        return self.program.exit_status or 0

    async def stop(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = 30.0) -> int:
        """Tell it to end; its exit status."""
        self.program.signal(number)
        return await self.wait(timeout_s)

    @property
    def rtp_ports(self) -> range:
        """RTP and RTCP."""
        first, last = map(int, self._rtp.split("-"))
        return range(first, last + 1)

    @property
    def workers(self) -> list[int]:
        """The pids of its media workers."""
        return children(self.program.pid)

    async def command(self, *arguments: object, timeout_s: float = 60.0) -> tuple[int, str, str]:
        """Another `trunkline` command with the same configuration: exit status, standard output and error."""
        process = await asyncio.create_subprocess_exec(
            str(TRUNKLINE),
            *map(str, arguments),
            env={**os.environ, **self.env, "TRUNKLINE_CONFIG": str(self.config)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(timeout_s):
                out, err = await process.communicate()
        except BaseException:
            process.kill()
            await process.wait()
            raise
        return process.returncode or 0, out.decode(), err.decode()

    # What it tells

    async def ask(self, method: str, path: str, body: Any = None, **options: Any) -> Answer:
        """One request to the admin API; `body` goes out as JSON."""
        if body is not None:
            options["json"] = body
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, f"http://{HOST}:{self.http_port}{path}", **options) as response,
        ):
            return Answer(response.status, dict(response.headers), await response.text())

    async def calls(self) -> list[dict[str, Any]]:
        """All records, oldest first."""
        answer = await self.ask("GET", "/api/calls?limit=1000")
        assert answer.status == 200, answer.text
        return answer.json["calls"][::-1]

    async def ended(self, count: int = 1, timeout_s: float = 30.0) -> list[dict[str, Any]]:
        """Wait until `count` calls are over and none is live; their records, oldest first."""
        async with asyncio.timeout(timeout_s):
            while True:
                calls = await self.calls()
                if len(calls) >= count and all(call["ended_at"] and "live" not in call for call in calls):
                    return calls
                await asyncio.sleep(0.03)

    async def ended_calls(self, caller: str, timeout_s: float = 30.0) -> list[dict[str, Any]]:
        """Wait until a call of this caller is over and in the database; the records of its calls."""

        def found() -> list[dict[str, Any]]:
            return [record for record in self.stored() if record["from"] == caller and record["ended_at"]]

        return await eventually(found, timeout_s, f"a stored call of {caller}")

    @staticmethod
    def json(text: str) -> Any:
        """What a command wrote with --json."""
        return json.loads(text)

    def stored(self) -> list[dict[str, Any]]:
        """What `trunkline calls` reads: the database, also when the gateway is gone; oldest first."""
        import sqlite3

        with contextlib.closing(sqlite3.connect(self.state_dir / "calls.db")) as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute("select * from calls order by id")]

    def log(self, event: str = "") -> list[dict[str, Any]]:
        """The gateway's log lines with this event, as objects; what is no JSON has the event `raw`."""
        lines = [_log_line(line) for line in self.program.output().splitlines()]
        return [line for line in lines if event in ("", line["event"])]

    def assert_sound(self) -> None:
        """It still runs, and nothing raised out of it."""
        assert self.program.exit_status is None, self.program.tail()
        output = self.program.output()
        assert "Traceback" not in output, output[-6000:]
        assert '"exception"' not in output, output[-6000:]
        assert not self.log("raw")

    # Phones

    def caller(self, number: str = "15550100", trunk: LabTrunk | None = None) -> LabCaller:
        """A new phone at the trunk, or at another one."""
        self._callers.append(LabCaller(trunk or self.trunk, self._clock, self._ports, number))
        return self._callers[-1]

    async def call(self, number: str = "15550100") -> LabCaller:
        """A call that is up and has been greeted."""
        caller = self.caller(number)
        await caller.dial(USER, NUMBER)
        await caller.hear_speech(200)
        return caller


class RawSip:
    """SIP by hand over one UDP socket: what is sent need not be SIP."""

    def __init__(self, port: int, host: str = HOST) -> None:
        """`port` of the gateway; `host` of this socket, another than 127.0.0.1 is foreign to the trunk."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind((host, 0))
        self.host, self.port = self._socket.getsockname()
        self._target = (HOST, port)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionRefusedError):
            self._socket.sendto(data, self._target)

    async def receive(self, timeout_s: float = 10.0) -> Request | Response:
        """The next message that comes."""
        return parse_message(await self.receive_octets(timeout_s))

    async def receive_octets(self, timeout_s: float = 10.0) -> bytes:
        """The next datagram that comes."""
        async with asyncio.timeout(timeout_s):
            return await asyncio.get_running_loop().sock_recv(self._socket, 65536)

    async def final(self, call_id: str, timeout_s: float = 10.0) -> Response:
        """The final response of this Call-ID; a refused INVITE is acknowledged."""
        async with asyncio.timeout(timeout_s):
            while True:
                message = await self.receive(timeout_s)
                if isinstance(message, Response) and message.status >= 200 and message.call_id == call_id:
                    return message

    async def before_answer(self) -> list[bytes]:
        """All that comes before the answer to an OPTIONS sent now: proves what was not answered, without waiting."""
        probe, call_id = self.request("OPTIONS")
        self.send(probe)
        before: list[bytes] = []
        while call_id.encode() not in (octets := await self.receive_octets()):
            before.append(octets)
        return before

    def request(
        self,
        method: str,
        *,
        user: str = NUMBER,
        call_id: str | None = None,
        branch: str | None = None,
        to_tag: str | None = None,
        headers: Sequence[str] = (),
        max_forwards: int = 70,
        uri: str | None = None,
        body: bytes = b"",
        content: bytes = b"",
        transport: str = "UDP",
    ) -> tuple[bytes, str]:
        """One request and its Call-ID; `body` is SDP, `content` anything else."""
        call_id = call_id or secrets.token_hex(8)
        branch = branch or f"z9hG4bK{secrets.token_hex(8)}"
        lines = [
            f"{method} {uri or f'sip:{user}@{self._target[0]}:{self._target[1]}'} SIP/2.0",
            f"Via: SIP/2.0/{transport} {self.host}:{self.port};branch={branch}",
            f"Max-Forwards: {max_forwards}",
            f"From: <sip:raw@example.com>;tag={call_id[:6]}",
            f"To: <sip:{user}@{self._target[0]}>{';tag=' + to_tag if to_tag else ''}",
            f"Call-ID: {call_id}",
            f"CSeq: 1 {method}",
            f"Contact: <sip:raw@{self.host}:{self.port}>",
            *headers,
            *(["Content-Type: application/sdp"] if body else []),
            f"Content-Length: {len(body or content)}",
        ]
        return "\r\n".join([*lines, "", ""]).encode() + (body or content), call_id

    async def ask(self, method: str, **options: Any) -> Response:
        """Send one request and wait for its final response."""
        data, call_id = self.request(method, **options)
        self.send(data)
        return await self.final(call_id)


def offer(port: int = 40000, formats: str = "0", host: str = HOST) -> bytes:
    """A plain audio offer."""
    lines = ["v=0", f"o=- 1 1 IN IP4 {host}", "s=-", f"c=IN IP4 {host}", "t=0 0", f"m=audio {port} RTP/AVP {formats}"]
    return "\r\n".join([*lines, ""]).encode()


def heard_of(caller: LabCaller, name: str) -> int:
    """How many octets of a piece of speech the caller received, exactly and in a row from its beginning."""
    wanted, heard = speech(name, "pcmu"), bytes(caller.received)
    start = heard.find(wanted[:320])
    if start < 0:
        return 0
    same = zip(wanted, heard[start:], strict=False)
    return next((index for index, (a, b) in enumerate(same) if a != b), min(len(wanted), len(heard) - start))


def children(pid: int) -> list[int]:
    """The processes that `pid` started and that run."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError):
            fields = entry.read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(int(entry.parent.name))
    return sorted(found)


def alive(pid: int) -> bool:
    """Whether the process runs (a zombie does not)."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _lines(keys: Mapping[str, Any]) -> list[str]:
    # TOML writes strings, numbers, booleans and lists of strings as JSON does.
    return [f"{key} = {json.dumps(value)}" for key, value in keys.items() if value is not None]


def _log_line(text: str) -> dict[str, Any]:
    try:
        line = json.loads(text)
    except ValueError:
        return {"event": "raw", "text": text}
    return line if isinstance(line, dict) and "event" in line else {"event": "raw", "text": text}
