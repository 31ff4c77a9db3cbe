"""Opus (RFC 6716) as RTP carries it (RFC 7587), through libav's libopus.

libav hands out neither libopus' concealment nor its in-band FEC. Concealment is had all the same: a packet that is
nothing but a TOC octet announces one frame of no octets, which libopus takes as a frame that was lost
(RFC 6716 §3.1 and §4.4). The FEC of the following packet stays out of reach.
"""

import av
import numpy as np
from av.error import FFmpegError

from .base import Pcm
from .errors import CodecError, PayloadError
from .fmtp import OpusFmtp

SAMPLE_RATE = 48000
"""Hz: of the RTP clock always, of our samples too."""
FRAME = 960
"""Samples in 20 ms."""
MAX_PACKET = 5760
"""Samples in 120 ms, the longest packet of RFC 6716 §3.2.5."""
DEFAULT_BIT_RATE = 32000
"""bit/s: superwideband speech with room for FEC (RFC 7587 §3.1.1)."""

_FRAME_SAMPLES = (480, 960, 1920, 2880) * 3 + (480, 960) * 2 + (120, 240, 480, 960) * 4
"""By the configuration number in the TOC: SILK, hybrid, CELT (RFC 6716 table 2)."""

# libav takes these cut-off frequencies alone (Hz): Opus' bandwidths NB, MB, WB, SWB. Speech services have 24 kHz audio
# at most, so that fullband would carry nothing.
_CUTOFFS = (12000, 8000, 6000, 4000)


def packet_samples(payload: bytes) -> int:
    """Duration of a packet in samples at 48 kHz, from its TOC octet (RFC 6716 §3.1); 0 for an empty payload.

    Raises PayloadError when the frame count is 0 or missing, or the packet would last longer than 120 ms.
    """
    if not payload:
        return 0
    toc = payload[0]
    code = toc & 3
    if code == 0:
        count = 1
    elif code < 3:
        count = 2
    elif len(payload) < 2:
        raise PayloadError("Opus packet of code 3 has no frame count octet")
    else:
        count = payload[1] & 63
    samples = _FRAME_SAMPLES[toc >> 3] * count
    if not 0 < samples <= MAX_PACKET:
        raise PayloadError(f"Opus packet of {count} frames lasts {samples / 48:g} ms")
    return samples


def _lost_packets() -> tuple[bytes, ...]:
    """For each configuration, the TOC octet of a mono 20 ms frame in the same mode and bandwidth."""
    configurations = [c | 3 if c >= 16 else c | 1 if c >= 12 else c & ~3 | 1 for c in range(32)]
    return tuple(bytes([configuration << 3]) for configuration in configurations)


_LOST = _lost_packets()


class OpusDecoder:
    """Mono or stereo packets to mono samples at 48 kHz (libopus mixes stereo down).

    A frame that its sender left out (DTX: one or two octets, or an empty payload) is filled by libopus.
    """

    sample_rate = SAMPLE_RATE
    clock_rate = SAMPLE_RATE

    def __init__(self) -> None:
        context = av.CodecContext.create("libopus", "r")
        context.sample_rate = SAMPLE_RATE
        context.layout = "mono"
        self._context = context
        self._lost: bytes | None = None
        self._samples = FRAME

    def decode(self, payload: bytes) -> Pcm:
        """The samples of one packet. Raises PayloadError; the decoder is then as it was before."""
        if not payload:
            return self.conceal(self._samples)
        # Whatever libav could leave unchecked is refused here.
        samples = packet_samples(payload)
        pcm = self._decode(payload)
        if len(pcm) != samples:
            raise PayloadError(f"Opus packet decoded to {len(pcm)} samples, announced {samples}")
        self._lost = _LOST[payload[0] >> 3]
        self._samples = samples
        return pcm

    def _decode(self, payload: bytes) -> Pcm:
        try:
            frames = self._context.decode(av.Packet(payload))
        except FFmpegError as error:
            raise PayloadError(f"Opus packet of {len(payload)} octets is not decodable") from error
        if not frames:
            raise PayloadError(f"Opus packet of {len(payload)} octets gave no sound")
        frame = frames[0]
        return np.frombuffer(bytes(frame.planes[0]), np.int16, frame.samples)

    def conceal(self, samples: int) -> Pcm:
        """Samples in place of lost ones, by libopus' own concealment; silence before the first packet."""
        if self._lost is None:
            return np.zeros(samples, np.int16)
        frames = [self._decode(self._lost) for _ in range(-(-samples // FRAME))]
        pcm = frames[0] if len(frames) == 1 else np.concatenate(frames)
        return pcm[:samples]


class OpusEncoder:
    """Mono, 20 ms (960 samples) a packet, as the far end's fmtp asks.

    Honoured: maxplaybackrate, maxaveragebitrate, useinbandfec, cbr. An agent's voice is mono, which every receiver
    must take (RFC 7587 §7), so `stereo=1` changes nothing; neither does `usedtx=1`, a permission that libav cannot use.
    """

    sample_rate = SAMPLE_RATE
    clock_rate = SAMPLE_RATE

    def __init__(self, fmtp: str | None = None) -> None:
        """`fmtp` is the far end's, the text after the payload type, or None."""
        wanted = OpusFmtp.parse(fmtp)
        self.bit_rate = min(DEFAULT_BIT_RATE, wanted.maxaveragebitrate or DEFAULT_BIT_RATE)
        self.cutoff = next((c for c in _CUTOFFS if 2 * c <= wanted.maxplaybackrate), _CUTOFFS[-1])
        """Hz of audio bandwidth at most."""
        context = av.CodecContext.create("libopus", "w")
        context.sample_rate = SAMPLE_RATE
        context.layout = "mono"
        context.format = "s16"
        context.bit_rate = self.bit_rate
        context.options = {
            "application": "voip",
            "frame_duration": "20",
            "vbr": "off" if wanted.cbr else "on",
            "cutoff": str(self.cutoff),
            "fec": "1" if wanted.useinbandfec else "0",
            # libopus spends bits on FEC only where it is told to expect loss.
            "packet_loss": "5" if wanted.useinbandfec else "0",
            # Half the work of 10 for a difference that speech does not show.
            "compression_level": "5",
        }
        context.open()
        self._context = context
        self._frame = av.AudioFrame(format="s16", layout="mono", samples=FRAME)
        self._frame.sample_rate = SAMPLE_RATE
        self._plane = self._frame.planes[0]

    def encode(self, pcm: Pcm) -> bytes:
        """One packet. Raises CodecError when `pcm` is not 960 samples of 16 bit."""
        if len(pcm) != FRAME or pcm.dtype != np.int16:
            raise CodecError(f"Opus takes frames of {FRAME} int16 samples, not {len(pcm)} of {pcm.dtype}")
        # libav has read the frame when encode returns, so that one frame serves them all.
        self._plane.update(pcm.tobytes())
        (packet,) = self._context.encode(self._frame)
        return bytes(packet)
