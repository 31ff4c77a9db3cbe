"""Opus (RFC 6716) as RTP carries it (RFC 7587), through libav's libopus."""

from .base import Pcm

DEFAULT_FMTP = "minptime=20;useinbandfec=1"


def packet_samples(payload: bytes) -> int:
    """Duration of a packet in samples at 48 kHz, from its TOC octet (RFC 6716 §3.1); 0 for an empty payload.

    Raises PayloadError when the frame count is 0 or the packet would last longer than 120 ms.
    """
    raise NotImplementedError


class OpusDecoder:
    """Mono or stereo packets to mono samples at 48 kHz."""

    sample_rate = 48000
    clock_rate = 48000

    def decode(self, payload: bytes) -> Pcm:
        """The samples of one packet. Raises PayloadError."""
        raise NotImplementedError

    def conceal(self, samples: int) -> Pcm:
        """Samples in place of lost ones, by libopus' own concealment."""
        raise NotImplementedError


class OpusEncoder:
    """20 ms (960 samples) a packet, as the far end's fmtp asks."""

    sample_rate = 48000
    clock_rate = 48000

    def __init__(self, fmtp: str | None = None) -> None:
        """`fmtp` is the far end's. Raises FmtpError."""
        raise NotImplementedError

    def encode(self, pcm: Pcm) -> bytes:
        """One packet. Raises CodecError when `pcm` is not 960 samples."""
        raise NotImplementedError
