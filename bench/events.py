"""The agent's messages: OpenAI Realtime events, in the order in which a spoken reply brings them, as frames."""

import json
from base64 import b64encode
from binascii import hexlify

import numpy as np

from trunkline.gateway.lab.agent_events import default_session, merge

from .frames import AGENT_TAG, FRAME, PATTERNS, TAG, speech

TRANSCRIPT_EVERY = 3
"""Audio deltas for each delta of the transcript."""
_WORDS = " and here is what you asked for,"
_speech = speech(2)


def frame(payload: bytes) -> bytes:
    """One unmasked text frame (RFC 6455)."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    return b"\x81\x7e" + size.to_bytes(2, "big") + payload


def _event(**fields: object) -> bytes:
    return frame(json.dumps(fields, separators=(",", ":")).encode())


def session_created(connection: int) -> bytes:
    session = {**default_session("gpt-realtime"), "object": "realtime.session", "id": f"sess_{connection}"}
    return _event(type="session.created", event_id=f"event_{connection}_0", session=session)


def session_updated(connection: int, update: dict[str, object]) -> bytes:
    session = {**default_session("gpt-realtime"), "object": "realtime.session", "id": f"sess_{connection}"}
    merge(session, update)
    return _event(type="session.updated", event_id=f"event_{connection}_1", session=session)


class Reply:
    """One reply: `messages[k]` are the frames sent k steps after its start; each step but the last has one delta."""

    def __init__(self, connection: int, number: int, frames: int, delta_frames: int) -> None:
        self._connection = connection
        self._number = number
        self._sequence = 0
        self._response = f"resp_{connection}_{number}"
        self._item = f"item_{connection}_{number}"
        audio = _speech[(np.arange(frames) + number * frames) % PATTERNS].copy()
        tags = np.zeros(frames, AGENT_TAG)
        tags["connection"], tags["reply"], tags["frame"] = connection, number, np.arange(frames)
        audio[:, :TAG] = tags.view(np.uint8).reshape(frames, TAG)
        self._audio = audio.tobytes()
        self._delta = delta_frames * FRAME
        self.steps = -(-len(self._audio) // self._delta)

    def step(self, index: int) -> bytes:
        """What is sent at this step, 0 to `steps` - 1; deltas are built when they are due."""
        before = self._opening() if index == 0 else b""
        after = self._closing() if index == self.steps - 1 else b""
        if index % TRANSCRIPT_EVERY == 0:
            after = self._part("response.output_audio_transcript.delta", delta=_WORDS) + after
        return before + self._audio_delta(index) + after

    def _audio_delta(self, index: int) -> bytes:
        audio = b64encode(self._audio[index * self._delta : (index + 1) * self._delta])
        head = (
            f'{{"type":"response.output_audio.delta","event_id":"{self._id()}","response_id":"{self._response}",'
            f'"item_id":"{self._item}","output_index":0,"content_index":0,"delta":"'
        )
        return frame(head.encode() + audio + b'"}')

    def _id(self) -> str:
        self._sequence += 1
        return f"event_{hexlify(b'bench').decode()}{self._connection:04x}{self._number:04x}{self._sequence:04x}"

    def _part(self, type_: str, **fields: object) -> bytes:
        place = {"response_id": self._response, "item_id": self._item, "output_index": 0, "content_index": 0}
        return _event(type=type_, event_id=self._id(), **place, **fields)

    def _response_object(self, status: str, output: list[object]) -> dict[str, object]:
        usage = {
            "total_tokens": 200,
            "input_tokens": 100,
            "output_tokens": 100,
            "input_token_details": {"text_tokens": 20, "audio_tokens": 80, "cached_tokens": 0},
            "output_token_details": {"text_tokens": 30, "audio_tokens": 70},
        }
        return {
            "object": "realtime.response",
            "id": self._response,
            "status": status,
            "status_details": None,
            "output": output,
            "output_modalities": ["audio"],
            "usage": usage if status == "completed" else None,
        }

    def _item_object(self, status: str, content: list[object]) -> dict[str, object]:
        return {
            "id": self._item,
            "object": "realtime.item",
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": content,
        }

    def _opening(self) -> bytes:
        item = self._item_object("in_progress", [])
        return b"".join(
            (
                _event(type="response.created", event_id=self._id(), response=self._response_object("in_progress", [])),
                _event(
                    type="response.output_item.added",
                    event_id=self._id(),
                    response_id=self._response,
                    output_index=0,
                    item=item,
                ),
                _event(type="conversation.item.added", event_id=self._id(), previous_item_id=None, item=item),
                self._part("response.content_part.added", part={"type": "audio", "transcript": ""}),
            )
        )

    def _closing(self) -> bytes:
        words = _WORDS * (self.steps // TRANSCRIPT_EVERY)
        item = self._item_object("completed", [{"type": "output_audio", "transcript": words}])
        return b"".join(
            (
                self._part("response.output_audio.done"),
                self._part("response.output_audio_transcript.done", transcript=words),
                self._part("response.content_part.done", part={"type": "audio", "transcript": words}),
                _event(type="conversation.item.done", event_id=self._id(), previous_item_id=None, item=item),
                _event(
                    type="response.output_item.done",
                    event_id=self._id(),
                    response_id=self._response,
                    output_index=0,
                    item=item,
                ),
                _event(
                    type="response.done",
                    event_id=self._id(),
                    response=self._response_object("completed", [item]),
                ),
            )
        )
