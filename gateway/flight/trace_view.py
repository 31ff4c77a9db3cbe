"""A kept call on a terminal: the SIP ladder, and what happened."""

from collections.abc import Iterable, Iterator, Sequence

from ..record import CallRecord
from .file import Flight
from .ladder import LadderLine, ladder_of
from .timeline import Line, record_timeline, started_at, timeline

WIDTH = 58
"""Of an arrow with its label."""


def trace_lines(flight: Flight) -> Iterator[str]:
    """The whole page. Raises FlightError."""
    header, start = flight.header, started_at(flight)
    yield from _heading(flight.record)
    yield _printable(f"kept because: {'; '.join(header.reasons)}")
    yield ""
    yield from ladder_lines(ladder_of(flight.sip), start)
    if header.sip_dropped:
        yield f"({header.sip_dropped} messages in between had to make room)"
    yield ""
    if not flight.legs and flight.record.answered_at is not None:
        yield "(nothing of its media was kept: they are lost with their worker)"
    yield from timeline_lines(timeline(flight), start)


def live_lines(record: CallRecord, ladder: Sequence[LadderLine]) -> Iterator[str]:
    """The page of a call that is not kept, as the running gateway has it."""
    start = ladder[0].unix if ladder else 0.0
    yield from _heading(record)
    yield "not kept: from the running gateway, without its packets"
    yield ""
    yield from ladder_lines(ladder, start)
    yield ""
    yield from timeline_lines(record_timeline(record), start)


def _heading(record: CallRecord) -> Iterator[str]:
    yield _printable(f"call {record.id}, {record.direction}, from {record.from_ or '-'} to {record.to or '-'}")
    yield _printable(f"trunk {record.trunk or '-'}, agent {record.agent or '-'}, codec {record.codec or '-'}")
    yield _printable(f"began {record.started_at}, ended by {record.ended_by or '-'}: {record.end_reason or '-'}")


def ladder_lines(ladder: Iterable[LadderLine], start: float) -> Iterator[str]:
    """Each message as an arrow, with seconds since `start` (Unix time)."""
    far_end = None
    for line in ladder:
        if line.far_end != far_end:
            far_end = line.far_end
            yield f"{'':>10}  {'trunkline':<{WIDTH - len(far_end)}}{far_end}"
        label = f" {line.summary}{' (SDP)' if line.sdp else ''} "
        label = label if len(label) <= WIDTH - 6 else f"{label[: WIDTH - 10]}... "
        arrow = f"<{label:-^{WIDTH - 1}}" if line.received else f"{label:-^{WIDTH - 1}}>"
        yield _printable(f"{line.unix - start:>10.3f}  {arrow}  {line.cseq}")


def timeline_lines(lines: Iterable[Line], start: float) -> Iterator[str]:
    """Each with seconds since `start` (Unix time); what is bad has a mark."""
    for line in lines:
        text = _printable(f"{line.what:<16} {line.detail}".rstrip())
        yield f"{line.unix - start:>10.3f} {'!' if line.bad else ' '}{text}"


def _printable(text: str) -> str:
    """What the far end or a file says does not command the terminal."""
    return "".join(character if character.isprintable() else " " for character in text)
