"""Caller to agent: what comes out of the ring buffer, as 20 ms frames in the format that the speech service takes.

Driven by arrival, not by the clock: a machine listener needs no playout delay. A G.711 call to a service of the same
law stays the caller's own octets.
"""

from collections.abc import Sequence

from ...rtp.reframer import Reframer
from ...rtp.ring import AUDIO, LOST, Chunk
from ..bridges.base import Bridge
from ..flight.leg_ring import LegRing
from .convert import Line, converter, frame_octets
from .echo import EchoMeter
from .level import LevelMeter, SpeechDetector
from .recorder import Recorder


class Uplink:
    """The caller's direction of one leg."""

    def __init__(self, bridge: Bridge, line: Line, echo: EchoMeter) -> None:
        """Raises CodecError when line and bridge cannot be brought together."""
        self.detector = SpeechDetector()
        self.meter = LevelMeter()
        self.recorder: Recorder | None = None
        self.open = False
        """The call is answered; what came before (a ringing tone, an announcement) is not for the agent."""
        self.listening = True
        """Both directions are up. On hold the agent hears silence, and not the music."""
        self.flight: LegRing | None = None
        self._bridge = bridge
        self._detect = self.detector.update
        self._echo_received = echo.received
        self.use(line)

    def use(self, line: Line) -> None:
        """From now on the call has this codec. Raises CodecError."""
        self._convert = converter(line.format, self._bridge.input_format)
        self._line = line
        self._level = line.level
        self._reframer = Reframer(frame_octets(line.format))

    def take(self, chunks: Sequence[Chunk], now: float) -> None:
        """The caller's timeline, in order; the sink of the RTP transport."""
        if not self.open:
            return
        line = self._line
        for kind, payload, samples in chunks:
            if not self.listening:
                octets = line.silence(samples)
            elif kind == AUDIO:
                octets = line.received(payload)
            elif kind == LOST:
                octets = line.lost(samples)
                if self.flight is not None:
                    self.flight.lost(samples, now)
            else:
                octets = line.silence(samples)
            for frame in self._reframer.push(octets):
                self._send(frame, now)

    def _send(self, frame: bytes, now: float) -> None:
        self._bridge.send(frame if self._convert is None else self._convert(frame))
        level = self._level(frame)
        self._detect(level, now)
        self.meter.update(level)
        self._echo_received(level)
        if self.recorder is not None:
            self.recorder.caller(frame)
