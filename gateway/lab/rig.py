"""The lab around one gateway: agent server, trunk, the gateway itself, and callers. For the demo and the tests."""

import asyncio
import random
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ...rtp.ports import PortRange
from ..application import Application
from ..config import Config
from ..media.clock import MediaClock
from ..record import CallRecord
from .agent import AgentOptions, AgentServer
from .caller import LabCaller
from .trunk import LabTrunk

USER, PASSWORD = "trunkline", "lab-secret"
NUMBER = "15550123"
CALLER_PORTS = range(16384, 24576, 512)
GATEWAY_PORTS = range(24576, 32768, 512)
"""Each rig takes one share of 512 ports by chance: several may run on one machine."""


class Rig:
    """Usage: `async with Rig(state_dir) as rig: caller = rig.caller(); await caller.dial(USER, NUMBER)`."""

    def __init__(self, state_dir: Path, options: AgentOptions | None = None, **tables: dict[str, Any]) -> None:
        """`tables` adds keys to the gateway's configuration: `gateway={"workers": 0}`, `agent={"recording": True}`,
        `trunk={"codecs": ["PCMA"]}`."""
        self.trunk = LabTrunk({USER: PASSWORD})
        self.agent = AgentServer(options=options)
        self.application: Application
        self._state_dir = state_dir
        self._tables = tables
        self._clock = MediaClock()
        first = random.choice(CALLER_PORTS)
        self._ports = PortRange(first, first + 511)
        self._started = False

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Bring everything up and wait for the registration."""
        await self.agent.start()
        trunk_port = await self.trunk.start()
        self._clock.start()
        self.application = Application(self.config(trunk_port))
        self._started = True
        await self.application.start()
        async with asyncio.timeout(10):
            await self.trunk.agent.registered.wait()

    async def stop(self) -> None:
        """Everything down, in reverse."""
        if self._started:
            await self.application.stop()
        self._clock.stop()
        await self.trunk.stop()
        await self.agent.stop()

    def config(self, trunk_port: int) -> Config:
        """What a configuration file would say."""
        trunk = {
            "registrar": f"sip:127.0.0.1:{trunk_port};transport=udp",
            "username": USER,
            "password": PASSWORD,
            "codecs": ["PCMU"],
        }
        agent = {
            "provider": "openai",
            "base_url": self.agent.url,
            "api_key": "lab-key",
            "instructions": "You are the receptionist.",
            "greeting": True,
        }
        first = random.choice(GATEWAY_PORTS)
        gateway = {"name": "lab", "state_dir": self._state_dir, "workers": 1, "log_level": "error"}
        tables: dict[str, Any] = {
            "gateway": gateway | self._tables.get("gateway", {}),
            "sip": {"listen": ["udp://127.0.0.1:0"]},
            "rtp": {"ports": f"{first}-{first + 511}", "bind": "127.0.0.1"},
            "trunks": {"lab": trunk | self._tables.get("trunk", {})},
            "agents": {"reception": agent | self._tables.get("agent", {})},
            "routes": [{"to": "*", "agent": "reception"}],
            "http": {"listen": "127.0.0.1:0"},
        }
        return Config(**tables)

    def caller(self, number: str = "15550100", codec: str = "PCMU") -> LabCaller:
        """A new phone at the trunk that speaks one codec."""
        return LabCaller(self.trunk, self._clock, self._ports, number, codec)

    async def records(self) -> list[CallRecord]:
        """What the gateway wrote down of calls that are over, oldest first."""
        async with asyncio.timeout(10):
            for call in list(self.application.switch.calls.values()):
                await call.over.wait()
        return sorted(await self.application.records.list(limit=1000), key=lambda record: record.id)
