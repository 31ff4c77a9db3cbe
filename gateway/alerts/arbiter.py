"""From assessments to alerts: one trouble, one alert.

- Each rule's condition is damped for each subject and severity (hysteresis.py).
- A trouble that three quarters of the trunks (or agents) with traffic have at once, and two at least, becomes one alert
  about the gateway. One that only some have yet waits GATHER_S for the others, so that they do not fire one by one.
- A quality alert belongs to whom its cause points at: a provider's to the agent, this host's to the gateway, all others
  to the trunk. Who else is touched is folded into it: a subject whose bad slices are for three quarters those of open
  alerts gets none of its own, and is named in theirs.
- What this host causes is one alert, too: an open `host` alert takes in those whose verdict says host, and the other
  way round. A quality alert with another verdict stands beside it. It is the same with an agent's speech service.
- Calls fail on a trunk that is down: that is one alert, about the trunk, for which they wait FALLING_S at most.

An alert is only folded into one of the same severity or a higher one.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from .alert import Alert, Severity, Verdict
from .hysteresis import Damper
from .open_alerts import Key, OpenAlerts
from .rules import CALLS_NAMED, GATEWAY, Assessment, Description, Level, Subject, Symptom, share_of, span
from .rules_config import RulesConfig
from .symptoms import SymptomLog, calls_of

COVERED = 0.75
"""Share of a subject's bad slices that are those of open alerts, from which on it is folded into them."""
EVERYWHERE = 0.75
"""Share of the subjects with traffic that are in trouble, from which on it is the gateway's."""
GATHER_S = 15.0
"""Somewhat longer than a slice: what begins everywhere at once is everywhere by then."""
FALLING_S = 180.0
"""Calls that fail on a trunk that is down wait for so long at most, until that is an alert."""
SEVERITIES: tuple[Severity, ...] = ("page", "ticket")
"""The worst first."""
EVIDENCE_MOST = 240
"""Slices, the newest, by which several subjects are judged together."""
NAMED = 3
"""Subjects that a summary names; of more it gives the number."""


@dataclass(slots=True)
class _Candidate:
    """A condition that has become true for a subject that has no alert."""

    key: Key
    severity: Severity
    item: Assessment
    description: Description

    @property
    def cause(self) -> str | None:
        return _leading(self.description.verdict)

    @property
    def natural(self) -> bool:
        """Whether the cause points at a subject of this kind."""
        return self.cause is None or (self.cause == "provider") == (self.key.subject.kind == "agent")


class Arbiter:
    """Told once a second how everything stands."""

    def __init__(self, rules: RulesConfig, opened: OpenAlerts, log: SymptomLog) -> None:
        self._flapping = rules.flapping
        self._open = opened
        self._log = log
        self._dampers: dict[tuple[Key, Severity], Damper] = {}
        self._standing: dict[Key, Assessment] = {}
        self._groups: dict[str, list[Assessment]] = {}
        self._since: dict[tuple[Key, Severity], float] = {}
        """Since when candidates wait for others."""

    def use(self, rules: RulesConfig) -> None:
        """Other limits from now on."""
        self._flapping = rules.flapping

    def restore(self, alerts: Iterable[Alert]) -> None:
        """Take back what was open when the process ended."""
        for key in self._open.restore(alerts):
            self._damper(key, self._open[key].severity).restore()

    def look(self, assessments: Sequence[Assessment], now: float) -> None:
        """Fire, change and resolve."""
        self._standing = {Key(item.rule, item.subject): item for item in assessments}
        self._groups = defaultdict(list)
        for item in assessments:
            self._groups[item.rule].append(item)
        wanted: dict[Key, Severity | None] = {key: self._damped(key, item, now) for key, item in self._standing.items()}
        for key in self._open:
            severity = wanted[key] if key in wanted else self._merged(key, now)
            if severity is not None:
                self._open.rate(key, severity)
            else:
                self._open.resolve(key)
        told = {key: description for key in self._open if (description := self._description(key, now))}
        notes: dict[Key, list[str]] = defaultdict(list)
        gathering: dict[tuple[Key, Severity], float] = {}
        for candidate in self._candidates(wanted):
            alert = self._told_by_rule(candidate) or self._told_by_cause(candidate) or self._told_by_slices(candidate)
            if alert is None and self._gathers(candidate, now):
                gathering[candidate.key, candidate.severity] = self._since.get((candidate.key, candidate.severity), now)
                continue
            if alert is None:
                alert, told[alert] = self._fire(candidate, now)
            if alert != candidate.key:
                notes[alert].append(f"{candidate.key.subject}, too: {candidate.description.headline}")
        for key, description in told.items():
            self._open.refresh(key, description, [*description.detail, *notes[key], *self._flaps(key)], now)
        self._since = gathering
        self._forget()

    # How long it is true

    def _damper(self, key: Key, severity: Severity) -> Damper:
        return self._dampers.setdefault((key, severity), Damper())

    def _look(self, key: Key, severity: Severity, level: Level, item: Assessment, now: float) -> bool:
        return self._damper(key, severity).look(
            enter=level.enter,
            stay=level.stay,
            now=now,
            for_s=item.for_s,
            hold_s=item.hold_s,
            flapping=self._flapping,
        )

    def _damped(self, key: Key, item: Assessment, now: float) -> Severity | None:
        """The worst severity that stands."""
        found: set[Severity] = {
            severity for severity, level in item.levels.items() if self._look(key, severity, level, item, now)
        }
        return _worst(found)

    def _merged(self, key: Key, now: float) -> Severity | None:
        """The same of an open alert that stands for several subjects: it stays as long as one of these does."""
        items = self._groups.get(key.rule, [])
        if key.subject != GATEWAY or not items:
            return None
        found: set[Severity] = set()
        for severity in SEVERITIES:
            stay = any(severity in item.levels and item.levels[severity].stay for item in items)
            if self._look(key, severity, Level(False, stay), items[0], now):
                found.add(severity)
        return _worst(found)

    # Whose alert it is

    def _candidates(self, wanted: dict[Key, Severity | None]) -> list[_Candidate]:
        """Pages before tickets, and first those whom the cause points at."""
        found = [
            _Candidate(key, severity, item, item.describe())
            for key, severity in wanted.items()
            if severity and key not in self._open and (item := self._standing[key]).levels[severity].enter
        ]
        # no cause is worked out for those that an open alert of their rule tells of
        return sorted(
            found,
            key=lambda each: (SEVERITIES.index(each.severity), not (self._told_by_rule(each) or each.natural)),
        )

    def _as_bad(self, candidate: _Candidate) -> list[Key]:
        """Open alerts of its severity, or a higher one: only into these it may be folded."""
        worst = SEVERITIES.index(candidate.severity)
        return [key for key in self._open if SEVERITIES.index(self._open[key].severity) <= worst]

    def _told_by_rule(self, candidate: _Candidate) -> Key | None:
        """There is an alert of its rule about several subjects, or its trunk is down."""
        rule, subject = candidate.key
        keys = [Key(rule, GATEWAY)]
        if rule == "call_failures":
            keys += [Key("trunk_down", subject), Key("trunk_down", GATEWAY)]
        opened = self._as_bad(candidate)
        return next((key for key in keys if key in opened), None)

    def _told_by_cause(self, candidate: _Candidate) -> Key | None:
        """There is one host, and each agent has one speech service."""
        cause = candidate.cause
        if cause not in ("host", "provider"):
            return None
        blamed = {key.subject: key for key in self._as_bad(candidate) if _leading(self._open[key].verdict) == cause}
        if cause == "host" or GATEWAY in blamed:
            return next(iter(blamed.values()), None)
        agents = {Subject("agent", symptom.agent) for symptom in candidate.description.symptoms}
        agents = agents or {candidate.key.subject}
        return blamed[min(agents)] if agents <= blamed.keys() else None

    def _told_by_slices(self, candidate: _Candidate) -> Key | None:
        """Its bad slices are bad for open alerts, too."""
        ours = candidate.description.symptoms
        opened = self._as_bad(candidate)
        silent = self._log.silent_calls({Subject("trunk", symptom.trunk) for symptom in ours})
        shared: Counter[Key] = Counter()
        told = 0
        for symptom in ours:
            tellers = [key for key in opened if self._tells_of(key, symptom, silent)]
            shared.update(tellers)
            told += bool(tellers)
        return shared.most_common(1)[0][0] if ours and share_of(told, len(ours)) >= COVERED else None

    def _tells_of(self, key: Key, symptom: Symptom, silent: Collection[str]) -> bool:
        own = (GATEWAY, Subject("trunk", symptom.trunk), Subject("agent", symptom.agent))
        # a slice in which a silence only begins or ends is not dead, but bad because of it
        around = key.rule == "one_way_audio" and symptom.call_id in silent
        return key.subject in own and (around or self._log.shows(key.rule, symptom.slice))

    def _fire(self, candidate: _Candidate, now: float) -> tuple[Key, Description]:
        """Open an alert, or make one that is open worse."""
        key, severity = candidate.key, candidate.severity
        if self._is_everywhere(candidate):
            key = Key(key.rule, GATEWAY)
            self._damper(key, severity).look(
                enter=True, stay=True, now=now, for_s=0, hold_s=candidate.item.hold_s, flapping=self._flapping
            )
        description = candidate.description if key == candidate.key else self._together(key.rule, now)
        if key in self._open:
            self._open.rate(key, severity)
        else:
            self._open.fire(key, severity, description)
        return key, description

    def _is_everywhere(self, candidate: _Candidate) -> bool:
        if candidate.key.subject == GATEWAY:
            return False
        if candidate.cause == "host":
            return True
        rule, subject = candidate.key
        peers = [item for item in self._groups[rule] if item.subject.kind == subject.kind and item.active]
        troubled = sum(item.troubled for item in peers)
        return candidate.natural and troubled > 1 and share_of(troubled, len(peers)) >= EVERYWHERE

    def _gathers(self, candidate: _Candidate, now: float) -> bool:
        """It waits for an alert that would tell of it, too."""
        return now - self._since.get((candidate.key, candidate.severity), now) < self._patience(candidate)

    def _patience(self, candidate: _Candidate) -> float:
        rule, subject = candidate.key
        trunk = self._standing.get(Key("trunk_down", subject))
        if rule == "call_failures" and trunk is not None and trunk.troubled:
            return FALLING_S
        # a rule that has waited for `for_s` has seen the others by then
        if subject == GATEWAY or candidate.item.for_s or self._is_everywhere(candidate):
            return 0.0
        kinds = Counter(item.subject.kind for item in self._groups[rule] if item.active)
        return GATHER_S if max(kinds.values(), default=0) > 1 else 0.0

    # What is told

    def _description(self, key: Key, now: float) -> Description | None:
        """What is true now; None in the calm before its end, in which an alert says what it was about."""
        item = self._standing.get(key)
        if item is not None:
            return item.describe() if item.troubled else None
        return self._together(key.rule, now) if any(each.troubled for each in self._groups.get(key.rule, ())) else None

    def _together(self, rule: str, now: float) -> Description:
        """Several subjects of one rule as one."""
        members = [(item.subject, item.describe()) for item in self._groups[rule] if item.troubled]
        symptoms = {symptom for _, description in members for symptom in description.symptoms}
        evidence = sorted(symptoms, key=lambda symptom: symptom.at)[-EVIDENCE_MOST:]
        verdict = self._log.verdict(evidence, now) if evidence else members[0][1].verdict
        kind = "agent" if verdict and verdict.causes and verdict.causes[0].name == "provider" else "trunk"
        named = [member for member in members if member[0].kind == kind] or members
        who = ", ".join(str(subject) for subject, _ in named) if len(named) <= NAMED else f"{len(named)} {kind}s"
        calls = calls_of(evidence) or list(dict.fromkeys(call for _, each in named for call in each.calls))
        return Description(
            f"{who}: {named[0][1].headline}",
            [f"{subject}: {sentence}" for subject, each in named for sentence in each.detail],
            calls[:CALLS_NAMED],
            lambda: verdict,
            evidence,
            [subject.name for subject, _ in members if subject.kind == "trunk"],
        )

    def _flaps(self, key: Key) -> list[str]:
        config = self._flapping
        if not any(self._damper(key, severity).flapping for severity in SEVERITIES):
            return []
        return [
            f"flapping: it fired {config.times} times and more within {span(config.period_s)}, and stays open until it "
            f"has been calm for {span(config.calm_s)}"
        ]

    def _forget(self) -> None:
        """Dampers with nothing to remember, and those of subjects that went away."""
        self._dampers = {
            (key, severity): damper
            for (key, severity), damper in self._dampers.items()
            if not damper.blank and (key in self._standing or (key.subject == GATEWAY and key.rule in self._groups))
        }


def _worst(severities: Collection[Severity]) -> Severity | None:
    return min(severities, key=SEVERITIES.index, default=None)


def _leading(verdict: Verdict | None) -> str | None:
    return verdict.causes[0].name if verdict and verdict.causes else None
