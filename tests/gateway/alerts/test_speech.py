"""Speech by a synthesiser, and by prompts when there is none, or it fails."""

import asyncio
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from support.paging import delivery
from support.peers import require

from trunkline.codecs.g711 import ULAW
from trunkline.gateway.alerts import speech
from trunkline.gateway.alerts.announcement import CLAUSE, SENTENCE, WORD, worded
from trunkline.gateway.alerts.speech import SpeechError, joined, prompt, spoken, synthesised

WORDING = worded(delivery(), "edge-1")


def program(tmp_path: Path, body: str) -> list[str]:
    """A synthesiser of this behaviour."""
    script = tmp_path / "synthesiser.py"
    script.write_text(f"import os, struct, sys, time, wave\nsays = sys.stdin.buffer\nout = sys.stdout.buffer\n{body}")
    return [sys.executable, str(script)]


WAV = """
def wav(rate, seconds, channels=1):
    out.write(b"RIFF$\\xf0\\xff\\x7fWAVEfmt " + struct.pack("<IHHIIHH", 16, 1, channels, rate, rate * 2, 2, 16))
    out.write(b"data\\x00\\xf0\\xff\\x7f" + b"\\x00\\x10\\x00\\xf0" * int(rate * seconds * channels / 2))
    out.flush()
says.read()
"""


async def test_espeak_ng_says_the_whole_text() -> None:
    require("espeak-ng")
    ulaw = await synthesised(WORDING.text)
    assert 8 < len(ulaw) / 8000 < 30
    loud = np.abs(ULAW.decode(ulaw).astype(int)) > 1000
    assert loud.mean() > 0.1
    longer = await synthesised(f"{WORDING.text} {WORDING.text}")
    assert len(longer) > 1.7 * len(ulaw)


async def test_what_comes_is_resampled_to_8_khz(tmp_path: Path) -> None:
    ulaw = await synthesised("x", program(tmp_path, f"{WAV}\nwav(22050, 3)"))
    assert len(ulaw) / 8000 == pytest.approx(3, abs=0.02)


async def test_the_text_comes_on_standard_input_and_no_secret_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_API_KEY", "sk-secret")
    seen = tmp_path / "seen"
    keep = f"open({str(seen)!r}, 'w').write(repr((sys.argv[1:], words, dict(os.environ))))"
    body = f"{WAV.replace('says.read()', 'words = says.read().decode()')}\n{keep}\nwav(8000, 2)"
    await synthesised("bad calls", program(tmp_path, body))
    told = seen.read_text()
    assert "([], 'bad calls'," in told
    assert "sk-secret" not in told


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("says.read(); sys.exit(3)", "exit status 3"),
        ("os.kill(os.getpid(), 11)", "killed by signal 11"),
        ("sys.exit(0)", "no speech came"),
        ("out.write(b'RIFF')", "no speech came"),
        ("out.write(os.urandom(100000))", "no speech came"),
        (f"{WAV}\nwav(22050, 0.1)", "0.1 s of speech"),
        (f"{WAV}\nwav(11025, 3)", "cannot resample"),
        (f"{WAV}\nwav(8000, 3, channels=2)", "no mono speech"),
        (f"{WAV}\nwhile True: wav(48000, 10)", "more than"),
    ],
    ids=["fails", "crashes", "silent", "cut", "noise", "short", "rate", "stereo", "babbles"],
)
async def test_a_synthesiser_that_fails_leaves_it_to_the_prompts(tmp_path: Path, body: str, reason: str) -> None:
    command = program(tmp_path, body)
    with pytest.raises(SpeechError, match=reason):
        await synthesised(WORDING.text, command)
    assert await spoken(WORDING, command) == joined(WORDING.prompts)


async def test_a_synthesiser_that_hangs_is_killed(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    command = program(tmp_path, f"open({str(pid)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)")
    with pytest.raises(SpeechError, match="not done within 2 s"):
        await synthesised(WORDING.text, command, timeout_s=2)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


async def test_a_page_that_is_not_wanted_any_more_leaves_no_process(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    command = program(tmp_path, f"open({str(pid)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)")
    task = asyncio.create_task(synthesised(WORDING.text, command))
    async with asyncio.timeout(10):
        while not (pid.exists() and pid.read_text()):
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


async def test_without_a_synthesiser_prompts_speak(tmp_path: Path) -> None:
    assert await spoken(WORDING, [str(tmp_path / "no-such-program")]) == joined(WORDING.prompts)


async def test_one_that_may_not_be_started_leaves_it_to_the_prompts(tmp_path: Path) -> None:
    (tmp_path / "locked").write_text("#!/bin/sh\n")
    assert await spoken(WORDING, [str(tmp_path / "locked")]) == joined(WORDING.prompts)


def test_prompts_are_joined_in_order_with_pauses() -> None:
    one, two = prompt("1"), prompt("2")
    sound = joined(["1", CLAUSE, "2", WORD, "1", SENTENCE, "2"])
    pauses = [ULAW.silent(samples) for samples in (2000, 960, 4000)]
    assert sound == one + pauses[0] + two + pauses[1] + one + pauses[2] + two


def test_the_whole_announcement_is_short_enough_to_be_listened_to() -> None:
    assert 5 < len(joined(WORDING.prompts)) / speech.SAMPLE_RATE < 30
