"""G.711 against libav, octet by octet."""

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.codecs.errors import CodecError
from trunkline.codecs.g711 import ALAW, ULAW, G711Concealment, G711Decoder, G711Encoder

LAWS = {"pcm_mulaw": ULAW, "pcm_alaw": ALAW}


def libav_encode(name: str, pcm: np.ndarray) -> bytes:
    context = av.CodecContext.create(name, "w")
    context.sample_rate, context.layout, context.format = 8000, "mono", "s16"
    frame = av.AudioFrame.from_ndarray(pcm.reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = 8000
    return b"".join(bytes(packet) for packet in context.encode(frame))


def libav_decode(name: str, octets: bytes) -> np.ndarray:
    context = av.CodecContext.create(name, "r")
    context.sample_rate, context.layout = 8000, "mono"
    return np.concatenate([frame.to_ndarray().reshape(-1) for frame in context.decode(av.Packet(octets))])


@pytest.mark.parametrize("name", LAWS)
def test_all_octets_decode_as_libav_decodes_them(name):
    octets = bytes(np.random.default_rng(7).permutation(256).astype(np.uint8))
    assert np.array_equal(G711Decoder(LAWS[name]).decode(octets), libav_decode(name, octets))


@pytest.mark.parametrize("name", LAWS)
def test_all_samples_encode_as_libav_encodes_them(name):
    pcm = np.random.default_rng(7).permutation(np.arange(-32768, 32768)).astype(np.int16)
    assert G711Encoder(LAWS[name]).encode(pcm) == libav_encode(name, pcm)


@pytest.mark.parametrize(
    ("law", "octet", "sample"),
    [(ULAW, 0x00, -32124), (ULAW, 0x80, 32124), (ULAW, 0xFF, 0), (ALAW, 0xD5, 8), (ALAW, 0x2A, -32256)],
)
def test_known_points_of_the_laws(law, octet, sample):
    assert law.decode(bytes([octet])).tolist() == [sample]


@pytest.mark.parametrize("law", LAWS.values())
def test_silence_is_the_octet_of_sample_zero(law):
    assert law.encode(np.zeros(3, np.int16)) == law.silent(3) == law.silence * 3


@pytest.mark.parametrize(("law", "other"), [(ULAW, ALAW), (ALAW, ULAW)])
def test_to_other_law_is_decoding_and_encoding(law, other):
    octets = bytes(range(256))
    assert law.to_other(octets) == other.encode(law.decode(octets))


def test_a_to_mu_and_back_stays_within_one_quantisation_step():
    there_and_back = ULAW.to_other(ALAW.to_other(bytes(range(256))))
    error = np.abs(ALAW.decode(there_and_back).astype(int) - ALAW.decode(bytes(range(256))))
    assert error.max() <= 1024


def test_encoder_wants_16_bit():
    with pytest.raises(CodecError, match="int16 samples, not float32"):
        G711Encoder(ULAW).encode(np.zeros(160, np.float32))  # pyright: ignore


@given(st.binary(max_size=2000))
def test_every_octet_string_decodes(octets):
    assert len(G711Decoder(ALAW).decode(octets)) == len(octets)


# Concealment on octets


def voice(samples: int, hz: float = 128.7, rate: int = 8000) -> np.ndarray:
    phase = 2 * np.pi * hz * np.arange(samples) / rate
    return np.rint(3000 * sum(np.sin(k * phase) / k for k in range(1, 15))).astype(np.int16)


def frames(law, samples=1600):
    octets = law.encode(voice(samples))
    return [octets[i : i + 160] for i in range(0, samples, 160)]


@pytest.mark.parametrize("law", LAWS.values())
def test_octets_pass_untouched_while_nothing_is_lost(law):
    concealment = G711Concealment(law)
    for frame in frames(law):
        assert concealment.received(frame) is frame


@pytest.mark.parametrize("law", LAWS.values())
def test_only_the_head_of_the_first_frame_after_a_loss_is_touched(law):
    concealment = G711Concealment(law)
    sent = frames(law)
    for frame in sent[:5]:
        concealment.received(frame)
    assert len(concealment.lost(160)) == 160
    after = concealment.received(sent[6])
    assert len(after) == 160
    assert after[80:] == sent[6][80:]
    assert concealment.received(sent[7]) is sent[7]


@pytest.mark.parametrize("law", LAWS.values())
def test_a_steady_voice_is_continued_through_a_lost_frame(law):
    concealment = G711Concealment(law)
    sent = frames(law)
    for frame in sent[:5]:
        concealment.received(frame)
    true = law.decode(sent[5])[:80].astype(float)
    error = law.decode(concealment.lost(160))[:80] - true
    assert (error**2).sum() < (true**2).sum() / 30


def test_a_second_loss_soon_after_the_first_goes_on_from_what_was_heard():
    concealment = G711Concealment(ULAW)
    sent = frames(ULAW)
    for frame in sent[:5]:
        concealment.received(frame)
    concealment.lost(160)
    concealment.received(sent[6])
    again = ULAW.decode(concealment.lost(160))
    true = ULAW.decode(sent[7]).astype(float)
    assert ((again[:80] - true[:80]) ** 2).sum() < (true[:80] ** 2).sum() / 10


def test_frames_of_any_length_and_none_at_all_are_survived():
    concealment = G711Concealment(ULAW)
    assert concealment.lost(160) == ULAW.silent(160)
    assert concealment.received(b"") == b""
    assert len(concealment.received(frames(ULAW)[0][:7])) == 7
    assert len(concealment.lost(1)) == 1
    assert len(concealment.received(frames(ULAW)[1])) == 160
