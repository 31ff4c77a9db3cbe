"""Messages that may be kept and shown: without credentials, otherwise octet for octet the same."""

import re
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.sip.digest import Credentials, DigestClient
from trunkline.sip.message import parse_message
from trunkline.sip.redact import without_credentials

REGISTER = (
    b"REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n"
    b"From: <sip:ann@example.com>;tag=1\r\nTo: <sip:ann@example.com>\r\nCall-ID: q\r\nCSeq: 2 REGISTER\r\n"
    b"%bContent-Length: 0\r\n\r\n"
)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (
            b'Authorization: Digest username="ann", realm="r", nonce="n", uri="sip:a", response="0f1e", nc=00000001',
            b'Authorization: Digest username="ann", realm="r", nonce="n", uri="sip:a", response="xxxx", nc=00000001',
        ),
        (
            b'PROXY-AUTHORIZATION :Digest Response = "ab",qop=auth',
            b'PROXY-AUTHORIZATION :Digest Response = "xx",qop=auth',
        ),
        (
            b'Authorization: Digest realm="a, response=\\"b",\r\n response="ab"',
            b'Authorization: Digest realm="a, response=\\"b",\r\n response="xx"',
        ),
        (b"Authorization\r\n : Digest response=ab", b"Authorization\r\n : Digest response=xx"),
        (b"Authorization: Digest response=ab, auts=cd", b"Authorization: Digest response=xx, auts=xx"),
        (b'Authentication-Info: nextnonce="n", rspauth="ab"', b'Authentication-Info: nextnonce="n", rspauth="xx"'),
        (b"Authorization: Basic YTpi\r\n\tYTpi", b"Authorization: xxxxx xxxx\r\n\txxxx"),
        (b'Authorization: Digest username="a, response="ab"', b"Authorization: xxxxxx xxxxxxxxxxxx xxxxxxxxxxxxx"),
        (b"Contact: <sip:ann:s3%cret@192.0.2.1:5060;ob>", b"Contact: <sip:ann:xxxxxxx@192.0.2.1:5060;ob>"),
        (b"Contact: <sip:192.0.2.1:5060>, <sips:ann@b:5061>", b"Contact: <sip:192.0.2.1:5060>, <sips:ann@b:5061>"),
        (b"Subject: Authorization: Digest response=ab", b"Subject: Authorization: Digest response=ab"),
        (
            b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0R/|2^20|1:4;inline:ab",
            b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:xxxxxxxxxxxxxxxxxxxxxxx",
        ),
        (b"a=crypto:1 inline:ab", b"a=crypto:1 inline:xx"),
        (b"a=crypto:ab", b"a=crypto:xx"),
        (b"k=clear:ab", b"k=xxxxxxxx"),
        (b"a=ice-pwd:ab", b"a=ice-pwd:xx"),
    ],
)
def test_what_is_shown_of_a_line(line, shown):
    for before, after in ((b"", b""), (b"Via: a\r\n", b"\r\nTo: b\r\n\r\n"), (b"v=0\n", b"\na=sendrecv\n")):
        assert without_credentials(before + line + after) == before + shown + after


def test_our_own_answer_to_a_challenge_reads_the_same_but_for_the_answer():
    attempt = DigestClient(Credentials("ann", "secret"), Random(1)).attempt()
    challenge = b"SIP/2.0 401 Unauthorized\r\n" + REGISTER.partition(b"\r\n")[2]
    assert attempt.challenged(
        parse_message(challenge % b'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth"\r\n')
    )
    request = parse_message(REGISTER % b"")
    attempt.authorize(request)
    line = request.headers.get("Authorization")
    shown = parse_message(without_credentials(request.to_bytes())).headers.get("Authorization")
    answer = re.search('response="([0-9a-f]{32})"', line)[1]
    assert shown == line.replace(answer, "x" * 32)


_PIECES = st.sampled_from(
    [
        b"Authorization", b"Proxy-Authorization", b":", b" ", b"\r\n", b"\n", b"\r", b"\t", b"Digest ", b"Basic ",
        b"response=", b"SECRET", b'"', b"\\", b",", b"=", b"realm=", b"a", b"sip:", b"@", b"k=",
        b";", b"a=crypto:", b"inline:",
    ]
)  # fmt: skip


@given(st.lists(_PIECES | st.binary(max_size=4), max_size=40).map(b"".join))
def test_any_octets_keep_their_length_and_line_ends(data):
    shown = without_credentials(data)
    assert len(shown) == len(data)
    assert all(new == old or (new == ord("x") and old not in b"\r\n \t") for new, old in zip(shown, data, strict=True))
    assert without_credentials(shown) == shown


@given(st.lists(_PIECES, max_size=20).map(b"".join))
def test_no_form_of_the_header_lets_an_answer_through(value):
    value = value.replace(b"\r", b" ").replace(b"\n", b" ").replace(b"realm", b"r")
    assert b"SECRET" not in without_credentials(b"Authorization: Digest response=SECRET" + value + b"\r\n")


@pytest.mark.parametrize(
    "unit", [b"Authorization:", b"sip:a:", b"a=b,", b"\n ", b"a=crypto:", b'"\\', b" ", b"Authorization: a\n"]
)
@pytest.mark.parametrize("start", [b"", b"Authorization: Digest ", b'Authorization: Digest a="'])
def test_a_million_octets_of_anything_are_read_in_one_go(start, unit):
    data = start + unit * (1_000_000 // len(unit))
    assert len(without_credentials(data)) == len(data)
