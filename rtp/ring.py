"""The ring buffer between the wire and a machine that listens.

A machine needs no isochronous playout: a packet that arrives in order goes on at once, with no added delay. Only a
gap waits, at most `window_s`, and is then reported once as lost. Silence suppression is filled, so that the samples
that come out lie on the caller's own timeline.

What comes out of `push`, `comfort_noise`, `skip` and `poll` is a sequence of chunks, in order:

    (AUDIO,   payload, samples)   a packet's payload, untouched
    (LOST,    b"",     samples)   nothing came for these samples: conceal them
    (SILENCE, b"",     samples)   the caller was silent (DTX, comfort noise, or nothing arrives at all)

`samples` are units of the RTP clock, and so are timestamps. Times are seconds of the monotonic clock.

Invariant: whatever was pushed, chunks have positive sample counts, audio leaves in ascending order of sequence number, and
`position` is the sum of all samples that left.
"""

from collections.abc import Sequence
from typing import Final

from .sequence import extend_timestamp

AUDIO: Final = 0
LOST: Final = 1
SILENCE: Final = 2

Chunk = tuple[int, bytes, int]
NOTHING: Final[Sequence[Chunk]] = ()

_SLOTS: Final = 128
"""Power of two; at 10 ms a packet more than a second, twenty times the reorder window."""
_MASK: Final = _SLOTS - 1
_CLOCK_SLACK_S: Final = 3.0
"""How far a timestamp may run ahead of real time before its clock is taken to have jumped."""
_PROMPT_SILENCE_S: Final = 1.0
"""The first second of every silence is filled at once; a lead over the caller's clock is worked off after it."""


class FrameRing:
    """One direction of one call's media, put in order; sans-IO (times are `now` parameters)."""

    __slots__ = (
        "_accounted",
        "_arrived",
        "_carried",
        "_clock_rate",
        "_deadline",
        "_due",
        "_expected",
        "_filled",
        "_frame",
        "_held",
        "_held_count",
        "_idle_fill",
        "_lead",
        "_missing",
        "_next",
        "_packet_samples",
        "_runs",
        "_seen",
        "_silent",
        "_timestamp",
        "_window",
        "concealed",
        "discarded",
        "duplicated",
        "filled",
        "lost",
        "position",
        "reordered",
        "resyncs",
    )

    def __init__(
        self, clock_rate: int = 8000, runs: LossRuns | None = None, *, window_s: float = 0.060, idle_fill_s: float = 0.200
    ) -> None:
        """`runs` is told of every packet delivered or lost, run by run; silence is filled in frames of 20 ms."""
        self._clock_rate = clock_rate
        self._frame = clock_rate // 50
        self._runs = runs
        self._window = window_s
        self._idle_fill = idle_fill_s
        self._held: list[_Item | None] = [None] * _SLOTS
        self._held_count = 0
        self._seen: list[int | None] = [None] * _SLOTS
        self._next: int | None = None
        self._accounted = 0
        self._expected = -1
        """Timestamp that makes the next packet an ordinary one; -1 while something is held, filled or unknown."""
        self._timestamp = 0
        """Caller's timestamp at the end of what left, while `_expected` is -1."""
        self._lead = 0
        """Samples that left beyond the caller's clock (fill); negative when less than a frame of silence is owed."""
        self._carried = 0
        self._filled = 0
        self._missing = 0
        self._silent = False
        self._packet_samples = self._frame
        self._arrived = 0.0
        self._deadline = _NEVER
        self._due = _NEVER
        self.position = 0
        """Sum of all samples that left."""
        self.lost = 0
        """Packets given up after the reorder window."""
        self.concealed = 0
        """Samples that left as LOST."""
        self.filled = 0
        """Samples that left as SILENCE."""
        self.discarded = 0
        """Packets that came after their place was given up."""
        self.duplicated = 0
        self.reordered = 0
        self.resyncs = 0
        """How often the timeline was begun anew: new source, restarted numbering, timestamp that jumped."""

    def push(
        self, sequence: int, timestamp: int, marker: bool, payload: bytes, samples: int, now: float
    ) -> Sequence[Chunk]:
        """One media packet: extended sequence number, 32-bit timestamp, and how many samples its payload holds."""
        if timestamp == self._expected and sequence == self._next:
            self._seen[sequence & _MASK] = sequence
            self._next = sequence + 1
            self._expected = (timestamp + samples) & 0xFFFFFFFF
            self._packet_samples = samples
            self._arrived = now
            self.position += samples
            return ((AUDIO, payload, samples),)
        return self._arrange((sequence, timestamp, marker, payload, samples, now, _MEDIA))

    def comfort_noise(self, sequence: int, timestamp: int, now: float) -> Sequence[Chunk]:
        """A comfort noise packet (RFC 3389): the caller is silent from `timestamp` on."""
        return self._arrange((sequence, timestamp, False, b"", 0, now, _NOISE))

    def skip(self, sequence: int, now: float) -> Sequence[Chunk]:
        """A packet that shares the numbering but carries no media of this timeline (RFC 4733 events)."""
        if sequence == self._next and not self._held_count:
            self._seen[sequence & _MASK] = sequence
            self._next = sequence + 1
            return NOTHING
        return self._arrange((sequence, 0, False, b"", 0, now, _OTHER))

    def poll(self, now: float) -> Sequence[Chunk]:
        """Close a gap whose window is over, or fill silence up to `now`. To be called every frame."""
        if now < self._due:
            return NOTHING
        out: list[Chunk] = []
        self._leave_fast_path()
        if self._held_count:
            self._close_gaps(out, now)
        if not self._held_count and self._next is not None:
            self._fill(out, now)
        self._settle()
        return out

    def next_timer(self) -> float:
        """When `poll` may next have something to say; infinity when it waits for a packet."""
        return self._due

    def resync(self, now: float) -> Sequence[Chunk]:
        """Begin anew with the next packet, whatever its numbers; what is held leaves first."""
        out: list[Chunk] = []
        self._leave_fast_path()
        self._release_all(out, now)
        if self._next is not None:
            self.flush_runs()
            self._next = None
            self.resyncs += 1
        self._missing = 0
        return out

    def flush_runs(self) -> None:
        """Tell the loss runs of the packets delivered since the last loss. Before they are read."""
        if self._next is not None and self._next > self._accounted:
            if self._runs is not None:
                self._runs.received(self._next - self._accounted)
            self._accounted = self._next

    # Everything below is off the fast path.

    def _leave_fast_path(self) -> None:
        if self._expected >= 0:
            self._timestamp = self._expected
            self._expected = -1

    def _settle(self) -> None:
        """Go back to the fast path when nothing is held and no silence is being filled; arm the timer."""
        if self._next is None:
            self._due = _NEVER
        elif self._held_count:
            self._due = self._deadline
        elif self._silent or self._filled:
            self._due = self._arrived + (self._filled + self._frame) / self._clock_rate
        else:
            self._expected = self._timestamp
            self._due = self._arrived + self._idle_fill

    def _arrange(self, item: "_Item") -> Sequence[Chunk]:
        sequence, now = item[0], item[5]
        self._leave_fast_path()
        out: list[Chunk] = []
        if self._next is None:
            self._begin(item)
        elif sequence < self._next:
            self._late(sequence)
            self._settle()
            return NOTHING
        elif sequence - self._next >= _SLOTS:
            self._release_all(out, now)
        if sequence == self._next or sequence - self._next_sequence() >= _SLOTS:
            self._take(out, item)
            self._drain(out)
        else:
            self._hold(item)
        if self._held_count and now >= self._deadline:
            self._close_gaps(out, now)
        self._settle()
        return out
