"""The lab's agent speaks OpenAI Realtime as the openai package knows it."""

import asyncio
import json
import sys
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, get_args

import aiohttp
import pytest
from openai import AsyncOpenAI, BaseModel
from openai.types.beta.realtime.realtime_server_event import RealtimeServerEvent as BetaServerEvent
from openai.types.realtime.realtime_server_event import RealtimeServerEvent
from pydantic import TypeAdapter

from trunkline.gateway.lab.agent import AgentOptions, AgentServer, AgentSession, Faults
from trunkline.gateway.lab.voice import recognise, samples, speech, words


def _models(union: Any) -> dict[str, type[BaseModel]]:
    """The package's models by the type that they announce."""
    members = get_args(get_args(union)[0])
    return {get_args(model.model_fields["type"].annotation)[0]: model for model in members}


GA = TypeAdapter(RealtimeServerEvent)
BETA = _models(BetaServerEvent)
MULAW: Any = {"type": "audio/pcmu"}


def extras(value: Any, path: str = "") -> list[str]:
    """Fields that the package's models do not know, anywhere below `value`."""
    if isinstance(value, list):
        return [extra for index, entry in enumerate(value) for extra in extras(entry, f"{path}[{index}]")]
    if not isinstance(value, BaseModel):
        return []
    found = [f"{path}.{name}" for name in (value.model_extra or {})]
    for name in type(value).model_fields:
        found += extras(getattr(value, name), f"{path}.{name}")
    return found


def validate(events: list[dict[str, Any]]) -> None:
    """Every event is one of the package's own, to the last field."""
    for event in events:
        known = GA.validate_python(event)
        assert known.type == event["type"]
        assert extras(known) == [], event


class Client:
    """A plain websocket client that keeps all it receives."""

    def __init__(self, websocket: aiohttp.ClientWebSocketResponse) -> None:
        self._websocket = websocket
        self.received: list[dict[str, Any]] = []

    async def send(self, **event: Any) -> None:
        await self._websocket.send_json(event)

    async def say(self, octets: bytes, silence: bytes = b"\xff", silence_ms: int = 800) -> None:
        octets += silence * (8 * silence_ms)
        for start in range(0, len(octets), 160):
            frame = b64encode(octets[start : start + 160]).decode()
            await self._websocket.send_str(f'{{"type":"input_audio_buffer.append","audio":"{frame}"}}')

    async def until(self, kind: str, count: int = 1) -> dict[str, Any]:
        async with asyncio.timeout(10):
            while True:
                matching = [event for event in self.received if event["type"] == kind]
                if len(matching) >= count:
                    return matching[-1]
                self.received.append(json.loads((await self._websocket.receive()).data))

    async def configure(self, format_: Any = MULAW, **audio_in: Any) -> None:
        audio = {"input": {"format": format_, **audio_in}, "output": {"format": format_}}
        await self.send(type="session.update", session={"type": "realtime", "audio": audio})
        await self.until("session.updated")

    def audio(self) -> bytes:
        deltas = [event["delta"] for event in self.received if event["type"].endswith("audio.delta")]
        return b"".join(map(b64decode, deltas))

    async def ended(self) -> aiohttp.WSMessage:
        return await self._websocket.receive()


Connect = Callable[..., Awaitable[Client]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Connects clients to a server, and disconnects them after the test."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())

        async def client(server: AgentServer, **headers: str) -> Client:
            url = f"{server.url}/realtime?model=gpt-4o-realtime-preview"
            return Client(await stack.enter_async_context(http.ws_connect(url, headers=headers)))

        yield client


TRANSCRIBE = {"transcription": {"model": "gpt-4o-mini-transcribe"}}


async def test_every_event_validates_strictly(connect: Connect) -> None:
    options = AgentOptions(speed=0, script=("greeting+wait", "goodbye:hang_up"))
    async with AgentServer(options=options) as server:
        client = await connect(server)
        await client.configure(**TRANSCRIBE)
        await client.send(type="response.create")
        done = await client.until("response.done")
        item_id = done["response"]["output"][0]["id"]
        await client.send(
            type="conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=1200, event_id="t1"
        )
        await client.send(
            type="conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=99_999, event_id="t2"
        )
        await client.say(speech("caller_thanks", "pcmu"))
        done = await client.until("response.done", 2)
        call_id = done["response"]["output"][1]["call_id"]
        output = {"type": "function_call_output", "call_id": call_id, "output": "ok"}
        await client.send(type="conversation.item.create", item=output)
        for item in ({"type": "function_call_output", "call_id": "unknown", "output": ""}, 5):
            await client.send(type="conversation.item.create", item=item)
        await client.send(type="conversation.item.retrieve", item_id=item_id)
        await client.send(type="conversation.item.delete", item_id=item_id)
        await client.send(type="response.cancel")
        await client.send(type="input_audio_buffer.commit")
        await client.send(type="input_audio_buffer.clear")
        await client.send(type="no.such.event")
        await client.until("input_audio_buffer.cleared")
        await client.until("error", 5)
        validate(client.received)
        assert {event["type"] for event in client.received} >= {
            "session.created", "session.updated", "response.created", "rate_limits.updated",
            "response.output_item.added", "conversation.item.added", "response.content_part.added",
            "response.output_audio_transcript.delta", "response.output_audio.delta", "response.output_audio.done",
            "response.output_audio_transcript.done", "response.content_part.done", "response.output_item.done",
            "conversation.item.done", "response.done", "conversation.item.truncated", "error",
            "input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped", "input_audio_buffer.committed",
            "conversation.item.input_audio_transcription.completed", "response.function_call_arguments.delta",
            "response.function_call_arguments.done", "conversation.item.retrieved", "conversation.item.deleted",
            "input_audio_buffer.cleared",
        }  # fmt: skip


async def test_cancelled_and_failed_responses_validate_strictly(connect: Connect) -> None:
    options = AgentOptions(speed=1, script=("hours",), faults=Faults(rate_limited_responses=1))
    async with AgentServer(options=options) as server:
        client = await connect(server)
        await client.configure()
        await client.send(type="response.create")
        failed = await client.until("response.done")
        await client.send(type="response.create")
        await client.until("response.output_audio.delta")
        await client.send(type="response.cancel")
        cancelled = await client.until("response.done", 2)
        validate(client.received)
        assert failed["response"]["status_details"]["error"]["code"] == "rate_limit_exceeded"
        assert cancelled["response"]["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
        assert len(client.audio()) < len(speech("hours", "pcmu"))
        assert len(server.sessions[0].cancelled_at) == 1


async def test_the_openai_client_drives_a_whole_session() -> None:
    async with AgentServer(options=AgentOptions(api_key="sk-lab", speed=0)) as server:
        openai = AsyncOpenAI(api_key="sk-lab", base_url="http://127.0.0.1:9", websocket_base_url=server.url)
        heard: dict[str, bytes] = {}
        said: list[str] = []
        calls: list[str] = []
        turns = [speech(name, "pcmu") for name in ("caller_hours", "caller_address", "caller_thanks")]
        async with openai.realtime.connect(model="gpt-realtime-2.1") as connection, asyncio.timeout(20):
            async for event in connection:
                if event.type == "session.created":
                    await connection.session.update(
                        session={
                            "type": "realtime",
                            "audio": {
                                "input": {"format": MULAW, "transcription": {"model": "gpt-4o-mini-transcribe"}},
                                "output": {"format": MULAW},
                            },
                        }
                    )
                elif event.type == "session.updated":
                    await connection.response.create()
                elif event.type == "response.output_audio.delta":
                    heard[event.item_id] = heard.get(event.item_id, b"") + b64decode(event.delta)
                elif event.type == "conversation.item.input_audio_transcription.completed":
                    said.append(event.transcript)
                elif event.type == "response.function_call_arguments.done":
                    calls.append(event.name)
                    await connection.conversation.item.create(
                        item={"type": "function_call_output", "call_id": event.call_id, "output": "done"}
                    )
                elif event.type == "response.done":
                    assert event.response.usage is not None
                    assert event.response.usage.output_tokens
                    if calls:
                        break
                    turn = turns.pop(0) + b"\xff" * 6400
                    for start in range(0, len(turn), 160):
                        await connection.input_audio_buffer.append(audio=b64encode(turn[start : start + 160]).decode())
                    if len(turns) == 0:
                        turns.append(speech("caller_thanks", "pcmu"))
            session = server.sessions[0]
            await session.seen("conversation.item.done", 10)
        spoken = [speech(name, "pcmu") for name in ("greeting", "hours", "address", "wait", "goodbye")]
        assert list(heard.values()) == spoken
        assert said[:3] == [words(name) for name in ("caller_hours", "caller_address", "caller_thanks")]
        assert calls == ["hang_up"]
        assert list(session.tool_results.values()) == ["done"]
        await openai.close()


@pytest.mark.parametrize(
    ("format_", "encoding", "silence"),
    [
        (MULAW, "pcmu", b"\xff"),
        ({"type": "audio/pcma"}, "pcma", b"\xd5"),
        ({"type": "audio/pcm", "rate": 24000}, "pcm16", b"\x00\x00" * 3),
    ],
)
async def test_hears_turns_on_the_clock_of_appended_audio(
    connect: Connect, format_: Any, encoding: str, silence: bytes
) -> None:
    async with AgentServer(options=AgentOptions(speed=0)) as server:
        client = await connect(server)
        await client.configure(format_, **TRANSCRIBE)
        turn = silence * 8000 + speech("caller_hours", encoding)
        await client.say(turn, silence)
        started = await client.until("input_audio_buffer.speech_started")
        stopped = await client.until("input_audio_buffer.speech_stopped")
        said = await client.until("conversation.item.input_audio_transcription.completed")
        assert 600 <= started["audio_start_ms"] <= 800  # one second of silence, 300 ms of padding
        assert 3000 <= stopped["audio_end_ms"] <= 3200  # 1 + 1.63 s, then 500 ms of silence
        assert said["transcript"] == words("caller_hours")
        await client.until("response.done")
        assert client.audio() == speech("greeting", encoding)
        assert bytes(server.sessions[0].audio) == turn + silence * 6400


async def test_the_caller_interrupts(connect: Connect) -> None:
    async with AgentServer(options=AgentOptions(speed=2, script=("hours",))) as server:
        client = await connect(server)
        await client.configure()
        await client.send(type="response.create")
        await client.until("response.output_audio.delta", 3)
        await client.say(speech("caller_interruption", "pcmu"))
        done = await client.until("response.done")
        assert done["response"]["status"] == "cancelled"
        assert done["response"]["status_details"]["reason"] == "turn_detected"
        item_id = done["response"]["output"][0]["id"]
        assert done["response"]["output"][0]["status"] == "incomplete"
        await client.send(type="conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=150)
        await client.until("conversation.item.truncated")
        truncation = server.sessions[0].truncations[0]
        assert (truncation.item_id, truncation.audio_end_ms) == (item_id, 150)
        await client.until("response.created", 2)


async def test_a_second_response_is_refused_while_one_runs(connect: Connect) -> None:
    async with AgentServer(options=AgentOptions(speed=1)) as server:
        client = await connect(server)
        await client.configure()
        await client.send(type="response.create")
        await client.send(type="response.create", event_id="mine")
        error = (await client.until("error"))["error"]
        assert error["code"] == "conversation_already_has_active_response"
        assert error["event_id"] == "mine"


async def test_speaks_the_beta_dialect(connect: Connect) -> None:
    options = AgentOptions(dialect="beta", speed=0, script=("greeting", "goodbye:hang_up"))
    async with AgentServer(options=options) as server:
        client = await connect(server)
        await client.send(
            type="session.update", session={"input_audio_format": "g711_ulaw", "output_audio_format": "g711_ulaw"}
        )
        updated = await client.until("session.updated")
        assert updated["session"]["output_audio_format"] == "g711_ulaw"
        for count in (1, 2):
            await client.send(type="response.create")
            await client.until("response.done", count)
        assert client.audio() == speech("greeting", "pcmu") + speech("goodbye", "pcmu")
        kinds = {event["type"] for event in client.received}
        assert {"response.audio.delta", "response.audio_transcript.done", "conversation.item.created"} <= kinds
        assert not kinds & {"response.output_audio.delta", "conversation.item.added", "conversation.item.done"}
        for event in client.received:
            BETA[event["type"]].model_validate(event)


@pytest.mark.parametrize("key", ["sk-wrong", ""])
async def test_refuses_a_wrong_key(connect: Connect, key: str) -> None:
    async with AgentServer(options=AgentOptions(api_key="sk-right")) as server:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await connect(server, Authorization=f"Bearer {key}")
        assert refused.value.status == 401
        assert server.refused == 1
        client = await connect(server, Authorization="Bearer sk-right")
        await client.until("session.created")


async def test_faults_end_with_their_sessions(connect: Connect) -> None:
    faults = Faults(sessions=1, drop_after_responses=1)
    async with AgentServer(options=AgentOptions(speed=0, faults=faults)) as server:
        for number in range(2):
            client = await connect(server)
            await client.configure()
            await client.send(type="response.create")
            await client.until("response.done")
            session = await server.session(number)
            if number == 0:
                assert (await client.ended()).type is not aiohttp.WSMsgType.TEXT
            assert session.drop.is_set() is (number == 0)


async def test_says_when_a_session_expires(connect: Connect) -> None:
    async with AgentServer(options=AgentOptions(faults=Faults(expires_in_s=0.05))) as server:
        client = await connect(server)
        created = await client.until("session.created")
        assert isinstance(created["session"].pop("expires_at"), int)  # sent by the service, unknown to the package
        error = await client.until("error")
        assert error["error"]["code"] == "session_expired"
        validate([created, error])
        assert (await client.ended()).data == 1001


async def test_keeps_a_record_that_another_process_can_read(connect: Connect) -> None:
    command = ["-m", "trunkline.gateway.lab.agent", "--listen", "127.0.0.1:0", "--speed", "0", "--script", "goodbye"]
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        port = json.loads(await process.stdout.readline())["port"]
        server = AgentServer(port=port)
        client = await connect(server)
        await client.configure()
        await client.say(speech("caller_hours", "pcmu"), silence_ms=0)
        await client.send(type="response.create")
        await client.until("response.done")
        base = f"http://127.0.0.1:{port}/lab/sessions"
        async with aiohttp.ClientSession() as http:
            (summary,) = await (await http.get(base)).json()
            audio = await (await http.get(f"{base}/0/audio")).read()
            times = await (await http.get(f"{base}/0/appends")).read()
            assert (await http.get(f"{base}/7")).status == 404
            assert (await http.get(f"{base}/0/nothing")).status == 404
        assert audio == speech("caller_hours", "pcmu")
        assert len(times) == 16 * -(-len(audio) // 160)
        assert summary["octets"] == len(audio)
        assert list(summary["audio_sent"].values()) == [len(speech("goodbye", "pcmu"))]
        assert [event["event"]["type"] for event in summary["events"]][:3] == [
            "session.created", "session.update", "session.updated",
        ]  # fmt: skip
    finally:
        process.terminate()
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined]


async def test_talks_without_end_for_load(connect: Connect) -> None:
    async with AgentServer(options=AgentOptions(talk=True, speed=50, delta_ms=20, script=("goodbye",))) as server:
        client = await connect(server)
        await client.configure()
        await client.until("response.output_audio.delta", 150)
        goodbye = speech("goodbye", "pcmu")
        assert client.audio()[: len(goodbye) + 160 * 10] == goodbye + goodbye[: 160 * 10]


def test_recognises_only_its_own_lines() -> None:
    for name in ("caller_hours", "caller_address", "caller_interruption", "caller_thanks"):
        pcm = samples(speech(name, "pcmu") + b"\xff" * 4000, "pcmu")
        assert recognise(pcm) == words(name)
    assert recognise(samples(speech("hours", "pcmu"), "pcmu")) == ""
    assert recognise(samples(b"", "pcmu")) == ""


def test_a_session_is_answered_whatever_arrives() -> None:
    sent: list[str] = []

    async def send(text: str) -> None:
        sent.append(text)

    async def run() -> None:
        session = AgentSession(0, "lab", AgentOptions(), send)
        for data in ("", "[]", "{}", '{"type":[]}', '{"type":"input_audio_buffer.append","audio":"*"}'):
            await session.receive(data)
        await session.receive('{"type":"session.update","session":{"type":"realtime","audio":7}}')
        await session.receive('{"type":"conversation.item.truncate"}')

    asyncio.run(run())
    assert [json.loads(text)["type"] for text in sent] == ["error"] * 7
    validate([json.loads(text) for text in sent])
