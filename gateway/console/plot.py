"""Plots as SVG, made here: nothing is loaded, nothing runs in the browser. Colours are classes of the style sheet.

A plot of a call is drawn twice, wide and for a phone, since type must not be scaled; the style sheet shows one.
Both directions always differ in dash as well as in colour, and every value is on the page as text, too.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

from ..record import Moment, Slice, StreamSlice, Timeline, Turn
from .words import POOR_BELOW, SLOW_TURN_MS, clock

MOS_LEAST, MOS_MOST = 1.0, 4.5
WIDE, NARROW = 880, 328
"""Widths of a plot, CSS pixels."""
COLUMNS = 600
"""Slices that are drawn; of a longer call neighbours are joined, and the worst of them shows."""
GAP = 36
"""Between two panels: for the title of the lower one."""
MOMENTS = 400
"""Moments that are drawn."""
SPARK_SLICES = 60
"""Slices of a sparkline: the last 10 minutes."""

KINDS = {
    "turn": "agent begins to answer",
    "barge_in": "caller interrupts the agent",
    "dtmf": "key pressed",
    "dead": "no media",
    "alive": "media back",
    "codec": "codec changed",
    "reconnected": "new session with the speech service",
    "tool": "function called",
    "provider_error": "error of the speech service",
}
_GLYPHS = {
    "turn": '<circle r="2.5"/>',
    "barge_in": '<path d="M-4.5-4h9L0 4.5z"/>',
    "dtmf": '<path class="stroke" d="M-1.5-4.5v9M2-4.5v9M-4.5-1.5h9M-4.5 2h9"/>',
    "dead": '<path class="stroke" d="M-4-4 4 4M4-4-4 4"/>',
    "alive": '<circle class="stroke" r="3.5"/>',
    "codec": '<path d="M0-5 5 0 0 5-5 0z"/>',
    "reconnected": '<path class="stroke" d="M3.5-2.5A4.3 4.3 0 1 0 4.3 1M4.3-4.5v2.8H1.5"/>',
    "tool": '<rect x="-3.5" y="-3.5" width="7" height="7"/>',
    "provider_error": '<path d="M-1.3-5h2.6L.7 1.5H-.7zM-1.2 3h2.4v2.2h-2.4z"/>',
}
_GLYPH_ROOM = 11
_STEPS_S = (5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)
_NICE = (1.0, 2.0, 2.5, 5.0, 10.0)

Points = Sequence[float | None]


SPARK_WIDTH, SPARK_HEIGHT = 112, 30


def _spark_y(mos: float) -> str:
    inside = (mos - MOS_LEAST) / (MOS_MOST - MOS_LEAST)
    return f"{round(2 * (SPARK_HEIGHT - 3 - inside * (SPARK_HEIGHT - 6))) / 2:g}"


_SPARK_Y = [_spark_y(number / 20) for number in range(int(MOS_MOST * 20) + 1)]
"""Heights by twentieths of a MOS: hundreds of sparklines are drawn in one step of the switch's loop."""


def sparkline(received: Points, sent: Points) -> Markup:
    """MOS of the last slices, the newest at the right; nothing is drawn for what was not rated."""
    count = max(len(received), len(sent), 12)
    limit = _spark_y(POOR_BELOW)
    return _svg(
        f'<svg class="spark" viewBox="0 0 {SPARK_WIDTH} {SPARK_HEIGHT}" width="{SPARK_WIDTH}" height="{SPARK_HEIGHT}" '
        f'aria-hidden="true"><path class="limit" d="M0 {limit}H{SPARK_WIDTH}"/>'
        f"{_spark_line(sent, count, 'sent')}{_spark_line(received, count, 'received')}</svg>"
    )


def _spark_line(points: Points, count: int, name: str) -> str:
    """Points between two of the same height are left out."""
    step = (SPARK_WIDTH - 6) / (count - 1)
    left = SPARK_WIDTH - 3 - step * (len(points) - 1)
    heights = [None if mos is None else _SPARK_Y[min(int(mos * 20), len(_SPARK_Y) - 1)] for mos in points]
    path, before, last = "", None, len(heights) - 1
    for index, height in enumerate(heights):
        if height is not None:
            if before is None:
                path += f"M{left + step * index:.0f} {height}h.1"
            elif height != before or index == last or heights[index + 1] != height:
                path += f"L{left + step * index:.0f} {height}"
        before = height
    return f'<path class="{name}" d="{path}"/>' if path else ""


@dataclass(frozen=True, slots=True)
class _Panel:
    """One of the small multiples."""

    title: str
    unit: str
    received: Points
    sent: Points | None
    limit: float
    least: float
    most: float
    step: float
    height: int


def timeline(line: Timeline, length_s: float, width: int, label: Callable[[Moment], str] | None = None) -> Markup:
    """MOS, jitter, loss and RTT of both directions over one time axis, with what happened marked on all of them.
    `label` says what a moment's detail is shown as."""
    slices = joined(line.slices, COLUMNS)
    left, right, top = 40, 10, 46
    length_s = max(length_s, 10.0, *(part.start_s + part.length_s for part in slices[-1:]))

    def x(seconds: float) -> float:
        return round(left + min(seconds, length_s) / length_s * (width - left - right), 1)

    parts: list[str] = []
    y = top
    for panel in _panels(slices, narrow=width < WIDE):
        parts.append(_draw(panel, slices, x, y, width - right))
        y += panel.height + GAP
    bottom = y - GAP
    axis = _time_axis(length_s, x, bottom, 70 if width >= WIDE else 56)
    marks = _marks(line.moments[:MOMENTS], x, top, bottom, label)
    height = bottom + 34
    name = "wide" if width >= WIDE else "narrow"
    summary = f"MOS, jitter, loss and round trip over {clock(length_s)}; the same figures are in the table below"
    return _svg(
        f'<svg class="plot {name}" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{summary}"><defs><pattern id="hatch-{name}" width="6" height="6" '
        'patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><path class="hatch" d="M0 0v6"/></pattern></defs>'
        f"{axis}{''.join(parts)}{marks}</svg>"
    ).replace("HATCH", f"hatch-{name}")


def _panels(slices: Sequence[Slice], narrow: bool) -> list[_Panel]:
    tall, low = (96, 56) if narrow else (120, 60)

    def both(value: Callable[[StreamSlice], float | None]) -> tuple[Points, Points]:
        return [value(part.received) for part in slices], [value(part.sent) for part in slices]

    def scaled(title: str, unit: str, received: Points, sent: Points | None, limit: float, least_top: float) -> _Panel:
        top = _nice_top(max([least_top, *(value for value in (*received, *(sent or ())) if value is not None)]))
        return _Panel(title, unit, received, sent, limit, 0.0, top, top / 2, low)

    mos = both(lambda stream: stream.mos)
    rtt = [part.rtt_ms for part in slices]
    return [
        _Panel("MOS", "", *mos, POOR_BELOW, MOS_LEAST, MOS_MOST, 1.0, tall),
        scaled("Jitter", "ms", *both(lambda stream: stream.jitter_ms), 30.0, 40.0),
        scaled("Lost or late", "%", *both(_loss), 1.0, 4.0),
        scaled("Round trip", "ms", rtt, None, 400.0, 100.0),
    ]


def _loss(stream: StreamSlice) -> float | None:
    if stream.lost is None and stream.discarded is None:
        return None
    return 100 * ((stream.lost or 0.0) + (stream.discarded or 0.0))


def _draw(panel: _Panel, slices: Sequence[Slice], x: Callable[[float], float], top: int, right: int) -> str:
    left = x(0.0)

    def y(value: float) -> float:
        inside = (min(max(value, panel.least), panel.most) - panel.least) / (panel.most - panel.least)
        return round(top + panel.height * (1 - inside), 1)

    lines = [
        f'<text class="title" x="{left}" y="{top - 11}">{panel.title}<tspan class="unit"> {panel.unit}</tspan></text>'
    ]
    value = panel.least
    while value <= panel.most + 1e-9:
        lines.append(f'<path class="grid" d="M{left} {y(value)}H{right}"/>')
        lines.append(f'<text class="tick" x="{left - 6}" y="{y(value) + 4}">{value:g}</text>')
        value += panel.step
    streams = [("received", panel.received, [part.received for part in slices])]
    if panel.sent is not None:
        streams.insert(0, ("sent", panel.sent, [part.sent for part in slices]))
    if panel.title == "MOS":
        lines += [_silence(slices, x, top, panel.height)]
        for name, values, _ in streams:
            for part, mos in zip(slices, values, strict=True):
                if mos is not None and mos < POOR_BELOW:
                    start, end = x(part.start_s), x(part.start_s + part.length_s)
                    depth = y(mos) - y(POOR_BELOW)
                    lines.append(
                        f'<rect class="under {name}" x="{start}" y="{y(POOR_BELOW)}" width="{end - start:.1f}" '
                        f'height="{depth:.1f}"/>'
                    )
    if panel.limit <= panel.most:
        lines.append(f'<path class="limit" d="M{left} {y(panel.limit)}H{right}"/>')
        lines.append(f'<text class="limit" x="{right}" y="{y(panel.limit) - 4}">{panel.limit:g}</text>')
    for name, values, _ in streams:
        path = _steps(slices, values, x, y)
        if path:
            lines.append(f'<path class="{name if panel.sent is not None else "both"}" d="{path}"/>')
    if not any(value is not None for _, values, _ in streams for value in values):
        lines.append(f'<text class="none" x="{left + 8}" y="{top + panel.height / 2 + 4}">not measured</text>')
    return "".join(lines)


def _steps(slices: Sequence[Slice], values: Points, x: Callable[[float], float], y: Callable[[float], float]) -> str:
    path, before = "", None
    for part, value in zip(slices, values, strict=True):
        if value is None:
            before = None
            continue
        start = x(part.start_s)
        path += f"M{start} {y(value)}" if before is None else f"V{y(value)}"
        path += f"H{x(part.start_s + part.length_s)}"
        before = value
    return path


def _silence(slices: Sequence[Slice], x: Callable[[float], float], top: int, height: int) -> str:
    """Where one direction was dead: received in the upper half, sent in the lower."""
    found = ""
    for half, stream in enumerate(("received", "sent")):
        for part in slices:
            if getattr(part, stream).dead:
                start, end = x(part.start_s), x(part.start_s + part.length_s)
                found += (
                    f'<rect class="silence" fill="url(#HATCH)" x="{start}" y="{top + half * height / 2}" '
                    f'width="{end - start:.1f}" height="{height / 2}"><title>{stream}: no media</title></rect>'
                )
    return found


def _time_axis(length_s: float, x: Callable[[float], float], bottom: float, room: int) -> str:
    span = x(length_s) - x(0.0)
    step = next((step for step in _STEPS_S if span / (length_s / step) >= room), _STEPS_S[-1])
    found = f'<path class="axis" d="M{x(0.0)} {bottom}H{x(length_s)}"/>'
    seconds = 0
    while seconds <= length_s:
        found += f'<path class="grid" d="M{x(seconds)} 18V{bottom + 4}"/>'
        found += f'<text class="time" x="{x(seconds)}" y="{bottom + 18}">{clock(seconds)}</text>'
        seconds += step
    return found


def _marks(
    moments: Sequence[Moment],
    x: Callable[[float], float],
    top: float,
    bottom: float,
    label: Callable[[Moment], str] | None,
) -> str:
    found, taken = "", dict.fromkeys(KINDS, -1000.0)
    for moment in moments:
        if moment.kind not in _GLYPHS:
            continue
        where = x(moment.at_s)
        detail = label(moment) if label is not None else ""
        title = f"{clock(moment.at_s)} {KINDS[moment.kind]}{': ' if detail else ''}{detail}"
        glyph = ""
        if where - taken[moment.kind] >= _GLYPH_ROOM:
            glyph = f'<g transform="translate({where} 9)">{_GLYPHS[moment.kind]}</g>'
            taken[moment.kind] = where
        found += (
            f'<g class="mark {moment.kind}"><title>{escape(title)}</title>'
            f'<path class="stem" d="M{where} 18V{bottom}"/>{glyph}</g>'
        )
    return found


def legend(moments: Iterable[Moment]) -> list[tuple[Markup, str]]:
    """Glyph and meaning of each kind that occurs."""
    seen = {moment.kind for moment in moments}
    return [
        (
            _svg(
                f'<svg class="glyph" viewBox="-7 -7 14 14" width="14" height="14" aria-hidden="true">'
                f'<g class="mark {kind}">{_GLYPHS[kind]}</g></svg>'
            ),
            words,
        )
        for kind, words in KINDS.items()
        if kind in seen
    ]


def latencies(turns: Sequence[Turn], width: int) -> Markup | None:
    """A bar for each answer: the caller's last speech to the agent's first packet. None when there is none."""
    measured = [(turn.index, turn.latency_ms, turn.interrupted) for turn in turns if turn.latency_ms is not None]
    if not measured:
        return None
    left, right, top, height = 48, 10, 22, 120
    most = _nice_top(max(SLOW_TURN_MS * 1.25, *(latency for _, latency, _ in measured)))
    step = most / 4
    room = (width - left - right) / len(measured)
    bar = max(1.0, min(28.0, room * 0.7))
    bottom = top + height

    def y(value: float) -> float:
        return round(bottom - height * value / most, 1)

    lines = [f'<text class="title" x="{left}" y="12">Turn latency<tspan class="unit"> ms</tspan></text>']
    value = 0.0
    while value <= most + 1e-9:
        lines.append(f'<path class="grid" d="M{left} {y(value)}H{width - right}"/>')
        lines.append(f'<text class="tick" x="{left - 6}" y="{y(value) + 4}">{value:,.0f}</text>')
        value += step
    lines.append(f'<path class="limit" d="M{left} {y(SLOW_TURN_MS)}H{width - right}"/>')
    for position, (index, latency, _) in enumerate(measured):
        x = left + room * (position + 0.5)
        slow = "slow" if latency > SLOW_TURN_MS else "prompt"
        lines.append(
            f'<rect class="bar {slow}" x="{x - bar / 2:.1f}" y="{y(latency)}" width="{bar:.1f}" '
            f'height="{bottom - y(latency):.1f}"><title>turn {index}: {latency:,.0f} ms</title></rect>'
        )
        if room >= 40:
            lines.append(f'<text class="value" x="{x:.1f}" y="{y(latency) - 5}">{latency:,.0f}</text>')
        if room >= 18 or position % (int(18 / room) + 1) == 0:
            lines.append(f'<text class="time" x="{x:.1f}" y="{bottom + 16}">{index}</text>')
    lines.append(f'<text class="limit" x="{width - right}" y="{y(SLOW_TURN_MS) - 4}">{SLOW_TURN_MS:,.0f}</text>')
    name = "wide" if width >= WIDE else "narrow"
    size = f'viewBox="0 0 {width} {bottom + 24}" width="{width}" height="{bottom + 24}"'
    summary = f"Latency of {len(measured)} answers; the same figures are in the transcript"
    return _svg(f'<svg class="plot {name}" {size} role="img" aria-label="{summary}">{"".join(lines)}</svg>')


def _svg(text: str) -> Markup:
    """Numbers and this module's own words, all else escaped where it was put in."""
    return Markup(text)  # noqa: S704


def _nice_top(most: float) -> float:
    """A round number that is not below `most`."""
    magnitude = 1.0
    while magnitude * 10 <= most:
        magnitude *= 10
    return next(nice * magnitude for nice in _NICE if nice * magnitude >= most)


def joined(slices: Sequence[Slice], most: int) -> Sequence[Slice]:
    """At most so many slices; the worst of those that are joined counts."""
    if len(slices) <= most:
        return slices
    edges = [round(index * len(slices) / most) for index in range(most + 1)]
    return [_worst(slices[start:end]) for start, end in pairwise(edges)]


def _worst(slices: Sequence[Slice]) -> Slice:
    last = slices[-1]
    return Slice(
        start_s=slices[0].start_s,
        length_s=last.start_s + last.length_s - slices[0].start_s,
        received=_worst_stream([part.received for part in slices]),
        sent=_worst_stream([part.sent for part in slices]),
        rtt_ms=_most([part.rtt_ms for part in slices]),
    )


def _worst_stream(streams: Sequence[StreamSlice]) -> StreamSlice:
    rated = [stream.mos for stream in streams if stream.mos is not None]
    return StreamSlice(
        mos=min(rated, default=None),
        bad=any(stream.bad for stream in streams),
        dead=any(stream.dead for stream in streams),
        lost=_most([stream.lost for stream in streams]),
        discarded=_most([stream.discarded for stream in streams]),
        jitter_ms=_most([stream.jitter_ms for stream in streams]),
    )


def _most(values: Points) -> float | None:
    return max((value for value in values if value is not None), default=None)
