"""The rules of Slack's incoming webhooks and of the blocks that are used here."""

import re
from typing import Any

import orjson
from aiohttp import web

from .receiver import Receiver

PATH = "/services/T00000000/B00000000/XXXXrecognisableXXXX"

# what is left of a text once the entities and the links that it may hold are taken away
_ALLOWED = re.compile(r"&amp;|&lt;|&gt;|<https?://[^<>|\s]+\|[^<>]+>")


def faults(body: Any) -> list[str]:
    """What is wrong with this message, in the words that Slack answers with."""
    if not isinstance(body, dict) or not (body.get("text") or body.get("blocks")):
        return ["no_text"]
    found = ["invalid_payload" for key in body.keys() - {"text", "blocks"}]
    if not isinstance(body.get("text", ""), str) or len(body.get("text", "")) > 40_000 or _unescaped(body["text"]):
        found.append("invalid_payload")
    blocks = body.get("blocks", [])
    if not isinstance(blocks, list) or len(blocks) > 50:
        return [*found, "invalid_blocks_format"]
    return found + [fault for block in blocks for fault in _block_faults(block)]


def _block_faults(block: Any) -> list[str]:
    match block:
        case {"type": "section", "text": text, **rest} if not rest:
            return _text_faults(text)
        case {"type": "context", "elements": list(elements), **rest} if not rest and 0 < len(elements) <= 10:
            return [fault for element in elements for fault in _text_faults(element)]
    return ["invalid_blocks"]


def _text_faults(text: Any) -> list[str]:
    match text:
        case {"type": "mrkdwn", "text": str(words), **rest} if not rest:
            good = 0 < len(words) <= 3000 and not _unescaped(words)
            return [] if good else ["invalid_blocks"]
    return ["invalid_blocks"]


def _unescaped(text: str) -> bool:
    return bool(re.search(r"[&<>]", _ALLOWED.sub("", text)))


class Slack(Receiver):
    """The service; `answers` are given first."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = []
        self.messages: list[dict[str, Any]] = []

    async def answer(self, request: web.Request, body: bytes) -> web.StreamResponse:
        if self.answers:
            status, headers, answer = self.answers.pop(0)
            return web.Response(status=status, headers=headers, body=answer)
        if request.path != PATH:
            return web.Response(status=404, text="no_service")
        try:
            message = orjson.loads(body)
        except orjson.JSONDecodeError:
            return web.Response(status=400, text="invalid_payload")
        if found := faults(message):
            return web.Response(status=400, text=found[0])
        self.messages.append(message)
        return web.Response(text="ok")
