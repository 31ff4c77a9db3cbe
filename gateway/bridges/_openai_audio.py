"""The agent's audio of one session: what was received of each item, and what is dropped because it was cancelled."""

import msgspec

from ._openai_fields import Recent
from .base import AudioDelta, AudioDone, AudioFormat, Heard

_REMEMBERED = 128

MARK = b'audio.delta"'
"""In every audio delta of either dialect, and in no other message unless someone quotes it."""
TYPES = ("response.output_audio.delta", "response.audio.delta")


class Delta(msgspec.Struct):
    """An audio delta; its base64 is decoded with the JSON."""

    type: str
    delta: bytes
    response_id: str = ""
    item_id: str = ""


decode = msgspec.json.Decoder(Delta).decode


class OutputAudio:
    """Counts and filters deltas; ids are remembered in bounded number."""

    def __init__(self, audio: AudioFormat) -> None:
        self._octets_per_ms = audio.octets_per_ms
        self._dropped = Recent(_REMEMBERED)
        self.begin_session()

    def begin_session(self) -> None:
        """Items of an earlier session can be truncated no more; what was dropped stays so."""
        self._octets = Recent(_REMEMBERED)
        self._open_items = Recent(_REMEMBERED)

    def receive(self, delta: Delta) -> tuple[AudioDelta, ...]:
        """The event of a delta, or none when its response or item was dropped."""
        item_id = delta.item_id
        if self._dropped and (delta.response_id in self._dropped or item_id in self._dropped):
            return ()
        if item_id not in self._octets:
            self._octets.remember(item_id, 0)
            self._open_items.remember(item_id)
        self._octets[item_id] += len(delta.delta)
        return (AudioDelta(item_id, delta.delta),)

    def done(self, item_id: str) -> tuple[AudioDone, ...]:
        """The item is complete."""
        if item_id not in self._open_items:
            return ()
        del self._open_items[item_id]
        return () if item_id in self._dropped else (AudioDone(item_id),)

    def all_done(self) -> list[AudioDone]:
        """The response is over, and with it every item, announced or not."""
        events = [AudioDone(item_id) for item_id in self._open_items if item_id not in self._dropped]
        self._open_items.clear()
        return events

    def drop(self, id_: str) -> None:
        """Drop what is still to come of this response or item. An empty id is the response of a server that names
        none."""
        self._dropped.remember(id_)

    def undrop_unnamed(self) -> None:
        """A new response of such a server begins."""
        self._dropped.pop("", None)

    def share(self, item: Heard) -> float:
        """How much of the item was heard, 0 to 1."""
        return max(0.0, min(1.0, item.heard_ms / item.received_ms)) if item.received_ms > 0 else 0.0

    def truncation(self, item: Heard) -> int | None:
        """Where the service has to cut the item, ms, never beyond what was received; None when it has not: the item
        is of an earlier session or was heard to its end."""
        octets = self._octets.get(item.item_id)
        if octets is None:
            return None
        received_ms = octets / self._octets_per_ms
        end_ms = int(max(0.0, min(item.heard_ms, received_ms)))
        complete = item.item_id not in self._open_items
        return None if complete and end_ms >= int(received_ms) else end_ms
