"""Rules of calls and of the speech service: failures, answers that are slow, errors."""

import re
from collections import Counter, deque
from collections.abc import Collection
from typing import NamedTuple

from ..call_meter import result_of
from ..record import CallRecord
from .alert import Cause, Verdict
from .host_seconds import HostSeconds
from .rules import (
    CALLS_NAMED,
    Assessment,
    Description,
    Level,
    Rule,
    Subject,
    agents_of,
    in_a_row,
    percent,
    share_level,
    share_of,
    span,
    trunks_of,
)
from .rules_config import LatencyConfig, RulesConfig
from .state import GatewayState
from .watched_call import WatchedCall
from .windows import RUN_S, Runs, Tallies

TAIL = 0.05
"""What lies above the 95th percentile."""
STEPS = (1.5, 2.0, 3.0, 5.0, 8.0)
"""Multiples of a limit that are told apart."""
LONGER = 24
"""Where a window has too few answers, one so many times as long counts."""
KEPT = 50
"""Failures whose reasons are kept, for each subject."""
STOPPING = ("gateway is stopping", "gateway stops")
_NUMBER = re.compile(r"\d{4,}")


class _Failure(NamedTuple):
    at: float
    call_id: str
    reason: str


class _Failures:
    """The latest failures of each subject."""

    def __init__(self) -> None:
        self._kept: dict[Subject, deque[_Failure]] = {}

    def add(self, subject: Subject, call: WatchedCall, reason: str, now: float) -> None:
        kept = self._kept.setdefault(subject, deque(maxlen=KEPT))
        kept.append(_Failure(now, call.id, _NUMBER.sub("…", reason)))

    def keep(self, known: Collection[Subject]) -> None:
        self._kept = {subject: kept for subject, kept in self._kept.items() if subject in known}

    def calls(self, subject: Subject, since: float) -> list[str]:
        """The newest first, each once."""
        newest = [failure.call_id for failure in reversed(self._kept.get(subject, ())) if failure.at >= since]
        return list(dict.fromkeys(newest))[:CALLS_NAMED]

    def reasons(self, subject: Subject, since: float) -> list[str]:
        """The three most frequent ones."""
        counts = Counter(failure.reason for failure in self._kept.get(subject, ()) if failure.at >= since)
        return [f"{count} times: {reason}" for reason, count in counts.most_common(3)]


def dropped_here(record: CallRecord) -> bool:
    """True for an answered call that this gateway itself ended, other than by stopping."""
    return record.answered_at is not None and record.ended_by == "gateway" and record.end_reason not in STOPPING


def _failed(record: CallRecord) -> bool:
    """Ended badly by the trunk or for want of room or a route: what the service ended, what was dropped here, and what
    is refused while the gateway stops have rules of their own, or none."""
    if record.ended_by == "provider" or dropped_here(record) or record.end_reason in STOPPING:
        return False
    return result_of(record) in ("failed", "dropped", "refused")


_ALL, _FAILED = range(2)


class CallFailures(Rule):
    """For each trunk."""

    name = "call_failures"

    def __init__(self, rules: RulesConfig) -> None:
        self._config = rules.call_failures
        self._tallies = Tallies([self._config.window_s], 2)
        self._runs = Runs()
        self._failures = _Failures()

    def use(self, rules: RulesConfig) -> None:
        self._config = rules.call_failures
        self._tallies.use([self._config.window_s])

    def forget_others(self, known: Collection[Subject]) -> None:
        self._tallies.keep(known)
        self._runs.keep(known)
        self._failures.keep(known)

    def ended(self, call: WatchedCall, now: float) -> None:
        subject = Subject("trunk", call.trunk)
        self._tallies.add(subject, _ALL, now)
        if _failed(call.record):
            self._tallies.add(subject, _FAILED, now)
            self._runs.bad(subject, now)
            self._failures.add(subject, call, call.record.end_reason or "no reason given", now)
        else:
            self._runs.good(subject)

    def assess(self, state: GatewayState, now: float) -> list[Assessment]:
        return [self._assess(subject, now) for subject in trunks_of(state)]

    def _assess(self, subject: Subject, now: float) -> Assessment:
        config = self._config
        ended, failed = self._tallies.sums(subject, config.window_s, now)
        run = self._runs.length(subject, now)
        return Assessment(
            rule=self.name,
            subject=subject,
            levels={"page": share_level(failed, ended, run, config)},
            describe=lambda: self._describe(subject, failed, ended, run, now),
            hold_s=config.hold_s,
            active=ended > 0 or run > 0,
        )

    def _describe(self, subject: Subject, failed: int, ended: int, run: int, now: float) -> Description:
        config = self._config
        row = in_a_row(run, ended, config)
        since = now - (RUN_S if row else config.window_s)
        within = span(config.window_s)
        if row:
            headline = f"the last {run} calls failed"
            figures = f"{run} calls in a row (limit {config.min_calls}, where there are fewer within {within})"
        else:
            headline = f"{percent(share_of(failed, ended))} of calls fail"
            limits = f"limit {percent(config.enter_share)}, at least {config.min_calls} calls"
            figures = f"{failed} of {ended} calls within {within} ({limits})"
        detail = [figures, *self._failures.reasons(subject, since)]
        return Description(headline, detail, self._failures.calls(subject, since))


_COUNT, _SLOW_CALLS, _OVER_LEAVE, _OVER = range(4)


class Latency(Rule):
    """The 95th percentile of a latency, for each agent: above a limit when more than one in twenty is."""

    _what: str

    def __init__(self, rules: RulesConfig, host: HostSeconds) -> None:
        self._config = self._of(rules)
        self._host = host
        self._tallies = self._empty()
        self._slow = _Failures()

    def _of(self, rules: RulesConfig) -> LatencyConfig:
        raise NotImplementedError

    def _empty(self) -> Tallies:
        window_s = self._config.window_s
        return Tallies([window_s, LONGER * window_s], _OVER + 1 + len(STEPS))

    def use(self, rules: RulesConfig) -> None:
        before, self._config = self._config, self._of(rules)
        limits = (self._config.limit_s, self._config.leave_s, self._config.window_s)
        if limits != (before.limit_s, before.leave_s, before.window_s):
            # what was slow by other limits says nothing of these
            self._tallies, self._slow = self._empty(), _Failures()

    def forget_others(self, known: Collection[Subject]) -> None:
        self._tallies.keep(known)
        self._slow.keep(known)

    def _measured(self, call: WatchedCall, latency_s: float, now: float) -> None:
        config, subject = self._config, Subject("agent", call.agent)
        self._tallies.add(subject, _COUNT, now)
        if latency_s > config.leave_s:
            self._tallies.add(subject, _OVER_LEAVE, now)
        for step, multiple in enumerate((1.0, *STEPS)):
            if latency_s > multiple * config.limit_s:
                self._tallies.add(subject, _OVER + step, now)
        if latency_s > config.limit_s:
            self._slow.add(subject, call, "slow", now)
            if call.first(self.name):
                self._tallies.add(subject, _SLOW_CALLS, now)

    def assess(self, state: GatewayState, now: float) -> list[Assessment]:
        return [self._assess(subject, now) for subject in agents_of(state)]

    def _assess(self, subject: Subject, now: float) -> Assessment:
        config = self._config
        latest, span_s = self._tallies.sums(subject, config.window_s, now), config.window_s
        if latest[_COUNT] < config.min_count:
            span_s *= LONGER
        sums = self._tallies.sums(subject, span_s, now)
        enough = sums[_COUNT] >= config.min_count and sums[_SLOW_CALLS] >= config.min_calls
        goes_on = latest[_OVER] > 0
        enter = enough and goes_on and share_of(sums[_OVER], sums[_COUNT]) > TAIL
        return Assessment(
            rule=self.name,
            subject=subject,
            levels={"ticket": Level(enter, share_of(sums[_OVER_LEAVE], sums[_COUNT]) > TAIL)},
            describe=lambda: self._describe(subject, sums, span_s, now),
            hold_s=config.hold_s,
            active=latest[_COUNT] > 0,
        )

    def _describe(self, subject: Subject, sums: list[int], span_s: float, now: float) -> Description:
        config = self._config
        over = [m for step, m in enumerate((1.0, *STEPS)) if share_of(sums[_OVER + step], sums[_COUNT]) > TAIL]
        worst = config.limit_s * over[-1] if over else config.leave_s
        share = f"{percent(share_of(sums[_OVER], sums[_COUNT]))} of {sums[_COUNT]} within {span(span_s)}"
        limits = f"took more than {config.limit_s:g} s (limit {percent(TAIL)})"
        detail = [f"{share} {limits}, in {sums[_SLOW_CALLS]} calls"]
        since = now - span_s
        headline = f"one {self._what} in twenty takes more than {worst:g} s"
        return Description(
            headline, detail, self._slow.calls(subject, since), lambda: self._host.or_service(headline, now)
        )


class TurnLatency(Latency):
    """Caller's last speech to the agent's first packet."""

    name = "turn_latency"
    _what = "answer"

    def _of(self, rules: RulesConfig) -> LatencyConfig:
        return rules.turn_latency

    def turn(self, call: WatchedCall, latency_s: float, now: float) -> None:
        self._measured(call, latency_s, now)


class FirstAudio(Latency):
    """Answer to the agent's first word."""

    name = "first_audio"
    _what = "first word"

    def _of(self, rules: RulesConfig) -> LatencyConfig:
        return rules.first_audio

    def first_audio(self, call: WatchedCall, latency_s: float, now: float) -> None:
        self._measured(call, latency_s, now)


_SESSIONS, _GONE, _ERRORS, _TROUBLED = range(4)


class ProviderErrors(Rule):
    """Sessions refused or lost, and errors that calls survive, for each agent."""

    name = "provider_errors"

    def __init__(self, rules: RulesConfig) -> None:
        self._config = rules.provider_errors
        self._tallies = Tallies([self._config.window_s], 4)
        self._runs = Runs()
        self._failures = _Failures()
        self._providers: dict[Subject, str] = {}

    def use(self, rules: RulesConfig) -> None:
        self._config = rules.provider_errors
        self._tallies.use([self._config.window_s])

    def forget_others(self, known: Collection[Subject]) -> None:
        self._tallies.keep(known)
        self._runs.keep(known)
        self._failures.keep(known)
        self._providers = {subject: name for subject, name in self._providers.items() if subject in known}

    def session(self, call: WatchedCall, failed: bool, now: float) -> None:
        subject = self._subject(call)
        self._tallies.add(subject, _SESSIONS, now)
        if failed:
            self._gone(subject, call, "refused, or not ready in time", now)

    def service_lost(self, call: WatchedCall, now: float) -> None:
        self._gone(self._subject(call), call, "lost during the call", now)

    def service_errors(self, call: WatchedCall, count: int, now: float) -> None:
        subject = self._subject(call)
        self._tallies.add(subject, _ERRORS, now, count)
        self._failures.add(subject, call, "error or reconnect that the call survived", now)
        if call.first("service error"):
            self._tallies.add(subject, _TROUBLED, now)

    def _subject(self, call: WatchedCall) -> Subject:
        subject = Subject("agent", call.agent)
        self._providers[subject] = call.record.provider or "the speech service"
        return subject

    def _gone(self, subject: Subject, call: WatchedCall, reason: str, now: float) -> None:
        self._tallies.add(subject, _GONE, now)
        self._failures.add(subject, call, f"session {reason}", now)
        if call.first(f"no session of {call.agent}"):
            self._runs.bad(subject, now)

    def ended(self, call: WatchedCall, now: float) -> None:
        if call.record.answered_at is not None and call.first(f"no session of {call.agent}"):
            self._runs.good(Subject("agent", call.agent))

    def assess(self, state: GatewayState, now: float) -> list[Assessment]:
        return [self._assess(subject, now) for subject in agents_of(state)]

    def _assess(self, subject: Subject, now: float) -> Assessment:
        config = self._config
        sessions, gone, errors, troubled = self._tallies.sums(subject, config.window_s, now)
        run = self._runs.length(subject, now)
        return Assessment(
            rule=self.name,
            subject=subject,
            levels={
                "page": share_level(gone, sessions, run, config),
                "ticket": Level(errors >= config.errors and troubled >= config.min_calls, errors > config.errors // 2),
            },
            describe=lambda: self._describe(subject, sessions, gone, errors, run, now),
            hold_s=config.hold_s,
            active=sessions + errors + run > 0,
        )

    def _describe(self, subject: Subject, sessions: int, gone: int, errors: int, run: int, now: float) -> Description:
        config = self._config
        row = in_a_row(run, sessions, config)
        since = now - (RUN_S if row else config.window_s)
        provider, within = self._providers.get(subject, "the speech service"), f"within {span(config.window_s)}"
        lost = (
            f"{gone} of {max(sessions, gone)} sessions refused or lost (limit {percent(config.enter_share)}) {within}"
        )
        survived = f"{errors} errors and reconnects that calls survived (limit {config.errors}) {within}"
        if row:
            headline = f"the last {run} sessions at {provider} failed"
            evidence = [
                f"{run} sessions in a row refused or lost (limit {config.min_calls}, where there are fewer {within})"
            ]
        elif share_of(gone, sessions) > config.leave_share:
            headline = f"{percent(share_of(gone, sessions))} of sessions at {provider} fail"
            evidence = [lost, survived]
        else:
            headline = f"{provider} reports errors or loses sessions"
            evidence = [survived, lost]
        verdict = Verdict(
            causes=[Cause(name="provider", share=1.0, evidence=evidence)],
            summary=f"the speech service ({provider}): {evidence[0]}",
        )
        detail = [*evidence, *self._failures.reasons(subject, since)]
        return Description(headline, detail, self._failures.calls(subject, since), lambda: verdict)
