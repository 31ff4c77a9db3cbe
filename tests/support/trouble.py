"""Gateways whose calls have a trouble that is made for real, and the alerts that they raise of it."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from trunkline.gateway.lab.agent import AgentServer
from trunkline.gateway.lab.caller import LabCaller
from trunkline.gateway.lab.relay import Network
from trunkline.rtp.ports import PortRange

from .lab import PASSWORD, LabGateway, Trunk
from .ports import HOST, Ports
from .processes import Programs

BURN = {"severity": "page", "burn_rate": 14.4, "long_s": 30, "short_s": 12}
SHARE = {"min_calls": 3, "window_s": 30, "hold_s": 2}
RULES: dict[str, Mapping[str, Any]] = {
    "quality": {"min_calls": 3, "min_slices": 3, "hold_s": 2, "burn_rates": [BURN]},
    "one_way_audio": {**SHARE, "window_s": 40},
    # a machine that is busy with tests shifts an echo in time: not each call's is found
    "echo": {**SHARE, "min_calls": 2},
    "call_failures": SHARE,
    "provider_errors": SHARE,
    "trunk_down": {"for_s": 1, "hold_s": 2},
    "host": {"window_s": 20, "min_seconds": 12, "hold_s": 2},
}
"""Hours become seconds, and dozens of calls three; shares and limits are those that everybody has."""

History = list[dict[str, Any]]
"""One alert, each time that it was found changed."""


@dataclass
class Line:
    """One trunk with a network of its own, and the calls over it."""

    name: str
    trunk: Trunk
    network: Network
    number: str
    """Of the agent that takes its calls."""
    callers: list[LabCaller] = field(default_factory=list)


class Site:
    """One gateway; `alerts` is what its API told of each alert, and `records` of the calls."""

    def __init__(self, programs: Programs, ports: Ports, rules: Mapping[str, Mapping[str, Any]]) -> None:
        self.lab = LabGateway(programs, ports, env={"TRUNKLINE_ALERTS__RULES": json.dumps(rules)})
        self.lines: dict[str, Line] = {}
        self.alerts: dict[str, History] = {}
        self.records: list[dict[str, Any]] = []
        self._ports = ports
        self._routes: list[str] = []
        self._servers: list[AgentServer] = []
        self._tables: dict[str, Mapping[str, Any]] = {}
        self._watching: asyncio.Task[None] | None = None

    async def agents(self, server: AgentServer, *names: str) -> None:
        """Agents at a speech service, each with the number that leads to it: `1666` and its place in order."""
        await server.start()
        self._servers.append(server)
        for name in names:
            self._tables[f"agents__{name}"] = {
                "provider": "openai",
                "base_url": server.url,
                "api_key": "$LAB_API_KEY",
                "instructions": "You are the receptionist.",
                "greeting": True,
            }
            self._routes += ["[[routes]]", f'to = "{self.number_of(name)}"', f'agent = "{name}"']

    @staticmethod
    def number_of(agent: str) -> str:
        return "1666" + "".join(f"{ord(letter) - 97:02d}" for letter in agent)

    async def peer(self, name: str) -> tuple[Trunk, int]:
        """A trunk that is only asked by OPTIONS, each second, over TCP; and its port."""
        trunk, port = Trunk({}), self._ports.take()
        await trunk.start(port=port)
        self._tables[f"trunks__{name}"] = {"peer": f"sip:{HOST}:{port};transport=tcp", "options_interval_s": 1}
        return trunk, port

    async def line(self, name: str, agent: str, relays: int = 8) -> Line:
        """A trunk that the gateway registers at."""
        trunk = Trunk({name: PASSWORD})
        port = self._ports.take()
        await trunk.start(port=port)
        first = self._ports.take_range(4 * relays)
        network = Network(PortRange(first, first + 4 * relays - 1, cooldown_s=0.0), seed=len(self.lines))
        trunk.relay = network.join
        self._tables[f"trunks__{name}"] = {
            "registrar": f"sip:{HOST}:{port};transport=udp",
            "username": name,
            "password": "$LAB_PASSWORD",
            "codecs": ["PCMU"],
        }
        line = self.lines[name] = Line(name, trunk, network, self.number_of(agent))
        return line

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The gateway, up and watched."""
        try:
            async with self.lab as lab:
                config = lab.write_config(**self._tables)
                config.write_text("\n".join([config.read_text(), *self._routes, ""]))
                await lab.start()
                async with asyncio.timeout(20):
                    for line in self.lines.values():
                        await line.trunk.agent.registered.wait()
                self._watching = asyncio.create_task(self._watch())
                try:
                    yield
                    self.records = [await self._record(call["id"]) for call in await lab.calls()]
                finally:
                    self._watching.cancel()
                    for line in self.lines.values():
                        line.network.close()
        finally:
            for line in self.lines.values():
                await line.trunk.stop()
            for server in self._servers:
                await server.stop()

    async def _record(self, call_id: str) -> dict[str, Any]:
        return (await self.lab.ask("GET", f"/api/calls/{call_id}")).json

    async def _watch(self) -> None:
        while True:
            answer = await self.lab.ask("GET", "/api/alerts?state=all&limit=500")
            for alert in answer.json["alerts"]:
                seen = self.alerts.setdefault(alert["id"], [])
                if not seen or seen[-1] != alert:
                    seen.append(alert)
            await asyncio.sleep(0.25)

    # Calls

    async def calls(self, line: Line, count: int, number: str | None = None) -> list[LabCaller]:
        """So many calls over a line, of different phones."""
        first = len(line.callers)
        callers = [self.lab.caller(f"1555{first + index:04d}", line.trunk) for index in range(count)]
        line.callers += callers
        await asyncio.gather(*(caller.dial(line.name, number or line.number) for caller in callers))
        return callers

    # What was told

    def about(self, subject: str, rule: str | None = None) -> list[History]:
        """The histories of the alerts about somebody."""
        return [
            seen for seen in self.alerts.values() if seen[0]["subject"] == subject and rule in (None, seen[0]["rule"])
        ]

    def of(self, line: str) -> list[dict[str, Any]]:
        """The records of the calls over a line."""
        return [record for record in self.records if record["trunk"] == line]

    def open(self) -> list[dict[str, Any]]:
        """Those that are open now."""
        return [seen[-1] for seen in self.alerts.values() if seen[-1]["state"] != "resolved"]

    async def until(self, condition: Callable[[], object], timeout_s: float) -> bool:
        """Whether it comes true in time; what is missing is for the test to say."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not condition():
                    await asyncio.sleep(0.1)
                return True
        return False


async def stalled(pids: Sequence[int], every_s: float, for_s: float) -> None:
    """Processes that do not run for a while, again and again, until this is cancelled; then they run."""
    try:
        while True:
            await asyncio.sleep(every_s - for_s)
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(for_s)
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
