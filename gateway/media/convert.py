"""Between the phone line and a speech service: what each side's octets become on the other.

The line format is what a call's codec yields: G.711 octets as they came, or 16-bit PCM of an Opus decoder. Where line
and service agree nothing is touched; a change of law alone is an octet table; all else goes through samples.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from ...codecs.base import Decoder, Encoder, Pcm
from ...codecs.errors import PayloadError
from ...codecs.g711 import ALAW, ULAW, G711Concealment, Law
from ...codecs.level import level
from ...codecs.registry import codec
from ...codecs.resample import Resampler
from ..bridges.base import AudioFormat
from ..messages import CodecSpec

FRAME_MS = 20
LAWS: dict[str, Law] = {"pcmu": ULAW, "pcma": ALAW}


def frame_octets(audio: AudioFormat) -> int:
    """Octets of one 20 ms frame."""
    return audio.octets_per_ms * FRAME_MS


def sample_octets(audio: AudioFormat) -> int:
    """Octets of one sample."""
    return 2 if audio.encoding == "pcm16" else 1


def silent_frame(audio: AudioFormat) -> bytes:
    """20 ms of silence."""
    law = LAWS.get(audio.encoding)
    return law.silent(frame_octets(audio)) if law is not None else bytes(frame_octets(audio))


def pcm_of(octets: bytes) -> Pcm:
    """16-bit little-endian octets as samples; a trailing odd octet is ignored."""
    return np.frombuffer(octets, "<i2", len(octets) // 2)


def decoder_of(audio: AudioFormat) -> Callable[[bytes], Pcm]:
    """What turns octets of this format into samples."""
    law = LAWS.get(audio.encoding)
    return pcm_of if law is None else law.decode


class Line(Protocol):
    """One call's codec, both directions, in terms of line octets."""

    format: AudioFormat
    clock_rate: int

    def received(self, payload: bytes, /) -> bytes:
        """Line octets of one RTP payload. What cannot be decoded is concealed and counted in `undecodable`."""
        ...

    def lost(self, samples: int, /) -> bytes:
        """Line octets in place of so many units of the RTP clock that never came."""
        ...

    def silence(self, samples: int, /) -> bytes:
        """Line octets of silence for so many units of the RTP clock."""
        ...

    def payload(self, frame: bytes, /) -> bytes:
        """The RTP payload of one 20 ms frame of line octets."""
        ...

    def level(self, frame: bytes, /) -> float:
        """dBov of line octets."""
        ...

    undecodable: int


class G711Line:
    """PCMU or PCMA: the payload is the line."""

    clock_rate = 8000

    def __init__(self, law: Law) -> None:
        self.format = AudioFormat("pcmu" if law is ULAW else "pcma", 8000)
        self.undecodable = 0
        repair = G711Concealment(law)
        self.received = repair.received
        self.lost = repair.lost
        self.silence = law.silent
        self.level = law.level

    def payload(self, frame: bytes, /) -> bytes:
        return frame


class PcmLine:
    """Any other codec: 16-bit samples at its own rate."""

    def __init__(self, decoder: Decoder, encoder: Encoder) -> None:
        self.format = AudioFormat("pcm16", decoder.sample_rate)
        self.clock_rate = decoder.clock_rate
        self.undecodable = 0
        self._decoder = decoder
        self._encoder = encoder
        self._last_samples = decoder.sample_rate // 50

    def received(self, payload: bytes, /) -> bytes:
        try:
            pcm = self._decoder.decode(payload)
        except PayloadError:
            self.undecodable += 1
            pcm = self._decoder.conceal(self._last_samples)
        self._last_samples = len(pcm) or self._last_samples
        return pcm.tobytes()

    def lost(self, samples: int, /) -> bytes:
        return self._decoder.conceal(self._of_clock(samples)).tobytes()

    def silence(self, samples: int, /) -> bytes:
        return bytes(2 * self._of_clock(samples))

    def payload(self, frame: bytes, /) -> bytes:
        return self._encoder.encode(pcm_of(frame))

    def level(self, frame: bytes, /) -> float:
        return level(pcm_of(frame))

    def _of_clock(self, samples: int) -> int:
        return samples * self.format.sample_rate // self.clock_rate


def line_of(spec: CodecSpec) -> Line:
    """The line of a negotiated codec. Raises UnknownCodec or FmtpError."""
    entry = codec(spec.name)
    law = LAWS.get(entry.name.lower())
    if law is not None:
        return G711Line(law)
    return PcmLine(entry.decoder(), entry.encoder(spec.fmtp or None))


def preferred_format(spec: CodecSpec) -> AudioFormat:
    """The service format that costs least on a call of this codec."""
    name = spec.name.lower()
    if name == "pcmu":
        return AudioFormat("pcmu", 8000)
    if name == "pcma":
        return AudioFormat("pcma", 8000)
    return AudioFormat("pcm16", 24000)


Convert = Callable[[bytes], bytes]


def converter(source: AudioFormat, target: AudioFormat) -> Convert | None:
    """A streaming conversion of frames, None where the octets stay as they are. Raises CodecError for odd rates.

    Its resampler remembers the frames before; chunks hold whole samples.
    """
    if source == target:
        return None
    source_law, target_law = LAWS.get(source.encoding), LAWS.get(target.encoding)
    if source_law is not None and target_law is not None:
        return source_law.to_other
    decode = decoder_of(source)
    encode = _pcm_octets if target_law is None else target_law.encode
    if source.sample_rate == target.sample_rate:
        return lambda octets: encode(decode(octets))
    resample = Resampler(source.sample_rate, target.sample_rate).process
    return lambda octets: encode(resample(decode(octets)))


def _pcm_octets(pcm: Pcm) -> bytes:
    return pcm.astype("<i2", copy=False).tobytes()
