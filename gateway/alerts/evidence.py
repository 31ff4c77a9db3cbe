"""What speaks for a cause: sentences with figures, thresholds and comparisons. The first one can stand alone."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ..media.echo import ECHO_FROM
from ..record import Slice
from .alert import CauseName
from .attribution import (
    HOST_CLOCK_FROM_MS,
    HOST_LOOP_FROM_MS,
    JITTER_FROM_MS,
    LATE_FROM,
    LOST_FROM,
    SKIPPED_FROM,
    at_least,
    host_late,
    lateness,
    silent,
    skipped_share,
)
from .rules import Symptom, percent, share_of

OWN_LINE = ": look at this site's own line first"
ALIKE = 0.5
"""A subject whose share of bad slices is at least this much of another's is in the same trouble."""


class Traffic(NamedTuple):
    """Slices of one trunk in the last while."""

    slices: int
    bad: int
    late: int = 0
    """Slices in which this host was late (attribution.host_late)."""
    late_bad: int = 0
    inbound: int = 0
    """Slices that were bad in what we received,"""
    outbound: int = 0
    """in what the far end received,"""
    echoes: int = 0
    """and those with echo."""


class Case(NamedTuple):
    """The slices of one cause, of how many, and what to compare with."""

    symptoms: Sequence[Symptom]
    total: int
    trunks: Mapping[str, Traffic]
    bad_underruns: int

    @property
    def slices(self) -> list[Slice]:
        return [symptom.slice for symptom in self.symptoms]

    def of(self, count: int) -> str:
        return f"{count} of {self.total} bad slices"


def _mean_worst(values: Sequence[float]) -> tuple[float, float]:
    return sum(values) / len(values), max(values)


def _shares(case: Case, what: str, limit: float, pick: Callable[[Slice], float | None]) -> list[str]:
    values = [value for part in case.slices if (value := pick(part)) is not None and value >= limit]
    if not values:
        return []
    mean, worst = _mean_worst(values)
    return [f"{percent(mean)} of the packets {what} (at worst {percent(worst)}) in {case.of(len(values))}"]


def _carrier(case: Case) -> list[str]:
    sentences = _shares(case, "lost before us", LOST_FROM, lambda part: part.received.lost)
    silences = sum(silent(part) for part in case.slices)
    if silences:
        sentences.append(f"no media from the far end in {case.of(silences)}")
    sentences += _shares(case, "too late to be heard", LATE_FROM, lambda part: part.received.discarded)
    jitter = [part.received.jitter_ms or 0.0 for part in case.slices]
    shaky = sum(value >= JITTER_FROM_MS for value in jitter)
    if shaky:
        sentences.append(f"jitter up to {max(jitter):.0f} ms (limit {JITTER_FROM_MS:.0f}) in {case.of(shaky)}")
    both = sum(part.sent.bad for part in case.slices)
    if both:
        sentences.append(f"the far end reports the same of what we sent in {case.of(both)}")
    return [*sentences, *_where(case, "bad inbound", lambda traffic: traffic.inbound), _in_time(case.slices)]


def _where(case: Case, what: str, count: Callable[[Traffic], int], everywhere: str = OWN_LINE) -> list[str]:
    """One trunk or all, one caller or many; trunks are compared by the same trouble."""
    sentences: list[str] = []
    affected = sorted({symptom.trunk for symptom in case.symptoms})
    shares = {name: share_of(count(traffic), traffic.slices) for name, traffic in case.trunks.items() if traffic.slices}
    worst = max((shares.get(name, 0.0) for name in affected), default=0.0)
    alike = {name for name, share in shares.items() if share >= ALIKE * worst or name in affected}
    figures = ", ".join(f"{name} {percent(share)}" for name, share in sorted(shares.items()))
    if len(shares) > 1 and worst > 0 and alike == shares.keys():
        sentences.append(f"all trunks alike ({figures} of their slices {what}){everywhere}")
    elif len(shares) > 1:
        others = sorted(alike.difference(affected)) if worst > 0 else []
        too = f" as well as {', '.join(others)}" if others else " alone"
        sentences.append(f"trunk {', '.join(affected)}{too} ({figures} of their slices {what})")
    else:
        sentences.append(f"trunk {', '.join(affected)} is the only one with calls: nothing to compare it with")
    calls = len({symptom.call_id for symptom in case.symptoms})
    numbers = len({symptom.far_end for symptom in case.symptoms})
    if numbers == 1:
        sentences.append(f"{_count(calls, 'call')} of one number: that phone or its line")
    else:
        sentences.append(f"{_count(calls, 'call')} of {numbers} different numbers: no single phone")
    return sentences


def _worst_lateness(slices: Sequence[Slice]) -> tuple[float, float]:
    met = [lateness(part) for part in slices]
    return max(clock for clock, _ in met), max(loop for _, loop in met)


def _in_time(slices: Sequence[Slice]) -> str:
    clock, loop = _worst_lateness(slices)
    late = sum(host_late(part) for part in slices)
    within = f"late in {late} of these" if late else "in time"
    return (
        f"this host was {within}: clock at most {clock:.0f} ms late (limit {HOST_CLOCK_FROM_MS:.0f}), "
        f"event loop {loop:.0f} ms (limit {HOST_LOOP_FROM_MS:.0f})"
    )


def _host(case: Case) -> list[str]:
    late = case.slices
    clock, loop = _worst_lateness(late)
    sentences = [
        f"its media clock was up to {clock:.0f} ms late (limit {HOST_CLOCK_FROM_MS:.0f}), its event loop {loop:.0f} ms "
        f"(limit {HOST_LOOP_FROM_MS:.0f}), in {case.of(len(late))}"
    ]
    mute = [share for part in late if (share := skipped_share(part)) >= SKIPPED_FROM]
    if mute:
        mean, worst = _mean_worst(mute)
        sentences.append(
            f"it sent nothing in {percent(mean)} of the time (at worst {percent(worst)}) in {len(mute)} of these"
        )
    effects = {
        "packets came too late": sum(at_least(part.received.discarded, LATE_FROM) for part in late),
        "the far end reports trouble with what we sent": sum(part.sent.bad for part in late),
        "the agent's speech broke": sum(part.underruns >= case.bad_underruns for part in late),
    }
    sentences += [f"{what} in {count} of these" for what, count in effects.items() if count]
    trunks = sorted({symptom.trunk for symptom in case.symptoms})
    return [*sentences, f"on {'trunk' if len(trunks) == 1 else 'trunks'} {', '.join(trunks)}"]


def _provider(case: Case) -> list[str]:
    parts = case.slices
    breaks = sum(part.underruns for part in parts)
    agents = sorted({symptom.agent for symptom in case.symptoms if symptom.agent})
    healthy = sum(not part.received.bad and not part.sent.bad for part in parts)
    return [
        f"the agent's speech broke {breaks} times in {case.of(len(parts))} (limit {case.bad_underruns} in one)",
        f"the network was fine in {healthy} of these",
        f"{'agent' if len(agents) == 1 else 'agents'} {', '.join(agents) or 'unknown'}",
        _in_time(parts),
    ]


def _way_out(case: Case) -> list[str]:
    parts = case.slices
    sentences = [f"the far end reports that our stream is bad in {case.of(len(parts))}, while what we receive is fine"]
    sentences += _shares(case, "lost on the way", LOST_FROM, lambda part: part.sent.lost)
    jitter = [part.sent.jitter_ms for part in parts if part.sent.jitter_ms is not None]
    if jitter:
        sentences.append(f"jitter there up to {max(jitter):.0f} ms")
    return [*sentences, *_where(case, "bad outbound", lambda traffic: traffic.outbound), _in_time(parts)]


def _echo(case: Case) -> list[str]:
    values = [part.echo for part in case.slices if part.echo is not None]
    mean, worst = _mean_worst(values)
    calls = len({symptom.call_id for symptom in case.symptoms})
    return [
        f"what came in resembles what the agent had said ({mean:.2f} of 1, at most {worst:.2f}, limit {ECHO_FROM}) "
        f"in {case.of(len(values))}, {_count(calls, 'call')}",
        *_where(case, "with echo", lambda traffic: traffic.echoes, ": not one carrier's"),
    ]


def _unknown(case: Case) -> list[str]:
    return [f"nothing that the gateway measures explains {case.of(len(case.symptoms))}", _in_time(case.slices)]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


EVIDENCE: dict[CauseName, Callable[[Case], list[str]]] = {
    "carrier": _carrier,
    "host": _host,
    "provider": _provider,
    "way_out": _way_out,
    "echo": _echo,
    "unknown": _unknown,
}
