"""Slack, and what takes its incoming webhooks: Mattermost and Rocket.Chat.

A message cannot be changed afterwards, and nobody can answer it: this channel informs, and others wake.
"""

from typing import Any

import orjson

from .base import Answer, Channel, Delivery
from .config import SlackConfig
from .context import ChannelContext
from .http_post import Poster, json_body
from .text import Words, plain, words

TEXT_MAX = 3000
"""Characters of one block's text, after escaping."""
FALLBACK_MAX = 4000
"""Characters of the text for notifications, and for receivers that know no blocks."""

_COLOURS = {"trigger": ":red_circle:", "acknowledge": ":large_yellow_circle:", "resolve": ":large_green_circle:"}


class SlackChannel(Channel):
    """One incoming webhook, and so one channel of a workspace."""

    def __init__(self, name: str, config: SlackConfig, context: ChannelContext) -> None:
        self._config = config
        self._context = context
        self._poster = Poster(name, config, context)

    async def deliver(self, delivery: Delivery) -> Answer | None:
        """Post one message."""
        body = message(words(delivery, self._context), _COLOURS.get(delivery.action, ":large_blue_circle:"))
        url = self._config.url.get_secret_value()
        answer = await self._poster.post(url, json_body(body))
        if not _taken(answer):
            # who stands between, such as a log-in page, answers 200 too
            raise self._poster.failure(url, "answered 200, but not as an incoming webhook does", permanent=False)
        return None

    async def close(self) -> None:
        """Nothing is held."""


def message(told: Words, mark: str) -> dict[str, Any]:
    """The body: `text` for notifications and for receivers without blocks, `blocks` for the others."""
    blocks = [
        _section(f"{mark} *{escaped(told.title)}*\n{escaped(told.state)}"),
        *(_section(_list(heading, lines)) for heading, lines in (("Why", told.why), ("Figures", told.detail)) if lines),
    ]
    small = [f"Call {escaped(call)}" for call in told.calls]
    if small:
        blocks.append(_context_block(" · ".join(small)))
    take = [f"`{escaped(told.acknowledge)}`"] if told.acknowledge else []
    if told.link:
        take.append(f"<{escaped(told.link)}|Console>")
    if take:
        blocks.append(_context_block(" or ".join(take)))
    return {"text": clipped_markup(escaped(f"{told.title}\n{plain(told)}"), FALLBACK_MAX), "blocks": blocks}


def escaped(text: str) -> str:
    """Text that Slack shows as it is: no mention, link or entity can be made of it."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def clipped_markup(text: str, limit: int) -> str:
    """At most `limit` characters of escaped text, never cut inside an entity."""
    if len(text) <= limit:
        return text
    cut = text[: limit - 1]
    entity = cut.rfind("&")
    if entity != -1 and ";" not in cut[entity:]:
        cut = cut[:entity]
    return cut + "…"


def _taken(answer: bytes) -> bool:
    """Slack and Mattermost answer `ok`, Rocket.Chat `{"success": true}`."""
    if answer.strip() == b"ok":
        return True
    try:
        return orjson.loads(answer) == {"success": True}
    except orjson.JSONDecodeError:
        return False


def _list(heading: str, lines: list[str]) -> str:
    return "\n".join([f"*{heading}*", *(f"• {escaped(sentence)}" for sentence in lines)])


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": clipped_markup(text, TEXT_MAX)}}


def _context_block(text: str) -> dict[str, Any]:
    return {"type": "context", "elements": [{"type": "mrkdwn", "text": clipped_markup(text, TEXT_MAX)}]}
