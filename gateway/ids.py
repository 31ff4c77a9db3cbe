"""Identifiers of calls: UUID version 7 (RFC 9562 section 5.7), which sort by the time they were made."""

import secrets
import time
import uuid
from collections.abc import Callable

_SUB_MS = 12
"""Bits of the millisecond's fraction (RFC 9562 section 6.2, method 3)."""


class CallIds:
    """Makes identifiers that rise strictly within one process, also when the clock stands still or steps back."""

    def __init__(
        self, clock: Callable[[], int] = time.time_ns, random_bits: Callable[[int], int] = secrets.randbits
    ) -> None:
        self._clock = clock
        self._random_bits = random_bits
        self._last = 0

    def new(self) -> str:
        """The next identifier, lower-case and hyphenated."""
        milliseconds, rest = divmod(self._clock(), 1_000_000)
        moment = milliseconds << _SUB_MS | (rest << _SUB_MS) // 1_000_000
        self._last = max(moment, self._last + 1)
        value = (self._last >> _SUB_MS) << 80
        value |= 0x7 << 76 | (self._last & (1 << _SUB_MS) - 1) << 64
        value |= 0b10 << 62 | self._random_bits(62)
        return str(uuid.UUID(int=value))


new_call_id = CallIds().new
"""The next identifier of this process."""
