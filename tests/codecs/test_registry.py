"""Codecs by name."""

import numpy as np
import pytest

from trunkline.codecs import CODECS, CodecError, UnknownCodec, codec


@pytest.mark.parametrize(
    ("name", "clock_rate", "channels", "payload_type", "sample_rate", "silence"),
    [("PCMU", 8000, 1, 0, 8000, b"\xff"), ("pcma", 8000, 1, 8, 8000, b"\xd5"), ("OPUS", 48000, 2, None, 48000, None)],
)
def test_entries_say_what_rfc_3551_and_rfc_7587_say(name, clock_rate, channels, payload_type, sample_rate, silence):
    entry = codec(name)
    assert entry.name.lower() == name.lower()
    assert (entry.clock_rate, entry.channels, entry.payload_type) == (clock_rate, channels, payload_type)
    assert (entry.sample_rate, entry.silence) == (sample_rate, silence)


def test_unknown_codec_is_named_in_the_error():
    with pytest.raises(UnknownCodec, match="unknown codec 'G729'") as caught:
        codec("G729")
    assert isinstance(caught.value, CodecError)
    assert caught.value.name == "G729"


@pytest.mark.parametrize("name", CODECS)
def test_twenty_ms_go_through_each_codec(name):
    entry = codec(name)
    encoder, decoder = entry.encoder(None), entry.decoder()
    assert encoder.sample_rate == decoder.sample_rate == entry.sample_rate
    assert encoder.clock_rate == decoder.clock_rate == entry.clock_rate
    payload = encoder.encode(np.zeros(entry.sample_rate // 50, np.int16))
    assert entry.packet_samples(payload) == entry.clock_rate // 50
    pcm = decoder.decode(payload)
    assert pcm.dtype == np.int16
    assert pcm.shape == (entry.sample_rate // 50,)
    assert decoder.conceal(entry.sample_rate // 50).shape == pcm.shape
