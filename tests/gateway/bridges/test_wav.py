"""The bridge that plays a file into a call."""

import wave
from pathlib import Path

import numpy as np
import pytest

from trunkline.codecs.g711 import ALAW
from trunkline.gateway.bridges import wav
from trunkline.gateway.bridges.base import AudioDelta, AudioDone, AudioFormat, BridgeRefused, CallContext, Closed
from trunkline.gateway.bridges.wav import BRIDGE, ITEM, WavConfig

PCMA = AudioFormat("pcma", 8000)


def written(path: Path, pcm: np.ndarray, rate: int = 8000) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(pcm.astype("<i2").tobytes())
    return path


def bridge(play: Path | None, preferred: AudioFormat = PCMA, hang_up: bool = True):
    config = WavConfig(play=play, hang_up=hang_up)
    return BRIDGE.bridge(config, CallContext("c1", "outbound", None, None, preferred))


async def test_the_whole_file_in_the_calls_format_and_then_the_end(tmp_path: Path) -> None:
    pcm = (np.sin(np.arange(4000) / 5) * 8000).astype(np.int16)
    player = bridge(written(tmp_path / "a.wav", pcm))
    await player.open()
    assert [event async for event in player.events()] == [
        AudioDelta(ITEM, ALAW.encode(pcm)),
        AudioDone(ITEM),
        Closed("the file is over", clean=True),
    ]


async def test_a_file_of_another_rate_keeps_its_duration(tmp_path: Path) -> None:
    player = bridge(written(tmp_path / "a.wav", np.ones(44100, np.int16), 44100), AudioFormat("pcm16", 24000))
    await player.open()
    delta = await anext(player.events())
    assert len(delta.audio) == pytest.approx(48000, abs=4)


async def test_without_a_file_it_listens_until_it_is_closed() -> None:
    player = bridge(None)
    assert not player.speaks_first
    await player.open()
    await player.close()
    assert [event async for event in player.events()] == [Closed("closed", clean=True)]


async def test_what_is_no_audio_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("words")
    for name in ("a.wav", "none.wav"):
        with pytest.raises(BridgeRefused, match=name):
            await bridge(tmp_path / name).open()


async def test_a_file_that_no_call_can_queue_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wav, "LONGEST_S", 1)
    file = written(tmp_path / "a.wav", np.zeros(8001, np.int16))
    with pytest.raises(BridgeRefused, match="longer than 1 s"):
        await bridge(file).open()
