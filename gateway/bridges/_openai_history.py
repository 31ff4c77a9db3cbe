"""The conversation so far as text, for a session that takes over from a lost or expired one."""

from typing import Literal

import msgspec
from openai.types.realtime.conversation_item_param import ConversationItemParam

from ._openai_session import function_call_item, function_output_item, message_item

MAX_ENTRIES = 60
MAX_CHARACTERS = 24_000

_LOST_WORDS = "[The caller said something that was lost with the connection. Ask them to say it again.]"


class _Entry(msgspec.Struct):
    kind: Literal["user", "assistant", "call"]
    text: str = ""
    heard: float = 1.0
    """Share of the audio that the caller heard, 0 to 1."""
    name: str = ""
    output: str | None = None


class History:
    """Entries in the order of the conversation, bounded; the oldest go first."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    def begin(self, item_id: str, kind: Literal["user", "assistant"]) -> None:
        """Keep the place of an item whose words are not known yet."""
        if item_id not in self._entries:
            self._add(item_id, _Entry(kind))

    def note(self, key: str, text: str) -> None:
        """A text that the gateway itself put into the conversation."""
        self._add(key, _Entry("user", text))

    def extend(self, item_id: str, text: str) -> None:
        """More of an agent's words."""
        entry = self._entries.get(item_id)
        if entry is not None:
            entry.text += text

    def complete(self, item_id: str, kind: Literal["user", "assistant"], text: str) -> None:
        """An item's words, whole."""
        self.begin(item_id, kind)
        self._entries[item_id].text = text

    def cut(self, item_id: str, heard: float) -> None:
        """The caller heard only this share of the item."""
        entry = self._entries.get(item_id)
        if entry is not None:
            entry.heard = min(entry.heard, heard)

    def call(self, call_id: str, name: str, arguments: str) -> None:
        """The agent called a function."""
        self._add(call_id, _Entry("call", arguments, name=name))

    def result(self, call_id: str, output: str) -> None:
        """What the function returned."""
        entry = self._entries.get(call_id)
        if entry is not None:
            entry.output = output

    def items(self, dialect: str) -> list[ConversationItemParam]:
        """The conversation for a new session, newest MAX_CHARACTERS characters of it."""
        items: list[ConversationItemParam] = []
        budget = MAX_CHARACTERS
        last = next(reversed(self._entries), None)
        for key in reversed(self._entries):
            entry = self._entries[key]
            rendered = _render(key, entry, dialect, is_last=key == last)
            budget -= len(entry.text) + len(entry.output or "")
            if budget < 0:
                break
            items += reversed(rendered)
        items.reverse()
        return items

    def _add(self, key: str, entry: _Entry) -> None:
        self._entries[key] = entry
        if len(self._entries) > MAX_ENTRIES:
            del self._entries[next(iter(self._entries))]


def _render(key: str, entry: _Entry, dialect: str, *, is_last: bool) -> list[ConversationItemParam]:
    if entry.kind == "call":
        call = function_call_item(key, entry.name, entry.text)
        return [call] if entry.output is None else [call, function_output_item(key, entry.output)]
    text = entry.text
    if entry.heard < 1.0:
        text = text[: int(len(text) * entry.heard)].rpartition(" ")[0]
    if not text and entry.kind == "user" and is_last:
        text = _LOST_WORDS
    return [message_item(entry.kind, text, dialect)] if text else []
