"""The rings of legs that close, packed for the switch: one at a time, however many calls end at once.

A trunk that fails ends hundreds of calls in one second. Packing all their rings at once would take the processor from
the calls that go on, and hold the last reports of those that end longer than the switch waits for them. So a ring that
does not get its turn in time is given up: the call's record is worth more than its packets.
"""

import asyncio

from .leg_ring import LegRing, sealed

PATIENCE_S = 1.0
"""How long a leg that closes waits for its turn; less than the switch waits for the leg's last word."""


class Packing:
    """One for each media worker."""

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._turn = asyncio.Lock()
        self._patience_s = patience_s

    async def packed(self, ring: LegRing) -> bytes | None:
        """As it goes to the switch; None when too many others came first. No octets are copied while it waits."""
        try:
            async with asyncio.timeout(self._patience_s):
                await self._turn.acquire()
        except TimeoutError:
            return None
        try:
            return await asyncio.to_thread(sealed, ring.flight())
        finally:
            self._turn.release()
