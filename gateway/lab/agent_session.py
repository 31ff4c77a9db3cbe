"""One session of the lab's Realtime agent: conversation, turns, answers, and a record of all that happened."""

import asyncio
import time
from array import array
from base64 import b64encode
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

import msgspec

from . import agent_events as events
from .agent_events import Event
from .vad import EnergyVad
from .voice import recognise, samples, speech, words

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

_APPEND = '{"type":"input_audio_buffer.append","audio":"'
_APPEND_END = '"}'
_OCTETS_PER_MS = {"pcmu": 8, "pcma": 8, "pcm16": 48}


class Faults(msgspec.Struct, kw_only=True, frozen=True):
    """What goes wrong, in the first `sessions` sessions of a server."""

    sessions: int = 1_000_000
    refuse_status: int | None = None
    """Answer the upgrade with this HTTP status."""
    drop_after_s: float | None = None
    """Lose the connection so long after it was made."""
    drop_after_responses: int | None = None
    """Lose the connection after so many complete answers."""
    close_code: int | None = None
    """Close with this code instead of losing the connection."""
    garbage: bool = False
    """Send messages that are no events between those that are."""
    confirm_update: bool = True
    """Answer session.update."""
    expires_in_s: float | None = None
    """End the session so long after it was made, and say so in session.created (`expires_at`)."""
    reject_truncate: bool = False
    """Answer truncations with an error, as some self-hosted servers do."""
    rate_limited_responses: int = 0
    """So many responses fail by rate limit."""


class AgentOptions(msgspec.Struct, kw_only=True, frozen=True):
    """How the agent behaves."""

    api_key: str | None = None
    """The only key that is let in; without one, any."""
    script: tuple[str, ...] = ("greeting", "hours", "address", "wait", "goodbye:hang_up")
    """What each answer is: pieces of speech joined by `+` (one item each), then `:name` for a function to call.
    After the last it goes on with the second."""
    dialect: str = "ga"
    """`ga` or `beta`."""
    delta_ms: int = 100
    """Audio in one delta, ms."""
    speed: float = 10.0
    """Deltas are sent so many times faster than real time; 0 is all at once."""
    think_ms: float = 0.0
    """Time before an answer begins, ms."""
    talk: bool = False
    """For load: one endless answer at `speed`, from session.update on; turns are not detected."""
    keep_audio: bool = True
    """Keep the caller's octets and the times of all audio."""
    faults: Faults = Faults()


class Logged(msgspec.Struct):
    """One event of a session's record; audio is left out."""

    at: float
    """time.monotonic() seconds."""
    sent: bool
    event: Event


class Truncation(msgspec.Struct):
    """A conversation.item.truncate that was carried out."""

    at: float
    item_id: str
    audio_end_ms: int


class _Answer(msgspec.Struct):
    id: str
    task: "asyncio.Task[None] | None" = None
    reason: str | None = None
    items: list[Event] = []
    spoken_ms: float = 0.0
    text: str = ""


class AgentSession:
    """One websocket's session. Everything that a test asks for is a public attribute."""

    def __init__(self, number: int, model: str, options: AgentOptions, send: Callable[[str], Awaitable[None]]) -> None:
        faulty = number < options.faults.sessions
        self.number = number
        self.options = options
        self.faults = options.faults if faulty else Faults()
        self.config = events.default_session(model)
        """The session object, after all updates."""
        self.audio = bytearray()
        """Every octet that the caller appended."""
        self.append_times = array("d")
        """Pairs: time.monotonic() seconds, octets received until then."""
        self.delta_times = array("d")
        """Pairs: time.monotonic() seconds, octets sent until then."""
        self.audio_sent: dict[str, int] = {}
        """Octets of audio sent, by item."""
        self.log: list[Logged] = []
        self.truncations: list[Truncation] = []
        self.cancelled_at: list[float] = []
        """When response.cancel arrived, time.monotonic() seconds."""
        self.tool_results: dict[str, str] = {}
        """By call id."""
        self.items: dict[str, Event] = {}
        """The conversation."""
        self.answers_done = 0
        self.opened_at = time.monotonic()
        self.closed_at: float | None = None
        self.drop = asyncio.Event()
        """Set when a fault wants the connection gone."""
        self._send = send
        self._sequence = 0
        self._appended = 0
        self._delivered = 0
        self._vad: EnergyVad | None = None
        self._encoding = "pcm16"
        self._answer: _Answer | None = None
        self._position = 0
        self._turn_id = ""
        self._turn_end_ms = 0
        self._rate_limited = self.faults.rate_limited_responses
        self._progress = asyncio.Condition()

    # For tests

    def count(self, kind: str) -> int:
        """How many events of this type came or went."""
        return sum(1 for logged in self.log if logged.event.get("type") == kind)

    async def seen(self, kind: str, count: int = 1, timeout_s: float = 10.0) -> list[Event]:
        """Wait until so many events of this type came or went; returns them. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s), self._progress:
            await self._progress.wait_for(lambda: self.count(kind) >= count)
        return [logged.event for logged in self.log if logged.event.get("type") == kind]

    def summary(self) -> Event:
        """The record as JSON can hold it."""
        return {
            "number": self.number,
            "config": self.config,
            "octets": self._appended,
            "opened_at": self.opened_at,
            "closed_at": self.closed_at,
            "audio_sent": self.audio_sent,
            "truncations": [msgspec.structs.asdict(truncation) for truncation in self.truncations],
            "cancelled_at": self.cancelled_at,
            "tool_results": self.tool_results,
            "items": list(self.items.values()),
            "answers_done": self.answers_done,
            "events": [msgspec.structs.asdict(logged) for logged in self.log],
        }

    # Sending

    async def emit(self, event: Event) -> None:
        """Send one event, in the session's dialect, and record it."""
        self._sequence += 1
        event["event_id"] = f"event_{self.number}_{self._sequence}"
        shown = event if self.options.dialect == "ga" else events.to_beta(event)
        if shown is None:
            return
        await self._record(Logged(time.monotonic(), True, shown))
        await self._send(_encode(shown).decode())
        if self.faults.garbage:
            await self._send('{"type": "a.future.event", "with": [1, 2, {}]}')
            await self._send("\x00 not JSON {")

    async def _record(self, logged: Logged) -> None:
        self.log.append(logged)
        async with self._progress:
            self._progress.notify_all()

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
        if self._answer is not None and self._answer.task is not None:
            self._answer.task.cancel()

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
        await self._record(Logged(time.monotonic(), False, event))
        handler = self._HANDLERS.get(kind) if isinstance(kind, str) else None
        about = event.get("event_id")
        if handler is None:
            await self.emit(events.error("invalid_value", f"Invalid value: '{kind}'.", about, "type"))
            return
        try:
            await handler(self, event, about)
        except (KeyError, TypeError, AttributeError) as problem:
            await self.emit(events.error("missing_required_parameter", f"Bad event: {problem!r}.", about))

    async def _append(self, audio: str, about: str | None) -> None:
        try:
            octets = a2b_base64(audio, strict_mode=True)
        except (Base64Error, ValueError, TypeError):
            await self.emit(events.error("invalid_value", "Invalid 'audio': not base64.", about, "audio"))
            return
        self._appended += len(octets)
        if self.options.keep_audio:
            self.audio += octets
            self.append_times.extend((time.monotonic(), self._appended))
        if self._vad is not None:
            for started in self._vad.hear(samples(octets, self._encoding)):
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
        self._encoding = events.FORMATS[formats[0]]
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
            await self._begin_answer()

    # Turns

    async def _speech_started(self) -> None:
        self._turn_id = self._new_id("item")
        start_ms = self._vad.turn_start_ms if self._vad is not None else 0
        await self.emit(
            {"type": "input_audio_buffer.speech_started", "audio_start_ms": start_ms, "item_id": self._turn_id}
        )
        if self._turn_detection("interrupt_response"):
            await self._cancel("turn_detected")

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
            await self._begin_answer()

    def _turn_detection(self, flag: str) -> bool:
        detection = self.config["audio"]["input"]["turn_detection"]
        return detection is not None and detection.get(flag, True)

    async def _commit(self, event: Event, about: str | None) -> None:
        if self._appended <= self._turn_end_ms * _OCTETS_PER_MS[self._encoding]:
            await self.emit(events.error("input_audio_buffer_commit_empty", "The buffer is empty.", about))
            return
        start_ms = self._turn_end_ms
        self._turn_id = self._new_id("item")
        self._turn_end_ms = self._appended // _OCTETS_PER_MS[self._encoding]
        await self._commit_turn(start_ms)

    async def _commit_turn(self, start_ms: int) -> None:
        previous = next(reversed(self.items), None)
        await self.emit(
            {"type": "input_audio_buffer.committed", "previous_item_id": previous, "item_id": self._turn_id}
        )
        rate = _OCTETS_PER_MS[self._encoding]
        octets = bytes(self.audio[start_ms * rate : self._turn_end_ms * rate])
        transcript = recognise(samples(octets, self._encoding))
        part = {"type": "input_audio", "transcript": transcript}
        await self._add_item({"id": self._turn_id, "type": "message", "role": "user", "content": [part]})
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

    def _new_id(self, kind: str) -> str:
        self._sequence += 1
        return f"{kind}_lab{self.number}x{self._sequence}"

    async def _add_item(self, item: Event, *, done: bool = True) -> None:
        previous = next(reversed(self.items), None)
        item = {"object": "realtime.item", "status": "completed" if done else "in_progress", **item}
        self.items[item["id"]] = item
        await self.emit({"type": "conversation.item.added", "previous_item_id": previous, "item": item})
        if done:
            await self.emit({"type": "conversation.item.done", "previous_item_id": previous, "item": item})

    async def _create_item(self, event: Event, about: str | None) -> None:
        item: Event = dict(event["item"])
        item.setdefault("id", self._new_id("item"))
        if item["type"] == "function_call_output":
            calls = [known.get("call_id") for known in self.items.values() if known["type"] == "function_call"]
            if item["call_id"] not in calls:
                await self.emit(events.error("invalid_value", "No call of this id.", about, "item.call_id"))
                return
            self.tool_results[item["call_id"]] = item["output"]
        elif item.get("role") == "assistant":
            self._position += 1
        await self._add_item(item)

    async def _truncate(self, event: Event, about: str | None) -> None:
        item_id, end_ms = event["item_id"], event["audio_end_ms"]
        duration_ms = self.audio_sent.get(item_id, -1) / _OCTETS_PER_MS[self._output_encoding]
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

    @property
    def _output_encoding(self) -> str:
        return events.FORMATS[self.config["audio"]["output"]["format"]["type"]]

    async def _create_response(self, event: Event, about: str | None) -> None:
        if self._answer is not None:
            message = f"Conversation already has an active response in progress: {self._answer.id}."
            await self.emit(events.error("conversation_already_has_active_response", message, about))
            return
        await self._begin_answer()

    async def _cancel_response(self, event: Event, about: str | None) -> None:
        self.cancelled_at.append(time.monotonic())
        if self._answer is None:
            message = "Cancellation failed: no active response found"
            await self.emit(events.error("response_cancel_not_active", message, about))
            return
        await self._cancel("client_cancelled")

    async def _cancel(self, reason: str) -> None:
        answer = self._answer
        if answer is None or answer.task is None:
            return
        answer.reason = reason
        answer.task.cancel()
        await asyncio.wait([answer.task])

    async def _begin_answer(self) -> None:
        answer = self._answer = _Answer(self._new_id("resp"), items=[])
        answer.task = asyncio.get_running_loop().create_task(self._speak(answer))

    async def _speak(self, answer: _Answer) -> None:
        """The running answer; being cancelled ends it as the service ends a cancelled one."""
        status = "completed"
        try:
            await asyncio.sleep(self.options.think_ms / 1000)
            await self.emit({"type": "response.created", "response": self._response(answer, "in_progress")})
            await self._rate_limits()
            if self._rate_limited:
                self._rate_limited -= 1
                status = "failed"
            else:
                await self._perform(answer)
        except asyncio.CancelledError:
            if answer.reason is None:
                raise
            status = "cancelled"
        except ConnectionError:
            return
        await self._end_answer(answer, status)

    async def _perform(self, answer: _Answer) -> None:
        entry = self._next_entry()
        if self.options.talk:
            while True:
                await self._say(answer, entry.partition(":")[0])
        pieces, _, function = entry.partition(":")
        for name in pieces.split("+"):
            if name:
                await self._say(answer, name)
        if function:
            await self._call(answer, function)

    def _next_entry(self) -> str:
        script = self.options.script
        position = self._position
        self._position += 1
        if position < len(script):
            return script[position]
        again = script[1:] or script
        return again[(position - 1) % len(again)]

    async def _end_answer(self, answer: _Answer, status: str) -> None:
        response = self._response(answer, status)
        response["usage"] = events.usage(self._appended / _OCTETS_PER_MS[self._encoding], answer.spoken_ms, answer.text)
        if status == "cancelled":
            response["status_details"] = {"type": "cancelled", "reason": answer.reason}
        elif status == "failed":
            problem = {"type": "requests", "code": "rate_limit_exceeded", "message": "Rate limit reached."}
            response["status_details"] = {"type": "failed", "error": problem}
        self._answer = None
        await self.emit({"type": "response.done", "response": response})
        if status == "completed":
            self.answers_done += 1
        if self.answers_done == self.faults.drop_after_responses:
            self.drop.set()

    def _response(self, answer: _Answer, status: str) -> Event:
        return {
            "object": "realtime.response",
            "id": answer.id,
            "status": status,
            "status_details": None,
            "output": list(answer.items),
            "conversation_id": f"conv_lab{self.number}",
            "output_modalities": ["audio"],
            "max_output_tokens": "inf",
            "audio": {"output": {"format": self.config["audio"]["output"]["format"], "voice": "marin"}},
            "usage": None,
            "metadata": None,
        }

    async def _rate_limits(self) -> None:
        remaining = 0 if self._rate_limited else 999_000
        limits = [
            {"name": "requests", "limit": 5000, "remaining": min(remaining, 4999), "reset_seconds": 0.6},
            {"name": "tokens", "limit": 1_000_000, "remaining": remaining, "reset_seconds": 0.6},
        ]
        await self.emit({"type": "rate_limits.updated", "rate_limits": limits})

    async def _open_item(self, answer: _Answer, item: Event) -> Event:
        place = {"response_id": answer.id, "output_index": len(answer.items)}
        await self.emit({"type": "response.output_item.added", **place, "item": {**item, "status": "in_progress"}})
        await self._add_item(item, done=False)
        return place

    async def _close_item(self, answer: _Answer, place: Event, item: Event) -> None:
        answer.items.append(item)
        self.items[item["id"]] = item
        await self.emit({"type": "response.output_item.done", **place, "item": item})
        await self.emit({"type": "conversation.item.done", "item": item})

    async def _say(self, answer: _Answer, name: str) -> None:
        item: Event = {"id": self._new_id("item"), "object": "realtime.item", "type": "message", "role": "assistant"}
        place = await self._open_item(answer, {**item, "content": []})
        within = {"response_id": answer.id, "item_id": item["id"], "output_index": place["output_index"]}
        within["content_index"] = 0
        part = {"type": "audio", "transcript": ""}
        await self.emit({"type": "response.content_part.added", **within, "part": part})
        text, status = words(name), "completed"
        kind = "response.output_audio_transcript"
        await self.emit({"type": f"{kind}.delta", **within, "delta": text})
        try:
            await self._audio(answer, within, speech(name, self._output_encoding))
        except asyncio.CancelledError:
            if answer.reason is None:
                raise
            status = "incomplete"
        answer.text += text
        await self.emit({"type": "response.output_audio.done", **within})
        await self.emit({"type": f"{kind}.done", **within, "transcript": text})
        await self.emit({"type": "response.content_part.done", **within, "part": {**part, "transcript": text}})
        content = [{"type": "output_audio", "transcript": text}]
        await self._close_item(answer, place, {**item, "status": status, "content": content})
        if status == "incomplete":
            raise asyncio.CancelledError

    async def _audio(self, answer: _Answer, within: Event, octets: bytes) -> None:
        """The deltas, paced from a start time at `speed` times real time."""
        size = self.options.delta_ms * _OCTETS_PER_MS[self._output_encoding]
        kind = "response.output_audio.delta" if self.options.dialect == "ga" else "response.audio.delta"
        head = _encode({"type": kind, **within})[:-1].decode()
        item_id = within["item_id"]
        due = time.monotonic()
        for start in range(0, len(octets), size):
            chunk = octets[start : start + size]
            self._sequence += 1
            delta = b64encode(chunk).decode()
            await self._send(f'{head},"event_id":"event_{self.number}_{self._sequence}","delta":"{delta}"}}')
            self._delivered += len(chunk)
            self.audio_sent[item_id] = self.audio_sent.get(item_id, 0) + len(chunk)
            answer.spoken_ms += len(chunk) / _OCTETS_PER_MS[self._output_encoding]
            if self.options.keep_audio:
                self.delta_times.extend((time.monotonic(), self._delivered))
            if self.options.speed > 0:
                due += self.options.delta_ms / 1000 / self.options.speed
                await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _call(self, answer: _Answer, function: str) -> None:
        call_id = self._new_id("call")
        item: Event = {"id": self._new_id("item"), "object": "realtime.item", "type": "function_call"}
        item |= {"call_id": call_id, "name": function}
        place = await self._open_item(answer, {**item, "arguments": ""})
        within = {**place, "item_id": item["id"], "call_id": call_id}
        arguments = '{"reason":"the caller said goodbye"}' if function == "hang_up" else "{}"
        kind = "response.function_call_arguments"
        await self.emit({"type": f"{kind}.delta", **within, "delta": arguments})
        await self.emit({"type": f"{kind}.done", **within, "name": function, "arguments": arguments})
        await self._close_item(answer, place, {**item, "status": "completed", "arguments": arguments})

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
