"""What the telephone says, as text and as prompts."""

import json
from pathlib import Path
from typing import get_args

import pytest
from support.paging import alert, delivery

from trunkline.gateway.alerts import announcement
from trunkline.gateway.alerts.alert import Cause, CauseName, Verdict
from trunkline.gateway.alerts.announcement import CLAUSE, SENTENCE, TEXT_MAX, WORD, speakable, worded
from trunkline.gateway.alerts.rules_config import RuleName

PROMPTS = Path(announcement.__file__).parent / "prompts"
WORDS: dict[str, str] = json.loads((PROMPTS / "index.json").read_text())


def read(prompts: tuple[str, ...]) -> str:
    """What prompts say."""
    marks = {WORD: "", CLAUSE: ",", SENTENCE: "."}
    return " ".join(marks[name] if name in marks else WORDS[name] for name in prompts).replace("  ", " ")


def test_the_text_says_where_what_why_and_the_keys() -> None:
    assert worded(delivery(), "edge-1").text == (
        "This is Trunkline on edge-1. Alert: 31 % of the calls over trunk vonage sound bad. "
        "Cause: the carrier or access network before us. Press 1 to acknowledge, or 2 for the next person."
    )


def test_the_prompts_say_the_same_and_spell_names() -> None:
    assert read(worded(delivery(), "edge-1").prompts) == (
        "This is Trunkline on , E. D. G. E. dash one . Alert , Call quality is bad on trunk , V. O. N. A. G. E. . "
        "The cause , the carrier, or the network before us . Press 1 to acknowledge. Press 2 for the next person"
    )


def test_a_mixed_verdict_names_every_cause() -> None:
    mixed = Verdict([Cause("host", 0.6, []), Cause("echo", 0.4, [])], "mixed: this machine, and echo")
    words = worded(delivery(verdict=mixed), "trunkline")
    assert "Cause: mixed: this machine, and echo." in words.text
    assert "There are several causes , this machine, which is late , and echo of our own speech" in read(words.prompts)


def test_without_a_verdict_no_cause_is_said() -> None:
    words = worded(delivery(verdict=None, rule="records", subject="gateway"), "trunkline")
    assert "ause" not in words.text
    assert read(words.prompts).startswith("This is Trunkline . Alert , Call records cannot be written . Press 1")


def test_a_test_says_so_and_names_no_trouble() -> None:
    words = worded(delivery("test"), "edge-1")
    assert "This is a test. Nothing is wrong." in words.text
    assert "vonage" not in words.text
    assert "This is a test. Nothing is wrong . Press 1" in read(words.prompts)


@pytest.mark.parametrize("name", get_args(CauseName))
def test_every_cause_has_a_prompt(name: CauseName) -> None:
    prompts = worded(delivery(verdict=Verdict([Cause(name, 1.0, [])], "x")), "edge").prompts
    assert f"cause_{name}" in prompts


@pytest.mark.parametrize("rule", get_args(RuleName))
def test_every_rule_has_a_prompt_of_its_own(rule: str) -> None:
    assert rule in worded(delivery(rule=rule), "edge").prompts


def test_an_unknown_rule_is_something_wrong() -> None:
    assert "other" in worded(delivery(rule="moon_phase"), "edge").prompts


def test_every_prompt_is_shipped_and_is_sound() -> None:
    shipped = {path.stem: path.read_bytes() for path in PROMPTS.glob("*.ul")}
    assert shipped.keys() == WORDS.keys()
    for name, octets in shipped.items():
        assert 800 < len(octets) < 8 * 8000, name
        assert len(set(octets)) > 50, f"{name} is silent"


@pytest.mark.parametrize(
    "number", ["+14155550199", "15550100", "0049 30 1234567", "(415) 555-0199", "415-555-0199", "1 555 0100 22"]
)
def test_what_looks_like_a_number_is_not_said(number: str) -> None:
    said = speakable(f"bad calls from {number} today")
    assert "a number" in said
    assert not any(digit.isdigit() for digit in said)


def test_figures_are_said() -> None:
    assert speakable("31 % of 1200 slices in 600 s, R 61.5") == "31 % of 1200 slices in 600 s, R 61.5"


def test_orders_to_a_synthesiser_are_not_said() -> None:
    assert speakable("[[h@l'oU]] <mark name='x'/> a_b \x01\n c") == "h l'oU mark name 'x'/ a b c"


def test_a_long_text_ends_with_a_whole_word() -> None:
    said = speakable("bad quality " * 200)
    assert len(said) <= TEXT_MAX
    assert said.endswith(("bad", "quality"))


def test_a_name_of_any_letters_is_spelt_as_far_as_prompts_go() -> None:
    prompts = worded(delivery(subject="trunk Füße_7.x" + "y" * 100), "gateway 1").prompts
    assert set(prompts) <= WORDS.keys() | {WORD, CLAUSE, SENTENCE}
    assert prompts.count("y") < 24
    assert "F. E. underscore seven dot X. Y." in read(prompts)


def test_a_name_without_a_letter_that_can_be_said_is_left_out() -> None:
    assert "on_trunk" not in worded(delivery(subject="trunk 東京"), "edge").prompts


def test_no_alert_field_but_the_summary_and_the_cause_is_said() -> None:
    private = alert(detail=["caller 15550123 heard nothing"], calls=["0199c0de"])
    made = delivery()
    made.alert = private
    assert worded(made, "edge").text == worded(delivery(), "edge").text
