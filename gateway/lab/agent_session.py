"""One session of the lab's Realtime agent: what the client asks for, turns, and the conversation."""

import time
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

import msgspec

from . import agent_events as events
from .agent_answer import Answer
from .agent_events import Event
from .agent_options import AgentOptions
from .agent_record import OCTETS_PER_MS, Logged, SessionRecord, Truncation
from .vad import EnergyVad
from .voice import recognise, samples

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

_APPEND = '{"type":"input_audio_buffer.append","audio":"'
_APPEND_END = '"}'


class AgentSession(SessionRecord):
    """One websocket's session."""

    def __init__(self, number: int, model: str, options: AgentOptions, send: Callable[[str], Awaitable[None]]) -> None:
        super().__init__(number, model, options, send)
        self._vad: EnergyVad | None = None
        self._answer: Answer | None = None
        self._position = 0
        self._turn_id = ""
        self._turn_end_ms = 0
        self._rate_limited = self.faults.rate_limited_responses

    async def start(self) -> None:
        """session.created."""
        session = dict(self.config)
        if self.faults.expires_in_s is not None:
            session["expires_at"] = int(time.time() + self.faults.expires_in_s)
        await self.emit({"type": "session.created", "session": session})

    async def expire(self) -> None:
        """The session's time is up."""
        await self.emit(events.error("session_expired", "Your session hit its maximum duration.", None))

    def finish(self) -> None:
        """The connection is gone."""
        self.closed_at = time.monotonic()
        if self._answer is not None:
            self._answer.abandon()

    # Receiving

    async def receive(self, data: str) -> None:
        """One message of the client."""
        if data.startswith(_APPEND) and data.endswith(_APPEND_END) and "\\" not in data:
            await self._append(data[len(_APPEND) : -len(_APPEND_END)], None)
            return
        try:
            event = _decode(data)
            kind = event["type"]
        except (msgspec.DecodeError, ValueError, KeyError, TypeError):
            await self.emit(events.error("invalid_event", "This is not a Realtime event.", None))
            return
        if kind == "input_audio_buffer.append":
            await self._append(event.get("audio", ""), event.get("event_id"))
            return
        await self.note(Logged(time.monotonic(), False, event))
        handler = self._HANDLERS.get(kind) if isinstance(kind, str) else None
        about = event.get("event_id")
        if handler is None:
            await self.emit(events.error("invalid_value", f"Invalid value: '{kind}'.", about, "type"))
            return
        try:
            await handler(self, event, about)
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            await self.emit(events.error("missing_required_parameter", f"Bad event: {problem!r}.", about))

    async def _append(self, audio: str, about: str | None) -> None:
        try:
            octets = a2b_base64(audio, strict_mode=True)
        except (Base64Error, ValueError, TypeError):
            await self.emit(events.error("invalid_value", "Invalid 'audio': not base64.", about, "audio"))
            return
        self.octets_received += len(octets)
        if self.options.keep_audio:
            self.audio += octets
            self.append_times.extend((time.monotonic(), self.octets_received))
        if self._vad is not None:
            for started in self._vad.hear(samples(octets, self.input_encoding)):
                await (self._speech_started() if started else self._speech_stopped())

    async def _session_update(self, event: Event, about: str | None) -> None:
        update = event["session"]
        beta = self.options.dialect == "beta"
        merged = msgspec.json.decode(_encode(self.config))
        events.merge(merged, events.from_beta(update) if beta else update)
        formats = [merged["audio"][side]["format"]["type"] for side in ("input", "output")]
        unknown = next((name for name in formats if name not in events.FORMATS), None)
        if unknown is not None or (not beta and update.get("type") != "realtime"):
            await self.emit(events.error("invalid_value", f"Invalid session: {unknown}.", about, "session"))
            return
        merged["model"] = self.config["model"]
        self.config = merged
        detection = merged["audio"]["input"]["turn_detection"]
        self._vad = None
        if detection is not None and not self.options.talk:
            self._vad = EnergyVad(
                detection.get("threshold", 0.5),
                detection.get("silence_duration_ms", 500),
                detection.get("prefix_padding_ms", 300),
            )
        if self.faults.confirm_update:
            await self.emit({"type": "session.updated", "session": self.config})
        if self.options.talk and self._answer is None:
            self._begin_answer()

    # Turns

    async def _speech_started(self) -> None:
        self._turn_id = self.new_id("item")
        start_ms = self._vad.turn_start_ms if self._vad is not None else 0
        await self.emit(
            {"type": "input_audio_buffer.speech_started", "audio_start_ms": start_ms, "item_id": self._turn_id}
        )
        if self._answer is not None and self._turn_detection("interrupt_response"):
            await self._answer.cancel("turn_detected")

    async def _speech_stopped(self) -> None:
        start_ms = self._turn_end_ms
        if self._vad is not None:
            start_ms, self._turn_end_ms = self._vad.turn_start_ms, self._vad.clock_ms
        await self.emit(
            {
                "type": "input_audio_buffer.speech_stopped",
                "audio_end_ms": self._turn_end_ms,
                "item_id": self._turn_id,
            }
        )
        await self._commit_turn(start_ms)
        if self._turn_detection("create_response") and self._answer is None:
            self._begin_answer()

    def _turn_detection(self, flag: str) -> bool:
        detection = self.config["audio"]["input"]["turn_detection"]
        return detection is not None and detection.get(flag, True)

    async def _commit(self, event: Event, about: str | None) -> None:
        if self.octets_received <= self._turn_end_ms * OCTETS_PER_MS[self.input_encoding]:
            await self.emit(events.error("input_audio_buffer_commit_empty", "The buffer is empty.", about))
            return
        start_ms = self._turn_end_ms
        self._turn_id = self.new_id("item")
        self._turn_end_ms = self.octets_received // OCTETS_PER_MS[self.input_encoding]
        await self._commit_turn(start_ms)

    async def _commit_turn(self, start_ms: int) -> None:
        previous = next(reversed(self.items), None)
        await self.emit(
            {"type": "input_audio_buffer.committed", "previous_item_id": previous, "item_id": self._turn_id}
        )
        rate = OCTETS_PER_MS[self.input_encoding]
        octets = bytes(self.audio[start_ms * rate : self._turn_end_ms * rate])
        transcript = recognise(samples(octets, self.input_encoding))
        part = {"type": "input_audio", "transcript": transcript}
        await self.add_item({"id": self._turn_id, "type": "message", "role": "user", "content": [part]})
        if self.config["audio"]["input"]["transcription"] is not None:
            await self.emit(
                {
                    "type": "conversation.item.input_audio_transcription.completed",
                    "item_id": self._turn_id,
                    "content_index": 0,
                    "transcript": transcript,
                    "usage": {"type": "duration", "seconds": (self._turn_end_ms - start_ms) / 1000},
                }
            )

    async def _clear(self, event: Event, about: str | None) -> None:
        await self.emit({"type": "input_audio_buffer.cleared"})

    # The conversation

    async def _create_item(self, event: Event, about: str | None) -> None:
        item: Event = dict(event["item"])
        item.setdefault("id", self.new_id("item"))
        if item["type"] == "function_call_output":
            calls = [known.get("call_id") for known in self.items.values() if known["type"] == "function_call"]
            if item["call_id"] not in calls:
                await self.emit(events.error("invalid_value", "No call of this id.", about, "item.call_id"))
                return
            self.tool_results[str(item["call_id"])] = item["output"]
        elif item.get("role") == "assistant":
            self._position += 1
        await self.add_item(item)

    async def _truncate(self, event: Event, about: str | None) -> None:
        item_id, end_ms = event["item_id"], event["audio_end_ms"]
        duration_ms = self.audio_sent.get(item_id, -1) / OCTETS_PER_MS[self.output_encoding]
        if self.faults.reject_truncate:
            await self.emit(events.error("not_implemented", "Truncation is not implemented.", about))
        elif duration_ms < 0:
            await self.emit(events.error("item_not_found", f"No audio item '{item_id}'.", about, "item_id"))
        elif not 0 <= end_ms <= duration_ms:
            message = f"Audio content of {duration_ms:.0f}ms is already shorter than {end_ms}ms"
            await self.emit(events.error("invalid_value", message, about, "audio_end_ms"))
        else:
            self.truncations.append(Truncation(time.monotonic(), item_id, end_ms))
            await self.emit(
                {
                    "type": "conversation.item.truncated",
                    "item_id": item_id,
                    "content_index": 0,
                    "audio_end_ms": end_ms,
                }
            )

    async def _delete(self, event: Event, about: str | None) -> None:
        if self.items.pop(event["item_id"], None) is None:
            await self.emit(events.error("item_not_found", "No such item.", about, "item_id"))
            return
        await self.emit({"type": "conversation.item.deleted", "item_id": event["item_id"]})

    async def _retrieve(self, event: Event, about: str | None) -> None:
        item = self.items.get(event["item_id"])
        if item is None:
            await self.emit(events.error("item_not_found", "No such item.", about, "item_id"))
            return
        await self.emit({"type": "conversation.item.retrieved", "item": item})

    # Answers

    async def _create_response(self, event: Event, about: str | None) -> None:
        if self._answer is not None:
            message = f"Conversation already has an active response in progress: {self._answer.id}."
            await self.emit(events.error("conversation_already_has_active_response", message, about))
            return
        self._begin_answer()

    async def _cancel_response(self, event: Event, about: str | None) -> None:
        self.cancelled_at.append(time.monotonic())
        if self._answer is None:
            message = "Cancellation failed: no active response found"
            await self.emit(events.error("response_cancel_not_active", message, about))
            return
        await self._answer.cancel("client_cancelled")

    def _begin_answer(self) -> None:
        limited = self._rate_limited > 0
        entry = "" if limited else self._next_entry()
        self._rate_limited -= limited
        self._answer = Answer(self, entry, self._answer_over, rate_limited=limited)

    def _answer_over(self) -> None:
        self._answer = None

    def _next_entry(self) -> str:
        script = self.options.script
        position = self._position
        self._position += 1
        if position < len(script):
            return script[position]
        again = script[1:] or script
        return again[(position - 1) % len(again)]

    _HANDLERS: ClassVar[dict[str, Any]] = {
        "session.update": _session_update,
        "input_audio_buffer.commit": _commit,
        "input_audio_buffer.clear": _clear,
        "conversation.item.create": _create_item,
        "conversation.item.truncate": _truncate,
        "conversation.item.delete": _delete,
        "conversation.item.retrieve": _retrieve,
        "response.create": _create_response,
        "response.cancel": _cancel_response,
    }
