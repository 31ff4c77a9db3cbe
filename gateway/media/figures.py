"""The figures of one call's media, in the record's words: counted by the session, rated once a second.

Received is what this end met. Sent is counted here and judged by the far end's RTCP; what it never reported is None.
"""

from ...rtp.emodel import Score, impairment
from ...rtp.events import FarEndReport
from ...rtp.quality import CallQuality, Counters
from ...rtp.session import RtpSession
from ..messages import FarEndMetrics, MediaPath
from ..record import Media, Received, Sent

PACKETISATION_MS = 20.0
"""A packet leaves when its last sample is there."""


class Figures:
    """Both directions of one answered call."""

    def __init__(self, codec: str, session: RtpSession, now: float) -> None:
        self.impairment = impairment(codec)
        """Of the present codec; None without figures for it."""
        self.far_end: FarEndReport | None = None
        """The far end's last report that was taken, `reports` the number of them."""
        self.reports = 0
        self.sent_counters = Counters(0, 0)
        """Of what we sent, by that report."""
        self._session = session
        self._received = CallQuality(self.impairment, now)
        self._sent = CallQuality(self.impairment, now)
        self._closed = False

    def update(self, now: float) -> None:
        """Once a second."""
        far_end = self._session.far_end
        self._received.update(self.received_counters(), _delay_ms(far_end), now)
        if self._take_report(far_end):
            self._sent.update(self.sent_counters, self._sent_delay_ms, now)

    def change(self, codec: str, now: float) -> None:
        """The call goes on with another codec."""
        cost = self.impairment = impairment(codec)
        self._take_report(self._session.far_end)
        self._received.change(cost, self.received_counters(), _delay_ms(self.far_end), now)
        self._sent.change(cost, self.sent_counters, self._sent_delay_ms, now)

    def close(self, now: float) -> None:
        """The last word."""
        if not self._closed:
            self._closed = True
            self._take_report(self._session.far_end)
            self._received.close(self.received_counters(), _delay_ms(self.far_end), now)
            self._sent.close(self.sent_counters, self._sent_delay_ms, now)

    def _take_report(self, far_end: FarEndReport | None) -> bool:
        """Keep a new report of the far end, with what had been sent by then."""
        if far_end is None or far_end is self.far_end:
            return False
        self.far_end = far_end
        self.reports += 1
        sent = self._session.packets_sent
        self.sent_counters = Counters(sent, max(0, far_end.lost), round(sent * (far_end.discard_rate or 0.0)))
        return True

    @property
    def _sent_delay_ms(self) -> float | None:
        return _delay_ms(self.far_end, self.far_end.end_system_delay_ms) if self.far_end is not None else None

    def media(self, underruns: int) -> Media:
        """The record's `media`."""
        return Media(received=self._received_part(), sent=self._sent_part(underruns))

    def received_counters(self) -> Counters:
        """Of what we received."""
        report = self._session.report()
        expected, lost = report.expected + report.absent, report.lost + report.absent
        return Counters(expected, lost, report.discarded, report.loss_runs)

    @property
    def jitter_ms(self) -> float | None:
        """Of what we receive, at this moment."""
        return _rounded(self._session.report().jitter_ms)

    def _received_part(self) -> Received:
        report = self._session.report()
        part = Received(
            packets=report.packets,
            lost=report.lost,
            discarded=report.discarded,
            duplicated=report.duplicated,
            reordered=report.reordered,
            concealed=report.concealed,
            jitter_ms=_rounded(report.jitter_ms),
            jitter_max_ms=_rounded(report.jitter_max_ms),
            delay_p99_ms=_rounded(report.delay_p99_ms),
            burst_r=_rounded(report.burst_r),
        )
        _rate(part, self._received)
        return part

    def _sent_part(self, underruns: int) -> Sent:
        part = Sent(packets=self._session.packets_sent, underruns=underruns)
        far_end = self._session.far_end
        if far_end is not None:
            part.lost = far_end.lost
            part.jitter_ms = _rounded(far_end.jitter_ms)
            part.rtt_ms = _rounded(far_end.rtt_ms)
            _rate(part, self._sent)
        return part


def _rate(part: Received | Sent, quality: CallQuality) -> None:
    listening, conversational, minimum = quality.listening, quality.conversational, quality.minimum
    if listening is None:
        return
    part.r_factor = round(listening.r_factor, 2)
    part.mos_lq = _mos(listening)
    part.mos_cq = _mos(conversational)
    part.mos_min = _mos(minimum)
    part.scale = str(listening.scale)
    part.basis = listening.basis


def _mos(score: Score | None) -> float | None:
    return round(score.mos, 3) if score is not None else None


def _rounded(value: float | None) -> float | None:
    return round(value, 3) if value is not None else None


def _delay_ms(far_end: FarEndReport | None, end_system_ms: float | None = None) -> float | None:
    """One way, mouth to ear: half of the measured round trip and what the ends add; None without a round trip."""
    if far_end is None or far_end.rtt_ms is None:
        return None
    return far_end.rtt_ms / 2 + PACKETISATION_MS + (end_system_ms or 0.0)


def media_path(session: RtpSession, local_port: int) -> MediaPath | None:
    """What an end-of-call report says beside the record; None when media never had a place to go."""
    to = session.destination
    if to is None:
        return None
    report, bursts = session.report(), session.bursts()
    packet_ms = session.packet_s * 1000
    return MediaPath(
        local_port=local_port,
        local_ssrc=session.ssrc,
        remote_host=to[0],
        remote_port=to[1],
        remote_ssrc=session.remote_ssrc,
        payload_type=session.media.send_type,
        clock_rate=session.media.clock_rate,
        packet_ms=packet_ms,
        expected=report.expected,
        burst_density=bursts.burst_density,
        burst_ms=bursts.mean_burst * packet_ms,
        gap_density=bursts.gap_density,
        gap_ms=bursts.mean_gap * packet_ms,
        far_end=_far_end_metrics(session.far_end),
    )


def _far_end_metrics(report: FarEndReport | None) -> FarEndMetrics | None:
    if report is None or report.discard_rate is None:
        return None
    return FarEndMetrics(
        report.discard_rate,
        report.burst_density,
        report.gap_density,
        report.end_system_delay_ms,
        report.r_factor,
        report.mos_lq,
        report.mos_cq,
    )
