"""Offer and answer for the one audio stream of a call (RFC 3264), as data in and data out.

`AudioNegotiation` is our side of a session: it makes and answers offers, as often as the call wants (hold, resume, new
address, other codec), and each completed exchange yields an `Agreed` for the media side. States: *stable*, and
*local-offer* while an offer of ours waits for its answer. An exchange that fails changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from .audio_formats import EVENT_NAME, EVENTS, OPUS, PCMA, PCMU, Codec, Match, RemoteAudio, parse_fmtp
from .errors import LocalError, NegotiationError
from .sdp import Attribute, Connection, Direction, MediaDescription, Origin, RtpMap, SessionDescription

__all__ = ["OPUS", "PCMA", "PCMU", "Agreed", "AudioNegotiation", "Codec", "parse_fmtp"]

_DYNAMIC = range(96, 128)
_MIN_PTIME_MS, _MAX_PTIME_MS = 10, 60


@dataclass(frozen=True, slots=True)
class Agreed:
    """What one completed exchange settled, for the media side.

    `direction` is ours: what we may send and receive after the holds of both sides. `receive_formats` are all payload
    types the peer may send us, the main one first. `remote_fmtp` are the peer's parameters for what it receives
    (RFC 7587 §7 for Opus). The event payload types are None without telephone-event; `event_clock_hz` may differ from
    the codec's clock.
    """

    codec: Codec
    send_payload_type: int
    receive_payload_type: int
    receive_formats: tuple[tuple[int, Codec], ...]
    remote_address: str
    remote_port: int
    remote_rtcp_address: str
    remote_rtcp_port: int
    rtcp_mux: bool
    direction: Direction
    ptime_ms: int
    remote_fmtp: dict[str, str] = field(default_factory=dict)
    event_send_payload_type: int | None = None
    event_receive_payload_type: int | None = None
    event_clock_hz: int | None = None


class AudioNegotiation:
    """Our side of one session's offer/answer exchanges."""

    def __init__(
        self,
        codecs: tuple[Codec, ...],
        address: str,
        port: int,
        *,
        session_id: int,
        rtcp_port: int | None = None,
        rtcp_mux: bool = True,
        ptime_ms: int = 20,
        events: bool = True,
    ) -> None:
        """`codecs` in order of preference; `address` and `port` are where we receive RTP, as the peer reaches it.

        `rtcp_port` is None for the port above; `rtcp_mux` whether we can share the RTP port; `events` whether
        telephone-event is offered and accepted. `session_id` is the caller's randomness, below 2**63.
        """
        if not codecs:
            raise LocalError("an audio session needs at least one codec")
        self.direction = Direction.SENDRECV
        self.agreed: Agreed | None = None
        self._configured = codecs
        self._address = address
        self._port = port
        self._rtcp_port = rtcp_port
        self._rtcp_mux = rtcp_mux
        self._ptime_ms = ptime_ms
        self._events = events
        self._session_id = session_id
        self._local: SessionDescription | None = None  # the last description we sent
        self._offer: _Offer | None = None
        self._numbers: dict[RtpMap, int] = {}  # an encoding keeps its payload type for the whole session (§8.3.2)
        self._sections: list[MediaDescription] = []  # as last agreed, for the sections every new offer must repeat (§8)
        self._index = 0  # of the audio section among them

    @property
    def pending(self) -> bool:
        """Whether an offer of ours waits for its answer."""
        return self._offer is not None

    @property
    def local(self) -> SessionDescription | None:
        """The description we sent last."""
        return self._local

    def move(self, address: str, port: int, rtcp_port: int | None = None) -> None:
        """Receive elsewhere from the next offer or answer on."""
        self._address, self._port, self._rtcp_port = address, port, rtcp_port

    def create_offer(
        self, *, direction: Direction | None = None, codecs: tuple[Codec, ...] | None = None
    ) -> SessionDescription:
        """An offer; `direction` puts on hold or resumes from now on, `codecs` narrows this offer to some of ours.

        LocalError while an earlier offer is unanswered.
        """
        if self._offer is not None:
            raise LocalError("an offer is waiting for its answer")
        wanted = self.direction if direction is None else direction
        formats = self._numbered(codecs or self._configured)
        media = self._section(formats, wanted, self._ptime_ms, mux=self._rtcp_mux)
        sections = [_refused(section) for section in self._sections] or [media]
        sections[self._index] = media
        self._offer = _Offer(formats, self.direction)
        self.direction = wanted
        return self._describe(sections)

    def cancel_offer(self) -> None:
        """Our offer was rejected or never answered: what was agreed before stays in force (§8)."""
        if self._offer is not None:
            self.direction = self._offer.previous_direction
            self._offer = None

    def accept_answer(self, answer: SessionDescription) -> Agreed:
        """Complete our offer. NegotiationError when the answer leaves no audio; LocalError without an offer."""
        if self._offer is None or self._local is None:
            raise LocalError("there is no offer to be answered")
        formats, wanted = self._offer.formats, self.direction
        self.cancel_offer()
        if len(answer.media) <= self._index or answer.media[self._index].kind != "audio":
            raise NegotiationError("the answer has no audio section where the offer has one")
        remote = RemoteAudio.of(answer, answer.media[self._index], self._address)
        matches = remote.answered(formats)
        if not matches or matches[0].codec.name == EVENT_NAME:
            raise NegotiationError(f"the answer names no codec that was offered: {remote.encodings_text}")
        agreed = self._agree(remote, matches, wanted)
        self.direction = wanted
        self._settle(agreed, self._local.media)
        return agreed

    def answer(self, offer: SessionDescription) -> tuple[SessionDescription, Agreed]:
        """Answer an offer of the peer: the first audio section that works, all others refused with port 0 (§6).

        NegotiationError says why none works. LocalError while an offer of ours is unanswered (glare: answer 491).
        """
        if self._offer is not None:
            raise LocalError("an offer of ours is waiting for its answer")
        index, remote, match = self._choose(offer)
        events = remote.offered(tuple(EVENTS.values()))
        agreed = self._agree(remote, [match, *events], self.direction)
        listed = [(agreed.receive_payload_type, agreed.codec)]
        if agreed.event_receive_payload_type is not None and agreed.event_clock_hz is not None:
            listed.append((agreed.event_receive_payload_type, EVENTS[agreed.event_clock_hz]))
        media = self._section(listed, agreed.direction, agreed.ptime_ms, mux=agreed.rtcp_mux)
        media.protocol = remote.media.protocol
        sections = [_refused(section) for section in offer.media]
        sections[index] = media
        self._numbers.update((_key(encoding), number) for number, encoding in remote.encodings.items())
        self._index = index
        self._settle(agreed, sections)
        return self._describe(sections), agreed

    def _choose(self, offer: SessionDescription) -> tuple[int, RemoteAudio, Match]:
        """The audio section to accept and the codec in it: the running ones if still offered, else by preference."""
        candidates = [index for index, media in enumerate(offer.media) if media.kind == "audio"]
        codecs = self._configured
        if self.agreed is not None:
            candidates.sort(key=lambda index: index != self._index)
            codecs = (self.agreed.codec, *codecs)
        problem = NegotiationError("the offer has no audio section")
        for index in candidates:
            try:
                remote = RemoteAudio.of(offer, offer.media[index], self._address)
            except NegotiationError as error:
                problem = error
                continue
            matches = remote.offered(codecs)
            if matches:
                return index, remote, matches[0]
            problem = NegotiationError(f"no common codec: {remote.encodings_text} offered, {_names(codecs)} configured")
        raise problem

    def _agree(self, remote: RemoteAudio, matches: list[Match], wanted: Direction) -> Agreed:
        """What the matched formats, main codec first, amount to."""
        main = matches[0]
        event = self._event(matches, main.codec.clock_hz)
        mux = self._rtcp_mux and remote.media.rtcp_mux
        rtcp_address, rtcp_port = (remote.address, remote.media.port) if mux else remote.rtcp
        return Agreed(
            codec=main.codec,
            send_payload_type=main.send,
            receive_payload_type=main.receive,
            receive_formats=tuple((match.receive, match.codec) for match in matches if match.codec.name != EVENT_NAME),
            remote_address=remote.address,
            remote_port=remote.media.port,
            remote_rtcp_address=rtcp_address,
            remote_rtcp_port=rtcp_port,
            rtcp_mux=mux,
            direction=wanted & remote.direction.reversed,
            ptime_ms=_ptime(remote.media, self._ptime_ms),
            remote_fmtp=parse_fmtp(remote.media.fmtp.get(main.send, "")),
            event_send_payload_type=event.send if event else None,
            event_receive_payload_type=event.receive if event else None,
            event_clock_hz=event.codec.clock_hz if event else None,
        )

    def _event(self, matches: list[Match], clock_hz: int) -> Match | None:
        """telephone-event at the codec's clock (RFC 4733 §2.1), else at 8000 Hz as many devices offer it with Opus."""
        if not self._events:
            return None
        found = {match.codec.clock_hz: match for match in matches if match.codec.name == EVENT_NAME}
        return found.get(clock_hz) or found.get(8000)

    def _numbered(self, codecs: tuple[Codec, ...]) -> list[tuple[int, Codec]]:
        """Our codecs and the events at their clocks, each with its payload type."""
        clocks = dict.fromkeys(codec.clock_hz for codec in codecs)
        events = tuple(EVENTS[clock] for clock in clocks if clock in EVENTS) if self._events else ()
        formats: list[tuple[int, Codec]] = []
        used: set[int] = set()
        for codec in (*codecs, *events):
            key = _key(RtpMap(codec.name, codec.clock_hz, codec.channels))
            number = self._numbers.get(key)
            if number is None or number in used:
                taken = used.union(self._numbers.values())
                free = (number for number in (codec.payload_type, *_DYNAMIC) if number not in taken)
                number = next(free, codec.payload_type)
            self._numbers[key] = number
            used.add(number)
            formats.append((number, codec))
        return formats

    def _section(
        self, formats: list[tuple[int, Codec]], direction: Direction, ptime_ms: int, *, mux: bool
    ) -> MediaDescription:
        media = MediaDescription("audio", self._port, formats=[str(number) for number, _ in formats])
        for number, codec in formats:
            encoding = RtpMap(codec.name, codec.clock_hz, codec.channels)
            media.attributes.append(Attribute("rtpmap", f"{number} {encoding}"))
            if codec.fmtp:
                media.attributes.append(Attribute("fmtp", f"{number} {codec.fmtp}"))
        media.attributes.append(Attribute("ptime", str(ptime_ms)))
        media.attributes.append(Attribute(direction.value))
        if mux:
            media.attributes.append(Attribute("rtcp-mux"))
        elif self._rtcp_port is not None and self._rtcp_port != self._port + 1:
            media.attributes.append(Attribute("rtcp", str(self._rtcp_port)))
        return media

    def _describe(self, sections: list[MediaDescription]) -> SessionDescription:
        """The description to send; its version grows only when something else in it changed (§8)."""
        connection = Connection.to(self._address)
        version = 1 if self._local is None else self._local.origin.version
        origin = Origin(self._session_id, version, self._address, address_type=connection.address_type)
        description = SessionDescription(origin, connection=connection, media=sections)
        if self._local is not None and description != self._local:
            description.origin = replace(origin, version=version + 1)
        self._local = description
        return description

    def _settle(self, agreed: Agreed, sections: list[MediaDescription]) -> None:
        self.agreed = agreed
        self._sections = sections

    def __repr__(self) -> str:
        state = "local-offer" if self._offer else "stable"
        codec = self.agreed.codec.name if self.agreed else None
        return f"<AudioNegotiation {state} codec={codec} direction={self.direction}>"


@dataclass(frozen=True, slots=True)
class _Offer:
    """An offer of ours that waits: its formats, and the direction to fall back to."""

    formats: list[tuple[int, Codec]]
    previous_direction: Direction


def _ptime(media: MediaDescription, default_ms: int) -> int:
    """How much audio we put in a packet: the peer's wish in whole 10 ms, within 10 to 60 and its maximum."""
    wanted = min(media.ptime_ms or default_ms, media.maxptime_ms or _MAX_PTIME_MS, _MAX_PTIME_MS)
    return max(_MIN_PTIME_MS, wanted - wanted % 10)


def _refused(section: MediaDescription) -> MediaDescription:
    return MediaDescription(section.kind, 0, section.protocol, list(section.formats))


def _key(encoding: RtpMap) -> RtpMap:
    """One spelling for each encoding."""
    name = encoding.name.lower()
    return RtpMap(name, encoding.clock_hz, 2 if name == "opus" else encoding.channels)


def _names(codecs: tuple[Codec, ...]) -> str:
    return ", ".join(dict.fromkeys(codec.name for codec in codecs))
