"""The RTCP side of one call: when to report, what to say, and what the far end says of us (RFC 3550 §6)."""

from collections.abc import Iterator
from random import Random
from typing import Final

from . import rtcp
from .events import ByeReceived, FarEndReport, ReportReceived
from .rtcp import Compound, ReportBlock, SenderReport, VoipMetrics
from .statistics import round_trip

_BANDWIDTH: Final = 500.0
"""RTCP share in octets per second: 5 % of 80 kbit/s, G.711 with its headers."""
_UDP_IP_OCTETS: Final = 28


class Control:
    """Reports both ways of one session of two members."""

    def __init__(self, random: Random, cname: str, ssrc: int, now: float) -> None:
        self._random = random
        self._cname = cname
        self._ssrc = ssrc
        self._average = 100.0 + _UDP_IP_OCTETS
        self.due = now + rtcp.interval_s(random, self._average, _BANDWIDTH, initial=True)
        """When the next compound is to be sent."""
        self._ntp_offset: float | None = None
        """Unix time minus monotonic time at our last report: round trips then need no wall clock."""
        self._last_sr = 0
        self._last_sr_at = 0.0
        self._metrics: VoipMetrics | None = None
        self.far_end: FarEndReport | None = None

    def compound(
        self,
        block: ReportBlock | None,
        sender: SenderReport | None,
        now: float,
        wallclock: float,
        *,
        bye: bool = False,
    ) -> bytes:
        """The next compound; arms the timer for the one after."""
        self._ntp_offset = wallclock - now
        data = rtcp.compound(self._ssrc, self._cname, block, sender, bye=bye)
        self._weigh(len(data))
        self.due = now + rtcp.interval_s(self._random, self._average, _BANDWIDTH, initial=False)
        return data

    def last_sr(self, now: float) -> tuple[int, int]:
        """LSR and DLSR for our next report block."""
        return (self._last_sr, int((now - self._last_sr_at) * 65536)) if self._last_sr else (0, 0)

    def stream_changed(self) -> None:
        """The far end's SSRC is another one: its sender reports start afresh."""
        self._last_sr = 0

    def receive(
        self, compound: Compound, octets: int, remote_ssrc: int | None, clock_rate: int, now: float
    ) -> Iterator[ReportReceived | ByeReceived]:
        """One compound of the far end; `clock_rate` is that of what we send."""
        self._weigh(octets)
        report = compound.sender_report
        if report is not None and report.ssrc == remote_ssrc:
            self._last_sr = rtcp.middle_32(report.ntp)
            self._last_sr_at = now
        for metrics in compound.voip_metrics:
            if metrics.ssrc == self._ssrc:
                self._metrics = metrics
        for block in compound.blocks:
            if block.ssrc == self._ssrc:
                self.far_end = self._far_end_report(block, clock_rate, now)
                yield ReportReceived(self.far_end)
        if remote_ssrc is not None and remote_ssrc in compound.bye:
            yield ByeReceived(compound.bye_reason)

    def _weigh(self, octets: int) -> None:
        self._average += (octets + _UDP_IP_OCTETS - self._average) / 16

    def _far_end_report(self, block: ReportBlock, clock_rate: int, now: float) -> FarEndReport:
        rtt = None
        if self._ntp_offset is not None:
            arrival = rtcp.middle_32(rtcp.ntp_time(now + self._ntp_offset))
            rtt = round_trip(arrival, block.last_sr, block.delay_since_last_sr)
        if rtt is None and self.far_end is not None and not block.last_sr:
            rtt_ms = self.far_end.rtt_ms
        else:
            rtt_ms = None if rtt is None else rtt * 1000
        metrics = self._metrics
        return FarEndReport(
            fraction_lost=block.fraction_lost / 256,
            lost=block.lost,
            jitter_ms=block.jitter * 1000 / clock_rate,
            rtt_ms=rtt_ms,
            highest_sequence=block.highest_sequence,
            discard_rate=metrics.discard_rate if metrics else None,
            burst_density=metrics.burst_density if metrics else None,
            gap_density=metrics.gap_density if metrics else None,
            end_system_delay_ms=metrics.end_system_delay_ms if metrics else None,
            r_factor=metrics.r_factor if metrics else None,
            mos_lq=metrics.mos_lq if metrics else None,
            mos_cq=metrics.mos_cq if metrics else None,
        )
