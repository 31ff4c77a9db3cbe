"""Dialogs: route sets, strict routing, target refresh, sequence numbers, next hops."""

import pytest

from trunkline.sip.dialog import Dialog
from trunkline.sip.errors import ParseError
from trunkline.sip.flow import Flow
from trunkline.sip.message import Request, Response, parse_message, response_to

SOURCE = Flow("udp", "192.0.2.1", 5060)


def invite(headers: str = "", contact: str = "Contact: <sip:ann@192.0.2.1:5070>\r\n") -> Request:
    message = parse_message(
        (
            "INVITE sip:bob@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n"
            "From: Ann <sip:ann@a.example>;tag=a\r\nTo: <sip:bob@b.example>\r\nCall-ID: c\r\nCSeq: 7 INVITE\r\n"
            f"{contact}{headers}\r\n"
        ).encode()
    )
    assert isinstance(message, Request)
    return message


def answer(request: Request, headers: list[tuple[str, str]], status: int = 200) -> Response:
    response = response_to(request, status, to_tag="b")
    response.headers.remove("Record-Route")
    for name, value in headers:
        response.headers.add(name, value)
    return response


def called(**more) -> Dialog:
    return Dialog.from_request(invite(**more), "b", SOURCE, 100)


def test_the_called_side_takes_record_route_in_order():
    dialog = called(headers="Record-Route: <sip:192.0.2.10;lr>, <sip:192.0.2.11;lr>\r\n")
    request = dialog.request("BYE")
    assert request.headers.get_all("Route") == ["<sip:192.0.2.10;lr>", "<sip:192.0.2.11;lr>"]
    assert str(request.uri) == "sip:ann@192.0.2.1:5070"
    assert (request.from_.tag, request.to.tag, request.cseq.number) == ("b", "a", 101)
    assert request.headers.get("To") == '"Ann" <sip:ann@a.example>;tag=a' or "Ann" in (request.headers.get("To") or "")
    assert dialog.targets() == [Flow("udp", "192.0.2.10", 5060)]


def test_the_calling_side_reverses_record_route():
    request = invite()
    response = answer(
        request,
        [
            ("Record-Route", "<sip:192.0.2.11;lr>"),
            ("Record-Route", "<sip:192.0.2.10;lr>"),
            ("Contact", "<sip:bob@192.0.2.2>"),
        ],
    )
    dialog = Dialog.from_response(request, response, SOURCE)
    assert [str(route.uri) for route in dialog.route_set] == ["sip:192.0.2.10;lr", "sip:192.0.2.11;lr"]
    assert dialog.id == ("c", "a", "b")


def test_a_2xx_recomputes_the_route_set_of_the_early_dialog():
    request = invite()
    early = answer(request, [("Record-Route", "<sip:192.0.2.10;lr>"), ("Contact", "<sip:bob@192.0.2.2>")], 180)
    dialog = Dialog.from_response(request, early, SOURCE)
    dialog.confirm(answer(request, [("Contact", "<sip:bob@192.0.2.3>")]))
    assert dialog.route_set == []
    assert str(dialog.remote_target) == "sip:bob@192.0.2.3"


def test_a_strict_router_becomes_the_request_uri():
    dialog = called(headers="Record-Route: <sip:192.0.2.10>, <sip:192.0.2.11;lr>\r\n")
    request = dialog.request("BYE")
    assert str(request.uri) == "sip:192.0.2.10"
    assert request.headers.get_all("Route") == ["<sip:192.0.2.11;lr>", "<sip:ann@192.0.2.1:5070>"]
    assert dialog.targets() == [Flow("udp", "192.0.2.10", 5060)]


def test_our_requests_count_up_and_ack_keeps_the_number():
    dialog = called()
    assert [dialog.request(method).cseq.number for method in ("INFO", "BYE")] == [101, 102]
    assert dialog.request("ACK", 101).cseq.number == 101
    assert dialog.local_cseq == 102


def test_lower_numbers_of_the_far_end_are_refused():
    dialog = called()
    later = invite()
    for number, accepted in [(6, False), (7, True), (9, True), (8, False)]:
        later.headers.set("CSeq", f"{number} INVITE")
        assert dialog.accepts(later) is accepted
    ack = invite()
    ack.method = "ACK"
    ack.headers.set("CSeq", "1 ACK")
    assert dialog.accepts(ack)


def test_target_refresh_and_a_contact_that_cannot_be_read():
    dialog = called()
    dialog.refresh_target(invite(contact="Contact: <sip:ann@192.0.2.9>\r\n"))
    assert str(dialog.remote_target) == "sip:ann@192.0.2.9"
    dialog.refresh_target(invite(contact=""))
    assert str(dialog.remote_target) == "sip:ann@192.0.2.9"
    with pytest.raises(ParseError, match="Contact"):
        dialog.refresh_target(invite(contact="Contact: <<\r\n"))


def test_without_a_contact_the_far_end_is_its_from_uri():
    assert str(called(contact="").remote_target) == "sip:ann@a.example"


def target_of(contact: str, flow: Flow) -> list[Flow]:
    return Dialog.from_request(invite(contact=f"Contact: <{contact}>\r\n"), "b", flow, 1).targets()


@pytest.mark.parametrize(
    ("contact", "flow", "targets"),
    [
        ("sip:a@192.0.2.1:5070", SOURCE, [Flow("udp", "192.0.2.1", 5070)]),
        ("sip:a@192.0.2.1;transport=tcp", SOURCE, [Flow("tcp", "192.0.2.1", 5060)]),
        ("sips:a@192.0.2.1", SOURCE, [Flow("tls", "192.0.2.1", 5061)]),
        ("sip:a@[2001:db8::1]:5070", SOURCE, [Flow("udp", "2001:db8::1", 5070)]),
        # A name is not resolved here: who sent the INVITE stands for it, on its own port when the connection is gone.
        ("sip:a@phone.example", SOURCE, [SOURCE]),
        (
            "sip:a@sbc.example:5080",
            Flow("tcp", "192.0.2.1", 40000),
            [Flow("tcp", "192.0.2.1", 40000), Flow("tcp", "192.0.2.1", 5080)],
        ),
        ("sip:a@sbc.example;transport=udp", Flow("tcp", "192.0.2.1", 40000), [Flow("tcp", "192.0.2.1", 40000)]),
        # No transport named: the one that the dialog came over, when it is the same host.
        (
            "sip:a@192.0.2.1",
            Flow("tcp", "192.0.2.1", 40000),
            [Flow("tcp", "192.0.2.1", 40000), Flow("tcp", "192.0.2.1", 5060)],
        ),
        ("sip:a@192.0.2.7", Flow("tcp", "192.0.2.1", 40000), [Flow("udp", "192.0.2.7", 5060)]),
        ("sips:a@192.0.2.1;transport=tcp", SOURCE, [Flow("tls", "192.0.2.1", 5061)]),
        ("tel:+1415", SOURCE, [SOURCE]),
        ("sip:a@192.0.2.1;transport=sctp", SOURCE, [SOURCE]),
        # A private address behind a public one is a NAT's inside.
        ("sip:a@10.0.0.5:5070", Flow("udp", "8.8.8.8", 4000), [Flow("udp", "8.8.8.8", 4000)]),
        ("sip:a@8.8.4.4:5070", Flow("udp", "8.8.8.8", 4000), [Flow("udp", "8.8.4.4", 5070)]),
        ("sip:a@10.0.0.5:5070", Flow("udp", "10.0.0.9", 4000), [Flow("udp", "10.0.0.5", 5070)]),
        # The connection that is there comes first, the named one when it is gone.
        (
            "sip:a@192.0.2.1:5070;transport=tcp",
            Flow("tcp", "192.0.2.1", 40000),
            [Flow("tcp", "192.0.2.1", 40000), Flow("tcp", "192.0.2.1", 5070)],
        ),
        (
            "sip:a@192.0.2.1:5060;transport=tcp",
            Flow("tcp", "192.0.2.1", 5060),
            [Flow("tcp", "192.0.2.1", 5060)],
        ),
    ],
)
def test_next_hops(contact, flow, targets):
    assert target_of(contact, flow) == targets


@pytest.mark.parametrize(
    ("contact", "flow", "fixed"),
    [
        ("sip:a@192.0.2.1;transport=udp", SOURCE, True),
        ("sip:a@192.0.2.1", SOURCE, False),
        ("sip:a@192.0.2.1", Flow("udp", "192.0.2.1", 5060, fixed=True), True),
        ("sip:a@192.0.2.7", Flow("tcp", "192.0.2.1", 5060, fixed=True), False),
    ],
)
def test_a_named_transport_is_not_left(contact, flow, fixed):
    assert target_of(contact, flow)[0].fixed is fixed


def test_headers_in_a_contact_do_not_reach_the_request_uri():
    dialog = called(contact="Contact: <sip:ann@192.0.2.1;method=INVITE?Subject=x>\r\n")
    assert str(dialog.request("BYE").uri) == "sip:ann@192.0.2.1"


def test_repr_shows_state_and_numbers():
    assert repr(called()) == "<Dialog c early cseq=100/7>"
