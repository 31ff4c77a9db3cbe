"""Counters over sliding windows, of bounded memory: each window is 30 buckets, coarser the longer it is."""

from collections import deque
from collections.abc import Collection, Iterable
from math import floor

from .rules import Subject

BUCKETS = 30
"""What is counted leaves a window after its span, or up to a thirtieth of it sooner."""


class Window:
    """Sums of several counters over the last `span_s` seconds."""

    __slots__ = ("_newest", "_rows", "_width", "sums")

    def __init__(self, span_s: float, fields: int) -> None:
        self.sums = [0] * fields
        """As of the last `advance` or `add`."""
        self._width = span_s / BUCKETS
        self._rows = [[0] * fields for _ in range(BUCKETS)]
        self._newest: int | None = None

    def advance(self, now: float) -> None:
        """Let go of what is too old. A `now` before the last one changes nothing."""
        bucket = floor(now / self._width)
        if self._newest is None:
            self._newest = bucket
        for step in range(1, min(bucket - self._newest, BUCKETS) + 1):
            row = self._rows[(self._newest + step) % BUCKETS]
            for field, count in enumerate(row):
                self.sums[field] -= count
                row[field] = 0
        self._newest = max(self._newest, bucket)

    def add(self, field: int, now: float, amount: int = 1) -> None:
        """Count something that happened now."""
        self.advance(now)
        self._rows[(self._newest or 0) % BUCKETS][field] += amount
        self.sums[field] += amount


class Tallies:
    """The same counters for each of several subjects, over the same spans."""

    def __init__(self, spans_s: Iterable[float], fields: int) -> None:
        self._fields = fields
        self._spans = set(spans_s)
        self._windows: dict[Subject, dict[float, Window]] = {}

    def use(self, spans_s: Iterable[float]) -> None:
        """Other spans from now on; windows whose span stays keep their counts."""
        self._spans = set(spans_s)
        for subject, windows in self._windows.items():
            self._windows[subject] = {span: windows.get(span) or Window(span, self._fields) for span in self._spans}

    def keep(self, known: Collection[Subject]) -> None:
        """Forget every other subject."""
        self._windows = {subject: windows for subject, windows in self._windows.items() if subject in known}

    @property
    def subjects(self) -> list[Subject]:
        """Of whom anything was counted, lately or long ago."""
        return list(self._windows)

    def add(self, subject: Subject, field: int, now: float, amount: int = 1) -> None:
        """Count something in every window of the subject."""
        windows = self._windows.get(subject)
        if windows is None:
            windows = self._windows[subject] = {span: Window(span, self._fields) for span in self._spans}
        for window in windows.values():
            window.add(field, now, amount)

    def sums(self, subject: Subject, span_s: float, now: float) -> list[int]:
        """What the subject's window of this span holds now; not to be changed."""
        window = self._windows.get(subject, {}).get(span_s)
        if window is None:
            return [0] * self._fields
        window.advance(now)
        return window.sums


RUN_S = 86400.0
"""What went wrong longer ago is no part of a run."""
RUN_MOST = 100
"""Longer runs are not told apart."""


class Runs:
    """How often in a row something went wrong, for each of several subjects: all that a few calls can say."""

    def __init__(self) -> None:
        self._times: dict[Subject, deque[float]] = {}

    def keep(self, known: Collection[Subject]) -> None:
        """Forget every other subject."""
        self._times = {subject: times for subject, times in self._times.items() if subject in known}

    def bad(self, subject: Subject, now: float) -> None:
        """Once more."""
        self._times.setdefault(subject, deque(maxlen=RUN_MOST)).append(now)

    def good(self, subject: Subject) -> None:
        """It went well: the run is over."""
        self._times.pop(subject, None)

    def length(self, subject: Subject, now: float) -> int:
        """So often, lately and in a row."""
        return sum(now - at < RUN_S for at in self._times.get(subject, ()))
