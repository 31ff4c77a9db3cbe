"""What happened in a kept call, one line for each thing, by time: the record's slices and moments, and the leg's notes,
reports, speech service events and what was concealed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

import msgspec

from ...rtp import rtcp
from ...rtp.errors import ParseError
from ..record import CallRecord, Slice, StreamSlice
from .entries import EVENT, LOST, NOTE, Happening, LegFlight, Note, Rtcp, entries_of, parameters_of
from .file import Flight, leg_of
from .leg_ring import ANSWERED, CLOSED

CLOSE_S = 1.0
"""What happens again within this time is on the same line."""
LINE_S = 10.0
"""No line is about a longer time."""


class Line(msgspec.Struct, frozen=True):
    """One thing that happened, or several of a kind in a row."""

    unix: float
    """When (it began), Unix time, seconds."""
    what: str
    detail: str = ""
    bad: bool = False


def timeline(flight: Flight) -> list[Line]:
    """Oldest first. Raises FlightError."""
    legs = [leg_of(section) for section in flight.legs]
    lines = [line for leg in legs for line in _leg_lines(leg)]
    answered = _answered_at(flight.record, legs)
    if answered is not None:
        # the leg's own notes say more of these
        noted = ("dead", "alive", "reconnected", "codec") if legs else ()
        lines += _record_lines(flight.record, answered, noted)
    return sorted(lines, key=lambda line: line.unix)


def record_timeline(record: CallRecord) -> list[Line]:
    """What the record alone has, oldest first."""
    answered = _unix(record.answered_at)
    if answered is None:
        return []
    return sorted(_record_lines(record, answered), key=lambda line: line.unix)


def started_at(flight: Flight) -> float:
    """Unix time of the first message, or of the record."""
    if flight.sip:
        return flight.sip[0].at
    return _unix(flight.record.started_at) or 0.0


def _answered_at(record: CallRecord, legs: list[LegFlight]) -> float | None:
    for leg in legs:
        for note in leg.notes:
            if note.kind == ANSWERED:
                return leg.unix + note.at
    return _unix(record.answered_at)


def _unix(text: str | None) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp() if text else None
    except (ValueError, OverflowError, OSError):
        return None


# The record


def _record_lines(record: CallRecord, answered: float, without: tuple[str, ...] = ()) -> Iterator[Line]:
    for slice_ in record.timeline.slices:
        end = answered + slice_.start_s + slice_.length_s
        yield Line(end, "slice", _slice_text(slice_), slice_.received.bad or slice_.sent.bad)
    for moment in record.timeline.moments:
        if moment.kind not in without:
            yield Line(answered + moment.at_s, moment.kind, moment.detail)


def _slice_text(slice_: Slice) -> str:
    parts = [f"{slice_.start_s:.0f}-{slice_.start_s + slice_.length_s:.0f} s"]
    parts += [f"in {_stream_text(slice_.received)}", f"out {_stream_text(slice_.sent)}"]
    for value, unit, name in (
        (slice_.rtt_ms, " ms", "rtt"),
        (slice_.underruns or None, "", "underruns"),
        (slice_.clock_late_ms, " ms", "clock late"),
    ):
        if value is not None:
            parts.append(f"{name} {value:g}{unit}")
    return "; ".join(parts)


def _stream_text(part: StreamSlice) -> str:
    words = ["MOS -" if part.mos is None else f"MOS {part.mos:.2f}"]
    if part.lost:
        words.append(f"lost {part.lost:.1%}")
    if part.discarded:
        words.append(f"late {part.discarded:.1%}")
    if part.jitter_ms is not None:
        words.append(f"jitter {part.jitter_ms:.1f} ms")
    return " ".join([*words, *(["dead"] if part.dead else [])])


# The leg


def _leg_lines(leg: LegFlight) -> Iterator[Line]:
    notes = {note.number: note for note in leg.notes}
    clock_rate = 8000
    happenings: list[tuple[float, str, int]] = []
    if leg.dropped:
        yield Line(leg.unix, "ring", f"{leg.dropped} octets of the beginning had to make room")
    for entry in entries_of(leg):
        if isinstance(entry, Rtcp):
            yield Line(leg.unix + entry.at, "rtcp in" if entry.received else "rtcp out", _rtcp_text(entry, clock_rate))
        elif not isinstance(entry, Happening):
            continue
        elif entry.kind == NOTE and entry.value in notes:
            agreed = parameters_of(notes[entry.value])
            clock_rate = max(1000, agreed.codec.clock_rate) if agreed else clock_rate
        elif entry.kind == EVENT and entry.value < len(leg.names):
            happenings.append((entry.at, leg.names[entry.value], 0))
        elif entry.kind == LOST:
            happenings.append((entry.at, "concealed", entry.value * 1000 // clock_rate))
    for note in leg.notes:
        yield Line(leg.unix + note.at, note.kind, _note_text(note), note.kind in ("dead", "lost", "reconnected"))
    yield from _in_runs(leg.unix, happenings)


def _note_text(note: Note) -> str:
    agreed = parameters_of(note)
    if agreed is not None:
        codec, remote = agreed.codec, f"{agreed.remote_host}:{agreed.remote_port}"
        return f"{codec.name}/{codec.clock_rate} {agreed.direction} to {remote}"
    return f"underruns {note.text}" if note.kind == CLOSED else note.text


def _rtcp_text(entry: Rtcp, clock_rate: int) -> str:
    try:
        compound = rtcp.parse(entry.data)
    except ParseError:
        return "not readable"
    parts = [
        f"on {block.ssrc:08x}: lost {block.lost}, lately {block.fraction_lost / 256:.1%}, "
        f"jitter {block.jitter * 1000 / clock_rate:.1f} ms"
        for block in compound.blocks
    ]
    if compound.bye:
        parts.append("BYE")
    return "; ".join(parts)


def _in_runs(unix: float, happenings: Iterable[tuple[float, str, int]]) -> Iterator[Line]:
    """Things of a kind that happen soon one after the other are one line."""
    runs: dict[str, _Run] = {}
    for at, what, ms in happenings:
        run = runs.get(what)
        if run is None or at - run.last > CLOSE_S or at - run.began > LINE_S:
            if run is not None:
                yield Line(unix + run.began, what, run.text)
            run = runs[what] = _Run(at, at)
        run.last, run.count, run.ms = at, run.count + 1, run.ms + ms
    for what, run in runs.items():
        yield Line(unix + run.began, what, run.text)


@dataclass(slots=True)
class _Run:
    began: float
    last: float
    count: int = 0
    ms: int = 0

    @property
    def text(self) -> str:
        words = [f"{self.ms} ms"] if self.ms else []
        if self.count > 1:
            words.append(f"{self.count} times in {self.last - self.began:.1f} s")
        return ", ".join(words)
