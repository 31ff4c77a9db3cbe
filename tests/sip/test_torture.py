"""The torture messages of RFC 4475, each with the layer that must object to it.

Written after the RFC's descriptions. `PARSER` cases must be refused by `parse_message` with the status named;
all others must be read, and the test says what the layer above (user agent, registrar, transaction) finds to object to.
"""

import pytest

from trunkline.sip.errors import ParseError
from trunkline.sip.message import Request, Response, parse_message, response_to
from trunkline.sip.stream import StreamFramer
from trunkline.sip.uri import OpaqueUri, SipUri

SDP = (
    "v=0\r\no=mhandley 29739 7272939 IN IP4 192.0.2.1\r\ns=-\r\n"
    "c=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 49217 RTP/AVP 0\r\n"
)


def wire(text: str, body: str | bytes = b"") -> bytes:
    """A message from its lines; a folded line begins with a blank, and {length} becomes the body's."""
    content = body.encode() if isinstance(body, str) else body
    lines = text.strip("\n").split("\n")
    return "\r\n".join((*lines, "", "")).replace("{length}", str(len(content))).encode() + content


def request(data: bytes) -> Request:
    message = parse_message(data)
    assert isinstance(message, Request)
    # What is read can be written strictly, and answered.
    assert parse_message(message.to_bytes()) == message
    parse_message(response_to(message, 200, to_tag="t").to_bytes())
    return message


# --- §3.1.1 valid messages: nobody may object

WSINV = wire(
    """
INVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0
TO :
 sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n
from   : "J Rosenberg \\\\\\""       <sip:jdrosen@example.com>
  ;
  tag = 98asjd8
MaX-fOrWaRdS: 0068
Call-ID: wsinv.ndaksdj@192.0.2.1
Content-Length   : {length}
cseq: 0009
  INVITE
Via  : SIP  /   2.0
 /UDP
    192.0.2.2;branch=390skdjuw
s :
NewFangledHeader:   newfangled value
 continued newfangled value
UnknownHeaderWithUnusualValue: ;;,,;;,;
Content-Type: application/sdp
Route:
 <sip:services.example.com;lr;unknownwith=value;unknown-no-value>
v:  SIP  / 2.0  / TCP     spindle.example.com   ;
  branch  =   z9hG4bK9ikj8  ,
 SIP  /    2.0   / UDP  192.168.255.111   ; branch=
 z9hG4bK30239
m:"Quoted string \\"\\"" <sip:jdrosen@example.com> ; newparam =
      newvalue ;
  secondparam ; q = 0.33
""",
    SDP,
)


def test_wsinv_a_short_tortuous_invite():
    message = request(WSINV)
    assert (message.cseq.number, message.cseq.method, message.max_forwards) == (9, "INVITE", 68)
    assert (message.to.tag, message.from_.tag) == ("1918181833n", "98asjd8")
    assert message.from_.display_name == 'J Rosenberg \\"'
    assert [(via.transport, via.host, via.branch) for via in message.vias] == [
        ("UDP", "192.0.2.2", "390skdjuw"),
        ("TCP", "spindle.example.com", "z9hG4bK9ikj8"),
        ("UDP", "192.168.255.111", "z9hG4bK30239"),
    ]
    assert message.headers.get("NewFangledHeader") == "newfangled value continued newfangled value"
    assert message.headers.get("UnknownHeaderWithUnusualValue") == ";;,,;;,;"
    assert message.headers.get("Subject") == ""
    (contact,) = message.contacts
    assert contact.display_name == 'Quoted string ""'
    assert (contact.params.get("newparam"), contact.params.get("q"), "secondparam" in contact.params) == (
        "newvalue",
        "0.33",
        True,
    )
    assert str(message.uri) == "sip:vivekg@chair-dnrc.example.com;unknownparam"
    assert message.body == SDP.encode()


def test_intmeth_wide_range_of_valid_characters():
    userinfo = "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"
    method = "!interesting-Method0123456789_*+`.%indeed'~"
    message = request(
        wire(
            f"""
{method} sip:{userinfo}@example.com SIP/2.0
Via: SIP/2.0/TCP host1.example.com;branch=z9hG4bK-.!%66*_+`'~
To: "BEL:\\\x07 NUL:\\\x00 DEL:\\\x7f" <sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*@example.com>
From: token1~` token2'+_ token3*%!.- <sip:mundane@example.com>;fromParam''~+*_!.-%="работающий";tag=_token~1'+`*%!-.
Call-ID: intmeth.word%ZK-!.*_+'@word`~)(><:\\/"][?}}{{
CSeq: 139122385 {method}
Max-Forwards: 255
extensionHeader-!.%*+_`'~: 大停電
Content-Length: 0
"""
        )
    )
    assert message.method == method
    assert isinstance(message.uri, SipUri)
    assert message.uri.user == "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"
    assert message.uri.password == "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"
    assert message.to.display_name == "BEL:\x07 NUL:\x00 DEL:\x7f"
    assert message.from_.tag == "_token~1'+`*%!-."
    assert message.headers.get("extensionHeader-!.%*+_`'~") == "大停電"


def test_esc01_escapes_are_not_undone_too_early():
    message = request(
        wire(
            """
INVITE sip:sips%3Auser%40example.com@example.net SIP/2.0
To: sip:%75se%72@example.com
From: <sip:I%20have%20spaces@example.net>;tag=938
Max-Forwards: 87
i: esc01.239409asdfakjkn23onasd0-3234
CSeq: 234234 INVITE
Via: SIP/2.0/UDP host5.example.net;branch=z9hG4bKkdjuw
C: application/sdp
Contact:
  <sip:cal%6Cer@host5.example.net;%6C%72;n%61me=v%61lue%25%34%31>
Content-Length: {length}
""",
            SDP,
        )
    )
    assert isinstance(message.uri, SipUri)
    assert (message.uri.scheme, message.uri.unescaped_user, message.uri.host) == (
        "sip",
        "sips:user@example.com",
        "example.net",
    )
    assert str(message.to.uri) == "sip:%75se%72@example.com"
    contact = message.contacts[0].uri
    assert isinstance(contact, SipUri)
    assert (
        not contact.is_loose_router or str(contact) == "sip:cal%6Cer@host5.example.net;%6C%72;n%61me=v%61lue%25%34%31"
    )


def test_escnull_escaped_nulls():
    message = request(
        wire(
            """
REGISTER sip:example.com SIP/2.0
To: sip:null-%00-null@example.com
From: sip:null-%00-null@example.com;tag=839923423
Max-Forwards: 70
Call-ID: escnull.39203ndfvkjdasfkq3w4otrq0adsfdfnavd
CSeq: 14398234 REGISTER
Via: SIP/2.0/UDP host5.example.com;branch=z9hG4bKkdjuw
Contact: <sip:%00@host5.example.com>
Contact: <sip:%00%00@host5.example.com>
L:0
"""
        )
    )
    first, second = (contact.uri for contact in message.contacts)
    assert (str(first), str(second)) == ("sip:%00@host5.example.com", "sip:%00%00@host5.example.com")


def test_esc02_percent_in_the_method_is_no_escape():
    message = request(
        wire(
            """
RE%47IST%45R sip:registrar.example.com SIP/2.0
To: "%Z%45" <sip:resource@example.com>
From: "%Z%45" <sip:resource@example.com>;tag=f232jadfj23
Call-ID: esc02.asdfnqwo34rq23i34jrjasdcnl23nrlknsdf
Via: SIP/2.0/TCP host.example.com;branch=z9hG4bK209%fzsnel234
CSeq: 29344 RE%47IST%45R
Max-Forwards: 70
Contact: <sip:alias1@host1.example.com>
C%6Fntact: <sip:alias2@host2.example.com>
Contact: <sip:alias3@host3.example.com>
l: 0
"""
        )
    )
    assert message.method == "RE%47IST%45R"
    assert [str(contact.uri) for contact in message.contacts] == [
        "sip:alias1@host1.example.com",
        "sip:alias3@host3.example.com",
    ]
    assert message.to.display_name == "%Z%45"


def test_lwsdisp_no_blank_before_the_angle_bracket():
    message = request(
        wire(
            """
OPTIONS sip:user@example.com SIP/2.0
To: sip:user@example.com
From: caller<sip:caller@example.com>;tag=323
Max-Forwards: 70
Call-ID: lwsdisp.1234abcd@funky.example.com
CSeq: 60 OPTIONS
Via: SIP/2.0/UDP funky.example.com;branch=z9hG4bKkdjuw
l: 0
"""
        )
    )
    assert message.from_.display_name == "caller"


def test_longreq_long_values():
    name = "amazinglylong" * 10
    message = request(
        wire(
            f"""
INVITE sip:user@example.com SIP/2.0
To: "I have a user name of {"extremely " * 30}long length" <sip:{"long" * 60}@example.com:6000;tag>
F: sip:{name}@example.net;tag=12{"982" * 50}424;unknown{"header" * 20}paramname
Call-ID: longreq.one{"really" * 40}longcallid
CSeq: 3882340 INVITE
Unknown-{"Long" * 50}-Name: unknown-{"long" * 50}-value; with{"long" * 20}=x
Via: {", ".join(f"SIP/2.0/TCP sip{number}.example.com" for number in range(33, 0, -1))}
v: SIP/2.0/UDP host.example.com;received=192.0.2.5;branch=very{"long" * 60}branchvalue
Max-Forwards: 70
Contact: <sip:{name}@host5.example.net>
Content-Type: application/sdp
l: {{length}}
""",
            SDP,
        )
    )
    assert len(message.vias) == 34
    assert message.vias[-1].received == "192.0.2.5"
    assert message.call_id.endswith("longcallid")


def test_dblreq_a_second_request_in_the_datagram_is_ignored():
    data = wire(
        """
REGISTER sip:example.com SIP/2.0
To: sip:j.user@example.com
From: sip:j.user@example.com;tag=43251j3j324
Max-Forwards: 8
I: dblreq.0ha0isndaksdj99sdfafnl3lk233412
Contact: sip:j.user@host.example.com
CSeq: 8 REGISTER
Via: SIP/2.0/UDP 192.0.2.125;branch=z9hG4bKkdjuw23492
Content-Length: 0
"""
    )
    message = request(data + WSINV)
    assert (message.method, message.body) == ("REGISTER", b"")
    # On a stream the same octets are two requests.
    assert StreamFramer().feed(data + WSINV) == [data, WSINV]


def test_semiuri_semicolon_in_the_user_part():
    message = request(
        wire(
            """
OPTIONS sip:user;par=u%40example.net@example.com SIP/2.0
To: sip:j_user@example.com
From: sip:caller@example.org;tag=33242
Max-Forwards: 3
Call-ID: semiuri.0ha0isndaksdj
CSeq: 8 OPTIONS
Accept: application/sdp, application/pkcs7-mime,
        multipart/mixed, multipart/signed,
        message/sip, message/sipfrag
Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKkdjuw
l: 0
"""
        )
    )
    assert isinstance(message.uri, SipUri)
    assert message.uri.unescaped_user == "user;par=u@example.net"
    assert len(message.uri.params) == 0
    assert len(message.headers.get_all("Accept")) == 6


def test_transports_varied_and_unknown():
    message = request(
        wire(
            """
OPTIONS sip:user@example.com SIP/2.0
To: sip:user@example.com
From: <sip:caller@example.com>;tag=323
Max-Forwards: 70
Call-ID:  transports.kijh4akdnaqjkwendsasfdj
Accept: application/sdp
CSeq: 60 OPTIONS
Via: SIP/2.0/UDP t1.example.com;branch=z9hG4bKkdjuw
Via: SIP/2.0/SCTP t2.example.com;branch=z9hG4bKklasjdhf
Via: SIP/2.0/TLS t3.example.com;branch=z9hG4bK2980unddj
Via: SIP/2.0/UNKNOWN t4.example.com;branch=z9hG4bKasd0f3en
Via: SIP/2.0/TCP t5.example.com;branch=z9hG4bK0a9idfnee
l: 0
"""
        )
    )
    assert [via.transport for via in message.vias] == ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]


def test_mpart01_a_multipart_body_with_binary_octets():
    part = b"--7a9cbec02ceef655\r\n"
    body = part + b"Content-Type: text/plain\r\n\r\nHello\r\n" + part + b"\r\n0\x82\x01\x52\x00\r\n\r\n\xff--"
    message = request(
        wire(
            """
MESSAGE sip:kumiko@example.org SIP/2.0
Via: SIP/2.0/UDP 127.0.0.1:5070;branch=z9hG4bK-d87543-4dade06d0bdb11ee-1--d87543-;rport
Max-Forwards: 70
Route: <sip:127.0.0.1:5080>
Identity: r5mwreLuyDRYBi/0TiPwEsY3rEVsk/G2WxhgTV1PF7hHuLIK0YWVKZhKv9Mj8UeXqkMVbnVq37CD+813gvYjcBUaZngQmXc9WNZSDN
 GCzA+fWl9MEUHWIZo1CeJebdY/XlgKeTa0Olvq0rt70Q5jiSfbqMJmQFteeivUhkMWYUA=
Contact: <sip:fluffy@127.0.0.1:5070>
To: <sip:kumiko@example.org>
From: <sip:fluffy@example.com>;tag=2fb0dcc9
Call-ID: 3d9485ad0c49859b@Zmx1ZmZ5LW1hYy0xNi5sb2NhbA..
CSeq: 1 MESSAGE
Content-Transfer-Encoding: binary
Content-Type: multipart/mixed;boundary=7a9cbec02ceef655
Content-Length: {length}
""",
            body,
        )
    )
    assert message.body == body
    assert message.content_type == "multipart/mixed"


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        (
            "SIP/2.0 200 = 2**3 * 5**2 но сто девяносто девять - простое",
            200,
            "= 2**3 * 5**2 но сто девяносто девять - простое",
        ),
        ("SIP/2.0 100 ", 100, "Trying"),
    ],
    ids=["unreason", "noreason"],
)
def test_unusual_and_empty_reason_phrases(line, status, reason):
    message = parse_message(
        wire(
            f"""
{line}
Via: SIP/2.0/UDP 192.0.2.105;branch=z9hG4bK2398ndaoe
Call-ID: noreason.asndj203insdf99223ndf
CSeq: 35 INVITE
From: <sip:user@example.com>;tag=39ansfi3
To: <sip:user@example.edu>;tag=902jndnke3
Content-Length: 0
Contact: <sip:user@host105.example.com>
"""
        )
    )
    assert isinstance(message, Response)
    assert (message.status, message.reason) == (status, reason)
    assert parse_message(message.to_bytes()) == message


# --- §3.1.2 invalid messages: the parser objects

HEADERS = """
Via: SIP/2.0/UDP host.example.com;branch=z9hG4bKkdjuw
To: sip:j.user@example.com
From: sip:caller@example.net;tag=134161461246
Max-Forwards: 7
Call-ID: case.0ha0isndaksdjasdf3234nas
CSeq: 8 {method}
Content-Length: 0
"""


def message_with(start: str = "INVITE sip:user@example.com SIP/2.0", **changed: str) -> bytes:
    """A plain request with the given header lines exchanged (underscores stand for dashes)."""
    lines = HEADERS.format(method=start.split()[0]).strip().split("\n")
    for name, value in changed.items():
        header = name.replace("_", "-")
        lines = [line for line in lines if line.partition(":")[0] != header]
        lines.extend(f"{header}: {item}" for item in value.split("\n") if value != "-")
    return wire("\n".join((start, *lines)))


PARSER = {
    "badinv01": (
        400,
        "Via",
        message_with(Via="SIP/2.0/UDP 192.0.2.15;;,;,,", Contact='"Joe" <sip:joe@example.org>;;;;'),
    ),
    "clerr": (400, "Content-Length", message_with(Content_Length="9999")),
    "ncl": (400, "Content-Length", message_with(Content_Length="-999")),
    "scalar02 CSeq": (
        400,
        "CSeq",
        message_with("REGISTER sip:example.com SIP/2.0", CSeq="36893488147419103232 REGISTER"),
    ),
    "scalar02 Max-Forwards": (400, "Max-Forwards", message_with(Max_Forwards="300")),
    "quotbal": (400, "To", message_with(To='"Mr. J. User <sip:j.user@example.com>')),
    "ltgtruri": (400, "request line", message_with("INVITE <sip:user@example.com> SIP/2.0")),
    "lwsruri": (400, "request line", message_with("INVITE sip:user@example.com; lr SIP/2.0")),
    "escruri": (400, "request line", message_with("INVITE sip:user@example.com?Route=%3Csip:example.com%3E SIP/2.0")),
    "badvers": (505, "request line", message_with("OPTIONS sip:t.watson@example.org SIP/7.0")),
    "mismatch01": (400, "CSeq", message_with("OPTIONS sip:user@example.com SIP/2.0", CSeq="8 INVITE")),
    "mismatch02": (400, "CSeq", message_with("NEWMETHOD sip:user@example.com SIP/2.0", CSeq="8 INVITE")),
    "insuf": (400, "From", message_with(Call_ID="-", From="-", To="-")),
    "mcl01": (400, "Content-Length", message_with(Content_Length="13\n5")),
    "multi01": (400, "From", message_with(From="<sip:a@b>;tag=1\n<sip:c@d>;tag=2", To="<sip:e@f>\n<sip:g@h>")),
    "badaspec": (400, "To", message_with(To='"Watson, Thomas" < t.watson@example.org >')),
}


@pytest.mark.parametrize(("status", "field", "data"), PARSER.values(), ids=PARSER)
def test_the_parser_objects_and_can_answer(status, field, data):
    with pytest.raises(ParseError) as caught:
        parse_message(data)
    assert caught.value.status == status
    assert caught.value.reason.startswith(field)
    assert caught.value.request is not None
    answer = response_to(caught.value.request, status, to_tag="t")
    assert answer.to_bytes().startswith(f"SIP/2.0 {status} ".encode())


@pytest.mark.parametrize(
    ("field", "start", "cseq"),
    [
        ("CSeq", "SIP/2.0 503 Service Unavailable", "9292394834772304023312 OPTIONS"),
        ("status line", "SIP/2.0 4294967301 better not break the receiver", "8 INVITE"),
    ],
    ids=["scalarlg", "bigcode"],
)
def test_the_parser_drops_a_response(field, start, cseq):
    with pytest.raises(ParseError) as caught:
        parse_message(message_with("OPTIONS x:y SIP/2.0", CSeq=cseq).replace(b"OPTIONS x:y SIP/2.0", start.encode()))
    assert caught.value.reason.startswith(field)
    assert caught.value.request is None


# --- §3.1.2 malformed but harmless: read in the only way it can be meant, never sent on that way


@pytest.mark.parametrize(
    "start",
    ["INVITE  sip:user@example.com  SIP/2.0", "INVITE sip:user@example.com SIP/2.0  "],
    ids=["lwsstart", "trws"],
)
def test_spare_blanks_in_the_request_line_are_dropped(start):
    assert request(message_with(start)).to_bytes().startswith(b"INVITE sip:user@example.com SIP/2.0\r\n")


def test_baddate_is_not_ours_to_read():
    assert (
        request(message_with(Date="Fri, 01 Jan 2010 16:00:00 EST")).headers.get("Date")
        == "Fri, 01 Jan 2010 16:00:00 EST"
    )


def test_baddn_a_comma_in_an_unquoted_display_name():
    message = request(message_with(From="Bell, Alexander <sip:a.g.bell@example.com>;tag=43"))
    assert message.from_.display_name == "Bell, Alexander"
    assert b'"Bell, Alexander"' in str(message.from_).encode()


# --- §3.2 to 3.4: well formed; the layer above objects


def test_regbadct_is_the_registrars_to_refuse():
    message = request(
        message_with("REGISTER sip:example.com SIP/2.0", Contact="sip:user@example.com?Route=%3Csip:sip.example.com%3E")
    )
    with pytest.raises(ParseError, match=r"^Contact: a URI with headers must stand in angle brackets"):
        _ = message.contacts


def test_scalar02_expires_is_the_registrars_to_refuse():
    message = request(message_with("REGISTER sip:example.com SIP/2.0", Expires="1000000000000000000000000000000000"))
    with pytest.raises(ParseError, match=r"^Expires: "):
        message.headers.get_number("Expires", maximum=2**32 - 1)


def test_badbranch_is_for_the_transaction_layer():
    assert request(message_with(Via="SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK")).top_via.branch == "z9hG4bK"


@pytest.mark.parametrize(
    "uri", ["nobodyKnowsThisScheme:totallyopaquecontent", "soap.beep://192.0.2.103:3002"], ids=["unkscm", "novelsc"]
)
def test_an_unknown_scheme_is_for_the_user_agent_416(uri):
    assert isinstance(request(message_with(f"OPTIONS {uri} SIP/2.0")).uri, OpaqueUri)


def test_unksm2_unknown_schemes_in_headers_are_read():
    message = request(
        message_with(
            "REGISTER sip:example.com SIP/2.0",
            To="isbn:2983792873",
            From="<http://www.example.com>;tag=3234233",
            Contact="<name:John_Smith>",
        )
    )
    assert (str(message.to.uri), message.from_.tag) == ("isbn:2983792873", "3234233")
    assert isinstance(message.contacts[0].uri, OpaqueUri)


def test_bext01_unknown_extensions_are_for_the_user_agent_420():
    message = request(
        message_with(
            "OPTIONS sip:user@example.com SIP/2.0",
            Require="nothingSupportsThis, nothingSupportsThisEither",
            Proxy_Require="noProxiesSupportThis, norDoAnyProxiesSupportThis",
        )
    )
    assert message.headers.get_all("Require") == ["nothingSupportsThis", "nothingSupportsThisEither"]
    assert message.headers.get_all("Proxy-Require") == ["noProxiesSupportThis", "norDoAnyProxiesSupportThis"]


def test_invut_unknown_content_is_for_the_user_agent_415():
    assert request(message_with(Content_Type="application/unknownformat")).content_type == "application/unknownformat"


def test_zeromf_is_for_the_user_agent_483():
    assert request(message_with("OPTIONS sip:user@example.com SIP/2.0", Max_Forwards="0")).max_forwards == 0


def test_regaut01_unknown_authorization_is_for_the_registrar():
    value = "NoOneKnowsThisScheme opaque-data=here"
    assert (
        request(message_with("REGISTER sip:example.com SIP/2.0", Authorization=value)).headers.get("Authorization")
        == value
    )


@pytest.mark.parametrize(
    ("contact", "uri_param", "header_param"),
    [
        ("sip:+19725552222@gw1.example.net;unknownparam", False, True),
        ("<sip:+1@gw1.example.net;unknownparam>", True, False),
    ],
    ids=["cparam01", "cparam02"],
)
def test_where_a_contact_parameter_belongs(contact, uri_param, header_param):
    (address,) = request(message_with("REGISTER sip:example.com SIP/2.0", Contact=contact)).contacts
    assert isinstance(address.uri, SipUri)
    assert ("unknownparam" in address.uri.params, "unknownparam" in address.params) == (uri_param, header_param)


def test_regescrt_an_escaped_header_in_a_contact():
    value = "<sip:user@example.com?Route=%3Csip:sip.example.com%3E>"
    (contact,) = request(message_with("REGISTER sip:example.com SIP/2.0", Contact=value)).contacts
    assert isinstance(contact.uri, SipUri)
    assert contact.uri.headers == "Route=%3Csip:sip.example.com%3E"


def test_inv2543_an_old_invite():
    message = request(
        wire(
            """
INVITE sip:UserB@example.com SIP/2.0
Via: SIP/2.0/UDP iftgw.example.com
From: <sip:+13035551111@ift.client.example.net;user=phone>
Record-Route: <sip:UserB@example.com;maddr=ss1.example.com>
To: sip:+16505552222@ss1.example.net;user=phone
Call-ID: inv2543.1717@ift.client.example.com
CSeq: 56 INVITE
Content-Type: application/sdp
""",
            SDP,
        )
    )
    assert (message.max_forwards, message.from_.tag, message.top_via.branch) == (None, None, None)
    assert message.body == SDP.encode()
