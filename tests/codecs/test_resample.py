"""The resampler: counts, cuts, tones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.codecs.errors import CodecError
from trunkline.codecs.resample import RATES, SYNTHESIS_RATE, Resampler

PAIRS = [(a, b) for a in RATES for b in RATES if a != b] + [(SYNTHESIS_RATE, 8000)]


def tone(hz: float, rate: int, seconds: float = 1.0, amplitude: float = 16000) -> np.ndarray:
    return np.rint(amplitude * np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate)).astype(np.int16)


def rms_db(pcm: np.ndarray) -> float:
    return 10 * np.log10((pcm.astype(float) ** 2).mean() + 1e-12)


def chunks(total: int, largest: int, seed: int):
    """Odd sizes that add up to `total`."""
    rng = np.random.default_rng(seed)
    left = total
    while left:
        size = min(left, int(rng.integers(0, largest)) | 1)
        yield size
        left -= size


@pytest.mark.parametrize(
    ("in_rate", "out_rate", "seconds"),
    [(*pair, 3600 if pair in ((24000, 8000), (8000, 24000)) else 200) for pair in PAIRS],
)
def test_an_hour_of_odd_chunks_neither_drops_nor_invents_a_sample(in_rate, out_rate, seconds):
    resampler = Resampler(in_rate, out_rate)
    sound = np.zeros(in_rate * 2, np.int16)
    given_, taken = 0, 0
    for size in chunks(in_rate * seconds, in_rate * 2, seed=in_rate + out_rate):
        taken += size
        given_ += len(resampler.process(sound[:size]))
        assert given_ == -(-taken * out_rate // in_rate)
    assert given_ == out_rate * seconds
    assert len(resampler.flush()) == resampler.latency


@pytest.mark.parametrize(("in_rate", "out_rate"), PAIRS)
def test_20_ms_in_are_20_ms_out_from_the_first_frame_on(in_rate, out_rate):
    resampler = Resampler(in_rate, out_rate)
    for _ in range(5):
        assert len(resampler.process(np.zeros(in_rate // 50, np.int16))) == out_rate // 50


@pytest.mark.parametrize(("in_rate", "out_rate"), PAIRS)
@pytest.mark.parametrize("largest", [7, 700])
def test_the_cut_between_chunks_does_not_show(in_rate, out_rate, largest):
    sound = np.random.default_rng(1).integers(-32768, 32768, 20000).astype(np.int16)
    whole = Resampler(in_rate, out_rate)
    parts = Resampler(in_rate, out_rate)
    once = np.concatenate((whole.process(sound), whole.flush()))
    out, start = [], 0
    for size in chunks(len(sound), largest, seed=largest):
        out.append(parts.process(sound[start : start + size]))
        start += size
    assert np.array_equal(np.concatenate([*out, parts.flush()]), once)


@given(st.lists(st.integers(0, 50), max_size=30), st.sampled_from(PAIRS))
def test_counts_for_any_sizes(sizes, pair):
    resampler, taken, given_ = Resampler(*pair), 0, 0
    for size in sizes:
        taken += size
        given_ += len(resampler.process(np.zeros(size, np.int16)))
        assert given_ == -(-taken * pair[1] // pair[0])


@pytest.mark.parametrize(("in_rate", "out_rate"), PAIRS)
@pytest.mark.parametrize("part", [0.05, 0.4, 0.8])
def test_tones_of_the_passband_come_out_clean_at_the_documented_latency(in_rate, out_rate, part):
    hz = part * min(in_rate, out_rate) / 2
    resampler = Resampler(in_rate, out_rate)
    heard = np.concatenate((resampler.process(tone(hz, in_rate)), resampler.flush()))[resampler.latency :]
    true = 16000 * np.sin(2 * np.pi * hz * np.arange(len(heard)) / out_rate)
    middle = slice(out_rate // 10, -out_rate // 10)
    error = heard[middle] - true[middle]
    assert rms_db(true[middle]) - rms_db(error) > 70


@pytest.mark.parametrize(("in_rate", "out_rate"), [p for p in PAIRS if p[0] > p[1]])
def test_what_the_lower_rate_cannot_hold_is_down_by_70_db(in_rate, out_rate):
    for part in (1.0, 1.02, 1.1, 1.3, 1.7, 1.95):
        hz = part * out_rate / 2
        if hz >= in_rate / 2:
            continue
        heard = Resampler(in_rate, out_rate).process(tone(hz, in_rate, amplitude=32000))
        assert rms_db(heard[out_rate // 10 :]) < rms_db(tone(1000, 48000, amplitude=32000)) - 70


@pytest.mark.parametrize(("in_rate", "out_rate"), [p for p in PAIRS if p[0] < p[1]])
def test_upsampling_leaves_no_images(in_rate, out_rate):
    heard = Resampler(in_rate, out_rate).process(tone(0.7 * in_rate / 2, in_rate, amplitude=32000))
    steady = heard[out_rate // 10 : out_rate // 10 + out_rate // 2].astype(float)
    spectrum = np.abs(np.fft.rfft(steady * np.kaiser(len(steady), 14))) ** 2
    images = spectrum[len(spectrum) * in_rate // out_rate :]
    assert 10 * np.log10(images.max() / spectrum.max()) < -70


@pytest.mark.parametrize(("in_rate", "out_rate"), PAIRS)
def test_a_constant_stays_that_constant(in_rate, out_rate):
    heard = Resampler(in_rate, out_rate).process(np.full(in_rate // 5, 12345, np.int16))
    assert set(heard[-out_rate // 10 :].tolist()) == {12345}


def test_full_scale_is_clipped_and_does_not_wrap():
    square = np.where(np.arange(24000) // 40 % 2, 32767, -32768).astype(np.int16)
    heard = Resampler(24000, 8000).process(square)
    assert heard.max() == 32767
    assert heard.min() == -32768
    assert np.abs(np.diff(heard.astype(int))).max() < 65535


def test_latency_is_that_of_the_table():
    table = {pair: round(Resampler(*pair).latency / pair[1] * 1000, 2) for pair in PAIRS}
    assert max(table.values()) <= 4.2
    assert table[24000, 8000] == 4.12
    assert table[8000, 24000] == 4.08


def test_flush_starts_afresh():
    resampler, sound = Resampler(24000, 8000), tone(700, 24000, 0.1)
    first = resampler.process(sound)
    resampler.flush()
    assert np.array_equal(resampler.process(sound), first)


def test_same_rate_passes_through():
    resampler, sound = Resampler(8000, 8000), tone(700, 8000, 0.1)
    assert resampler.process(sound) is sound
    assert resampler.latency == 0
    assert len(resampler.flush()) == 0


def test_other_rates_are_refused():
    with pytest.raises(CodecError, match="cannot resample 44100 Hz"):
        Resampler(44100, 8000)
