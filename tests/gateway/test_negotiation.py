"""Offer/answer as a call uses it."""

import pytest

from trunkline.gateway.negotiation import Negotiation
from trunkline.sip.errors import NegotiationError, ParseError, SipError

OFFER = (
    b"v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n"
    b"m=audio 4000 RTP/AVP 8 96 101\r\na=rtpmap:96 opus/48000/2\r\na=fmtp:96 useinbandfec=1\r\n"
    b"a=rtpmap:101 telephone-event/8000\r\na=rtcp:4005\r\n"
)


def side(*codecs: str) -> Negotiation:
    negotiation = Negotiation(codecs)
    negotiation.bind("198.51.100.1", 20000)
    return negotiation


def test_expect_tells_the_codec_that_the_answer_will_have() -> None:
    negotiation = side("opus", "PCMA")
    expected = negotiation.expect(OFFER)
    _, parameters = negotiation.answer(OFFER)
    assert (expected.name, expected.send_type) == (parameters.codec.name, parameters.codec.send_type)


def test_answer_names_our_address_and_theirs() -> None:
    answer, parameters = side("PCMA").answer(OFFER)
    assert b"198.51.100.1" in answer
    assert b"m=audio 20000 RTP/AVP 8 101" in answer
    assert (parameters.remote_host, parameters.remote_port, parameters.remote_rtcp_port) == ("192.0.2.9", 4000, 4005)
    assert parameters.event_send_type == 101
    assert parameters.direction == "sendrecv"


def test_hold_turns_the_direction_round() -> None:
    negotiation = side("PCMA")
    negotiation.answer(OFFER)
    _, held = negotiation.answer(OFFER + b"a=sendonly\r\n")
    assert held.direction == "recvonly"
    _, back = negotiation.answer(OFFER)
    assert back.direction == "sendrecv"


def test_no_common_codec_is_488() -> None:
    with pytest.raises(NegotiationError) as error:
        side("PCMU").expect(OFFER)
    assert error.value.status == 488


def test_broken_description_is_400() -> None:
    with pytest.raises(ParseError) as error:
        side("PCMU").expect(b"v=0\r\nm=audio")
    assert error.value.status == 400


def test_our_offer_is_answered() -> None:
    ours, theirs = side("PCMU", "PCMA"), side("PCMA")
    answer, _ = theirs.answer(ours.offer())
    assert ours.accept(answer).codec.name == "PCMA"


def test_an_answer_without_a_body_is_an_error() -> None:
    ours = side("PCMU")
    ours.offer()
    with pytest.raises(SipError):
        ours.accept(None)
