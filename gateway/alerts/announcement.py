"""What the telephone says about an alert: once as text, for a machine that can speak it, and once as shipped prompts.

Callers' numbers are in neither: what looks like one is left out of the text, and no prompt can hold one.
"""

import re
from dataclasses import dataclass
from typing import get_args

from .alert import Alert
from .channels.base import Delivery
from .rules_config import RuleName

TEXT_MAX = 250
"""Characters of the summary, and of the cause, about 20 s each: who has just been woken keeps no more in mind."""
SPELT_MAX = 24
"""Letters of a name that is spelt."""
WORD, CLAUSE, SENTENCE = "word", "clause", "sentence"
"""Pauses between prompts; a prompt's name is none of these."""

_NUMBER = re.compile(r"\+?\(?\d(?:[ ().-]{0,2}\d){6,}")
# what is left is words, figures and the points between them: nothing that a synthesiser takes for an order
_UNSPEAKABLE = re.compile(r"[^\w\s.,;:%'()/+-]|_")
_RULES = frozenset(get_args(RuleName))
"""Rules whose prompt has their name."""
_PROMPT_OF_SIGN = {"-": "dash", ".": "dot", "_": "underscore"}
_PROMPT_OF_SUBJECT = {"trunk": "on_trunk", "agent": "with_agent"}


@dataclass(frozen=True)
class Wording:
    """One announcement in both forms."""

    text: str
    prompts: tuple[str, ...]
    """Names of prompts and of pauses between them."""


def worded(delivery: Delivery, gateway: str) -> Wording:
    """What to say of a delivery; `gateway` is the gateway's name."""
    alert = delivery.alert
    test = delivery.action == "test"
    named = gateway.lower() != "trunkline"
    sentences = [
        f"This is Trunkline on {speakable(gateway)}" if named else "This is Trunkline",
        "This is a test. Nothing is wrong" if test else f"Alert: {speakable(alert.summary)}",
    ]
    if alert.verdict is not None and not test:
        sentences.append(f"Cause: {speakable(alert.verdict.summary)}")
    sentences.append("Press 1 to acknowledge, or 2 for the next person")
    prompts = ["this_is", *(_named("on", gateway) if named else []), SENTENCE]
    prompts += ["test", SENTENCE] if test else ["alert", CLAUSE, *_trouble(alert), SENTENCE, *_causes(alert)]
    return Wording(" ".join(f"{sentence.rstrip('. ')}." for sentence in sentences), (*prompts, "press"))


def speakable(text: str) -> str:
    """The text without what a synthesiser cannot say, or must not."""
    words = " ".join(_UNSPEAKABLE.sub(" ", _NUMBER.sub("a number", text)).split())
    if len(words) <= TEXT_MAX:
        return words
    return words[:TEXT_MAX].rsplit(" ", 1)[0]


def _trouble(alert: Alert) -> list[str]:
    kind, _, name = alert.subject.partition(" ")
    where = _named(_PROMPT_OF_SUBJECT[kind], name) if kind in _PROMPT_OF_SUBJECT else []
    return [alert.rule if alert.rule in _RULES else "other", *where]


def _causes(alert: Alert) -> list[str]:
    if alert.verdict is None or not alert.verdict.causes:
        return []
    prompts = ["causes" if alert.verdict.mixed else "cause"]
    for index, cause in enumerate(alert.verdict.causes):
        prompts += [CLAUSE, "and"] if index else [CLAUSE]
        prompts.append(f"cause_{cause.name}")
    return [*prompts, SENTENCE]


def _named(before: str, name: str) -> list[str]:
    """A name, letter by letter: no prompt can know it."""
    letters = [_PROMPT_OF_SIGN.get(sign, sign) for sign in name.lower()[:SPELT_MAX]]
    spelt = [letter for letter in letters if len(letter) > 1 or (letter.isascii() and letter.isalnum())]
    prompts = [before, CLAUSE]
    for letter in spelt:
        prompts += [letter, WORD]
    return prompts[:-1] if spelt else []
