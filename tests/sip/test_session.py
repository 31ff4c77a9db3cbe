"""INVITE sessions in both roles, over a network that loses, repeats and reorders, in virtual time."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.sip_network import Network, Node, Packet, delay, duplicate, lose, lossy

from trunkline.sip.digest import Credentials, DigestVerifier
from trunkline.sip.errors import LocalError
from trunkline.sip.events import (
    Answered,
    Confirmed,
    Ended,
    IncomingInvite,
    InfoReceived,
    OfferAnswered,
    OfferRefused,
    Progress,
    Rejected,
    ReOffer,
    ReOfferWithdrawn,
    RequestRefused,
)
from trunkline.sip.flow import Flow
from trunkline.sip.message import Request, Response, parse_message, response_to
from trunkline.sip.session import SessionState
from trunkline.sip.session_refresh import SessionRefresh
from trunkline.sip.session_timer import SessionExpires, SessionInterval, answer_as_uas, interval_as_uac, min_se
from trunkline.sip.timers import TimerHeap

OFFER, ANSWER, OFFER2, ANSWER2 = b"v=0\r\no=1\r\n", b"v=0\r\na=1\r\n", b"v=0\r\no=2\r\n", b"v=0\r\na=2\r\n"
ANN, BOB = "192.0.2.1", "192.0.2.2"


class Pair:
    """Ann calls Bob."""

    def __init__(self, transport: str = "udp", **config) -> None:
        self.net = Network()
        self.ann = self.net.add(ANN, transport, **config)
        self.bob = self.net.add(BOB, transport, **config)
        self.transport = transport

    def call(self, sdp: bytes = OFFER, **more):
        self.out = self.ann.ua.invite(
            f"sip:bob@{BOB}",
            from_=f"<sip:ann@{ANN}>",
            targets=[Flow(self.transport, BOB, 5060)],
            sdp=sdp,
            now=self.net.now,
            **more,
        )
        return self.out

    def ring(self):
        self.call()
        self.net.run(0.05)
        self.inc = self.bob.one(IncomingInvite).session
        self.inc.ring(self.net.now)
        self.net.run(0.05)

    def up(self):
        self.ring()
        self.inc.answer(ANSWER, self.net.now)
        self.net.run(0.05)
        assert (self.out.state, self.inc.state) == (SessionState.ESTABLISHED, SessionState.ESTABLISHED)

    def over(self):
        """Everything ended, nothing left behind."""
        self.net.settle()
        for node in (self.ann, self.bob):
            assert (node.ua.live_transactions, node.ua.live_sessions, node.ua.next_timer()) == (0, 0, None), repr(
                node.ua
            )


@pytest.fixture
def pair() -> Pair:
    return Pair()


# A plain call


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_call_from_invite_to_bye(transport):
    pair = Pair(transport)
    pair.up()
    assert pair.inc.remote_offer == OFFER
    assert pair.ann.one(Progress).status == 180
    assert pair.ann.one(Answered).sdp == ANSWER
    assert pair.bob.one(Confirmed).sdp is None
    pair.out.bye(pair.net.now, reason_header="Q.850;cause=16")
    pair.over()
    assert (pair.ann.one(Ended).by, pair.ann.one(Ended).reason) == ("local", "bye")
    assert (pair.bob.one(Ended).by, pair.bob.one(Ended).reason_header) == ("remote", "Q.850;cause=16")
    assert pair.net.kinds() == ["INVITE", "180 INVITE", "200 INVITE", "ACK", "BYE", "200 BYE"]


def test_the_called_side_hangs_up(pair):
    pair.up()
    pair.inc.bye(pair.net.now)
    pair.over()
    assert (pair.bob.one(Ended).by, pair.ann.one(Ended).by) == ("local", "remote")


def test_the_live_state_is_one_line(pair):
    pair.up()
    assert "established udp:192.0.2.1:5060" in repr(pair.inc)
    assert "sessions=1" in repr(pair.ann.ua)
    assert any("OutgoingSession" in line for line in pair.ann.ua.dump())


def test_addresses_of_a_session_are_never_wildcards(pair):
    pair.up()
    assert (pair.inc.advertised.host, pair.inc.peer.host) == (BOB, ANN)
    assert pair.out.advertised.host == ANN


def test_early_media_and_an_answer_without_a_body(pair):
    pair.call()
    pair.net.run(0.05)
    session = pair.bob.one(IncomingInvite).session
    session.progress(183, ANSWER, pair.net.now)
    pair.net.run(0.05)
    assert (pair.ann.one(Progress).status, pair.ann.one(Progress).sdp) == (183, ANSWER)
    session.answer(b"", pair.net.now)
    pair.net.run(0.05)
    assert pair.ann.one(Answered).sdp == ANSWER


def test_delayed_offer_the_answer_comes_in_the_ack(pair):
    raw = Raw(pair)
    raw.invite(body=b"")
    session = pair.bob.one(IncomingInvite).session
    assert session.remote_offer is None
    session.answer(OFFER, pair.net.now)
    pair.net.run(0.05)
    raw.ack(body=ANSWER)
    assert pair.bob.one(Confirmed).sdp == ANSWER


def test_a_provisional_response_is_repeated_every_minute(pair):
    pair.ring()
    pair.net.run(130)
    assert len(pair.net.times("180 INVITE")) == 3


def test_100_trying_goes_out_by_itself(pair):
    pair.call()
    pair.net.run(1)
    assert pair.net.times("100 INVITE") == [0.21]


# Loss


def test_a_lost_200_is_repeated_and_the_call_stands(pair):
    pair.net.faults.append(lose("200 INVITE", 2))
    pair.ring()
    pair.inc.answer(ANSWER, pair.net.now)
    pair.net.run(3)
    assert [round(at - 0.1, 2) for at in pair.net.times("200 INVITE")] == [0, 0.5, 1.5]
    assert len(pair.ann.of(Answered)) == len(pair.bob.of(Confirmed)) == 1


def test_a_lost_ack_is_sent_again_for_the_repeated_200(pair):
    pair.net.faults.append(lose("ACK", 3))
    pair.ring()
    pair.inc.answer(ANSWER, pair.net.now)
    pair.net.run(10)
    assert len(pair.net.times("ACK")) == 4
    assert len(pair.ann.of(Answered)) == len(pair.bob.of(Confirmed)) == 1


def test_the_same_ack_is_repeated_octet_by_octet(pair):
    pair.net.faults.append(lose("ACK"))
    pair.ring()
    pair.inc.answer(ANSWER, pair.net.now)
    pair.net.run(2)
    first, second = [packet.data for packet in pair.net.wire if packet.kind == "ACK"]
    assert first == second


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_no_ack_for_64_t1_ends_the_call_with_bye(transport):
    pair = Pair(transport)
    pair.net.faults.append(lose("ACK", 1000))
    pair.ring()
    answered = pair.net.now
    pair.inc.answer(ANSWER, answered)
    pair.net.run(40)
    ended = pair.bob.one(Ended)
    assert (ended.by, ended.reason) == ("failure", "no ACK")
    assert pair.net.times("BYE")[0] == pytest.approx(answered + 32)
    assert pair.bob.of(Confirmed) == []
    pair.over()
    assert pair.ann.one(Ended).by == "remote"


def test_a_repeated_invite_never_makes_a_second_call(pair):
    pair.net.faults += [lose("180 INVITE", 1), duplicate("INVITE")]
    pair.call()
    pair.net.run(5)
    pair.bob.one(IncomingInvite)


def test_an_invite_whose_answers_are_lost_still_makes_one_call(pair):
    pair.net.faults.append(lose("100 INVITE", 100))
    pair.call()
    pair.net.run(5)
    assert len(pair.net.times("INVITE")) > 2
    pair.bob.one(IncomingInvite)


def test_an_ack_that_overtakes_nothing_is_counted(pair):
    pair.up()
    ack = next(packet for packet in pair.net.wire if packet.kind == "ACK")
    pair.bob.ua.receive(ack.data, ack.source, pair.net.now)
    assert pair.bob.ua.counters["stray_acks"] == 1


def test_nobody_answers_at_all(pair):
    pair.net.faults.append(lose("INVITE", 100))
    pair.call()
    pair.over()
    rejected = pair.ann.one(Rejected)
    assert (rejected.status, rejected.local, rejected.reason) == (408, True, "no answer from udp:192.0.2.2:5060")


def test_an_unreachable_target_is_503_at_once(pair):
    pair.net.unreachable.add(Flow("udp", BOB, 5060))
    pair.call()
    pair.net.run(0)
    rejected = pair.ann.one(Rejected)
    assert (rejected.status, rejected.local) == (503, True)
    assert "connection refused" in rejected.reason


def test_the_next_target_is_tried(pair):
    pair.net.unreachable.add(Flow("udp", "192.0.2.8", 5060))
    pair.ann.ua.invite(
        f"sip:bob@{BOB}",
        from_=f"<sip:ann@{ANN}>",
        targets=[Flow("udp", "192.0.2.8", 5060), Flow("udp", BOB, 5060)],
        sdp=OFFER,
        now=0,
    )
    pair.net.run(0.05)
    pair.bob.one(IncomingInvite)


def test_503_from_one_target_leads_to_the_next():
    net = Network()
    ann, full, bob = net.add(ANN), net.add("192.0.2.8"), net.add(BOB)
    full.ua.draining = True
    targets = [full.flow, bob.flow]
    ann.ua.invite(f"sip:bob@{BOB}", from_=f"<sip:ann@{ANN}>", targets=targets, sdp=OFFER, now=0)
    net.run(0.05)
    bob.one(IncomingInvite)
    assert ann.of(Rejected) == []


# Refusals


def test_a_refusal_carries_status_reason_headers_and_warning(pair):
    pair.ring()
    pair.inc.reject(503, pair.net.now, "call limit", [("Retry-After", "7")], "limit of 10 calls")
    pair.net.run(1)
    rejected = pair.ann.one(Rejected)
    assert (rejected.status, rejected.reason, rejected.retry_after, rejected.local) == (503, "call limit", 7, False)
    ended = pair.bob.one(Ended)
    assert (ended.by, ended.reason, ended.status) == ("local", "rejected 503 call limit", 503)
    response = next(packet.message for packet in pair.net.wire if packet.kind == "503 INVITE")
    assert response.headers.get("Warning") == '399 192.0.2.2:5060 "limit of 10 calls"'
    pair.over()


def test_a_warning_is_one_line_whatever_it_is_made_of(pair):
    pair.ring()
    pair.inc.reject(503, pair.net.now, warning='first "line"\r\nX-Evil: 1\n\tla\0st')
    pair.net.run(0.05)
    (refusal,) = {packet.data for packet in pair.net.wire if packet.kind == "503 INVITE"}
    assert refusal.count(b'Warning: 399 192.0.2.2:5060 "first \\"line\\" X-Evil: 1 last"\r\n') == 1
    pair.over()


def test_an_unanswered_call_is_refused_with_480_at_the_ring_limit():
    pair = Pair(ring_limit=30.0)
    pair.net.faults.append(lose("CANCEL", 100))
    pair.ring()
    pair.net.run(40)
    assert pair.bob.one(Ended).reason == "nobody answered in time"
    pair.over()


def test_the_caller_gives_up_at_the_ring_limit():
    pair = Pair(ring_limit=30.0)
    pair.bob.ua.ring_limit = 1000.0
    pair.ring()
    pair.net.run(40)
    assert (pair.ann.one(Ended).by, pair.ann.one(Ended).reason) == ("local", "nobody answered in time")
    assert pair.bob.one(Ended).reason == "cancelled"
    pair.over()


def test_expires_of_the_invite_limits_the_ringing(pair):
    pair.call(headers=[("Expires", "5")])
    pair.net.run(6)
    assert pair.ann.one(Rejected).status == 480


@pytest.mark.parametrize(("status", "error"), [(200, "no refusal"), (100, "no refusal")])
def test_reject_takes_refusals_only(pair, status, error):
    pair.ring()
    with pytest.raises(LocalError, match=error):
        pair.inc.reject(status, pair.net.now)
    with pytest.raises(LocalError, match="provisional"):
        pair.inc.progress(100, None, pair.net.now)


def test_hang_up_in_every_state(pair):
    pair.ring()
    pair.inc.hang_up(pair.net.now, "Q.850;cause=16")
    pair.over()
    assert pair.ann.one(Rejected).status == 480


# CANCEL


def test_cancel_before_any_response_waits_for_the_first(pair):
    pair.call()
    pair.out.cancel(pair.net.now)
    pair.net.run(0.15)
    assert pair.net.times("CANCEL") == []
    pair.over()
    assert pair.net.times("CANCEL") == [0.22]
    assert (pair.ann.one(Ended).by, pair.ann.one(Ended).status) == ("local", 487)
    assert (pair.bob.one(Ended).by, pair.bob.one(Ended).reason) == ("remote", "cancelled")


def test_cancel_while_it_rings(pair):
    pair.ring()
    pair.out.hang_up(pair.net.now, "SIP;cause=487")
    pair.over()
    assert pair.net.kinds()[-4:] == ["CANCEL", "200 CANCEL", "487 INVITE", "ACK"]
    assert pair.bob.one(Ended).reason_header == "SIP;cause=487"
    cancel = next(packet.message for packet in pair.net.wire if packet.kind == "CANCEL")
    invite = next(packet.message for packet in pair.net.wire if packet.kind == "INVITE")
    assert cancel.top_via == invite.top_via
    assert cancel.cseq.number == invite.cseq.number


def test_a_200_that_crosses_the_cancel_is_acked_and_ended(pair):
    pair.ring()
    pair.inc.answer(ANSWER, pair.net.now)
    pair.out.cancel(pair.net.now)
    pair.over()
    assert {"200 CANCEL", "200 INVITE", "ACK", "BYE", "200 BYE"} <= set(pair.net.kinds())
    assert (pair.ann.one(Ended).reason, pair.ann.of(Answered)) == ("cancelled", [])
    assert pair.bob.one(Ended).by == "remote"


def test_answer_after_cancel_does_nothing(pair):
    pair.ring()
    pair.out.cancel(pair.net.now)
    pair.net.run(0.05)
    pair.inc.answer(ANSWER, pair.net.now)
    pair.inc.ring(pair.net.now)
    pair.inc.reject(486, pair.net.now)
    pair.over()
    assert "200 INVITE" not in pair.net.kinds()
    pair.bob.one(Ended)


def test_cancel_that_nobody_honours_ends_after_64_t1(pair):
    pair.net.faults += [lose("CANCEL", 100), lose("200 CANCEL", 100)]
    pair.ring()
    pair.out.cancel(pair.net.now)
    at = pair.net.now
    pair.net.run(31.9)
    assert pair.ann.of(Ended) == []
    pair.net.run(0.2)
    assert pair.ann.one(Ended).reason == "cancelled"
    assert pair.net.now == pytest.approx(at + 32.1)
    assert pair.ann.ua.live_sessions == 0


def test_nothing_is_settled_before_the_far_end_has_its_cancel_and_its_bye(pair):
    pair.net.faults.append(lose("CANCEL"))
    assert pair.ann.ua.settled
    pair.ring()
    pair.out.cancel(pair.net.now)
    pair.net.run(0.4)
    assert not pair.ann.ua.settled, "the CANCEL was lost"
    pair.net.run(0.2)
    assert pair.ann.ua.settled
    pair.bob.events.clear()
    pair.up()
    pair.out.bye(pair.net.now)
    assert not pair.ann.ua.settled
    pair.net.run(0.05)
    assert pair.ann.ua.settled
    assert pair.ann.ua.live_transactions > 0, "what only waits for repetitions does not count"


def test_cancel_after_the_answer_is_ignored(pair):
    pair.up()
    pair.out.cancel(pair.net.now)
    pair.net.run(1)
    assert "CANCEL" not in pair.net.kinds()
    assert pair.out.state is SessionState.ESTABLISHED


def test_a_refusal_that_crosses_the_cancel_ends_the_call(pair):
    pair.ring()
    pair.inc.reject(486, pair.net.now)
    pair.out.cancel(pair.net.now)
    pair.over()
    assert (pair.ann.one(Ended).status, pair.ann.of(Rejected)) == (486, [])
    assert "481 CANCEL" not in pair.net.kinds()


def test_cancel_without_its_invite_is_481(pair):
    pair.ring()
    pair.out.cancel(pair.net.now)
    pair.over()
    cancel = next(packet for packet in pair.net.wire if packet.kind == "CANCEL")
    pair.bob.ua.receive(cancel.data, cancel.source, pair.net.now)
    ((_, answer),) = pair.bob.ua.transmissions()
    assert answer.startswith(b"SIP/2.0 481")


# BYE


def test_bye_before_the_ack_waits_for_it(pair):
    pair.net.faults.append(lose("ACK", 1))
    pair.ring()
    pair.inc.answer(ANSWER, pair.net.now)
    pair.inc.bye(pair.net.now)
    pair.net.run(0.3)
    assert "BYE" not in pair.net.kinds()
    assert pair.bob.one(Ended).by == "local"
    pair.over()
    assert pair.net.kinds().index("ACK") < pair.net.kinds().index("BYE")
    assert pair.bob.of(Confirmed) == []
    assert pair.ann.one(Ended).by == "remote"


def test_bye_without_any_ack_goes_out_after_64_t1(pair):
    pair.net.faults.append(lose("ACK", 1000))
    pair.ring()
    pair.inc.answer(ANSWER, pair.net.now)
    pair.inc.bye(pair.net.now)
    pair.over()
    assert pair.net.times("BYE")[0] == pytest.approx(32.1)
    pair.bob.one(Ended)


def test_the_caller_hangs_up_before_the_ack_arrives(pair):
    pair.net.faults.append(delay("ACK", 2.0, 5))
    pair.ring()
    pair.inc.answer(ANSWER, pair.net.now)
    pair.net.run(0.05)
    pair.out.bye(pair.net.now)
    pair.over()
    assert pair.bob.one(Ended).by == "remote"


def test_two_byes_cross(pair):
    pair.up()
    pair.out.bye(pair.net.now)
    pair.inc.bye(pair.net.now)
    pair.over()
    assert pair.net.kinds().count("200 BYE") == 2
    assert (pair.ann.one(Ended).by, pair.bob.one(Ended).by) == ("local", "local")


def test_bye_is_idempotent(pair):
    pair.up()
    for _ in range(3):
        pair.out.bye(pair.net.now)
        pair.out.hang_up(pair.net.now)
    pair.over()
    assert pair.net.kinds().count("BYE") == 1
    pair.ann.one(Ended)


def test_bye_to_a_dead_peer_ends_all_the_same(pair):
    pair.up()
    pair.net.faults.append(lose("BYE", 100))
    pair.out.bye(pair.net.now)
    pair.net.run(33)
    assert (pair.ann.one(Ended).by, pair.ann.ua.live_sessions) == ("local", 0)


def test_after_the_end_requests_get_481(pair):
    pair.up()
    pair.out.bye(pair.net.now)
    pair.over()
    stale = pair.inc.dialog.request("INFO")
    stale.headers.insert_first("Via", f"SIP/2.0/UDP {BOB}:5060;branch=z9hG4bKx")
    pair.ann.ua.receive(stale.to_bytes(), Flow("udp", BOB, 5060), pair.net.now)
    assert pair.ann.ua.transmissions()[0][1].startswith(b"SIP/2.0 481")


def test_bye_of_an_early_dialog_ends_the_invite_with_487(pair):
    raw = Raw(pair)
    raw.invite()
    pair.bob.one(IncomingInvite).session.ring(pair.net.now)
    raw.request("BYE", cseq=2)
    assert [message.status for message in raw.responses("INVITE")][-1] == 487
    ended = pair.bob.one(Ended)
    assert (ended.by, ended.reason, ended.status) == ("remote", "bye", 487)


# Re-INVITE and UPDATE


def test_reinvite_is_offered_answered_and_acked(pair):
    pair.up()
    pair.out.reinvite(OFFER2, pair.net.now)
    pair.net.run(0.05)
    offer = pair.bob.one(ReOffer)
    assert offer.sdp == OFFER2
    offer.session.accept_offer(ANSWER2, pair.net.now)
    pair.net.run(1)
    assert pair.ann.one(OfferAnswered).sdp == ANSWER2
    assert pair.net.kinds()[-3:] == ["INVITE", "200 INVITE", "ACK"]
    pair.inc.reinvite(OFFER, pair.net.now)
    pair.net.run(0.05)
    pair.ann.one(ReOffer).session.accept_offer(ANSWER, pair.net.now)
    pair.out.bye(pair.net.now)
    pair.over()


def test_a_refused_reinvite_leaves_the_call_up(pair):
    pair.up()
    pair.out.reinvite(OFFER2, pair.net.now)
    pair.net.run(0.05)
    pair.inc.refuse_offer(488, pair.net.now)
    pair.net.run(1)
    assert pair.ann.one(OfferRefused).status == 488
    assert pair.out.state is SessionState.ESTABLISHED


def test_a_lost_200_of_a_reinvite_is_repeated(pair):
    pair.up()
    pair.net.faults.append(lose("200 INVITE", 2))
    pair.out.reinvite(OFFER2, pair.net.now)
    pair.net.run(0.05)
    pair.inc.accept_offer(ANSWER2, pair.net.now)
    pair.net.run(5)
    assert pair.ann.one(OfferAnswered).sdp == ANSWER2
    assert len(pair.inc._pending_answers) == 0


def test_glare_is_491_and_both_offers_succeed_in_the_end(pair):
    pair.up()
    for node in (pair.ann, pair.bob):
        node.on_event = lambda event: (
            event.session.accept_offer(ANSWER2, pair.net.now) if isinstance(event, ReOffer) else None
        )
    pair.out.reinvite(OFFER, pair.net.now)
    pair.inc.reinvite(OFFER2, pair.net.now)
    pair.net.run(10)
    assert pair.net.kinds().count("491 INVITE") == 2
    assert len(pair.ann.of(OfferAnswered)) == len(pair.bob.of(OfferAnswered)) == 1
    # RFC 3261 §14.1: the owner of the Call-ID waits 2.1 to 4 s, the other up to 2 s.
    again = [packet for packet in pair.net.wire if packet.kind == "INVITE"][-2:]
    assert [packet.source.host for packet in again] == [BOB, ANN]


def test_a_second_offer_waits_for_the_first(pair):
    pair.up()
    pair.out.reinvite(OFFER, pair.net.now)
    pair.out.reinvite(OFFER2, pair.net.now)
    pair.net.run(0.05)
    assert pair.net.kinds().count("INVITE") == 2
    pair.inc.accept_offer(ANSWER, pair.net.now)
    pair.net.run(0.1)
    assert [event.sdp for event in pair.bob.of(ReOffer)] == [OFFER, OFFER2]


def test_a_reinvite_while_one_is_unanswered_is_500_with_retry_after(pair):
    raw = Raw(pair).call_up()
    raw.request("INVITE", cseq=2, body=OFFER2, branch="x2")
    raw.request("INVITE", cseq=3, body=OFFER2, branch="x3")
    response = raw.responses("INVITE")[-1]
    assert (response.status, "Retry-After" in response.headers) == (500, True)


def test_cancel_of_a_reinvite_withdraws_the_offer(pair):
    raw = Raw(pair).call_up()
    raw.request("INVITE", cseq=2, body=OFFER2, branch="x2")
    raw.request("CANCEL", cseq=2, branch="x2")
    pair.bob.one(ReOfferWithdrawn)
    session = pair.bob.one(IncomingInvite).session
    session.accept_offer(ANSWER2, pair.net.now)
    assert [response.status for response in raw.responses("INVITE")][-1] == 487
    assert session.state is SessionState.ESTABLISHED


def test_reinvite_without_a_body_asks_us_for_an_offer(pair):
    raw = Raw(pair).call_up()
    raw.request("INVITE", cseq=2, branch="x2")
    assert pair.bob.one(ReOffer).sdp is None
    pair.bob.one(ReOffer).session.accept_offer(OFFER2, pair.net.now)
    pair.net.run(0.05)
    raw.ack(cseq=2, body=ANSWER2)
    assert pair.bob.one(OfferAnswered).sdp == ANSWER2


def test_update_with_an_offer_and_without(pair):
    raw = Raw(pair).call_up()
    raw.request("UPDATE", cseq=2, branch="x2")
    assert [response.status for response in raw.responses("UPDATE")] == [200]
    assert pair.bob.of(ReOffer) == []
    raw.request("UPDATE", cseq=3, branch="x3", body=OFFER2)
    pair.bob.one(ReOffer).session.accept_offer(ANSWER2, pair.net.now)
    pair.net.pump()
    assert [(response.status, response.body) for response in raw.responses("UPDATE")][-1] == (200, ANSWER2)


def test_an_offer_that_the_owner_ignores_is_refused_in_the_end(pair):
    pair.up()
    pair.out.reinvite(OFFER2, pair.net.now)
    pair.net.run(40)
    assert pair.ann.one(OfferRefused).status == 504


def test_a_reinvite_moves_the_target(pair):
    raw = Raw(pair).call_up()
    raw.request("INVITE", cseq=2, branch="x2", body=OFFER2, contact="sip:ann@192.0.2.77:5099")
    session = pair.bob.one(IncomingInvite).session
    session.accept_offer(ANSWER2, pair.net.now)
    session.bye(pair.net.now)
    raw.ack(cseq=2)
    bye = next(packet for packet in pair.net.wire if packet.kind == "BYE")
    assert bye.target == Flow("udp", "192.0.2.77", 5099)
    assert str(bye.message.uri) == "sip:ann@192.0.2.77:5099"


@pytest.mark.parametrize("end", ["reject", "cancel", "refuse_offer"])
def test_what_the_owner_or_the_far_end_decides_is_not_reported_as_a_broken_rule(pair, end):
    pair.ring()
    if end == "cancel":
        pair.out.cancel(pair.net.now)
    elif end == "reject":
        pair.inc.reject(404, pair.net.now)
    else:
        pair.inc.answer(ANSWER, pair.net.now)
        pair.net.run(0.05)
        pair.out.reinvite(OFFER2, pair.net.now)
        pair.net.run(0.05)
        pair.inc.refuse_offer(488, pair.net.now)
    pair.net.run(0.1)
    assert pair.bob.of(RequestRefused) == []
    assert sum(pair.bob.ua.counters[f"refused_{status}"] for status in (404, 487, 488)) == 1


def test_requests_out_of_order_are_500(pair):
    raw = Raw(pair).call_up()
    raw.request("INFO", cseq=7, branch="x2")
    raw.request("INFO", cseq=5, branch="x3")
    assert [response.status for response in raw.responses("INFO")] == [200, 500]


def test_a_reinvite_to_a_vanished_dialog_ends_the_call(pair):
    pair.up()
    pair.bob.ua.remove_dialog(pair.inc.dialog)
    pair.out.reinvite(OFFER2, pair.net.now)
    pair.net.run(1)
    assert pair.ann.one(Ended).by == "failure"
    assert "481" in pair.ann.one(Ended).reason


# INFO, OPTIONS


def test_info_both_ways(pair):
    pair.up()
    pair.out.info("application/dtmf-relay", b"Signal=5", pair.net.now)
    pair.net.run(0.1)
    event = pair.bob.one(InfoReceived)
    assert (event.content_type, event.body) == ("application/dtmf-relay", b"Signal=5")
    assert pair.net.kinds()[-1] == "200 INFO"


def test_options_inside_a_call_is_answered(pair):
    raw = Raw(pair).call_up()
    raw.request("OPTIONS", cseq=2, branch="x2")
    (response,) = raw.responses("OPTIONS")
    assert (response.status, "UPDATE" in (response.headers.get("Allow") or "")) == (200, True)


@pytest.mark.parametrize(("method", "status"), [("REFER", 405), ("NOTIFY", 405), ("FOO", 501)])
def test_methods_that_we_do_not_do_inside_a_call(pair, method, status):
    raw = Raw(pair).call_up()
    raw.request(method, cseq=2, branch="x2")
    assert [response.status for response in raw.responses(method)] == [status]


# Forks


def fork(pair: Pair, invite: Request, tag: str, status: int, body: bytes = b"", host: str = "192.0.2.50") -> None:
    response = response_to(invite, status, to_tag=tag)
    response.headers.add("Contact", f"<sip:{tag}@{host}:5060>")
    if body:
        response.headers.add("Content-Type", "application/sdp")
        response.body = body
    pair.ann.ua.receive(response.to_bytes(), Flow("udp", BOB, 5060), pair.net.now)
    pair.net.pump()


def test_every_further_2xx_of_a_fork_is_acked_and_ended(pair):
    del pair.net.nodes["udp", BOB]
    pair.call()
    pair.net.pump()
    invite = pair.net.wire[0].message
    fork(pair, invite, "one", 180, host="192.0.2.51")
    fork(pair, invite, "two", 183, ANSWER2, host="192.0.2.52")
    assert [(event.status, event.sdp) for event in pair.ann.of(Progress)] == [(180, None), (183, ANSWER2)]
    fork(pair, invite, "one", 200, ANSWER, host="192.0.2.51")
    fork(pair, invite, "two", 200, ANSWER2, host="192.0.2.52")
    fork(pair, invite, "two", 200, ANSWER2, host="192.0.2.52")
    assert pair.ann.one(Answered).sdp == ANSWER
    sent = [(packet.kind, packet.target.host) for packet in pair.net.wire[1:]]
    assert sent == [
        ("ACK", "192.0.2.51"),
        ("ACK", "192.0.2.52"),
        ("BYE", "192.0.2.52"),
        ("ACK", "192.0.2.52"),
    ]
    assert pair.out.state is SessionState.ESTABLISHED


def test_a_bye_of_the_losing_fork_does_not_end_the_call(pair):
    del pair.net.nodes["udp", BOB]
    pair.call()
    pair.net.pump()
    invite = pair.net.wire[0].message
    fork(pair, invite, "one", 200, ANSWER)
    fork(pair, invite, "two", 200, ANSWER)
    crossing = (
        f"BYE sip:ann@{ANN} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.50;branch=z9hG4bKf\r\nFrom: <sip:bob@{BOB}>;tag=two\r\n"
        f"To: {invite.headers.get('From')}\r\nCall-ID: {invite.call_id}\r\nCSeq: 9 BYE\r\n\r\n"
    )
    pair.ann.ua.receive(crossing.encode(), Flow("udp", "192.0.2.50", 5060), pair.net.now)
    pair.net.pump()
    assert pair.net.kinds()[-1] == "200 BYE"
    assert pair.ann.of(Ended) == []


def test_a_2xx_without_a_readable_contact_is_still_acked(pair):
    del pair.net.nodes["udp", BOB]
    pair.call()
    pair.net.pump()
    response = response_to(pair.net.wire[0].message, 200, to_tag="x")
    response.headers.add("Contact", "<<<")
    pair.ann.ua.receive(response.to_bytes(), Flow("udp", BOB, 5060), pair.net.now)
    pair.net.pump()
    assert (pair.net.kinds()[-1], pair.net.wire[-1].target.host) == ("ACK", BOB)


def test_a_late_2xx_after_timer_m_gets_its_ack_again(pair):
    pair.up()
    answer = next(packet for packet in pair.net.wire if packet.kind == "200 INVITE")
    pair.net.run(40)
    pair.ann.ua.receive(answer.data, answer.source, pair.net.now)
    pair.net.pump()
    assert pair.net.kinds()[-1] == "ACK"


# Digest


def challenging(pair: Pair, methods: set[str], challenger: Node | None = None) -> None:
    """Bob (or another) challenges these methods, as a trunk does."""
    verifier = DigestVerifier("trunk", {"ann": "secret"}.get, random.Random(3))
    challenger = challenger or pair.bob
    receive = challenger.ua.receive

    def guarded(data: bytes, source: Flow, now: float) -> None:
        message = parse_message(data)
        if isinstance(message, Request) and message.method in methods:
            verdict = verifier.verify(message.headers.get("Proxy-Authorization"), message.method, now)
            if not verdict.ok:
                response = response_to(message, 407, to_tag="proxy")
                for challenge in verifier.challenges(now, stale=verdict.stale):
                    response.headers.add("Proxy-Authenticate", str(challenge))
                challenger.ua._transmit(source, response.to_bytes())
                return
        receive(data, source, now)

    challenger.ua.receive = guarded  # type: ignore[method-assign]


def test_invite_reinvite_and_bye_answer_challenges(pair):
    challenging(pair, {"INVITE", "BYE"})
    pair.call(credentials=Credentials("ann", "secret"))
    pair.net.run(0.05)
    pair.inc = pair.bob.one(IncomingInvite).session
    pair.inc.answer(ANSWER, pair.net.now)
    pair.net.run(0.05)
    pair.out.reinvite(OFFER2, pair.net.now)
    pair.net.run(0.05)
    pair.inc.accept_offer(ANSWER2, pair.net.now)
    pair.net.run(0.05)
    assert pair.ann.one(OfferAnswered).sdp == ANSWER2
    pair.out.bye(pair.net.now)
    pair.over()
    assert pair.bob.one(Ended).by == "remote"
    ack = next(packet.message for packet in pair.net.wire if packet.kind == "ACK" and packet.message.to.tag != "proxy")
    assert "Proxy-Authorization" in ack.headers


@pytest.mark.parametrize(("given", "by"), [(Credentials("ann", "secret"), "remote"), (None, None)])
def test_the_called_side_answers_challenges_with_the_credentials_it_was_given(pair, given, by):
    pair.up()
    challenging(pair, {"BYE", "INVITE"}, pair.ann)
    pair.inc.use_credentials(given)
    pair.inc.reinvite(OFFER2, pair.net.now)
    pair.net.run(0.1)
    assert len(pair.ann.of(ReOffer)) == (given is not None)
    if given is not None:
        pair.out.accept_offer(ANSWER2, pair.net.now)
    pair.inc.bye(pair.net.now)
    pair.net.run(0.1)
    assert [event.by for event in pair.ann.of(Ended)] == ([by] if by else [])


def test_a_wrong_password_ends_after_two_invites(pair):
    challenging(pair, {"INVITE"})
    pair.call(credentials=Credentials("ann", "wrong"))
    pair.over()
    rejected = pair.ann.one(Rejected)
    assert rejected.status == 407
    assert "password refused" in rejected.reason
    assert len({packet.message.cseq.number for packet in pair.net.wire if packet.kind == "INVITE"}) == 2


def test_a_challenge_without_credentials_says_so(pair):
    challenging(pair, {"INVITE"})
    pair.call()
    pair.over()
    assert "none is configured" in pair.ann.one(Rejected).reason


# Session timers


def test_the_caller_refreshes_at_half_the_interval_with_update():
    pair = Pair(session_expires=90)
    pair.up()
    pair.net.run(200)
    assert [round(at - 0.07) for at in pair.net.times("UPDATE")] == [45, 90, 135, 180]
    assert pair.out.state is SessionState.ESTABLISHED
    pair.out.bye(pair.net.now)
    pair.over()


def test_without_update_the_refresh_is_a_reinvite_with_the_same_sdp():
    pair = Pair(session_expires=90)
    pair.up()
    pair.out.remote_allows_update = False
    pair.bob.on_event = lambda event: (
        event.session.accept_offer(ANSWER, pair.net.now) if isinstance(event, ReOffer) else None
    )
    pair.net.run(50)
    assert pair.bob.one(ReOffer).sdp == OFFER
    assert pair.ann.one(OfferAnswered).sdp == ANSWER


def test_a_session_that_is_not_refreshed_ends_with_bye():
    pair = Pair(session_expires=90)
    pair.net.faults.append(lose("UPDATE", 1000))
    pair.up()
    pair.net.run(200)
    by_bob = pair.bob.one(Ended)
    assert (by_bob.by, by_bob.reason) == ("failure", "session timer expired")
    # The one that does not refresh ends it min(32, 90/3) s ahead of the expiry.
    assert pair.net.times("BYE")[0] == pytest.approx(0.1 + 60, abs=0.1)


def test_too_small_an_interval_is_422_and_raised():
    pair = Pair(session_expires=90)
    pair.bob.ua.min_se = 300
    pair.call()
    pair.net.run(0.1)
    pair.bob.one(IncomingInvite)
    invites = [packet.message for packet in pair.net.wire if packet.kind == "INVITE"]
    assert [invite.headers.get("Session-Expires") for invite in invites] == ["90", "300"]


def test_refresher_uas_makes_the_called_side_refresh(pair):
    raw = Raw(pair).call_up(
        headers="Session-Expires: 100;refresher=uas\r\nSupported: timer\r\nAllow: INVITE, UPDATE\r\n"
    )
    (response,) = [response for response in raw.responses("INVITE") if response.status == 200]
    assert response.headers.get("Session-Expires") == "100;refresher=uas"
    pair.net.run(60)
    assert next(packet.source.host for packet in pair.net.wire if packet.kind == "UPDATE") == BOB


@pytest.mark.parametrize(
    ("headers", "running", "answer"),
    [
        ("Session-Expires: 1800\r\nSupported: timer", None, "1800;refresher=uac"),
        ("x: 1800;refresher=uas\r\nk: timer", None, "1800;refresher=uas"),
        ("Session-Expires: 1800", None, "1800;refresher=uas"),
        ("Session-Expires: x", None, None),
        ("Supported: timer", None, None),
        ("Supported: timer", SessionInterval(600, True), "600;refresher=uas"),
        ("Subject: x", SessionInterval(600, True), None),
    ],
)
def test_what_a_2xx_says_of_the_session_timer(headers, running, answer):
    base = "INVITE sip:b@b SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@a>;tag=1\r\nTo: <sip:b@b>\r\n"
    message = parse_message(f"{base}Call-ID: 1\r\nCSeq: 1 INVITE\r\n{headers}\r\n\r\n".encode())
    said = answer_as_uas(message.headers, running)
    assert (str(said) if said else None) == answer


def test_a_refresh_that_agrees_on_no_interval_stops_the_timer():
    timers = TimerHeap()
    told: list[str] = []
    refresh = SessionRefresh(timers, 90, 90, lambda now: told.append("refresh"), lambda now: told.append("expire"))
    refresh.agree(SessionInterval(90, True), 0)
    # The far end has taken the refreshing over: ours must not run on.
    refresh.agree(SessionInterval(90, False), 1)
    timers.run(60)
    assert (told, timers.next()) == ([], 61)
    refresh.agree(None, 2)
    assert timers.next() is None


def test_session_timer_values():
    response = Response(200)
    assert (interval_as_uac(response.headers), min_se(response.headers)) == (None, None)
    response.headers.add("Session-Expires", "90")
    assert interval_as_uac(response.headers) == SessionInterval(90, True)
    assert SessionInterval(90, False).expire_after == 60
    assert SessionInterval(1800, False).expire_after == 1768
    assert SessionInterval(90, True).refresh_after == 45
    response.headers.set("Session-Expires", "90;refresher=UAS")
    assert SessionExpires.of(response.headers) == SessionExpires(90, "uas")


class Raw:
    """A far end written by hand."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.flow = Flow("udp", ANN, 5060)
        del pair.net.nodes["udp", ANN]
        del pair.net.nodes["tcp", ANN]
        self.to_tag = ""

    def say(self, method, cseq, branch, body, contact=f"sip:ann@{ANN}", headers="") -> None:
        tag = f";tag={self.to_tag}" if self.to_tag else ""
        kind = "Content-Type: application/sdp\r\n" if body else ""
        text = (
            f"{method} sip:bob@{BOB} SIP/2.0\r\nVia: SIP/2.0/UDP {ANN}:5060;rport;branch=z9hG4bK{branch}\r\n"
            f"From: <sip:ann@{ANN}>;tag=raw\r\nTo: <sip:bob@{BOB}>{tag}\r\nCall-ID: raw\r\nCSeq: {cseq} {method}\r\n"
            f"Contact: <{contact}>\r\nMax-Forwards: 70\r\n{kind}{headers}Content-Length: {len(body)}\r\n\r\n"
        )
        self.pair.bob.ua.receive(text.encode() + body, self.flow, self.pair.net.now)
        self.pair.net.pump()

    def invite(self, body: bytes = OFFER, headers: str = "") -> None:
        self.say("INVITE", 1, "i", body, headers=headers)
        self.to_tag = self.pair.bob.one(IncomingInvite).session.dialog.id.local_tag

    def ack(self, cseq: int = 1, body: bytes = b"") -> None:
        self.say("ACK", cseq, f"ack{cseq}", body)

    def request(self, method: str, cseq: int, branch: str = "r", body: bytes = b"", contact=f"sip:ann@{ANN}") -> None:
        self.say(method, cseq, branch, body, contact)

    def call_up(self, headers: str = "") -> "Raw":
        self.invite(headers=headers)
        self.pair.bob.one(IncomingInvite).session.answer(ANSWER, self.pair.net.now)
        self.pair.net.pump()
        self.ack()
        self.pair.bob.one(Confirmed)
        return self

    def responses(self, method: str) -> list[Response]:
        messages = [packet.message for packet in self.pair.net.wire if packet.target == self.flow]
        return [message for message in messages if isinstance(message, Response) and message.cseq.method == method]


# Anything, in any order


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *("ring", "early", "answer", "reject", "cancel", "bye", "bye_back", "offer", "offer_back"),
                *("accept", "accept_back", "refuse", "info", "hang_up", "hang_up_back", "wait", "wait"),
            ]
        ),
        st.floats(0, 3),
    ),
    max_size=14,
)


@settings(max_examples=120, deadline=None)
@given(ACTIONS, st.integers(0, 1000), st.sampled_from([0.0, 0.2, 0.5]))
def test_whatever_both_sides_do_on_a_bad_network_everything_ends_once(actions, seed, share):
    pair = Pair(ring_limit=60.0, session_expires=90)
    pair.net.faults.append(lossy(seed, share))
    pair.call()
    for action, seconds in actions:
        pair.net.run(seconds)
        act(pair, action)
    pair.net.run(70)
    pair.out.hang_up(pair.net.now)
    for event in pair.bob.of(IncomingInvite):
        event.session.hang_up(pair.net.now)
    pair.net.settle(2000)
    for node in (pair.ann, pair.bob):
        assert (node.ua.live_transactions, node.ua.live_sessions, len(node.ua.timers)) == (0, 0, 0), node.ua.dump()
    assert len(pair.ann.of(Ended)) + len(pair.ann.of(Rejected)) == 1
    assert len(pair.bob.of(Ended)) == len(pair.bob.of(IncomingInvite)) <= 1


def act(pair: Pair, action: str) -> None:
    now = pair.net.now
    incoming = pair.bob.of(IncomingInvite)
    session = incoming[0].session if incoming else None
    match action:
        case "cancel":
            pair.out.cancel(now)
        case "bye":
            pair.out.bye(now)
        case "hang_up":
            pair.out.hang_up(now)
        case "offer":
            pair.out.reinvite(OFFER2, now)
        case "accept_back":
            pair.out.accept_offer(ANSWER2, now)
        case _ if session is not None:
            act_incoming(session, action, now)


def act_incoming(session, action: str, now: float) -> None:
    match action:
        case "ring":
            session.ring(now)
        case "early":
            session.progress(183, ANSWER, now)
        case "answer":
            session.answer(ANSWER, now)
        case "reject":
            session.reject(486, now)
        case "bye_back":
            session.bye(now)
        case "hang_up_back":
            session.hang_up(now)
        case "offer_back":
            session.reinvite(OFFER2, now)
        case "accept":
            session.accept_offer(ANSWER2, now)
        case "refuse":
            session.refuse_offer(488, now)
        case "info":
            session.info("text/plain", b"x", now)


def test_the_network_of_these_tests_counts_what_it_is_asked():
    node = Node.__new__(Node)
    node.events = []
    assert node.of(Ended) == []
    assert Packet(0, Flow("udp", ANN, 1), Flow("udp", BOB, 1), b"SIP/2.0 200 OK\r\nCSeq: 1 X").at == 0
