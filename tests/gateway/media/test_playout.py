"""The playout queue: whole frames, every octet with its owner, and what was heard when it is flushed."""

from hypothesis import given
from hypothesis import strategies as st

from trunkline.gateway.bridges.base import Heard
from trunkline.gateway.media.playout import PREBUFFER_PATIENCE, PlayoutQueue

FRAME = 160
SILENCE = b"\xff" * FRAME


def queue(**options) -> PlayoutQueue:
    return PlayoutQueue(FRAME, SILENCE, **options)


def audio(octets: int, seed: int = 0) -> bytes:
    return bytes((seed + i) % 251 for i in range(octets))


def drain(q: PlayoutQueue) -> list[bytes]:
    frames = []
    while (frame := q.take()) is not None:
        frames.append(frame)
    return frames


def test_odd_chunks_leave_as_whole_frames_in_order():
    q = queue()
    whole = audio(1000)
    for start in range(0, 1000, 77):
        q.append("a", whole[start : start + 77])
    q.finish("a")
    frames = drain(q)
    assert [len(frame) for frame in frames] == [FRAME] * 7
    assert b"".join(frames) == whole + SILENCE[: 7 * FRAME - 1000]


def test_spurt_waits_for_its_prebuffer():
    q = queue(prebuffer_frames=2)
    q.append("a", audio(FRAME))
    assert q.take() is None
    q.append("a", audio(FRAME))
    assert q.take() == audio(FRAME)


def test_a_short_finished_item_does_not_wait_for_the_prebuffer():
    q = queue(prebuffer_frames=2)
    q.append("a", audio(40))
    q.finish("a")
    assert q.take() == audio(40) + SILENCE[40:]
    assert q.underruns == 0


def test_prebuffer_has_an_end_when_the_service_sends_no_more():
    q = queue(prebuffer_frames=3)
    q.append("a", audio(FRAME))
    waits = 0
    while q.take() is None:
        waits += 1
    assert waits == PREBUFFER_PATIENCE


def test_tail_of_an_unfinished_item_waits_and_counts_one_underrun():
    q = queue(prebuffer_frames=1)
    q.append("a", audio(FRAME + 50))
    assert q.take() == audio(FRAME)
    assert q.take() is None
    assert q.take() is None
    assert q.underruns == 1
    q.append("a", audio(110, seed=7))
    assert q.take() == audio(FRAME + 50)[FRAME:] + audio(110, seed=7)


def test_an_agent_that_is_done_makes_no_underrun():
    q = queue()
    q.append("a", audio(2 * FRAME))
    q.finish("a")
    assert len(drain(q)) == 2
    assert q.take() is None
    assert q.underruns == 0
    assert q.idle


def test_finish_after_the_last_octet_left_is_no_underrun_later():
    q = queue(prebuffer_frames=1)
    q.append("a", audio(FRAME))
    assert q.take() is not None
    q.finish("a")
    assert q.take() is None
    assert q.underruns == 0


def test_padding_is_not_heard():
    q = queue()
    q.append("a", audio(FRAME + 8))
    q.finish("a")
    assert len(drain(q)) == 2
    assert q.heard_ms("a") == 21.0


def test_next_item_joins_in_the_same_frame():
    q = queue()
    q.append("a", audio(200))
    q.append("b", audio(400, seed=9))
    q.finish("b")
    frames = drain(q)
    assert b"".join(frames) == audio(200) + audio(400, seed=9) + SILENCE[: 4 * FRAME - 600]
    assert (q.heard_ms("a"), q.heard_ms("b")) == (25.0, 50.0)


def test_next_item_that_cannot_complete_the_frame_yet_waits_for_its_own_spurt():
    q = queue(prebuffer_frames=1)
    q.append("a", audio(200))
    q.append("b", audio(50, seed=3))
    assert q.take() == audio(FRAME)
    assert q.take() == audio(200)[FRAME:] + SILENCE[40:]
    assert q.take() is None
    assert q.underruns == 0
    q.append("b", audio(FRAME, seed=5))
    assert q.take() == audio(50, seed=3) + audio(110, seed=5)


def test_flush_tells_the_exact_milliseconds_of_each_item():
    q = queue()
    q.append("a", audio(3 * FRAME))
    q.append("b", audio(1234))
    q.append("c", audio(777))
    for _ in range(5):
        assert q.take() is not None
    assert q.flush() == [Heard("b", 40.0, 1234 / 8), Heard("c", 0.0, 777 / 8)]
    assert q.take() is None
    assert q.queued_ms == 0
    assert (q.heard_ms("a"), q.heard_ms("b"), q.heard_ms("c")) == (60.0, 40.0, 0.0)


def test_flush_in_a_joined_frame_counts_both_items():
    q = queue()
    q.append("a", audio(FRAME + 24))
    q.append("b", audio(10 * FRAME))
    q.take()
    q.take()
    assert q.flush() == [Heard("b", (FRAME - 24) / 8, 200.0)]
    assert q.heard_ms("a") == 23.0


def test_a_finished_response_that_is_still_queued_is_in_the_list():
    q = queue()
    q.append("a", audio(100 * FRAME))
    q.finish("a")
    q.take()
    assert q.flush() == [Heard("a", 20.0, 2000.0)]


def test_an_item_that_was_played_whole_is_not_in_the_list():
    q = queue()
    q.append("a", audio(2 * FRAME))
    q.finish("a")
    drain(q)
    assert q.flush() == []


def test_an_unfinished_item_that_ran_dry_was_heard_as_far_as_it_came():
    q = queue(prebuffer_frames=1)
    q.append("a", audio(FRAME))
    q.take()
    assert q.flush() == [Heard("a", 20.0, 20.0)]


def test_flush_of_nothing():
    assert queue().flush() == []


def test_over_the_limit_is_refused_and_counted_and_stays_refused_for_the_item():
    q = queue(limit_ms=100)
    assert q.append("a", audio(5 * FRAME))
    assert not q.append("a", audio(1))
    assert q.take() is not None
    assert not q.append("a", audio(1))
    assert q.refused_octets == 2
    assert q.append("b", audio(FRAME))
    q.finish_all()
    assert q.flush()[0] == Heard("a", 20.0, 100.0)


def test_limit_holds_two_minutes():
    q = queue()
    for _ in range(120):
        assert q.append("a", bytes(8000))
    assert q.queued_ms == 120_000


def test_chunks_are_not_copied_when_queued():
    q = queue()
    chunk = audio(FRAME * 4)
    q.append("a", chunk)
    assert q._items[0].chunks[0] is chunk


def test_half_a_sample_does_not_shift_what_follows():
    q = PlayoutQueue(960, bytes(960), 2)
    q.append("a", b"\x01\x00" * 480 + b"\x01")
    q.finish("a")
    q.append("b", b"\x02\x00" * 960)
    q.finish("b")
    assert b"".join(drain(q)) == b"\x01\x00" * 480 + b"\x02\x00" * 960


def test_playing_names_the_item_that_is_heard():
    q = queue(prebuffer_frames=1)
    q.append("a", audio(FRAME))
    q.append("b", audio(FRAME))
    q.finish_all()
    assert q.playing is None
    q.take()
    assert q.playing == "a"
    q.take()
    assert q.playing == "b"
    q.take()
    assert q.playing is None


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.sampled_from("abc"), st.integers(0, 700)),
        st.tuples(st.just("finish"), st.sampled_from("abc")),
        st.tuples(st.just("take")),
        st.tuples(st.just("flush")),
    ),
    max_size=80,
)


@given(STEPS)
def test_octets_are_neither_lost_nor_invented_and_heard_never_exceeds_received(steps):
    q = queue(prebuffer_frames=2)
    appended = heard = dropped = 0
    for step in steps:
        if step[0] == "append":
            q.append(step[1], b"\x01" * step[2])
            appended += step[2]
        elif step[0] == "finish":
            q.finish(step[1])
        elif step[0] == "take":
            frame = q.take()
            assert frame is None or len(frame) == FRAME
            heard += frame.count(1) if frame is not None else 0
        else:
            waiting = q.queued_ms * 8
            cut = q.flush()
            assert all(0 <= item.heard_ms <= item.received_ms for item in cut)
            dropped += waiting
        assert appended == heard + dropped + q.queued_ms * 8
    assert sum(q.heard_ms(item) for item in "abc") * 8 == heard


def test_an_item_that_was_played_whole_does_not_start_the_next_one_early():
    q = queue(prebuffer_frames=2)
    q.append("a", audio(2 * FRAME))
    assert len(drain(q)) == 2
    q.append("b", audio(FRAME // 2))
    assert drain(q) == []
    assert q.flush() == [Heard("b", 0.0, 10.0)]


def test_finish_first_leaves_the_item_at_the_head_alone():
    q = queue()
    q.append("a", audio(5 * FRAME))
    q.take()
    q.append("b", audio(5 * FRAME))
    q.append("c", audio(5 * FRAME))
    q.finish_first()
    assert b"".join(drain(q)) == audio(5 * FRAME)[FRAME:]
    assert q.idle
    assert [q.heard_ms(item) for item in "abc"] == [100.0, 0.0, 0.0]
