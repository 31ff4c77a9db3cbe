"""Server events of OpenAI Realtime as plain objects, in the GA form, and their beta form for older clients."""

from typing import Any

Event = dict[str, Any]

FORMATS = {"audio/pcmu": "pcmu", "audio/pcma": "pcma", "audio/pcm": "pcm16"}
_BETA_FORMATS = {"audio/pcmu": "g711_ulaw", "audio/pcma": "g711_alaw", "audio/pcm": "pcm16"}
_GA_FORMATS = {beta: ga for ga, beta in _BETA_FORMATS.items()}
_BETA_TYPES = {
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
    "conversation.item.added": "conversation.item.created",
}
_BETA_CONTENT = {"output_audio": "audio", "output_text": "text"}


def default_session(model: str) -> Event:
    """What a session is before session.update."""
    return {
        "type": "realtime",
        "model": model,
        "output_modalities": ["audio"],
        "instructions": "",
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": {
                    "type": "server_vad",
                    "threshold": 0.5,
                    "prefix_padding_ms": 300,
                    "silence_duration_ms": 500,
                    "create_response": True,
                    "interrupt_response": True,
                },
            },
            "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "marin", "speed": 1.0},
        },
    }


def merge(session: Event, update: Event) -> None:
    """Apply session.update: objects are merged, everything else replaced; a format is always replaced."""
    for key, value in update.items():
        below = session.get(key)
        if isinstance(value, dict) and isinstance(below, dict) and key not in ("format", "turn_detection"):
            merge(below, value)
        else:
            session[key] = value


def from_beta(session: Event) -> Event:
    """A flat beta session as the GA one."""
    audio_in: Event = {}
    audio_out: Event = {}
    ga: Event = {"audio": {"input": audio_in, "output": audio_out}}
    for key, value in session.items():
        if key == "input_audio_format":
            audio_in["format"] = {"type": _GA_FORMATS.get(value, value)}
        elif key == "output_audio_format":
            audio_out["format"] = {"type": _GA_FORMATS.get(value, value)}
        elif key in ("voice", "speed"):
            audio_out[key] = value
        elif key == "turn_detection":
            audio_in["turn_detection"] = value
        elif key == "input_audio_transcription":
            audio_in["transcription"] = value
        elif key == "max_response_output_tokens":
            ga["max_output_tokens"] = value
        elif key != "modalities":
            ga[key] = value
    return ga


def to_beta(event: Event) -> Event | None:
    """The beta form of an event; None when the beta had none."""
    kind = event["type"]
    if kind == "conversation.item.done":
        return None
    beta = {**event, "type": _BETA_TYPES.get(kind, kind)}
    if "session" in event:
        beta["session"] = _beta_session(event["session"])
    if "item" in event:
        beta["item"] = _beta_item(event["item"])
    if "response" in event:
        response = event["response"]
        beta["response"] = {**response, "output": [_beta_item(item) for item in response["output"]]}
    if kind == "response.function_call_arguments.done":
        del beta["name"]
    return beta


def _beta_session(session: Event) -> Event:
    audio = session["audio"]
    return {
        "model": session["model"],
        "modalities": ["text", "audio"],
        "instructions": session["instructions"],
        "voice": audio["output"]["voice"],
        "input_audio_format": _BETA_FORMATS[audio["input"]["format"]["type"]],
        "output_audio_format": _BETA_FORMATS[audio["output"]["format"]["type"]],
        "input_audio_transcription": audio["input"]["transcription"],
        "turn_detection": audio["input"]["turn_detection"],
        "tools": session["tools"],
    }


def _beta_item(item: Event) -> Event:
    if "content" not in item:
        return item
    content = [{**part, "type": _BETA_CONTENT.get(part["type"], part["type"])} for part in item["content"]]
    return {**item, "content": content}


def error(code: str, message: str, about: str | None, param: str | None = None) -> Event:
    """An `error` event about the client event of this id."""
    return {
        "type": "error",
        "error": {
            "type": "invalid_request_error",
            "code": code,
            "message": message,
            "param": param,
            "event_id": about,
        },
    }


def usage(caller_ms: float, agent_ms: float, text: str) -> Event:
    """Token counts of a response at the service's rates: the caller's audio 10 a second, the agent's 20."""
    spoken, heard, written = int(agent_ms / 50), int(caller_ms / 100), len(text) // 4
    return {
        "total_tokens": spoken + heard + written,
        "input_tokens": heard,
        "output_tokens": spoken + written,
        "input_token_details": {"text_tokens": 0, "audio_tokens": heard, "image_tokens": 0, "cached_tokens": 0},
        "output_token_details": {"text_tokens": written, "audio_tokens": spoken},
    }
