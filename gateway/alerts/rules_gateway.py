"""Rules of the gateway itself: trunks, records, alerts that do not arrive, and the machine that it runs on."""

from collections.abc import Collection

from .alert import Cause, Severity, Verdict
from .host_seconds import CLOCK_LATE, LOOP_LATE, HostSeconds
from .rules import GATEWAY, Assessment, Description, Level, Rule, Subject, span
from .rules_calls import dropped_here
from .rules_config import RulesConfig
from .state import GatewayState, TrunkState
from .watched_call import WatchedCall
from .windows import Tallies

UNSTEADY_S = 900.0
UNSTEADY_DROPS = 3
"""A trunk that went down so often within UNSTEADY_S, for `for_s` in all, is no better than one that is down."""
LOOKS_MOST_S = 5.0
"""Longest time between two looks that counts as seen."""

_DROPS, _DOWN_MS = range(2)


class TrunkDown(Rule):
    """Not registered, or without an answer to OPTIONS: for long, or again and again."""

    name = "trunk_down"

    def __init__(self, rules: RulesConfig) -> None:
        self._config = rules.trunk_down
        self._tallies = Tallies([UNSTEADY_S], 2)
        self._down: set[Subject] = set()
        self._looked_at: float | None = None

    def use(self, rules: RulesConfig) -> None:
        self._config = rules.trunk_down

    def forget_others(self, known: Collection[Subject]) -> None:
        self._tallies.keep(known)
        self._down &= set(known)

    def assess(self, state: GatewayState, now: float) -> list[Assessment]:
        before = now if self._looked_at is None else self._looked_at
        # a pause in looking says nothing of what was meanwhile
        passed_s, self._looked_at = min(max(0.0, now - before), LOOKS_MOST_S), now
        return [self._assess(Subject("trunk", name), trunk, passed_s, now) for name, trunk in state.trunks.items()]

    def _assess(self, subject: Subject, trunk: TrunkState, passed_s: float, now: float) -> Assessment:
        if trunk.up:
            self._down.discard(subject)
        elif subject in self._down:
            self._tallies.add(subject, _DOWN_MS, now, round(1000 * passed_s))
        else:
            self._down.add(subject)
            self._tallies.add(subject, _DROPS, now)
        drops, down_ms = self._tallies.sums(subject, UNSTEADY_S, now)
        unsteady = drops >= UNSTEADY_DROPS and down_ms >= 1000 * self._config.for_s
        troubled = not trunk.up or unsteady
        now_is = f"{trunk.state}, {trunk.reason}"
        headline = f"down {drops} times within {span(UNSTEADY_S)}" if unsteady else f"down: {now_is}"
        detail = [f"{down_ms / 1000:.0f} s in all; now {now_is}"] if unsteady else []
        if not trunk.up:
            detail.append("no call can come in or go out over it")
        return Assessment(
            rule=self.name,
            subject=subject,
            levels={"page": Level(troubled, troubled)},
            describe=lambda: Description(headline, detail),
            for_s=self._config.for_s,
            hold_s=self._config.hold_s,
        )


class Records(Rule):
    """The database of call records takes nothing, or falls behind."""

    name = "records"

    def __init__(self, rules: RulesConfig) -> None:
        self._config = rules.records

    def use(self, rules: RulesConfig) -> None:
        self._config = rules.records

    def assess(self, state: GatewayState, now: float) -> list[Assessment]:
        config, health = self._config, state.records
        level = Level(
            not health.writable or health.queued > config.max_queued,
            not health.writable or health.queued > config.max_queued // 2,
        )
        reason = health.reason or f"the database is slower than calls come (limit {config.max_queued} rows)"
        detail = [f"{health.queued} rows wait in memory; what is more goes to a spool file, nothing is lost"]
        return [
            Assessment(
                rule=self.name,
                subject=GATEWAY,
                levels={"page": level},
                describe=lambda: Description(f"call records are not written: {reason}", detail),
                for_s=config.for_s,
                hold_s=config.hold_s,
            )
        ]


class Alerting(Rule):
    """A channel takes no alerts, or the journal cannot be written. Whoever else can be told, is."""

    name = "alerting"

    def __init__(self, rules: RulesConfig) -> None:
        self._config = rules.alerting

    def use(self, rules: RulesConfig) -> None:
        self._config = rules.alerting

    def assess(self, state: GatewayState, now: float) -> list[Assessment]:
        faults = list(state.alerting)
        detail = [*faults, "trunkline alerts test CHANNEL tries a channel again; with success this ends"]
        return [
            Assessment(
                rule=self.name,
                subject=GATEWAY,
                levels={"ticket": Level(bool(faults), bool(faults))},
                describe=lambda: Description(faults[0] if faults else "alerts do not arrive", detail),
                for_s=self._config.for_s,
                hold_s=self._config.hold_s,
            )
        ]


_DEATHS, _DROPPED = range(2)


class Host(Rule):
    """Clock lateness, loop lag, workers that die."""

    name = "host"

    def __init__(self, rules: RulesConfig, seconds: HostSeconds) -> None:
        self._config = rules.host
        self._seconds = seconds
        self._tallies = Tallies([self._config.window_s], 2)
        self._missing_since: float | None = None

    def use(self, rules: RulesConfig) -> None:
        self._config = rules.host
        self._seconds.use(rules.host)
        self._tallies.use([self._config.window_s])

    def forget_others(self, known: Collection[Subject]) -> None:
        self._tallies.keep(known)

    def process_second(self, process: str, clock_late_ms: float, loop_lag_ms: float, now: float) -> None:
        self._seconds.add(process, clock_late_ms, loop_lag_ms, now)

    def worker_lost(self, worker: str, now: float) -> None:
        self._tallies.add(GATEWAY, _DEATHS, now)

    def ended(self, call: WatchedCall, now: float) -> None:
        if dropped_here(call.record):
            self._tallies.add(GATEWAY, _DROPPED, now)

    def assess(self, state: GatewayState, now: float) -> list[Assessment]:
        config = self._config
        missing = state.workers_missing
        if not missing:
            self._missing_since = None
        elif self._missing_since is None:
            self._missing_since = now
        gone = self._missing_since is not None and now - self._missing_since >= config.workers_down_s
        deaths, dropped = self._tallies.sums(GATEWAY, config.window_s, now)
        clock, loop = self._level(CLOCK_LATE, now), self._level(LOOP_LATE, now)
        many = dropped >= config.dropped_calls
        levels: dict[Severity, Level] = {
            "page": Level(clock.enter or many or gone, clock.stay or many or gone),
            "ticket": Level(loop.enter or deaths > 0, loop.stay or deaths > 0),
        }
        troubles: list[tuple[bool, str]] = [
            (gone, f"{missing} media workers are missing"),
            (clock.stay, self._seconds.sentence(CLOCK_LATE, now)),
            (many, f"{dropped} answered calls were dropped by the gateway within {span(config.window_s)}"),
            (deaths > 0, f"{deaths} media workers died within {span(config.window_s)}: the log says why"),
            (loop.stay, self._seconds.sentence(LOOP_LATE, now)),
        ]
        said = [sentence for true, sentence in troubles if true]
        return [
            Assessment(
                rule=self.name,
                subject=GATEWAY,
                levels=levels,
                describe=lambda: _description(said),
                hold_s=config.hold_s,
            )
        ]

    def _level(self, field: int, now: float) -> Level:
        config = self._config
        _, late, share = self._seconds.worst(field, now)
        return Level(late >= config.min_seconds and share > config.enter_share, share > config.leave_share)


def _description(said: list[str]) -> Description:
    headline = said[0] if said else "this host is in trouble"
    cause = Cause(name="host", share=1.0, evidence=said or [headline])
    verdict = Verdict(causes=[cause], summary=f"this host: {headline}")
    return Description(headline, said, judge=lambda: verdict)
