"""What a session of the lab's agent went through, and the way its events leave."""

import asyncio
import time
from array import array
from collections.abc import Awaitable, Callable

import msgspec

from . import agent_events as events
from .agent_events import Event
from .agent_options import AgentOptions, Faults

OCTETS_PER_MS = {"pcmu": 8, "pcma": 8, "pcm16": 48}

_encode = msgspec.json.Encoder().encode


class Logged(msgspec.Struct):
    """One event of a session's record; audio is left out."""

    at: float
    """time.monotonic() seconds."""
    sent: bool
    event: Event


class Truncation(msgspec.Struct):
    """A conversation.item.truncate that was carried out."""

    at: float
    item_id: str
    audio_end_ms: int


class SessionRecord:
    """Everything that a test asks for is a public attribute."""

    def __init__(self, number: int, model: str, options: AgentOptions, send: Callable[[str], Awaitable[None]]) -> None:
        self.number = number
        self.options = options
        self.faults = options.faults if number < options.faults.sessions else Faults()
        self.config = events.default_session(model)
        """The session object, after all updates."""
        self.audio = bytearray()
        """Every octet that the caller appended."""
        self.octets_received = 0
        self.append_times = array("d")
        """Pairs: time.monotonic() seconds, octets received until then."""
        self.octets_sent = 0
        self.delta_times = array("d")
        """Pairs: time.monotonic() seconds, octets sent until then."""
        self.audio_sent: dict[str, int] = {}
        """Octets of audio sent, by item."""
        self.log: list[Logged] = []
        """All events except audio, in order."""
        self.truncations: list[Truncation] = []
        self.cancelled_at: list[float] = []
        """When response.cancel arrived, time.monotonic() seconds."""
        self.tool_results: dict[str, str] = {}
        """By call id."""
        self.items: dict[str, Event] = {}
        """The conversation."""
        self.answers_done = 0
        self.opened_at = time.monotonic()
        self.closed_at: float | None = None
        self.drop = asyncio.Event()
        """Set when a fault wants the connection gone."""
        self.send = send
        self._sequence = 0
        self._progress = asyncio.Condition()

    def count(self, kind: str) -> int:
        """How many events of this type came or went."""
        return sum(1 for logged in self.log if logged.event.get("type") == kind)

    async def seen(self, kind: str, count: int = 1, timeout_s: float = 10.0) -> list[Event]:
        """Wait until so many events of this type came or went; returns them. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s), self._progress:
            await self._progress.wait_for(lambda: self.count(kind) >= count)
        return [logged.event for logged in self.log if logged.event.get("type") == kind]

    def summary(self) -> Event:
        """The record as JSON can hold it."""
        return {
            "number": self.number,
            "config": self.config,
            "octets": self.octets_received,
            "opened_at": self.opened_at,
            "closed_at": self.closed_at,
            "audio_sent": self.audio_sent,
            "truncations": [msgspec.structs.asdict(truncation) for truncation in self.truncations],
            "cancelled_at": self.cancelled_at,
            "tool_results": self.tool_results,
            "items": list(self.items.values()),
            "answers_done": self.answers_done,
            "events": [msgspec.structs.asdict(logged) for logged in self.log],
        }

    async def emit(self, event: Event) -> None:
        """Send one event, in the session's dialect, and record it."""
        event["event_id"] = self.new_id("event")
        shown = event if self.options.dialect == "ga" else events.to_beta(event)
        if shown is None:
            return
        await self.note(Logged(time.monotonic(), True, shown))
        await self.send(_encode(shown).decode())
        if self.faults.garbage:
            await self.send('{"type": "a.future.event", "with": [1, 2, {}]}')
            await self.send("\x00 not JSON {")

    async def note(self, logged: Logged) -> None:
        """Add to the log."""
        self.log.append(logged)
        async with self._progress:
            self._progress.notify_all()

    def new_id(self, kind: str) -> str:
        """An id that no other thing of the server has."""
        self._sequence += 1
        return f"{kind}_lab{self.number}x{self._sequence}"

    @property
    def input_encoding(self) -> str:
        """`pcmu`, `pcma` or `pcm16`: what the caller sends."""
        return events.FORMATS[self.config["audio"]["input"]["format"]["type"]]

    @property
    def output_encoding(self) -> str:
        """The same of what the agent sends."""
        return events.FORMATS[self.config["audio"]["output"]["format"]["type"]]

    async def add_item(self, item: Event, *, done: bool = True) -> None:
        """Append to the conversation."""
        previous = next(reversed(self.items), None)
        item = {"object": "realtime.item", "status": "completed" if done else "in_progress", **item}
        self.items[item["id"]] = item
        await self.emit({"type": "conversation.item.added", "previous_item_id": previous, "item": item})
        if done:
            await self.emit({"type": "conversation.item.done", "previous_item_id": previous, "item": item})
