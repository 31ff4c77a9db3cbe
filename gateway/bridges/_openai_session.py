"""The session object and the other client events, in either dialect. Every function returns JSON bytes to send."""

from typing import Any

import msgspec
from openai.types.realtime.conversation_item_param import ConversationItemParam
from openai.types.realtime.realtime_audio_config_param import RealtimeAudioConfigParam
from openai.types.realtime.realtime_audio_formats_param import RealtimeAudioFormatsParam
from openai.types.realtime.realtime_client_event_param import RealtimeClientEventParam
from openai.types.realtime.realtime_function_tool_param import RealtimeFunctionToolParam
from openai.types.realtime.realtime_session_create_request_param import RealtimeSessionCreateRequestParam

from ._openai_config import OpenAIConfig
from .base import HANG_UP, AudioFormat

_encode = msgspec.json.Encoder().encode

_GA_FORMATS: dict[str, RealtimeAudioFormatsParam] = {
    "pcmu": {"type": "audio/pcmu"},
    "pcma": {"type": "audio/pcma"},
    "pcm16": {"type": "audio/pcm", "rate": 24000},
}
_BETA_FORMATS = {"pcmu": "g711_ulaw", "pcma": "g711_alaw", "pcm16": "pcm16"}

_HANG_UP_TOOL: RealtimeFunctionToolParam = {
    "type": "function",
    "name": HANG_UP,
    "description": "Ends the phone call. Use it only after you have said goodbye, or when the caller asks for it.",
    "parameters": {
        "type": "object",
        "properties": {"reason": {"type": "string", "description": "Why the call ends, in a few words."}},
    },
}


def _tools(config: OpenAIConfig) -> list[RealtimeFunctionToolParam]:
    declared: list[RealtimeFunctionToolParam] = [
        {"type": "function", "name": tool.name, "description": tool.description, "parameters": tool.parameters}
        for tool in config.tools
    ]
    return [*declared, _HANG_UP_TOOL] if config.hang_up else declared


def _turn_detection(config: OpenAIConfig) -> Any:
    if config.turn_detection == "none":
        return None
    return config.turn_detection.model_dump(exclude_none=True)


def _ga_session(config: OpenAIConfig, audio: AudioFormat) -> RealtimeSessionCreateRequestParam:
    sides: RealtimeAudioConfigParam = {
        "input": {"format": _GA_FORMATS[audio.encoding]},
        "output": {"format": _GA_FORMATS[audio.encoding], "voice": config.voice},
    }
    received, sent = sides["input"], sides["output"]
    received["turn_detection"] = _turn_detection(config)
    if config.noise_reduction != "none":
        received["noise_reduction"] = {"type": config.noise_reduction}
    if config.transcription != "none":
        transcription: Any = config.transcription.model_dump(exclude_none=True)
        received["transcription"] = transcription
    if config.speed is not None:
        sent["speed"] = config.speed
    session: RealtimeSessionCreateRequestParam = {
        "type": "realtime",
        "output_modalities": ["audio"],
        "audio": sides,
        "tools": list(_tools(config)),
    }
    if config.max_output_tokens is not None:
        session["max_output_tokens"] = config.max_output_tokens
    if config.reasoning_effort is not None:
        session["reasoning"] = {"effort": config.reasoning_effort}
    if config.instructions is not None:
        session["instructions"] = config.instructions
    return session


def _beta_session(config: OpenAIConfig, audio: AudioFormat) -> dict[str, Any]:
    session: dict[str, Any] = {
        "modalities": ["text", "audio"],
        "input_audio_format": _BETA_FORMATS[audio.encoding],
        "output_audio_format": _BETA_FORMATS[audio.encoding],
        "voice": config.voice,
        "turn_detection": _turn_detection(config),
        "tools": _tools(config),
    }
    if config.transcription != "none":
        session["input_audio_transcription"] = config.transcription.model_dump(exclude_none=True)
    if config.speed is not None:
        session["speed"] = config.speed
    if config.max_output_tokens is not None:
        session["max_response_output_tokens"] = config.max_output_tokens
    if config.instructions is not None:
        session["instructions"] = config.instructions
    return session


def session_update(config: OpenAIConfig, audio: AudioFormat) -> bytes:
    """`session.update` with everything that the configuration says."""
    session = _ga_session(config, audio) if config.dialect == "ga" else _beta_session(config, audio)
    return _encode({"type": "session.update", "session": session})


def refused_format(session: Any, config: OpenAIConfig, audio: AudioFormat) -> str | None:
    """The format that the service configured instead of ours, from `session.updated`; None when it agrees or says
    nothing."""
    if not isinstance(session, dict):
        return None
    if config.dialect == "beta":
        wanted = _BETA_FORMATS[audio.encoding]
        found = [session.get("input_audio_format"), session.get("output_audio_format")]
    else:
        wanted = _GA_FORMATS[audio.encoding].get("type")
        sides = session.get("audio")
        found = []
        for side in ("input", "output"):
            half = sides.get(side) if isinstance(sides, dict) else None
            format_ = half.get("format") if isinstance(half, dict) else None
            found.append(format_.get("type") if isinstance(format_, dict) else None)
    return next((name for name in found if isinstance(name, str) and name != wanted), None)


def message_item(role: str, text: str, dialect: str) -> ConversationItemParam:
    """A text message of `user` or `assistant` as a conversation item."""
    if role == "user":
        return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    if dialect == "beta":
        item: Any = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": text}]}
        return item
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


def function_call_item(call_id: str, name: str, arguments: str) -> ConversationItemParam:
    """A call that the agent made, told again to a new session."""
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}


def function_output_item(call_id: str, output: str) -> ConversationItemParam:
    """The result of a call."""
    return {"type": "function_call_output", "call_id": call_id, "output": output}


def item_create(item: ConversationItemParam) -> bytes:
    """Append an item to the conversation."""
    return _event({"type": "conversation.item.create", "item": item})


def item_truncate(item_id: str, audio_end_ms: int, event_id: str) -> bytes:
    """Tell how much of an item's audio was heard."""
    return _event(
        {
            "type": "conversation.item.truncate",
            "event_id": event_id,
            "item_id": item_id,
            "content_index": 0,
            "audio_end_ms": audio_end_ms,
        }
    )


def response_create(event_id: str, instructions: str | None = None) -> bytes:
    """Let the agent speak, by the session's instructions or by these."""
    if instructions is None:
        return _event({"type": "response.create", "event_id": event_id})
    return _event({"type": "response.create", "event_id": event_id, "response": {"instructions": instructions}})


def response_cancel(event_id: str) -> bytes:
    """Stop the running response; no id, for servers that know none."""
    return _event({"type": "response.cancel", "event_id": event_id})


def _event(event: RealtimeClientEventParam) -> bytes:
    return _encode(event)
