"""WCAG 2.2 contrast of every pair of colours that the style sheet uses, in dark and in light."""

import re
from itertools import product
from pathlib import Path

import pytest

from trunkline.gateway.console.templates import HERE

CSS = Path(HERE / "static" / "console.css").read_text()
GROUNDS = ("page", "panel", "raised", "poor-fill", "fair-fill")
TEXTS = ("text", "muted", "link", "good", "fair", "poor", "received", "sent")
FILLED = (("button-text", "button"), ("danger-text", "danger"))
DRAWN = ("edge", "focus", "received", "sent", "good", "fair", "poor", "danger", "button", "muted", "text")
"""Lines, borders and signs that carry meaning: 3 to 1 (WCAG 1.4.11)."""
DECORATION = {"line", "page"}
"""Rules between rows, grid lines of plots, and the ground around a word on a plot: nobody has to see them."""


def palette(block: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block))


def palettes() -> dict[str, dict[str, str]]:
    dark, light = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    return {"dark": palette(dark), "light": palette(dark) | palette(light)}


def luminance(colour: str) -> float:
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_formula_is_the_standards():
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_text_can_be_read(scheme):
    colours = palettes()[scheme]
    pairs = [*product(TEXTS, GROUNDS), *FILLED]
    poor = {pair: round(found, 2) for pair in pairs if (found := contrast(*(colours[name] for name in pair))) < 4.5}
    assert poor == {}


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_lines_and_borders_can_be_seen(scheme):
    colours = palettes()[scheme]
    pairs = product(DRAWN, ("page", "panel", "poor-fill", "fair-fill"))
    poor = {pair: round(found, 2) for pair in pairs if (found := contrast(*(colours[name] for name in pair))) < 3.0}
    assert poor == {}


def test_no_colour_stands_outside_the_palette():
    rules = re.sub(r":root \{.*?\}", "", CSS, flags=re.DOTALL)
    assert re.findall(r"#[0-9a-fA-F]{3,8}[;,)]", rules) == []


def test_the_pairs_above_are_those_that_are_used():
    rules = re.sub(r":root \{.*?\}", "", CSS, flags=re.DOTALL)
    text = set(re.findall(r"(?<![a-z-])(?:color|fill): var\(--([a-z-]+)\)", rules))
    ground = set(re.findall(r"background: var\(--([a-z-]+)\)", rules))
    drawn = set(re.findall(r"(?:stroke|border[a-z-]*|outline): (?:[^;]*)var\(--([a-z-]+)\)", rules))
    assert text <= {*TEXTS, "button-text", "danger-text", "page"}
    assert ground <= {*GROUNDS, "button", "danger", "line", "good", "poor"}
    assert drawn <= {*DRAWN, *DECORATION}
