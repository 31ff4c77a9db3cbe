"""A kept leg through the ring buffer and the E-model again.

The packets go, with their times and with payloads of zeros, through a session, figures and slices like those of the
call; polls, reports and the ends of slices come at the times at which they came. So the figures must be the same: if
they are not, the code that counts has changed. Only what the host did (underruns, lateness, echo) cannot be had again.

When the ring had lost its beginning the whole call's figures cannot be compared, but the slices that lie wholly in what
is left can.
"""

import struct
from dataclasses import dataclass, field
from random import Random

from ...rtp.errors import RtpError
from ...rtp.events import ReceiveAlive, ReceiveDead
from ...rtp.packet import HEADER, MARKER, PLAIN
from ...rtp.session import RtpSession
from ..errors import FlightError
from ..media.agreement import aim, may_listen, may_send, media_format, same_line
from ..media.echo import EchoMeter
from ..media.figures import Figures
from ..media.lateness import Lateness
from ..media.playout import PlayoutQueue
from ..media.slice_report import SliceReport
from ..messages import MediaParameters
from ..record import Media, Slice
from .entries import (
    EVENT,
    LOST,
    MEDIA,
    NOTE,
    SECOND,
    SLICE,
    TICK,
    Entry,
    LegFlight,
    Note,
    Packet,
    Rtcp,
    entries_of,
    parameters_of,
)
from .leg_ring import ANSWERED, CLOSED, PARAMETERS

_SAMPLES = struct.Struct("!H")


@dataclass(slots=True)
class Replayed:
    """What a replay counted."""

    whole: bool
    """From the first packet on; only then `media` is that of the call."""
    media: Media = field(default_factory=Media)
    slices: list[Slice] = field(default_factory=list)
    """Those that lie wholly in what was kept, by `start_s`."""
    reported_from: int = 0
    """From this slice on what the far end reports can be compared."""


def replay(leg: LegFlight) -> Replayed:
    """Raises FlightError for a leg that nobody here recorded."""
    machine = _Machine(leg)
    try:
        return machine.run()
    except (ValueError, TypeError, ArithmeticError, LookupError, struct.error, RtpError) as error:
        raise FlightError(f"the packets of the call cannot be replayed: {error}") from None


class _Session(RtpSession):
    """A session that reports when it is told."""

    def report_now(self, now: float, wallclock: float) -> None:
        self._control.due = now
        self.rtcp(now, wallclock)


class _SameSsrc(Random):
    """The far end's reports are about the SSRC that the call had."""

    def __init__(self, ssrc: int) -> None:
        super().__init__(0)
        self._ssrc: int | None = ssrc

    def getrandbits(self, k: int, /) -> int:
        if self._ssrc is None or k != 32:
            return super().getrandbits(k)
        ssrc, self._ssrc = self._ssrc, None
        return ssrc


def _measure(payload: bytes) -> int:
    """The samples that were measured of the real payload stand in the one that takes its place."""
    return _SAMPLES.unpack_from(payload)[0] if payload else 0


def _payload(packet: Packet) -> bytes:
    return _SAMPLES.pack(packet.samples).ljust(packet.octets, b"\0") if packet.octets else b""


class _Machine:
    def __init__(self, leg: LegFlight) -> None:
        self._leg = leg
        self._notes = {note.number: note for note in leg.notes}
        self._session: _Session | None = None
        self._figures: Figures | None = None
        self._report: SliceReport | None = None
        self._parameters: MediaParameters | None = None
        self._listening = False
        self._sending = False
        self._answered_at: float | None = None
        self._whole = leg.dropped == 0
        self._inside = self._whole
        """The present slice began in what was kept."""
        self._sent_dead = False
        self._ended = False
        self._result = Replayed(self._whole)

    def run(self) -> Replayed:
        entries = list(entries_of(self._leg))
        sent = next((entry for entry in entries if isinstance(entry, Packet) and not entry.received), None)
        self._random = _SameSsrc(sent.ssrc if sent is not None else 0)
        if not self._whole and entries:
            self._catch_up(entries)
        for entry in entries:
            self._take(entry)
        if self._figures is not None:
            self._result.media = self._figures.media(0)
        return self._result

    def _catch_up(self, entries: list[Entry]) -> None:
        """What was agreed before the first entry that is left, as of that entry."""
        numbers = [entry.value for entry in entries if not isinstance(entry, Packet | Rtcp) and entry.kind == NOTE]
        first = min(numbers, default=None)
        for note in self._leg.notes:
            if note.kind in PARAMETERS and (first is None or note.number < first):
                if note.kind == ANSWERED:
                    self._answered_at = note.at
                self._note(note, entries[0].at)

    def _take(self, entry: Entry) -> None:
        session = self._session
        match entry:
            case Packet(received=True):
                self._receive(entry)
            case Packet():
                self._poll(entry.at)
                if session is not None:
                    self._send(session, entry)
            case Rtcp(received=True):
                if session is not None:
                    session.receive_rtcp(entry.data, self._leg.sources[entry.source], entry.at)
            case Rtcp():
                if session is not None:
                    session.report_now(entry.at, entry.wallclock)
            case _:
                self._happened(entry.kind, entry.at, entry.value)

    def _happened(self, kind: int, at: float, value: int) -> None:
        if kind == TICK:
            self._poll(at)
        elif kind == SECOND:
            self._second(at)
        elif kind == SLICE:
            self._slice(at)
        elif kind == NOTE and value in self._notes:
            self._note(self._notes[value], at)
        elif kind not in (EVENT, LOST, NOTE):
            raise FlightError("the packets of the call are damaged")

    def _receive(self, packet: Packet) -> None:
        if self._session is None:
            return
        header = HEADER.pack(PLAIN, packet.second, packet.sequence, packet.timestamp, packet.ssrc)
        self._session.receive(header + _payload(packet), self._leg.sources[packet.source], packet.at)

    def _send(self, session: _Session, packet: Packet) -> None:
        if packet.second & 0x7F == session.media.event_send_type != session.media.send_type:
            session.event_packet(_payload(packet), packet.timestamp, False, packet.samples)
        else:
            session.packet(_payload(packet), packet.samples, packet.second >= MARKER)

    def _poll(self, now: float) -> None:
        session = self._session
        if session is None:
            return
        session.poll(now)
        while (event := session.next_event()) is not None:
            if self._report is None:
                continue
            if isinstance(event, ReceiveDead):
                self._report.received.died(now - event.silent_s)
            elif isinstance(event, ReceiveAlive):
                self._report.received.revived(now)

    def _second(self, now: float) -> None:
        if self._figures is None:
            return
        self._figures.update(now)
        if self._report is not None and self._sending:
            if self._sent_dead:
                self._report.sent.died(now)
            else:
                self._report.sent.revived(now)

    def _slice(self, now: float) -> None:
        if self._report is not None:
            self._keep(self._report.end(now), now)

    def _keep(self, finished: Slice, now: float) -> None:
        """A slice is over; one that began before what was kept is nothing to compare."""
        inside, self._inside = self._inside, True
        if not inside or self._answered_at is None:
            if self._figures is not None and self._figures.reports == 0:
                self._result.reported_from = len(self._result.slices) + 1
            return
        finished.start_s = round(now - finished.length_s - self._answered_at, 3)
        if not self._whole and self._figures is not None and self._figures.reports == 0:
            self._result.reported_from = len(self._result.slices) + 1
        self._result.slices.append(finished)

    # What was agreed, as media/leg.py takes it

    def _note(self, note: Note, now: float) -> None:
        if note.kind == MEDIA:
            parameters = parameters_of(note)
            if parameters is None:
                raise FlightError("the packets of the call are damaged: what was agreed cannot be read")
            self._set_media(parameters, now)
        elif note.kind == ANSWERED:
            self._answer(now)
        elif note.kind == CLOSED:
            self._close(now)
        elif note.kind in ("dead", "alive") and note.text.startswith("sent:"):
            self._sent_dead = note.kind == "dead"
            if self._sent_dead and self._report is not None:
                self._report.sent.died(now)

    def _set_media(self, parameters: MediaParameters, now: float) -> None:
        spec, before = parameters.codec, self._parameters
        media = media_format(parameters, _measure)
        session = self._session
        if session is None:
            session = self._session = _Session(self._random, "replay", media, now)
        else:
            session.set_format(media, now)
        self._parameters = parameters
        if before is not None and self._figures is not None and not same_line(before.codec, spec):
            self._figures.change(spec.name, now)
        self._sending = may_send(parameters)
        self._listening = may_listen(parameters)
        aim(session, parameters, now)
        receiving = self._listening and self._answered_at is not None
        session.set_direction(sending=self._sending, receiving=receiving, now=now)
        if self._report is not None:
            self._report.received.due(receiving, now)
            self._report.sent.due(self._sending, now)
        self._rate(now)

    def _answer(self, now: float) -> None:
        if self._answered_at is None:
            self._answered_at = now
        if self._session is not None:
            self._session.set_direction(sending=self._sending, receiving=self._listening, now=now)
        self._rate(now)

    def _rate(self, now: float) -> None:
        if self._figures is not None or self._session is None or self._answered_at is None or self._parameters is None:
            return
        self._figures = Figures(self._parameters.codec.name, self._session, now)
        self._report = SliceReport(
            self._figures,
            EchoMeter(),
            Lateness(),
            PlayoutQueue(1, b"\0", 1),
            receiving=self._listening,
            sending=self._sending,
            now=now,
        )

    def _close(self, now: float) -> None:
        if self._ended:
            return
        self._ended = True
        if self._session is not None:
            self._session.bye(now, now)
        if self._figures is not None:
            self._figures.close(now)
        if self._report is not None and (rest := self._report.close(now)) is not None:
            self._keep(rest, now)
