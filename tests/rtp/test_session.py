"""One call's RTP session, driven by hand: packets in, chunks and events out, exact times."""

import random
import struct
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.rtp import rtcp
from trunkline.rtp.errors import LocalError
from trunkline.rtp.events import (
    ByeReceived,
    KeyPressed,
    KeyReleased,
    ReceiveAlive,
    ReceiveDead,
    ReportReceived,
    SourceLocked,
    StreamChanged,
)
from trunkline.rtp.ring import AUDIO, LOST, SILENCE
from trunkline.rtp.rtcp import ReportBlock, SenderReport
from trunkline.rtp.session import MediaFormat, RtpSession

FAR = ("8.8.8.8", 4000)
PCMU = MediaFormat(send_type=0, receive_type=0, event_send_type=101, event_receive_type=96)


def octets(sequence: int, timestamp: int | None = None, ssrc: int = 7, kind: int = 0, payload: bytes = b"\x55" * 160):
    stamp = sequence * 160 if timestamp is None else timestamp
    return struct.pack("!BBHII", 0x80, kind, sequence & 0xFFFF, stamp & 0xFFFFFFFF, ssrc) + payload


def session(now: float = 0.0, media: MediaFormat = PCMU, remote=FAR) -> RtpSession:
    made = RtpSession(random.Random(5), "cname", media, now)
    made.set_remote(*remote, now=now)
    made.set_direction(sending=True, receiving=True, now=now)
    return made


def events(of: RtpSession) -> list:
    found = []
    while (event := of.next_event()) is not None:
        found.append(event)
    return found


def sizes(chunks) -> list[tuple[int, int]]:
    return [(kind, samples) for kind, _, samples in chunks]


def talk(to: RtpSession, sequences, start: float = 0.0, source=FAR, **fields) -> float:
    now = start
    for sequence in sequences:
        to.receive(octets(sequence, **fields), source, now)
        to.poll(now)
        now += 0.02
    return now


# receive


def test_payload_reaches_the_listener_bit_exact():
    call = session()
    payload = bytes(range(160))
    assert call.receive(octets(1, payload=payload), FAR, 0.0) == [(AUDIO, payload, 160)]
    assert call.receive(octets(2, payload=payload), FAR, 0.02) == ((AUDIO, payload, 160),)
    assert events(call) == [SourceLocked(FAR, 7, None)]


@pytest.mark.parametrize("first", [65530, 65535, 0])
def test_sequence_and_timestamp_wrap_within_a_call(first: int):
    call = session()
    out = [call.receive(octets(first + n, 0xFFFFFE00 + 160 * n), FAR, n * 0.02) for n in range(20)]
    assert [sizes(chunks) for chunks in out] == [[(AUDIO, 160)]] * 20
    report = call.report()
    assert (report.expected, report.packets, report.lost) == (20, 20, 0)


def test_padding_extension_and_csrc_are_taken_off():
    call = session()
    plain = octets(1, payload=b"")
    data = b"\xb1" + plain[1:] + bytes(4) + bytes.fromhex("bede 0001 10aa0000") + b"voice" + b"\x00\x00\x03"
    assert [payload for _, payload, _ in call.receive(data, FAR, 0.0)] == [b"voice"]


def test_unknown_payload_type_is_counted_and_takes_its_number():
    call = session()
    talk(call, [1])
    assert call.receive(octets(2, kind=8), FAR, 0.02) == ()
    assert sizes(call.receive(octets(3, timestamp=320), FAR, 0.04)) == [(AUDIO, 160)]
    assert call.report().rejected == {"unknown_type": 1}


def test_payload_that_cannot_be_measured_is_dropped():
    call = session(media=MediaFormat(111, 111, 48000, samples=lambda payload: 0))
    assert not call.receive(octets(1, kind=111), FAR, 0.0)
    assert call.report().rejected == {"empty": 1}


def test_empty_payload_is_dropped():
    call = session()
    assert not call.receive(octets(1, payload=b""), FAR, 0.0)


def test_comfort_noise_marks_silence():
    call = session()
    talk(call, [1])
    call.receive(octets(2, kind=13, payload=b"\x40"), FAR, 0.02)
    assert sizes(call.poll(0.04)) == [(SILENCE, 160)]


def test_loss_is_concealed_after_the_window_and_reported():
    call = session()
    talk(call, [1, 2])
    assert not call.receive(octets(4), FAR, 0.06)
    assert call.poll(0.10) == ()
    assert sizes(call.poll(0.12)) == [(LOST, 160), (AUDIO, 160)]
    report = call.report()
    assert (report.expected, report.packets, report.lost, report.concealed, report.loss_runs) == (4, 3, 1, 1, 1)


def test_late_packet_is_discarded_not_lost():
    call = session()
    talk(call, [1, 3])
    call.poll(0.2)
    call.receive(octets(2), FAR, 0.21)
    report = call.report()
    assert (report.lost, report.discarded, report.concealed, report.reordered) == (0, 1, 1, 1)


def test_figures_are_none_until_measured():
    report = session().report()
    assert (report.jitter_ms, report.jitter_max_ms, report.delay_p99_ms, report.burst_r) == (None, None, None, None)


def test_new_ssrc_loses_nothing_and_resynchronises():
    call = session()
    now = talk(call, range(1, 11))
    assert call.receive(octets(9000, 5, ssrc=8), FAR, now) == ()
    assert sizes(call.receive(octets(9001, 165, ssrc=8), FAR, now + 0.02)) == [(AUDIO, 160), (AUDIO, 160)]
    assert sizes(call.receive(octets(9002, 325, ssrc=8), FAR, now + 0.04)) == [(AUDIO, 160)]
    assert StreamChanged(8, "new SSRC") in events(call)
    report = call.report()
    assert (report.packets, report.expected, report.lost) == (13, 13, 0)


def test_one_stray_packet_of_another_ssrc_is_ignored():
    call = session()
    now = talk(call, [1, 2, 3])
    call.receive(octets(9000, ssrc=8), FAR, now)
    assert sizes(call.receive(octets(4), FAR, now + 0.01)) == [(AUDIO, 160)]
    call.receive(octets(9001, ssrc=8), FAR, now + 0.02)
    assert sizes(call.receive(octets(5), FAR, now + 0.03)) == [(AUDIO, 160)]
    assert not [event for event in events(call) if isinstance(event, StreamChanged)]


def test_numbering_that_restarts_under_the_same_ssrc():
    call = session()
    now = talk(call, range(1, 11))
    assert call.receive(octets(40000, 99), FAR, now) == ()
    assert sizes(call.receive(octets(40001, 259), FAR, now + 0.02)) == [(AUDIO, 160)]
    assert StreamChanged(7, "sequence restarted") in events(call)
    assert call.report().rejected == {"out_of_range": 1}


def test_timestamp_restart_keeps_the_audio_going():
    call = session()
    now = talk(call, range(1, 11))
    assert sizes(call.receive(octets(11, timestamp=1 << 31), FAR, now)) == [(AUDIO, 160)]
    assert sizes(call.receive(octets(12, timestamp=(1 << 31) + 160), FAR, now + 0.02)) == [(AUDIO, 160)]


def test_port_change_in_mid_call_is_followed():
    call = session()
    now = talk(call, range(1, 11)) + 0.4
    moved = (FAR[0], 4444)
    assert call.receive(octets(31), moved, now) == ()
    chunks = call.receive(octets(32), moved, now + 0.02)
    assert AUDIO not in [kind for kind, _ in sizes(chunks)] or sizes(chunks)[-1] == (AUDIO, 160)
    out = list(chunks) + list(call.poll(now + 0.1)) + list(call.receive(octets(33), moved, now + 0.11))
    assert sizes(out)[-3:] == [(AUDIO, 160)] * 3
    assert call.destination == moved
    assert SourceLocked(moved, 7, FAR) in events(call)


def test_strangers_are_counted_and_change_nothing():
    call = session()
    talk(call, range(1, 11))
    for n in range(100):
        assert call.receive(octets(11 + n), ("1.1.1.1", 9), 0.2) == ()
    assert call.destination == FAR
    assert call.report().rejected == {"foreign": 100}


def test_private_negotiated_address_latches_on_the_real_one():
    call = session(remote=("192.168.0.9", 4000))
    assert call.destination == ("192.168.0.9", 4000)
    call.receive(octets(1), FAR, 0.0)
    assert sizes(call.receive(octets(2), FAR, 0.02)) == [(AUDIO, 160)] * 2
    assert (call.destination, call.rtcp_destination) == (FAR, ("8.8.8.8", 4001))


def test_settled_follows_the_media():
    call = session()
    route = call.route
    talk(call, range(1, 20))
    assert call.settled == FAR
    assert call.route > route
    call.poll(0.9)
    assert call.settled is None
    talk(call, range(30, 40), start=1.0)
    assert call.settled == FAR


# keys


def event(sequence: int, key: int, timestamp: int, end: bool, duration: int, marker: bool = False) -> bytes:
    payload = struct.pack("!BBH", key, 0x8A if end else 0x0A, duration)
    return octets(sequence, timestamp, kind=96 | (0x80 if marker else 0), payload=payload)


def test_one_key_among_speech_is_split_off_and_its_time_filled():
    call = session()
    talk(call, [1, 2])
    for n in range(5):
        call.receive(event(3 + n, 5, 480, end=False, duration=160 * (n + 1), marker=n == 0), FAR, 0.04 + n * 0.02)
    for n in range(3):
        call.receive(event(8 + n, 5, 480, end=True, duration=800), FAR, 0.14)
    chunks = call.receive(octets(11, timestamp=480 + 800), FAR, 0.14)
    assert sizes(chunks) == [(SILENCE, 800), (AUDIO, 160)]
    call.poll(0.16)
    _, pressed, released = events(call)
    assert isinstance(pressed, KeyPressed)
    assert isinstance(released, KeyReleased)
    assert (pressed.key.digit, released.key.duration) == ("5", 800)
    assert call.report().lost == 0


def test_key_whose_end_was_lost_is_released_by_the_clock():
    call = session()
    talk(call, [1])
    call.receive(event(2, 1, 320, end=False, duration=160), FAR, 0.02)
    for ms in range(40, 1000, 20):
        call.poll(ms / 1000)
    assert [type(found) for found in events(call)][1:] == [KeyPressed, KeyReleased]


# the dead direction


def test_dead_direction_within_two_seconds_names_what_was_tried_and_what_came():
    call = session(now=10.0)
    call.receive(octets(1, ssrc=3), ("9.9.9.9", 77), 10.1)
    for ms in range(0, 2200, 20):
        call.poll(10.0 + ms / 1000)
    (dead,) = events(call)
    assert isinstance(dead, ReceiveDead)
    assert dead.expected_from == FAR
    assert dead.foreign == {("9.9.9.9", 77): 1}
    assert 1.8 <= dead.silent_s <= 2.0


def test_alarm_ends_when_media_comes_and_may_come_again():
    call = session()
    talk(call, range(1, 11))
    events(call)
    for ms in range(200, 5000, 20):
        call.poll(ms / 1000)
    assert [type(found) for found in events(call)] == [ReceiveDead]
    now = talk(call, range(300, 320), start=5.0)
    alive = events(call)
    assert [type(found) for found in alive] == [ReceiveAlive]
    assert alive[0].silent_s == pytest.approx(5.0 - 0.18, abs=0.15)
    for ms in range(0, 2500, 20):
        call.poll(now + ms / 1000)
    assert [type(found) for found in events(call)] == [ReceiveDead]


def test_wrong_codec_is_a_dead_direction_that_says_so():
    call = session()
    for n in range(150):
        call.receive(octets(n, kind=8), FAR, n * 0.02)
        call.poll(n * 0.02)
    dead = [found for found in events(call) if isinstance(found, ReceiveDead)]
    assert dead[0].unknown_types[8] > 90


def test_no_alarm_on_hold_nor_before_the_answer():
    call = RtpSession(random.Random(5), "cname", PCMU, 0.0)
    call.set_remote(*FAR, now=0.0)
    call.poll(30.0)
    call.set_direction(sending=True, receiving=True, now=30.0)
    call.set_direction(sending=False, receiving=False, now=31.0)
    call.poll(60.0)
    call.set_direction(sending=True, receiving=True, now=60.0)
    call.poll(61.0)
    assert events(call) == []


def test_announced_silence_is_not_dead():
    call = session()
    talk(call, [1])
    call.receive(octets(2, kind=13, payload=b"\x40"), FAR, 0.02)
    for ms in range(40, 10000, 20):
        call.poll(ms / 1000)
    assert [type(found) for found in events(call)] == [SourceLocked]


def test_dead_direction_counts_what_should_have_come():
    call = session()
    talk(call, range(1, 51))
    for ms in range(1000, 21000, 20):
        call.poll(ms / 1000)
    report = call.report()
    assert (report.packets, report.expected, report.lost) == (50, 50, 0)
    assert report.absent == pytest.approx(1000, abs=6)


def test_numbering_that_tells_of_the_dead_time_counts_it_once():
    call = session()
    talk(call, range(1, 51))
    for ms in range(1000, 21000, 20):
        call.poll(ms / 1000)
    before = call.report()
    sums = [before.expected + before.absent]
    for n in range(20):
        talk(call, [1051 + n], start=21.0 + n * 0.02)
        report = call.report()
        sums.append(report.expected + report.absent)
    assert sums == sorted(sums)
    assert sums[-1] == pytest.approx(1070, abs=6)
    assert report.lost == 1000


def test_time_on_hold_and_announced_silence_are_no_absence():
    call = session()
    talk(call, range(1, 51))
    call.set_direction(sending=False, receiving=False, now=1.0)
    for ms in range(1000, 21000, 20):
        call.poll(ms / 1000)
    assert call.report().absent == 0
    call.set_direction(sending=True, receiving=True, now=21.0)
    call.receive(octets(51, kind=13, payload=b"\x40"), FAR, 21.0)
    for ms in range(21000, 61000, 20):
        call.poll(ms / 1000)
    assert call.report().absent == 0


def test_absence_ends_with_the_hold():
    call = session()
    talk(call, range(1, 51))
    for ms in range(1000, 6000, 20):
        call.poll(ms / 1000)
    call.set_direction(sending=False, receiving=False, now=6.0)
    for ms in range(6000, 20000, 20):
        call.poll(ms / 1000)
    assert call.report().absent == pytest.approx(250, abs=6)


def test_caller_of_whom_nothing_comes_is_silent_in_real_time():
    call = session(now=10.0)
    samples = [size for ms in range(0, 5001, 20) for kind, size in sizes(call.poll(10 + ms / 1000)) if kind == SILENCE]
    assert sum(samples) == 5 * 8000
    assert sizes(call.receive(octets(1), FAR, 15.01)) == [(AUDIO, 160)]


def test_silence_goes_on_when_the_codec_changes_and_nothing_comes():
    call = session()
    now = talk(call, range(1, 51))
    call.set_format(MediaFormat(111, 111, 48000, lambda payload: 960), now)
    samples = [size for ms in range(0, 2001, 20) for kind, size in sizes(call.poll(now + ms / 1000)) if kind == SILENCE]
    assert sum(samples) == pytest.approx(2 * 48000, abs=2 * 960)


# renegotiation


def test_other_address_is_sent_to_at_once_and_the_old_source_still_heard():
    call = session()
    now = talk(call, range(1, 11))
    new = ("9.9.9.9", 6000)
    call.set_remote(*new, 6007, now=now)
    assert (call.destination, call.rtcp_destination, call.settled) == (new, ("9.9.9.9", 6007), None)
    assert sizes(call.receive(octets(11), FAR, now)) == [(AUDIO, 160)]
    assert sizes(call.receive(octets(50, ssrc=9), new, now + 0.02)) == [(AUDIO, 160)]
    assert call.receive(octets(12), FAR, now + 0.04) == ()


def test_same_address_again_keeps_the_lock_on_the_real_source():
    call = session(remote=("192.168.0.9", 4000))
    talk(call, range(1, 11))
    call.set_remote("192.168.0.9", 4000, now=0.3)
    assert call.destination == FAR


def test_media_that_still_comes_from_the_old_address_is_answered_there_after_a_second():
    call = session()
    now = talk(call, range(1, 11))
    call.set_remote("192.168.0.77", 6000, now=now)
    now = talk(call, range(11, 51), start=now)
    assert call.destination == ("192.168.0.77", 6000)
    now = talk(call, range(51, 71), start=now)
    assert (call.destination, call.rtcp_destination) == (FAR, ("8.8.8.8", 4001))
    assert call.settled == FAR


def test_hold_by_an_unspecified_address_is_not_undone_by_media_that_still_comes():
    call = session()
    now = talk(call, range(1, 11))
    call.set_remote("0.0.0.0", 4000, now=now)
    talk(call, range(11, 211), start=now)
    assert (call.destination, call.settled) == (None, None)


def test_rtcp_behind_nat_goes_back_to_where_it_came_from():
    call = session(remote=("192.168.0.9", 4000))
    talk(call, [1, 2])
    call.receive_rtcp(far_report(1), (FAR[0], 61234), 1.0)
    assert call.rtcp_destination == (FAR[0], 61234)


def test_whoever_watches_sees_the_rtcp_that_is_taken():
    call = session()
    seen = []
    call.on_rtcp = lambda *told: seen.append(told)
    talk(call, [1, 2])
    report = far_report(1)
    call.receive_rtcp(report, (FAR[0], 4001), 1.0)
    call.receive(report, FAR, 1.0)
    call.receive_rtcp(report, ("8.8.4.4", 4001), 1.0)
    call.receive_rtcp(b"\x80\xc8", (FAR[0], 4001), 1.0)
    assert seen == [(True, False, (FAR[0], 4001), report), (True, True, FAR, report)]


def test_new_codec_gets_its_own_two_seconds():
    call = session()
    for ms in range(0, 1800, 20):
        call.poll(ms / 1000)
    call.set_format(MediaFormat(8, 8), 1.8)
    for ms in range(1800, 3620, 20):
        call.poll(ms / 1000)
    assert events(call) == []
    for ms in range(3620, 3800, 20):
        call.poll(ms / 1000)
    assert [type(found) for found in events(call)] == [ReceiveDead]


def test_what_is_held_leaves_before_the_payload_type_changes():
    call = session()
    talk(call, [1])
    call.receive(octets(3), FAR, 0.04)
    assert sizes(call.set_format(MediaFormat(8, 8), 0.05)) == [(LOST, 160), (AUDIO, 160)]
    assert sizes(call.receive(octets(4, kind=8), FAR, 0.06)) == [(AUDIO, 160)]


@pytest.mark.parametrize(("host", "port"), [("0.0.0.0", 4000), ("8.8.8.8", 0), ("8.8.8.8", 65536), ("::", 9)])
def test_nobody_to_send_to(host: str, port: int):
    call = session()
    call.set_remote(host, port, now=0.0)
    assert (call.destination, call.rtcp_destination) == (None, None)
    assert call.rtcp(100.0, 1000.0) is None


def test_other_codec_with_another_clock():
    call = session()
    talk(call, range(1, 4))
    call.set_format(MediaFormat(111, 111, 48000, samples=lambda payload: 960), 0.06)
    chunks = call.receive(octets(4, timestamp=77, kind=111, payload=b"opus"), FAR, 0.06)
    assert chunks == [(AUDIO, b"opus", 960)]
    assert call.packet(b"x", 960)[1] == 111


# send


def test_packets_count_by_samples_and_wrap():
    call = session()
    sent = [struct.unpack("!BBHII", call.packet(bytes(160), 160, n == 0)[:12]) for n in range(70000)]
    first = sent[0]
    assert first[1] == 0x80
    assert {packet[1] for packet in sent[1:]} == {0}
    assert all(packet[2] == (first[2] + n) & 0xFFFF for n, packet in enumerate(sent))
    assert all(packet[3] == (first[3] + 160 * n) & 0xFFFFFFFF for n, packet in enumerate(sent))
    assert {packet[4] for packet in sent} == {first[4]}
    assert (call.packets_sent, call.octets_sent) == (70000, 70000 * 160)


def test_skipped_ticks_advance_the_clock_and_not_the_sequence():
    call = session()
    before = struct.unpack("!BBHII", call.packet(bytes(160), 160)[:12])
    call.skip(480)
    after = struct.unpack("!BBHII", call.packet(bytes(160), 160)[:12])
    assert (after[2] - before[2]) & 0xFFFF == 1
    assert (after[3] - before[3]) & 0xFFFFFFFF == 640


def test_event_packets_share_the_numbering_and_hold_their_timestamp():
    call = session()
    start = call.timestamp
    sent = [call.event_packet(b"\x05\x0a\x00\xa0", start, n == 0, 160) for n in range(3)]
    fields = [struct.unpack("!BBHII", packet[:12]) for packet in sent]
    assert [packet[1] for packet in fields] == [0x80 | 101, 101, 101]
    assert {packet[3] for packet in fields} == {start}
    assert call.timestamp == (start + 480) & 0xFFFFFFFF


def test_event_packet_without_negotiation_is_our_own_fault():
    with pytest.raises(LocalError):
        session(media=MediaFormat(0, 0)).event_packet(b"", 0, False, 160)


def test_two_calls_do_not_share_numbers():
    one, other = (RtpSession(random.Random(seed), "c", PCMU, 0.0).packet(b"", 160) for seed in (1, 2))
    assert one[2:12] != other[2:12]


# RTCP


def ssrc_of(call: RtpSession) -> int:
    return struct.unpack("!I", call.packet(bytes(160), 160)[8:12])[0]


def test_first_report_within_its_interval_then_every_few_seconds():
    call = session()
    times = []
    for n in range(3000):
        now = n * 0.02
        call.packet(bytes(160), 160)
        if call.rtcp(now, 1000 + now) is not None:
            times.append(now)
    assert 1.0 <= times[0] <= 3.1
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert all(2.0 <= gap <= 6.2 for gap in gaps)


def test_report_says_what_was_received_and_sent():
    call = session()
    talk(call, [1, 2, 3, 5])
    ours = ssrc_of(call)
    data = call.rtcp(10.0, 946684800.0)
    assert data is not None
    read = rtcp.parse(data)
    assert (read.ssrc, read.cname) == (ours, "cname")
    (block,) = read.blocks
    assert (block.ssrc, block.lost, block.fraction_lost, block.highest_sequence) == (7, 1, 256 // 5, 5)
    sender = read.sender_report
    assert sender is not None
    assert (sender.packets, sender.octets, sender.ntp >> 32) == (1, 160, 3155673600)
    assert sender.rtp_timestamp == call.timestamp


def test_report_without_sending_or_receiving_is_an_empty_rr():
    read = rtcp.parse(session().rtcp(10.0, 1000.0) or b"")
    assert (read.sender_report, read.blocks) == (None, [])


def far_report(call_ssrc: int, **values: int) -> bytes:
    block = ReportBlock(
        call_ssrc, values.get("fraction", 0), values.get("lost", 0), 100, values.get("jitter", 0),
        values.get("lsr", 0), values.get("dlsr", 0),
    )  # fmt: skip
    return rtcp.compound(7, "far", block, SenderReport(7, 0xB44DB705_20000000, 1, 1, 1))


def test_far_end_report_with_the_round_trip_of_the_rfc():
    call = session()
    talk(call, [1])
    ours = ssrc_of(call)
    # Our report leaves at NTP …b705:2000, the answer comes 11.375 s later and held it 5.25 s (RFC 3550 figure 2).
    seconds = 0xB44DB705 + 0x2000 / 65536 - 2208988800
    sent = rtcp.parse(call.rtcp(100.0, seconds) or b"")
    assert sent.sender_report is not None
    lsr = rtcp.middle_32(sent.sender_report.ntp)
    assert lsr == 0xB7052000
    call.receive_rtcp(far_report(ours, fraction=64, lost=3, jitter=80, lsr=lsr, dlsr=0x54000), FAR, 111.375)
    report = call.far_end
    assert report is not None
    assert report.rtt_ms == pytest.approx(6125.0, abs=0.1)
    assert (report.fraction_lost, report.lost, report.jitter_ms) == (0.25, 3, 10.0)
    assert ReportReceived(report) in events(call)


def test_round_trip_survives_a_step_of_the_wall_clock():
    call = session()
    talk(call, [1])
    ours = ssrc_of(call)
    sent = rtcp.parse(call.rtcp(100.0, 5000.0) or b"")
    assert sent.sender_report is not None
    # Whatever the wall clock does from here on, 0.5 s pass by `now`.
    lsr = rtcp.middle_32(sent.sender_report.ntp)
    call.receive_rtcp(far_report(ours, lsr=lsr, dlsr=0x4000), FAR, 100.5)
    assert call.far_end is not None
    assert call.far_end.rtt_ms == pytest.approx(250, abs=0.1)


def test_dlsr_of_our_block_answers_the_far_ends_sender_report():
    call = session()
    talk(call, [1])
    call.receive_rtcp(far_report(0), FAR, 20.0)
    (block,) = rtcp.parse(call.rtcp(21.5, 1000.0) or b"").blocks
    assert (block.last_sr, block.delay_since_last_sr) == (0xB7052000, 0x18000)


def test_report_without_lsr_keeps_the_round_trip_known():
    call = session()
    talk(call, [1])
    ours = ssrc_of(call)
    sent = rtcp.parse(call.rtcp(100.0, 5000.0) or b"")
    assert sent.sender_report is not None
    call.receive_rtcp(far_report(ours, lsr=rtcp.middle_32(sent.sender_report.ntp)), FAR, 100.5)
    call.receive_rtcp(far_report(ours), FAR, 105.5)
    assert call.far_end is not None
    assert call.far_end.rtt_ms == pytest.approx(500, abs=0.1)


def test_voip_metrics_of_the_far_end_join_its_report():
    call = session()
    talk(call, [1])
    ours = ssrc_of(call)
    body = struct.pack(
        "!I4B4H10B6x", ours, 13, 64, 32, 16, 180, 6000, 100, 40, 127, 127, 127, 16, 93, 127, 44, 41, 0, 0
    )
    extended = struct.pack("!BBHI", 0x80, 207, 10, 7) + struct.pack("!BBH", 7, 0, 8) + body
    call.receive_rtcp(far_report(ours) + extended, FAR, 1.0)
    report = call.far_end
    assert report is not None
    assert (report.discard_rate, report.burst_density, report.gap_density) == (0.25, 0.125, 0.0625)
    assert (report.end_system_delay_ms, report.r_factor, report.mos_lq, report.mos_cq) == (40, 93, 4.4, 4.1)


def test_report_about_somebody_else_is_not_ours():
    call = session()
    talk(call, [1])
    call.receive_rtcp(far_report(12345, lost=9), FAR, 1.0)
    assert call.far_end is None


def test_rtcp_of_a_stranger_is_refused():
    call = session()
    call.receive_rtcp(far_report(ssrc_of(call)), ("1.1.1.1", 5), 1.0)
    assert call.far_end is None
    assert call.report().rejected == {"foreign": 1}


def test_rtcp_on_the_rtp_port_is_understood():
    call = session()
    talk(call, [1])
    assert call.receive(far_report(ssrc_of(call), lost=4), FAR, 1.0) == ()
    assert call.far_end is not None
    assert call.far_end.lost == 4


def test_rtcp_before_the_first_packet_does_not_lock_the_source():
    call = session()
    call.receive(far_report(1), FAR, 0.0)
    assert events(call) == []


def test_bye_of_the_far_end():
    call = session()
    talk(call, [1])
    events(call)
    call.receive_rtcp(rtcp.compound(7, "far", None, None, bye=True, reason="done"), FAR, 1.0)
    assert events(call) == [ByeReceived("done")]


def test_our_bye():
    call = session()
    ours = ssrc_of(call)
    assert rtcp.parse(call.bye(1.0, 1000.0)).bye == [ours]


@pytest.mark.parametrize("data", [b"", b"\x80", bytes(40), b"\x80\xc8", b"\x81\xc9\x00\x07" + bytes(6), b"\xff" * 30])
def test_garbage_is_counted(data: bytes):
    call = session()
    assert call.receive(data, FAR, 0.0) == ()
    assert sum(call.report().rejected.values()) == 1


@settings(max_examples=150)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("raw"), st.binary(max_size=60)),
            st.tuples(
                st.just("rtp"),
                st.builds(
                    lambda sequence, timestamp, ssrc, kind, payload: octets(sequence, timestamp, ssrc, kind, payload),
                    st.integers(0, 40) | st.integers(0, 65535),
                    st.integers(0, 6400) | st.integers(0, 0xFFFFFFFF),
                    st.integers(1, 2),
                    st.sampled_from([0, 0x80, 13, 96, 8]),
                    st.binary(max_size=10),
                ),
            ),
            st.tuples(st.just("rtcp"), st.binary(max_size=60).map(lambda tail: b"\x80\xc8\x00\x06" + tail)),
        ),
        max_size=60,
    ),
    st.lists(st.integers(0, 400), min_size=60, max_size=60),
    st.lists(st.sampled_from([FAR, ("8.8.8.8", 9), ("1.1.1.1", 1)]), min_size=60, max_size=60),
)
def test_whatever_the_network_sends_nothing_is_raised_and_the_sums_agree(packets, waits, sources):
    call = session()
    now = 0.0
    total = 0
    for (_, data), wait, source in zip(packets, waits, sources, strict=False):
        now += wait / 1000
        for _, _, samples in [*call.receive(data, source, now), *call.poll(now)]:
            assert samples > 0
            total += samples
        call.receive_rtcp(data, source, now)
        call.rtcp(now, 1000 + now)
    assert total <= 160 * len(packets) + (now + 4) * 8000 * (1 + len(packets))
    report = call.report()
    assert report.lost >= 0
    assert report.packets <= len(packets)


def test_bursts_and_ends_of_a_call():
    call = session()
    assert (call.remote_ssrc, call.bursts().burst_density) == (None, 0.0)
    now = talk(call, [*range(1, 41), 43, *range(45, 101)])
    for _ in range(5):
        now += 0.02
        call.poll(now)
    bursts = call.bursts()
    assert (bursts.bursts, bursts.burst_packets, bursts.burst_lost, bursts.gap_lost) == (1, 4, 3, 0)
    assert (call.remote_ssrc, call.packet_s) == (7, 0.02)
    assert rtcp.parse(call.bye(now, 1e9)).ssrc == call.ssrc
