"""Who speaks, from the level of 20 ms frames: a cheap energy detector and a meter for the live view.

The detector exists to time turns, not to end them: it says when the caller last made a sound of speech.
Levels are dBov (0 is full scale, -127 digital silence; ITU-T G.100.1).
"""

FLOOR_MIN = -65.0
"""The noise floor is never taken as lower: comfort noise and dither above digital silence are not speech."""
MARGIN_DB = 12.0
"""Speech stands this far above the noise floor."""
ONSET_FRAMES = 3
"""Frames in a row above the threshold before it is speech, and not a click."""
HANGOVER = 0.200
"""Seconds of quiet that do not end speech: the closures of stops and the gaps between words."""
WINDOW_FRAMES = 50
"""The floor is the minimum over the last one to two windows of this many frames (1 to 2 s): steady noise
becomes floor within 2 s, while speech always has a gap in it."""


class SpeechDetector:
    """Energy against an adaptive noise floor, one level per 20 ms frame."""

    def __init__(self) -> None:
        self.speaking = False
        self.last_speech: float | None = None
        """When the last frame of speech arrived, seconds of `now`."""
        self.started: float | None = None
        """When the present or last speech began."""
        self._floor_now = FLOOR_MIN
        self._window_min = 0.0
        self._previous_min = 0.0
        self._frames = 0
        self._loud = 0

    def __repr__(self) -> str:
        return f"<SpeechDetector {'speech' if self.speaking else 'quiet'} floor={self.floor:.0f}dBov>"

    @property
    def floor(self) -> float:
        """The present noise floor, dBov."""
        return self._floor_now

    def update(self, dbov: float, now: float) -> bool:
        """Take the level of the frame that arrived at `now`; returns `speaking`."""
        if dbov > self._floor_now + MARGIN_DB:
            self._loud += 1
            if self._loud >= ONSET_FRAMES:
                if not self.speaking:
                    self.speaking = True
                    self.started = now - (ONSET_FRAMES - 1) * 0.020
                self.last_speech = now
        else:
            self._loud = 0
            if self.speaking and self.last_speech is not None and now - self.last_speech > HANGOVER:
                self.speaking = False
        if dbov < self._window_min:
            self._window_min = dbov
        self._frames += 1
        if self._frames == WINDOW_FRAMES:
            self._next_window()
        elif dbov < self._floor_now:
            self._floor_now = max(FLOOR_MIN, dbov)
        return self.speaking

    def _next_window(self) -> None:
        floor = min(self._window_min, self._previous_min)
        self._floor_now = max(FLOOR_MIN, floor)
        self._previous_min, self._window_min = self._window_min, 0.0
        self._frames = 0


class LevelMeter:
    """The loudest frame since it was last read: what a level bar shows."""

    def __init__(self) -> None:
        self._loudest: float | None = None

    def update(self, dbov: float) -> None:
        if self._loudest is None or dbov > self._loudest:
            self._loudest = dbov

    def take(self) -> float | None:
        """dBov of the loudest frame since the last call; None when there was none."""
        loudest, self._loudest = self._loudest, None
        return loudest
