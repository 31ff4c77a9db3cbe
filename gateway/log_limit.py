"""Keeps what strangers send from filling the log: so many lines of a kind from a source, then one line that counts."""

import asyncio

import structlog

log = structlog.get_logger(__name__)

WINDOW = 10.0
"""Seconds that are counted together."""
BURST = 5
"""Lines of one kind from one source in a window."""
SOURCES = 32
"""Pairs of kind and source that are counted apart in a window; all further sources of a kind are counted as one."""
OTHERS = "others"


class LogLimit:
    """Ask `allows` before each line that a peer can cause at will. Needs the running loop."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def allows(self, kind: str, source: str) -> bool:
        """True when this line may be written."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WINDOW, self.flush)
        key = (kind, source)
        if key not in self._counts and len(self._counts) >= SOURCES:
            key = (kind, OTHERS)
        count = self._counts[key] = self._counts.get(key, 0) + 1
        return count <= BURST

    def flush(self) -> None:
        """End the window: say how many lines were left out."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        counts, self._counts = self._counts, {}
        for (kind, source), count in counts.items():
            if count > BURST:
                log.warning("log lines left out", of=kind, source=source, count=count - BURST, within_s=WINDOW)
