"""When a condition counts as an alert: patience before it fires, a hold before it ends, and longer when it flaps."""

from collections import deque

from .rules_config import FlappingConfig


class Damper:
    """One condition. It opens when it was true for so long without a break, and closes when it was calm for so long;
    one that opened too often within a period is flapping, and closes only after a longer calm."""

    __slots__ = ("_calm_since", "_fired", "_true_since", "flapping", "open")

    def __init__(self) -> None:
        self.open = False
        self.flapping = False
        self._true_since: float | None = None
        self._calm_since: float | None = None
        self._fired: deque[float] = deque()

    def restore(self) -> None:
        """It was open when the process ended: it is open, and not calm yet."""
        self.open = True

    def look(
        self, *, enter: bool, stay: bool, now: float, for_s: float, hold_s: float, flapping: FlappingConfig
    ) -> bool:
        """True while open. `enter` is the way in, `stay` the milder condition under which it remains."""
        while self._fired and (now - self._fired[0] >= flapping.period_s or len(self._fired) > flapping.times):
            self._fired.popleft()
        if self.open:
            self._stay(enter or stay, now, flapping.calm_s if self.flapping else hold_s)
        elif not enter:
            self._true_since = None
        else:
            if self._true_since is None:
                self._true_since = now
            if now - self._true_since >= for_s:
                self._open(now, flapping)
        return self.open

    def _open(self, now: float, flapping: FlappingConfig) -> None:
        self.open, self._true_since, self._calm_since = True, None, None
        self._fired.append(now)
        self.flapping = len(self._fired) >= flapping.times

    def _stay(self, true: bool, now: float, calm_s: float) -> None:
        if true:
            self._calm_since = None
            return
        if self._calm_since is None:
            self._calm_since = now
        if now - self._calm_since >= calm_s:
            self.open = self.flapping = False
            self._calm_since = None

    @property
    def blank(self) -> bool:
        """True when there is nothing to remember."""
        return not self.open and self._true_since is None and not self._fired
