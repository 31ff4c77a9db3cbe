"""The session timer of one session (RFC 4028): who refreshes it, and when it is dead."""

from collections.abc import Callable
from typing import Literal

from .headers import Headers
from .message import Request, Response
from .session_timer import SessionExpires, SessionInterval, answer_as_uas, interval_as_uas, min_se
from .timers import TimerHeap

SUPPORTED = "timer"
SMALLEST = 90
"""No Min-SE may be less (RFC 4028 §5), seconds."""


class SessionRefresh:
    """Runs the agreed interval; calls `refresh` when it is our turn, `expire` when nobody refreshed."""

    def __init__(
        self,
        timers: TimerHeap,
        asked: int,
        smallest: int,
        refresh: Callable[[float], None],
        expire: Callable[[float], None],
    ) -> None:
        """`asked` seconds go into our INVITEs (0: none), `smallest` seconds we accept."""
        self.interval: SessionInterval | None = None
        self._timers = timers
        self._asked = asked
        self._smallest = max(smallest, SMALLEST)
        self._refresh = refresh
        self._expire = expire

    def agree(self, interval: SessionInterval | None, now: float) -> None:
        """A 2xx passed: this interval runs from now on (None: none does)."""
        self.interval = interval
        self.stop()
        if interval is None:
            return
        self._timers.set(self, "expire", now + interval.expire_after)
        if interval.we_refresh:
            self._timers.set(self, "refresh", now + interval.refresh_after)

    def try_again(self, at: float) -> None:
        """The refresh could not be sent or was refused for the moment."""
        if self.interval is not None and self.interval.we_refresh:
            self._timers.set(self, "refresh", at)

    def stop(self) -> None:
        """The session is over."""
        self._timers.cancel_all(self)

    def on_timer(self, timer: str, now: float) -> None:
        """For TimerHeap."""
        (self._refresh if timer == "refresh" else self._expire)(now)

    def answer(self, request: Request, response: Response, now: float) -> None:
        """Fill in our 2xx to an INVITE or UPDATE, and run what it says (§9)."""
        answer = answer_as_uas(request.headers, self.interval)
        self.agree(interval_as_uas(answer), now)
        if answer is None:
            return
        response.headers.add("Session-Expires", str(answer))
        if answer.refresher == "uac":
            response.headers.add("Require", "timer")

    def ask(self, request: Request) -> None:
        """Fill in our INVITE or UPDATE (§7.1)."""
        request.headers.add("Supported", SUPPORTED)
        running = self.interval
        if running is not None:
            refresher: Literal["uac", "uas"] = "uac" if running.we_refresh else "uas"
            asked = SessionExpires(max(running.seconds, self._asked), refresher)
        elif self._asked:
            asked = SessionExpires(self._asked)
        else:
            return
        request.headers.add("Session-Expires", str(asked))
        request.headers.add("Min-SE", str(self._smallest))

    def raise_to(self, headers: Headers) -> bool:
        """A 422 asks for more; False when it asks for nothing that helps (§7.3)."""
        wanted = min_se(headers)
        current = max(self._asked, self.interval.seconds if self.interval is not None else 0)
        if wanted is None or wanted <= current or current == 0:
            return False
        self._asked = wanted
        return True
