"""Agent to caller: the playout queue's next frame, or silence, as an RTP payload for each tick of the clock."""

from collections.abc import Callable

from ..bridges.base import Bridge
from .convert import Line, converter, silent_frame
from .echo import SENT_EVERY, EchoMeter
from .level import LevelMeter
from .playout import PlayoutQueue
from .recorder import Recorder


class Downlink:
    """The agent's direction of one leg: one payload a tick, there is always something to send."""

    def __init__(
        self,
        bridge: Bridge,
        queue: PlayoutQueue,
        line: Line,
        echo: EchoMeter,
        on_item: Callable[[str, float], None],
    ) -> None:
        """`on_item` hears of the first frame of each item. Raises CodecError when bridge and line do not fit."""
        self.meter = LevelMeter()
        self.recorder: Recorder | None = None
        self.talking = False
        """The last packet carried the agent's speech."""
        self._bridge = bridge
        self._queue = queue
        self._echo = echo
        self._on_item = on_item
        self._playing: str | None = None
        self._restart = True
        self._count = 0
        self._silent_output = silent_frame(bridge.output_format)
        self.use(line)

    def use(self, line: Line) -> None:
        """From now on the call has this codec; what is queued stays. Raises CodecError."""
        self._convert = converter(self._bridge.output_format, line.format)
        self._line = line
        self._silent = silent_frame(line.format)
        self._restart = True

    def tick(self, now: float, muted: bool = False) -> tuple[bytes, bool]:
        """The payload of this tick and whether a talk spurt begins with it (RFC 3551 §4.1, the marker bit).

        `muted`: the agent's speech waits, silence leaves.
        """
        frame = None if muted else self._queue.take()
        marker = self._restart
        self._restart = False
        if frame is None:
            return self._line.payload(self._silence()), marker
        if not self.talking:
            self.talking = marker = True
        return self._line.payload(self._speech(frame, now)), marker

    def pause(self, periods: int = 1) -> None:
        """Nothing leaves for so many periods; the next packet begins a spurt. Queued speech waits."""
        self._restart = True
        self.talking = False
        self._playing = None
        self._echo.frames += periods
        if self.recorder is not None:
            for _ in range(periods):
                self.recorder.agent(self._silent)

    def _speech(self, frame: bytes, now: float) -> bytes:
        if self._convert is not None:
            frame = self._convert(frame)
        playing = self._queue.playing
        if playing != self._playing:
            self._playing = playing
            if playing is not None:
                self._on_item(playing, now)
        self._count += 1
        if self._count % SENT_EVERY == 0:
            level = self._line.level(frame)
            self.meter.update(level)
            self._echo.sent(level)
        self._echo.frames += 1
        if self.recorder is not None:
            self.recorder.agent(frame)
        return frame

    def _silence(self) -> bytes:
        frame = self._silent
        if self.talking and self._convert is not None:
            # what the resampler still holds of the last word comes out before the silence
            frame = self._convert(self._silent_output)
        self.talking = False
        self._playing = None
        self._echo.frames += 1
        if self.recorder is not None:
            self.recorder.agent(frame)
        return frame
