"""The header multi-map and the typed headers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.sip.errors import LocalError, ParseError
from trunkline.sip.headers import CSeq, Headers, Via, canonical_name, parse_contact, parse_number


def test_names_are_expanded_and_compared_without_case():
    headers = Headers([("v", "SIP/2.0/UDP a"), ("CALL-id", "x"), ("X-Own", "1"), ("k", "timer")])
    assert list(headers) == [("Via", "SIP/2.0/UDP a"), ("Call-ID", "x"), ("X-Own", "1"), ("Supported", "timer")]
    assert headers.get("call-ID") == headers.get("i") == "x"
    assert headers.get("x-own") == "1"
    assert "VIA" in headers
    assert "To" not in headers
    assert canonical_name("cseq") == "CSeq"
    assert canonical_name("X-own") == "X-own"


def test_values_combined_with_commas_become_rows_of_their_own():
    headers = Headers([("Via", "SIP/2.0/UDP a;branch=1, SIP/2.0/TCP b"), ("Route", '"x,y" <sip:a;lr>,<sip:b>')])
    assert headers.get_all("Via") == ["SIP/2.0/UDP a;branch=1", "SIP/2.0/TCP b"]
    assert headers.get_all("Route") == ['"x,y" <sip:a;lr>', "<sip:b>"]
    assert headers.count("Via") == 2


def test_token_lists_are_split_on_reading_and_kept_on_the_wire():
    headers = Headers([("Allow", "INVITE, ACK"), ("Allow", "BYE")])
    assert headers.get("Allow") == "INVITE, ACK"
    assert headers.get_all("Allow") == ["INVITE", "ACK", "BYE"]
    assert headers.has_token("allow", "bye")
    assert not headers.has_token("allow", "INFO")
    assert not headers.has_token("Require", "100rel")


def test_authentication_headers_are_never_split():
    value = 'Digest realm="a", nonce="b", qop="auth,auth-int"'
    headers = Headers([("WWW-Authenticate", value), ("WWW-Authenticate", "Digest x=1")])
    assert headers.get_all("www-authenticate") == [value, "Digest x=1"]


def test_set_keeps_the_place_of_the_first_row():
    headers = Headers([("X-A", "1"), ("X-B", "2"), ("X-A", "3"), ("X-C", "4")])
    headers.set("x-a", "9")
    headers.set("X-D", "5")
    assert list(headers) == [("x-a", "9"), ("X-B", "2"), ("X-C", "4"), ("X-D", "5")]


def test_the_top_via_can_be_exchanged():
    headers = Headers([("From", "x"), ("Via", "SIP/2.0/UDP a, SIP/2.0/UDP b"), ("To", "y")])
    assert headers.remove_first("Via") == "SIP/2.0/UDP a"
    headers.insert_first("Via", "SIP/2.0/UDP c")
    assert [value for name, value in headers if name == "Via"] == ["SIP/2.0/UDP c", "SIP/2.0/UDP b"]
    headers.remove("via")
    assert headers.remove_first("Via") is None
    headers.insert_first("Via", "SIP/2.0/UDP d")
    assert next(iter(headers)) == ("Via", "SIP/2.0/UDP d")


def test_a_copy_is_independent():
    headers = Headers([("X-A", "1")])
    other = headers.copy()
    other.add("X-B", "2")
    assert len(headers) == 1
    assert headers == Headers([("X-A", "1")])
    assert headers != other
    assert repr(headers) == "Headers([('X-A', '1')])"


@pytest.mark.parametrize(("name", "value"), [("X", "a\r\nVia: b"), ("X", "a\nb"), ("X Y", "a"), ("", "a"), ("X:", "a")])
def test_a_row_that_would_break_the_message_is_our_error(name, value):
    for method in (Headers().add, Headers().set, Headers().insert_first):
        with pytest.raises(LocalError):
            method(name, value)


def test_numbers_have_a_range():
    headers = Headers([("Expires", "3600"), ("Min-Expires", "-5"), ("Max-Forwards", "300")])
    assert headers.get_number("Expires", maximum=2**32 - 1) == 3600
    assert headers.get_number("Retry-After", maximum=10) is None
    with pytest.raises(ParseError, match=r"^Min-Expires: '-5' is not a number"):
        headers.get_number("min-expires", maximum=10)
    with pytest.raises(ParseError, match=r"^Max-Forwards: 300 is not in 0 to 255"):
        headers.get_number("max-forwards", maximum=255)
    with pytest.raises(ParseError, match=r"^X: "):
        parse_number("9" * 5000, "X", maximum=10)
    with pytest.raises(ParseError, match=r"^X: "):
        parse_number("\u0663", "X", maximum=10)


def test_via_with_everything():
    via = Via.parse("SIP/2.0/udp [2001:db8::1]:5062;branch=z9hG4bK87a;received=[2001:db8::2];rport=5070;x")
    assert (via.transport, via.host, via.port) == ("UDP", "2001:db8::1", 5062)
    assert (via.branch, via.received, via.rport) == ("z9hG4bK87a", "2001:db8::2", 5070)
    assert via.sent_by == "[2001:db8::1]:5062"
    assert Via.parse(str(via)) == via


def test_via_with_blanks_everywhere():
    via = Via.parse("SIP  / 2.0  / TCP     spindle.example.com  : 5060 ; branch  =   z9hG4bK9ikj8")
    assert (via.transport, via.host, via.port, via.branch) == ("TCP", "spindle.example.com", 5060, "z9hG4bK9ikj8")


@pytest.mark.parametrize(
    "text",
    ["", "SIP/2.0/UDP", "SIP/3.0/UDP a", "SIP/2.0/UDP a:0", "SIP/2.0/UDP a:70000", "SIP/2.0/UDP a;;,;,,", "HTTP/1.1 a"],
)
def test_malformed_via(text):
    with pytest.raises(ParseError, match=r"^Via"):
        Via.parse(text)


def test_received_from_follows_rfc_3261_and_3581():
    plain = Via.parse("SIP/2.0/UDP 10.0.0.1:5060;branch=b")
    assert plain.received_from("10.0.0.1", 9999) == plain
    assert str(plain.received_from("192.0.2.1", 9999)) == "SIP/2.0/UDP 10.0.0.1:5060;branch=b;received=192.0.2.1"
    nat = Via.parse("SIP/2.0/UDP 10.0.0.1:5060;rport;branch=b")
    assert nat.wants_rport
    assert nat.rport is None
    seen = nat.received_from("192.0.2.1", 9999)
    assert str(seen) == "SIP/2.0/UDP 10.0.0.1:5060;rport=9999;branch=b;received=192.0.2.1"
    assert (seen.received, seen.rport) == ("192.0.2.1", 9999)


@pytest.mark.parametrize("value", ["0", "65536", "x", "\u0663"])
def test_rport_that_is_no_port_is_ignored(value):
    assert Via.parse(f"SIP/2.0/UDP a;rport={value}").rport is None


def test_cseq():
    assert CSeq.parse(" 0009\t INVITE") == CSeq(9, "INVITE")
    assert str(CSeq(2**31 - 1, "BYE")) == "2147483647 BYE"
    for text in (
        "INVITE",
        "1",
        "-1 INVITE",
        "2147483648 INVITE",
        "36893488147419103232 REGISTER",
        "1 IN VITE",
        "1INVITE",
    ):
        with pytest.raises(ParseError, match=r"^CSeq: "):
            CSeq.parse(text)


def test_contact_star():
    assert parse_contact(" * ") is None
    contact = parse_contact("<sip:a@b>;expires=60")
    assert contact is not None
    assert contact.params.get("expires") == "60"


@given(st.text())
def test_any_text_is_typed_or_a_parse_error(text):
    for parse in (Via.parse, CSeq.parse):
        for candidate in (text, f"SIP/2.0/UDP {text}", f"SIP/2.0/UDP h;{text}", f"1 {text}"):
            try:
                parsed = parse(candidate)
            except ParseError:
                continue
            assert parse(str(parsed)) == parsed
