"""A kept call counts the same again; what changes the counting, or the packets, is seen."""

import random
from pathlib import Path

import msgspec
import pytest

from trunkline.codecs.registry import codec
from trunkline.gateway.errors import FlightError
from trunkline.gateway.flight.comparison import Row, compare
from trunkline.gateway.flight.entries import MEDIA, LegFlight, Note, Packet, entries_of
from trunkline.gateway.flight.file import leg_of, read
from trunkline.gateway.flight.leg_ring import ANSWERED, CHUNK, CLOSED, LegRing
from trunkline.gateway.flight.replay import replay
from trunkline.gateway.media.echo import EchoMeter
from trunkline.gateway.media.figures import Figures
from trunkline.gateway.media.lateness import Lateness
from trunkline.gateway.media.playout import PlayoutQueue
from trunkline.gateway.media.slice_report import SliceReport
from trunkline.gateway.messages import CodecSpec, MediaParameters
from trunkline.gateway.record import CallRecord, Timeline
from trunkline.rtp import ring as rtp_ring
from trunkline.rtp.events import ReceiveAlive, ReceiveDead
from trunkline.rtp.session import MediaFormat, RtpSession

BAD_CALL = Path(__file__).parent / "bad_call.tlf"
CALLER = ("192.0.2.7", 4000)
OTHER = ("192.0.2.7", 4444)


def different(record: CallRecord, leg: LegFlight) -> list[Row]:
    return [row for row in compare(record, replay(leg)) if not row.same]


def bad_call() -> tuple[CallRecord, LegFlight]:
    flight = read(BAD_CALL)
    return flight.record, leg_of(flight.legs[0])


def test_a_bad_call_of_the_lab_counts_the_same_again() -> None:
    """24 s: 13 % loss in bursts, jitter, duplicates and reordering both ways, and a barge-in."""
    record, leg = bad_call()
    rows = compare(record, replay(leg))
    assert [row for row in rows if not row.same] == []
    assert len(rows) > 50
    assert record.media.received.mos_min is not None
    assert record.media.received.mos_min < 3
    assert record.media.sent.rtt_ms is not None


def test_another_reorder_window_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The point of it: who changes the ring buffer learns what that does to a bad call."""
    record, leg = bad_call()
    init = rtp_ring.FrameRing.__init__

    def impatient(self: rtp_ring.FrameRing, *args: object, **kwargs: object) -> None:
        init(self, *args, **kwargs, window_s=0.001)  # type: ignore[arg-type]

    monkeypatch.setattr(rtp_ring.FrameRing, "__init__", impatient)
    names = [row.name for row in different(record, leg)]
    assert "received discarded" in names


def test_a_packet_less_is_seen() -> None:
    record, leg = bad_call()
    packets = [entry for entry in entries_of(leg) if isinstance(entry, Packet) and entry.received]
    cut = leg.entries.index(b"\x03")  # RECEIVED_NEXT
    shorter = msgspec.structs.replace(leg, entries=leg.entries[:cut] + leg.entries[cut + 9 :])
    assert len(packets) > 400
    assert different(record, shorter)


class Call:
    """A leg as media/leg.py has it, on a clock of the test's own, with a bad network before it."""

    def __init__(self, spec: CodecSpec, octets: int = 1 << 20, seed: int = 1) -> None:
        self.now = 5000.0
        self.random = random.Random(seed)
        self.ring = LegRing(octets, 40000, self.now, 1_700_000_000.0)
        self.spec = spec
        self.slices = Timeline()
        self.sequence, self.timestamp = 65_000, 0xFFFF0000
        self.sent_dead = False
        measure = codec(spec.name).packet_samples
        self.media = MediaFormat(spec.send_type, spec.receive_type, spec.clock_rate, measure, 101, 101)
        self.note_media("sendrecv")
        self.ring.use(measure)
        self.session = RtpSession(self.random, "call", self.media, self.now)
        self.session.tap = self.ring
        self.session.set_remote(*CALLER, now=self.now)
        self.session.set_direction(sending=True, receiving=False, now=self.now)
        self.due = self.now + 0.7

    def note_media(self, direction: str) -> None:
        parameters = MediaParameters(
            self.spec, CALLER[0], CALLER[1], CALLER[1] + 1, direction=direction, event_receive_type=101
        )
        self.ring.note(MEDIA, msgspec.json.encode(parameters).decode(), self.now)

    def answer(self) -> None:
        self.ring.note(ANSWERED, "", self.now)
        self.session.set_direction(sending=True, receiving=True, now=self.now)
        self.figures = Figures(self.spec.name, self.session, self.now)
        self.report = SliceReport(
            self.figures,
            EchoMeter(),
            Lateness(),
            PlayoutQueue(1, b"\0", 1),
            receiving=True,
            sending=True,
            now=self.now,
        )

    def hold(self, direction: str) -> None:
        self.note_media(direction)
        up = direction == "sendrecv"
        self.session.set_format(self.media, self.now)
        self.session.set_remote(*CALLER, CALLER[1] + 1, now=self.now)
        self.session.set_direction(sending=up, receiving=up, now=self.now)
        self.report.received.due(up, self.now)
        self.report.sent.due(up, self.now)

    def arrive(self, payload: bytes, *, lost: bool = False, source: tuple[str, int] = CALLER) -> None:
        """The next packet of the caller, some milliseconds after the tick."""
        samples = self.media.samples(payload)
        self.sequence, self.timestamp = (self.sequence + 1) & 0xFFFF, (self.timestamp + samples) & 0xFFFFFFFF
        if not lost:
            header = bytes([0x80, self.spec.receive_type]) + self.sequence.to_bytes(2, "big")
            header += self.timestamp.to_bytes(4, "big") + (77).to_bytes(4, "big")
            self.session.receive(header + payload, source, self.now + self.random.random() * 0.015)

    def report_back(self, lost: int) -> None:
        """The far end's RTCP on what it has of us."""
        from trunkline.rtp import rtcp
        from trunkline.rtp.rtcp import ReportBlock

        middle = int((self.now + 1_000_000_000 - 0.05) * 65536) & 0xFFFFFFFF
        block = ReportBlock(self.session.ssrc, 20, lost, 1, 80, middle, 1000)
        self.session.receive_rtcp(rtcp.compound(77, "them", block, None), ("192.0.2.7", 4001), self.now + 0.001)

    def tick(self, *, sending: bool = True) -> None:
        self.now += 0.02 + self.random.random() * 0.001
        now, session = self.now, self.session
        session.poll(now)
        if session.rtcp_due(now):
            session.rtcp(now, now + 1_000_000_000)
        while (event := session.next_event()) is not None:
            if isinstance(event, ReceiveDead):
                self.report.received.died(now - event.silent_s)
            elif isinstance(event, ReceiveAlive):
                self.report.received.revived(now)
        if sending:
            samples = self.spec.clock_rate // 50
            self.ring.sent(session.packet(bytes(160), samples), samples, now)
        else:
            self.ring.tick(now)
        if now >= self.report.due:
            self.ring.slice_ended(now)
            self.slices.slices.append(self.report.end(now))
        if now >= self.due:
            self.due += 1
            self.ring.second(now)
            self.figures.update(now)

    def over(self) -> CallRecord:
        self.session.bye(self.now, self.now + 1_000_000_000)
        self.ring.note(CLOSED, "0", self.now)
        self.figures.close(self.now)
        if (rest := self.report.close(self.now)) is not None:
            self.slices.slices.append(rest)
        return CallRecord(id="x", direction="inbound", started_at="", media=self.figures.media(0), timeline=self.slices)


PCMU = CodecSpec("PCMU")
OPUS = CodecSpec("opus", 48000, 2, 111, 111)


def talk(call: Call, seconds: float, loss: float = 0.1, payload: bytes = bytes(160)) -> None:
    for number in range(int(seconds * 50)):
        call.arrive(payload, lost=call.random.random() < loss)
        if number % 200 == 50:
            call.report_back(number // 40)
        call.tick()


def test_an_hour_of_nothing_but_what_is_left_of_a_long_call() -> None:
    """The ring has lost its beginning: the slices wholly inside count the same, the others are not compared."""
    call = Call(PCMU, octets=4 * CHUNK)
    call.answer()
    talk(call, 95.0)
    record = call.over()
    leg = call.ring.flight()
    replayed = replay(leg)
    assert leg.dropped > 0
    assert not replayed.whole
    assert 1 <= len(replayed.slices) <= 3
    assert len(record.timeline.slices) == 10
    rows = compare(record, replayed)
    assert [row for row in rows if not row.same] == []
    assert any("received lost" in row.name and row.recorded > 0 for row in rows)
    assert any("sent lost" in row.name for row in rows)


def test_opus_of_changing_size_counts_the_same_again() -> None:
    call = Call(OPUS)
    call.answer()
    for _ in range(600):
        # TOC of one 20 ms frame, then whatever the encoder needed
        call.arrive(b"\x78" + bytes(call.random.randrange(1, 80)), lost=call.random.random() < 0.05)
        call.tick()
    record = call.over()
    assert record.media.received.lost > 10
    assert different(record, call.ring.flight()) == []


def test_hold_a_dead_direction_and_a_new_source_count_the_same_again() -> None:
    call = Call(PCMU)
    call.answer()
    talk(call, 4)
    call.hold("inactive")
    for _ in range(200):
        call.tick(sending=False)
    call.hold("sendrecv")
    talk(call, 3)
    for _ in range(250):
        call.tick()  # nothing comes for 5 s
    for number in range(300):
        call.arrive(bytes(160), lost=number % 7 == 0, source=OTHER)
        call.tick()
    record = call.over()
    assert any(slice_.received.dead for slice_ in record.timeline.slices)
    assert different(record, call.ring.flight()) == []


def test_a_digit_that_was_pressed_is_not_in_the_ring() -> None:
    call = Call(PCMU)
    call.answer()
    talk(call, 1, loss=0)
    header = bytes([0x80, 101]) + ((call.sequence + 1) & 0xFFFF).to_bytes(2, "big")
    header += call.timestamp.to_bytes(4, "big") + (77).to_bytes(4, "big")
    digit = b"\x09\x8a\x03\x20"
    call.session.receive(header + digit, CALLER, call.now)
    assert digit not in call.ring.flight().entries
    assert [entry.octets for entry in entries_of(call.ring.flight()) if isinstance(entry, Packet)][-1] == 4


def test_a_leg_without_an_agreement_is_no_leg() -> None:
    _, leg = bad_call()
    with pytest.raises(FlightError, match="agreed"):
        replay(msgspec.structs.replace(leg, notes=[Note(0, leg.notes[0].at, MEDIA, "{}"), *leg.notes[1:]]))
