"""Samples: PCM frames in and out of payload octets. Imports no other room."""

from .base import Codec, Decoder, Encoder, Pcm
from .errors import CodecError, PayloadError, UnknownCodec
from .registry import CODECS, codec

__all__ = [
    "CODECS",
    "Codec",
    "CodecError",
    "Decoder",
    "Encoder",
    "PayloadError",
    "Pcm",
    "UnknownCodec",
    "codec",
]
