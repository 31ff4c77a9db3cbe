"""Recordings: what is in the file, and that trouble with the file stays off the call."""

import wave
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from trunkline.codecs.g711 import ALAW, ULAW
from trunkline.gateway.bridges.base import AudioFormat
from trunkline.gateway.media.recorder import Recorder

ULAW_FORMAT = AudioFormat("pcmu", 8000)
FRAME = 160


def read(path: Path) -> tuple[int, np.ndarray]:
    with wave.open(str(path), "rb") as file:
        assert (file.getnchannels(), file.getsampwidth()) == (2, 2)
        octets = file.readframes(file.getnframes())
        return file.getframerate(), np.frombuffer(octets, "<i2").reshape(-1, 2)


def frames(seed: int, count: int) -> list[bytes]:
    return [bytes((seed + i + n) % 120 for i in range(FRAME)) for n in range(count)]


async def test_left_is_the_caller_and_right_the_agent(tmp_path):
    recorder = Recorder(tmp_path / "call.wav", ULAW_FORMAT)
    left, right = frames(1, 20), frames(60, 20)
    for caller, agent in zip(left, right, strict=True):
        recorder.caller(caller)
        recorder.agent(agent)
    await recorder.close()
    rate, stereo = read(recorder.path)
    assert rate == 8000
    assert (stereo[:, 0] == ULAW.decode(b"".join(left))).all()
    assert (stereo[:, 1] == ULAW.decode(b"".join(right))).all()


async def test_the_file_can_be_played_while_it_is_written(tmp_path):
    recorder = Recorder(tmp_path / "call.wav", ULAW_FORMAT)
    for second in (1, 2):
        for frame in frames(0, 50):
            recorder.caller(frame)
            recorder.agent(frame)
        recorder.flush()
        await recorder._writing
        assert len(read(recorder.path)[1]) == second * 8000
    await recorder.close()


async def test_a_caller_who_is_not_heard_is_silence_and_the_agent_stays_in_place(tmp_path):
    recorder = Recorder(tmp_path / "call.wav", ULAW_FORMAT)
    for _ in range(2):
        for frame in frames(7, 50):
            recorder.agent(frame)
        recorder.flush()
        await recorder._writing
    recorder.caller(frames(1, 1)[0])
    await recorder.close()
    stereo = read(recorder.path)[1]
    assert len(stereo) == 16000
    assert (stereo[: 16000 - 1600, 0] == 0).all()
    assert (stereo[16000 - 1600 : 16000 - 1600 + FRAME, 0] == ULAW.decode(frames(1, 1)[0])).all()


async def test_a_caller_who_runs_ahead_is_cut_to_a_second(tmp_path):
    recorder = Recorder(tmp_path / "call.wav", ULAW_FORMAT)
    for frame in frames(0, 200):
        recorder.caller(frame)
    recorder.flush()
    await recorder._writing
    assert recorder._caller.samples == 8000
    await recorder.close()


async def test_a_codec_change_keeps_the_files_rate(tmp_path):
    recorder = Recorder(tmp_path / "call.wav", ULAW_FORMAT)
    recorder.caller(bytes(FRAME))
    recorder.agent(bytes(FRAME))
    recorder.use(AudioFormat("pcma", 8000))
    recorder.caller(bytes(FRAME))
    recorder.agent(bytes(FRAME))
    recorder.use(AudioFormat("pcm16", 48000))
    for _ in range(5):
        recorder.caller(bytes(1920))
        recorder.agent(bytes(1920))
    await recorder.close()
    rate, stereo = read(recorder.path)
    assert (rate, len(stereo)) == (8000, 7 * FRAME)
    assert stereo[0, 0] == ULAW.decode(b"\0")[0]
    assert stereo[FRAME, 0] == ALAW.decode(b"\0")[0]


async def test_an_unwritable_file_never_reaches_the_call_and_is_logged_once(tmp_path):
    (tmp_path / "file").write_text("not a directory")
    with capture_logs() as logs:
        recorder = Recorder(tmp_path / "file" / "call.wav", ULAW_FORMAT)
        for _ in range(3):
            recorder.caller(bytes(FRAME))
            recorder.agent(bytes(FRAME))
            recorder.flush()
            if recorder._writing is not None:
                await recorder._writing
        await recorder.close()
    assert recorder.failed
    assert [line["event"] for line in logs] == ["recording stopped, the call goes on"]
    assert recorder._agent.frames == []


@pytest.mark.parametrize("encoding", ["pcmu", "pcm16"])
async def test_an_empty_recording_is_a_valid_file(tmp_path, encoding):
    rate = 8000 if encoding == "pcmu" else 48000
    recorder = Recorder(tmp_path / "call.wav", AudioFormat(encoding, rate))
    await recorder.close()
    assert (read(recorder.path)[0], len(read(recorder.path)[1])) == (rate, 0)
