"""OpenAI Realtime (GA), and servers that speak its protocol in the GA or the beta dialect.

A connection that is lost, or a session near its end, is replaced by a new session which is told the conversation so
far as text; what the caller says meanwhile is kept for up to BACKLOG_MS. Keys are told to the agent as a user message
after a pause of 1.5 s or at #, and it answers them. A response that fails is asked for once more.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Sequence
from typing import ClassVar

from websockets.exceptions import ConnectionClosed

from ._openai_config import OpenAIConfig
from ._openai_conversation import Conversation
from ._openai_line import Dialer, Line
from .base import (
    AudioFormat,
    BridgeError,
    BridgeEvent,
    BridgeRefused,
    BridgeUnreachable,
    CallContext,
    Capabilities,
    Closed,
    Heard,
    Reconnected,
)

__all__ = ["BRIDGE", "OpenAIBridge", "OpenAIConfig", "OpenAIProvider"]

CREATED_TIMEOUT_S = 5.0
"""How long `session.created` may take after the connection is up."""
UPDATED_TIMEOUT_S = 2.0
"""Some servers never confirm `session.update`; after this long it counts as confirmed."""
BACKLOG_MS = 1000
"""The caller's audio kept while a lost connection is replaced."""
RECONNECT_WAITS_S = (0.1, 0.5, 1.5)
"""Waits before each attempt, half to one and a half times as long by chance."""
RECONNECT_TIMEOUT_S = 3.0
STABLE_S = 30.0
"""A connection that lived this long earns all attempts anew."""
ROLL_OVER_S = 120.0
"""From this long before a session's end the next quiet moment is used to change to a new one."""
ROLL_OVER_SHARE = 0.5
"""But not before this share of the session is over."""
ROLL_OVER_LATEST_S = 10.0
"""Quiet or not, the change is made so long before the end."""
_FINAL_CODES = (1008, 3000, 4001, 4003)
"""Close codes that say no: another attempt would be refused too."""


class OpenAIBridge:
    """One call's conversation, in one Realtime session after another."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        turn_detection=True, truncation=True, tools=True, transcripts=True
    )

    def __init__(self, config: OpenAIConfig, context: CallContext, dialer: Dialer, rng: random.Random) -> None:
        g711 = config.audio == "auto" and context.preferred.encoding in ("pcmu", "pcma")
        self.input_format = self.output_format = context.preferred if g711 else AudioFormat("pcm16", 24000)
        self.speaks_first = bool(config.greeting)
        self.dropped_frames = 0
        """Frames of the caller that never left: no connection, or its write buffer was full."""
        self._config = config
        self._dialer = dialer
        self._rng = rng
        self._conversation = Conversation(config, self.input_format)
        self._line: Line | None = None
        self._fresh: Line | None = None
        self._up_since = 0.0
        self._failures = 0
        self._backlog: bytearray | None = None
        self._early: list[BridgeEvent] = []
        self._closing = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._roll_timer: asyncio.TimerHandle | None = None
        self._roll_task: asyncio.Task[None] | None = None
        self._heard_something = asyncio.Event()

    async def open(self) -> None:
        """Connect, configure the session and ask for the greeting. Raises BridgeError."""
        line = await self._dialer.dial(self._config, self.input_format)
        await self._establish(line)
        self._use(line)
        self._conversation.greet()
        self._flush()

    async def _establish(self, line: Line) -> None:
        """Wait for the session and configure it; closes the line when that fails."""
        conversation = self._conversation
        try:
            async with asyncio.timeout(CREATED_TIMEOUT_S):
                while not conversation.created:
                    await self._receive_early(line)
            conversation.configure()
            self._post(line)
            try:
                async with asyncio.timeout(UPDATED_TIMEOUT_S):
                    while not conversation.configured:
                        await self._receive_early(line)
            except TimeoutError:
                conversation.configured = True
        except TimeoutError:
            line.leave()
            raise BridgeUnreachable(f"no session within {CREATED_TIMEOUT_S:.0f} s of connecting") from None
        except ConnectionClosed as closed:
            raise self._closed_early(closed) from None
        except BaseException:
            line.leave()
            raise

    async def _receive_early(self, line: Line) -> None:
        self._early += self._conversation.receive(await line.receive(), time.monotonic())
        if self._conversation.refusal is not None:
            raise BridgeRefused(self._conversation.refusal)

    def _closed_early(self, closed: ConnectionClosed) -> BridgeError:
        code = closed.rcvd.code if closed.rcvd is not None else 1006
        reason = f"the service closed the connection during set-up (code {code})"
        return BridgeRefused(reason) if code in _FINAL_CODES else BridgeUnreachable(reason)

    def _use(self, line: Line) -> None:
        """From now on the conversation runs on this line."""
        self._line = line
        self._up_since = time.monotonic()
        if self._conversation.expires_at is not None:
            ends_at = self._conversation.expires_at - line.epoch
            remaining_s = ends_at - time.monotonic()
            if remaining_s <= 0:
                return  # two clocks that do not agree: the session's end will be seen when it comes
            wait_s = max(remaining_s - ROLL_OVER_S, remaining_s * ROLL_OVER_SHARE)
            self._roll_timer = asyncio.get_running_loop().call_later(wait_s, self._start_roll_over, ends_at)

    def send(self, frame: bytes) -> None:
        """One frame of the caller's audio, any length."""
        line = self._line
        if line is not None:
            if not line.append(frame):
                self.dropped_frames += 1
        elif self._backlog is not None:
            self._keep(self._backlog, frame)
        else:
            self.dropped_frames += 1

    def _keep(self, backlog: bytearray, frame: bytes) -> None:
        backlog += frame
        if len(backlog) > BACKLOG_MS * self.input_format.octets_per_ms:
            del backlog[: len(frame)]
            self.dropped_frames += 1

    async def events(self) -> AsyncIterator[BridgeEvent]:
        """Everything that the service says, in order; ends after Closed. Reads on as fast as it is asked."""
        conversation, now = self._conversation, time.monotonic
        while True:
            while self._early:
                yield self._early.pop(0)
            line = self._line
            if line is None or self._closing.is_set():
                yield Closed("the gateway ended the conversation", clean=True)
                return
            try:
                data = await line.receive()
            except ConnectionClosed as closed:
                outcome = await self._recover(closed)
                yield outcome
                if isinstance(outcome, Closed):
                    return
                continue
            events = conversation.receive(data, now())
            if conversation.outbox or conversation.timer is not None:
                self._flush()
            if self._roll_task is not None:
                self._heard_something.set()
            for event in events:
                yield event

    async def _recover(self, closed: ConnectionClosed) -> BridgeEvent:
        """Replace the connection that just ended, or say why the conversation is over."""
        code = closed.rcvd.code if closed.rcvd is not None else 1006
        expired = self._conversation.expired
        if self._closing.is_set():
            return Closed("the gateway ended the conversation", clean=True)
        if self._fresh is None and not expired:
            if code == 1000:
                self._line = None
                return Closed("the service ended the conversation", clean=True)
            if code in _FINAL_CODES:
                self._line = None
                return Closed(f"the service closed the connection (code {code})", clean=False)
        self._line = None
        self._backlog = bytearray()
        self._stop_roll_over()
        why = "the session reached its end" if expired or self._fresh else f"the connection was lost (code {code})"
        failure = await self._reconnect()
        if self._closing.is_set():
            return Closed("the gateway ended the conversation", clean=True)
        if failure is not None:
            self._backlog = None
            return Closed(f"{why} and could not be replaced: {failure}", clean=False)
        return Reconnected(why)

    async def _reconnect(self) -> str | None:
        """Up to three attempts; returns why the last one failed, None when the conversation goes on."""
        if time.monotonic() - self._up_since > STABLE_S:
            self._failures = 0
        failure = "it keeps failing"
        while self._failures < len(RECONNECT_WAITS_S) and not self._closing.is_set():
            fresh, self._fresh = self._fresh, None
            try:
                if fresh is None:
                    await self._pause(RECONNECT_WAITS_S[self._failures] * self._rng.uniform(0.5, 1.5))
                    self._failures += 1
                    async with asyncio.timeout(RECONNECT_TIMEOUT_S):
                        fresh = await self._dialer.dial(self._config, self.input_format)
                self._conversation.restart()
                await self._establish(fresh)
            except TimeoutError:
                failure = "no answer"
            except BridgeRefused as error:
                return error.reason
            except BridgeError as error:
                failure = error.reason
            else:
                self._resume(fresh)
                return None
        return failure

    async def _pause(self, seconds: float) -> None:
        """Sleep, but not beyond `close`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()

    def _resume(self, line: Line) -> None:
        if self._closing.is_set():
            line.leave()
            return
        self._use(line)
        self._conversation.resume()
        self._flush()
        if self._backlog:
            line.append(bytes(self._backlog))
        self._backlog = None

    def _start_roll_over(self, ends_at: float) -> None:
        self._roll_task = asyncio.get_running_loop().create_task(self._roll_over(ends_at))

    async def _roll_over(self, ends_at: float) -> None:
        """Dial ahead, wait for a quiet moment, and let go of the old session, which ends at `ends_at`: `events` goes on
        in the new one."""
        old = self._line
        if old is None:
            return
        try:
            fresh = await self._dialer.dial(self._config, self.input_format)
        except BridgeError:
            return  # the old session's end is recovered from like any lost connection
        try:
            await self._quiet_moment(ends_at - ROLL_OVER_LATEST_S - time.monotonic())
        except asyncio.CancelledError:
            fresh.leave()
            raise
        self._fresh = fresh
        self._roll_task = None
        old.leave()

    async def _quiet_moment(self, at_most_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, at_most_s)):
                while not self._conversation.quiet:
                    self._heard_something.clear()
                    await self._heard_something.wait()

    def _stop_roll_over(self) -> None:
        if self._roll_timer is not None:
            self._roll_timer.cancel()
        if self._roll_task is not None:
            self._roll_task.cancel()
        self._roll_timer = self._roll_task = None

    def interrupt(self, heard: Sequence[Heard]) -> None:
        """Cancel the running response, drop its late deltas, and truncate each item to what was heard of it."""
        self._conversation.interrupt(heard)
        self._flush()

    def send_tool_result(self, call_id: str, output: str) -> None:
        """The result of a ToolCall. The agent goes on when all calls are answered; nothing follows a hang_up."""
        self._conversation.send_tool_result(call_id, output)
        self._flush()

    def send_dtmf(self, digits: str) -> None:
        """Keys of the caller; told to the agent after a pause of 1.5 s or at #."""
        self._conversation.send_dtmf(digits, time.monotonic())
        self._flush()

    def _flush(self) -> None:
        """Send what the conversation has to say, and arm its timer."""
        if self._line is not None:
            self._post(self._line)
        else:
            self._conversation.outbox.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self._conversation.timer
        if due is not None and not self._closing.is_set():
            delay = max(0.0, due - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay, self._on_timer)

    def _post(self, line: Line) -> None:
        for message in self._conversation.outbox:
            line.post(message)
        self._conversation.outbox.clear()

    def _on_timer(self) -> None:
        self._timer = None
        self._conversation.handle_timer(time.monotonic())
        self._flush()

    async def close(self) -> None:
        """End the session; idempotent."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._stop_roll_over()
        if self._timer is not None:
            self._timer.cancel()
        line, self._line, fresh, self._fresh = self._line, None, self._fresh, None
        if fresh is not None:
            fresh.leave()
        if line is not None:
            await line.close()


class OpenAIProvider:
    """The provider of this module."""

    config = OpenAIConfig

    def __init__(self) -> None:
        self._dialer = Dialer()
        self._rng = random.Random()

    def bridge(self, config: OpenAIConfig, context: CallContext) -> OpenAIBridge:
        """A bridge for one call; dials nothing."""
        return OpenAIBridge(config, context, self._dialer, self._rng)


BRIDGE = OpenAIProvider()
