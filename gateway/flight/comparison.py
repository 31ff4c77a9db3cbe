"""The figures of a call beside those of its replay."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from ..record import CallRecord, Slice
from .replay import Replayed

ROUNDING = 0.0015
"""Figures are kept with three decimals; the last one may differ."""
_RECEIVED = (
    *("packets", "lost", "discarded", "duplicated", "reordered", "concealed"),
    *("jitter_ms", "jitter_max_ms", "delay_p99_ms", "burst_r"),
    *("r_factor", "mos_lq", "mos_cq", "mos_min", "scale", "basis"),
)
_SENT = ("packets", "lost", "jitter_ms", "rtt_ms", "r_factor", "mos_lq", "mos_cq", "mos_min", "scale", "basis")
_STREAM = ("mos", "bad", "dead", "lost", "discarded", "jitter_ms")


@dataclass(frozen=True, slots=True)
class Row:
    """One figure."""

    name: str
    recorded: Any
    replayed: Any

    @property
    def same(self) -> bool:
        """To rounding."""
        one, other = self.recorded, self.replayed
        if isinstance(one, float) and isinstance(other, float | int):
            return abs(one - other) <= ROUNDING
        return one == other


def compare(record: CallRecord, replayed: Replayed) -> list[Row]:
    """Every figure that a replay can have: of the call when it is here as a whole, and of each slice."""
    rows: list[Row] = []
    if replayed.whole:
        rows += _rows("received", record.media.received, replayed.media.received, _RECEIVED)
        rows += _rows("sent", record.media.sent, replayed.media.sent, _SENT)
    rows += _slice_rows(record.timeline.slices, replayed)
    return rows


def _slice_rows(recorded: list[Slice], replayed: Replayed) -> Iterator[Row]:
    by_start = {round(slice_.start_s): slice_ for slice_ in recorded}
    if replayed.whole:
        yield Row("slices", len(recorded), len(replayed.slices))
    for index, again in enumerate(replayed.slices):
        before = by_start.get(round(again.start_s))
        name = f"slice at {again.start_s:.0f} s"
        if before is None:
            yield Row(name, None, "there")
            continue
        yield from _rows(f"{name}, received", before.received, again.received, _STREAM)
        if index >= replayed.reported_from:
            yield from _rows(f"{name}, sent", before.sent, again.sent, _STREAM)
            yield Row(f"{name}, rtt_ms", before.rtt_ms, again.rtt_ms)


def _rows(part: str, recorded: msgspec.Struct, replayed: msgspec.Struct, names: tuple[str, ...]) -> Iterator[Row]:
    for name in names:
        yield Row(f"{part} {name}", getattr(recorded, name), getattr(replayed, name))
