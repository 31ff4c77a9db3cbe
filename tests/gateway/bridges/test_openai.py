"""The OpenAI bridge against the lab's agent on loopback sockets, and its conversation event by event."""

import asyncio
import json
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.realtime.realtime_client_event import RealtimeClientEvent
from pydantic import TypeAdapter, ValidationError

from trunkline.gateway.bridges import _openai_line, base, openai
from trunkline.gateway.bridges._openai_conversation import Conversation
from trunkline.gateway.bridges._openai_session import refused_format, session_update
from trunkline.gateway.bridges._openai_waits import DTMF_PAUSE_S
from trunkline.gateway.bridges.base import (
    AudioDelta,
    AudioDone,
    AudioFormat,
    BridgeEvent,
    BridgeRefused,
    BridgeUnreachable,
    CallContext,
    Closed,
    Heard,
    Reconnected,
    ResponseDone,
    ResponseStarted,
    ServiceError,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
    Transcript,
)
from trunkline.gateway.bridges.openai import OpenAIBridge, OpenAIConfig
from trunkline.gateway.lab.agent import AgentOptions, AgentServer, Faults
from trunkline.gateway.lab.voice import speech, words

KEY = "sk-lab-0123456789"
E = TypeVar("E")
PCMU = AudioFormat("pcmu", 8000)
CLIENT_EVENT = TypeAdapter(RealtimeClientEvent)


def config(**fields: Any) -> OpenAIConfig:
    return OpenAIConfig.model_validate({"provider": "openai", "api_key": KEY, **fields})


def context(encoding: Any = "pcmu", rate: int = 8000) -> CallContext:
    return CallContext("0198", "inbound", "+15550100", "+15550199", AudioFormat(encoding, rate))


class Talk:
    """A bridge whose events are read as a call's owner reads them."""

    def __init__(self, bridge: OpenAIBridge) -> None:
        self.bridge = bridge
        self.events: list[BridgeEvent] = []
        self._progress = asyncio.Condition()
        self._reader: asyncio.Task[None] | None = None

    async def open(self) -> "Talk":
        await self.bridge.open()
        self._reader = asyncio.get_running_loop().create_task(self._read())
        return self

    async def _read(self) -> None:
        async for event in self.bridge.events():
            async with self._progress:
                self.events.append(event)
                self._progress.notify_all()

    def all(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, kind: type[E], count: int = 1, timeout_s: float = 10) -> list[E]:
        """Wait for so many events of this kind; returns them."""
        async with asyncio.timeout(timeout_s), self._progress:
            await self._progress.wait_for(lambda: len(self.all(kind)) >= count)
        return self.all(kind)

    def audio(self) -> dict[str, bytes]:
        heard: dict[str, bytes] = {}
        for event in self.all(AudioDelta):
            heard[event.item_id] = heard.get(event.item_id, b"") + event.audio
        return heard

    def say(self, octets: bytes, silence_ms: int = 800) -> None:
        octets += b"\xff" * (8 * silence_ms)
        for start in range(0, len(octets), 160):
            self.bridge.send(octets[start : start + 160])

    async def close(self) -> None:
        await self.bridge.close()
        if self._reader is not None:
            await self._reader


Call = Callable[..., Awaitable[Talk]]


@pytest.fixture
async def call() -> AsyncIterator[Call]:
    """Opens a call's bridge to a server, and closes it after the test."""
    talks: list[Talk] = []

    async def make(server: AgentServer, talk_context: CallContext | None = None, **fields: Any) -> Talk:
        bridge = openai.BRIDGE.bridge(config(base_url=server.url, **fields), talk_context or context())
        talk = await Talk(bridge).open()
        talks.append(talk)
        return talk

    yield make
    for talk in talks:
        await talk.close()


# Configuration


def test_the_module_is_found_by_name_and_its_parts_are_not() -> None:
    assert "openai" in base.providers()
    assert not [name for name in base.providers() if name.startswith("_")]
    assert base.load("openai") is openai.BRIDGE


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"api_key": None}, "api_key is needed"),
        ({"instructions": "a", "instructions_file": "/x"}, "exclude each other"),
        ({"instructions_file": "/does/not/exist"}, "No such file"),
        ({"base_url": "ftp://x"}, "must be a ws://"),
        ({"tools": [{"name": "hang_up"}]}, "same name"),
        ({"tools": [{"name": "white space"}]}, "should match pattern"),
        ({"turn_detection": {"type": "server_vad", "eagerness": "low"}}, "Extra inputs"),
        ({"speed": 9}, "less than or equal to 1.5"),
        ({"voise": "marin"}, "Extra inputs"),
    ],
)
def test_a_bad_configuration_names_the_reason_and_no_secret(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason) as error:
        config(**fields)
    assert KEY not in str(error.value)


def test_instructions_come_from_a_file_when_the_configuration_is_read(tmp_path: Path) -> None:
    path = tmp_path / "reception.txt"
    path.write_text("Sei höflich.", encoding="utf-8")
    read = config(instructions_file=path)
    path.unlink()
    assert read.instructions == "Sei höflich."


@pytest.mark.parametrize(
    ("given_url", "url"),
    [
        ("http://10.0.0.1:8000/v1/", "ws://10.0.0.1:8000/v1"),
        ("https://host/v1", "wss://host/v1"),
        ("wss://host/v1/realtime", "wss://host/v1"),
    ],
)
def test_a_base_url_becomes_a_websocket_address(given_url: str, url: str) -> None:
    assert config(base_url=given_url).base_url == url


def test_the_key_is_in_no_text_of_the_configuration() -> None:
    assert KEY not in repr(config()) + str(config()) + config().model_dump_json()


def test_formats_follow_the_call() -> None:
    def formats(encoding: str, rate: int, **fields: Any) -> AudioFormat:
        bridge = openai.BRIDGE.bridge(config(**fields), context(encoding, rate))
        assert bridge.input_format == bridge.output_format
        return bridge.output_format

    assert formats("pcma", 8000) == AudioFormat("pcma", 8000)
    assert formats("pcm16", 24000) == AudioFormat("pcm16", 24000)
    assert formats("pcmu", 8000, audio="pcm16") == AudioFormat("pcm16", 24000)


def test_the_ga_session_says_what_the_configuration_says() -> None:
    tool = {"name": "lookup", "description": "Finds.", "parameters": {"type": "object", "properties": {}}}
    update = json.loads(
        session_update(
            config(
                instructions="Be brief.",
                tools=[tool],
                turn_detection={"type": "semantic_vad", "eagerness": "high"},
                noise_reduction="far_field",
                transcription={"model": "whisper-1", "language": "de"},
                speed=1.1,
                max_output_tokens=900,
                reasoning_effort="low",
            ),
            AudioFormat("pcma", 8000),
        )
    )
    CLIENT_EVENT.validate_python(update)
    names = [entry["name"] for entry in update["session"].pop("tools")]
    assert names == ["lookup", "hang_up"]
    assert update["session"] == {
        "type": "realtime",
        "output_modalities": ["audio"],
        "instructions": "Be brief.",
        "max_output_tokens": 900,
        "reasoning": {"effort": "low"},
        "audio": {
            "input": {
                "format": {"type": "audio/pcma"},
                "turn_detection": {
                    "type": "semantic_vad",
                    "eagerness": "high",
                    "create_response": True,
                    "interrupt_response": True,
                },
                "noise_reduction": {"type": "far_field"},
                "transcription": {"model": "whisper-1", "language": "de"},
            },
            "output": {"format": {"type": "audio/pcma"}, "voice": "marin", "speed": 1.1},
        },
    }


def test_no_turn_detection_is_said_as_null() -> None:
    ga = json.loads(session_update(config(turn_detection="none"), PCMU))["session"]
    beta = json.loads(session_update(config(turn_detection="none", dialect="beta"), PCMU))["session"]
    assert ga["audio"]["input"]["turn_detection"] is None
    assert beta["turn_detection"] is None


def test_the_beta_session_is_flat() -> None:
    made = config(dialect="beta", instructions="Be brief.", speed=1.2, max_output_tokens=100, hang_up=False)
    assert json.loads(session_update(made, PCMU))["session"] == {
        "modalities": ["text", "audio"],
        "input_audio_format": "g711_ulaw",
        "output_audio_format": "g711_ulaw",
        "voice": "marin",
        "turn_detection": {"type": "server_vad", "create_response": True, "interrupt_response": True},
        "tools": [],
        "input_audio_transcription": {"model": "gpt-transcribe"},
        "speed": 1.2,
        "max_response_output_tokens": 100,
        "instructions": "Be brief.",
    }


@pytest.mark.parametrize("session", [None, 5, {}, {"audio": 5}, {"audio": {"input": {"format": []}}}])
def test_a_server_that_repeats_no_format_is_believed(session: Any) -> None:
    assert refused_format(session, config(), PCMU) is None


# The conversation, event by event

BETA_NAMES = {
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
    "conversation.item.added": "conversation.item.created",
}


class Server:
    """Plays the service to a Conversation; keeps what the conversation wants to send."""

    def __init__(self, dialect: str = "ga", **fields: Any) -> None:
        self.dialect = dialect
        self.now = 100.0
        self.conversation = Conversation(config(dialect=dialect, **fields), PCMU)
        self.says("session.created", session={})
        self.conversation.configure()
        self.says("session.updated", session={})
        self.sent()

    def says(self, kind: str, **fields: Any) -> list[BridgeEvent]:
        if self.dialect == "beta":
            kind = BETA_NAMES.get(kind, kind)
        message = json.dumps({"event_id": "e", "type": kind, **fields}).encode()
        return list(self.conversation.receive(message, self.now))

    def starts(self, response_id: str = "r1") -> list[BridgeEvent]:
        return self.says("response.created", response={"id": response_id, "status": "in_progress"})

    def speaks(self, octets: int, item: str = "i1", response: str = "r1") -> list[BridgeEvent]:
        delta = b64encode(bytes(octets)).decode()
        return self.says(
            "response.output_audio.delta", response_id=response, item_id=item, output_index=0, content_index=0,
            delta=delta,
        )  # fmt: skip

    def ends(self, response: str = "r1", status: str = "completed", **fields: Any) -> list[BridgeEvent]:
        return self.says("response.done", response={"id": response, "status": status, **fields})

    def sent(self) -> list[dict[str, Any]]:
        """What the conversation wants to send since the last time; in the GA dialect all of it is the package's."""
        messages = [json.loads(message) for message in self.conversation.outbox]
        self.conversation.outbox.clear()
        for message in messages:
            if self.dialect == "ga":
                CLIENT_EVENT.validate_python(message)
            message.pop("event_id", None)
        return messages

    def calls(self, call_id: str, name: str, arguments: str = "{}") -> list[BridgeEvent]:
        item = {"id": f"i_{call_id}", "type": "function_call", "call_id": call_id, "name": name}
        events = self.says("response.output_item.added", response_id="r1", output_index=0, item=item)
        named = {} if self.dialect == "beta" else {"name": name}
        events += self.says(
            "response.function_call_arguments.done", response_id="r1", item_id=item["id"], output_index=0,
            call_id=call_id, arguments=arguments, **named,
        )  # fmt: skip
        done = {**item, "arguments": arguments, "status": "completed"}
        return events + self.says("response.output_item.done", response_id="r1", output_index=0, item=done)


CREATE = {"type": "response.create"}
CANCEL = {"type": "response.cancel"}


def truncate(item_id: str, audio_end_ms: int) -> dict[str, Any]:
    return {
        "type": "conversation.item.truncate",
        "item_id": item_id,
        "content_index": 0,
        "audio_end_ms": audio_end_ms,
    }


def output_of(call_id: str, output: str) -> dict[str, Any]:
    item = {"type": "function_call_output", "call_id": call_id, "output": output}
    return {"type": "conversation.item.create", "item": item}


def user_says(text: str) -> dict[str, Any]:
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    return {"type": "conversation.item.create", "item": item}


both_dialects = pytest.mark.parametrize("dialect", ["ga", "beta"])


@both_dialects
def test_every_event_has_its_meaning(dialect: str) -> None:
    server = Server(dialect)
    usage = {"total_tokens": 30, "output_token_details": {"audio_tokens": 20}}
    events = server.starts()
    events += server.speaks(160) + server.speaks(7)
    events += server.says("response.output_audio.done", response_id="r1", item_id="i1")
    events += server.says("response.output_audio_transcript.done", item_id="i1", transcript=" Hello. ")
    events += server.ends(usage=usage)
    events += server.says("input_audio_buffer.speech_started", audio_start_ms=0, item_id="u1")
    events += server.says("input_audio_buffer.speech_stopped", audio_end_ms=900, item_id="u1")
    events += server.says(
        "conversation.item.input_audio_transcription.completed", item_id="u1", content_index=0, transcript="Hi.",
        usage={"type": "duration", "seconds": 1.5},
    )  # fmt: skip
    assert events == [
        ResponseStarted(),
        AudioDelta("i1", bytes(160)),
        AudioDelta("i1", bytes(7)),
        AudioDone("i1"),
        Transcript("agent", "i1", "Hello."),
        ResponseDone("completed", usage),
        SpeechStarted("u1"),
        SpeechStopped(),
        Transcript("caller", "u1", "Hi."),
    ]
    assert server.sent() == []


def test_transcription_is_counted_with_the_next_response() -> None:
    server = Server()
    kind = "conversation.item.input_audio_transcription.completed"
    for seconds in (1.5, 2.0):
        server.says(kind, item_id="u1", transcript="Hi.", usage={"type": "duration", "seconds": seconds})
    server.says(kind, item_id="u2", transcript="Hi.", usage={"total_tokens": 3, "input_token_details": {"x": 2}})
    server.starts()
    counted = {"seconds": 3.5, "total_tokens": 3, "input_token_details": {"x": 2}}
    assert server.ends(usage={"total_tokens": 9}) == [
        ResponseDone("completed", {"total_tokens": 9, "transcription": counted})
    ]
    server.starts("r2")
    assert server.ends("r2", usage={"total_tokens": 9}) == [ResponseDone("completed", {"total_tokens": 9})]


@both_dialects
def test_an_interruption_cancels_drops_and_truncates(dialect: str) -> None:
    server = Server(dialect, turn_detection={"type": "server_vad", "interrupt_response": False})
    server.starts()
    server.speaks(8 * 500, "i1")
    server.says("response.output_audio.done", response_id="r1", item_id="i1")
    server.speaks(8 * 300, "i2")
    server.conversation.interrupt([Heard("i1", 240.875, 500.0), Heard("i2", 0.0, 300.0)])
    assert server.sent() == [CANCEL, truncate("i1", 240), truncate("i2", 0)]
    assert server.speaks(160, "i2") == []
    assert server.speaks(160, "i3") == []  # a further item of the cancelled response
    assert server.ends(status="cancelled") == [ResponseDone("cancelled", {})]
    server.starts("r2")
    assert server.speaks(160, "i4", "r2") == [AudioDelta("i4", bytes(160))]


def test_no_cancel_when_the_service_cancels_by_itself_or_nothing_runs() -> None:
    server = Server()
    server.starts()
    server.speaks(8 * 500)
    server.says("input_audio_buffer.speech_started", audio_start_ms=0, item_id="u1")
    server.conversation.interrupt([Heard("i1", 100.0, 500.0)])
    assert server.sent() == [truncate("i1", 100)]
    server.ends(status="cancelled")
    server.starts("r2")
    server.speaks(8 * 500, "i2", "r2")
    server.ends("r2")
    server.conversation.interrupt([Heard("i2", 20.0, 500.0)])
    assert server.sent() == [truncate("i2", 20)]


def test_a_beta_server_is_always_told_to_cancel() -> None:
    server = Server("beta")
    server.starts()
    server.says("input_audio_buffer.speech_started", audio_start_ms=0, item_id="u1")
    server.conversation.interrupt([])
    assert server.sent() == [CANCEL]


def restarted(server: Server) -> list[dict[str, Any]]:
    """What a new session is told."""
    server.conversation.restart()
    server.says("session.created", session={})
    server.conversation.configure()
    server.says("session.updated", session={})
    server.conversation.resume()
    return server.sent()[1:]


def agent_said(text: str) -> dict[str, Any]:
    item = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}
    return {"type": "conversation.item.create", "item": item}


def test_a_new_session_is_told_what_was_heard_and_not_more() -> None:
    server = Server()
    server.starts()
    server.says("response.output_item.added", item={"id": "i1", "type": "message", "role": "assistant"})
    server.says("response.output_item.added", item={"id": "i2", "type": "message", "role": "assistant"})
    server.speaks(8 * 1000, "i1")
    server.speaks(8 * 1000, "i2")
    server.says("input_audio_buffer.speech_started", audio_start_ms=0, item_id="u1")
    server.conversation.interrupt([Heard("i1", 500.0, 1000.0), Heard("i2", 0.0, 1000.0)])
    server.says("response.output_audio_transcript.done", item_id="i1", transcript="one two three four five six")
    server.says("response.output_audio_transcript.done", item_id="i2", transcript="seven eight")
    server.ends(status="cancelled")
    server.says("input_audio_buffer.speech_stopped", audio_end_ms=900, item_id="u1")
    server.says("input_audio_buffer.committed", item_id="u1")
    server.sent()
    lost = "[The caller said something that was lost with the connection. Ask them to say it again.]"
    assert restarted(server) == [agent_said("one two"), user_says(lost), CREATE]


def test_a_new_session_knows_the_calls_and_waits_for_their_results() -> None:
    server = Server()
    server.starts()
    server.calls("c1", "lookup", "{}")
    server.calls("c2", "lookup", "{}")
    server.conversation.send_tool_result("c1", "one")
    server.sent()

    def call_of(call_id: str) -> dict[str, Any]:
        item = {"type": "function_call", "call_id": call_id, "name": "lookup", "arguments": "{}"}
        return {"type": "conversation.item.create", "item": item}

    assert restarted(server) == [call_of("c1"), output_of("c1", "one"), call_of("c2")]
    server.conversation.send_tool_result("c2", "two")
    assert server.sent() == [output_of("c2", "two"), CREATE]


def test_a_result_that_comes_while_no_session_is_up_is_told_to_the_next() -> None:
    server = Server()
    server.starts()
    server.calls("c1", "lookup", "{}")
    server.conversation.restart()
    server.conversation.send_tool_result("c1", "one")
    server.conversation.send_dtmf("#", 0.0)
    assert server.sent() == []
    told = restarted(server)
    assert told[1:] == [output_of("c1", "one"), user_says("[The caller pressed # on the keypad]"), CREATE]


def test_a_greeting_that_was_lost_is_said_by_the_new_session() -> None:
    server = Server(greeting="Hello.")
    server.conversation.greet()
    (greeting,) = server.sent()
    assert restarted(server) == [greeting]


def test_the_gateways_own_interruption_cancels_though_the_service_could_itself() -> None:
    server = Server()
    server.starts()
    server.conversation.interrupt([])
    assert server.sent() == [CANCEL]
    server.conversation.interrupt([])
    assert server.sent() == []  # once


@pytest.mark.parametrize(
    ("heard_ms", "sent"),
    [(1e9, [truncate("i1", 500)]), (-3.0, [truncate("i1", 0)]), (500.0, [truncate("i1", 500)])],
)
def test_truncation_stays_within_what_was_received(heard_ms: float, sent: list[dict[str, Any]]) -> None:
    server = Server()
    server.starts()
    server.speaks(8 * 500)
    server.says("input_audio_buffer.speech_started", audio_start_ms=0, item_id="u1")
    server.conversation.interrupt([Heard("i1", heard_ms, 500.0), Heard("unknown", 5.0, 9.0)])
    assert server.sent() == sent


def test_an_item_heard_to_its_end_is_not_truncated() -> None:
    server = Server()
    server.starts()
    server.speaks(8 * 500)
    server.says("response.output_audio.done", response_id="r1", item_id="i1")
    server.ends()
    server.conversation.interrupt([Heard("i1", 500.0, 500.0)])
    assert server.sent() == []


def test_a_server_without_response_ids_is_muted_until_its_next_response() -> None:
    server = Server("beta", turn_detection={"type": "server_vad", "interrupt_response": False})
    server.says("response.created", response={})
    server.speaks(160, "i1", "")
    server.conversation.interrupt([Heard("i1", 10.0, 20.0)])
    assert server.speaks(160, "i2", "") == []
    server.says("response.done", response={})
    server.says("response.created", response={})
    assert server.speaks(160, "i3", "") == [AudioDelta("i3", bytes(160))]


def test_errors_about_cancelling_and_truncating_are_harmless() -> None:
    server = Server(turn_detection={"type": "server_vad", "interrupt_response": False})
    server.starts()
    server.speaks(80)
    server.conversation.interrupt([Heard("i1", 5.0, 10.0)])
    for message in map(json.loads, server.conversation.outbox):
        error = {"type": "invalid_request_error", "code": "x", "message": "m", "event_id": message["event_id"]}
        assert server.says("error", error=error) == []
    assert server.says("error", error={"type": "e", "code": "response_cancel_not_active", "message": ""}) == []


def test_other_errors_are_reported_without_the_key() -> None:
    server = Server()
    error = {"type": "server_error", "message": f"{KEY} is odd"}
    assert server.says("error", error=error) == [ServiceError("server_error", "*** is odd")]


@pytest.mark.parametrize("named", [True, False])
def test_a_refused_response_does_not_stop_later_ones(named: bool) -> None:
    server = Server(greeting=True)
    server.conversation.greet()
    event_id = json.loads(server.conversation.outbox[-1])["event_id"] if named else None
    server.sent()
    server.says("error", error={"type": "e", "code": "no", "message": "", "event_id": event_id})
    server.conversation.send_dtmf("#", 0.0)
    assert server.sent()[-1] == CREATE


@both_dialects
def test_a_tool_is_called_once_and_the_agent_goes_on_after_all_results(dialect: str) -> None:
    server = Server(dialect)
    server.starts()
    assert server.calls("c1", "lookup", '{"a":1}') == [ToolCall("c1", "lookup", '{"a":1}')]
    assert server.calls("c2", "lookup") == [ToolCall("c2", "lookup", "{}")]
    server.conversation.send_tool_result("c1", "one")
    assert server.sent() == [output_of("c1", "one")]
    call = {"type": "function_call", "call_id": "c2", "name": "lookup", "arguments": "{}", "status": "completed"}
    assert server.ends(output=[call]) == [ResponseDone("completed", {})]
    assert server.sent() == []  # c2 is still out
    server.conversation.send_tool_result("c2", "two")
    assert server.sent() == [output_of("c2", "two"), CREATE]
    server.conversation.send_tool_result("c2", "again")
    server.conversation.send_tool_result("unknown", "x")
    assert server.sent() == []


def test_a_call_that_only_the_finished_response_names_is_made() -> None:
    server = Server()
    server.starts()
    call = {"type": "function_call", "call_id": "c1", "name": "lookup", "arguments": "{}"}
    assert server.ends(output=[call]) == [ToolCall("c1", "lookup", "{}"), ResponseDone("completed", {})]


def test_results_wait_for_the_running_response() -> None:
    server = Server()
    server.starts()
    server.calls("c1", "lookup")
    server.conversation.send_tool_result("c1", "one")
    assert server.sent() == [output_of("c1", "one")]
    server.ends()
    assert server.sent() == [CREATE]


def test_nothing_follows_a_hang_up() -> None:
    server = Server()
    server.starts()
    server.calls("c1", "hang_up")
    server.ends()
    server.conversation.send_tool_result("c1", "ok")
    assert server.sent() == [output_of("c1", "ok")]


def test_a_response_that_began_after_the_result_needs_no_other() -> None:
    server = Server()
    server.starts()
    server.calls("c1", "lookup")
    server.ends()
    server.says("input_audio_buffer.speech_started", audio_start_ms=0, item_id="u1")
    server.conversation.send_tool_result("c1", "one")
    assert server.sent() == [output_of("c1", "one")]  # the caller speaks: their turn is answered anyway
    server.says("conversation.item.added", item={"type": "function_call_output", "call_id": "c1", "output": "one"})
    server.says("input_audio_buffer.speech_stopped", audio_end_ms=0, item_id="u1")
    server.starts("r2")
    server.ends("r2")
    assert server.sent() == []


def test_a_response_that_was_refused_because_one_runs_is_asked_for_again() -> None:
    server = Server()
    server.starts()
    server.calls("c1", "lookup")
    server.ends()
    server.conversation.send_tool_result("c1", "one")
    assert server.sent()[-1] == CREATE
    error = {"type": "invalid_request_error", "code": "conversation_already_has_active_response", "message": ""}
    assert server.says("error", error=error) == []
    server.starts("r2")  # the one that ran, begun before the result was there
    server.ends("r2")
    assert server.sent() == [CREATE]


def test_keys_are_told_together_after_a_pause() -> None:
    server = Server()
    conversation = server.conversation
    conversation.send_dtmf("1", 10.0)
    conversation.send_dtmf("2", 11.0)
    assert conversation.timer == 11.0 + DTMF_PAUSE_S
    conversation.handle_timer(12.4)
    assert server.sent() == []
    conversation.handle_timer(12.5)
    assert server.sent() == [user_says("[The caller pressed 1 2 on the keypad]"), CREATE]
    assert conversation.timer is None


def test_the_hash_key_ends_what_is_keyed_in() -> None:
    server = Server()
    server.starts()
    server.conversation.send_dtmf("4", 10.0)
    server.conversation.send_dtmf("#", 10.2)
    assert server.sent() == [user_says("[The caller pressed 4 # on the keypad]")]
    server.ends()
    assert server.sent() == [CREATE]


def test_a_rate_limited_response_is_asked_for_once_more_after_the_reset() -> None:
    server = Server()
    failed = {"type": "failed", "error": {"type": "requests", "code": "rate_limit_exceeded", "message": "Slow down."}}
    limits = [{"name": "requests", "remaining": 0, "reset_seconds": 3.0}, {"name": "tokens", "remaining": 5}]
    server.starts()
    server.says("rate_limits.updated", rate_limits=limits)
    events = server.ends(status="failed", status_details=failed)
    assert events == [ServiceError("rate_limit_exceeded", "Slow down."), ResponseDone("failed", {})]
    assert server.conversation.timer == server.now + 3.0
    server.conversation.handle_timer(server.now + 3.0)
    assert server.sent() == [CREATE]
    server.starts("r2")
    server.ends("r2", status="failed", status_details=failed)
    assert server.conversation.timer is None  # once


@pytest.mark.parametrize("code", ["server_error", "insufficient_quota"])
def test_a_response_that_fails_for_another_reason_is_asked_for_once_more_at_once(code: str) -> None:
    server = Server()
    failed = {"type": "failed", "error": {"type": "error", "code": code, "message": "No."}}
    for response, due in (("r1", server.now + 0.5), ("r2", None)):
        server.starts(response)
        server.ends(response, status="failed", status_details=failed)
        assert server.conversation.timer == due
        server.conversation.handle_timer(server.now + 0.5)
    assert server.sent() == [CREATE]


def test_audio_that_no_done_event_ends_is_ended_by_the_response() -> None:
    server = Server("beta")
    server.starts()
    server.speaks(80)
    assert server.ends() == [AudioDone("i1"), ResponseDone("completed", {})]


def test_memory_is_bounded() -> None:
    server = Server()
    for number in range(1000):
        response, item, call = f"r{number}", f"i{number}", f"c{number}"
        server.starts(response)
        server.says("response.output_item.added", item={"id": item, "type": "message"})
        server.says("response.output_audio_transcript.delta", item_id=item, delta="word " * 50)
        server.speaks(8, item, response)
        server.calls(call, "lookup")
        server.conversation.interrupt([Heard(item, 0.0, 1.0)])
        server.conversation.send_tool_result(call, "ok")
    conversation = server.conversation
    audio = conversation._audio
    for memory in (
        audio._octets, audio._open_items, audio._dropped, conversation._called, conversation._function_names,
    ):  # fmt: skip
        assert len(memory) <= 128
    assert len(conversation._history._entries) <= 60
    assert sum(map(len, map(str, conversation._history.items("ga")))) < 60_000


@settings(deadline=None)
@given(st.binary())
def test_no_octets_of_the_service_raise(data: bytes) -> None:
    server = Server()
    server.conversation.receive(data, 0.0)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_names = ["response", "item", "item_id", "delta", "error", "session", "call_id", "name", "arguments", "transcript",
          "rate_limits", "usage", "response_id", "status", "output", "status_details", "id", "type",
          "code"]  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(sorted(Conversation._HANDLERS)),
                          st.dictionaries(st.sampled_from(_names), _json)), max_size=12))  # fmt: skip
def test_no_events_of_the_service_raise(events: list[tuple[str, dict[str, Any]]]) -> None:
    server = Server()
    for kind, fields in events:
        message = json.dumps({**fields, "type": kind}).encode()
        server.conversation.receive(message, server.now)
        server.conversation.interrupt([Heard("i1", 1.0, 2.0)])
    server.conversation.restart()
    server.conversation.resume()


# Over sockets


@both_dialects
async def test_a_whole_call(call: Call, dialect: str) -> None:
    options = AgentOptions(api_key=KEY, speed=0, dialect=dialect, script=("greeting", "hours", "goodbye:hang_up"))
    async with AgentServer(options=options) as server:
        talk = await call(server, greeting=True, dialect=dialect)
        assert talk.bridge.speaks_first
        await talk.until(ResponseDone)
        talk.say(speech("caller_hours", "pcmu"))
        await talk.until(ResponseDone, 2)
        talk.say(speech("caller_thanks", "pcmu"))
        (tool,) = await talk.until(ToolCall)
        assert tool.name == "hang_up"
        talk.bridge.send_tool_result(tool.call_id, "ok")
        await talk.until(ResponseDone, 3)
        session = server.sessions[0]
        await session.seen("conversation.item.create")
        assert [done.status for done in talk.all(ResponseDone)] == ["completed"] * 3
        assert list(talk.audio().values()) == [speech(name, "pcmu") for name in ("greeting", "hours", "goodbye")]
        assert len(talk.all(AudioDone)) == 3
        said = [(spoken.speaker, spoken.text) for spoken in talk.all(Transcript)]
        assert said == [
            ("agent", words("greeting")),
            ("caller", words("caller_hours")),
            ("agent", words("hours")),
            ("caller", words("caller_thanks")),
            ("agent", words("goodbye")),
        ]
        assert session.tool_results == {tool.call_id: "ok"}
        assert session.count("error") == 0
        assert session.count("response.create") == 1  # the greeting; turn detection asks for the others
        silence = b"\xff" * 6400
        heard = speech("caller_hours", "pcmu") + silence + speech("caller_thanks", "pcmu") + silence
        assert bytes(session.audio) == heard
        assert all(done.usage["output_tokens"] > 0 for done in talk.all(ResponseDone))
        await talk.close()
        assert talk.events[-1] == Closed("the gateway ended the conversation", clean=True)


@pytest.mark.parametrize(("encoding", "rate"), [("pcmu", 8000), ("pcma", 8000), ("pcm16", 24000)])
async def test_audio_passes_bit_exact_both_ways(call: Call, encoding: str, rate: int) -> None:
    async with AgentServer(options=AgentOptions(speed=0)) as server:
        talk = await call(server, context(encoding, rate), greeting=True, turn_detection="none")
        octets = bytes(range(256)) * 40
        for start in range(0, len(octets), 333):
            talk.bridge.send(octets[start : start + 333])
        await talk.until(ResponseDone)
        talk.bridge.send(b"")
        talk.bridge.interrupt([])
        assert list(talk.audio().values()) == [speech("greeting", encoding)]
        await talk.close()
        assert bytes(server.sessions[0].audio) == octets
        assert server.sessions[0].config["audio"]["input"]["turn_detection"] is None


async def test_the_caller_interrupts_and_only_what_was_heard_is_kept(call: Call) -> None:
    async with AgentServer(options=AgentOptions(speed=20, script=("hours", "wait"))) as server:
        talk = await call(server, greeting=True)
        await talk.until(AudioDelta, 10)
        talk.say(speech("caller_interruption", "pcmu"), silence_ms=0)
        await talk.until(SpeechStarted)
        (item_id,) = talk.audio()
        received_ms = len(talk.audio()[item_id]) / 8
        talk.bridge.interrupt([Heard(item_id, 333.3, received_ms)])
        session = server.sessions[0]
        await session.seen("conversation.item.truncated")
        truncation = session.truncations[0]
        assert (truncation.item_id, truncation.audio_end_ms) == (item_id, 333)
        assert session.cancelled_at == []  # the service cancelled by itself
        assert session.count("error") == 0


async def test_a_finished_answer_with_several_items_is_truncated_item_by_item(call: Call) -> None:
    async with AgentServer(options=AgentOptions(speed=0, script=("hours+address",))) as server:
        talk = await call(server, greeting=True)
        await talk.until(ResponseDone)
        first, second = talk.audio()
        talk.bridge.interrupt([Heard(first, 6000.0, 6277.25), Heard(second, 0.0, 9512.8)])
        session = server.sessions[0]
        await session.seen("conversation.item.truncated", 2)
        assert [(cut.item_id, cut.audio_end_ms) for cut in session.truncations] == [(first, 6000), (second, 0)]
        assert session.count("error") == 0


async def test_a_server_that_rejects_truncation_changes_nothing(call: Call) -> None:
    faults = Faults(reject_truncate=True, garbage=True)
    async with AgentServer(options=AgentOptions(speed=0, faults=faults)) as server:
        talk = await call(server, greeting=True)
        await talk.until(ResponseDone)
        (item_id,) = talk.audio()
        talk.bridge.interrupt([Heard(item_id, 1.0, 3000.0)])
        await server.sessions[0].seen("error")
        talk.say(speech("caller_hours", "pcmu"))
        await talk.until(ResponseDone, 2)
        assert [error.code for error in talk.all(ServiceError)] == ["invalid_message"]  # the garbage, told once


async def test_a_greeting_is_asked_for_word_for_word(call: Call) -> None:
    async with AgentServer(options=AgentOptions(speed=0)) as server:
        await call(server, greeting="Good morning, Acme.")
        (create,) = await server.sessions[0].seen("response.create")
        assert '"Good morning, Acme."' in create["response"]["instructions"]


async def test_a_server_that_never_confirms_the_session_is_used_all_the_same(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai, "UPDATED_TIMEOUT_S", 0.05)
    async with AgentServer(options=AgentOptions(speed=0, faults=Faults(confirm_update=False))) as server:
        talk = await call(server, greeting=True)
        await talk.until(ResponseDone)


async def refused(server_url: str, **fields: Any) -> base.BridgeError:
    bridge = openai.BRIDGE.bridge(config(base_url=server_url, **fields), context())
    with pytest.raises(base.BridgeError) as error:
        await bridge.open()
    await bridge.close()
    assert KEY not in error.value.reason
    assert KEY not in repr(error.value)
    return error.value


async def test_a_refused_key_is_said_so() -> None:
    async with AgentServer(options=AgentOptions(api_key="another")) as server:
        error = await refused(server.url)
        assert isinstance(error, BridgeRefused)
        assert error.reason == f"127.0.0.1:{server.port} refused the API key (HTTP 401)"


@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [
        (403, BridgeRefused, "refused the API key (HTTP 403)"),
        (429, BridgeRefused, "refused the session: rate limit (HTTP 429, rate_limit_exceeded)"),
        (404, BridgeRefused, "refused the session (HTTP 404, refused)"),
        (503, BridgeUnreachable, "is out of order (HTTP 503, refused)"),
    ],
)
async def test_an_http_refusal_has_its_reason(status: int, kind: type[base.BridgeError], reason: str) -> None:
    async with AgentServer(options=AgentOptions(faults=Faults(refuse_status=status))) as server:
        error = await refused(server.url)
        assert type(error) is kind
        assert reason in error.reason


async def test_a_session_that_is_refused_names_the_code() -> None:
    async with AgentServer() as server:
        error = await refused(server.url, dialect="beta")  # a GA server
        assert isinstance(error, BridgeRefused)
        assert error.reason.startswith("the service refused the session: invalid_value")


async def test_nobody_listens() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    error = await refused(f"ws://127.0.0.1:{port}/v1")
    assert isinstance(error, BridgeUnreachable)
    assert f"127.0.0.1:{port} cannot be reached" in error.reason


async def test_a_server_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trunkline.gateway.bridges._openai_line.DIAL_TIMEOUT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = await refused(f"ws://127.0.0.1:{silent.getsockname()[1]}/v1")
    assert isinstance(error, BridgeUnreachable)
    assert "did not answer" in error.reason


async def test_a_server_without_tls() -> None:
    async with AgentServer() as server:
        error = await refused(server.url.replace("ws:", "wss:"))
        assert isinstance(error, BridgeUnreachable)


async def test_a_certificate_that_nobody_signed(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    certificate = builder.sign(key, hashes.SHA256())
    pem = tmp_path / "server.pem"
    pem.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate.public_bytes(Encoding.PEM)
    )
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(pem)
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=tls)
    error = await refused(f"wss://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
    server.close()
    assert isinstance(error, BridgeUnreachable)
    assert "its certificate is not valid: self-signed certificate" in error.reason


def test_a_server_with_another_format_is_refused_with_the_remedy() -> None:
    server = Server()
    server.conversation.configured = False
    server.says("session.updated", session={"audio": {"input": {"format": {"type": "audio/pcm", "rate": 24000}}}})
    assert server.conversation.refusal is not None
    assert 'audio = "pcm16"' in server.conversation.refusal


async def test_a_lost_connection_is_replaced_and_told_the_conversation(call: Call) -> None:
    faults = Faults(sessions=1, drop_after_responses=2)
    async with AgentServer(options=AgentOptions(speed=0, faults=faults)) as server:
        talk = await call(server, greeting=True)
        await talk.until(ResponseDone)
        talk.say(speech("caller_hours", "pcmu"))
        await talk.until(ResponseDone, 2)
        (reconnected,) = await talk.until(Reconnected)
        assert reconnected.reason == "the connection was lost (code 1006)"
        talk.say(speech("caller_address", "pcmu"))
        await talk.until(ResponseDone, 3)
        told = [
            (item["role"], next(iter(item["content"][0].values()), None), item["content"][0].get("text"))
            for item in list(server.sessions[1].items.values())[:3]
        ]
        assert [(role, text) for role, _, text in told] == [
            ("assistant", words("greeting")),
            ("user", words("caller_hours")),
            ("assistant", words("hours")),
        ]
        assert talk.all(Transcript)[-1].text == words("address")
        assert server.sessions[1].count("response.create") == 0  # nothing was owed
        assert server.sessions[1].count("error") == 0


async def test_an_answer_that_was_cut_off_is_asked_for_again(call: Call) -> None:
    faults = Faults(sessions=1, drop_after_s=0.1)
    async with AgentServer(options=AgentOptions(speed=20, faults=faults, script=("hours", "wait"))) as server:
        talk = await call(server, greeting=True)
        await talk.until(Reconnected)
        await server.sessions[0].seen("response.output_audio_transcript.delta")
        await talk.until(ResponseDone)
        assert server.sessions[1].count("response.create") == 1
        assert next(iter(server.sessions[1].items.values()))["role"] == "assistant"


async def test_the_callers_words_are_kept_while_the_connection_is_replaced(call: Call) -> None:
    faults = Faults(sessions=1, drop_after_responses=1)
    async with AgentServer(options=AgentOptions(speed=0, faults=faults)) as server:
        talk = await call(server, greeting=True)
        await talk.until(ResponseDone)
        await server.sessions[0].drop.wait()
        async with asyncio.timeout(5):
            while talk.bridge._line is not None:
                await asyncio.sleep(0)
        octets = bytes(range(256)) * 40
        for start in range(0, len(octets), 160):
            talk.bridge.send(octets[start : start + 160])
        await talk.until(Reconnected)
        talk.bridge.send(b"\x01")
        await talk.close()
        assert bytes(server.sessions[1].audio) == octets[-8000:] + b"\x01"
        assert talk.bridge.dropped_frames == (len(octets) - 8000) // 160


async def test_a_connection_that_cannot_be_replaced_ends_the_call(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai, "RECONNECT_WAITS_S", (0.01, 0.01, 0.01))
    server = AgentServer(options=AgentOptions(speed=0, faults=Faults(drop_after_responses=1)))
    async with server:
        talk = await call(server, greeting=True)
        server.options = AgentOptions(faults=Faults(refuse_status=503))
        (closed,) = await talk.until(Closed)
        assert server.refused == 3
        assert not closed.clean
        assert closed.reason == (
            "the connection was lost (code 1006) and could not be replaced: "
            f"127.0.0.1:{server.port} is out of order (HTTP 503, refused)"
        )
        talk.bridge.send(bytes(160))
        talk.bridge.interrupt([])
        talk.bridge.send_dtmf("#")
        assert talk.bridge.dropped_frames >= 1


async def test_a_key_that_was_withdrawn_ends_the_call_at_once(call: Call) -> None:
    async with AgentServer(options=AgentOptions(speed=0, faults=Faults(drop_after_responses=1))) as server:
        talk = await call(server, greeting=True)
        server.options = AgentOptions(api_key="new")
        (closed,) = await talk.until(Closed)
        assert server.refused == 1
        assert "refused the API key" in closed.reason


@pytest.mark.parametrize(
    ("code", "closed"),
    [
        (1000, Closed("the service ended the conversation", clean=True)),
        (1008, Closed("the service closed the connection (code 1008)", clean=False)),
    ],
)
async def test_a_service_that_closes_on_purpose_is_not_called_again(call: Call, code: int, closed: Closed) -> None:
    faults = Faults(drop_after_responses=1, close_code=code)
    async with AgentServer(options=AgentOptions(speed=0, faults=faults)) as server:
        talk = await call(server, greeting=True)
        assert await talk.until(Closed) == [closed]
        assert len(server.sessions) == 1


async def test_a_session_that_expired_is_replaced(call: Call) -> None:
    faults = Faults(sessions=1, expires_in_s=0.2)
    async with AgentServer(options=AgentOptions(speed=0, faults=faults)) as server:
        bridge_events = await call(server)
        bridge_events.bridge._stop_roll_over()
        (reconnected,) = await bridge_events.until(Reconnected)
        assert reconnected.reason == "the session reached its end"
        assert bridge_events.all(ServiceError) == []


async def test_a_session_is_left_at_a_quiet_moment_before_its_end(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai, "ROLL_OVER_SHARE", 0.0)
    faults = Faults(sessions=1, expires_in_s=60)
    async with AgentServer(options=AgentOptions(speed=20, faults=faults)) as server:
        talk = await call(server, greeting=True)
        await talk.until(Reconnected)
        kinds = [type(event) for event in talk.events]
        assert kinds.index(Reconnected) > kinds.index(ResponseDone)  # the greeting was not cut
        assert list(talk.audio().values()) == [speech("greeting", "pcmu")]
        talk.say(speech("caller_hours", "pcmu"))
        await talk.until(ResponseDone, 2)
        assert len(server.sessions) == 2
        assert server.sessions[0].count("error") == 0


async def test_a_server_with_short_sessions_is_not_rolled_over_without_pause(call: Call) -> None:
    async with AgentServer(options=AgentOptions(speed=0, faults=Faults(expires_in_s=60))) as server:
        talk = await call(server, greeting=True)
        await talk.until(ResponseDone)
        timer = talk.bridge._roll_timer
        assert timer is not None
        assert 25 < timer.when() - asyncio.get_running_loop().time() <= 30


@pytest.mark.parametrize("ahead_s", [3600, -3600, 366 * 86400])
async def test_a_wrong_clock_of_this_host_moves_no_roll_over(
    call: Call, monkeypatch: pytest.MonkeyPatch, ahead_s: float
) -> None:
    async with AgentServer(options=AgentOptions(speed=0, faults=Faults(expires_in_s=60))) as server:
        wrong = SimpleNamespace(time=lambda: time.time() + ahead_s, monotonic=time.monotonic)
        monkeypatch.setattr(_openai_line, "time", wrong)
        talk = await call(server, greeting=True)
        await talk.until(ResponseDone)
        timer = talk.bridge._roll_timer
        assert timer is not None
        assert 25 < timer.when() - asyncio.get_running_loop().time() <= 31


async def test_a_session_that_is_over_before_it_began_is_not_rolled_over(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_openai_line, "_service_time", lambda _websocket: time.time() + 3600)
    async with AgentServer(options=AgentOptions(speed=0, faults=Faults(expires_in_s=60))) as server:
        talk = await call(server, greeting=True)
        await talk.until(ResponseDone)
        assert talk.bridge._roll_timer is None
        assert len(server.sessions) == 1


async def test_frames_are_dropped_while_the_service_does_not_read(call: Call) -> None:
    async with AgentServer(options=AgentOptions(speed=0)) as server:
        talk = await call(server)
        for _ in range(20_000):  # more than a socket's buffers hold, and the server gets no turn to read
            talk.bridge.send(bytes(160))
        assert 0 < talk.bridge.dropped_frames < 20_000


async def test_a_frame_may_come_outside_of_any_task(call: Call) -> None:
    async with AgentServer(options=AgentOptions(speed=0)) as server:
        talk = await call(server)
        sent = asyncio.Event()

        def datagram_received() -> None:
            talk.bridge.send(b"\x01\x02\x03")
            sent.set()

        asyncio.get_running_loop().call_soon(datagram_received)
        await sent.wait()
        await talk.close()
        assert bytes(server.sessions[0].audio) == b"\x01\x02\x03"


async def test_closing_is_idempotent_and_possible_at_any_time(call: Call) -> None:
    async with AgentServer(options=AgentOptions(speed=0)) as server:
        never_opened = openai.BRIDGE.bridge(config(base_url=server.url), context())
        never_opened.send(bytes(160))
        await never_opened.close()
        assert [event async for event in never_opened.events()] == [
            Closed("the gateway ended the conversation", clean=True)
        ]
        talk = await call(server)
        await asyncio.gather(talk.close(), talk.close())
        assert talk.events == [Closed("the gateway ended the conversation", clean=True)]


async def test_the_key_is_in_no_log(call: Call, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with AgentServer(options=AgentOptions(api_key=KEY, speed=0)) as server:
        talk = await call(server)
        await talk.close()
        await refused(server.url.replace("/v1", "/v2"))
    assert KEY not in caplog.text
