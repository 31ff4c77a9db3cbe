"""The ring buffer between the wire and a machine that listens.

A machine needs no isochronous playout: a packet that arrives in order goes on at once, with no added delay. Only a
gap waits, at most `window_s`, and is then reported once as lost. Silence suppression is filled, so that the samples
that come out lie on the caller's own timeline; a caller of whom nothing has come yet is silent, too.

What comes out of `push`, `comfort_noise`, `skip` and `poll` is a sequence of chunks, in order:

    (AUDIO,   payload, samples)   a packet's payload, untouched
    (LOST,    b"",     samples)   nothing came for these samples: conceal them
    (SILENCE, b"",     samples)   the caller was silent (DTX, comfort noise, or nothing arrives at all)

`samples` are units of the RTP clock, and so are timestamps. Times are seconds of the monotonic clock.

Invariant: whatever was pushed, chunks have positive sample counts, audio leaves in ascending order of sequence
number, and `position` is the sum of all samples that left.
"""

from collections.abc import Sequence
from math import inf
from typing import Final

from .loss_runs import LossRuns

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
"""The first second of every silence is filled at once; a lead over the caller's clock is worked off after it. A lead
that is longer than this when media resumes is the caller's clock having stood still, and is forgotten."""

_UNKNOWN: Final = -(1 << 62)
"""No sequence number: the next packet begins the stream."""
_MEDIA: Final = 0
_NOISE: Final = 1
_OTHER: Final = 2
_Item = tuple[int, int, bool, bytes, int, float, int]
"""sequence, timestamp, marker, payload, samples, arrival, what it is."""


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
        "_highest",
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
        self,
        clock_rate: int = 8000,
        runs: LossRuns | None = None,
        *,
        window_s: float = 0.060,
        idle_fill_s: float = 0.200,
    ) -> None:
        """`runs` is told of every packet delivered or lost, run by run; silence is filled in frames of 20 ms."""
        self._clock_rate = clock_rate
        self._frame = clock_rate // 50
        self._runs = runs
        self._window = window_s
        self._idle_fill = idle_fill_s
        self._held: list[_Item | None] = [None] * _SLOTS
        self._held_count = 0
        self._highest = 0
        self._seen: list[int | None] = [None] * _SLOTS
        self._next = _UNKNOWN
        self._accounted = 0
        self._expected = -1
        """Timestamp that makes the next packet an ordinary one; -1 while something is held or filled."""
        self._timestamp = 0
        """Caller's timestamp at the end of what left, while `_expected` is -1."""
        self._lead = 0
        """Samples that left beyond the caller's clock (fill); negative when less than a frame of silence is owed."""
        self._carried = 0
        self._filled = 0
        self._missing = 0
        self._silent = False
        self._packet_samples = self._frame
        self._arrived = inf
        """When the last packet came or, before the first one, when the caller's time began."""
        self._deadline = inf
        self._due = inf
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
        if not self._held_count:
            self._fill(out, now)
        self._settle()
        return out

    def next_timer(self) -> float:
        """When `poll` may next have something to say; infinity when it waits for a packet."""
        return self._due

    @property
    def silent(self) -> bool:
        """Whether the caller announced silence by comfort noise and said nothing since."""
        return self._silent

    @property
    def packet_s(self) -> float:
        """Seconds of media in a packet, by the last one."""
        return self._packet_samples / self._clock_rate

    def start(self, now: float) -> None:
        """The caller's time begins to run, whether or not anything comes; without effect once it runs."""
        if self._arrived == inf:
            self._arrived = now
            self._settle()

    def release(self) -> Sequence[Chunk]:
        """What is held leaves at once, its gaps as lost; the timeline goes on."""
        if not self._held_count:
            return NOTHING
        out: list[Chunk] = []
        self._release_all(out)
        self._settle()
        return out

    def set_clock_rate(self, clock_rate: int) -> Sequence[Chunk]:
        """Another codec: what is held leaves, and the next packet begins a timeline in the new clock."""
        held = self.resync()
        self._arrived += self._filled / self._clock_rate
        self._carried = self._filled = 0
        self._clock_rate = clock_rate
        self._frame = self._packet_samples = clock_rate // 50
        self._settle()
        return held

    def resync(self) -> Sequence[Chunk]:
        """Begin anew with the next packet, whatever its numbers; what is held leaves first."""
        out: list[Chunk] = []
        self._leave_fast_path()
        self._release_all(out)
        if self._next != _UNKNOWN:
            self.flush_runs()
            self._next = _UNKNOWN
            self.resyncs += 1
        self._missing = 0
        self._settle()
        return out

    def flush_runs(self) -> None:
        """Tell the loss runs of the packets delivered since the last loss. Before they are read."""
        if self._next != _UNKNOWN and self._next > self._accounted:
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
        if self._held_count:
            self._due = self._deadline
        elif self._silent or self._filled:
            self._due = self._arrived + (self._filled + self._frame) / self._clock_rate
        else:
            self._expected = self._timestamp
            self._due = self._arrived + self._idle_fill

    def _arrange(self, item: _Item) -> Sequence[Chunk]:
        sequence, now = item[0], item[5]
        self._leave_fast_path()
        out: list[Chunk] = []
        if self._next == _UNKNOWN:
            self._begin(item)
        elif sequence < self._next:
            self._late(sequence)
            self._settle()
            return NOTHING
        elif sequence - self._next >= _SLOTS:
            self._release_all(out)
        if sequence == self._next or not self._hold(item):
            self.reordered += self._held_count > 0
            self._take(out, item)
            self._drain(out)
        if self._held_count and now >= self._deadline:
            self._close_gaps(out, now)
        self._settle()
        return out

    def _begin(self, item: _Item) -> None:
        self._next = self._accounted = item[0]
        self._seen = [None] * _SLOTS
        self._timestamp = item[1]
        self._lead = self._filled = self._missing = 0
        self._silent = False
        self._arrived = item[5]

    def _late(self, sequence: int) -> None:
        index = sequence & _MASK
        seen = self._seen[index]
        if seen == sequence:
            self.duplicated += 1
            return
        self.discarded += 1
        self.reordered += 1
        if seen is None or seen < sequence:
            self._seen[index] = sequence

    def _hold(self, item: _Item) -> bool:
        """Keep a packet that is ahead of its turn; False when it is too far ahead to wait for what is missing."""
        sequence = item[0]
        if sequence - self._next >= _SLOTS:
            return False
        index = sequence & _MASK
        if self._held[index] is not None:
            self.duplicated += 1
            return True
        if not self._held_count:
            self._deadline = item[5] + self._window
            self._highest = sequence
        elif sequence < self._highest:
            self.reordered += 1
        else:
            self._highest = sequence
        self._held[index] = item
        self._held_count += 1
        return True

    def _close_gaps(self, out: list[Chunk], now: float) -> None:
        while self._held_count and now >= self._deadline:
            self._close_gap(out)

    def _release_all(self, out: list[Chunk]) -> None:
        while self._held_count:
            self._close_gap(out)

    def _close_gap(self, out: list[Chunk]) -> None:
        """Give up what is missing before the first held packet, and let go what follows without a gap."""
        sequence = self._next
        while self._held[sequence & _MASK] is None:
            sequence += 1
        self._let_go(out, sequence)
        self._drain(out)

    def _drain(self, out: list[Chunk]) -> None:
        while self._held_count:
            if self._held[self._next & _MASK] is None:
                self._deadline = min(item[5] for item in self._held if item) + self._window
                return
            self._let_go(out, self._next)

    def _let_go(self, out: list[Chunk], sequence: int) -> None:
        item = self._held[sequence & _MASK]
        if item is not None:
            self._held[sequence & _MASK] = None
            self._held_count -= 1
            self._take(out, item)

    def _take(self, out: list[Chunk], item: _Item) -> None:
        """The next packet of the stream; what lies between the last one and this is lost for good."""
        sequence, timestamp, marker, payload, samples, arrived, what = item
        if sequence != self._next:
            self._give_up(sequence)
        self._next = sequence + 1
        self._seen[sequence & _MASK] = sequence
        if what == _OTHER:
            return
        self._align(out, timestamp, marker, arrived)
        self._arrived = max(self._arrived, arrived)
        self._carried = self._lead
        self._filled = 0
        self._silent = what == _NOISE
        self._timestamp = (timestamp + samples) & 0xFFFFFFFF
        if samples:
            self._packet_samples = samples
            self.position += samples
            out.append((AUDIO, payload, samples))

    def _give_up(self, sequence: int) -> None:
        missing = sequence - self._next
        self.lost += missing
        self._missing += missing
        self.flush_runs()
        if self._runs is not None:
            self._runs.lost(missing)
        self._accounted = sequence

    def _align(self, out: list[Chunk], timestamp: int, marker: bool, arrived: float) -> None:
        """Account for the caller's time between the end of what left and `timestamp`."""
        jump = ((timestamp - self._timestamp + 0x80000000) & 0xFFFFFFFF) - 0x80000000
        missing, self._missing = self._missing * self._packet_samples, 0
        if not jump and not self._lead:
            return
        elapsed = round((arrived - self._arrived) * self._clock_rate)
        slack = int(_CLOCK_SLACK_S * self._clock_rate)
        if not 0 <= jump <= elapsed + slack:
            self.resyncs += 1
            owed = min(missing, elapsed) - self._lead
            self._lead = 0
            self._emit(out, LOST, max(0, owed))
            return
        owed = jump - self._lead
        if owed <= 0:
            stood_still = self._filled and marker and jump <= 2 * self._packet_samples
            self._lead = 0 if stood_still or -owed > _PROMPT_SILENCE_S * self._clock_rate else -owed
            return
        lost = min(owed, missing)
        silence = owed - lost
        whole = silence - silence % self._frame
        self._lead = whole - silence
        self._emit(out, LOST, min(lost, slack))
        self._emit(out, SILENCE, min(whole, slack))

    def _fill(self, out: list[Chunk], now: float) -> None:
        """Silence in real time while nothing comes: at once after comfort noise, else after the idle time."""
        elapsed = now - self._arrived
        if not self._silent and not self._filled and elapsed < self._idle_fill:
            return
        due = round(elapsed * self._clock_rate)
        prompt = int(_PROMPT_SILENCE_S * self._clock_rate)
        if due > prompt and self._carried > 0:
            due = max(prompt, due - self._carried)
        owed = due - self._filled
        whole = owed - owed % self._frame
        if whole > 0:
            self._filled += whole
            self._lead += whole
            slack = int(_CLOCK_SLACK_S * self._clock_rate)
            self.resyncs += whole > slack  # our own process slept: that time is not made up
            self._emit(out, SILENCE, min(whole, slack))

    def _emit(self, out: list[Chunk], kind: int, samples: int) -> None:
        if samples <= 0:
            return
        if kind == LOST:
            self.concealed += samples
        else:
            self.filled += samples
        self.position += samples
        out.append((kind, b"", samples))
