"""The codecs that a call may use, by the name that SDP gives them."""

from functools import partial

from .base import Codec
from .errors import UnknownCodec
from .g711 import ALAW, ULAW, G711Decoder, G711Encoder, Law
from .opus import OpusDecoder, OpusEncoder, packet_samples


def _g711(law: Law, payload_type: int) -> Codec:
    return Codec(
        name=law.name,
        clock_rate=8000,
        channels=1,
        payload_type=payload_type,
        sample_rate=8000,
        silence=law.silence,
        decoder=partial(G711Decoder, law),
        encoder=lambda fmtp: G711Encoder(law),
        packet_samples=len,
    )


CODECS: dict[str, Codec] = {
    "pcmu": _g711(ULAW, 0),
    "pcma": _g711(ALAW, 8),
    "opus": Codec(
        name="opus",
        clock_rate=48000,
        channels=2,
        payload_type=None,
        sample_rate=48000,
        silence=None,
        decoder=OpusDecoder,
        encoder=OpusEncoder,
        packet_samples=packet_samples,
    ),
}
"""By lower-case name."""


def codec(name: str) -> Codec:
    """The codec of this encoding name, whatever its case. Raises UnknownCodec."""
    try:
        return CODECS[name.lower()]
    except KeyError:
        raise UnknownCodec(name) from None
