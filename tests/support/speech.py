"""Human speech for the phones to play: Debian's recordings, put apart by silence so that each is a turn."""

import wave
from collections.abc import Sequence
from pathlib import Path

from .peers import SPEECH

RATE = 8000
TURNS = ("hello-world", "tt-weasels")


def write_speech(path: Path, names: Sequence[str] = TURNS, *, silence_s: float = 2.5, times: int = 4) -> Path:
    """Write an 8 kHz mono WAV: half a second of silence, then `times` the recordings, each followed by silence."""
    silence = bytes(2 * int(silence_s * RATE))
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", "not compressed"))
        file.writeframes(bytes(RATE))
        for _ in range(times):
            for name in names:
                with wave.open(str(SPEECH / f"{name}.wav")) as recording:
                    assert (recording.getframerate(), recording.getnchannels()) == (RATE, 1)
                    file.writeframes(recording.readframes(recording.getnframes()))
                file.writeframes(silence)
    return path
