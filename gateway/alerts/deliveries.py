"""Deliveries: one at a time for each channel, again with back-off when one fails.

Each channel has one task, so that a slow one delays no other. What is delivered was stored before (`Teller.sending`).
"""

import asyncio
import contextlib
import random
import time
import traceback
from collections import Counter, deque
from collections.abc import Collection, Mapping
from typing import Protocol

import msgspec
import structlog

from .channels.base import Answer, Channel, Delivery, DeliveryError
from .outbox import Outbox, Result

LONGEST_S = 300.0
"""Longest that a channel may take for one delivery, a telephone call included."""
STOP_WITHIN_S = 2.0
"""What is being delivered may be finished for so long when the gateway stops."""

log = structlog.get_logger(__name__)


class ChannelTest(msgspec.Struct, kw_only=True, frozen=True):
    """What became of a test."""

    channel: str
    delivered: bool
    answer: Answer | None = None
    """What the person said, on a channel that hears them."""
    reason: str | None = None
    """Why it was not delivered."""
    took_ms: float


class Teller(Protocol):
    """Who wants to know how deliveries go."""

    async def sending(self, delivery: Delivery) -> None:
        """The channel is about to see it: store that, if it can be stored."""
        ...

    def settled(self, delivery: Delivery, result: Result, answer: Answer | None) -> None:
        """It was delivered, or never will be: any result but `failed`."""
        ...


class Deliveries:
    """The outboxes of all channels, by name."""

    def __init__(self, teller: Teller, rng: random.Random) -> None:
        self.results: Counter[tuple[str, Result]] = Counter()
        """Attempts by channel and result, since the start."""
        self._teller = teller
        self._rng = rng
        self._lines: dict[str, _Line] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    def use(self, channels: Mapping[str, Channel], ringing: Collection[str] = ()) -> None:
        """These channels from now on; `ringing` are those that call people. What waits stays, unless its channel is
        gone: that is refused."""
        gone = [self._lines.pop(name) for name in self._lines.keys() - channels.keys()]
        for name, channel in channels.items():
            line = self._lines.get(name)
            if line is None:
                line = self._lines[name] = _Line(name, channel, self._teller, self._settle, self._rng)
            elif line.channel is not channel:
                self._leave(line.change(channel))
            line.rings = name in ringing
        for line in gone:
            self._leave(line.close())
            for delivery in line.outbox.clear():
                self._settle(delivery, "refused", None)

    def put(self, delivery: Delivery, age_s: float = 0.0, *, again: bool = True) -> None:
        """Deliver this, decided `age_s` ago; without `again` it is not retried."""
        line = self._lines.get(delivery.channel)
        if line is None:
            self._settle(delivery, "refused", None)
            return
        replaced = line.put(delivery, age_s, again)
        if replaced is not None:
            self._settle(replaced, "withdrawn", None)

    def withdraw(self, alert_id: str, *, people_only: bool = False) -> None:
        """What waits about this alert is not needed any more, or nobody need be woken; what rings stops ringing."""
        for line in self._lines.values():
            for delivery in line.withdraw(alert_id, people_only):
                self._settle(delivery, "withdrawn", None)

    def about(self, channel: str, alert_id: str) -> bool:
        """True when something about this alert waits for this channel."""
        line = self._lines.get(channel)
        return line is not None and line.outbox.about(alert_id)

    async def test(self, delivery: Delivery) -> ChannelTest:
        """Deliver this once, before all that waits, and say how it went."""
        return await self._lines[delivery.channel].test(delivery)

    def waiting(self) -> dict[str, int]:
        """By channel, how many wait."""
        return {name: len(line.outbox) for name, line in self._lines.items()}

    def troubles(self) -> dict[str, str]:
        """By channel, why the last delivery failed, until one succeeds."""
        return {name: line.trouble for name, line in self._lines.items() if line.trouble is not None}

    async def stop(self) -> None:
        """Let what is being delivered end, for a moment, and close the channels."""
        lines, self._lines = list(self._lines.values()), {}
        await asyncio.gather(*(line.close() for line in lines), *self._leaving)

    def _settle(self, delivery: Delivery, result: Result, answer: Answer | None) -> None:
        self.results[delivery.channel, result] += 1
        if result != "failed":
            self._teller.settled(delivery, result, answer)

    def _leave(self, closing: "asyncio.Task[None]") -> None:
        self._leaving.add(closing)
        closing.add_done_callback(self._leaving.discard)


class _Settle(Protocol):
    def __call__(self, delivery: Delivery, result: Result, answer: Answer | None) -> None: ...


class _Line:
    """One channel, its outbox, and the task between them."""

    def __init__(self, name: str, channel: Channel, teller: Teller, settle: _Settle, rng: random.Random) -> None:
        self.channel = channel
        self.outbox = Outbox(rng)
        self.rings = False
        """Cancelled in the middle it hangs up; what others have sent half may have arrived, and is not cut off."""
        self.trouble: str | None = None
        self._name = name
        self._teller = teller
        self._settle = settle
        self._once: set[str] = set()
        """Deliveries that are not retried."""
        self._tests: deque[tuple[Delivery, asyncio.Future[ChannelTest]]] = deque()
        self._attempt: asyncio.Task[Answer | None] | None = None
        self._wake = asyncio.Event()
        self._closing = False
        self._task = asyncio.create_task(self._run(), name=f"alert channel {name}")

    def put(self, delivery: Delivery, age_s: float, again: bool) -> Delivery | None:
        if not again:
            self._once.add(delivery.id)
        self._wake.set()
        replaced = self.outbox.put(delivery, time.monotonic(), age_s)
        if replaced is not None:
            self._once.discard(replaced.id)
        return replaced

    def withdraw(self, alert_id: str, people_only: bool) -> list[Delivery]:
        gone = self.outbox.withdraw(alert_id, people_only=people_only)
        self._once.difference_update(delivery.id for delivery in gone)
        if self.outbox.withdrawn and self.rings and self._attempt is not None:
            self._attempt.cancel()
        return gone

    async def test(self, delivery: Delivery) -> ChannelTest:
        future: asyncio.Future[ChannelTest] = asyncio.get_running_loop().create_future()
        self._tests.append((delivery, future))
        self._wake.set()
        return await future

    def change(self, channel: Channel) -> "asyncio.Task[None]":
        """Another channel for what comes next; closing the old one waits for what it is delivering."""
        old, self.channel = self.channel, channel
        return asyncio.create_task(self._close_old(old, self._attempt))

    async def _close_old(self, old: Channel, attempt: "asyncio.Task[Answer | None] | None") -> None:
        if attempt is not None:
            await asyncio.wait([attempt])
        await _close(old)

    def close(self) -> "asyncio.Task[None]":
        """No more: what is being delivered has a moment to end, and stays stored when it does not."""
        self._closing = True
        self._wake.set()
        return asyncio.create_task(self._close())

    async def _close(self) -> None:
        await asyncio.wait([self._task], timeout=STOP_WITHIN_S)
        self._task.cancel()
        await asyncio.wait([self._task])
        for _, future in self._tests:
            future.cancel()
        await _close(self.channel)

    async def _run(self) -> None:
        while not self._closing:
            self._wake.clear()
            if self._tests:
                await self._try(*self._tests.popleft())
                continue
            delivery = self.outbox.take(time.monotonic())
            if delivery is None:
                await self._idle()
                continue
            try:
                await self._deliver(delivery)
            except Exception:  # top frame: a fault of ours delays this delivery, and stops no other
                log.exception("a delivery failed", channel=self._name)
                self.outbox.failed(DeliveryError("a fault of the gateway; the log says which"), time.monotonic())

    async def _idle(self) -> None:
        due = self.outbox.next_time()
        pause = None if due is None else max(0.0, due - time.monotonic())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), pause)

    async def _deliver(self, delivery: Delivery) -> None:
        await self._teller.sending(delivery)
        delivery.attempts += 1
        answer: Answer | None = None
        try:
            answer = await self._ask(delivery)
        except DeliveryError as error:
            result = self.outbox.failed(error, time.monotonic(), again=delivery.id not in self._once)
            if result != "withdrawn":
                self._note(delivery, str(error))
        else:
            result = self.outbox.delivered()
            self._note(delivery, None)
        self._once.discard(delivery.id)
        self._settle(delivery, result, answer)

    async def _try(self, delivery: Delivery, future: "asyncio.Future[ChannelTest]") -> None:
        started = time.monotonic()
        answer: Answer | None = None
        reason: str | None = None
        try:
            answer = await self._ask(delivery)
        except DeliveryError as error:
            reason = str(error)
        took = round((time.monotonic() - started) * 1000, 1)
        log.info("alert channel tested", channel=self._name, reason=reason)
        if not future.done():
            future.set_result(
                ChannelTest(channel=self._name, delivered=reason is None, answer=answer, reason=reason, took_ms=took)
            )

    async def _ask(self, delivery: Delivery) -> Answer | None:
        """Raises DeliveryError, whatever the channel does."""
        self._attempt = asyncio.create_task(self.channel.deliver(delivery))
        try:
            done, _ = await asyncio.wait([self._attempt], timeout=LONGEST_S)
            if not done:
                raise DeliveryError(f"it took longer than {LONGEST_S:g} s")
            return self._attempt.result()
        except DeliveryError:
            raise
        except asyncio.CancelledError:
            if self._attempt.cancelled():
                raise DeliveryError("it is not needed any more") from None
            self._attempt.cancel()
            await asyncio.wait([self._attempt], timeout=STOP_WITHIN_S)
            raise
        except Exception as error:  # top frame: a fault of one channel is a failed delivery, and stops nothing else
            # without the error's own words, which may hold an address with a token in it
            log.error(
                "alert channel failed",
                channel=self._name,
                error=type(error).__name__,
                where="".join(traceback.format_tb(error.__traceback__)[-3:]),
            )
            raise DeliveryError(f"the channel has a fault ({type(error).__name__}); the log says where") from None
        finally:
            self._attempt.cancel()
            self._attempt = None

    def _note(self, delivery: Delivery, trouble: str | None) -> None:
        """One line for each delivery that is made, and for each new reason why none is."""
        about = {"channel": self._name, "alert": delivery.alert.id, "action": delivery.action}
        if trouble is None:
            log.info("alert delivered", **about, person=delivery.person, attempts=delivery.attempts)
        elif trouble != self.trouble:
            log.warning("alert not delivered", **about, reason=trouble, attempts=delivery.attempts)
        self.trouble = trouble


async def _close(channel: Channel) -> None:
    try:
        async with asyncio.timeout(STOP_WITHIN_S):
            await channel.close()
    except Exception as error:  # top frame: what cannot be closed is left
        log.error("alert channel not closed", error=type(error).__name__)
