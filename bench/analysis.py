"""From the logs of callers and agent to figures. Everything is judged inside the window, by the kernel's times."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .frames import FRAME, SILENCE
from .rig import Layout, Run, Window

FRAMES_PER_S = 50
THIN_SHOWN = 3
"""Calls of a note: with more, the machine was at fault."""
TAIL_NS = 500_000_000
"""A frame sent this close to the window's end may still be under way."""
LATE_LIMIT_MS = 5.0
BUSY_LIMIT = 90.0
DISTURBED = 5.0
"""% of a core taken by programs that are not ours; more is mentioned."""


@dataclass(slots=True)
class Spread:
    """A distribution, ms."""

    p50: float | None = None
    p99: float | None = None
    max: float | None = None

    @classmethod
    def of(cls, values_ns: NDArray[np.int64]) -> "Spread":
        if not len(values_ns):
            return cls()
        p50, p99 = np.percentile(values_ns, [50, 99]) / 1e6
        return cls(round(float(p50), 3), round(float(p99), 3), round(float(values_ns.max()) / 1e6, 3))


@dataclass(slots=True)
class Result:
    """One row of the table and everything behind it."""

    calls: int
    seconds: float
    answered: int
    setup_p50_ms: float | None
    setup_p95_ms: float | None
    worker_percent: float
    """% of a core, all calls."""
    switch_percent: float
    worker_percent_per_call: float
    switch_percent_per_call: float
    worker_mb_per_call: float
    switch_mb_per_call: float
    gap_ms: Spread
    """Between two of our packets of one call; 20 is right."""
    gaps_over_25ms_percent: float
    packets_per_s_per_call: float
    """Against the clock; 50 is right."""
    sent_lost: int
    """Packets missing from our sequence numbers as the callers received them."""
    caller_frames: int
    caller_frames_lost: int
    """Of the callers' frames, those that the agent never got."""
    caller_frames_again: int
    silent_calls: int
    """Answered, but fewer than nine tenths of the packets came."""
    agent_frames: int
    agent_frames_lost: int
    """Of the agent's frames, those that no caller heard."""
    replies_broken: int
    """Replies that were not heard without a break."""
    up_ms: Spread
    """From the caller's packet to the agent's arrival of the same octets."""
    down_ms: Spread
    """From the first delta of a reply to the packet with its first frame."""
    floor_percent_per_call: float
    floor_ms: Spread
    """There and back through the echo."""
    floor_lost: int
    records: int
    records_lost_packets: int
    """The gateway's own account: lost, discarded, and frames that its clock left out."""
    records_underruns: int
    socket_drops: int
    late_ms: Spread
    """How late the callers themselves sent."""
    agent_late_ms: Spread
    callers_percent: float
    agent_percent: float
    others_on_worker_core_percent: float
    others_on_generator_cores_percent: float
    notes: list[str]


class CallerLog:
    """What the callers logged, cut to the window."""

    def __init__(self, run: Run) -> None:
        with np.load(run.callers_log) as log:
            received = log["received"]
            self.sent_ns: NDArray[np.int64] = log["sent_ns"]
            self.slots: NDArray[np.int64] = log["slots"]
            self.first_frame: NDArray[np.int64] = log["first_frame"]
            self.setup_ms: NDArray[np.float64] = log["setup_ms"] if "setup_ms" in log else np.zeros(0)
            late = log["late_ns"]
        self.whole = received
        window = run.window
        self.late_ns = late[inside(self.sent_ns, window)]
        received = received[inside(received["arrived_ns"], window)]
        self.received = received[np.argsort(received["port"], kind="stable")]

    def gaps(self) -> NDArray[np.int64]:
        """Between consecutive packets of each call, in the order of arrival."""
        same = np.diff(self.received["port"].astype(np.int64)) == 0
        return np.diff(self.received["arrived_ns"])[same]

    def silent(self, seconds: float, answered: int) -> int:
        """Calls of which far too few packets came."""
        _, counts = np.unique(self.received["port"], return_counts=True)
        return answered - int((counts >= 0.9 * FRAMES_PER_S * seconds).sum())

    def lost(self) -> int:
        """Missing sequence numbers between the first and the last packet of each call in the window."""
        missing = 0
        for _, packets in split(self.received, self.received["port"]):
            numbers = np.unwrap(packets["sequence"].astype(np.int64), period=1 << 16)
            missing += int(numbers.max() - numbers.min() + 1 - len(np.unique(numbers)))
        return missing


def inside(times: NDArray[np.int64], window: Window) -> NDArray[np.bool_]:
    return (times >= window.begin_ns) & (times < window.end_ns)


def split(rows: NDArray[np.void], keys: NDArray[np.generic]) -> list[tuple[int, NDArray[np.void]]]:
    """The rows of each key, in their order."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1]))) if len(keys) else []
    pieces = np.split(order, starts[1:]) if len(keys) else []
    return [(int(keys[piece[0]]), rows[piece]) for piece in pieces]


@dataclass(slots=True)
class Upward:
    """Caller to agent."""

    expected: int
    lost: int
    again: int
    latency_ns: NDArray[np.int64]


def upward(run: Run, log: CallerLog) -> Upward:
    if run.agent_log is None:
        return Upward(0, 0, 0, np.zeros(0, np.int64))
    with np.load(run.agent_log) as agent:
        call, frame, arrived = agent["call"], agent["frame"], agent["arrived_ns"]
    known = (call < len(log.slots)) & (frame < log.sent_ns.shape[1])
    call, frame, arrived = call[known], frame[known], arrived[known]
    sent = log.sent_ns[log.slots[call], frame]
    window = run.window
    counted = (sent >= window.begin_ns) & (sent < window.end_ns - TAIL_NS)
    keys = call[counted].astype(np.int64) << 32 | frame[counted]
    got = np.unique(keys)
    expected = 0
    for slot, first in zip(log.slots, log.first_frame, strict=True):
        if first >= 0:
            times = log.sent_ns[slot, first:]
            expected += int(((times >= window.begin_ns) & (times < window.end_ns - TAIL_NS)).sum())
    return Upward(expected, expected - len(got), len(keys) - len(got), arrived[counted] - sent[counted])


@dataclass(slots=True)
class Downward:
    """Agent to caller."""

    expected: int
    lost: int
    broken: int
    latency_ns: NDArray[np.int64]


def downward(run: Run, log: CallerLog, reply_frames: int) -> Downward:
    nothing = Downward(0, 0, 0, np.zeros(0, np.int64))
    if run.agent_log is None:
        return nothing
    with np.load(run.agent_log) as agent:
        spurts = agent["spurts"]
    window = run.window
    heard_ns = reply_frames * 20_000_000 + TAIL_NS
    spurts = spurts[(spurts[:, 2] >= window.begin_ns) & (spurts[:, 2] < window.end_ns - heard_ns)]
    speech = log.whole[log.whole["connection"] != SILENCE]
    keys = speech["connection"].astype(np.int64) << 16 | speech["reply"]
    replies = dict(split(speech, keys))
    lost = broken = 0
    latency: list[int] = []
    for connection, reply, begun in spurts.tolist():
        packets = replies.get(connection << 16 | reply)
        if packets is None:
            lost += reply_frames
            broken += 1
            continue
        numbers = packets["frame"].astype(np.int64)
        lost += reply_frames - len(np.unique(numbers))
        span = int(packets["timestamp"][-1]) - int(packets["timestamp"][0]) & 0xFFFFFFFF
        broken += span != (reply_frames - 1) * FRAME or not np.array_equal(numbers, np.arange(reply_frames))
        if numbers[0] == 0:
            latency.append(int(packets["arrived_ns"][0]) - begun)
    return Downward(len(spurts) * reply_frames, lost, broken, np.array(latency, np.int64))


def echoed(run: Run, log: CallerLog) -> tuple[NDArray[np.int64], int]:
    """Round trips of the floor, and how many packets never came back."""
    call = log.received["connection"].astype(np.int64)
    frame = log.received["reply"].astype(np.int64) << 16 | log.received["frame"]
    sent = log.sent_ns[log.slots[call], frame]
    window = run.window
    counted = (sent >= window.begin_ns) & (sent < window.end_ns - TAIL_NS)
    per_slot = (log.sent_ns >= window.begin_ns) & (log.sent_ns < window.end_ns - TAIL_NS)
    expected = int(per_slot.sum(axis=1)[log.slots].sum())
    return (log.received["arrived_ns"] - sent)[counted], expected - int(counted.sum())


def judge(run: Run, floor: Run, layout: Layout, reply_frames: int) -> Result:
    """All figures of one number of calls."""
    log, floor_log = CallerLog(run), CallerLog(floor)
    window, calls = run.window, run.calls
    up, down = upward(run, log), downward(run, log, reply_frames)
    round_trips, floor_lost = echoed(floor, floor_log)
    gaps = log.gaps()
    worker, switch = window.percent("worker"), window.percent("switch")
    agent_late = np.zeros(0, np.int64)
    if run.agent_log is not None:
        with np.load(run.agent_log) as agent:
            agent_late = agent["late_ns"]
    media = [record["media"] for record in run.records]
    result = Result(
        calls=calls,
        seconds=round(window.seconds, 1),
        answered=run.up["answered"],
        setup_p50_ms=round(float(np.percentile(log.setup_ms, 50)), 1) if len(log.setup_ms) else None,
        setup_p95_ms=round(float(np.percentile(log.setup_ms, 95)), 1) if len(log.setup_ms) else None,
        worker_percent=round(worker, 1),
        switch_percent=round(switch, 1),
        worker_percent_per_call=round(worker / calls, 3),
        switch_percent_per_call=round(switch / calls, 3),
        worker_mb_per_call=round((run.loaded_mb["worker"] - run.idle_mb["worker"]) / calls, 2),
        switch_mb_per_call=round((run.loaded_mb["switch"] - run.idle_mb["switch"]) / calls, 2),
        gap_ms=Spread.of(gaps),
        gaps_over_25ms_percent=round(float((gaps > 25_000_000).mean() * 100), 4) if len(gaps) else 0.0,
        packets_per_s_per_call=round(len(log.received) / window.seconds / max(1, run.up["answered"]), 3),
        sent_lost=log.lost(),
        caller_frames=up.expected,
        caller_frames_lost=up.lost,
        caller_frames_again=up.again,
        silent_calls=log.silent(window.seconds, run.up["answered"]),
        agent_frames=down.expected,
        agent_frames_lost=down.lost,
        replies_broken=down.broken,
        up_ms=Spread.of(up.latency_ns),
        down_ms=Spread.of(down.latency_ns),
        floor_percent_per_call=round(floor.window.percent("echo") / calls, 3),
        floor_ms=Spread.of(round_trips),
        floor_lost=floor_lost,
        records=len(run.records),
        records_lost_packets=sum(one["received"]["lost"] + one["received"]["discarded"] for one in media),
        records_underruns=sum(one["sent"]["underruns"] for one in media),
        socket_drops=window.drops,
        late_ms=Spread.of(log.late_ns),
        agent_late_ms=Spread.of(agent_late),
        callers_percent=round(window.percent("callers"), 1),
        agent_percent=round(window.percent("agent"), 1),
        others_on_worker_core_percent=max(0.0, round(window.core_percent(layout.worker) - worker, 1)),
        others_on_generator_cores_percent=0.0,
        notes=[],
    )
    ours = switch + result.callers_percent + result.agent_percent
    busy = [window.core_percent(core) for core in layout.others]
    result.others_on_generator_cores_percent = max(0.0, round(sum(busy) - ours, 1))
    result.notes = _notes(run, result, max(busy))
    return result


def _thin(run: Run) -> str:
    """Records of calls that sent or received far too few packets: whose fault a silent call is."""
    thin: list[str] = []
    for record in run.records:
        received, sent = (record["media"][way]["packets"] for way in ("received", "sent"))
        expected = 0.9 * FRAMES_PER_S * (record["duration_s"] or 0.0)
        if min(received, sent) < expected:
            end = f"{record['duration_s']} s, ended by {record['ended_by']}: {record['end_reason']}"
            thin.append(f"{record['id']} from {record['from']}: received {received}, sent {sent}, {end}")
    more = f"; and {len(thin) - THIN_SHOWN} more" if len(thin) > THIN_SHOWN else ""
    return "; ".join(thin[:THIN_SHOWN]) + more if thin else "none, each has its packets in both directions"


def _notes(run: Run, result: Result, busiest: float) -> list[str]:
    """What a reader must know before believing the row."""
    notes: list[str] = []
    late = result.late_ms.p99 or 0.0
    if busiest > BUSY_LIMIT or late > LATE_LIMIT_MS:
        notes.append(
            f"the load generator was the limit: its core was {busiest:.0f} % busy and it sent {late:.1f} ms late (p99)"
        )
    if result.silent_calls:
        notes.append(f"{result.silent_calls} answered calls were (nearly) silent; by their records: {_thin(run)}")
    if run.window.generator_drops:
        notes.append(f"the load generator itself dropped {run.window.generator_drops} packets: losses are not all ours")
    if result.others_on_worker_core_percent > DISTURBED:
        notes.append(f"other programs took {result.others_on_worker_core_percent:.0f} % of the worker's core")
    if result.others_on_generator_cores_percent > DISTURBED:
        notes.append(f"other programs took {result.others_on_generator_cores_percent:.0f} % of the generator's core")
    if result.answered < result.calls:
        notes.append(f"{result.calls - result.answered} calls were not answered: {run.up['refused']}")
    if run.callers.get("ended_by_gateway"):
        notes.append(f"the gateway ended {run.callers['ended_by_gateway']} calls")
    if result.records != result.calls:
        notes.append(f"{result.records} records for {result.calls} calls")
    if run.agent.get("wrong"):
        notes.append(f"{run.agent['wrong']} of {run.agent['checked']} frames reached the agent with other octets")
    if run.agent.get("filled"):
        notes.append(
            f"{run.agent['filled']} of {run.agent['checked']} frames were silence by the gateway: callers came too late"
        )
    if run.agent.get("stalled"):
        notes.append(f"the agent could not write {run.agent['stalled']} times")
    return notes
