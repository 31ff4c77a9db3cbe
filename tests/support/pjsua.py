"""A PJSIP phone for the tests: starts `pjsua_phone.py` and speaks JSON lines with it."""

import json
import sys
from pathlib import Path
from typing import Any

from .ports import Ports
from .processes import Program, Programs
from .waiting import until

PHONE = Path(__file__).with_name("pjsua_phone.py")


class PjsuaPhone:
    """One phone, registered as `user` at `registrar` (host:port)."""

    def __init__(self, program: Program, port: int, recording: Path, tcp: bool) -> None:
        self.program = program
        self.port = port
        self.tcp = tcp
        self.recording = recording
        """What it heard: 8 kHz mono WAV, complete when the call is over."""

    def events(self, kind: str) -> list[dict[str, Any]]:
        """All events of one kind so far."""
        events = []
        for line in self.program.output().splitlines():
            if line.startswith("{"):
                event = json.loads(line)
                if event["event"] == kind:
                    events.append(event)
        return events

    def registered(self, timeout_s: float = 20) -> None:
        """Wait for a successful registration."""
        self.registration(200, timeout_s)

    def registration(self, status: int, timeout_s: float = 20) -> None:
        """Wait for the registrar's answer with this status."""
        what = f"the phone to have {status} for its registration"
        until(lambda: [e for e in self.events("registration") if e["status"] == status], timeout_s, what)

    def call_state(self, state: str, timeout_s: float = 20) -> dict[str, Any]:
        """Wait until its call is in `state`: CALLING, EARLY, CONFIRMED or DISCONNECTED, as PJSIP names them."""

        def reached() -> list[dict[str, Any]]:
            assert self.program.exit_status is None, f"the phone ended:\n{self.program.tail()}"
            return [event for event in self.events("call_state") if event["state"] == state]

        return until(reached, timeout_s, f"the phone's call to be {state}")[-1]

    def call(self, uri: str) -> None:
        """Place a call."""
        self._do(do="call", uri=uri)

    def hang_up(self) -> None:
        """End the call."""
        self._do(do="hang_up")

    def hold(self) -> None:
        """Put the call on hold (re-INVITE with sendonly)."""
        self._do(do="hold")

    def resume(self) -> None:
        """Take the call back from hold."""
        self._do(do="resume")

    def dial(self, digits: str) -> None:
        """Send digits as RFC 4733 events."""
        self._do(do="dtmf", digits=digits)

    def dial_by_info(self, digits: str) -> None:
        """Send digits as SIP INFO."""
        self._do(do="info", digits=digits)

    def _do(self, **command: str) -> None:
        self.program.write(json.dumps(command))


def start_pjsua(
    programs: Programs,
    ports: Ports,
    registrar: str,
    user: str,
    password: str,
    *,
    play: Path | None = None,
    tcp: bool = False,
    answer: int = 200,
) -> PjsuaPhone:
    """Start a phone that gives every call this final answer and plays `play` (8 kHz mono WAV) to it. Without a
    `registrar` it does not register, and is called at its own port."""
    port = ports.take()
    recording = programs.directory / f"pjsua-{port}.wav"
    arguments = [sys.executable, PHONE, "--port", str(port), "--registrar", registrar, "--user", user]
    arguments += ["--password", password, "--record", recording, "--log", programs.directory / f"pjsua-{port}.trace"]
    arguments += ["--play", play] if play else []
    arguments += ["--tcp"] if tcp else []
    arguments += ["--answer", str(answer)]
    return PjsuaPhone(programs.start("pjsua", arguments), port, recording, tcp)
