"""Opus: durations, both ways, losses, garbage."""

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.codecs.errors import CodecError, PayloadError
from trunkline.codecs.opus import DEFAULT_BIT_RATE, OpusDecoder, OpusEncoder, packet_samples


def voice(samples: int, hz: float = 150) -> np.ndarray:
    phase = 2 * np.pi * hz * np.arange(samples) / 48000
    return np.rint(3000 * sum(np.sin(k * phase) / k for k in range(1, 15))).astype(np.int16)


def encoded(fmtp: str | None = None, frames: int = 50) -> list[bytes]:
    encoder, pcm = OpusEncoder(fmtp), voice(frames * 960)
    return [encoder.encode(pcm[i : i + 960]) for i in range(0, len(pcm), 960)]


def power(pcm: np.ndarray) -> float:
    return float((pcm.astype(float) ** 2).mean())


# RFC 6716 table 2: frame sizes in ms of each configuration.
FRAME_MS = [10, 20, 40, 60] * 3 + [10, 20] * 2 + [2.5, 5, 10, 20] * 4


@pytest.mark.parametrize("configuration", range(32))
def test_duration_of_every_configuration_and_frame_count(configuration):
    frame = int(FRAME_MS[configuration] * 48)
    for stereo in (0, 4):
        toc = configuration << 3 | stereo
        assert packet_samples(bytes([toc])) == frame
        assert packet_samples(bytes([toc | 1, 0, 0])) == 2 * frame
        assert packet_samples(bytes([toc | 2, 1, 0, 0])) == 2 * frame
        if 2 * frame <= 5760:
            assert packet_samples(bytes([toc | 3, 0x82])) == 2 * frame


def test_empty_payload_lasts_nothing():
    assert packet_samples(b"") == 0


@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        (b"\x03", "code 3 has no frame count octet"),
        (b"\x03\x00", "0 frames lasts 0 ms"),
        (b"\x1b\x03", "3 frames lasts 180 ms"),
        (b"\xfb\x3f", "63 frames lasts 1260 ms"),
    ],
)
def test_impossible_durations_are_refused(payload, sentence):
    with pytest.raises(PayloadError, match=sentence):
        packet_samples(payload)


def test_a_voice_comes_back():
    packets = encoded()
    decoder = OpusDecoder()
    heard = np.concatenate([decoder.decode(packet) for packet in packets])
    said = voice(50 * 960)
    assert len(heard) == len(said)
    assert power(heard[9600:]) == pytest.approx(power(said), rel=0.15)
    # The encoder looks 6.5 ms ahead: 312 samples.
    likeness = np.corrcoef(heard[9600 + 312 : 40000 + 312], said[9600:40000])[0, 1]
    assert likeness > 0.8


def test_stereo_is_mixed_to_mono():
    context = av.CodecContext.create("libopus", "w")
    context.sample_rate, context.layout, context.format, context.bit_rate = 48000, "stereo", "s16", 64000
    context.open()
    both = np.stack((voice(48000), np.zeros(48000, np.int16)), axis=1)
    decoder, heard = OpusDecoder(), []
    for i in range(0, 48000, 960):
        frame = av.AudioFrame.from_ndarray(both[i : i + 960].reshape(1, -1), format="s16", layout="stereo")
        frame.sample_rate = 48000
        for packet in context.encode(frame):
            assert bytes(packet)[0] & 4
            heard.append(decoder.decode(bytes(packet)))
    assert all(len(pcm) == 960 for pcm in heard)
    mixed = np.concatenate(heard[10:])
    assert power(mixed) == pytest.approx(power(voice(48000)) / 4, rel=0.2)


def test_a_lost_packet_is_concealed_by_libopus_and_a_long_loss_fades():
    packets = encoded()
    decoder = OpusDecoder()
    for packet in packets[:30]:
        before = decoder.decode(packet)
    lost = decoder.conceal(960)
    assert len(lost) == 960
    assert power(lost) > 0.1 * power(before)
    for _ in range(15):
        late = decoder.conceal(960)
    assert power(late) < 0.1 * power(before)
    # libopus needs some frames to be itself again.
    for packet in packets[41:46]:
        after = decoder.decode(packet)
    assert power(after) == pytest.approx(power(before), rel=0.2)


@pytest.mark.parametrize("samples", [1, 120, 480, 960, 1000, 2880])
def test_concealment_is_as_long_as_asked(samples):
    decoder = OpusDecoder()
    assert len(decoder.conceal(samples)) == samples
    assert not decoder.conceal(samples).any()
    decoder.decode(encoded(frames=1)[0])
    assert len(decoder.conceal(samples)) == samples


def test_dtx_packets_and_empty_payloads_are_sound():
    decoder = OpusDecoder()
    assert len(decoder.decode(b"")) == 960
    packets = encoded(frames=20)
    for packet in packets:
        decoder.decode(packet)
    toc = packets[-1][0] & 0xFC
    assert len(decoder.decode(bytes([toc]))) == 960
    assert len(decoder.decode(bytes([toc, 0]))) == 960
    assert len(decoder.decode(b"")) == 960


def test_garbage_is_a_payload_error_and_the_decoder_goes_on():
    decoder = OpusDecoder()
    packets = encoded(frames=4)
    decoder.decode(packets[0])
    with pytest.raises(PayloadError, match="not decodable"):
        # Two frames of equal size in an odd number of octets (RFC 6716 §3.2.3).
        decoder.decode(bytes([packets[0][0] & 0xFC | 1, 1, 2, 3]))
    assert len(decoder.decode(packets[1])) == 960


@settings(max_examples=300)
@given(st.lists(st.binary(max_size=300), max_size=5))
def test_any_octets_decode_or_are_a_payload_error(payloads):
    for payload in payloads:
        try:
            pcm = _SHARED.decode(payload)
        except PayloadError:
            continue
        assert len(pcm) == packet_samples(payload) or not payload


_SHARED = OpusDecoder()


@pytest.mark.parametrize(
    ("maxplaybackrate", "cutoff", "bandwidths"),
    [(48000, 12000, "SHF"), (24000, 12000, "SHF"), (16000, 8000, "WNM"), (12000, 6000, "NM"), (8000, 4000, "N")],
)
def test_nothing_above_the_receivers_playback_rate_is_sent(maxplaybackrate, cutoff, bandwidths):
    fmtp = f"maxplaybackrate={maxplaybackrate}"
    assert OpusEncoder(fmtp).cutoff == cutoff
    # RFC 6716 table 2: bandwidth by configuration.
    names = ["N"] * 4 + ["M"] * 4 + ["W"] * 4 + ["S"] * 2 + ["F"] * 2 + ["N"] * 4 + ["W"] * 4 + ["S"] * 4 + ["F"] * 4
    used = {names[packet[0] >> 3] for packet in encoded(fmtp)}
    assert used <= set("NMW" + "S") if cutoff == 12000 else used <= set(bandwidths)


def test_bit_rate_asked_for_is_kept():
    def rate(fmtp: str | None) -> float:
        return sum(len(packet) for packet in encoded(fmtp, frames=150)) * 8 / 3

    assert rate(None) == pytest.approx(DEFAULT_BIT_RATE, rel=0.35)
    assert rate("maxaveragebitrate=12000") < 1.25 * 12000
    assert OpusEncoder("maxaveragebitrate=500000").bit_rate == DEFAULT_BIT_RATE


def test_cbr_packets_are_all_of_one_size():
    assert len({len(packet) for packet in encoded("cbr=1;maxaveragebitrate=24000")}) == 1
    assert len({len(packet) for packet in encoded("maxaveragebitrate=24000")}) > 1


def test_every_packet_is_20_ms_of_mono():
    for packet in encoded("stereo=1;useinbandfec=1;usedtx=1"):
        assert packet_samples(packet) == 960
        assert not packet[0] & 4


@pytest.mark.parametrize("pcm", [np.zeros(480, np.int16), np.zeros(960, np.float32)])
def test_encoder_wants_20_ms_of_16_bit(pcm):
    with pytest.raises(CodecError, match="frames of 960 int16 samples"):
        OpusEncoder().encode(pcm)
