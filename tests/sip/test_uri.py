"""URIs, their comparison, and name-addr."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.sip.errors import ParseError
from trunkline.sip.grammar import Params
from trunkline.sip.uri import NameAddr, OpaqueUri, SipUri, escape_user, parse_uri


def test_every_part_of_a_sip_uri():
    uri = SipUri.parse("sips:alice:secret@gw.example.com:5061;transport=TCP;lr?subject=hi&priority=urgent")
    assert (uri.scheme, uri.user, uri.password, uri.host, uri.port) == (
        "sips",
        "alice",
        "secret",
        "gw.example.com",
        5061,
    )
    assert uri.transport == "tcp"
    assert uri.is_loose_router
    assert uri.headers == "subject=hi&priority=urgent"
    assert str(uri) == "sips:alice:secret@gw.example.com:5061;transport=TCP;lr?subject=hi&priority=urgent"
    assert str(uri.without_headers()) == "sips:alice:secret@gw.example.com:5061;transport=TCP;lr"


def test_ipv6_host_loses_its_brackets_and_gets_them_back():
    uri = SipUri.parse("sip:bob@[2001:db8::9:1]:5070")
    assert uri.host == "2001:db8::9:1"
    assert uri.hostport == "[2001:db8::9:1]:5070"
    assert str(uri) == "sip:bob@[2001:db8::9:1]:5070"


def test_a_uri_without_user():
    uri = SipUri.parse("sip:192.0.2.7")
    assert (uri.user, uri.port, uri.unescaped_user, uri.transport) == (None, None, "", None)
    assert str(SipUri.parse("sip:@192.0.2.7")) == "sip:192.0.2.7"


def test_user_with_raw_separators_and_escapes():
    # RFC 4475 §3.1.1.11 and §3.1.1.4
    assert SipUri.parse("sip:user;par=u%40example.net@example.com").user == "user;par=u%40example.net"
    assert SipUri.parse("sip:I%20have%20spaces@example.net").unescaped_user == "I have spaces"
    assert SipUri.parse("sip:null-%00-null@example.com").unescaped_user == "null-\0-null"


def test_unsafe_characters_in_a_user_are_escaped():
    assert str(SipUri.parse("sip:#55@pbx.example.com")) == "sip:%2355@pbx.example.com"
    assert str(SipUri("example.com", user="a b%zz%41é")) == "sip:a%20b%25zz%41%C3%A9@example.com"
    assert escape_user("+14155550100") == "+14155550100"


@pytest.mark.parametrize(
    "text",
    [
        "sip:",
        "sip:a@",
        "sip:a@b@c",
        "sip:a b@c",
        "sip:a@b:99999999",
        "<sip:a@b>",
        "sip::pw@host",
        "sip:[zz]",
        "tel:1",
        "sip:a@b c",
    ],
)
def test_malformed_sip_uris(text):
    with pytest.raises(ParseError, match=r"^URI: "):
        SipUri.parse(text)


@pytest.mark.parametrize("port", [0, 65536])
def test_port_range(port):
    with pytest.raises(ParseError, match=rf"^URI: port {port} is not in 1 to 65535"):
        SipUri.parse(f"sip:a@b:{port}")


def test_other_schemes_are_kept():
    uri = parse_uri("TEL:+1-201-555-0123;phone-context=example.com")
    assert uri == OpaqueUri("tel", "+1-201-555-0123;phone-context=example.com")
    assert uri.user == uri.unescaped_user == "+1-201-555-0123"
    assert str(uri) == "tel:+1-201-555-0123;phone-context=example.com"
    assert parse_uri("soap.beep://192.0.2.103:3002").user is None
    assert parse_uri("isbn:2983792873").unescaped_user == ""
    with pytest.raises(ParseError, match=r"^URI: malformed URI"):
        parse_uri("no scheme")


def test_name_addr_with_quoted_name():
    address = NameAddr.parse('"J Rosenberg \\\\\\""  <sip:jdrosen@example.com;lr> ; tag = 98asjd8')
    assert address.display_name == 'J Rosenberg \\"'
    assert address.tag == "98asjd8"
    assert str(address.uri) == "sip:jdrosen@example.com;lr"
    assert NameAddr.parse(str(address)) == address


def test_name_addr_with_plain_and_missing_names():
    assert NameAddr.parse("caller<sip:caller@example.com>;tag=323").display_name == "caller"
    assert NameAddr.parse("Bell, Alexander <sip:a@b>;tag=43").display_name == "Bell, Alexander"
    assert NameAddr.parse("<sip:a@b>").display_name == ""
    assert NameAddr.parse('"" <sip:a@b>').display_name == ""


def test_without_brackets_parameters_belong_to_the_header():
    address = NameAddr.parse("sip:+16505552222@ss1.example.net;user=phone;tag=x")
    assert str(address.uri) == "sip:+16505552222@ss1.example.net"
    assert address.params == Params.parse("user=phone;tag=x", "")
    assert address.tag == "x"


def test_with_param_and_tag():
    address = NameAddr.parse("<sip:a@b>;tag=1")
    assert str(address.with_tag("2").with_param("expires", "60")) == "<sip:a@b>;tag=2;expires=60"
    assert str(SipUri("b", user="a").with_param("lr")) == "sip:a@b;lr"


@pytest.mark.parametrize(
    "text",
    [
        '"Mr. J. User <sip:j.user@example.com>',
        "<sip:a@b",
        "sip:a@b>",
        '"x" sip:a@b',
        "<sip:a@b> trailing",
        "sip:user@example.com?Route=%3Csip:sip.example.com%3E",
        "",
        "<>",
        "<sip:a@b>;;",
    ],
)
def test_malformed_name_addr_names_the_field(text):
    with pytest.raises(ParseError, match=r"^To: "):
        NameAddr.parse(text, "To")


@given(st.text())
def test_any_text_is_a_uri_or_a_parse_error(text):
    for candidate in (text, f"sip:{text}", f"sip:u@{text}", f'"n" <sip:{text}>;{text}'):
        for parse in (parse_uri, SipUri.parse, NameAddr.parse):
            try:
                parsed = parse(candidate)
            except ParseError:
                continue
            assert parse(str(parsed)) == parsed


_words = st.text("abcXYZ019-.+", min_size=1, max_size=8)
_params = st.lists(st.tuples(_words, st.none() | _words), max_size=3).map(Params)


@given(
    user=st.none() | st.text(min_size=1).map(escape_user),
    host=st.sampled_from(["example.com", "192.0.2.1", "2001:db8::1"]),
    port=st.none() | st.integers(1, 65535),
    params=_params,
    scheme=st.sampled_from(["sip", "sips"]),
    name=st.text(),
    tags=_params,
)
def test_round_trip(user, host, port, params, scheme, name, tags):
    uri = SipUri(host, user, port, params, scheme)
    assert SipUri.parse(str(uri)) == uri
    address = NameAddr(uri, name, tags)
    assert NameAddr.parse(str(address)) == address
