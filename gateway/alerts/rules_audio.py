"""Rules of what is heard: quality, one-way audio, echo. They share the evidence (symptoms.py) for their verdicts."""

from collections.abc import Collection
from math import inf
from typing import NamedTuple

from ...rtp.emodel import mos
from ...rtp.quality import SLICE
from ..record import Slice
from .alert import Severity, Verdict
from .rules import (
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
from .rules_config import BurnRateConfig, RulesConfig, ShareConfig
from .state import GatewayState
from .symptoms import SymptomLog, calls_of
from .watched_call import WatchedCall
from .windows import RUN_S, Runs, Tallies

REJUDGE_S = 5.0
"""Seconds for which a verdict stands: it is worth more than a moment's work."""
EVIDENCE_LEAST = 10
"""Slices that a verdict is made of, if there are as many."""

_SLICES, _BAD, _POOR, _CALLS = range(4)
_ALL, _SHOWING = range(2)


class AudioRule(Rule):
    """What the three have in common: their evidence."""

    def __init__(self, rules: RulesConfig, log: SymptomLog) -> None:
        self._rules = rules
        self._log = log
        self._verdicts: dict[Subject, tuple[float, Verdict | None]] = {}
        """The latest verdicts, and when they were given."""

    def use(self, rules: RulesConfig) -> None:
        self._rules = rules

    def forget_others(self, known: Collection[Subject]) -> None:
        self._verdicts = {subject: verdict for subject, verdict in self._verdicts.items() if subject in known}

    def _shows(self, part: Slice) -> bool:
        """Whether a slice shows this rule's trouble."""
        return self._log.shows(self.name, part)

    def _described(
        self, subject: Subject, window_s: float, fresh_s: float, now: float, headline: str, detail: list[str]
    ) -> Description:
        """With the slices of the last `fresh_s`, since these say what is wrong now; but with ten of `window_s`."""
        symptoms = self._log.of(subject, now - window_s, self._shows)
        fresh = sum(symptom.at >= now - fresh_s for symptom in symptoms)
        symptoms = symptoms[-max(fresh, EVIDENCE_LEAST) :]

        def judge() -> Verdict | None:
            before = self._verdicts.get(subject)
            if before is None or now - before[0] >= REJUDGE_S:
                before = self._verdicts[subject] = now, self._log.verdict(symptoms, now)
            return before[1]

        return Description(headline, detail, calls_of(symptoms), judge, symptoms)


class _WorstCall(NamedTuple):
    """The one with the most bad slices, of the calls that had one lately."""

    bad: int
    at: float


class Quality(AudioRule):
    """How fast the objective's allowance of bad slices is used up, for each trunk and agent."""

    name = "quality"

    def __init__(self, rules: RulesConfig, log: SymptomLog) -> None:
        super().__init__(rules, log)
        self._tallies = Tallies(self._spans, 4)
        self._worst: dict[tuple[Subject, float], _WorstCall] = {}
        """By subject and span."""

    @property
    def _spans(self) -> set[float]:
        rates = self._rules.quality.burn_rates
        return {rate.long_s for rate in rates} | {rate.short_s for rate in rates}

    def use(self, rules: RulesConfig) -> None:
        super().use(rules)
        self._tallies.use(self._spans)
        self._worst = {key: worst for key, worst in self._worst.items() if key[1] in self._spans}

    def forget_others(self, known: Collection[Subject]) -> None:
        super().forget_others(known)
        self._tallies.keep(known)
        self._worst = {key: worst for key, worst in self._worst.items() if key[0] in known}

    def _poor(self, part: Slice) -> bool:
        """Not good enough to be called well again."""
        recovered = mos(self._rules.quality.leave_r)
        return any(stream.bad or (stream.mos or inf) < recovered for stream in (part.received, part.sent))

    def slice_ended(self, call: WatchedCall, part: Slice, now: float) -> None:
        if not self._log.counts(part):
            return
        bad = self._shows(part)
        fields = [_SLICES]
        if bad:
            fields.append(_BAD)
        if bad or self._poor(part):
            fields.append(_POOR)
        first = bad and call.first(self.name)
        call.bad_slices += bad
        for subject in (Subject("trunk", call.trunk), Subject("agent", call.agent)):
            for field in fields:
                self._tallies.add(subject, field, now)
            if first:
                self._tallies.add(subject, _CALLS, now)
            if bad:
                self._compare(subject, call, now)

    def _compare(self, subject: Subject, call: WatchedCall, now: float) -> None:
        for span_s in self._spans:
            worst = self._worst.get((subject, span_s))
            if worst is None or call.bad_slices >= worst.bad or now - worst.at >= span_s:
                self._worst[subject, span_s] = _WorstCall(call.bad_slices, now)

    def _others(self, subject: Subject, span_s: float, now: float) -> float:
        """The share of bad slices without those of the worst call, which must not page by itself."""
        sums = self._tallies.sums(subject, span_s, now)
        worst = self._worst.get((subject, span_s))
        if worst is None or now - worst.at >= span_s:
            return _share(sums, _BAD)
        its = min(worst.bad, round(span_s / SLICE), sums[_BAD])
        return share_of(sums[_BAD] - its, sums[_SLICES] - its)

    def assess(self, state: GatewayState, now: float) -> list[Assessment]:
        return [self._assess(subject, now) for subject in (*trunks_of(state), *agents_of(state))]

    def _assess(self, subject: Subject, now: float) -> Assessment:
        config = self._rules.quality
        levels: dict[Severity, Level] = {}
        burning: BurnRateConfig | None = None
        traffic = False
        for rate in config.burn_rates:
            limit = rate.burn_rate * (1 - config.objective)
            long = self._tallies.sums(subject, rate.long_s, now)
            short = self._tallies.sums(subject, rate.short_s, now)
            traffic = traffic or short[_SLICES] > 0
            enough = long[_CALLS] >= config.min_calls and long[_SLICES] >= config.min_slices
            enter = enough and min(self._others(subject, rate.long_s, now), _share(short, _BAD)) > limit
            stay = min(_share(long, _POOR), _share(short, _POOR)) > limit
            before = levels.get(rate.severity, Level(False, False))
            levels[rate.severity] = Level(before.enter or enter, before.stay or stay)
            if burning is None and (enter or stay):
                burning = rate
        shown = burning or config.burn_rates[0]
        return Assessment(
            rule=self.name,
            subject=subject,
            levels=levels,
            describe=lambda: self._describe(subject, shown, now),
            hold_s=config.hold_s,
            active=traffic,
        )

    def _describe(self, subject: Subject, rate: BurnRateConfig, now: float) -> Description:
        config = self._rules.quality
        long = self._tallies.sums(subject, rate.long_s, now)
        short = self._tallies.sums(subject, rate.short_s, now)
        limit = percent(rate.burn_rate * (1 - config.objective))
        shares = [
            f"{percent(_share(sums, _BAD))} of {sums[_SLICES]} slices within {span(seconds)}"
            for sums, seconds in ((long, rate.long_s), (short, rate.short_s))
        ]
        detail = [
            f"bad: {' and '.join(shares)} (limit {limit}, {rate.burn_rate:g} times what the objective of "
            f"{percent(config.objective)} good slices allows)",
            f"calls with a bad slice within {span(rate.long_s)}: {long[_CALLS]} (at least {config.min_calls})",
        ]
        headline = f"{percent(_share(short, _BAD))} of the audio is bad"
        return self._described(subject, rate.long_s, rate.short_s, now, headline, detail)


def _share(sums: list[int], field: int) -> float:
    return share_of(sums[field], sums[_SLICES])


class ShareRule(AudioRule):
    """A share of a trunk's calls that show something, each call counted once."""

    def __init__(self, rules: RulesConfig, log: SymptomLog) -> None:
        super().__init__(rules, log)
        self._tallies = Tallies([self._config.window_s], 2)
        self._runs = Runs()

    @property
    def _config(self) -> ShareConfig:
        raise NotImplementedError

    def use(self, rules: RulesConfig) -> None:
        super().use(rules)
        self._tallies.use([self._config.window_s])

    def forget_others(self, known: Collection[Subject]) -> None:
        super().forget_others(known)
        self._tallies.keep(known)
        self._runs.keep(known)

    def _judged(self, call: WatchedCall, now: float) -> None:
        """It is a call that can show it."""
        if call.trunk and call.first(f"{self.name} judged"):
            self._tallies.add(Subject("trunk", call.trunk), _ALL, now)

    def _showed(self, call: WatchedCall, now: float) -> None:
        """It does."""
        if call.trunk and call.first(f"{self.name} showed"):
            self._tallies.add(Subject("trunk", call.trunk), _SHOWING, now)

    def ended(self, call: WatchedCall, now: float) -> None:
        if not call.first(f"{self.name} showed"):
            self._runs.bad(Subject("trunk", call.trunk), now)
        elif not call.first(f"{self.name} judged"):
            self._runs.good(Subject("trunk", call.trunk))

    def assess(self, state: GatewayState, now: float) -> list[Assessment]:
        return [self._assess(subject, now) for subject in trunks_of(state)]

    def _assess(self, subject: Subject, now: float) -> Assessment:
        config = self._config
        calls, showing = self._tallies.sums(subject, config.window_s, now)
        run = self._runs.length(subject, now)
        return Assessment(
            rule=self.name,
            subject=subject,
            levels={"page": share_level(showing, calls, run, config)},
            describe=lambda: self._describe(subject, showing, calls, run, now),
            hold_s=config.hold_s,
            active=calls > 0 or run > 0,
        )

    def _describe(self, subject: Subject, showing: int, calls: int, run: int, now: float) -> Description:
        config = self._config
        if in_a_row(run, calls, config):
            headline = f"the last {run} calls {self._trouble}"
            detail = [
                f"{run} calls in a row (limit {config.min_calls}, where there are fewer within {span(config.window_s)})"
            ]
            return self._described(subject, RUN_S, RUN_S, now, headline, detail)
        limits = f"limit {percent(config.enter_share)}, at least {config.min_calls} calls"
        detail = [f"{showing} of {max(showing, calls)} calls within {span(config.window_s)} ({limits})"]
        share = percent(share_of(showing, calls))
        headline = f"{share} of calls {self._trouble}"
        return self._described(subject, config.window_s, config.window_s, now, headline, detail)

    _trouble: str


class OneWayAudio(ShareRule):
    """Answered calls in which a direction went dead: counted with the slice that it died in, which says why."""

    name = "one_way_audio"
    _trouble = "have one-way audio"

    @property
    def _config(self) -> ShareConfig:
        return self._rules.one_way_audio

    def answered(self, call: WatchedCall, now: float) -> None:
        self._judged(call, now)

    def slice_ended(self, call: WatchedCall, part: Slice, now: float) -> None:
        if self._shows(part):
            self._showed(call, now)


class Echo(ShareRule):
    """Calls whose far end sends back what the agent says: it hears itself, and interrupts itself."""

    name = "echo"
    _trouble = "send the agent's own speech back"

    @property
    def _config(self) -> ShareConfig:
        return self._rules.echo

    def slice_ended(self, call: WatchedCall, part: Slice, now: float) -> None:
        if part.echo is None:
            return
        self._judged(call, now)
        if self._shows(part):
            self._showed(call, now)
