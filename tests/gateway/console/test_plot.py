"""The plots: what is drawn where. Each is well-formed XML whatever the call was like."""

import re
import xml.etree.ElementTree as ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.gateway.console import plot
from trunkline.gateway.record import Moment, Slice, StreamSlice, Timeline, Turn

SVG = "{http://www.w3.org/2000/svg}"


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(str(svg).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def slices(*mos: float | None, sent: float | None = 4.4, dead: int | None = None) -> list[Slice]:
    return [
        Slice(
            start_s=10.0 * index,
            length_s=10.0,
            received=StreamSlice(mos=value, lost=0.05, discarded=0.01, jitter_ms=12.0, dead=index == dead),
            sent=StreamSlice(mos=sent, jitter_ms=3.0, lost=0.0),
            rtt_ms=80.0,
        )
        for index, value in enumerate(mos)
    ]


def texts(svg: str) -> list[str]:
    return ["".join(text.itertext()) for text in parsed(svg).iter(f"{SVG}text")]


def classes(svg: str, tag: str) -> list[str]:
    return [element.get("class", "") for element in parsed(svg).iter(SVG + tag)]


def test_four_panels_share_one_time_axis_and_name_their_units_and_limits():
    svg = plot.timeline(Timeline(slices(4.4, 4.3, 4.2)), 30.0, plot.WIDE)
    shown = texts(svg)
    assert [text for text in shown if text[0].isalpha()] == ["MOS ", "Jitter ms", "Lost or late %", "Round trip ms"]
    assert {"3.6", "30", "1"} <= set(shown)
    assert [text for text in shown if ":" in text] == ["0:00", "0:05", "0:10", "0:15", "0:20", "0:25", "0:30"]


def test_both_directions_are_drawn_and_told_apart_without_colour():
    svg = plot.timeline(Timeline(slices(4.4, 4.3)), 20.0, plot.WIDE)
    assert classes(svg, "path").count("received") == 3
    assert classes(svg, "path").count("sent") == 3
    assert classes(svg, "path").count("both") == 1


def test_a_slice_that_was_not_rated_is_a_gap():
    svg = plot.timeline(Timeline(slices(4.4, None, 4.4)), 30.0, plot.WIDE)
    mos = next(path.get("d", "") for path in parsed(svg).iter(f"{SVG}path") if path.get("class") == "received")
    assert mos.count("M") == 2


def test_slices_below_the_limit_are_filled():
    svg = plot.timeline(Timeline(slices(4.4, 3.1, 2.0)), 30.0, plot.WIDE)
    assert classes(svg, "rect").count("under received") == 2


def test_silence_is_hatched_on_its_own_half():
    svg = plot.timeline(Timeline(slices(4.4, None, 4.4, dead=1)), 30.0, plot.NARROW)
    (silence,) = [rect for rect in parsed(svg).iter(f"{SVG}rect") if rect.get("class") == "silence"]
    assert silence.get("fill") == "url(#hatch-narrow)"
    assert silence.findtext(f"{SVG}title") == "received: no media"


def test_moments_are_marked_with_their_words_escaped():
    moments = [Moment(3.0, "turn"), Moment(4.0, "barge_in"), Moment(5.0, "tool", "<script>"), Moment(6.0, "strange")]
    svg = plot.timeline(Timeline(slices(4.4), moments), 10.0, plot.WIDE, lambda moment: moment.detail)
    titles = [title.text for title in parsed(svg).iter(f"{SVG}title")]
    assert titles == [
        "0:03 agent begins to answer",
        "0:04 caller interrupts the agent",
        "0:05 function called: <script>",
    ]
    assert "<script>" not in svg


def test_moments_in_a_crowd_keep_their_stems_and_share_a_glyph():
    moments = [Moment(index * 0.005, "dtmf") for index in range(50)]
    svg = plot.timeline(Timeline(slices(4.4), moments), 10.0, plot.NARROW)
    assert classes(svg, "path").count("stem") == 50
    assert svg.count("translate(") == 1


def test_a_call_of_hours_is_joined_and_its_worst_slice_still_shows():
    mos: list[float | None] = [4.4] * 5000
    mos[2500] = 1.5
    svg = plot.timeline(Timeline(slices(*mos)), 50_000.0, plot.WIDE)
    assert len(svg) < 100_000
    assert classes(svg, "rect").count("under received") == 1


def test_a_sparkline_has_both_directions_newest_at_the_right():
    svg = plot.sparkline([4.4, 4.3, 2.0], [4.4, None, 4.4])
    received = next(path.get("d", "") for path in parsed(svg).iter(f"{SVG}path") if path.get("class") == "received")
    assert re.findall(r"[\d.]+ [\d.]+", received)[-1].startswith("109 ")
    assert classes(svg, "path") == ["limit", "sent", "received"]


def test_a_level_sparkline_is_short():
    assert len(plot.sparkline([4.41] * 60, [4.41] * 60)) < 400


def test_slow_turns_stand_out():
    svg = plot.latencies([Turn(0), Turn(1, latency_ms=420.0), Turn(2, latency_ms=1350.0)], plot.WIDE)
    assert svg is not None
    assert classes(svg, "rect") == ["bar prompt", "bar slow"]
    assert {"420", "1,350", "1,000"} <= set(texts(svg))
    assert plot.latencies([Turn(0)], plot.WIDE) is None


figures = st.none() | st.floats(0, 1e6)
streams = st.builds(
    StreamSlice,
    mos=st.none() | st.floats(1, 4.5),
    lost=figures,
    discarded=figures,
    jitter_ms=figures,
    dead=st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.builds(
            Slice, start_s=st.floats(0, 1e6), length_s=st.floats(0, 10), received=streams, sent=streams, rtt_ms=figures
        ),
        max_size=8,
    ),
    st.lists(
        st.builds(Moment, at_s=st.floats(0, 1e6), kind=st.sampled_from([*plot.KINDS, "?"]), detail=st.text()),
        max_size=8,
    ),
    st.floats(0, 1e7),
    st.lists(st.builds(Turn, index=st.integers(0, 99), latency_ms=st.none() | st.floats(0, 1e7)), max_size=5),
)
def test_any_call_makes_a_plot(parts, moments, length_s, turns):
    for width in (plot.WIDE, plot.NARROW):
        parsed(plot.timeline(Timeline(parts, moments), length_s, width, lambda moment: "x"))
        bars = plot.latencies(turns, width)
        assert bars is None or parsed(bars) is not None
    parsed(plot.sparkline([part.received.mos for part in parts], [part.sent.mos for part in parts]))
