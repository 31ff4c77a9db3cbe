"""The client's side of a Realtime conversation, without sockets or clocks.

Server messages go in by `receive(data, now)`, which returns the bridge's events; whatever has to be sent collects in
`outbox`, and the owner empties it after every call. Time is `now` (monotonic seconds); `timer` is when `handle_timer`
wants to be called next. A message that cannot be understood is counted and otherwise without effect.
"""

import binascii
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import msgspec

from . import _openai_session as wire
from ._openai_config import HANG_UP, OpenAIConfig
from ._openai_fields import Message, Recent, add_usage, table, tables, text
from ._openai_history import History
from .base import (
    AudioDelta,
    AudioDone,
    AudioFormat,
    BridgeEvent,
    Heard,
    ResponseDone,
    ResponseStarted,
    ServiceError,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
    Transcript,
)

DTMF_PAUSE_S = 1.5
"""A pause this long, or the key #, ends what the caller keys in."""
_REMEMBERED = 128
_MESSAGE_LIMIT = 300
_RATE_LIMIT_WAIT_S = (0.5, 10.0)
_RATE_LIMIT_DEFAULT_S = 2.0
_SERVER_ERROR_WAIT_S = 0.5

_AUDIO_DELTA_MARK = b'audio.delta"'
_AUDIO_DELTA_TYPES = ("response.output_audio.delta", "response.audio.delta")
_CANCEL, _TRUNCATE, _CREATE = "trunkline_cancel_", "trunkline_truncate_", "trunkline_create_"

_Events = Sequence[BridgeEvent]
_NOTHING: _Events = ()


class _Delta(msgspec.Struct):
    type: str
    delta: bytes
    response_id: str = ""
    item_id: str = ""


_decode_delta = msgspec.json.Decoder(_Delta).decode
_decode_message = msgspec.json.Decoder().decode


class Conversation:
    """One call's conversation; `restart` carries it into a new session."""

    def __init__(self, config: OpenAIConfig, audio: AudioFormat) -> None:
        self.outbox: list[bytes] = []
        self.timer: float | None = None
        self.garbage = 0
        """Messages that could not be understood."""
        self._config = config
        self._audio = audio
        self._history = History()
        self._sequence = 0
        self._dropped = Recent(_REMEMBERED)
        self._called = Recent(_REMEMBERED)
        self._outstanding: dict[str, str] = {}
        self._digits = ""
        self._digits_at: float | None = None
        detection = config.turn_detection
        self._answers_turns = detection != "none" and detection.create_response
        # Servers of the beta dialect have no interrupt_response; a needless cancel is harmless.
        self._cancels_itself = detection != "none" and detection.interrupt_response and config.dialect == "ga"
        self._transcribed: Message = {}
        self._retry_wait_s = _RATE_LIMIT_DEFAULT_S
        self._wanted = False
        self._begin_session()

    def _begin_session(self) -> None:
        self.created = False
        self.configured = False
        self.refusal: str | None = None
        self.expired = False
        self.expires_at: float | None = None
        """End of the session, seconds of the UNIX epoch, if the service says."""
        self._active: str | None = None
        self._requested = False
        self._cancelling = False
        self._speaking = False
        self._turn_pending = False
        self._unconfirmed = 0
        self._may_retry = True
        self._retry_at: float | None = None
        self._octets = Recent(_REMEMBERED)
        self._open_items = Recent(_REMEMBERED)
        self._function_names = Recent(_REMEMBERED)
        self._set_timer()

    # What the owner asks for

    def configure(self) -> None:
        """Configure the session and, after a restart, tell it the conversation so far."""
        self.outbox.append(wire.session_update(self._config, self._audio))

    def greet(self) -> None:
        """Let the agent speak first, as the configuration says."""
        greeting = self._config.greeting
        if isinstance(greeting, str) and greeting:
            self._create(f'Say exactly this to the caller, and nothing else: "{greeting}"')
        elif greeting:
            self._create()

    def restart(self) -> None:
        """Begin again in a new session. What was being answered is answered there."""
        self.outbox.clear()
        wanted = self._wanted or self._requested or self._turn_pending or self._active is not None
        wanted = wanted or self._retry_at is not None
        self._begin_session()
        self._wanted = wanted

    def resume(self) -> None:
        """Tell the configured new session the conversation so far, and go on."""
        items = self._history.items(self._config.dialect)
        self.outbox += [wire.item_create(item) for item in items]
        if self._wanted and not items:
            self.greet()
        self._create_if_due()

    @property
    def quiet(self) -> bool:
        """Nobody speaks and nothing is owed: the moment to change sessions."""
        return not (
            self._active is not None
            or self._requested
            or self._speaking
            or self._turn_pending
            or self._wanted
            or self._outstanding
        )

    def interrupt(self, heard: Sequence[Heard]) -> None:
        """Drop what is still to come of the running response, and truncate each item to what was heard."""
        if self._active is not None:
            self._dropped.remember(self._active)
            if not self._cancelling:
                self._cancelling = True
                self.outbox.append(wire.response_cancel(self._event_id(_CANCEL)))
        for item in heard:
            self._truncate(item)

    def _truncate(self, item: Heard) -> None:
        octets = self._octets.get(item.item_id)
        self._dropped.remember(item.item_id)
        if octets is None:  # of an earlier session, which is gone
            self._history.cut(item.item_id, item.heard_ms / item.received_ms if item.received_ms else 0.0)
            return
        received_ms = octets / self._audio.octets_per_ms
        end_ms = int(max(0.0, min(item.heard_ms, received_ms)))
        if end_ms >= int(received_ms) and item.item_id not in self._open_items:
            return  # heard to its end
        self._history.cut(item.item_id, end_ms / received_ms if received_ms else 0.0)
        self.outbox.append(wire.item_truncate(item.item_id, end_ms, self._event_id(_TRUNCATE)))

    def send_tool_result(self, call_id: str, output: str) -> None:
        """Answer a call; the agent goes on when all of them are answered. Nothing follows a hang_up."""
        name = self._outstanding.pop(call_id, None)
        if name is None:
            return
        self._history.result(call_id, output)
        self._append(wire.item_create(wire.function_output_item(call_id, output)))
        if name != HANG_UP:
            self._wanted = True
        self._create_if_due()

    def send_dtmf(self, digits: str, now: float) -> None:
        """Collect keys; they are told together after DTMF_PAUSE_S without one, or at #."""
        self._digits += digits
        if "#" in digits:
            self._tell_digits()
        elif self._digits:
            self._digits_at = now + DTMF_PAUSE_S
        self._set_timer()

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        if self._digits_at is not None and now >= self._digits_at:
            self._tell_digits()
        if self._retry_at is not None and now >= self._retry_at:
            self._retry_at = None
            self._wanted = True
            self._create_if_due()
        self._set_timer()

    def _tell_digits(self) -> None:
        note = f"[The caller pressed {' '.join(self._digits)} on the keypad]"
        self._digits, self._digits_at = "", None
        self._history.note(self._event_id("keypad_"), note)
        self._append(wire.item_create(wire.message_item("user", note, self._config.dialect)))
        self._wanted = True
        self._create_if_due()

    def _append(self, message: bytes) -> None:
        if self.configured:  # else the history tells it to the next session
            self._unconfirmed += 1
            self.outbox.append(message)

    def _create_if_due(self) -> None:
        """One response.create once nothing runs. While the caller speaks, their turn's own response covers it."""
        busy = self._active is not None or self._requested or (self._speaking and self._answers_turns)
        if self._wanted and self.configured and not busy and not self._outstanding:
            self._create()

    def _create(self, instructions: str | None = None) -> None:
        self._wanted = False
        self._requested = True
        self.outbox.append(wire.response_create(self._event_id(_CREATE), instructions))

    def _event_id(self, prefix: str) -> str:
        self._sequence += 1
        return f"{prefix}{self._sequence}"

    def _set_timer(self) -> None:
        due = [at for at in (self._digits_at, self._retry_at) if at is not None]
        self.timer = min(due) if due else None

    # What the service says

    def receive(self, data: bytes, now: float) -> _Events:
        """One message of the service."""
        if _AUDIO_DELTA_MARK in data:
            try:
                delta = _decode_delta(data)
            except (msgspec.DecodeError, UnicodeDecodeError):
                delta = None
            if delta is not None and delta.type in _AUDIO_DELTA_TYPES:
                return self._audio_delta(delta)
        try:
            message = _decode_message(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            message = None
        if not isinstance(message, dict):
            return self._not_understood()
        handler = self._HANDLERS.get(text(message, "type"))
        return handler(self, message, now) if handler is not None else _NOTHING

    def _not_understood(self) -> _Events:
        self.garbage += 1
        if self.garbage > 1:
            return _NOTHING
        return (ServiceError("invalid_message", "the service sent something that is no Realtime event"),)

    def _audio_delta(self, delta: _Delta) -> _Events:
        item_id = delta.item_id
        if self._dropped and (delta.response_id in self._dropped or item_id in self._dropped):
            return _NOTHING
        if item_id not in self._octets:
            self._octets.remember(item_id, 0)
            self._open_items.remember(item_id)
        self._octets[item_id] += len(delta.delta)
        return (AudioDelta(item_id, delta.delta),)

    def _audio_delta_untyped(self, message: Message, now: float) -> _Events:
        """A delta whose other fields are not what they should be."""
        try:
            audio = binascii.a2b_base64(text(message, "delta"))
        except (binascii.Error, ValueError):
            return self._not_understood()
        return self._audio_delta(_Delta("", audio, text(message, "response_id"), text(message, "item_id")))

    def _audio_done(self, message: Message, now: float) -> _Events:
        item_id = text(message, "item_id")
        if item_id not in self._open_items:
            return _NOTHING
        del self._open_items[item_id]
        return _NOTHING if item_id in self._dropped else (AudioDone(item_id),)

    def _session_created(self, message: Message, now: float) -> _Events:
        self.created = True
        expires_at = table(message, "session").get("expires_at")
        if isinstance(expires_at, int | float) and expires_at > 0:
            self.expires_at = expires_at
        return _NOTHING

    def _session_updated(self, message: Message, now: float) -> _Events:
        found = wire.refused_format(message.get("session"), self._config, self._audio)
        if found is not None and not self.configured:
            self.refusal = f'the service took audio as {found}; set audio = "pcm16" for a server without G.711'
        self.configured = True
        return _NOTHING

    def _response_created(self, message: Message, now: float) -> _Events:
        self._active = text(table(message, "response"), "id")
        self._dropped.pop("", None)
        self._requested = self._turn_pending = self._cancelling = False
        if not self._unconfirmed:
            self._wanted = False  # this response already knows what ours would have answered
        return (ResponseStarted(),)

    def _response_done(self, message: Message, now: float) -> _Events:
        response = table(message, "response")
        id_ = text(response, "id")
        if not id_ or not self._active or id_ == self._active:
            self._active = None
            self._cancelling = False
        events: list[BridgeEvent] = [AudioDone(item) for item in self._open_items if item not in self._dropped]
        self._open_items.clear()
        status = text(response, "status") or "completed"
        if status == "completed":
            for item in tables(response, "output"):
                events += self._function_call(item)
            self._may_retry = True
        elif status == "failed":
            events.append(self._failed(table(table(response, "status_details"), "error"), now))
        events.append(ResponseDone(status, self._usage(response)))
        self._create_if_due()
        return events

    def _usage(self, response: Message) -> Message:
        """The response's counts and, as `transcription`, those of the caller's words since the one before."""
        usage = table(response, "usage")
        if self._transcribed:
            usage = {**usage, "transcription": self._transcribed}
            self._transcribed = {}
        return usage

    def _failed(self, error: Message, now: float) -> ServiceError:
        """A failed response is asked for once more: after the limit's reset, or shortly after a server error."""
        code = text(error, "code") or text(error, "type") or "response_failed"
        wait_s = {"rate_limit_exceeded": self._retry_wait_s, "server_error": _SERVER_ERROR_WAIT_S}.get(code)
        if wait_s is not None and self._may_retry:
            self._may_retry = False
            self._retry_at = now + wait_s
            self._set_timer()
        return ServiceError(code, self._clean(text(error, "message") or "the response failed"))

    def _output_item(self, message: Message, now: float) -> _Events:
        item = table(message, "item")
        kind = text(item, "type")
        if kind == "message":
            self._history.begin(text(item, "id"), "assistant")
        elif kind == "function_call":
            self._function_names.remember(text(item, "id"), text(item, "name"))
        return _NOTHING

    def _output_item_done(self, message: Message, now: float) -> _Events:
        return self._function_call(table(message, "item"))

    def _arguments_done(self, message: Message, now: float) -> _Events:
        name = text(message, "name") or self._function_names.get(text(message, "item_id"), "")
        return self._call_once(text(message, "call_id"), name, text(message, "arguments"))

    def _function_call(self, item: Message) -> _Events:
        if text(item, "type") != "function_call" or text(item, "status") in ("incomplete", "in_progress"):
            return _NOTHING
        return self._call_once(text(item, "call_id"), text(item, "name"), text(item, "arguments"))

    def _call_once(self, call_id: str, name: str, arguments: str) -> _Events:
        if not call_id or not name or call_id in self._called:
            return _NOTHING
        self._called.remember(call_id)
        self._outstanding[call_id] = name
        self._history.call(call_id, name, arguments)
        return (ToolCall(call_id, name, arguments),)

    def _speech_started(self, message: Message, now: float) -> _Events:
        self._speaking = True
        if self._active is not None and self._cancels_itself:
            self._cancelling = True
        return (SpeechStarted(text(message, "item_id") or None),)

    def _speech_stopped(self, message: Message, now: float) -> _Events:
        self._speaking = False
        self._turn_pending = self._answers_turns
        return (SpeechStopped(),)

    def _committed(self, message: Message, now: float) -> _Events:
        self._history.begin(text(message, "item_id"), "user")
        return _NOTHING

    def _item_added(self, message: Message, now: float) -> _Events:
        item = table(message, "item")
        content = next(iter(tables(item, "content")), {})
        ours = text(item, "type") == "function_call_output" or text(content, "type") == "input_text"
        if ours and self._unconfirmed:
            self._unconfirmed -= 1
        return _NOTHING

    def _caller_transcript(self, message: Message, now: float) -> _Events:
        add_usage(self._transcribed, table(message, "usage"))
        return self._spoken("caller", "user", message)

    def _agent_transcript(self, message: Message, now: float) -> _Events:
        return self._spoken("agent", "assistant", message)

    def _spoken(self, speaker: Any, role: Any, message: Message) -> _Events:
        item_id, words = text(message, "item_id"), text(message, "transcript").strip()
        self._history.complete(item_id, role, words)
        return (Transcript(speaker, item_id, words),) if words else _NOTHING

    def _agent_transcript_delta(self, message: Message, now: float) -> _Events:
        self._history.extend(text(message, "item_id"), text(message, "delta"))
        return _NOTHING

    def _rate_limits(self, message: Message, now: float) -> _Events:
        waits = [
            limit["reset_seconds"]
            for limit in tables(message, "rate_limits")
            if isinstance(limit.get("reset_seconds"), int | float) and not limit.get("remaining")
        ]
        lowest, highest = _RATE_LIMIT_WAIT_S
        self._retry_wait_s = min(highest, max(lowest, *waits)) if waits else _RATE_LIMIT_DEFAULT_S
        return _NOTHING

    def _error(self, message: Message, now: float) -> _Events:
        error = table(message, "error")
        code = text(error, "code") or text(error, "type") or "error"
        about = text(error, "event_id")
        explanation = self._clean(text(error, "message"))
        if code == "session_expired":
            self.expired = True
            return _NOTHING
        if not self.configured:
            self.refusal = f"the service refused the session: {code}: {explanation}"
        if code == "conversation_already_has_active_response":
            self._active = self._active or ""
            self._wanted, self._requested = True, False
            return _NOTHING
        if about.startswith((_CANCEL, _TRUNCATE)) or code == "response_cancel_not_active":
            return _NOTHING
        if about.startswith(_CREATE):
            self._requested = False
        return (ServiceError(code, explanation),)

    def _clean(self, explanation: str) -> str:
        key = self._config.api_key
        secret = key.get_secret_value() if key is not None else ""
        return (explanation.replace(secret, "***") if secret else explanation)[:_MESSAGE_LIMIT]

    _HANDLERS: ClassVar[dict[str, Callable[["Conversation", Message, float], _Events]]] = {
        "session.created": _session_created,
        "session.updated": _session_updated,
        "response.created": _response_created,
        "response.done": _response_done,
        "response.output_item.added": _output_item,
        "response.output_item.done": _output_item_done,
        "response.function_call_arguments.done": _arguments_done,
        "response.output_audio.delta": _audio_delta_untyped,
        "response.audio.delta": _audio_delta_untyped,
        "response.output_audio.done": _audio_done,
        "response.audio.done": _audio_done,
        "response.output_audio_transcript.delta": _agent_transcript_delta,
        "response.audio_transcript.delta": _agent_transcript_delta,
        "response.output_audio_transcript.done": _agent_transcript,
        "response.audio_transcript.done": _agent_transcript,
        "conversation.item.input_audio_transcription.completed": _caller_transcript,
        "conversation.item.added": _item_added,
        "conversation.item.created": _item_added,
        "input_audio_buffer.speech_started": _speech_started,
        "input_audio_buffer.speech_stopped": _speech_stopped,
        "input_audio_buffer.committed": _committed,
        "rate_limits.updated": _rate_limits,
        "error": _error,
    }
