"""In how many seconds this machine was late, by process: for the host rule, and to compare slow answers with."""

from .alert import Cause, Verdict
from .rules import percent, share_of, span
from .rules_config import HostConfig
from .windows import Window

SECONDS, CLOCK_LATE, LOOP_LATE = range(3)
PROCESSES_MOST = 300
"""There are at most 256 workers and the switch; a name beyond that is not kept."""


class HostSeconds:
    """Late seconds of each worker and of the switch, within the window of the host rule."""

    def __init__(self, config: HostConfig) -> None:
        self._config = config
        self._windows: dict[str, Window] = {}

    def use(self, config: HostConfig) -> None:
        """Other limits from now on; another window begins empty."""
        if config.window_s != self._config.window_s:
            self._windows.clear()
        self._config = config

    def add(self, process: str, clock_late_ms: float, loop_lag_ms: float, now: float) -> None:
        """One second of a process."""
        window = self._windows.get(process)
        if window is None:
            if len(self._windows) >= PROCESSES_MOST:
                return
            window = self._windows[process] = Window(self._config.window_s, 3)
        window.add(SECONDS, now)
        if clock_late_ms > self._config.clock_late_ms:
            window.add(CLOCK_LATE, now)
        if loop_lag_ms > self._config.loop_lag_ms:
            window.add(LOOP_LATE, now)

    def worst(self, field: int, now: float) -> tuple[str, int, float]:
        """The process with the most late seconds: its name, how many, and their share. A young process has few:
        one late one would be all of them."""
        worst = ("", 0, 0.0)
        for process, window in self._windows.items():
            window.advance(now)
            late = window.sums[field]
            share = share_of(late, window.sums[SECONDS])
            if (late, share) > worst[1:]:
                worst = (process, late, share)
        return worst

    def sentence(self, field: int, now: float) -> str:
        """The figures of the worst process."""
        process, late, share = self.worst(field, now)
        config = self._config
        what, limit = (
            ("media clock", config.clock_late_ms) if field == CLOCK_LATE else ("event loop", config.loop_lag_ms)
        )
        within = f"more than {limit:g} ms late in {percent(share)} of seconds within {span(config.window_s)}"
        whose = f"the {what} of {process}" if process else f"no {what}"
        return f"{whose} was {within} ({late}, limit {percent(config.enter_share)})"

    def or_service(self, trouble: str, now: float) -> Verdict:
        """Who is to blame for answers that are slow: this host when it is late itself, else the speech service."""
        field = max((CLOCK_LATE, LOOP_LATE), key=lambda field: self.worst(field, now)[2])
        late = self.worst(field, now)[2] > self._config.enter_share
        name, who = ("host", "this host") if late else ("provider", "the speech service")
        evidence = [trouble, self.sentence(field, now)]
        return Verdict(
            causes=[Cause(name=name, share=1.0, evidence=evidence)], summary=f"{who}: {trouble}; {evidence[1]}"
        )
