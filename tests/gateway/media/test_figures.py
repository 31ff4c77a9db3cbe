"""The record's figures: counted, rated on one scale, None while nobody knows."""

import pytest

from trunkline.gateway.media.figures import Figures
from trunkline.rtp.events import FarEndReport, ReceiveReport


class Session:
    """A session that says what the test wants."""

    def __init__(self) -> None:
        self.packets_sent = 0
        self.far_end: FarEndReport | None = None
        self.expected = self.lost = self.discarded = 0

    def report(self) -> ReceiveReport:
        return ReceiveReport(
            packets=self.expected - self.lost,
            expected=self.expected,
            lost=self.lost,
            discarded=self.discarded,
            duplicated=0,
            reordered=0,
            concealed=self.lost + self.discarded,
            concealed_samples=0,
            jitter_ms=1.23456 if self.expected else None,
            jitter_max_ms=2.0 if self.expected else None,
            delay_p99_ms=None,
            burst_r=None,
            loss_runs=self.lost + self.discarded,
        )


def far_end(lost: int, rtt_ms: float | None = None, **xr: float) -> FarEndReport:
    return FarEndReport(fraction_lost=0.0, lost=lost, jitter_ms=4.0, rtt_ms=rtt_ms, highest_sequence=1, **xr)


@pytest.fixture
def session() -> Session:
    return Session()


def run(figures: Figures, session: Session, seconds: int, start: float = 0.0, lost_each: int = 0) -> float:
    for second in range(seconds):
        session.expected += 50
        session.packets_sent += 50
        session.lost += lost_each
        figures.update(start + second + 1.0)
    return start + seconds


def test_nothing_received_is_none(session):
    figures = Figures("PCMU", session, 0.0)
    figures.close(5.0)
    media = figures.media(0)
    assert (media.received.mos_lq, media.received.r_factor, media.received.jitter_ms) == (None, None, None)
    assert (media.sent.lost, media.sent.mos_lq, media.sent.rtt_ms) == (None, None, None)


def test_a_clean_call_is_rated_without_delay_until_a_round_trip_is_known(session):
    figures = Figures("PCMA", session, 0.0)
    end = run(figures, session, 12)
    received = figures.media(3).received
    assert (received.scale, received.jitter_ms, received.mos_cq) == ("nb", 1.235, None)
    assert received.mos_lq > 4.3
    session.far_end = far_end(0, rtt_ms=700.0)
    run(figures, session, 20, end)
    received = figures.media(3).received
    assert received.mos_cq < received.mos_lq
    assert figures.media(3).sent.underruns == 3


def test_loss_lowers_the_score_and_the_worst_slice_is_kept(session):
    figures = Figures("PCMU", session, 0.0)
    end = run(figures, session, 10)
    end = run(figures, session, 10, end, lost_each=5)
    end = run(figures, session, 10, end)
    figures.close(end)
    received = figures.media(0).received
    assert received.mos_min < received.mos_lq < 4.4
    assert received.lost == 50


def test_the_far_end_is_taken_at_its_word_once_for_each_report(session):
    figures = Figures("PCMU", session, 0.0)
    end = 0.0
    for lost in (0, 25, 50):
        end = run(figures, session, 5, end)
        session.far_end = far_end(lost, rtt_ms=20.0)
    figures.close(end)
    sent = figures.media(0).sent
    assert (sent.packets, sent.lost, sent.rtt_ms, sent.jitter_ms, sent.scale) == (750, 50, 20.0, 4.0, "nb")
    assert sent.mos_lq < 4.2
    assert sent.mos_cq is not None


def test_what_came_too_late_there_counts_as_lost(session):
    scores = []
    for rate in (0.0, 0.1):
        other = Session()
        figures = Figures("PCMU", other, 0.0)
        end = run(figures, other, 15)
        other.far_end = far_end(0, discard_rate=rate)
        figures.update(end)
        figures.close(end)
        scores.append(figures.media(0).sent.mos_lq)
    assert scores[1] < scores[0]


def test_a_codec_of_another_scale_starts_the_score_afresh(session):
    figures = Figures("PCMU", session, 0.0)
    end = run(figures, session, 12, lost_each=10)
    figures.change("opus", end)
    end = run(figures, session, 12, end)
    figures.close(end)
    received = figures.media(0).received
    assert received.scale == "fb"
    assert "estimate" in received.basis


def test_closing_twice_changes_nothing(session):
    figures = Figures("PCMU", session, 0.0)
    run(figures, session, 12)
    figures.close(12.0)
    first = figures.media(0)
    session.expected += 500
    session.lost += 500
    figures.close(20.0)
    assert figures.media(0).received.mos_lq == first.received.mos_lq
