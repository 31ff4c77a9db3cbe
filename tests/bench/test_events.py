"""What the benchmark's agent says is what the service says."""

import base64
import json

import numpy as np
import pytest
from openai.types.realtime.realtime_server_event import RealtimeServerEvent
from pydantic import TypeAdapter
from websockets.frames import Frame
from websockets.protocol import OPEN, Protocol, Side

from bench.events import Reply, session_created, session_updated
from bench.frames import AGENT_TAG, FRAME, TAG

SERVER_EVENT = TypeAdapter(RealtimeServerEvent)


def messages(data: bytes) -> list[bytes]:
    client = Protocol(Side.CLIENT, state=OPEN, max_size=None)
    client.receive_data(data)
    return [bytes(event.data) for event in client.events_received() if isinstance(event, Frame)]


def test_a_reply_is_valid_and_carries_every_frame_once():
    reply = Reply(connection=7, number=3, frames=135, delta_frames=5)
    said = [message for step in range(reply.steps) for message in messages(reply.step(step))]
    events = [SERVER_EVENT.validate_json(message) for message in said]
    assert [event.type for event in events[:4]] == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
    ]
    assert events[-1].type == "response.done"
    deltas = [json.loads(m) for m in said if b'"response.output_audio.delta"' in m]
    audio = np.frombuffer(b"".join(base64.b64decode(delta["delta"]) for delta in deltas), np.uint8)
    tags = audio.reshape(-1, FRAME)[:, :TAG].copy().view(AGENT_TAG)[:, 0]
    assert tags["frame"].tolist() == list(range(135))
    assert set(tags["connection"]) == {7}
    assert set(tags["reply"]) == {3}


@pytest.mark.parametrize("message", [session_created(1), session_updated(1, {"type": "realtime", "instructions": "x"})])
def test_the_session_is_valid(message: bytes):
    (payload,) = messages(message)
    SERVER_EVENT.validate_json(payload)
