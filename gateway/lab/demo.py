"""`trunkline demo`: the whole main job on loopback, with no account and no network.

The lab's trunk challenges the gateway's REGISTER and sends it a call; a caller speaks lines that ship with the lab; the
lab's Realtime agent greets, answers, and is interrupted. Everything between is the gateway that production runs.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from ..config_tables import GatewayConfig
from ..http import LiveCall
from ..logs import configure_logs
from ..record import CallRecord
from ..record_view import record_view
from .agent import AgentOptions, AgentSession
from .caller import CallFailed, LabCaller
from .rig import NUMBER, USER, Rig
from .voice import speech

OUTPUT = Path("demo")
"""Where the recordings and the call records of the demo go, under the current directory."""
CALL_S = 20.0
"""The shortest call: greeting, a question, an interruption, goodbye."""
QUESTION_S = 12.5
"""One more question and its answer."""
HEARD_TOLERANCE_MS = 1.0
WAV_HEADER = 44
"""Octets of a WAV file without sound."""

Check = tuple[str, bool]


class Demo:
    """The conversations of one run."""

    def __init__(self, calls: int, seconds: float) -> None:
        self._calls = calls
        self._questions = max(0, round((seconds - CALL_S) / QUESTION_S))
        script = ("greeting", *["address"] * self._questions, "hours", "wait", "goodbye:hang_up")
        self.rig = Rig(OUTPUT, AgentOptions(script=script), gateway={"name": "demo"}, agent={"recording": True})

    async def talk(self) -> None:
        """All calls at once, each with its own caller. Raises CallFailed for the first that went wrong."""
        callers = [self.rig.caller(f"1555010{index:04d}") for index in range(self._calls)]
        await asyncio.gather(*(self._converse(caller) for caller in callers))

    async def _converse(self, caller: LabCaller) -> None:
        await caller.dial(USER, NUMBER)
        await caller.hear_speech(400)
        await caller.hear_quiet()
        for _ in range(self._questions):
            await self._ask(caller, "caller_address")
        caller.say(speech("caller_hours", "pcmu"))
        await caller.said_all()
        await caller.hear_speech(1500)
        await self._ask(caller, "caller_interruption")
        caller.say(speech("caller_thanks", "pcmu"))
        await caller.said_all()
        async with asyncio.timeout(20):
            await caller.ended.wait()

    async def _ask(self, caller: LabCaller, line: str) -> None:
        caller.say(speech(line, "pcmu"))
        await caller.said_all()
        await caller.hear_quiet()
        await caller.hear_speech(400)
        await caller.hear_quiet()

    def live(self) -> list[LiveCall]:
        """The calls as they stand."""
        return self.rig.application.switch.live_calls()

    def checks(self, records: list[CallRecord]) -> list[Check]:
        """What has to have happened, and whether it did."""
        registrar = self.rig.trunk.agent
        checks = [("the trunk challenged the REGISTER and then took it", registrar.challenged >= 1)]
        checks.append((f"{self._calls} call(s) answered and recorded", len(records) == self._calls))
        for record in records:
            session = _session_of(self.rig.agent.sessions, record)
            answers = [turn for turn in record.turns if turn.caller_said is not None and turn.heard_ms > 0]
            checks += [
                ("the agent greeted first", bool(record.turns) and record.turns[0].latency_ms is None),
                ("the agent answered at least twice", len(answers) >= 2),
                ("the agent was interrupted", any(turn.interrupted for turn in record.turns)),
                ("it knows exactly how much of that was heard", session is not None and _heard_exact(session, record)),
                ("the agent hung up", record.ended_by == "agent"),
                ("MOS was measured", record.media.received.mos_lq is not None),
                (
                    "both sides were recorded",
                    record.recording is not None and Path(record.recording).stat().st_size > 44,
                ),
            ]
        return checks


def _session_of(sessions: list[AgentSession], record: CallRecord) -> AgentSession | None:
    """The agent's session of a call: the one that opened last before the call was answered."""
    if len(sessions) == 1:
        return sessions[0]
    return next((session for session in sessions if _heard_exact(session, record)), None)


def _heard_exact(session: AgentSession, record: CallRecord) -> bool:
    heard = [turn.heard_ms for turn in record.turns if turn.interrupted]
    told = [truncation.audio_end_ms for truncation in session.truncations if truncation.audio_end_ms > 0]
    return bool(heard) and all(any(abs(ms - end) < HEARD_TOLERANCE_MS for end in told) for ms in heard)


def _recorded(record: CallRecord) -> bool:
    return record.recording is not None and Path(record.recording).stat().st_size > WAV_HEADER


# What the terminal shows


def _bar(dbov: float | None) -> str:
    width = 0 if dbov is None else round(max(0.0, min(60.0, dbov + 60)) / 6)
    return "█" * width + "·" * (10 - width)


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _live_table(calls: list[LiveCall]) -> Table:
    table = Table(title="live calls", expand=True)
    for column in ("caller", "state", "codec", "caller level", "agent level", "speaks", "jitter ms", "lost", "MOS"):
        table.add_column(column)
    for call in calls:
        received = call.record.media.received
        table.add_row(
            call.record.from_,
            call.state,
            call.record.codec or "–",
            f"[green]{_bar(call.caller_dbov)}",
            f"[cyan]{_bar(call.agent_dbov)}",
            call.speaker or "–",
            _number(received.jitter_ms, ".1f"),
            str(received.lost),
            _number(received.mos_lq, ".2f"),
        )
    return table


async def _show(demo: Demo, live: Live) -> None:
    while True:
        live.update(_live_table(demo.live()))
        await asyncio.sleep(0.2)


async def _with_view(demo: Demo, console: Console, story: Callable[[], Awaitable[None]]) -> None:
    with Live(console=console, refresh_per_second=5, transient=True) as live:
        view = asyncio.create_task(_show(demo, live))
        try:
            await story()
        finally:
            view.cancel()


def _print_result(console: Console, records: list[CallRecord], checks: list[Check]) -> None:
    for record in records:
        console.print(record_view(record))
        console.print(f"audio of both sides: [bold]{record.recording}[/] (left caller, right agent)")
    console.print(Group(*(f"{'[green]✓' if ok else '[red]✗'}[/] {what}" for what, ok in checks)))


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


async def _run(calls: int, seconds: float, as_json: bool) -> int:
    console = Console()
    demo = Demo(calls, seconds)
    problem: str | None = None
    configure_logs(GatewayConfig(name="demo", log_level="error"))
    async with demo.rig as rig:
        try:
            if as_json:
                await demo.talk()
            else:
                await _with_view(demo, console, demo.talk)
        except (CallFailed, TimeoutError) as error:
            problem = str(error) or "it took too long"
        records = (await rig.records())[-calls:]
    checks = demo.checks(records)
    if as_json:
        console.file.write(_json(records[0] if len(records) == 1 else records) + "\n")
    else:
        _print_result(console, records, checks)
    if problem is not None:
        Console(stderr=True).print(f"[red]the demo failed: {escape(problem)}")
    return 0 if problem is None and all(ok for _, ok in checks) else 1


def run(calls: int = 1, seconds: float = 20.0, as_json: bool = False) -> int:
    """Run it; the exit status is 0 only when all of it happened."""
    return uvloop.run(_run(calls, seconds, as_json))
