"""Speech against noise, from levels alone."""

import pytest

from trunkline.gateway.media.level import HANGOVER, LevelMeter, SpeechDetector


class Feed:
    def __init__(self) -> None:
        self.detector = SpeechDetector()
        self.now = 10.0

    def __call__(self, dbov: float, frames: int = 1) -> bool:
        for _ in range(frames):
            self.now += 0.020
            self.detector.update(dbov, self.now)
        return self.detector.speaking

    def words(self, seconds: float, loud: float, gap: float) -> None:
        for _ in range(round(seconds / 0.3)):
            self(loud, 12)
            self(gap, 3)


@pytest.fixture
def feed() -> Feed:
    return Feed()


def test_digital_silence_is_no_speech(feed):
    assert not feed(-127.0, 200)
    assert feed.detector.last_speech is None


def test_speech_after_silence_and_its_last_frame(feed):
    feed(-127.0, 50)
    began = feed.now
    feed.words(2.0, -25, -70)
    ended = feed.detector.last_speech
    assert feed.detector.started == pytest.approx(began, abs=0.1)
    assert feed.now - ended == pytest.approx(0.060)
    feed(-70, round(HANGOVER / 0.020) + 1)
    assert not feed.detector.speaking
    assert feed.detector.last_speech == ended


def test_a_click_is_no_speech(feed):
    feed(-127.0, 50)
    feed(-10, 2)
    feed(-127.0, 50)
    assert feed.detector.last_speech is None


def test_gaps_within_words_do_not_end_speech(feed):
    feed(-60, 100)
    feed.words(3.0, -25, -62)
    assert feed.detector.speaking


def test_steady_noise_becomes_floor_and_speech_still_stands_out(feed):
    feed(-38, 150)
    assert not feed.detector.speaking
    assert feed.detector.floor == pytest.approx(-38)
    feed.words(1.5, -18, -38)
    assert feed.detector.speaking


def test_the_floor_follows_a_quieter_room_at_once(feed):
    feed(-38, 200)
    feed(-60, 1)
    assert feed.detector.floor == pytest.approx(-60)


def test_meter_gives_the_loudest_once():
    meter = LevelMeter()
    assert meter.take() is None
    for level in (-40.0, -20.0, -30.0):
        meter.update(level)
    assert meter.take() == -20.0
    assert meter.take() is None
