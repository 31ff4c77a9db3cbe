"""SIP's time constants and the one heap in which every timer of the room waits."""

import heapq
from collections.abc import Hashable
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Timing:
    """T1, T2 and T4 in seconds (RFC 3261 §17.1.1.1 and Table 4); every other duration derives from them."""

    t1: float = 0.5
    """Round-trip time estimate."""
    t2: float = 4.0
    """Longest interval between retransmissions."""
    t4: float = 5.0
    """Longest time that a message stays in the network."""
    automatic_trying: float = 0.2
    """An INVITE that the user did not answer for so long gets 100 (§17.2.1)."""

    @property
    def give_up(self) -> float:
        """64*T1: Timers B, F, H, J, L and M, and Timer D (which must be 32 s or more on UDP)."""
        return 64 * self.t1

    def first(self, timer: str, reliable: bool) -> float | None:
        """First duration of a timer by its letter; None when it does not run on a reliable transport."""
        match timer:
            case "A" | "E" | "G":
                return None if reliable else self.t1
            case "D":
                return 0.0 if reliable else max(32.0, self.give_up)
            case "I" | "K":
                return 0.0 if reliable else self.t4
            case "J":
                return 0.0 if reliable else self.give_up
            case "100":
                return self.automatic_trying
            case "B" | "F" | "H" | "L" | "M":
                return self.give_up
            case _:
                raise KeyError(timer)

    def repeated(self, timer: str, last: float) -> float:
        """The interval of a retransmission timer that fired after `last`: A doubles without bound, E and G up to T2."""
        return last * 2 if timer == "A" else min(last * 2, self.t2)


class TimerOwner(Hashable, Protocol):
    """What can wait in the heap."""

    def on_timer(self, timer: str, now: float) -> Any:
        """`timer`, set by this owner, is due."""
        ...


class TimerHeap:
    """Timers by (owner, name). Setting one again replaces it; cancelling is O(1): the stale entry is skipped later."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, TimerOwner, str]] = []
        self._generation: dict[tuple[TimerOwner, str], int] = {}
        self._names: dict[TimerOwner, set[str]] = {}
        self._count = count()

    def __len__(self) -> int:
        """Timers that are set."""
        return len(self._generation)

    def set(self, owner: TimerOwner, timer: str, at: float) -> None:
        """Call `owner.on_timer(timer, …)` at `at` (monotonic seconds)."""
        generation = next(self._count)
        self._generation[owner, timer] = generation
        self._names.setdefault(owner, set()).add(timer)
        heapq.heappush(self._heap, (at, generation, owner, timer))
        if len(self._heap) > 64 and len(self._heap) > 4 * len(self._generation):
            self._heap = [entry for entry in self._heap if self._is_live(entry)]
            heapq.heapify(self._heap)

    def cancel(self, owner: TimerOwner, timer: str) -> None:
        """Forget one timer, set or not."""
        if self._generation.pop((owner, timer), None) is not None:
            names = self._names[owner]
            names.discard(timer)
            if not names:
                del self._names[owner]

    def cancel_all(self, owner: TimerOwner) -> None:
        """Forget every timer of `owner`."""
        for timer in self._names.pop(owner, ()):
            del self._generation[owner, timer]

    def is_set(self, owner: TimerOwner, timer: str) -> bool:
        """Whether this timer waits."""
        return (owner, timer) in self._generation

    def next(self) -> float | None:
        """When the earliest timer is due."""
        while self._heap and not self._is_live(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def run(self, now: float) -> None:
        """Fire what is due by `now`, in order of time. A timer set while this runs and already due waits for the next
        call, so that a run always ends."""
        last = next(self._count)
        put_off: list[tuple[float, int, TimerOwner, str]] = []
        while self._heap and self._heap[0][0] <= now:
            entry = heapq.heappop(self._heap)
            _, generation, owner, timer = entry
            if not self._is_live(entry):
                continue
            if generation > last:
                put_off.append(entry)
                continue
            self.cancel(owner, timer)
            owner.on_timer(timer, now)
        for entry in put_off:
            heapq.heappush(self._heap, entry)

    def _is_live(self, entry: tuple[float, int, TimerOwner, str]) -> bool:
        return self._generation.get((entry[2], entry[3])) == entry[1]
