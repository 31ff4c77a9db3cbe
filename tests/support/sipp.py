"""SIPp as caller and as callee, by scenarios that stand in tests/interop/sipp/."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from .peers import SIPP_PCAP
from .ports import Ports
from .processes import Program, Programs

SCENARIOS = Path(__file__).parent.parent / "interop" / "sipp"
MEDIA_PORTS_PER_CALL = 4

_MESSAGE = re.compile(
    r"^-{40,} (\S+ \S+)\n(?:UDP|TCP) message (received|sent) [^\n]*:\n\n(.*?)(?=^-{40,}|\Z)", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Message:
    """One SIP message as SIPp logged it."""

    at: float
    """Seconds since the epoch, as in a capture of the same machine."""
    received: bool
    text: str


@dataclass
class Sipp:
    """One running SIPp: `port` is its SIP port, its media ports are `media_port`, and 4 more for every further call."""

    program: Program
    port: int
    media_port: int
    messages: Path

    def finish(self, timeout_s: float) -> None:
        """Wait until all its calls are over; AssertionError with its messages when one did not go as written."""
        status = self.program.wait(timeout_s)
        assert status == 0, f"SIPp's exit status is {status}:\n{self.report()}"

    def report(self) -> str:
        """Its errors and the last messages it exchanged."""
        errors = "".join(path.read_text(errors="replace") for path in self.messages.parent.glob("errors*.log"))
        trace = self.messages.read_text(errors="replace")[-6000:] if self.messages.exists() else ""
        return f"{errors}\n{trace}"

    def trace(self) -> list[Message]:
        """Every SIP message that it sent or received, oldest first."""
        if not self.messages.exists():
            return []
        text = self.messages.read_text(errors="replace")
        return [
            Message(datetime.fromisoformat(when).timestamp(), kind == "received", body.strip())
            for when, kind, body in _MESSAGE.findall(text)
        ]

    def received(self, start: str) -> list[Message]:
        """The received messages that begin with `start`, as `SIP/2.0 200` or `BYE`."""
        return [message for message in self.trace() if message.received and message.text.startswith(start)]

    def sent(self, start: str) -> list[Message]:
        """The sent messages that begin with `start`."""
        return [message for message in self.trace() if not message.received and message.text.startswith(start)]


def start_sipp(
    programs: Programs,
    ports: Ports,
    scenario: str,
    target: str | None = None,
    *,
    number: str = "15550100",
    caller: str = "15550199",
    calls: int = 1,
    rate: float = 10,
    hold_ms: int = 500,
    pcaps: Sequence[Path] = (SIPP_PCAP,),
    timeout_s: int = 60,
    tcp: bool = False,
    port: int | None = None,
) -> Sipp:
    """Start SIPp with one of the scenarios.

    `target` is host:port for a caller and None for a callee; `number` is called by `caller`; `hold_ms` is what a
    `<pause/>` without a length lasts; `pcaps` is what the scenario plays; `port` is taken when it must be known before.
    """
    port = port or ports.take()
    media_port = ports.take_range(MEDIA_PORTS_PER_CALL * calls)
    directory = programs.directory / f"sipp-{scenario}-{port}"
    directory.mkdir()
    path = directory / f"{scenario}.xml"
    text = (SCENARIOS / f"{scenario}.xml").read_text()
    for index, pcap in enumerate(pcaps, 1):
        text = text.replace("{pcap}" if index == 1 else f"{{pcap{index}}}", str(pcap))
    path.write_text(text.replace("{caller}", caller))
    messages = directory / "messages.log"
    arguments = ["sipp", *([target] if target else []), "-sf", path, "-s", number, "-d", str(hold_ms)]
    arguments += ["-m", str(calls), "-r", str(rate), "-l", str(max(calls, 1)), "-i", "127.0.0.1", "-p", str(port)]
    arguments += ["-mi", "127.0.0.1", "-mp", str(media_port)]
    arguments += ["-t", "t1" if tcp else "u1", "-nostdin", "-timeout", str(timeout_s), "-timeout_error"]
    arguments += ["-trace_msg", "-message_file", messages, "-trace_err", "-error_file", directory / "errors.log"]
    program = programs.start(f"sipp-{scenario}", arguments, cwd=directory, env={"TERM": "dumb"})
    return Sipp(program, port, media_port, messages)
