"""The evidence: the latest slices that show trouble, for each trunk and agent, and what the trunks carried."""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from ..media.echo import ECHO_FROM
from ..record import Slice
from .alert import Verdict
from .attribution import host_late, unsent
from .evidence import Traffic
from .rules import CALLS_NAMED, Subject, Symptom
from .rules_config import RulesConfig
from .verdict import judge
from .watched_call import WatchedCall
from .windows import Tallies

KEPT = 120
"""Slices of each subject."""
AUDIO_RULES = ("quality", "one_way_audio", "echo")
COMPARED_S = 1800.0
"""Trunks are compared by their slices of the last half hour."""

_SLICES, _BAD, _LATE, _LATE_BAD, _INBOUND, _OUTBOUND, _ECHOES = range(7)


class SymptomLog:
    """Bounded, whatever happens: so many slices a subject."""

    def __init__(self, rules: RulesConfig) -> None:
        self._bad_underruns = rules.quality.bad_underruns
        self._kept: dict[Subject, deque[Symptom]] = {}
        self._trunks = Tallies([COMPARED_S], 7)

    def use(self, rules: RulesConfig) -> None:
        """Other limits from now on."""
        self._bad_underruns = rules.quality.bad_underruns

    def forget_others(self, known: Collection[Subject]) -> None:
        """Subjects that are not of the configuration any more are forgotten."""
        self._kept = {subject: kept for subject, kept in self._kept.items() if subject in known}
        self._trunks.keep(known)

    def shows(self, rule: str, part: Slice) -> bool:
        """Whether a slice shows the trouble of a rule of what is heard; False for the other rules."""
        match rule:
            case "quality":
                bad = part.received.bad or part.sent.bad or unsent(part)
                return bad or part.underruns >= self._bad_underruns
            case "one_way_audio":
                return part.received.dead or part.sent.dead
            case "echo":
                return part.echo is not None and part.echo >= ECHO_FROM
            case _:
                return False

    def counts(self, part: Slice) -> bool:
        """False when nothing was due (hold), or too little to rate: such a slice is neither good nor bad."""
        rated = part.received.mos is not None or part.sent.mos is not None
        return rated or self.shows("quality", part)

    def add(self, call: WatchedCall, part: Slice, now: float) -> None:
        """A slice ended: it is counted, and kept when it shows trouble."""
        trunk, agent = Subject("trunk", call.trunk), Subject("agent", call.agent)
        bad, late = self.shows("quality", part), host_late(part)
        if self.counts(part):
            counted = {
                _SLICES: True,
                _BAD: bad,
                _LATE: late,
                _LATE_BAD: late and bad,
                _INBOUND: part.received.bad,
                _OUTBOUND: part.sent.bad,
                _ECHOES: self.shows("echo", part),
            }
            for field, true in counted.items():
                if true:
                    self._trunks.add(trunk, field, now)
        if not any(self.shows(rule, part) for rule in AUDIO_RULES):
            return
        symptom = Symptom(now, call.id, call.trunk, call.agent, call.record.provider or "", call.far_end, part)
        for subject in (trunk, agent):
            self._kept.setdefault(subject, deque(maxlen=KEPT)).append(symptom)

    def of(self, subject: Subject, since: float, shows: Callable[[Slice], bool]) -> list[Symptom]:
        """The subject's slices since then that show it, the oldest first."""
        return [symptom for symptom in self._kept.get(subject, ()) if symptom.at >= since and shows(symptom.slice)]

    def silent_calls(self, subjects: Iterable[Subject]) -> set[str]:
        """The subjects' calls in which a direction was dead."""
        kept = (symptom for subject in subjects for symptom in self._kept.get(subject, ()))
        return {symptom.call_id for symptom in kept if self.shows("one_way_audio", symptom.slice)}

    def verdict(self, symptoms: Sequence[Symptom], now: float) -> Verdict | None:
        """Why; None without evidence."""
        return judge(symptoms, self._traffic(now), self._bad_underruns) if symptoms else None

    def _traffic(self, now: float) -> Mapping[str, Traffic]:
        return {
            subject.name: Traffic(*self._trunks.sums(subject, COMPARED_S, now)) for subject in self._trunks.subjects
        }


def calls_of(symptoms: Iterable[Symptom]) -> list[str]:
    """Their calls, the newest first, each once, ten at most."""
    newest = dict.fromkeys(symptom.call_id for symptom in reversed(list(symptoms)))
    return list(newest)[:CALLS_NAMED]
