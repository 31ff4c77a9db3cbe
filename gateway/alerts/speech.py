"""An announcement as sound: spoken by espeak-ng where it is installed, else put together from shipped prompts.

Either is G.711 µ-law at 8000 Hz. A synthesiser that hangs, crashes or babbles costs seconds and never the page.
"""

import asyncio
import contextlib
import importlib.resources
import io
import os
import wave
from collections.abc import Sequence
from functools import cache

import numpy as np
import structlog

from ...codecs.errors import CodecError
from ...codecs.g711 import SAMPLE_RATE, ULAW
from ...codecs.resample import Resampler
from ..errors import GatewayError
from .announcement import CLAUSE, SENTENCE, WORD, Wording

log = structlog.get_logger(__name__)

SYNTHESISER = ("espeak-ng", "-v", "en-us", "-s", "150", "--stdin", "--stdout")
"""The text comes on standard input, as ever: what an alert says is no argument of any command."""
TIMEOUT_S = 10.0
"""A minute of speech takes a tenth of a second; seconds on a machine that is in trouble."""
LONGEST_S = 75
"""Seconds of speech that are taken from a synthesiser; it was asked for less."""
SHORTEST_S = 1
"""Less cannot be an announcement."""
_OCTETS_MAX = LONGEST_S * 48000 * 2
_PAUSES_S = {WORD: 0.12, CLAUSE: 0.25, SENTENCE: 0.5}


class SpeechError(GatewayError):
    """The text could not be spoken; prompts stand in."""


async def spoken(wording: Wording, command: Sequence[str] = SYNTHESISER) -> bytes:
    """The announcement in the best voice that there is; never raises."""
    try:
        return await synthesised(wording.text, command)
    except FileNotFoundError:
        log.debug("no speech synthesis here, prompts are used", command=command[0])
    except (SpeechError, OSError) as error:
        log.warning("speech synthesis failed, prompts are used", command=command[0], reason=str(error))
    return await asyncio.to_thread(joined, wording.prompts)


async def synthesised(text: str, command: Sequence[str] = SYNTHESISER, timeout_s: float = TIMEOUT_S) -> bytes:
    """The text, spoken by a program that reads it and writes a WAV. Raises SpeechError, or OSError when the program
    cannot be started."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        # the gateway's own environment may hold its secrets
        env={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"},
    )
    try:
        async with asyncio.timeout(timeout_s):
            octets = await _exchange(process, text.encode())
            status = await process.wait()
    except TimeoutError:
        raise SpeechError(f"not done within {timeout_s:g} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if status != 0:
        raise SpeechError(f"killed by signal {-status}" if status < 0 else f"exit status {status}")
    return await asyncio.to_thread(_telephone_band, octets)


async def _exchange(process: asyncio.subprocess.Process, text: bytes) -> bytes:
    if process.stdin is None or process.stdout is None:
        raise SpeechError("no pipe")
    process.stdin.write(text)
    process.stdin.close()
    octets = bytearray()
    while chunk := await process.stdout.read(65536):
        octets += chunk
        if len(octets) > _OCTETS_MAX:
            raise SpeechError(f"more than {LONGEST_S} s of speech")
    return bytes(octets)


def _telephone_band(octets: bytes) -> bytes:
    """A WAV as µ-law at 8000 Hz. Its header cannot know the length: it was written before the first word."""
    try:
        with wave.open(io.BytesIO(octets)) as file:
            if (file.getnchannels(), file.getsampwidth()) != (1, 2):
                raise SpeechError("no mono speech in 16 bits")
            rate = file.getframerate()
            pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        resampler = Resampler(rate, SAMPLE_RATE)
    except (wave.Error, EOFError, CodecError, ValueError) as error:
        raise SpeechError(f"no speech came: {str(error) or type(error).__name__}") from None
    if not SHORTEST_S <= len(pcm) / rate <= LONGEST_S:
        raise SpeechError(f"{len(pcm) / rate:.1f} s of speech")
    return ULAW.encode(np.concatenate([resampler.process(pcm), resampler.flush()]))


def joined(prompts: Sequence[str]) -> bytes:
    """Prompts and pauses, one after the other."""
    return b"".join(
        ULAW.silent(int(_PAUSES_S[name] * SAMPLE_RATE)) if name in _PAUSES_S else prompt(name) for name in prompts
    )


@cache
def prompt(name: str) -> bytes:
    """A shipped prompt."""
    return importlib.resources.files(__package__ or "").joinpath("prompts", f"{name}.ul").read_bytes()
