"""One answer of the lab's agent: a response of the Realtime protocol from created to done."""

import asyncio
import contextlib
import time
from base64 import b64encode
from collections.abc import Callable

import msgspec

from . import agent_events as events
from .agent_events import Event
from .agent_record import OCTETS_PER_MS, SessionRecord
from .voice import speech, words

_encode = msgspec.json.Encoder().encode


class Answer:
    """Runs as a task of its own, so that the caller is heard meanwhile; `over` is called just before response.done."""

    def __init__(self, session: SessionRecord, entry: str, over: Callable[[], None], *, rate_limited: bool) -> None:
        self.id = session.new_id("resp")
        self._session = session
        self._entry = entry
        self._over = over
        self._rate_limited = rate_limited
        self._reason: str | None = None
        self._items: list[Event] = []
        self._spoken_ms = 0.0
        self._text = ""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def cancel(self, reason: str) -> None:
        """End it as the service ends a cancelled response; returns after its response.done."""
        self._reason = reason
        self._task.cancel()
        await asyncio.wait([self._task])

    def abandon(self) -> None:
        """The connection is gone."""
        self._task.cancel()

    async def _run(self) -> None:
        with contextlib.suppress(ConnectionError):
            await self._end(await self._speak())

    async def _speak(self) -> str:
        """Returns the response's status."""
        try:
            await asyncio.sleep(self._session.options.think_ms / 1000)
            await self._session.emit({"type": "response.created", "response": self._response("in_progress")})
            await self._rate_limits()
            if self._rate_limited:
                return "failed"
            await self._perform()
        except asyncio.CancelledError:
            if self._reason is None:
                raise
            return "cancelled"
        return "completed"

    async def _perform(self) -> None:
        entry = self._entry
        if self._session.options.talk:
            while True:
                await self._say(entry.partition(":")[0])
        pieces, _, function = entry.partition(":")
        for name in pieces.split("+"):
            if name:
                await self._say(name)
        if function:
            await self._call(function)

    async def _end(self, status: str) -> None:
        response = self._response(status)
        response["usage"] = events.usage(
            self._session.octets_received / OCTETS_PER_MS[self._session.input_encoding], self._spoken_ms, self._text
        )
        if status == "cancelled":
            response["status_details"] = {"type": "cancelled", "reason": self._reason}
        elif status == "failed":
            problem = {"type": "requests", "code": "rate_limit_exceeded", "message": "Rate limit reached."}
            response["status_details"] = {"type": "failed", "error": problem}
        self._over()
        await self._session.emit({"type": "response.done", "response": response})
        if status == "completed":
            self._session.answers_done += 1
        if self._session.answers_done == self._session.faults.drop_after_responses:
            self._session.drop.set()

    def _response(self, status: str) -> Event:
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": None,
            "output": list(self._items),
            "conversation_id": f"conv_lab{self._session.number}",
            "output_modalities": ["audio"],
            "max_output_tokens": "inf",
            "audio": {"output": {"format": self._session.config["audio"]["output"]["format"], "voice": "marin"}},
            "usage": None,
            "metadata": None,
        }

    async def _rate_limits(self) -> None:
        remaining = 0 if self._rate_limited else 999_000
        limits = [
            {"name": "requests", "limit": 5000, "remaining": min(remaining, 4999), "reset_seconds": 0.6},
            {"name": "tokens", "limit": 1_000_000, "remaining": remaining, "reset_seconds": 0.6},
        ]
        await self._session.emit({"type": "rate_limits.updated", "rate_limits": limits})

    async def _open_item(self, item: Event) -> Event:
        place = {"response_id": self.id, "output_index": len(self._items)}
        await self._session.emit(
            {"type": "response.output_item.added", **place, "item": {**item, "status": "in_progress"}}
        )
        await self._session.add_item(item, done=False)
        return place

    async def _close_item(self, place: Event, item: Event) -> None:
        self._items.append(item)
        self._session.items[item["id"]] = item
        await self._session.emit({"type": "response.output_item.done", **place, "item": item})
        await self._session.emit({"type": "conversation.item.done", "item": item})

    async def _say(self, name: str) -> None:
        item: Event = {
            "id": self._session.new_id("item"),
            "object": "realtime.item",
            "type": "message",
            "role": "assistant",
        }
        place = await self._open_item({**item, "content": []})
        within = {"response_id": self.id, "item_id": item["id"], "output_index": place["output_index"]}
        within["content_index"] = 0
        part = {"type": "audio", "transcript": ""}
        await self._session.emit({"type": "response.content_part.added", **within, "part": part})
        text, status = words(name), "completed"
        kind = "response.output_audio_transcript"
        await self._session.emit({"type": f"{kind}.delta", **within, "delta": text})
        try:
            await self._audio(within, speech(name, self._session.output_encoding))
        except asyncio.CancelledError:
            if self._reason is None:
                raise
            status = "incomplete"
            spoken = self._session.audio_sent.get(item["id"], 0) / len(speech(name, self._session.output_encoding))
            text = text[: int(len(text) * spoken)].rpartition(" ")[0]
        self._text += text
        await self._session.emit({"type": "response.output_audio.done", **within})
        await self._session.emit({"type": f"{kind}.done", **within, "transcript": text})
        await self._session.emit({"type": "response.content_part.done", **within, "part": {**part, "transcript": text}})
        content = [{"type": "output_audio", "transcript": text}]
        await self._close_item(place, {**item, "status": status, "content": content})
        if status == "incomplete":
            raise asyncio.CancelledError

    async def _audio(self, within: Event, octets: bytes) -> None:
        """The deltas, paced from a start time at `speed` times real time."""
        size = self._session.options.delta_ms * OCTETS_PER_MS[self._session.output_encoding]
        kind = "response.output_audio.delta" if self._session.options.dialect == "ga" else "response.audio.delta"
        head = _encode({"type": kind, **within})[:-1].decode()
        item_id = within["item_id"]
        due = time.monotonic()
        for start in range(0, len(octets), size):
            chunk = octets[start : start + size]
            event_id, delta = self._session.new_id("event"), b64encode(chunk).decode()
            await self._session.send(f'{head},"event_id":"{event_id}","delta":"{delta}"}}')
            self._session.octets_sent += len(chunk)
            self._session.audio_sent[item_id] = self._session.audio_sent.get(item_id, 0) + len(chunk)
            self._spoken_ms += len(chunk) / OCTETS_PER_MS[self._session.output_encoding]
            if self._session.options.keep_audio:
                self._session.delta_times.extend((time.monotonic(), self._session.octets_sent))
            if self._session.options.speed > 0:
                due += self._session.options.delta_ms / 1000 / self._session.options.speed
                await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _call(self, function: str) -> None:
        call_id = self._session.new_id("call")
        item: Event = {"id": self._session.new_id("item"), "object": "realtime.item", "type": "function_call"}
        item |= {"call_id": call_id, "name": function}
        place = await self._open_item({**item, "arguments": ""})
        within = {**place, "item_id": item["id"], "call_id": call_id}
        arguments = '{"reason":"the caller said goodbye"}' if function == "hang_up" else "{}"
        kind = "response.function_call_arguments"
        await self._session.emit({"type": f"{kind}.delta", **within, "delta": arguments})
        await self._session.emit({"type": f"{kind}.done", **within, "name": function, "arguments": arguments})
        await self._close_item(place, {**item, "status": "completed", "arguments": arguments})
