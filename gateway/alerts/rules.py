"""What a rule is: it hears of calls, counts, and assesses each of its subjects when it is asked.

A rule says what it sees; whether that is an alert, and whose, the arbiter decides (arbiter.py).
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

from ..record import Slice
from .alert import CauseName, Severity, Verdict
from .rules_config import RuleName, RulesConfig, ShareConfig
from .state import GatewayState
from .watched_call import WatchedCall

CALLS_NAMED = 10
"""Identifiers of calls that an alert has."""

Kind = Literal["gateway", "trunk", "agent"]


class Subject(NamedTuple):
    """What an alert is about."""

    kind: Kind
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".rstrip()

    @classmethod
    def parse(cls, text: str) -> "Subject | None":
        """From `str` of one; None when it is none."""
        kind, _, name = text.partition(" ")
        match kind:
            case "trunk" | "agent" if name:
                return cls(kind, name)
            case "gateway" if not name:
                return GATEWAY
            case _:
                return None


GATEWAY = Subject("gateway")


@dataclass(frozen=True, slots=True, eq=False)
class Symptom:
    """One slice that shows trouble, kept as evidence. Two are the same only if they are one object."""

    at: float
    call_id: str
    trunk: str
    agent: str
    provider: str
    far_end: str
    """The caller's or callee's number."""
    slice: Slice
    blamed: dict[tuple[int, bool], set[CauseName]] = field(default_factory=dict[tuple[int, bool], set[CauseName]])
    """Its causes once they are worked out (verdict.py), by the limits that were used."""


def no_verdict() -> None:
    """For what needs no cause: it says it all itself."""


@dataclass
class Description:
    """What is told of a subject that is in trouble."""

    headline: str
    """Without subject and cause: `38 % of the audio is bad`."""
    detail: list[str] = field(default_factory=list[str])
    calls: list[str] = field(default_factory=list[str])
    """The newest first, ten at most."""
    judge: Callable[[], Verdict | None] = no_verdict
    """Asked once, and only if somebody wants to know."""
    symptoms: list[Symptom] = field(default_factory=list[Symptom])
    """The slices behind it."""
    trunks: list[str] = field(default_factory=list[str])
    """Where it is of several subjects: the trunks among them."""

    @cached_property
    def verdict(self) -> Verdict | None:
        """Why."""
        return self.judge()


class Level(NamedTuple):
    """How the conditions of one severity stand at this moment."""

    enter: bool
    stay: bool


def in_a_row(run: int, total: int, config: ShareConfig) -> bool:
    """Whether the last calls all show it, where there are too few within the window for a share."""
    return total < config.min_calls <= run


def share_level(showing: int, total: int, run: int, config: ShareConfig) -> Level:
    """The way in wants enough calls that show it, and the way to stay half as many; or a run of them."""
    row, share = in_a_row(run, total, config), share_of(showing, total)
    enter = showing >= config.min_calls and share > config.enter_share
    return Level(row or enter, row or (showing >= config.min_calls // 2 and share > config.leave_share))


@dataclass(slots=True)
class Assessment:
    """How one subject stands by one rule, at this moment."""

    rule: RuleName
    subject: Subject
    levels: dict[Severity, Level]
    describe: Callable[[], Description]
    """Asked only while there is trouble."""
    hold_s: float
    for_s: float = 0.0
    active: bool = True
    """It has what the rule judges by: it counts when subjects of its kind are compared."""

    @property
    def troubled(self) -> bool:
        """True while any severity's milder condition holds."""
        return any(level.enter or level.stay for level in self.levels.values())


class Rule:
    """Hears nothing until a method is overridden. `now` is monotonic seconds."""

    name: RuleName

    def use(self, rules: RulesConfig) -> None:
        """Other limits from now on."""

    def forget_others(self, known: Collection[Subject]) -> None:
        """Subjects that are not of the configuration any more are forgotten."""

    def answered(self, call: WatchedCall, now: float) -> None:
        """The call is up."""

    def ended(self, call: WatchedCall, now: float) -> None:
        """The call is over; its record is complete."""

    def slice_ended(self, call: WatchedCall, part: Slice, now: float) -> None:
        """10 s of the call are rated."""

    def turn(self, call: WatchedCall, latency_s: float, now: float) -> None:
        """The agent answered the caller."""

    def first_audio(self, call: WatchedCall, latency_s: float, now: float) -> None:
        """The agent's first word, after the answer."""

    def session(self, call: WatchedCall, failed: bool, now: float) -> None:
        """The speech service gave a session, or refused it."""

    def service_lost(self, call: WatchedCall, now: float) -> None:
        """The session was lost for good."""

    def service_errors(self, call: WatchedCall, count: int, now: float) -> None:
        """So many more errors and reconnects that the call survived."""

    def process_second(self, process: str, clock_late_ms: float, loop_lag_ms: float, now: float) -> None:
        """One second of a worker or the switch: the worst lateness of clock (0 for the switch) and loop."""

    def worker_lost(self, worker: str, now: float) -> None:
        """A media worker died."""

    def assess(self, state: GatewayState, now: float) -> list[Assessment]:
        """Every configured subject of this rule: one without an assessment is gone, and its alert is over."""
        raise NotImplementedError


def trunks_of(state: GatewayState) -> list[Subject]:
    """Every configured trunk, whether it has calls or not."""
    return [Subject("trunk", name) for name in state.trunks]


def agents_of(state: GatewayState) -> list[Subject]:
    """Every configured agent."""
    return [Subject("agent", name) for name in state.agents]


def percent(share: float) -> str:
    """`38 %`, `6.1 %`, `0.4 %`."""
    value = 100 * share
    return f"{value:.0f} %" if value >= 10 or value == 0 else f"{value:.1f} %"


def span(seconds: float) -> str:
    """`3 d`, `6 h`, `5 min`, `90 s`."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:g} s"


def share_of(part: int, whole: int) -> float:
    """0 when there is nothing; never above 1, though what was counted before its call left the window may be more."""
    return min(1.0, part / whole) if whole else 0.0
