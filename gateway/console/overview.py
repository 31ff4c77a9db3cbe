"""The first page: what goes on now, and what is wrong."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment
from markupsafe import Markup

from ..alerts.alert import Alert
from ..http import Gateway, LiveCall, Readiness, Records
from ..record import CallRecord, Slice
from . import plot
from .sources import Alerts
from .templates import Parts
from .view import Row, View
from .watch import CallWatch, LiveFigures
from .words import POOR_BELOW, epoch, far_number

LOSS_SHOWN = 0.02
"""From this share on the present loss stands beside the MOS."""
ALERTS = 100
"""Alerts of a page."""
NO_FIGURES = LiveFigures()


@dataclass(frozen=True, slots=True)
class Standing:
    """How a live call is now: all that its row may show."""

    state: str
    speaker: str | None
    codec: str | None
    answered_at: str | None
    mos_in: float | None
    mos_out: float | None
    dead: tuple[str, ...]
    loss: int | None
    """Per cent, when it is worth a word."""
    slices: int

    @property
    def sound(self) -> tuple[float | None, float | None, int]:
        """What its MOS and their line show."""
        return self.mos_in, self.mos_out, self.slices

    @property
    def trouble(self) -> bool:
        """Somebody may hear it."""
        worst = min((mos for mos in (self.mos_in, self.mos_out) if mos is not None), default=POOR_BELOW)
        return bool(self.dead) or worst < POOR_BELOW


def of_last_slice(slices: list[Slice], stream: str) -> float | None:
    """The far end's report of a slice may come in the next one."""
    rated = [mos for part in slices[-2:] if (mos := getattr(part, stream).mos) is not None]
    return rated[-1] if rated else None


def standing(call: LiveCall, figures: LiveFigures) -> Standing:
    """Read off the record and what its worker said last."""
    record = call.record
    slices = record.timeline.slices
    loss, mos_in = figures.loss, figures.mos(record.codec)
    if mos_in is None and "received" not in figures.dead:
        mos_in = of_last_slice(slices, "received")
    return Standing(
        state=call.state,
        speaker=call.speaker,
        codec=record.codec,
        answered_at=record.answered_at,
        mos_in=mos_in,
        mos_out=of_last_slice(slices, "sent"),
        dead=tuple(sorted(figures.dead)),
        loss=round(100 * loss) if loss is not None and loss >= LOSS_SHOWN else None,
        slices=len(slices),
    )


def spark(record: CallRecord, stands: Standing) -> Markup:
    """MOS of the last slices, and of what came since."""
    slices = record.timeline.slices[1 - plot.SPARK_SLICES :]
    received = [part.received.mos for part in slices]
    return plot.sparkline([*received, stands.mos_in], [*(part.sent.mos for part in slices), None])


class Overview:
    """Draws the page's parts; what has not changed is not drawn again."""

    def __init__(
        self, templates: Environment, gateway: Gateway, records: Records, watch: CallWatch, alerts: Alerts | None
    ) -> None:
        self._parts = Parts(templates)
        self._gateway = gateway
        self._records = records
        self._watch = watch
        self._alerts = alerts
        self._rows: dict[str, tuple[Standing, Row]] = {}

    async def prepare(self) -> None:
        """Draw in a thread what `view` would have to draw: the rows of hundreds of calls, of which each has changed."""
        await asyncio.to_thread(self._calls, self._gateway.live_calls())

    def view(self) -> View:
        """The page as it is now."""
        parts = self._parts
        readiness = self._gateway.readiness()
        health = self._records.health
        reasons = list(readiness.reasons)
        if not health.writable:
            reasons.append(f"call records cannot be written: {health.reason}")
        if self._alerts is not None:
            reasons += self._alerts.troubles()
        live = self._gateway.live_calls()
        calls, worst = self._calls(live)
        opened = self._listed("open")
        hour = self._watch.hour.summary()
        return View(
            parts={
                **self._news("Live", opened),
                "readiness": parts.draw("readiness", reasons),
                "figures": parts.draw("figures", len(calls), worst, hour, health.queued),
                "calls-none": "" if calls else parts.draw("no_calls"),
                "trunks": parts.draw(
                    "trunks", _named(readiness, "trunk "), Counter(call.record.trunk for call in live)
                ),
                "workers": parts.draw("workers", _named(readiness, "worker "), self._watch.workers, self._watch.lag_ms),
                "hour": parts.draw("hour", hour[2]),
            },
            lists={"alerts": self._rows_of(opened), "calls": calls},
        )

    def alerts_view(self) -> View:
        """The page of alerts: the open ones, and those that are over."""
        alerts = self._listed("all")
        opened = [alert for alert in alerts if alert.state != "resolved"]
        past = [alert for alert in alerts if alert.state == "resolved"]
        return View(
            parts={
                **self._news("Alerts", opened),
                "past-none": "" if past else self._parts.draw("no_past_alerts"),
            },
            lists={"alerts": self._rows_of(opened), "past": self._rows_of(past)},
        )

    def news(self, page: str) -> dict[str, str]:
        """What every page says of the open alerts, and its title."""
        return self._news(page, self._listed("open"))

    def _news(self, page: str, opened: Sequence[Alert]) -> dict[str, str]:
        draw, count = self._parts.draw, len(opened)
        parts = self._alerts.parts() if self._alerts is not None else {"alerts": "off"}
        return {
            "title": f"({count}) {page}" if count else page,
            "alert-count": draw("alert_count", count),
            "alert-news": draw("alert_news", opened),
            "alerts-none": "" if opened else draw("no_alerts"),
            "alerting": draw("alerting", parts),
        }

    def _listed(self, state: str) -> Sequence[Alert]:
        return self._alerts.list(state, ALERTS) if self._alerts is not None else []

    def _rows_of(self, alerts: Sequence[Alert]) -> dict[str, Row]:
        return {f"a-{alert.id}": self._alert_row(alert) for alert in alerts}

    def _alert_row(self, alert: Alert) -> Row:
        key = f"a-{alert.id}"
        body = self._parts.draw("alert_body", alert)
        return Row({f"{key}-b": body}, lambda: self._parts.draw("alert_row", alert, body))

    def _calls(self, live: list[LiveCall]) -> tuple[dict[str, Row], float | None]:
        """Live calls, those in trouble first, then the newest; and the worst MOS now."""
        rows: dict[str, tuple[Standing, Row]] = {}
        for call in sorted(live, key=lambda call: call.record.id, reverse=True):
            figures = self._watch.live.get(call.record.id, NO_FIGURES)
            stands = standing(call, figures)
            known = self._rows.get(call.record.id)
            if known is None or known[0] != stands:
                known = stands, self._row(call, stands, known)
            rows[call.record.id] = known
        self._rows = rows
        ordered = sorted(rows.items(), key=lambda entry: not entry[1][0].trouble)
        rated = [mos for stands, _ in rows.values() for mos in (stands.mos_in, stands.mos_out) if mos is not None]
        return {f"c-{call_id}": row for call_id, (_, row) in ordered}, min(rated, default=None)

    def _row(self, call: LiveCall, stands: Standing, known: tuple[Standing, Row] | None) -> Row:
        record, draw = call.record, self._parts.draw
        key = f"c-{record.id}"
        if known is not None and known[0].sound == stands.sound:
            mos = known[1].cells[f"{key}-m"]
        else:
            mos = draw("call_mos", stands, spark(record, stands))
        since = epoch(record.answered_at or record.started_at)
        cells = {
            f"{key}-t": draw("ticking", since, None),
            f"{key}-s": draw("call_state", stands),
            f"{key}-k": draw("call_codec", stands),
            f"{key}-m": mos,
        }
        shown = list(cells.values())[1:]
        number = far_number(record)
        return Row(cells, lambda: draw("call_row", key, record, number, draw("ticking", since, time.time()), *shown))


def _named(readiness: Readiness, kind: str) -> dict[str, str]:
    """The parts of one kind, without it."""
    return {name.removeprefix(kind): state for name, state in readiness.parts.items() if name.startswith(kind)}
