"""Server VAD by loudness, on the clock of appended audio."""

import numpy as np

_STEP_SAMPLES = 160
_STEP_MS = 20
_ONSET_STEPS = 3
_QUIETEST_DBOV, _RANGE_DB = -50.0, 30.0


class EnergyVad:
    """Hears speech start and stop in samples at 8000 Hz, in steps of 20 ms.

    `threshold` 0 to 1 is a level of −50 to −20 dBov (0.5: −35). Speech starts after 60 ms above it and stops after
    `silence_duration_ms` below it.
    """

    def __init__(self, threshold: float = 0.5, silence_duration_ms: int = 500, prefix_padding_ms: int = 300) -> None:
        level = 10 ** ((_QUIETEST_DBOV + _RANGE_DB * threshold) / 20) * 32768
        self._power = level * level
        self._silence_ms = silence_duration_ms
        self._prefix_ms = prefix_padding_ms
        self._left = np.zeros(0, np.int16)
        self._loud_steps = 0
        self._quiet_ms = 0
        self.speaking = False
        self.clock_ms = 0
        """Audio heard so far, ms."""
        self.turn_start_ms = 0
        """Where the current or last turn begins, with its padding, ms."""

    def hear(self, pcm: np.ndarray) -> list[bool]:
        """More audio; returns True for each start and False for each stop in it."""
        pcm = np.concatenate([self._left, pcm]) if len(self._left) else pcm
        steps = len(pcm) // _STEP_SAMPLES
        self._left = pcm[steps * _STEP_SAMPLES :]
        changes: list[bool] = []
        for step in range(steps):
            part = pcm[step * _STEP_SAMPLES : (step + 1) * _STEP_SAMPLES].astype(np.float32)
            self._step(float(part @ part) / _STEP_SAMPLES >= self._power, changes)
        return changes

    def _step(self, loud: bool, changes: list[bool]) -> None:
        self.clock_ms += _STEP_MS
        self._loud_steps = self._loud_steps + 1 if loud else 0
        self._quiet_ms = 0 if loud else self._quiet_ms + _STEP_MS
        if not self.speaking and self._loud_steps >= _ONSET_STEPS:
            self.speaking = True
            self.turn_start_ms = max(0, self.clock_ms - _ONSET_STEPS * _STEP_MS - self._prefix_ms)
            changes.append(True)
        elif self.speaking and self._quiet_ms >= self._silence_ms:
            self.speaking = False
            changes.append(False)
