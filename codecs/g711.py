"""G.711 (ITU-T G.711, RFC 3551 PCMU and PCMA): one octet a sample, 8000 Hz.

There is no G.711 arithmetic here. At import libav decodes all 256 octets and encodes all 65,536 samples; from then on
a frame is one table look-up. Octets that only change law, or only have their level read, never become samples.
"""

from collections import deque
from typing import Literal

import av
import numpy as np

from .base import Pcm
from .concealment import HISTORY, Concealment
from .errors import CodecError
from .level import SILENT_DBOV, dbov

SAMPLE_RATE = 8000
"""Hz."""
_HEARD_FRAMES = 5
"""Enough for the history of a concealment in frames of 10 ms."""


_LibavName = Literal["pcm_mulaw", "pcm_alaw"]


def _decode_table(libav_name: _LibavName) -> Pcm:
    context = av.CodecContext.create(libav_name, "r")
    context.sample_rate = SAMPLE_RATE
    context.layout = "mono"
    (frame,) = context.decode(av.Packet(bytes(range(256))))
    return frame.to_ndarray().reshape(256).astype(np.int16)


def _encode_table(libav_name: _LibavName) -> np.ndarray:
    """The octet of each sample, by the sample taken as unsigned: numpy's wrapping index finds negative ones."""
    context = av.CodecContext.create(libav_name, "w")
    context.sample_rate = SAMPLE_RATE
    context.layout = "mono"
    context.format = "s16"
    frame = av.AudioFrame(format="s16", layout="mono", samples=65536)
    frame.sample_rate = SAMPLE_RATE
    frame.planes[0].update(np.arange(65536, dtype=np.uint16).tobytes())
    (packet,) = context.encode(frame)
    return np.frombuffer(bytes(packet), np.uint8).copy()


class Law:
    """One of the two laws of G.711, as tables."""

    __slots__ = ("_amplitude", "_octets", "_samples", "_to_other", "name", "silence")

    def __init__(self, name: str, libav_name: _LibavName, silence: int) -> None:
        self.name = name
        self.silence = bytes([silence])
        self._samples = _decode_table(libav_name)
        self._octets = _encode_table(libav_name)
        self._amplitude = (self._samples.astype(np.float32) / 32768).take
        self._to_other = b""

    def _pair(self, other: "Law") -> None:
        self._to_other = other.encode(self._samples)
        other._to_other = self.encode(other._samples)

    def decode(self, octets: bytes) -> Pcm:
        """The samples of any number of octets."""
        return self._samples.take(np.frombuffer(octets, np.uint8))

    def encode(self, pcm: Pcm) -> bytes:
        """The octets of any number of samples."""
        return self._octets.take(pcm, mode="wrap").tobytes()

    def to_other(self, octets: bytes) -> bytes:
        """The same sound in the other law, octet by octet."""
        return octets.translate(self._to_other)

    def silent(self, samples: int) -> bytes:
        """So many octets of silence."""
        return self.silence * samples

    def level(self, octets: bytes) -> float:
        """Mean power in dBov (RFC 6464: 0 is a full-scale square wave, a full-scale sine is -3), at least -127."""
        if not octets:
            return SILENT_DBOV
        amplitudes = self._amplitude(np.frombuffer(octets, np.uint8))
        return dbov(float(amplitudes.dot(amplitudes)) / len(octets))


ULAW = Law("PCMU", "pcm_mulaw", 0xFF)
ALAW = Law("PCMA", "pcm_alaw", 0xD5)
ULAW._pair(ALAW)


class G711Concealment:
    """Conceals lost frames of a G.711 stream without touching the octets that arrived.

    While nothing is lost, `received` keeps a reference to the octets and returns them: bit-exact, no decoding.
    After a loss the first good frame comes back with its beginning blended into the concealment.
    """

    __slots__ = ("_concealment", "_heard", "_law")

    def __init__(self, law: Law) -> None:
        self._law = law
        self._heard: deque[bytes] = deque(maxlen=_HEARD_FRAMES)
        self._concealment: Concealment | None = None

    def received(self, octets: bytes) -> bytes:
        """A frame that arrived; returns what is to be heard (the same object unless a loss came just before)."""
        if self._concealment is not None and octets:
            octets = self._merge(octets, self._concealment)
        self._heard.append(octets)
        return octets

    def lost(self, samples: int) -> bytes:
        """Octets for so many samples that did not arrive."""
        concealment = self._concealment
        if concealment is None:
            history = self._law.decode(b"".join(self._heard)[-HISTORY:])
            concealment = self._concealment = Concealment(history)
        octets = self._law.encode(concealment.conceal(samples))
        self._heard.append(octets)
        return octets

    def _merge(self, octets: bytes, concealment: Concealment) -> bytes:
        head = octets[: concealment.overlap]
        self._concealment = None
        return self._law.encode(concealment.merge(self._law.decode(head))) + octets[len(head) :]


class G711Decoder:
    """PCMU or PCMA to samples, losses concealed in the manner of G.711 Appendix I."""

    sample_rate = SAMPLE_RATE
    clock_rate = SAMPLE_RATE

    def __init__(self, law: Law) -> None:
        self._decode = law.decode
        self._repair = G711Concealment(law)

    def decode(self, payload: bytes) -> Pcm:
        """The samples of one packet of any length; every octet is valid."""
        return self._decode(self._repair.received(payload))

    def conceal(self, samples: int) -> Pcm:
        """Samples in place of lost ones."""
        return self._decode(self._repair.lost(samples))


class G711Encoder:
    """Samples to PCMU or PCMA."""

    sample_rate = SAMPLE_RATE
    clock_rate = SAMPLE_RATE

    def __init__(self, law: Law) -> None:
        self._encode = law.encode

    def encode(self, pcm: Pcm) -> bytes:
        """One octet a sample, any number of them. Raises CodecError when the samples are not 16 bit."""
        if pcm.dtype != np.int16:
            raise CodecError(f"G.711 takes int16 samples, not {pcm.dtype}")
        return self._encode(pcm)
