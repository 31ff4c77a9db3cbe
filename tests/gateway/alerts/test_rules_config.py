"""The keys of the rules: what the page says, and what is refused."""

import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from trunkline.gateway.alerts.rules_config import RuleName, RulesConfig

PAGE = Path(__file__).parents[3] / "docs" / "alerts.md"


def test_the_page_has_every_key_with_its_default():
    rows = dict(re.findall(r"^\| `(\w+)` \| (`\w+` .*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    for name, table in RulesConfig():
        if name == "disabled":
            continue
        said = dict(re.findall(r"`(\w+)` ([\d.]+|as above)", rows[name]))
        assert {key: value for key, value in said.items() if value != "as above"} == {
            key: f"{value:g}" for key, value in table if key != "burn_rates"
        }, name


def test_the_page_has_every_rule():
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in get_args(RuleName) if f"| `{name}` | " not in text] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"quality": {"objectiv": 0.9}},
        {"quality": {"objective": 0.9}},
        {"quality": {"burn_rates": [{"severity": "page", "burn_rate": 6, "long_s": 60, "short_s": 300}]}},
        {"one_way_audio": {"leave_share": 0.5}},
        {"one_way_audio": {"min_calls": 1}},
        {"turn_latency": {"leave_s": 2}},
        {"host": {"leave_share": 0.5}},
        {"disabled": ["mos"]},
    ],
)
def test_what_could_never_work_is_refused(wrong):
    with pytest.raises(ValidationError):
        RulesConfig.model_validate(wrong)


def test_one_key_leaves_the_others_as_they_are():
    rules = RulesConfig.model_validate({"quality": {"min_calls": 4}})
    assert (rules.quality.min_calls, rules.quality.min_slices, len(rules.quality.burn_rates)) == (4, 360, 3)
