"""What a conversation waits for: more keys, and the moment to ask again for a response that failed."""

from ._openai_fields import Message, tables

DTMF_PAUSE_S = 1.5
"""A pause this long, or the key #, ends what the caller keys in."""
_SHORTEST_S, _LONGEST_S = 0.5, 10.0
_RATE_LIMIT_S = 2.0
_ERROR_S = 0.5


class Keypad:
    """Collects keys until they are told together."""

    def __init__(self) -> None:
        self._digits = ""
        self.due: float | None = None

    def press(self, digits: str, now: float) -> bool:
        """More keys; True when they are complete."""
        self._digits += digits
        if self._digits:
            self.due = now + DTMF_PAUSE_S
        return "#" in digits

    def take(self) -> str:
        """What was keyed in, told as the agent reads it; begins anew."""
        note = f"[The caller pressed {' '.join(self._digits)} on the keypad]"
        self._digits, self.due = "", None
        return note


class Retry:
    """One more try for a response that failed: after the rate limit's reset, or shortly after any other error."""

    def __init__(self) -> None:
        self.due: float | None = None
        self._allowed = True
        self._rate_limit_s = _RATE_LIMIT_S

    def limits(self, message: Message) -> None:
        """Learn from rate_limits.updated when a limit that is used up is reset."""
        waits = [
            limit["reset_seconds"]
            for limit in tables(message, "rate_limits")
            if isinstance(limit.get("reset_seconds"), int | float) and not limit.get("remaining")
        ]
        self._rate_limit_s = min(_LONGEST_S, max(_SHORTEST_S, *waits)) if waits else _RATE_LIMIT_S

    def failed(self, code: str, now: float) -> None:
        """A response failed for this reason."""
        if self._allowed:
            self._allowed = False
            self.due = now + (self._rate_limit_s if code == "rate_limit_exceeded" else _ERROR_S)

    def succeeded(self) -> None:
        """A response was completed: the next failure may be retried again."""
        self._allowed = True

    def take(self) -> None:
        """The retry is made now."""
        self.due = None
