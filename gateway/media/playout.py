"""The playout queue: audio of an agent's items on its way to the caller, every sample with its owner.

Audio arrives in bursts faster than real time and leaves one 20 ms frame a tick. The queue works in octets of one
fixed format, the one that the speech service gives: what is heard is counted in the service's own samples, and
nothing is converted that a barge-in then throws away. It holds on to the chunks as they came and copies no more
than a frame. Silence that fills up a frame belongs to no item and is never counted as heard.
"""

from collections import deque

from ..bridges.base import Heard

PREBUFFER_FRAMES = 2
"""Frames that a talk spurt waits for: bursts meet it at once, and an agent that sends in real time may be
one frame late without a break, for 20 ms of delay."""
PREBUFFER_PATIENCE = 5
"""Ticks after which a spurt starts with what there is: its service may send no more before it hears an answer."""
LIMIT_MS = 300_000
"""A service that sends more than this ahead of the caller is out of control; more is refused and counted."""


class _Item:
    """One item's chunks that are not played yet, and how much of it was."""

    __slots__ = ("chunks", "finished", "item_id", "offset", "played", "received")

    def __init__(self, item_id: str) -> None:
        self.item_id = item_id
        self.chunks: deque[bytes] = deque()
        self.offset = 0
        self.received = 0
        self.played = 0
        self.finished = False

    @property
    def left(self) -> int:
        return self.received - self.played

    def pull(self, count: int) -> bytes:
        """The next `count` octets or what is left of them; they count as played."""
        chunks = self.chunks
        if not chunks:
            return b""
        head = chunks[0]
        end = self.offset + count
        if end < len(head):
            piece = head[self.offset : end]
            self.offset = end
        elif end == len(head) or len(chunks) == 1:
            piece = head[self.offset :]
            chunks.popleft()
            self.offset = 0
        else:
            piece = self._join(count)
        self.played += len(piece)
        return piece

    def _join(self, count: int) -> bytes:
        parts: list[bytes] = []
        while count and self.chunks:
            head = self.chunks[0]
            piece = head[self.offset : self.offset + count]
            parts.append(piece)
            count -= len(piece)
            self.offset += len(piece)
            if self.offset == len(head):
                self.chunks.popleft()
                self.offset = 0
        return b"".join(parts)


class PlayoutQueue:
    """Audio in by item, whole 20 ms frames out.

    `frame_octets` is one 20 ms frame, `silence` what a frame of silence looks like, `sample_octets` one sample.
    """

    def __init__(
        self,
        frame_octets: int,
        silence: bytes,
        sample_octets: int = 1,
        prebuffer_frames: int = PREBUFFER_FRAMES,
        limit_ms: int = LIMIT_MS,
    ) -> None:
        self._frame = frame_octets
        self._silence = silence
        self._sample = sample_octets
        self._prebuffer = prebuffer_frames * frame_octets
        self._limit = limit_ms * frame_octets // 20
        self._items: deque[_Item] = deque()
        self._left = 0
        self._talking = False
        self._waited = 0
        self._past_heard: dict[str, int] = {}
        self._refused_item: str | None = None
        self.underruns = 0
        """Breaks in the agent's speech because the service was late."""
        self.refused_octets = 0
        """Octets over the limit."""
        self.playing: str | None = None
        """The item whose audio the last frame carried (the newer of two); None after a tick without a frame."""

    def __repr__(self) -> str:
        state = "talking" if self._talking else "waiting"
        return (
            f"<PlayoutQueue {state} items={len(self._items)} queued={self.queued_ms:.0f}ms underruns={self.underruns}>"
        )

    @property
    def queued_ms(self) -> float:
        """Audio that waits, ms."""
        return self._ms(self._left)

    @property
    def idle(self) -> bool:
        """Nothing is queued and no spurt runs."""
        return not self._left and not self._talking

    def append(self, item_id: str, audio: bytes) -> bool:
        """Queue more of an item; a new item means that the one before it is complete. False: over the limit, refused.

        After a refusal the rest of that item is refused too: no jump in its speech.
        """
        if not audio:
            return True
        if self._left + len(audio) > self._limit or item_id == self._refused_item:
            self._refused_item = item_id
            self.refused_octets += len(audio)
            return False
        item = self._find(item_id)
        if item is None:
            if self._items:
                self._complete(self._items[-1])
                self._drop_played()
            item = _Item(item_id)
            self._items.append(item)
        item.chunks.append(audio)
        item.received += len(audio)
        self._left += len(audio)
        return True

    def finish(self, item_id: str) -> None:
        """The item is complete: its odd tail may be padded and played. Unknown items are ignored."""
        item = self._find(item_id)
        if item is not None:
            self._complete(item)
            self._drop_played()

    def finish_all(self) -> None:
        """Every item here is complete: no more audio comes for any of them."""
        for item in self._items:
            self._complete(item)
        self._drop_played()

    def finish_first(self) -> None:
        """No more audio comes: the item at the head is heard to its end, those behind it not at all."""
        while len(self._items) > 1:
            self._left -= self._items.pop().left
        self.finish_all()

    def take(self) -> bytes | None:
        """The frame to send now, or None when there is nothing that may be said yet."""
        items = self._items
        if not self._talking and not self._may_start():
            self.playing = None
            return None
        item = items[0] if items else None
        if item is None or item.received - item.played < self._frame:
            return self._take_tail()
        self.playing = item.item_id
        self._left -= self._frame
        head = item.chunks[0]
        start = item.offset
        end = start + self._frame
        if end < len(head):
            # nearly every frame lies within one chunk
            item.offset = end
            item.played += self._frame
            return head[start:end]
        frame = item.pull(self._frame)
        if item.finished and not item.left:
            self._drop_played()
            self._talking = bool(items)
        return frame

    def flush(self) -> list[Heard]:
        """Empty the queue at once: what was heard of each item in it. Items that were played whole are not listed."""
        heard = [Heard(item.item_id, self._ms(item.played), self._ms(item.received)) for item in self._items]
        for item in self._items:
            self._past_heard[item.item_id] = self._past_heard.get(item.item_id, 0) + item.played
        self._items.clear()
        self._left = 0
        self._talking = False
        self._waited = 0
        self.playing = None
        return heard

    def heard_ms(self, item_id: str) -> float:
        """How much of an item left as frames so far, ms; 0 for an unknown one."""
        octets = self._past_heard.get(item_id, 0)
        item = self._find(item_id)
        return self._ms(octets + (item.played if item is not None else 0))

    def _complete(self, item: _Item) -> None:
        item.finished = True
        odd = item.received % self._sample
        if odd and item.chunks:
            # half a sample would shift every sample after it by an octet: noise for the rest of the call
            item.chunks[-1] = item.chunks[-1][:-odd]
            item.received -= odd
            self._left -= odd

    def _ms(self, octets: int) -> float:
        return octets * 20 / self._frame

    def _find(self, item_id: str) -> _Item | None:
        for item in reversed(self._items):
            if item.item_id == item_id:
                return item
        return None

    def _may_start(self) -> bool:
        if not self._left:
            self._waited = 0
            return False
        self._waited += 1
        if self._left >= self._prebuffer or self._items[0].finished or self._waited > PREBUFFER_PATIENCE:
            self._talking = self._left >= self._frame or self._items[0].finished
            self._waited = 0 if self._talking else self._waited
        return self._talking

    def _take_tail(self) -> bytes | None:
        """A frame that the head item cannot fill alone: the next joins in if it can complete it, else silence does."""
        items = self._items
        if not items or not items[0].finished:
            # an item that has not begun yet is not late, and with no item the agent is simply done
            if items and items[0].played:
                self.underruns += 1
            self._talking = False
            self.playing = None
            return None
        parts: list[bytes] = []
        need = self._frame
        while items and need:
            item = items[0]
            if parts and item.left < need and not item.finished:
                break
            piece = item.pull(need)
            parts.append(piece)
            need -= len(piece)
            self.playing = item.item_id
            if item.left or not item.finished:
                break
            self._drop_played()
        self._left -= self._frame - need
        if need:
            parts.append(self._silence[:need])
        self._talking = bool(items) and not need
        return b"".join(parts)

    def _drop_played(self) -> None:
        """Forget items at the head that were played whole."""
        items = self._items
        while items and items[0].finished and not items[0].left:
            item = items.popleft()
            self._past_heard[item.item_id] = self._past_heard.get(item.item_id, 0) + item.played
