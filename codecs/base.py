"""What every codec offers: an encoder and a decoder between 16-bit mono samples and payload octets."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Pcm = npt.NDArray[np.int16]
"""Mono samples, 16 bit, one dimension."""


class Decoder(Protocol):
    """Payload octets to samples, in the order in which they are heard."""

    sample_rate: int
    """Hz of the samples that come out."""
    clock_rate: int
    """Hz of the RTP timestamp."""

    def decode(self, payload: bytes) -> Pcm:
        """The samples of one packet. Raises PayloadError."""
        ...

    def conceal(self, samples: int) -> Pcm:
        """Exactly `samples` samples (at `sample_rate`) in place of a lost packet."""
        ...


class Encoder(Protocol):
    """Samples to payload octets."""

    sample_rate: int
    """Hz of the samples that go in."""
    clock_rate: int
    """Hz of the RTP timestamp."""

    def encode(self, pcm: Pcm) -> bytes:
        """The payload of one packet. Raises CodecError when the number of samples is not one the codec takes."""
        ...


@dataclass(frozen=True, slots=True)
class Codec:
    """One entry of the registry: what SDP says of the codec, and how to make one for a call."""

    name: str
    """Encoding name as in `a=rtpmap` (compared without case)."""
    clock_rate: int
    """Hz of the RTP timestamp, as in `a=rtpmap`."""
    channels: int
    """Channels as `a=rtpmap` must say them (RFC 7587: opus is always `/2`); samples here are always mono."""
    payload_type: int | None
    """The static payload type (RFC 3551), None when it is dynamic."""
    sample_rate: int
    """Hz of the samples."""
    silence: bytes | None
    """The octet of silence when a sample is an octet (G.711), else None."""
    decoder: Callable[[], Decoder]
    """A decoder for one stream."""
    encoder: Callable[[str | None], Encoder]
    """An encoder that follows the far end's `a=fmtp` parameters (None when there are none)."""
    packet_samples: Callable[[bytes], int]
    """Duration of a payload in `clock_rate` units, without decoding it. Raises PayloadError."""
