"""The flight recorder in the switch: hears all SIP, decides which calls are kept, and writes them behind.

A call that is over waits a second for the last messages (the answer to a BYE, the ACK of a refusal) and is then written
by a task of its own, on a thread. What cannot be written is counted and said once; no call waits for the disk.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import structlog
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from ...sip.flow import Address, Flow
from ..errors import FlightError
from ..messages import Fact, FlightRing
from ..observer import Observer
from ..record import CallRecord
from .config import FlightConfig
from .file import Flight, Header
from .ladder import LadderLine, ladder_of, rfc3339, sip_message
from .ladders import Ladder, Ladders, sip_call_id
from .store import FlightStore
from .verdict import KEEP_ALL, KEEP_NONE, reasons_to_keep

log = structlog.get_logger(__name__)

LINGER_S = 1.0
"""After the end of a call its last SIP messages still come."""
WAITING_MAX = 300
WAITING_OCTETS_MAX = 64 << 20
"""Calls that wait to be written, and the octets of their packets; in a flood what is more is not kept."""
LEGS_MAX = 4
"""Of one call: one for each agent that it was given."""


@dataclass(slots=True)
class _Kept:
    """A call that is over and is to be written."""

    record: CallRecord
    reasons: list[str]
    ladder: Ladder | None
    """Still takes what comes."""
    legs: list[bytes]
    due: float

    @property
    def octets(self) -> int:
        return sum(map(len, self.legs))


class FlightRecorder(Observer):
    """One for each gateway: `start`, hear, `close`."""

    def __init__(
        self, config: FlightConfig, store: FlightStore, gateway: str, *, wallclock: Callable[[], float] = time.time
    ) -> None:
        """`gateway` is its name."""
        self.kept = 0
        """Calls written."""
        self.failed = 0
        """Calls that could not be written."""
        self.dropped = 0
        """Calls that were not written because too many waited."""
        self._keep = config.keep
        self._store = store
        self._gateway = gateway
        self._wallclock = wallclock
        self._ladders = Ladders()
        self._unbound: dict[str, CallRecord] = {}
        """Calls that have no Call-ID yet: placed ones, before the INVITE. Their records change as they go on."""
        self._legs: dict[str, list[bytes]] = {}
        self._waiting: deque[_Kept] = deque()
        self._waiting_octets = 0
        self._wake = asyncio.Event()
        self._closing = False
        self.trouble: str | None = None
        """Why bad calls cannot be kept; None when they can."""
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<FlightRecorder kept={self.kept} failed={self.failed} waiting={len(self._waiting)}>"

    # Life

    async def start(self) -> None:
        """Tidy the directory up, and begin to write. A directory that cannot be made is said, and tried again."""
        if self._keep != KEEP_NONE:
            try:
                await asyncio.to_thread(self._store.open)
            except OSError as error:
                self._fails(error)
        self._task = asyncio.create_task(self._write_behind(), name="flight recorder")

    async def close(self) -> None:
        """Write what waits, without waiting for more; idempotent."""
        self._closing = True
        self._wake.set()
        task, self._task = self._task, None
        if task is not None:
            await task

    # What it hears

    def on_sip(self, received: bool, flow: Flow, local: Address, data: bytes) -> None:
        """One message; without a Call-ID it is nobody's."""
        call_id = sip_call_id(data)
        if call_id is None:
            return
        if self._unbound and not received:
            self._bind_placed()
        far = (flow.transport, flow.host, flow.port)
        self._ladders.add(call_id, sip_message(self._wallclock(), received, far, (local.host, local.port), data))

    def _bind_placed(self) -> None:
        """A placed call has its Call-ID just before its INVITE goes out."""
        for call, record in list(self._unbound.items()):
            if record.sip_call_id is not None:
                self._bind(call, record)

    def _bind(self, call: str, record: CallRecord) -> None:
        if record.sip_call_id is None:
            self._unbound[call] = record
            return
        self._unbound.pop(call, None)
        self._ladders.bind(call, record.sip_call_id.encode())

    def on_record(self, record: CallRecord) -> None:
        """A call begins, or is over."""
        self._bind(record.id, record)
        if record.ended_at is None:
            return
        self._unbound.pop(record.id, None)
        legs = self._legs.pop(record.id, [])
        reasons = reasons_to_keep(record)
        if not reasons and self._keep == KEEP_ALL:
            reasons = ["every call is kept"]
        if not reasons and legs:
            reasons = ["a media leg went wrong"]
        if self._keep != KEEP_NONE and reasons:
            ladder = self._ladders.of(record.id)
            self._keep_call(_Kept(record, reasons, ladder, legs, time.monotonic() + LINGER_S))
        self._ladders.ended(record.id)

    def _keep_call(self, kept: _Kept) -> None:
        octets = self._waiting_octets + kept.octets
        if len(self._waiting) >= WAITING_MAX or octets > WAITING_OCTETS_MAX:
            self.dropped += 1
            return
        self._waiting.append(kept)
        self._waiting_octets = octets
        self._wake.set()

    def on_fact(self, call_id: str, fact: Fact) -> None:
        """The ring of a leg that was closed."""
        if isinstance(fact, FlightRing):
            legs = self._legs.setdefault(call_id, [])
            if len(legs) < LEGS_MAX:
                legs.append(fact.data)

    # What it is asked

    def parts(self) -> dict[str, str]:
        """How it stands, as /readyz tells it. A gateway that keeps no bad calls is ready all the same."""
        if self._keep == KEEP_NONE:
            return {}
        return {"flight recorder": f"failing: {self.trouble}" if self.trouble is not None else "writable"}

    async def ladder(self, call_id: str) -> Sequence[LadderLine] | None:
        """The SIP messages of a call, live or kept, oldest first; None when nothing is kept of it."""
        ladder = self._ladders.of(call_id)
        if ladder is not None:
            return ladder_of(ladder.messages)
        try:
            flight = await asyncio.to_thread(self._store.read, call_id)
        except FlightError:
            return None
        return ladder_of(flight.sip) if flight is not None else None

    # Writing behind

    async def _write_behind(self) -> None:
        while True:
            while self._waiting:
                kept = self._waiting[0]
                await self._lingered(kept.due)
                await self._write(kept)
                self._waiting.popleft()
                self._waiting_octets -= kept.octets
            if self._closing:
                return
            self._wake.clear()
            await self._wake.wait()

    async def _lingered(self, due: float) -> None:
        while not self._closing and (left := due - time.monotonic()) > 0:
            self._wake.clear()
            try:
                async with asyncio.timeout(left):
                    await self._wake.wait()
            except TimeoutError:
                return

    async def _write(self, kept: _Kept) -> None:
        ladder = kept.ladder
        flight = Flight(
            header=Header(
                call_id=kept.record.id,
                gateway=self._gateway,
                kept_at=rfc3339(self._wallclock()),
                reasons=kept.reasons,
                sip_dropped=ladder.dropped if ladder is not None else 0,
            ),
            record=kept.record,
            sip=list(ladder.messages) if ladder is not None else [],
            legs=kept.legs,
        )
        try:
            await asyncio.to_thread(self._store.keep, flight)
        except Exception as error:  # top frame: one call that cannot be written must not be the last one
            self.failed += 1
            self._fails(error)
        else:
            self.kept += 1
            if self.trouble is not None:
                self.trouble = None
                log.info("bad calls are kept again", directory=str(self._store.directory), not_kept=self.failed)

    def _fails(self, error: Exception) -> None:
        """Said once, until it works again."""
        before, self.trouble = self.trouble, getattr(error, "strerror", None) or str(error)
        if before is None:
            log.error("bad calls cannot be kept", directory=str(self._store.directory), reason=self.trouble)


class FlightCounters(Collector):
    """The recorder's own figures."""

    def __init__(self, recorder: FlightRecorder) -> None:
        self._recorder = recorder

    def describe(self) -> list[Metric]:
        """Nothing beforehand."""
        return []

    def collect(self) -> Iterator[Metric]:
        """One family."""
        family = CounterMetricFamily("trunkline_flights", "Calls for the flight recorder to keep.", labels=("result",))
        for result in ("kept", "failed", "dropped"):
            family.add_metric((result,), getattr(self._recorder, result))
        yield family
