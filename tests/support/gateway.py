"""The gateway as its users run it: a configuration file, `trunkline run`, and the HTTP API."""

import json
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .ports import HOST, Ports
from .processes import Program, Programs
from .waiting import until

USER, PASSWORD = "trunkline", "correct horse"
"""The gateway's account at the trunk."""

DIALLED = "15550100"
"""The gateway's number at every trunk."""
SILENT = "15550113"
"""The number of an agent whose service never says a word."""

Value = str | int | float | bool | list[str]
Table = Mapping[str, Value]


def _table(header: str, keys: Table) -> str:
    # TOML writes strings, numbers, booleans and lists of strings as JSON does.
    return "\n".join([header, *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]) + "\n"


def lab_agent(url: str, **keys: Value) -> dict[str, Value]:
    """The table of an agent at the lab's speech service."""
    return {"provider": "openai", "base_url": url, "api_key": "sk-lab", "instructions": "You answer the phone.", **keys}


def registering(port: int, transport: str = "udp", **keys: Value) -> dict[str, Value]:
    """The table of a trunk that registers with the Kamailio on `port`."""
    server = f"sip:{HOST}:{port};transport={transport}"
    return {"registrar": server, "username": USER, "password": PASSWORD, **keys}


def peered(port: int = 5060, **keys: Value) -> dict[str, Value]:
    """The table of a trunk that does not register: its calls come from loopback, its server is on `port`."""
    return {"peer": f"sip:{HOST}:{port}", "options_interval_s": 0, **keys}


class Gateway:
    """One `trunkline run` with one media worker. The first of `agents` takes what no route names."""

    def __init__(
        self,
        programs: Programs,
        ports: Ports,
        agents: Mapping[str, Table],
        trunks: Mapping[str, Table],
        *,
        routes: Mapping[str, str] | None = None,
        rtp_ports: int = 64,
    ) -> None:
        self.port = ports.take()
        """SIP, UDP and TCP."""
        self.http_port = ports.take()
        first = ports.take_range(rtp_ports)
        self.rtp_ports = range(first, first + rtp_ports)
        self.directory = programs.directory / f"gateway-{self.port}"
        self.directory.mkdir()
        self._programs = programs
        self._program: Program | None = None
        tables: dict[str, Table] = {
            "gateway": {"state_dir": str(self.directory / "state"), "workers": 1, "drain_s": 1},
            "sip": {"listen": [f"udp://{HOST}:{self.port}", f"tcp://{HOST}:{self.port}"]},
            "rtp": {"ports": f"{first}-{first + rtp_ports - 1}", "bind": HOST},
            "http": {"listen": f"{HOST}:{self.http_port}"},
            **{f"agents.{name}": keys for name, keys in agents.items()},
            **{f"trunks.{name}": keys for name, keys in trunks.items()},
        }
        text = [_table(f"[{name}]", keys) for name, keys in tables.items()]
        text += [_table("[[routes]]", {"to": to, "agent": agent}) for to, agent in (routes or {}).items()]
        text += [_table("[[routes]]", {"to": "*", "agent": next(iter(agents))})]
        self.config = self.directory / "trunkline.toml"
        self.config.write_text("\n".join(text))

    @property
    def program(self) -> Program:
        """The running process."""
        assert self._program is not None
        return self._program

    @property
    def sip(self) -> str:
        """host:port that takes SIP."""
        return f"{HOST}:{self.port}"

    def start(self, *, ready: bool = True) -> "Gateway":
        """Start it and wait until it answers over HTTP; with `ready` until it says that it can take calls."""
        command = Path(sys.executable).with_name("trunkline")
        self._program = self._programs.start("gateway", [command, "run", "--config", self.config])
        until(lambda: self.readiness()[0], 30, "the gateway to answer", 0.05)
        if ready:
            self.wait_ready()
        return self

    def wait_ready(self, timeout_s: float = 30) -> None:
        """Wait until GET /readyz is 200."""
        until(lambda: self.readiness()[0] == 200, timeout_s, f"the gateway to be ready: {self.readiness()}", 0.05)

    def readiness(self) -> tuple[int, dict[str, Any]]:
        """Status and body of GET /readyz; status 0 when nothing listens yet."""
        assert self.program.exit_status is None, f"the gateway ended:\n{self.program.tail()}"
        try:
            return self._ask("GET", "/readyz")
        except OSError:
            return 0, {}

    def calls(self, caller: str | None = None) -> list[dict[str, Any]]:
        """All records, newest first; those of one caller."""
        status, body = self._ask("GET", "/api/calls?limit=1000")
        assert status == 200, body
        return [call for call in body["calls"] if caller is None or call["from"] == caller]

    def call(self, call_id: str) -> dict[str, Any]:
        """One record."""
        status, body = self._ask("GET", f"/api/calls/{call_id}")
        assert status == 200, body
        return body

    def ended(self, caller: str, count: int = 1, timeout_s: float = 20) -> list[dict[str, Any]]:
        """Wait until `count` calls of `caller` are over; their records, newest first."""

        def over() -> list[dict[str, Any]]:
            calls = [call for call in self.calls(caller) if call["ended_at"] and not call.get("live")]
            return calls if len(calls) >= count else []

        return until(over, timeout_s, f"{count} ended calls of {caller}", 0.05)

    def answered(self, caller: str, timeout_s: float = 20) -> dict[str, Any]:
        """Wait until a call of `caller` is up; its record."""
        return until(
            lambda: [call for call in self.calls(caller) if call["answered_at"] and not call["ended_at"]],
            timeout_s,
            f"a call of {caller} to be up",
        )[0]

    def place_call(self, to: str, trunk: str) -> str:
        """POST /api/calls; the call's identifier."""
        order = {"to": to, "agent": "reception", "trunk": trunk}
        status, body = self._ask("POST", "/api/calls", order)
        assert status == 201, body
        return body["id"]

    def over(self, call_id: str, timeout_s: float = 20) -> dict[str, Any]:
        """Wait until this call has ended; its record."""

        def ended() -> dict[str, Any] | None:
            record = self.call(call_id)
            return record if record["ended_at"] and not record.get("live") else None

        record = until(ended, timeout_s, f"call {call_id} to end", 0.05)
        assert record is not None
        return record

    def hang_up(self, call_id: str) -> None:
        """DELETE /api/calls/{id}."""
        status, body = self._ask("DELETE", f"/api/calls/{call_id}")
        assert status == 202, body

    def stop(self, timeout_s: float = 20) -> int:
        """SIGTERM; its exit status."""
        self.program.signal(signal.SIGTERM)
        return self.program.wait(timeout_s)

    def assert_no_traceback(self) -> None:
        """Nothing that came over the network may have raised out of the gateway."""
        log = self.program.output()
        where = log.find("Traceback (most recent call last)")
        assert where < 0, log[where : where + 6000]

    def _ask(self, method: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
        data = None if body is None else json.dumps(body).encode()
        headers = {} if data is None else {"Content-Type": "application/json"}
        request = urllib.request.Request(f"http://{HOST}:{self.http_port}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as reply:
                return reply.status, json.loads(reply.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())
