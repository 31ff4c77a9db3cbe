"""The page of one call, live or past."""

import asyncio
import time
from collections.abc import Callable, Hashable, Sequence

import msgspec
from jinja2 import Environment
from markupsafe import Markup

from ..flight.ladder import LadderLine, SipLadder
from ..http import LiveCall
from ..record import CallRecord, Moment, Timeline
from . import plot
from .overview import NO_FIGURES, Standing, standing
from .templates import Parts
from .view import View
from .watch import CallWatch
from .words import Mask, epoch, far_number

LADDER_LINES = 300
"""SIP messages of a page."""
TABLE_LINES = 360
"""Lines of the table of slices: an hour's; of a longer call neighbours are joined."""
TURNS = 200
"""Exchanges of a page: the last ones."""


class CallPage:
    """Draws one call; while somebody looks at it, only what has changed is drawn anew."""

    def __init__(self, templates: Environment, mask: Mask, watch: CallWatch, ladder: SipLadder | None) -> None:
        self._parts = Parts(templates)
        self._mask = mask
        self._watch = watch
        self._ladder = ladder
        self._kept: dict[str, tuple[Hashable, Markup]] = {}

    async def view(self, record: CallRecord, live: LiveCall | None) -> View:
        """`live` while the call is up."""
        stands = standing(live, self._watch.live.get(record.id, NO_FIGURES)) if live is not None else None
        sip = await self._ladder.ladder(record.id) if self._ladder is not None else None
        line = Timeline(record.timeline.slices[:], record.timeline.moments[:])
        still = msgspec.structs.replace(record, timeline=line, turns=record.turns[:])
        # in a thread: a call of a day takes a quarter of a second
        return View(parts=await asyncio.to_thread(self._draw, still, stands, sip))

    def _draw(self, record: CallRecord, stands: Standing | None, sip: Sequence[LadderLine] | None) -> dict[str, str]:
        draw, line, turns = self._parts.draw, record.timeline, record.turns
        since = epoch(record.answered_at or record.started_at)
        return {
            "head": draw("call_head", record, stands),
            "facts": draw("facts", self._facts(record)),
            "quality": draw("quality", record.media, record.codec),
            "plot": self._keep(
                "plot", (len(line.slices), len(line.moments)), lambda: self._plot(record, since, stands is not None)
            ),
            # what was said may be known late
            "turns": self._keep("turns", (len(turns), repr(turns[-TURNS:])), lambda: self._turns(record)),
            "sip": self._keep("sip", None if sip is None else len(sip), lambda: self._sip_lines(record, sip)),
        }

    def _keep(self, name: str, shown: Hashable, draw: Callable[[], Markup]) -> Markup:
        known = self._kept.get(name)
        if known is None or known[0] != shown:
            known = self._kept[name] = (shown, draw())
        return known[1]

    def _facts(self, record: CallRecord) -> list[tuple[str, str | None]]:
        mask, setup = self._mask, record.setup
        ended = mask.text(record.end_reason, (record.from_, record.to)) if record.end_reason else None
        return [
            ("From", mask.number(record.from_)),
            ("To", mask.number(record.to)),
            ("Trunk", record.trunk),
            ("Agent", record.agent),
            ("Speech service", record.provider),
            ("Codec", record.codec),
            ("SIP status", str(record.sip_status) if record.sip_status else None),
            ("Ended by", record.ended_by),
            ("Reason", ended),
            ("Service ready after", _ms(setup.provider_ms)),
            ("Answer to first audio", _ms(setup.answer_to_first_audio_ms)),
            ("Keys pressed", str(len(record.dtmf)) if record.dtmf else None),
            ("Call", record.id),
            ("SIP Call-ID", mask.text(record.sip_call_id or "", (record.from_, record.to))),
        ]

    def _plot(self, record: CallRecord, since: float | None, live: bool) -> Markup:
        line = record.timeline
        if record.answered_at is None:
            return self._parts.draw("no_plot", "The call was not answered: there were no media.")
        if not line.slices:
            words = "The first 10 seconds are not over." if live else "No slice of this call was measured."
            return self._parts.draw("no_plot", words)
        length_s = record.duration_s or (max(0.0, time.time() - since) if live and since is not None else 0.0)

        def label(moment: Moment) -> str:
            return self._label(moment, (record.from_, record.to))

        drawn = [plot.timeline(line, length_s, width, label) for width in (plot.WIDE, plot.NARROW)]
        known = [moment for moment in line.moments if moment.kind in plot.KINDS]
        moments = [(moment, plot.KINDS[moment.kind], label(moment)) for moment in known[: plot.MOMENTS]]
        table = plot.joined(line.slices, TABLE_LINES)
        return self._parts.draw("timeline", drawn, plot.legend(known), table, moments, len(known) - len(moments))

    def _label(self, moment: Moment, numbers: Sequence[str | None]) -> str:
        return self._mask.key(moment.detail) if moment.kind == "dtmf" else self._mask.text(moment.detail, numbers)

    def _turns(self, record: CallRecord) -> Markup:
        numbers = (record.from_, record.to)

        def said(text: str | None) -> str | None:
            return self._mask.text(text, numbers) if text else None

        last = record.turns[-TURNS:]
        turns = [(turn, said(turn.caller_said), said(turn.agent_said)) for turn in last]
        bars = [plot.latencies(last, width) for width in (plot.WIDE, plot.NARROW)]
        left_out = len(record.turns) - len(last)
        return self._parts.draw("turns", turns, [bar for bar in bars if bar is not None], left_out)

    def _sip_lines(self, record: CallRecord, lines: Sequence[LadderLine] | None) -> Markup:
        if not lines:
            return self._parts.draw("no_ladder")
        numbers = (far_number(record), record.from_, record.to)
        begin = lines[0].unix
        shown = [
            (line, line.unix - begin, self._mask.sip(line.summary, numbers), self._mask.sip(line.text, numbers))
            for line in lines[:LADDER_LINES]
        ]
        return self._parts.draw("ladder", shown, len(lines) - len(shown))


def _ms(value: float | None) -> str | None:
    return None if value is None else f"{value:,.0f} ms"
