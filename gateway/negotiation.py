"""One call's offer/answer: between SDP octets on the SIP side and MediaParameters on the worker's."""

import secrets
from collections.abc import Sequence

from ..sip.errors import NegotiationError
from ..sip.offer_answer import OPUS, PCMA, PCMU, Agreed, AudioNegotiation
from ..sip.offer_answer import Codec as SipCodec
from ..sip.sdp import SessionDescription
from .messages import CodecSpec, MediaParameters

_CODECS: dict[str, SipCodec] = {"opus": OPUS, "PCMU": PCMU, "PCMA": PCMA}


class Negotiation:
    """Our side of the call's audio. Errors are SipError: ParseError (400) or NegotiationError (488)."""

    def __init__(self, codecs: Sequence[str]) -> None:
        """`codecs` by name, in order of preference."""
        self._codecs = tuple(_CODECS[name] for name in codecs)
        self._audio = self._side("0.0.0.0", 0)  # noqa: S104 - never sent: bind() comes before any description

    def _side(self, host: str, port: int) -> AudioNegotiation:
        return AudioNegotiation(self._codecs, host, port, session_id=secrets.randbits(62))

    def expect(self, offer: bytes | None) -> CodecSpec:
        """The codec that the call will have: the answer's to `offer`, or our favourite when we shall offer."""
        if offer is None:
            return _spec(self._codecs[0], self._codecs[0].payload_type, self._codecs[0].payload_type)
        _, agreed = self._side("127.0.0.1", 9).answer(SessionDescription.parse(offer))
        return _spec(agreed.codec, agreed.send_payload_type, agreed.receive_payload_type)

    def bind(self, host: str, port: int) -> None:
        """Where we receive RTP, as the far end reaches it."""
        self._audio.move(host, port, port + 1)

    def offer(self) -> bytes:
        """Our description, to be answered."""
        return self._audio.create_offer().to_bytes()

    def withdraw(self) -> None:
        """Our offer came to nothing; what was agreed before stays."""
        self._audio.cancel_offer()

    def answer(self, offer: bytes) -> tuple[bytes, MediaParameters]:
        """Our answer and what it settles."""
        description, agreed = self._audio.answer(SessionDescription.parse(offer))
        return description.to_bytes(), _parameters(agreed)

    def accept(self, answer: bytes | None) -> MediaParameters:
        """What the far end's answer settles."""
        if answer is None:
            raise NegotiationError("the answer holds no session description")
        return _parameters(self._audio.accept_answer(SessionDescription.parse(answer)))


def _spec(codec: SipCodec, send: int, receive: int, fmtp: str = "") -> CodecSpec:
    return CodecSpec(codec.name, codec.clock_hz, codec.channels, send, receive, fmtp)


def _parameters(agreed: Agreed) -> MediaParameters:
    fmtp = ";".join(f"{name}={value}" if value else name for name, value in agreed.remote_fmtp.items())
    return MediaParameters(
        codec=_spec(agreed.codec, agreed.send_payload_type, agreed.receive_payload_type, fmtp),
        remote_host=agreed.remote_address,
        remote_port=agreed.remote_port,
        remote_rtcp_port=agreed.remote_rtcp_port,
        rtcp_mux=agreed.rtcp_mux,
        direction=agreed.direction.value,
        ptime_ms=agreed.ptime_ms,
        event_send_type=agreed.event_send_payload_type,
        event_receive_type=agreed.event_receive_payload_type,
        event_clock_rate=agreed.event_clock_hz,
    )
