"""Who is at fault, from what the gateway knows of bad slices. Pure: slices in, a verdict out.

Each bad slice is attributed (attribution.py), possibly to several causes. One cause that alone explains three quarters
of them is the verdict; a slice that nothing explains counts for `unknown`. Otherwise it is mixed, of the causes that
explain a quarter and more.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from .alert import Cause, CauseName, Verdict
from .attribution import causes_of
from .evidence import ALIKE, EVIDENCE, Case, Traffic
from .rules import Symptom, percent, share_of

ALONE = 0.75
"""Share of the bad slices that one cause must explain by itself to be the only one."""
SECOND = 0.25
"""Share from which on a further cause is named."""
COMPARABLE = 6
"""Slices that there must be of either sort to compare."""

NAMES: dict[CauseName, str] = {
    "carrier": "the carrier or access network before us",
    "host": "this host",
    "provider": "the speech service",
    "way_out": "the network on the way out",
    "echo": "echo from the far end",
    "unknown": "no known cause",
}


def judge(symptoms: Sequence[Symptom], trunks: Mapping[str, Traffic], bad_underruns: int) -> Verdict:
    """The verdict on bad slices. `trunks` is what all trunks carried lately, to compare; `bad_underruns` as in
    `[alerts.rules.quality]`."""
    by_cause: dict[CauseName, list[Symptom]] = {}
    alone: Counter[CauseName] = Counter()
    blame_little = _lateness_tells({symptom.trunk for symptom in symptoms}, trunks)
    for symptom in symptoms:
        blamed = _blamed(symptom, bad_underruns, blame_little)
        for name in blamed:
            by_cause.setdefault(name, []).append(symptom)
        if len(blamed) == 1:
            alone.update(blamed)
    total = len(symptoms)
    ranked = sorted(by_cause.items(), key=lambda item: (-len(item[1]), item[0]))
    mixed = bool(ranked) and share_of(alone[ranked[0][0]], total) < ALONE
    causes: list[Cause] = []
    for name, explained in ranked:
        share = share_of(len(explained), total)
        if not causes or (mixed and share >= SECOND):
            evidence = EVIDENCE[name](Case(explained, total, trunks, bad_underruns))
            causes.append(Cause(name=name, share=round(share, 3), evidence=evidence))
        elif name != "unknown":
            causes[0].evidence.append(f"besides, {NAMES[name]} in {len(explained)} of {total} bad slices")
    return Verdict(causes=causes, summary=_summary(causes, symptoms))


def _blamed(symptom: Symptom, bad_underruns: int, blame_little: bool) -> set[CauseName]:
    known = symptom.blamed.get((bad_underruns, blame_little))
    if known is None:
        known = causes_of(symptom.slice, bad_underruns, blame_little=blame_little) or {"unknown"}
        symptom.blamed[bad_underruns, blame_little] = known
    return known


def _lateness_tells(names: Collection[str], trunks: Mapping[str, Traffic]) -> bool:
    """Whether slices are worse when this host is late. True, too, when there is nothing to compare."""
    traffic = [trunks[name] for name in names if name in trunks]
    late, late_bad = sum(part.late for part in traffic), sum(part.late_bad for part in traffic)
    in_time = sum(part.slices for part in traffic) - late
    in_time_bad = sum(part.bad for part in traffic) - late_bad
    return in_time < COMPARABLE or share_of(in_time_bad, in_time) < ALIKE * share_of(late_bad, late)


def _summary(causes: Sequence[Cause], symptoms: Sequence[Symptom]) -> str:
    match causes:
        case []:
            return "nothing to judge by"
        case [Cause(name="unknown")]:
            return "no known cause: loss, lateness, this host, the speech service and the far end's reports are fine"
        case [only]:
            return f"{_called(only.name, symptoms)}: {only.evidence[0]}"
        case _:
            parts = [f"{_called(cause.name, symptoms)} ({percent(cause.share)})" for cause in causes]
            return f"mixed: {', '.join(parts[:-1])} and {parts[-1]}"


def _called(name: CauseName, symptoms: Sequence[Symptom]) -> str:
    providers = sorted({symptom.provider for symptom in symptoms if symptom.provider})
    return f"{NAMES[name]} ({', '.join(providers)})" if name == "provider" and providers else NAMES[name]
