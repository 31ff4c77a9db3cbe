"""Line and service formats: what is untouched, what is translated, what is resampled."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.codecs.errors import UnknownCodec
from trunkline.codecs.g711 import ALAW, ULAW
from trunkline.codecs.registry import codec
from trunkline.gateway.bridges.base import AudioFormat
from trunkline.gateway.media.convert import (
    converter,
    frame_octets,
    line_of,
    preferred_format,
    sample_octets,
    silent_frame,
)
from trunkline.gateway.messages import CodecSpec

PCMU, PCMA = AudioFormat("pcmu", 8000), AudioFormat("pcma", 8000)
OPUS = CodecSpec("opus", 48000, 2)


def pcm(rate: int) -> AudioFormat:
    return AudioFormat("pcm16", rate)


def test_equal_formats_need_no_conversion():
    assert converter(PCMU, PCMU) is None
    assert converter(pcm(24000), pcm(24000)) is None


@given(st.binary(max_size=500))
def test_laws_translate_octet_by_octet(octets):
    assert converter(PCMU, PCMA)(octets) == ULAW.to_other(octets)
    assert converter(PCMA, PCMU)(octets) == ALAW.to_other(octets)


def test_g711_to_pcm_of_the_same_rate_is_the_codecs_table():
    octets = bytes(range(256))
    assert converter(PCMA, pcm(8000))(octets) == ALAW.decode(octets).astype("<i2").tobytes()
    assert converter(pcm(8000), PCMA)(ALAW.decode(octets).tobytes()) == ALAW.encode(ALAW.decode(octets))


@pytest.mark.parametrize(
    ("source", "target"),
    [(PCMU, pcm(16000)), (PCMU, pcm(24000)), (pcm(24000), PCMU), (pcm(16000), PCMA), (pcm(24000), pcm(48000))],
)
def test_frames_become_frames_with_exact_counts(source, target):
    convert = converter(source, target)
    for _ in range(200):
        assert len(convert(silent_frame(source))) == frame_octets(target)


def test_frame_sizes():
    assert [frame_octets(f) for f in (PCMU, pcm(8000), pcm(24000), pcm(48000))] == [160, 320, 960, 1920]
    assert [sample_octets(f) for f in (PCMU, pcm(8000))] == [1, 2]
    assert silent_frame(PCMA) == b"\xd5" * 160
    assert silent_frame(pcm(8000)) == bytes(320)


def test_the_format_that_costs_least():
    assert preferred_format(CodecSpec("PCMU")) == PCMU
    assert preferred_format(CodecSpec("pcma")) == PCMA
    assert preferred_format(OPUS) == pcm(24000)


def test_an_unknown_codec_is_refused():
    with pytest.raises(UnknownCodec):
        line_of(CodecSpec("G729"))


def test_a_g711_line_is_the_payload_itself():
    line = line_of(CodecSpec("PCMA"))
    octets = bytes(range(160))
    assert line.payload(octets) is octets
    assert line.received(octets) is octets
    assert line.silence(80) == b"\xd5" * 80
    assert len(line.lost(160)) == 160


def test_an_opus_line_counts_in_its_own_samples():
    line = line_of(OPUS)
    time = np.arange(960) / 48000
    frame = (np.sin(2 * np.pi * 400 * time) * 8000).astype("<i2").tobytes()
    assert line.format == pcm(48000)
    assert len(line.received(line.payload(frame))) == 1920
    assert len(line.lost(960)) == 1920
    assert line.silence(480) == bytes(960)
    assert -17 < line.level(frame) < -13


def test_an_undecodable_packet_is_concealed_and_counted():
    line = line_of(OPUS)
    good = codec("opus").encoder(None).encode(np.zeros(960, np.int16))
    line.received(good)
    assert len(line.received(b"\xff\xff\xff")) == 1920
    assert line.undecodable == 1
