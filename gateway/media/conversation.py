"""One call's conversation with its speech service: the bridge, what it says, and what was heard of it.

The only task of a call reads the bridge's events. Handling one is synchronous and never waits for audio: speech that
arrives goes to the playout queue, a caller who starts to speak empties it in the same step. Everything timed is
decided in `poll`, which the leg calls at each tick.
"""

import asyncio
import weakref
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import msgspec
import structlog

from ..bridges.base import (
    HANG_UP,
    AudioCleared,
    AudioDelta,
    AudioDone,
    AudioFormat,
    Bridge,
    BridgeError,
    BridgeEvent,
    Closed,
    LastWord,
    Reconnected,
    ResponseDone,
    ResponseStarted,
    ServiceError,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
    Transcript,
    add_usage,
)
from ..flight.leg_ring import LegRing
from .convert import converter, frame_octets, sample_octets, silent_frame
from .functions import Functions
from .playout import PlayoutQueue
from .tones import SAMPLE_RATE as TONE_RATE
from .tones import special_information_tone
from .turns import TurnLog

log = structlog.get_logger(__name__)

DRAIN_MAX = 10.0
"""Seconds that may pass after the conversation is over, beyond those of the speech that is queued then."""
FAILURES_MAX = 2
"""Responses in a row that fail (the first is asked for again) before the caller need not wait for another."""
FAR_END_PLAYOUT = 0.3
"""Seconds from the last packet to the hang-up: the far end's jitter buffer still holds the last word."""
TONE_ITEM = " tone"
"""Our own tone in the playout queue; no service's item."""
CLOSE_TIMEOUT = 3.0
"""Seconds for a service to take leave."""
_NEVER = float("inf")


class ConversationOwner(Protocol):
    """Who hears how the conversation goes: the media leg."""

    def conversation_ready(self, provider_ms: float) -> None:
        """The call may be answered."""
        ...

    def conversation_failed(self, status: int, reason: str) -> None:
        """There will be no conversation; the call cannot be answered."""
        ...

    def conversation_over(self, by: str, reason: str) -> None:
        """What had to be said was said, or nothing can be said any more: hang up."""
        ...

    def last_speech(self) -> float | None:
        """When the caller was last heard to speak."""
        ...

    def happened(self, kind: str, detail: str = "") -> None:
        """Something for the call's timeline."""
        ...


class Conversation:
    """From dialling the speech service to the last word."""

    def __init__(
        self,
        call_id: str,
        bridge: Bridge,
        owner: ConversationOwner,
        patience_s: float,
        monotonic: Callable[[], float],
        functions: Functions | None = None,
        flight: LegRing | None = None,
    ) -> None:
        self.bridge = bridge
        output = bridge.output_format
        self.queue = PlayoutQueue(frame_octets(output), silent_frame(output), sample_octets(output))
        self.turns = TurnLog()
        self.tools: list[dict[str, Any]] = []
        self.usage: dict[str, Any] = {}
        self.errors = 0
        """Errors that the service reported and went on."""
        self.reconnects = 0
        self.lost = False
        """The service is gone for good, after the call had begun."""
        self.provider_ms: float | None = None
        self.answered = False
        # no cycle: a leg that is closed is freed at once, and not by a collector that stops all other legs
        self._owner: ConversationOwner = weakref.proxy(owner)
        self._monotonic = monotonic
        self._log = log.bind(call=call_id)
        self._started = monotonic()
        self._patience_s = patience_s
        self._deadline = self._started + patience_s
        """When patience is over; never, once the owner was told that the conversation is ready or failed."""
        self._ending: tuple[str, str] | None = None
        self._end_by = _NEVER
        self._quiet_since = 0.0
        self._over = False
        self._responding = False
        self._failures = 0
        self._error = ""
        """Code of the service's last error."""
        self._functions = functions
        self._flight = flight
        self._calls: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        state = "over" if self._over else "ending" if self._ending else "open" if self.provider_ms else "opening"
        return f"<Conversation {state} {self.queue!r} {self.turns!r}>"

    def start(self) -> None:
        """Dial, and read what the service says from then on."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Take leave of the service; idempotent, bounded, never raises."""
        self._over = True
        self._deadline = self._end_by = _NEVER
        for call in self._calls:
            call.cancel()
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self.bridge.close()
        except Exception as error:  # the call is over whatever a bridge does
            self._log.warning("speech service did not close in order", error=str(error) or type(error).__name__)

    # Opening and reading

    async def _run(self) -> None:
        try:
            await self.bridge.open()
            self._opened()
            async for event in self.bridge.events():
                self.handle(event)
            self._lost("the speech service's events ended")
        except BridgeError as error:
            self._lost(error.reason)
        except Exception as error:  # top frame of the call's only task
            self._log.exception("bridge failed in a way nobody foresaw")
            self._lost(f"bridge failed: {type(error).__name__}")

    def _opened(self) -> None:
        self.provider_ms = (self._monotonic() - self._started) * 1000
        if not self.bridge.speaks_first:
            self._ready()

    def _ready(self) -> None:
        if self._deadline != _NEVER and self.provider_ms is not None:
            self._deadline = _NEVER
            self._owner.conversation_ready(self.provider_ms)

    def _lost(self, reason: str) -> None:
        """The service is gone for good."""
        if self._over or self._ending is not None:
            return
        if self._deadline != _NEVER:
            self._deadline = _NEVER
            self._over = True
            self._owner.conversation_failed(503, reason)
            return
        self._log.error("speech service lost", reason=reason)
        self._note("lost", reason, bad=True)
        self._owner.happened("provider_error", reason)
        self.lost = True
        self._responding = False
        self.queue.finish_first()
        if self.answered:
            self.queue.append(TONE_ITEM, tone(self.bridge.output_format))
            self.queue.finish(TONE_ITEM)
        self._end("provider", reason)

    def _end(self, by: str, reason: str) -> None:
        """Hang up as soon as what is queued was heard, or when that takes too long."""
        if self._ending is None and not self._over:
            self._ending = (by, reason)
            self._drain()

    def _drain(self) -> None:
        self._quiet_since = self._monotonic()
        self._end_by = self._quiet_since + self.queue.queued_ms / 1000 + DRAIN_MAX

    # The leg's tick

    def poll(self, now: float) -> None:
        """Whatever waits for time: patience, and the end once the queue has run out."""
        if now >= self._deadline:
            self._out_of_patience()
        if self._ending is not None and not self._over and self._said_all(now):
            self._over = True
            self._owner.conversation_over(*self._ending)

    def _said_all(self, now: float) -> bool:
        if not self.answered:
            return not self.queue.queued_ms
        if now >= self._end_by:
            return True
        if not self.queue.idle or self._responding:
            self._quiet_since = now
        return now - self._quiet_since >= FAR_END_PLAYOUT

    def _out_of_patience(self) -> None:
        if self.provider_ms is not None:
            self._ready()
            return
        self._deadline = _NEVER
        self._over = True
        self._owner.conversation_failed(503, f"speech service not ready within {self._patience_s:g} s")

    def answer(self) -> None:
        """The call is up: what is queued may be heard now."""
        self.answered = True
        if self._ending is not None:
            self._drain()

    # What the service says

    def handle(self, event: BridgeEvent) -> None:
        """One event of the bridge."""
        if self._flight is not None:
            self._flight.event(type(event).__name__, self._monotonic())
        self._handlers[type(event)](self, event)

    def _item_done(self, event: AudioDone) -> None:
        self.queue.finish(event.item_id)

    def _audio_cleared(self, event: AudioCleared) -> None:
        self.queue.flush()

    def _last_word(self, event: LastWord) -> None:
        if not self._over and (self._ending is None or self._ending[0] == "agent"):
            self._ending = ("agent", event.reason)
            self._drain()

    def _response_started(self, event: ResponseStarted) -> None:
        self._responding = True

    def _response_done(self, event: ResponseDone) -> None:
        self._responding = False
        self.queue.finish_all()
        add_usage(self.usage, event.usage)
        if event.status == "failed":
            self._failures += 1
            if self._failures >= FAILURES_MAX:
                self._lost(f"the speech service does not answer the caller: {self._error}")
        elif event.status == "completed":
            self._failures = 0

    def _speech_stopped(self, event: SpeechStopped) -> None:
        self.turns.caller_stopped(self._monotonic(), self._owner.last_speech())

    def _transcript(self, event: Transcript) -> None:
        if event.speaker == "caller":
            self.turns.caller_said(event.item_id, event.text, self._monotonic())
        else:
            self.turns.agent_said(event.item_id, event.text)

    def _service_error(self, event: ServiceError) -> None:
        self.errors += 1
        self._error = event.code
        self._owner.happened("provider_error", event.code)
        self._log.warning("speech service reports an error", code=event.code, message=event.message)
        self._note("provider_error", event.code)

    def _reconnected(self, event: Reconnected) -> None:
        self.reconnects += 1
        self._owner.happened("reconnected", event.reason)
        self._responding = False
        self.queue.finish_all()
        self._log.warning("speech service lost and regained", reason=event.reason)
        self._note("reconnected", event.reason, bad=True)

    def _closed(self, event: Closed) -> None:
        if not event.clean or self._deadline != _NEVER:
            self._lost(event.reason)
            return
        self._responding = False
        self.queue.finish_all()
        self._end("agent", event.reason)

    def _audio(self, delta: AudioDelta) -> None:
        if self._over or (self._ending is not None and self._ending[0] == "provider"):
            return
        refused_before = self.queue.refused_octets
        self.turns.agent_item(delta.item_id)
        if not self.queue.append(delta.item_id, delta.audio) and not refused_before:
            self._log.warning("agent speaks too far ahead of the call, audio refused", item=delta.item_id)
        if self._deadline != _NEVER:
            self._ready()

    def _note(self, kind: str, text: str, *, bad: bool = False) -> None:
        if self._flight is not None:
            self._flight.note(kind, text, self._monotonic(), bad=bad)

    def _barge_in(self, event: SpeechStarted) -> None:
        """The caller speaks: silence at once, then tell the service what was heard. A last word is not cut."""
        if self._ending is not None:
            return
        heard = self.queue.flush()
        self.bridge.interrupt(heard)
        self._note("flushed", ", ".join(f"{item.item_id} cut at {item.heard_ms:g} ms" for item in heard) or "nothing")
        if self.turns.interrupted([item.item_id for item in heard]):
            self._owner.happened("barge_in", f"heard {sum(item.heard_ms for item in heard):.0f} ms")
        self.turns.caller_started(event.item_id)

    def _tool(self, call: ToolCall) -> None:
        """hang_up is done here, other functions by a task of their own: speech goes on meanwhile."""
        self._owner.happened("tool", call.name)
        if call.name == HANG_UP:
            self._end("agent", "hang_up")
            self._tool_done(call, {"ok": True}, self._monotonic())
        elif self._functions is not None and call.name in self._functions:
            task = asyncio.create_task(self._call_function(self._functions, call))
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)
        else:
            self._log.warning("agent calls an unknown tool", tool=call.name)
            error = f"no tool named {call.name!r} is available on this call"
            self._tool_done(call, {"error": error}, self._monotonic())

    async def _call_function(self, functions: Functions, call: ToolCall) -> None:
        started = self._monotonic()
        result = await functions.call(call.name, _arguments(call.arguments))
        if not self._over:
            self._tool_done(call, result, started)

    def _tool_done(self, call: ToolCall, result: Any, started: float) -> None:
        self.bridge.send_tool_result(call.call_id, msgspec.json.encode(result).decode())
        ms = round((self._monotonic() - started) * 1000, 3)
        if isinstance(result, dict) and "error" in result:
            self._log.warning("tool failed", tool=call.name, error=result["error"], ms=ms)
        self.tools.append({"name": call.name, "arguments": _arguments(call.arguments), "result": result, "ms": ms})

    _handlers: ClassVar[dict[type, Callable[["Conversation", Any], None]]] = {
        AudioDelta: _audio,
        AudioDone: _item_done,
        AudioCleared: _audio_cleared,
        LastWord: _last_word,
        ResponseStarted: _response_started,
        ResponseDone: _response_done,
        SpeechStarted: _barge_in,
        SpeechStopped: _speech_stopped,
        Transcript: _transcript,
        ToolCall: _tool,
        ServiceError: _service_error,
        Reconnected: _reconnected,
        Closed: _closed,
    }


def tone(output: AudioFormat) -> bytes:
    """The special information tone in a service's format."""
    convert = converter(AudioFormat("pcm16", TONE_RATE), output)
    pcm = special_information_tone().astype("<i2").tobytes()
    return convert(pcm) if convert is not None else pcm


def _arguments(text: str) -> Any:
    """Arguments as the table they are, or as the text that could not be read as one."""
    try:
        return msgspec.json.decode(text or "{}")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return text
