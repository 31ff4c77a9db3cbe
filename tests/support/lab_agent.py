"""The lab's speech service as a process of its own, and what it heard."""

import json
import sys
import urllib.request
from typing import Any

from .ports import HOST, Ports
from .processes import Program, Programs
from .waiting import until


class LabAgent:
    """An OpenAI Realtime server on loopback; keeps what each session heard."""

    def __init__(self, program: Program, port: int) -> None:
        self.program = program
        self.port = port

    @property
    def url(self) -> str:
        """The agent's `base_url`."""
        return f"ws://{HOST}:{self.port}/v1"

    def sessions(self) -> list[dict[str, Any]]:
        """All sessions since the start, oldest first."""
        return json.loads(self._get("/lab/sessions"))

    def audio(self, number: int) -> bytes:
        """All octets that session `number` (from 0) was sent, in the session's input format."""
        return self._get(f"/lab/sessions/{number}/audio")

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://{HOST}:{self.port}{path}", timeout=10) as reply:
            return reply.read()


def start_lab_agent(programs: Programs, ports: Ports, *options: str) -> LabAgent:
    """Start the speech service and wait until it answers."""
    port = ports.take()
    arguments = [sys.executable, "-m", "trunkline.gateway.lab.agent", "--listen", f"{HOST}:{port}", *options]
    agent = LabAgent(programs.start("lab-agent", arguments), port)

    def answers() -> bool:
        assert agent.program.exit_status is None, f"the lab's agent ended:\n{agent.program.tail()}"
        try:
            agent.sessions()
        except OSError:
            return False
        return True

    until(answers, 20, "the lab's agent to answer", 0.05)
    return agent
