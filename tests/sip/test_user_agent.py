"""The user agent as a server: what it refuses and why, where answers go, what it learns; nothing raises."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.sip_network import Network

from trunkline.sip.errors import LocalError
from trunkline.sip.events import (
    IncomingInvite,
    MalformedReceived,
    PeerReachable,
    PeerUnreachable,
    PublishEnded,
    Refusal,
    RequestRefused,
)
from trunkline.sip.flow import Address, Flow
from trunkline.sip.message import Request, Response, parse_message
from trunkline.sip.user_agent import UserAgent, UserAgentConfig

PEER = Flow("udp", "192.0.2.1", 5060)


class Desk:
    """One user agent, messages written by hand."""

    def __init__(self, screen=None, **config) -> None:
        self.ua = UserAgent(
            UserAgentConfig(**config), random.Random(1), lambda flow: Address("192.0.2.2", 5060), screen
        )
        self.now = 0.0

    def say(self, data: bytes, source: Flow = PEER) -> list[Request | Response]:
        self.ua.receive(data, source, self.now)
        return [parse_message(octets) for _, octets in self.ua.transmissions()]

    def events(self) -> list:
        found = []
        while (event := self.ua.next_event()) is not None:
            found.append(event)
        return found


def message(
    method: str = "INVITE",
    uri: str = "sip:bob@192.0.2.2",
    headers: str = "Contact: <sip:ann@192.0.2.1>\r\n",
    body: bytes = b"",
    branch: str = "1",
    to_tag: str = "",
    cseq: int = 1,
    forwards: int | None = 70,
    via: str = "SIP/2.0/UDP 192.0.2.1:5060;rport",
) -> bytes:
    lines = [
        f"{method} {uri} SIP/2.0",
        f"Via: {via};branch=z9hG4bK{branch}",
        "From: <sip:ann@192.0.2.1>;tag=a",
        f"To: <sip:bob@192.0.2.2>{';tag=' + to_tag if to_tag else ''}",
        "Call-ID: c",
        f"CSeq: {cseq} {method}",
    ]
    if forwards is not None:
        lines.append(f"Max-Forwards: {forwards}")
    head = "\r\n".join(lines) + "\r\n" + headers + f"Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def only(responses: list[Request | Response]) -> Response:
    (response,) = responses
    assert isinstance(response, Response)
    return response


REFUSALS = [
    ("no dialog", message("BYE"), 481, None, None),
    ("unknown dialog", message("BYE", to_tag="x"), 481, None, None),
    ("re-INVITE of an unknown dialog", message(to_tag="x"), 481, None, None),
    ("INFO without a dialog", message("INFO"), 481, None, None),
    ("known method", message("REFER"), 405, "Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE"),
    ("MESSAGE", message("MESSAGE"), 405, "Allow", None),
    ("REGISTER", message("REGISTER"), 405, "Allow", None),
    ("unknown method", message("FROBNICATE"), 501, "Allow", None),
    ("required extension", message(headers="Require: 100rel, timer\r\n"), 420, "Unsupported", "100rel"),
    ("no hops left", message(forwards=0), 483, None, None),
    ("URI scheme", message(uri="http:x"), 416, None, None),
    ("no Contact", message(headers=""), 400, None, None),
    ("Contact that cannot be read", message(headers="Contact: <<\r\n"), 400, None, None),
    (
        "content type",
        message(headers="Contact: <sip:a@b>\r\nContent-Type: text/plain\r\n", body=b"hi"),
        415,
        "Accept",
        "application/sdp",
    ),
    (
        "content encoding",
        message(headers="Contact: <sip:a@b>\r\nContent-Encoding: gzip\r\n", body=b"hi"),
        415,
        "Accept-Encoding",
        "identity",
    ),
    (
        "session interval",
        message(headers="Contact: <sip:a@b>\r\nSupported: timer\r\nSession-Expires: 30\r\n"),
        422,
        "Min-SE",
        "90",
    ),
    ("CANCEL of nothing", message("CANCEL"), 481, None, None),
]


@pytest.mark.parametrize(
    ("data", "status", "header", "value"), [row[1:] for row in REFUSALS], ids=[r[0] for r in REFUSALS]
)
def test_refusals_have_the_code_that_is_true(data, status, header, value):
    desk = Desk()
    response = only(desk.say(data))
    assert response.status == status
    assert response.to.tag
    if header is not None:
        assert response.headers.get(header) is not None
        assert value in (None, ", ".join(response.headers.get_all(header)))
    (event,) = desk.events()
    assert isinstance(event, RequestRefused)
    assert (event.status, event.source, event.call_id) == (status, PEER, "c")
    assert desk.ua.counters[f"refused_{status}"] == 1
    assert desk.ua.live_sessions == 0


def test_the_screen_is_asked_before_any_session_is_made():
    seen = []

    def screen(request, source):
        seen.append((request.method, source))
        return Refusal(503, "limit of 10 calls", (("Retry-After", "5"),))

    desk = Desk(screen)
    response = only(desk.say(message()))
    assert (response.status, response.reason, response.headers.get("Retry-After")) == (503, "limit of 10 calls", "5")
    assert seen == [("INVITE", PEER)]
    assert [type(event) for event in desk.events()] == [RequestRefused]


def test_a_stranger_gets_one_answer_and_leaves_nothing_behind():
    desk = Desk(lambda request, source: Refusal(403, "unknown source", stateless=True))
    first, again = only(desk.say(message())), only(desk.say(message()))
    assert (first.status, first.reason) == (403, "unknown source")
    assert first.to_bytes() == again.to_bytes(), "a repeated request is the same request, tag included"
    assert only(desk.say(message(branch="another"))).to.tag != first.to.tag
    assert desk.ua.live_transactions == 0
    assert desk.ua.next_timer() is None
    assert desk.say(message("ACK", to_tag=first.to.tag)) == []


@pytest.mark.parametrize("method", ["INVITE", "BYE", "CANCEL", "INFO"])
def test_a_request_for_no_dialog_leaves_nothing_behind(method):
    desk = Desk()
    for number in range(100):
        first = only(desk.say(message(method, to_tag=f"t{number}", branch=str(number))))
        again = only(desk.say(message(method, to_tag=f"t{number}", branch=str(number))))
        assert first.status == 481
        assert first.to_bytes() == again.to_bytes()
    assert (desk.ua.live_transactions, desk.ua.next_timer()) == (0, None)
    assert desk.ua.layer._merging == {}


def test_the_screen_sees_the_real_source_not_the_response_address():
    seen = []
    desk = Desk(lambda request, source: seen.append(source))
    source = Flow("udp", "198.51.100.9", 40000)
    desk.say(message(via="SIP/2.0/UDP 192.0.2.1:5099"), source)
    assert seen == [source]


def test_while_draining_new_calls_get_503_and_options_too():
    desk = Desk(retry_after=17)
    desk.ua.draining = True
    for method in ("INVITE", "OPTIONS"):
        response = only(desk.say(message(method, branch=method)))
        assert (response.status, response.headers.get("Retry-After")) == (503, "17")


def test_options_says_what_we_can_do():
    response = only(Desk().say(message("OPTIONS", forwards=0)))
    assert response.status == 200
    assert "UPDATE" in (response.headers.get("Allow") or "")
    assert (response.headers.get("Accept"), response.headers.get("Supported")) == ("application/sdp", "timer")
    assert response.headers.get("Contact") == "<sip:192.0.2.2:5060>"


def test_a_tel_uri_is_let_in():
    desk = Desk()
    desk.say(message(uri="tel:+14155550100"))
    (event,) = desk.events()
    assert isinstance(event, IncomingInvite)
    assert event.request.uri.user == "+14155550100"


def test_a_merged_request_is_482():
    desk = Desk()
    desk.say(message())
    response = only(desk.say(message(branch="2")))
    assert (response.status, desk.ua.counters["merged_requests"]) == (482, 1)
    assert [type(event) for event in desk.events()] == [IncomingInvite, RequestRefused]


def test_a_stray_ack_is_absorbed():
    desk = Desk()
    assert desk.say(message("ACK", to_tag="x")) == []
    assert desk.ua.counters["stray_acks"] == 1


def test_a_stray_response_is_absorbed():
    desk = Desk()
    assert desk.say(b"SIP/2.0 200 OK\r\n" + message().split(b"\r\n", 1)[1]) == []
    assert desk.ua.counters["stray_responses"] == 1


@pytest.mark.parametrize("data", [b"\r\n\r\n", b"\0\0", b""])
def test_keepalives_are_counted_only(data):
    desk = Desk()
    assert desk.say(data) == []
    assert (desk.ua.counters["keepalives"], desk.events()) == (1, [])


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (message(headers="Content-Length: 5\r\n"), 400),
        (message().replace(b"CSeq: 1 INVITE", b"CSeq: 1 BYE"), 400),
        (message().replace(b"SIP/2.0\r\n", b"SIP/3.0\r\n", 1), 505),
        (message().replace(b"Max-Forwards: 70", b"Max-Forwards: 300"), 400),
    ],
)
def test_what_can_be_read_of_a_malformed_request_is_answered(data, status):
    desk = Desk()
    assert only(desk.say(data)).status == status
    (event,) = desk.events()
    assert isinstance(event, MalformedReceived)
    assert desk.ua.live_transactions == 0


@pytest.mark.parametrize("data", [b"garbage", b"\xff" * 200, b"GET / HTTP/1.1\r\n\r\n", message("ACK")[:-20] + b"x"])
def test_what_cannot_be_answered_is_dropped(data):
    desk = Desk()
    desk.say(data)
    assert desk.ua.counters["malformed"] + desk.ua.counters["stray_acks"] == 1


def flow_of_answer(data: bytes, source: Flow) -> Flow:
    desk = Desk()
    desk.ua.receive(data, source, 0)
    ((flow, _),) = desk.ua.transmissions()
    return flow


def test_answers_go_where_rfc_3581_says():
    source = Flow("udp", "198.51.100.9", 40000)
    assert flow_of_answer(message("OPTIONS"), source) == source
    without = message("OPTIONS", via="SIP/2.0/UDP 10.0.0.1:5099;maddr=10.9.9.9")
    assert flow_of_answer(without, source) == Flow("udp", "198.51.100.9", 5099)
    no_port = message("OPTIONS", via="SIP/2.0/UDP phone.example")
    assert flow_of_answer(no_port, source) == Flow("udp", "198.51.100.9", 5060)


def test_received_and_rport_are_filled_into_the_answer():
    response = only(Desk().say(message("OPTIONS"), Flow("udp", "198.51.100.9", 40000)))
    assert (response.top_via.received, response.top_via.rport) == ("198.51.100.9", 40000)


def test_malformed_requests_are_answered_by_the_same_rule():
    source = Flow("udp", "198.51.100.9", 40000)
    assert flow_of_answer(message("OPTIONS", headers="Content-Length: 5\r\n"), source) == source


# Health checks


def test_options_finds_a_peer_alive():
    net = Network()
    ann, bob = net.add("192.0.2.1"), net.add("192.0.2.2")
    ann.ua.options("trunk", bob.flow, "sip:192.0.2.2", net.now)
    net.run(1)
    event = ann.one(PeerReachable)
    assert (event.name, event.target, event.status) == ("trunk", bob.flow, 200)


def test_any_answer_but_503_proves_life():
    net = Network()
    ann = net.add("192.0.2.1")
    bob = net.add("192.0.2.2", screen=lambda request, source: Refusal(404, "no such user"))
    ann.ua.options("trunk", bob.flow, "sip:192.0.2.2", net.now)
    net.run(1)
    assert ann.one(PeerReachable).status == 404
    bob.ua._screen = None
    bob.ua.draining = True
    ann.ua.options("trunk", bob.flow, "sip:192.0.2.2", net.now)
    net.run(1)
    assert ann.one(PeerUnreachable).reason == "503 shutting down"


def test_options_finds_a_peer_dead():
    net = Network()
    ann = net.add("192.0.2.1")
    ann.ua.options("trunk", Flow("udp", "192.0.2.9", 5060), "sip:192.0.2.9", net.now)
    net.run(33)
    assert ann.one(PeerUnreachable).reason == "no answer from udp:192.0.2.9:5060"


# Large requests


def large(net: Network, node, *, fixed: bool = False, octets: int = 1500) -> None:
    node.ua.invite(
        "sip:bob@192.0.2.2",
        from_="<sip:ann@192.0.2.1>",
        targets=[Flow("udp", "192.0.2.2", 5060, fixed)],
        sdp=b"v=0\r\n" + b"a=x\r\n" * (octets // 5),
        now=net.now,
    )


def test_a_request_too_large_for_a_datagram_goes_by_tcp():
    net = Network()
    ann, bob = net.add("192.0.2.1"), net.add("192.0.2.2")
    large(net, ann)
    net.run(0.1)
    assert bob.one(IncomingInvite).source.transport == "tcp"
    assert net.wire[0].message.top_via.transport == "TCP"


def test_and_by_udp_after_all_where_tcp_is_refused_which_is_remembered():
    net = Network()
    ann, bob = net.add("192.0.2.1"), net.add("192.0.2.2")
    net.unreachable.add(Flow("tcp", "192.0.2.2", 5060))
    large(net, ann)
    net.run(0.1)
    assert bob.one(IncomingInvite).source.transport == "udp"
    assert net.wire[0].message.top_via.transport == "UDP"
    large(net, ann)
    net.run(0.1)
    assert len(bob.of(IncomingInvite)) == 2
    assert ann.ua.counters["flows_failed"] == 1


@pytest.mark.parametrize(("octets", "transport"), [(1500, "udp"), (60000, "udp"), (64900, "tcp")])
def test_a_uri_that_names_udp_is_taken_at_its_word_as_far_as_a_datagram_holds(octets, transport):
    net = Network()
    ann, bob = net.add("192.0.2.1"), net.add("192.0.2.2")
    large(net, ann, fixed=True, octets=octets)
    net.run(0.1)
    assert bob.one(IncomingInvite).source.transport == transport


# Learned addresses


def test_an_address_is_learned_only_from_an_answer_to_our_own_request():
    desk = Desk()
    forged = message().replace(b"INVITE sip:bob@192.0.2.2 SIP/2.0", b"SIP/2.0 200 OK")
    desk.say(forged.replace(b";rport", b";rport=6666;received=203.0.113.66"))
    assert desk.ua.advertised(PEER) == Address("192.0.2.2", 5060)
    desk.ua.options("t", PEER, "sip:192.0.2.1", 0)
    ((_, sent),) = desk.ua.transmissions()
    answer = b"SIP/2.0 200 OK\r\n" + sent.split(b"\r\n", 1)[1].replace(b";rport", b";rport=6666;received=203.0.113.5")
    desk.say(answer)
    assert desk.ua.advertised(PEER) == Address("203.0.113.5", 6666)
    # What the registrar knows of us is what a caller through it sees.
    desk.say(message(uri="sip:bob@203.0.113.5:6666"), Flow("udp", "192.0.2.44", 5060))
    invite = next(event for event in desk.events() if isinstance(event, IncomingInvite))
    assert str(invite.session.advertised) == "203.0.113.5:6666"
    desk.ua.transmissions()
    invite.session.ring(0)
    ((_, ringing),) = desk.ua.transmissions()
    assert b"Contact: <sip:bob@203.0.113.5:6666>" in ringing


def test_a_configured_address_is_in_via_and_contact():
    desk = Desk(public_host="198.51.100.7")
    desk.ua.options("t", PEER, "sip:192.0.2.1", 0)
    ((_, sent),) = desk.ua.transmissions()
    request = parse_message(sent)
    assert request.top_via.sent_by == "198.51.100.7:5060"
    assert request.headers.get("Contact") == "<sip:198.51.100.7:5060>"


# The boundary


def test_on_output_is_called_once_until_drained():
    desk = Desk()
    calls = []
    desk.ua.on_output = lambda: calls.append(1)
    desk.say(message("OPTIONS"))
    assert len(calls) == 1
    desk.ua.options("t", PEER, "sip:x", 0)
    desk.ua.options("t", PEER, "sip:x", 0)
    assert len(calls) == 2
    desk.ua.transmissions()
    desk.ua.options("t", PEER, "sip:x", 0)
    assert len(calls) == 3


@pytest.mark.parametrize(
    "arguments",
    [
        {"uri": "no uri"},
        {"from_": "<<>"},
        {"targets": []},
        {"to": '"open <sip:x>'},
    ],
)
def test_bad_arguments_of_invite_are_local_errors(arguments):
    whole = {"uri": "sip:x@y", "from_": "<sip:a@b>", "targets": [PEER], "sdp": b"", "now": 0.0} | arguments
    with pytest.raises(LocalError):
        Desk().ua.invite(whole.pop("uri"), **whole)


def test_headers_and_route_of_an_invite_go_out_as_given():
    desk = Desk()
    desk.ua.invite(
        "sip:x@y",
        from_='"Ann" <sip:a@b>',
        to="<sip:z@y>",
        targets=[PEER],
        sdp=b"v=0\r\n",
        now=0,
        headers=[("P-Asserted-Identity", "<sip:1@b>")],
        route=["<sip:192.0.2.1;lr>"],
    )
    request = parse_message(desk.ua.transmissions()[0][1])
    assert request.headers.get("P-Asserted-Identity") == "<sip:1@b>"
    assert request.headers.get_all("Route") == ["<sip:192.0.2.1;lr>"]
    assert str(request.to.uri) == "sip:z@y"
    assert "100rel" not in (request.headers.get("Supported") or "")


SEEDS = [
    message(),
    message("OPTIONS"),
    message("BYE", to_tag="x"),
    message("CANCEL"),
    message("ACK"),
    message("UPDATE", to_tag="x"),
    b"SIP/2.0 200 OK\r\n" + message().split(b"\r\n", 1)[1],
]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_no_octets_raise(data):
    Desk().say(data)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(SEEDS),
            st.integers(0, 400),
            st.binary(max_size=6),
            st.integers(0, 12),
            st.sampled_from([PEER, Flow("tcp", "192.0.2.1", 4000)]),
        ),
        max_size=6,
    )
)
def test_no_mangled_message_raises_and_all_of_it_ends(mangled):
    desk = Desk()
    for seed, at, inserted, removed, source in mangled:
        desk.ua.receive(seed[:at] + inserted + seed[at + removed :], source, desk.now)
        desk.now += 0.1
    for event in desk.events():
        if isinstance(event, IncomingInvite):
            event.session.answer(b"v=0\r\n", desk.now)
    while (at_time := desk.ua.next_timer()) is not None:
        desk.now = max(desk.now, at_time)
        assert desk.now < 1000
        desk.ua.handle_timer(desk.now)
    assert (desk.ua.live_transactions, desk.ua.live_sessions) == (0, 0)


# Reports


def publish(net: Network, node, target: Flow) -> None:
    node.ua.publish(
        "call-1",
        "sip:vq@192.0.2.2",
        from_="<sip:gw@192.0.2.1>",
        targets=[target],
        event="vq-rtcpxr",
        content_type="application/vq-rtcpxr",
        body=b"VQSessionReport: CallTerm\r\n",
        now=net.now,
    )


def test_a_report_is_published_and_its_answer_told():
    net = Network()
    ann, bob = net.add("192.0.2.1"), net.add("192.0.2.2", screen=lambda *_: Refusal(489, "Bad Event"))
    publish(net, ann, bob.flow)
    net.run(1)
    request = net.wire[0].message
    assert (request.method, request.body) == ("PUBLISH", b"VQSessionReport: CallTerm\r\n")
    assert [request.headers.get(name) for name in ("Event", "Content-Type", "To")] == [
        "vq-rtcpxr",
        "application/vq-rtcpxr",
        "<sip:vq@192.0.2.2>",
    ]
    assert ann.one(PublishEnded) == PublishEnded("call-1", 489, "Bad Event")


def test_a_report_to_nobody_times_out():
    net = Network()
    ann = net.add("192.0.2.1")
    publish(net, ann, Flow("udp", "192.0.2.9", 5060))
    net.run(33)
    assert ann.one(PublishEnded).status == 408
