"""Requests and responses: reading, writing, answering."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.sip.errors import LocalError, ParseError
from trunkline.sip.headers import Headers
from trunkline.sip.message import Limits, Request, Response, is_keepalive, parse_message, response_to
from trunkline.sip.uri import OpaqueUri, SipUri

# RFC 3261 §24.2, F1
INVITE = (
    b"INVITE sip:bob@biloxi.com SIP/2.0\r\n"
    b"Via: SIP/2.0/TCP client.atlanta.com:5060;branch=z9hG4bK74b43\r\n"
    b"Max-Forwards: 70\r\n"
    b"Route: <sip:ss1.atlanta.com;lr>\r\n"
    b"From: Alice <sip:alice@atlanta.com>;tag=9fxced76sl\r\n"
    b"To: Bob <sip:bob@biloxi.com>\r\n"
    b"Call-ID: 3848276298220188511@atlanta.com\r\n"
    b"CSeq: 1 INVITE\r\n"
    b"Contact: <sip:alice@client.atlanta.com;transport=tcp>\r\n"
    b"Content-Type: application/sdp; charset=utf-8\r\n"
    b"Content-Length: 5\r\n"
    b"\r\n"
    b"v=0\r\n"
)


def parse_request(data: bytes) -> Request:
    message = parse_message(data)
    assert isinstance(message, Request)
    return message


def without(name: bytes, data: bytes = INVITE) -> bytes:
    return b"\r\n".join(line for line in data.split(b"\r\n") if not line.startswith(name + b":"))


def replaced(name: bytes, value: bytes) -> bytes:
    return b"\r\n".join(
        name + b": " + value if line.startswith(name + b":") else line for line in INVITE.split(b"\r\n")
    )


def test_a_request_is_read():
    request = parse_request(INVITE)
    assert (request.method, str(request.uri), request.body) == ("INVITE", "sip:bob@biloxi.com", b"v=0\r\n")
    assert request.call_id == "3848276298220188511@atlanta.com"
    assert (request.cseq.number, request.cseq.method) == (1, "INVITE")
    assert (request.from_.tag, request.to.tag) == ("9fxced76sl", None)
    assert request.top_via == request.vias[0]
    assert request.top_via.sent_by == "client.atlanta.com:5060"
    assert str(request.contacts[0].uri) == "sip:alice@client.atlanta.com;transport=tcp"
    assert request.headers.get_all("Route") == ["<sip:ss1.atlanta.com;lr>"]
    assert request.record_routes == []
    assert request.max_forwards == 70
    assert request.content_type == "application/sdp"
    assert repr(request) == "<INVITE sip:bob@biloxi.com cseq=1 INVITE call=3848276298220188511@atlanta.com>"


def test_a_canonical_message_is_written_as_it_was_read():
    assert parse_message(INVITE).to_bytes() == INVITE


def test_a_response_is_read():
    data = without(b"Max-Forwards").replace(b"INVITE sip:bob@biloxi.com SIP/2.0", b"SIP/2.0 183 Session Progress")
    response = parse_message(data)
    assert isinstance(response, Response)
    assert (response.status, response.reason, response.is_provisional) == (183, "Session Progress", True)
    assert not response.is_success
    assert response.to_bytes() == data
    assert repr(response) == "<183 Session Progress cseq=1 INVITE call=3848276298220188511@atlanta.com>"


@pytest.mark.parametrize(
    "line", [b"SIP/2.0 200", b"SIP/2.0 200 ", b"sip/2.0 200 OK", b"SIP/2.0  200 OK  "], ids=lambda line: line.decode()
)
def test_a_status_line_may_lack_its_phrase(line):
    response = parse_message(INVITE.replace(b"INVITE sip:bob@biloxi.com SIP/2.0", line))
    assert isinstance(response, Response)
    assert (response.status, response.reason) == (200, "OK")
    assert response.is_success


@pytest.mark.parametrize("line", [b"SIP/2.0 99 x", b"SIP/2.0 700 x", b"SIP/2.0 abc", b"SIP/2.0", b"SIP/3.0 200 OK"])
def test_a_broken_status_line_cannot_be_answered(line):
    with pytest.raises(ParseError, match=r"^status line: ") as caught:
        parse_message(INVITE.replace(b"INVITE sip:bob@biloxi.com SIP/2.0", line))
    assert caught.value.request is None


def test_tolerated_on_the_way_in_and_put_right_on_the_way_out():
    data = (
        b"\r\n\r\n"
        b"OPTIONS  sip:gw@192.0.2.1   SIP/2.0 \n"
        b"v : SIP/2.0/UDP\n 192.0.2.9;branch=z9hG4bKa,\n\tSIP/2.0/UDP 192.0.2.8\n"
        b"f:sip:a@b;tag=1\nt:   <sip:gw@192.0.2.1>\ni:x\nCSEQ:\t5\tOPTIONS\nX-Custom:  kept, as it is \n\nbody"
    )
    assert parse_message(data).to_bytes() == (
        b"OPTIONS sip:gw@192.0.2.1 SIP/2.0\r\n"
        b"Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKa\r\nVia: SIP/2.0/UDP 192.0.2.8\r\n"
        b"From: sip:a@b;tag=1\r\nTo: <sip:gw@192.0.2.1>\r\nCall-ID: x\r\nCSeq: 5\tOPTIONS\r\n"
        b"X-Custom: kept, as it is\r\nContent-Length: 4\r\n\r\nbody"
    )


def test_octets_after_the_stated_length_are_dropped():
    assert parse_request(INVITE + b"INVITE sip:x@y SIP/2.0\r\n").body == b"v=0\r\n"


def test_without_content_length_the_body_fills_the_datagram():
    assert parse_request(without(b"Content-Length") + b"more").body == b"v=0\r\nmore"


def test_iso_8859_1_display_names_are_read():
    request = parse_request(replaced(b"From", b"M\xfcller <sip:m@b>;tag=1"))
    assert request.from_.display_name == "Müller"


@pytest.mark.parametrize("name", [b"Via", b"From", b"To", b"Call-ID", b"CSeq"])
def test_a_missing_mandatory_header_is_named_and_can_be_answered(name):
    with pytest.raises(ParseError, match=rf"^{name.decode()}: missing") as caught:
        parse_message(without(name))
    assert caught.value.status == 400
    assert caught.value.request is not None
    answer = response_to(caught.value.request, caught.value.status)
    assert answer.to_bytes().startswith(b"SIP/2.0 400 Bad Request\r\n")


@pytest.mark.parametrize("name", [b"From", b"To", b"Call-ID", b"CSeq"])
def test_a_header_that_must_be_single_is_not_taken_twice(name):
    line = next(line for line in INVITE.split(b"\r\n") if line.startswith(name))
    with pytest.raises(ParseError, match=rf"^{name.decode()}: given 2 times"):
        parse_message(INVITE.replace(line, line + b"\r\n" + line))


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        (b"Via", b"nonsense", "Via: malformed value 'nonsense'"),
        (b"From", b"<sip:alice@atlanta.com", "From: unbalanced quotes or angle brackets"),
        (b"To", b"<x>", "To: URI: malformed URI 'x'"),
        (b"CSeq", b"1 BYE", "CSeq: method BYE in the place of INVITE"),
        (b"CSeq", b"x INVITE", "CSeq: malformed value 'x INVITE'"),
        (b"Call-ID", b"", "Call-ID: missing"),
        (b"Max-Forwards", b"256", "Max-Forwards: 256 is not in 0 to 255"),
        (b"Max-Forwards", b"70\r\nMax-Forwards: 70", "Max-Forwards: given more than once"),
        (b"Content-Length", b"-999", "Content-Length: '-999' is not a number"),
        (b"Content-Length", b"6", "Content-Length: 6 octets stated, 5 received"),
        (b"Content-Length", b"5\r\nl: 4", "Content-Length: two different values"),
        (b"Route", b"a\rb", "Route: bare CR in the value"),
        (b"Route", b"x\r\nno colon", "headers: 'no colon' is not a header line"),
        (b"Route", b"x\r\n: empty", "headers: ': empty' is not a header line"),
    ],
)
def test_a_broken_header_gives_a_sentence_and_the_rest_of_the_request(name, value, sentence):
    with pytest.raises(ParseError) as caught:
        parse_message(replaced(name, value))
    assert caught.value.reason == sentence
    assert caught.value.status == 400
    assert caught.value.request is not None
    assert caught.value.request.headers.get("Contact") == "<sip:alice@client.atlanta.com;transport=tcp>"


@pytest.mark.parametrize(
    ("line", "status", "answerable"),
    [
        (b"INVITE sip:bob@biloxi.com SIP/7.0", 505, True),
        (b"INVITE sip:bob@biloxi.com SIP/2.1", 505, True),
        (b"INVITE sip:bob@biloxi.com", 400, True),
        (b"INVITE sip:bob@biloxi.com HTTP/1.1", 400, True),
        (b"INVITE <sip:bob@biloxi.com> SIP/2.0", 400, True),
        (b"INVITE sip:bob@biloxi.com; lr SIP/2.0", 400, True),
        (b"INVITE sip:bob@biloxi.com?Route=%3Csip:x%3E SIP/2.0", 400, True),
        (b"INVITE SIP/2.0", 400, True),
        (b"IN(VITE sip:bob@biloxi.com SIP/2.0", 400, False),
        (b"INVITE", 400, False),
    ],
)
def test_a_broken_request_line(line, status, answerable):
    with pytest.raises(ParseError) as caught:
        parse_message(INVITE.replace(b"INVITE sip:bob@biloxi.com SIP/2.0", line))
    assert caught.value.status == status
    assert (caught.value.request is not None) is answerable
    if caught.value.request is not None:
        assert caught.value.request.call_id == "3848276298220188511@atlanta.com"


def test_a_message_cut_off_in_its_headers():
    with pytest.raises(ParseError, match=r"^message: no empty line ends the headers"):
        parse_message(INVITE[: INVITE.index(b"\r\nContent-Length")])


@pytest.mark.parametrize(
    ("limits", "status"),
    [
        (Limits(max_message_octets=len(INVITE) - 1), 513),
        (Limits(max_header_lines=9), 400),
        (Limits(max_line_octets=40), 400),
    ],
)
def test_limits(limits, status):
    with pytest.raises(ParseError) as caught:
        parse_message(INVITE, limits)
    assert caught.value.status == status


def test_exactly_at_the_limits():
    assert parse_message(INVITE, Limits(len(INVITE), 10, 62)).body == b"v=0\r\n"


@pytest.mark.parametrize("data", [b"\r\n\r\n", b"\r\n", b"\0\0\0\0", b""])
def test_keepalives_are_told_from_messages(data):
    assert is_keepalive(data)
    assert not is_keepalive(INVITE)
    with pytest.raises(ParseError, match=r"^start line: "):
        parse_message(data)


def test_other_schemes_reach_the_user_agent():
    request = parse_request(
        INVITE.replace(b"sip:bob@biloxi.com SIP", b"nobodyKnowsThisScheme:totallyopaquecontent SIP")
    )
    assert request.uri == OpaqueUri("nobodyknowsthisscheme", "totallyopaquecontent")


def test_contact_star():
    request = parse_request(replaced(b"Contact", b"*"))
    assert request.contacts == []


def test_a_response_copies_what_the_rfc_says():
    data = INVITE.replace(
        b"Max-Forwards: 70\r\n",
        b"Via: SIP/2.0/UDP 192.0.2.1\r\nRecord-Route: <sip:p1;lr>, <sip:p2;lr>\r\nTimestamp: 54\r\n",
    )
    request = parse_request(data)
    ringing = response_to(request, 180, to_tag="8321234356")
    assert ringing.to_bytes() == (
        b"SIP/2.0 180 Ringing\r\n"
        b"Via: SIP/2.0/TCP client.atlanta.com:5060;branch=z9hG4bK74b43\r\n"
        b"Via: SIP/2.0/UDP 192.0.2.1\r\n"
        b"Record-Route: <sip:p1;lr>\r\n"
        b"Record-Route: <sip:p2;lr>\r\n"
        b"From: Alice <sip:alice@atlanta.com>;tag=9fxced76sl\r\n"
        b"To: Bob <sip:bob@biloxi.com>;tag=8321234356\r\n"
        b"Call-ID: 3848276298220188511@atlanta.com\r\n"
        b"CSeq: 1 INVITE\r\n"
        b"Content-Length: 0\r\n\r\n"
    )
    trying = response_to(request, 100, to_tag="never")
    assert (trying.to.tag, trying.headers.get("Timestamp"), trying.record_routes) == (None, "54", [])
    busy = response_to(request, 486, "Too many calls", "t")
    assert (busy.reason, busy.to.tag, busy.record_routes) == ("Too many calls", "t", [])


def test_a_to_tag_that_is_there_stays():
    request = parse_request(replaced(b"To", b"<sip:bob@biloxi.com>;tag=mine"))
    assert response_to(request, 200, to_tag="other").headers.get("To") == "<sip:bob@biloxi.com>;tag=mine"
    register = Request("REGISTER", SipUri("b"), headers=Headers([("Record-Route", "<sip:p;lr>"), ("To", "<broken")]))
    answer = response_to(register, 200, to_tag="x")
    assert list(answer.headers) == [("To", "<broken")]


def test_content_length_is_ours_alone():
    request = parse_request(INVITE)
    request.headers.add("Content-Length", "999")
    request.body = b""
    assert request.to_bytes().count(b"Content-Length") == 1
    assert request.to_bytes().endswith(b"\r\nContent-Length: 0\r\n\r\n")


def test_misuse_is_our_error():
    with pytest.raises(LocalError, match="is not a method"):
        Request("BAD METHOD", SipUri("a")).to_bytes()
    with pytest.raises(LocalError, match="is not a SIP status code"):
        Response(99)


def test_phrases_never_break_the_status_line():
    assert Response(486, "a\r\nb").to_bytes().startswith(b"SIP/2.0 486 a  b\r\n")
    assert Response(499).reason == "Client Error"


def _outcome(data: bytes) -> Request | Response | None:
    try:
        return parse_message(data)
    except ParseError as error:
        if error.request is not None:
            response_to(error.request, error.status, to_tag="t").to_bytes()
        return None


@given(st.binary())
def test_any_octets_are_a_message_or_a_parse_error(data):
    _outcome(data)
    _outcome(INVITE[:34] + data)


@given(st.data())
def test_a_damaged_message_is_a_message_or_a_parse_error(data):
    damaged = bytearray(INVITE)
    for _ in range(data.draw(st.integers(1, 6))):
        position = data.draw(st.integers(0, len(damaged) - 1))
        damaged[position : position + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    message = _outcome(bytes(damaged))
    if message is not None:
        again = parse_message(message.to_bytes())
        assert again == message
        assert again.to_bytes() == message.to_bytes()


_value = st.text(st.characters(exclude_characters="\r\n", exclude_categories=("Cs",))).map(
    lambda text: text.strip(" \t")
)


@given(rows=st.lists(st.tuples(st.sampled_from(["X-One", "Subject", "Allow", "User-Agent"]), _value)), body=st.binary())
def test_round_trip(rows, body):
    request = parse_request(INVITE)
    for name, value in rows:
        request.headers.add(name, value)
    request.body = body
    assert parse_message(request.to_bytes()) == request
