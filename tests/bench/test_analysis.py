"""The benchmark sees what is wrong with a stream, and nothing where nothing is."""

from pathlib import Path

import numpy as np
import pytest

from bench.analysis import CallerLog, downward, upward
from bench.callers import RECEIVED
from bench.frames import SILENCE
from bench.proc import Usage
from bench.rig import Run, Window

MS = 1_000_000
PACKETS = 200
REPLY = 20


def run_of(path: Path, received: np.ndarray, arrived: list[int] | None = None) -> Run:
    """A run of one call: 200 periods, the window over all but the first and last ten."""
    sent = np.arange(PACKETS, dtype=np.int64)[None, :] * 20 * MS
    np.savez(
        path / "callers.npz",
        received=received,
        sent_ns=sent,
        late_ns=np.zeros_like(sent),
        first_frame=np.array([0]),
        slots=np.array([0]),
        setup_ms=np.array([5.0]),
    )
    frames = np.array(arrived if arrived is not None else range(PACKETS), np.int64)
    np.savez(
        path / "agent.npz",
        arrived_ns=frames * 20 * MS + MS,
        connection=np.zeros(len(frames), np.int64),
        call=np.zeros(len(frames), np.int64),
        frame=frames,
        spurts=np.array([[0, 0, 1000 * MS]], np.int64),
        late_ns=np.zeros(1, np.int64),
    )
    usage = Usage({}, [])
    window = Window(200 * MS, 3800 * MS, usage, usage)
    return Run(1, window, {}, {"answered": 1}, path / "callers.npz", {}, path / "agent.npz")


def stream() -> np.ndarray:
    """A packet each 20 ms; a reply of REPLY frames begins with packet 51."""
    packets = np.zeros(PACKETS, RECEIVED)
    packets["arrived_ns"] = np.arange(PACKETS) * 20 * MS
    packets["port"] = 40000
    packets["sequence"] = np.arange(PACKETS) + 65500
    packets["timestamp"] = np.arange(PACKETS) * 160
    packets["connection"] = SILENCE
    packets["connection"][51 : 51 + REPLY] = 0
    packets["frame"][51 : 51 + REPLY] = np.arange(REPLY)
    return packets


def test_a_whole_stream_across_a_wrap(tmp_path: Path):
    run = run_of(tmp_path, stream())
    log = CallerLog(run)
    assert log.lost() == 0
    assert set(log.gaps()) == {20 * MS}
    assert log.silent(run.window.seconds, 1) == 0
    up = upward(run, log)
    assert (up.lost, up.again, set(up.latency_ns)) == (0, 0, {MS})
    down = downward(run, log, REPLY)
    assert (down.lost, down.broken, down.latency_ns.tolist()) == (0, 0, [20 * MS])


def test_a_missing_packet_is_lost_and_breaks_the_reply(tmp_path: Path):
    run = run_of(tmp_path, np.delete(stream(), 60))
    log = CallerLog(run)
    assert log.lost() == 1
    assert log.gaps().max() == 40 * MS
    down = downward(run, log, REPLY)
    assert (down.lost, down.broken) == (1, 1)


def test_silence_in_the_middle_of_a_reply_breaks_it_without_loss(tmp_path: Path):
    packets = stream()
    packets["frame"][62 : 52 + REPLY] = np.arange(10, REPLY)
    packets["connection"][51 + REPLY] = 0
    packets["connection"][61] = SILENCE
    run = run_of(tmp_path, packets)
    down = downward(run, CallerLog(run), REPLY)
    assert (down.lost, down.broken) == (0, 1)


@pytest.mark.parametrize(
    ("arrived", "lost", "again"), [([*range(50), *range(51, 200)], 1, 0), ([*range(200), 60], 0, 1)]
)
def test_the_callers_frames_are_counted_by_their_numbers(tmp_path: Path, arrived: list[int], lost: int, again: int):
    run = run_of(tmp_path, stream(), arrived)
    up = upward(run, CallerLog(run))
    assert (up.lost, up.again) == (lost, again)


def test_a_call_of_which_little_comes_is_silent(tmp_path: Path):
    run = run_of(tmp_path, stream()[:100])
    assert CallerLog(run).silent(run.window.seconds, 1) == 1
