"""The client's side of a Realtime conversation, without sockets or clocks.

Server messages go in by `receive(data, now)`, which returns the bridge's events; whatever has to be sent collects in
`outbox`, and the owner empties it after every call. Time is `now` (monotonic seconds); `timer` is when `handle_timer`
wants to be called next. A message that cannot be understood is counted and otherwise without effect.
"""

import binascii
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import msgspec

from . import _openai_audio as output_audio
from . import _openai_session as wire
from ._openai_audio import OutputAudio
from ._openai_config import OpenAIConfig
from ._openai_fields import Message, Recent, table, tables, text
from ._openai_history import History
from ._openai_waits import Keypad, Retry
from .base import (
    HANG_UP,
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
    add_usage,
)

_REMEMBERED = 128
_MESSAGE_LIMIT = 300
_CANCEL, _TRUNCATE, _CREATE = "trunkline_cancel_", "trunkline_truncate_", "trunkline_create_"

_Events = Sequence[BridgeEvent]
_NOTHING: _Events = ()


_decode_message = msgspec.json.Decoder().decode


class Conversation:
    """One call's conversation; `restart` carries it into a new session."""

    def __init__(self, config: OpenAIConfig, audio: AudioFormat) -> None:
        self.outbox: list[bytes] = []
        self.garbage = 0
        """Messages that could not be understood."""
        self._config = config
        self._audio_format = audio
        self._audio = OutputAudio(audio)
        self._history = History()
        self._sequence = 0
        self._called = Recent(_REMEMBERED)
        self._outstanding: dict[str, str] = {}
        self._keypad = Keypad()
        detection = config.turn_detection
        self._answers_turns = detection != "none" and detection.create_response
        # Servers of the beta dialect have no interrupt_response; a needless cancel is harmless.
        self._cancels_itself = detection != "none" and detection.interrupt_response and config.dialect == "ga"
        self._transcribed: Message = {}
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
        self._retry = Retry()
        self._audio.begin_session()
        self._function_names = Recent(_REMEMBERED)

    # What the owner asks for

    def configure(self) -> None:
        """Ask for the session that the configuration describes."""
        self.outbox.append(wire.session_update(self._config, self._audio_format))

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
        wanted = wanted or self._retry.due is not None
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
            self._audio.drop(self._active)
            if not self._cancelling:
                self._cancelling = True
                self.outbox.append(wire.response_cancel(self._event_id(_CANCEL)))
        for item in heard:
            self._truncate(item)

    def _truncate(self, item: Heard) -> None:
        self._audio.drop(item.item_id)
        self._history.cut(item.item_id, self._audio.share(item))
        end_ms = self._audio.truncation(item)
        if end_ms is not None:
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
        if self._keypad.press(digits, now):
            self._tell_digits()

    @property
    def timer(self) -> float | None:
        """When `handle_timer` is due."""
        if self._keypad.due is None or self._retry.due is None:
            return self._keypad.due if self._retry.due is None else self._retry.due
        return min(self._keypad.due, self._retry.due)

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        if self._keypad.due is not None and now >= self._keypad.due:
            self._tell_digits()
        if self._retry.due is not None and now >= self._retry.due:
            self._retry.take()
            self._wanted = True
            self._create_if_due()

    def _tell_digits(self) -> None:
        note = self._keypad.take()
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

    # What the service says

    def receive(self, data: bytes, now: float) -> _Events:
        """One message of the service."""
        if output_audio.MARK in data:
            try:
                delta = output_audio.decode(data)
            except (msgspec.DecodeError, UnicodeDecodeError):
                delta = None
            if delta is not None and delta.type in output_audio.TYPES:
                return self._audio.receive(delta)
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

    def _audio_delta_untyped(self, message: Message, now: float) -> _Events:
        """A delta whose other fields are not what they should be."""
        try:
            audio = binascii.a2b_base64(text(message, "delta"))
        except (binascii.Error, ValueError):
            return self._not_understood()
        return self._audio.receive(
            output_audio.Delta("", audio, text(message, "response_id"), text(message, "item_id"))
        )

    def _audio_done(self, message: Message, now: float) -> _Events:
        return self._audio.done(text(message, "item_id"))

    def _session_created(self, message: Message, now: float) -> _Events:
        self.created = True
        expires_at = table(message, "session").get("expires_at")
        if isinstance(expires_at, int | float) and expires_at > 0:
            self.expires_at = expires_at
        return _NOTHING

    def _session_updated(self, message: Message, now: float) -> _Events:
        found = wire.refused_format(message.get("session"), self._config, self._audio_format)
        if found is not None and not self.configured:
            self.refusal = f'the service took audio as {found}; set audio = "pcm16" for a server without G.711'
        self.configured = True
        return _NOTHING

    def _response_created(self, message: Message, now: float) -> _Events:
        self._active = text(table(message, "response"), "id")
        self._audio.undrop_unnamed()
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
        events: list[BridgeEvent] = [*self._audio.all_done()]
        status = text(response, "status") or "completed"
        if status == "completed":
            for item in tables(response, "output"):
                events += self._function_call(item)
            self._retry.succeeded()
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
        code = text(error, "code") or text(error, "type") or "response_failed"
        self._retry.failed(code, now)
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
        self._retry.limits(message)
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
        if about.startswith(_CREATE) or not about:
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
