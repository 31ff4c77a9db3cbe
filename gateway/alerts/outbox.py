"""What waits for one channel: the order, and when a failed delivery is made again."""

import random
from typing import Literal

from .channels.base import Delivery, DeliveryError

RETRY_FIRST_S, RETRY_MOST_S = 2.0, 60.0
"""Back-off of a channel, doubled with each failure; a fifth more or less by chance."""
RETRY_AFTER_MOST_S = 900.0
"""A channel that asks for a longer pause is asked again after this one."""
EXPIRES_S = 24 * 3600.0
"""A delivery that could not be made for so long is given up."""

Result = Literal["delivered", "failed", "refused", "expired", "withdrawn"]
"""`failed` will be tried again; `refused` by the channel for good; `withdrawn`: it is not needed any more."""


class Outbox:
    """One channel's deliveries. `take` gives the one to be made, `delivered` or `failed` says how it went; pages come
    before all else, a failed one goes to the end. At most one delivery of an alert to a person waits."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._waiting: list[Delivery] = []
        self._expires: dict[str, float] = {}
        self._current: Delivery | None = None
        self._withdrawn = False
        self._failures = 0
        self._not_before = 0.0

    def __len__(self) -> int:
        """How many wait, the one that is being made included."""
        return len(self._waiting) + (self._current is not None)

    @property
    def withdrawn(self) -> bool:
        """True when the one that is being made is not needed any more."""
        return self._withdrawn

    def put(self, delivery: Delivery, now: float, age_s: float = 0.0) -> Delivery | None:
        """One more, decided `age_s` ago. What waited for the same person about the same alert is replaced and given
        back; an acknowledgement then stands for the trigger as well, and becomes one."""
        replaced = next((other for other in self._waiting if _same(other, delivery)), None)
        if replaced is not None:
            self._remove(replaced)
            if replaced.action == "trigger" and delivery.action == "acknowledge":
                delivery.action = "trigger"
        self._waiting.append(delivery)
        self._expires[delivery.id] = now + EXPIRES_S - min(max(age_s, 0.0), EXPIRES_S)
        return replaced

    def about(self, alert_id: str) -> bool:
        """True when something about this alert waits or is being made."""
        return any(delivery.alert.id == alert_id for delivery in (*self._waiting, *self._currents))

    def take(self, now: float) -> Delivery | None:
        """The one to be made now; None while one is being made, or none is due."""
        if self._current is not None or not self._waiting or now < self._not_before:
            return None
        pages = [delivery for delivery in self._waiting if delivery.alert.severity == "page"]
        self._current = (pages or self._waiting)[0]
        self._waiting.remove(self._current)
        return self._current

    def next_time(self) -> float | None:
        """When `take` is to be asked again; None when something must happen first."""
        return self._not_before if self._waiting and self._current is None else None

    def delivered(self) -> Result:
        """The current one has arrived."""
        self._finish()
        self._failures, self._not_before = 0, 0.0
        return "delivered"

    def failed(self, error: DeliveryError, now: float, *, again: bool = True) -> Result:
        """The current one has not; without `again` it is not tried a second time."""
        delivery = self._current
        if delivery is None or self._withdrawn:
            self._finish()
            return "withdrawn"
        if error.permanent:
            self._finish()
            return "refused"
        self._back_off(error, now)
        if again and now >= self._expires[delivery.id]:
            self._finish()
            return "expired"
        if again:
            self._current = None
            self._waiting.append(delivery)
        else:
            self._finish()
        return "failed"

    def withdraw(self, alert_id: str, *, people_only: bool = False) -> list[Delivery]:
        """Nothing about this alert is needed any more, or nobody need be woken: what waited. The current one is not
        tried again."""

        def needless(delivery: Delivery) -> bool:
            return delivery.alert.id == alert_id and not (people_only and delivery.person is None)

        gone = [delivery for delivery in self._waiting if needless(delivery)]
        for delivery in gone:
            self._remove(delivery)
        self._withdrawn = self._withdrawn or (self._current is not None and needless(self._current))
        return gone

    def clear(self) -> list[Delivery]:
        """The channel is no more: what waited."""
        gone, self._waiting = self._waiting, []
        for delivery in gone:
            del self._expires[delivery.id]
        return gone

    @property
    def _currents(self) -> tuple[Delivery, ...]:
        return () if self._current is None else (self._current,)

    def _back_off(self, error: DeliveryError, now: float) -> None:
        pause = min(RETRY_FIRST_S * 2 ** min(self._failures, 10), RETRY_MOST_S) * self._rng.uniform(0.8, 1.2)
        if error.retry_after_s is not None:
            pause = max(pause, min(error.retry_after_s, RETRY_AFTER_MOST_S))
        self._failures += 1
        self._not_before = now + pause

    def _finish(self) -> None:
        if self._current is not None:
            del self._expires[self._current.id]
        self._current = None
        self._withdrawn = False

    def _remove(self, delivery: Delivery) -> None:
        self._waiting.remove(delivery)
        del self._expires[delivery.id]


def _same(one: Delivery, other: Delivery) -> bool:
    return one.alert.id == other.alert.id and one.person == other.person
