"""The metric families: name, help, labels and buckets of everything that is counted.

`direction` is `inbound` or `outbound` of a call, `received` or `sent` of media and of SIP messages, seen from here.
An agent label is empty for a call that came to no agent.
"""

from prometheus_client import CollectorRegistry, Counter, Histogram

CALL = ("trunk", "agent", "direction")
STREAM = ("trunk", "agent", "direction")
SERVICE = ("agent", "provider")

WAIT = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 13.0, 30.0)
"""Seconds for what a caller waits for before the conversation."""
TURN = (0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 8.0)
DURATION = (5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
JITTER = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5)
ROUND_TRIP = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.8, 1.5)
LATENESS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.1, 0.25, 0.5, 1.0)
MOS = (2.58, 3.10, 3.60, 4.03, 4.34)
"""The edges of the categories of user satisfaction, R 50 to 90 (ITU-T G.107 Annex B, G.109)."""


class Families:
    """One attribute a family, all in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, help_: str, *labels: str) -> Counter:
            return Counter(f"trunkline_{name}", help_, labels, registry=registry)

        def histogram(name: str, help_: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"trunkline_{name}", help_, labels, buckets=buckets, registry=registry)

        self.calls = counter("calls", "Calls that are over, by how they ended.", *CALL, "result")
        self.answered = counter("calls_answered", "Calls that were answered.", *CALL)
        self.degraded = counter(
            "calls_degraded", "Answered calls that had a bad slice in this direction, each once.", *STREAM
        )
        self.one_way = counter(
            "calls_one_way", "Answered calls in which a direction went dead, each once.", "trunk", "agent"
        )
        self.dead = counter("media_dead", "Times that media which was due stopped.", *STREAM)
        self.setup = histogram("call_setup_seconds", "INVITE to answer.", WAIT, *CALL)
        self.first_audio = histogram(
            "call_first_audio_seconds", "Answer to the first RTP packet with the agent's speech.", WAIT, *CALL
        )
        self.duration = histogram("call_duration_seconds", "Answer to end.", DURATION, *CALL)
        self.mos = histogram(
            "call_mos",
            "MOS-LQ of whole calls by the E-model of their scale.",
            MOS,
            "trunk",
            "direction",
            "codec",
            "scale",
        )
        self.slices = counter(
            "call_slices",
            "10 s slices of answered calls; bad: R below 70, or no media at all.",
            *STREAM,
            "quality",
        )
        self.packets = counter(
            "rtp_packets",
            "RTP packets by what became of them; lost ones of those sent as the far end reports.",
            "trunk",
            "direction",
            "codec",
            "result",
        )
        self.reordered = counter("rtp_packets_reordered", "Packets received out of order.", "trunk")
        self.jitter = histogram(
            "rtp_jitter_seconds", "Interarrival jitter (RFC 3550), once a second a call.", JITTER, "trunk", "direction"
        )
        self.round_trip = histogram("rtp_round_trip_seconds", "Round trip by RTCP, once a report.", ROUND_TRIP, "trunk")
        self.underruns = counter(
            "playout_underruns", "Breaks in the agent's speech because its service was late.", *SERVICE
        )
        self.turn_latency = histogram(
            "turn_latency_seconds", "Caller's last speech to the first RTP packet of the answer.", TURN, *SERVICE
        )
        self.barge_ins = counter("barge_ins", "Answers that the caller cut short.", *SERVICE)
        self.provider_connects = counter(
            "provider_connects", "Sessions opened at the speech service, by result.", *SERVICE, "result"
        )
        self.provider_connect = histogram(
            "provider_connect_seconds", "INVITE taken to a session that is ready.", WAIT, *SERVICE
        )
        self.provider_errors = counter(
            "provider_errors", "Errors during calls: reported by the service, or the service lost.", *SERVICE, "kind"
        )
        self.provider_reconnects = counter(
            "provider_reconnects", "Sessions that were lost during a call and regained.", *SERVICE
        )
        self.registrations = counter("registrations", "REGISTERs by result, refreshes included.", "trunk", "result")
        self.loop_lag = histogram(
            "event_loop_lag_seconds", "Worst lateness of an event loop in each second.", LATENESS, "process"
        )
        self.clock_lateness = histogram(
            "media_clock_lateness_seconds", "Worst lateness of a media clock in each second.", LATENESS, "worker"
        )
        self.clock_skipped = counter(
            "media_clock_skipped_periods", "20 ms periods of a phase slot that were skipped, being too late.", "worker"
        )
        self.worker_cpu = counter("worker_cpu_seconds", "Processor time of a media worker.", "worker")
        self.worker_deaths = counter("worker_deaths", "Media workers that died.", "worker")
