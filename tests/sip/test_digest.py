"""Digest authentication: published vectors, the client's guard against loops, the server's checks."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.sip.digest import (
    MAX_STALE,
    Credentials,
    DigestAuthorization,
    DigestChallenge,
    DigestClient,
    DigestVerifier,
    authorization,
    strongest,
)
from trunkline.sip.errors import LocalError, ParseError
from trunkline.sip.headers import Headers
from trunkline.sip.message import Request, Response
from trunkline.sip.uri import SipUri


def request() -> Request:
    return Request("REGISTER", SipUri("trunk.example.com"))


def challenged(*challenges: DigestChallenge | str, status: int = 401) -> Response:
    name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
    return Response(status, headers=Headers((name, str(challenge)) for challenge in challenges))


def sent(message: Request, name: str = "Authorization") -> list[DigestAuthorization]:
    return [DigestAuthorization.parse(value) for value in message.headers.get_all(name)]


# --- vectors


def test_rfc_2617_section_3_5():
    challenge = DigestChallenge.parse(
        'Digest realm="testrealm@host.com", qop="auth,auth-int", '
        'nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41"'
    )
    value = authorization(
        Credentials("Mufasa", "Circle Of Life"), challenge, "GET", "/dir/index.html", nc=1, cnonce="0a4f113b"
    )
    assert value.response == "6629fae49393a05397450978507c4ef1"
    assert value.opaque == "5ccc069c403ebaf9f0171e9517f40e41"
    assert "algorithm" not in str(value)


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_rfc_7616_section_3_9_1(algorithm, response):
    challenge = DigestChallenge.parse(
        f'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={algorithm}, '
        'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
    )
    value = authorization(
        Credentials("Mufasa", "Circle of Life"),
        challenge,
        "GET",
        "/dir/index.html",
        nc=1,
        cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
    )
    assert value.response == response


def test_without_qop_the_old_form_is_used():
    # RFC 2069 §2.4 with its erratum: H(H(A1):nonce:H(A2))
    challenge = DigestChallenge.parse('Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093"')
    value = authorization(Credentials("Mufasa", "CircleOfLife"), challenge, "GET", "/dir/index.html")
    assert value.response == "1949323746fe6a43ef61f9606e7febea"
    assert (value.qop, value.nc, value.cnonce) == (None, None, None)


@pytest.mark.parametrize("algorithm", ["MD5", "MD5-sess", "SHA-256", "SHA-256-sess", "SHA-512-256", "SHA-512-256-sess"])
def test_every_algorithm_meets_the_verifier(algorithm):
    verifier = DigestVerifier("r", {"u": "p"}.get, Random(1), algorithms=(algorithm,))
    (challenge,) = verifier.challenges(0.0)
    value = authorization(Credentials("u", "p"), challenge, "INVITE", "sip:a@b", cnonce="c")
    assert verifier.verify(str(value), "INVITE", 1.0).ok
    wrong = authorization(Credentials("u", "q"), challenge, "INVITE", "sip:a@b", nc=2, cnonce="c")
    assert verifier.verify(str(wrong), "INVITE", 1.0).reason == "wrong password for user 'u'"


def test_sha_512_256_is_not_a_cut_sha_512():
    challenge = DigestChallenge("r", "n", "SHA-512-256", ("auth",))
    value = authorization(Credentials("u", "p"), challenge, "M", "x", cnonce="c")
    assert len(value.response) == 64


# --- values


def test_a_challenge_as_trunks_write_it():
    challenge = DigestChallenge.parse(
        'digest  Realm = "a\\"b" ,nonce="n,1",algorithm=md5 , stale=TRUE,, qop="auth",x=y'
    )
    assert challenge == DigestChallenge('a\\"b', "n,1", "MD5", ("auth",), None, True)
    assert DigestChallenge.parse(str(challenge)) == challenge
    full = DigestChallenge("r", "n", "SHA-256", ("auth", "auth-int"), opaque="")
    assert DigestChallenge.parse(str(full)) == full
    assert DigestChallenge.parse('Digest realm="r", nonce="n", algorithm="sha-256-SESS"').algorithm == "SHA-256-sess"


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ('Basic realm="x"', "challenge: scheme 'Basic' is not Digest"),
        ('Digest realm="x"', "challenge: realm or nonce missing"),
        ('Digest realm="x, nonce=1', "challenge: malformed parameter at"),
        ("Digest realm=a b", "challenge: malformed parameter at"),
    ],
)
def test_broken_challenges(value, sentence):
    with pytest.raises(ParseError) as caught:
        DigestChallenge.parse(value)
    assert caught.value.reason.startswith(sentence)


FULL = 'Digest username="u", realm="r", nonce="n", uri="sip:x", response="AB", qop=auth, nc=0000000a, cnonce="c"'


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('username="u", ', "", "credentials: username missing"),
        ("0000000a", "a", "credentials: nc is not 8 hexadecimal digits"),
        ("nc=0000000a, ", "", "credentials: qop without nc or cnonce"),
        ("Digest ", "Bearer ", "credentials: scheme 'Bearer' is not Digest"),
    ],
)
def test_broken_credentials(old, new, sentence):
    assert DigestAuthorization.parse(FULL).nc == 10
    with pytest.raises(ParseError) as caught:
        DigestAuthorization.parse(FULL.replace(old, new))
    assert caught.value.reason == sentence


def test_the_password_is_not_shown():
    assert "geheim" not in repr(Credentials("u", "geheim"))
    assert "geheim" not in repr(DigestClient(Credentials("u", "geheim"), Random(1)))


@given(st.text())
def test_any_text_is_a_value_or_a_parse_error(text):
    for candidate in (text, f"Digest {text}", f'Digest realm="r", nonce="n", {text}', f"{FULL}, {text}"):
        for parse in (DigestChallenge.parse, DigestAuthorization.parse):
            try:
                parsed = parse(candidate)
            except ParseError:
                continue
            assert parse(str(parsed)) == parsed


def test_the_strongest_algorithm_of_a_realm_is_chosen():
    weak, strong, top = (DigestChallenge("r", "n", name, ("auth",)) for name in ("MD5", "SHA-256", "SHA-512-256"))
    other = DigestChallenge("s", "n", None)
    assert strongest(map(str, (weak, strong, top, other)))[0] == [top, other]
    assert strongest(map(str, (strong, weak)))[0] == [strong]
    unknown = DigestChallenge("r", "n", "SHA-3", ("auth",))
    assert strongest(map(str, (unknown, weak)))[0] == [weak]
    assert strongest([str(unknown)]) == ([], "algorithm SHA-3, qop auth is not supported")
    assert (
        strongest(['Digest realm="r", nonce="n", qop="auth-int"'])[1] == "algorithm None, qop auth-int is not supported"
    )
    assert strongest(["Basic x"])[1] == "challenge: scheme 'Basic' is not Digest"
    assert strongest([]) == ([], "no digest challenge in the response")


def test_an_unsupported_challenge_is_not_answered():
    with pytest.raises(LocalError):
        authorization(Credentials("u", "p"), DigestChallenge("r", "n", "SHA-3"), "M", "x")


# --- the client


def test_a_challenge_is_answered_once_and_its_nonce_used_in_advance():
    client = DigestClient(Credentials("u", "p"), Random(1))
    attempt = client.attempt()
    first = request()
    attempt.authorize(first)
    assert sent(first) == []
    assert attempt.challenged(challenged(DigestChallenge("r", "n1", "MD5", ("auth",))))
    second = request()
    attempt.authorize(second)
    (value,) = sent(second)
    assert (value.nonce, value.nc, value.uri) == ("n1", 1, "sip:trunk.example.com")
    third = request()
    client.attempt().authorize(third)
    (again,) = sent(third)
    assert (again.nonce, again.nc) == ("n1", 2)
    assert again.cnonce != value.cnonce


def test_a_wrong_password_ends_after_one_try():
    client = DigestClient(Credentials("u", "wrong"), Random(1))
    attempt = client.attempt()
    assert attempt.challenged(challenged(DigestChallenge("r", "n1")))
    assert not attempt.challenged(challenged(DigestChallenge("r", "n2")))
    assert attempt.refusal == "user name or password refused (realm 'r', user 'u')"
    later = request()
    client.attempt().authorize(later)
    assert sent(later) == []


def test_a_nonce_used_in_advance_may_be_refused_without_stale():
    client = DigestClient(Credentials("u", "p"), Random(1))
    assert client.attempt().challenged(challenged(DigestChallenge("r", "n1")))
    attempt = client.attempt()
    attempt.authorize(request())
    assert attempt.challenged(challenged(DigestChallenge("r", "n2")))
    retry = request()
    attempt.authorize(retry)
    assert [value.nonce for value in sent(retry)] == ["n2"]
    assert not attempt.challenged(challenged(DigestChallenge("r", "n3")))


def test_stale_is_answered_again_but_not_for_ever():
    attempt = DigestClient(Credentials("u", "p"), Random(1)).attempt()
    assert attempt.challenged(challenged(DigestChallenge("r", "n0")))
    for number in range(MAX_STALE):
        assert attempt.challenged(challenged(DigestChallenge("r", f"n{number}", stale=True)))
    assert not attempt.challenged(challenged(DigestChallenge("r", "n9", stale=True)))
    assert attempt.refusal == "the server goes on calling the nonce stale (realm 'r', user 'u')"


def test_proxy_and_server_are_answered_apart():
    client = DigestClient(Credentials("u", "p"), Random(1))
    attempt = client.attempt()
    assert attempt.challenged(challenged(DigestChallenge("proxy", "a"), status=407))
    assert attempt.challenged(challenged(DigestChallenge("server", "b")))
    message = request()
    attempt.authorize(message)
    assert [value.realm for value in sent(message)] == ["server"]
    assert [value.realm for value in sent(message, "Proxy-Authorization")] == ["proxy"]
    attempt.authorize(message)
    assert len(sent(message)) == 1


def test_several_realms_in_one_response():
    attempt = DigestClient(Credentials("u", "p"), Random(1)).attempt()
    assert attempt.challenged(challenged(DigestChallenge("one", "a"), DigestChallenge("two", "b"), status=407))
    message = request()
    attempt.authorize(message)
    assert [value.realm for value in sent(message, "Proxy-Authorization")] == ["one", "two"]


def test_a_configured_realm_keeps_the_password_from_others():
    attempt = DigestClient(Credentials("u", "p", realm="mine"), Random(1)).attempt()
    assert not attempt.challenged(challenged(DigestChallenge("theirs", "n")))
    assert attempt.refusal == "realm 'theirs' is not the configured 'mine'"
    assert attempt.challenged(challenged(DigestChallenge("theirs", "n"), DigestChallenge("mine", "n")))


def test_a_response_without_a_usable_challenge():
    attempt = DigestClient(Credentials("u", "p"), Random(1)).attempt()
    assert not attempt.challenged(challenged())
    assert attempt.refusal == "no digest challenge in the response"


# --- the server


def verifier(**options) -> DigestVerifier:
    return DigestVerifier("r", {"u": "p"}.get, Random(1), **options)


def test_both_algorithms_are_offered_with_one_nonce():
    first, second = verifier().challenges(0.0)
    assert (first.algorithm, second.algorithm) == ("SHA-256", "MD5")
    assert first.nonce == second.nonce
    assert not first.stale


def test_a_replayed_count_is_stale_and_a_higher_one_is_not():
    server = verifier()
    challenge = server.challenges(0.0)[0]
    values = {nc: str(authorization(Credentials("u", "p"), challenge, "M", "x", nc=nc, cnonce="c")) for nc in (1, 2, 3)}
    assert server.verify(values[1], "M", 1.0).ok
    assert server.verify(values[3], "M", 2.0).ok
    for nc in (1, 2, 3):
        again = server.verify(values[nc], "M", 3.0)
        assert (again.ok, again.stale, again.reason) == (False, True, "the nonce count was used before")


def test_a_nonce_grows_old():
    server = verifier(lifetime=10.0)
    challenge = server.challenges(100.0)[0]
    value = str(authorization(Credentials("u", "p"), challenge, "M", "x", cnonce="c"))
    late = server.verify(value, "M", 110.0)
    assert (late.ok, late.stale, late.reason) == (False, True, "the nonce is unknown or too old")
    assert server.verify(value, "M", 109.9).ok


def test_the_oldest_nonce_makes_room():
    server = verifier(max_nonces=2)
    first, second, third = (server.challenges(0.0)[0] for _ in range(3))
    outcome = [
        server.verify(str(authorization(Credentials("u", "p"), challenge, "M", "x", cnonce="c")), "M", 1.0)
        for challenge in (first, second, third)
    ]
    assert [(one.ok, one.stale) for one in outcome] == [(False, True), (True, False), (True, False)]


def test_without_qop_a_nonce_serves_until_it_is_old():
    server = verifier(qop=(), algorithms=("MD5",))
    value = str(authorization(Credentials("u", "p"), server.challenges(0.0)[0], "M", "x"))
    assert server.verify(value, "M", 1.0).ok
    assert server.verify(value, "M", 2.0).ok


@pytest.mark.parametrize(
    ("challenge", "credentials", "method", "sentence"),
    [
        (DigestChallenge("r", "n", "MD5", ("auth",)), Credentials("x", "p"), "M", "user 'x' is unknown"),
        (DigestChallenge("r", "n", "MD5", ("auth",)), Credentials("u", "q"), "M", "wrong password for user 'u'"),
        (DigestChallenge("r", "n", "MD5", ("auth",)), Credentials("u", "p"), "N", "wrong password for user 'u'"),
        (DigestChallenge("q", "n", "MD5", ("auth",)), Credentials("u", "p"), "M", "realm 'q' is not 'r'"),
        (
            DigestChallenge("r", "n", "SHA-512-256", ("auth",)),
            Credentials("u", "p"),
            "M",
            "algorithm SHA-512-256 was not offered",
        ),
        (DigestChallenge("r", "n", "MD5"), Credentials("u", "p"), "M", "qop was not offered, or left out"),
    ],
)
def test_refusals(challenge, credentials, method, sentence):
    value = authorization(credentials, challenge, "M", "x", cnonce="c")
    outcome = verifier().verify(str(value), method, 0.0)
    assert (outcome.ok, outcome.stale, outcome.reason) == (False, False, sentence)


def test_no_and_broken_credentials():
    assert verifier().verify(None, "M", 0.0).reason == "no credentials"
    assert verifier().verify("Basic x", "M", 0.0).reason == "credentials: scheme 'Basic' is not Digest"
    odd = FULL.replace('"AB"', '"é"').replace("qop=auth", "algorithm=MD5, qop=auth")
    assert verifier().verify(odd, "M", 0.0).reason == "wrong password for user 'u'"
