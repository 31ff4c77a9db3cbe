"""The four transaction machines against docs/sip-transactions.md, row by row, and against the clock."""

import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.sip import transaction as machines
from trunkline.sip.errors import LocalError
from trunkline.sip.flow import Address, Flow
from trunkline.sip.message import Request, Response, parse_message, response_to
from trunkline.sip.timers import TimerHeap, Timing
from trunkline.sip.transaction import (
    ClearTimer,
    ClientTransaction,
    Fail,
    InviteClientTransaction,
    InviteServerTransaction,
    NonInviteClientTransaction,
    NonInviteServerTransaction,
    Send,
    ServerTransaction,
    SetTimer,
    Terminated,
    ToUser,
    TransactionState,
)
from trunkline.sip.transaction_layer import TransactionLayer, ack_for_rejection, response_flow, server_key

DOC = (Path(__file__).parents[2] / "docs" / "sip-transactions.md").read_text(encoding="utf-8")
UDP = Flow("udp", "192.0.2.1", 5060)
TCP = Flow("tcp", "192.0.2.1", 5060)
TIMING = Timing()
CLASSES = {
    "INVITE client": InviteClientTransaction,
    "non-INVITE client": NonInviteClientTransaction,
    "INVITE server": InviteServerTransaction,
    "non-INVITE server": NonInviteServerTransaction,
}


def documented_rows(machine: str) -> list[tuple[str, str, str, str]]:
    section = re.split(r"^## ", DOC, flags=re.MULTILINE)
    (text,) = [part for part in section if part.startswith(machine + "\n")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return [tuple(row) for row in rows if row[0] not in ("state", "---")]  # type: ignore[misc]


ALL_ROWS = [(machine, *row) for machine in CLASSES for row in documented_rows(machine)]


def request(method: str, branch: str = "z9hG4bK1", cseq: int = 1, to_tag: str = "", host: str = "192.0.2.1") -> Request:
    lines = [
        f"{method} sip:bob@192.0.2.2 SIP/2.0",
        f"Via: SIP/2.0/UDP {host}:5060;rport;branch={branch}",
        "From: <sip:ann@192.0.2.1>;tag=a",
        f"To: <sip:bob@192.0.2.2>{';tag=' + to_tag if to_tag else ''}",
        "Call-ID: call",
        f"CSeq: {cseq} {'INVITE' if method == 'ACK*' else method}",
        "Route: <sip:192.0.2.9;lr>",
        "Max-Forwards: 70",
        "",
        "",
    ]
    message = parse_message("\r\n".join(lines).encode())
    assert isinstance(message, Request)
    return message


def machine_in(name: str, state: str, flow: Flow):
    method = "INVITE" if name.startswith("INVITE") else "OPTIONS"
    kind = CLASSES[name]
    if issubclass(kind, ClientTransaction):
        tx = kind(request(method), flow, TIMING, ack_for_rejection)
    else:
        tx = kind(request(method), flow, TIMING, lambda r: response_to(r, 100).to_bytes())
        # As if a response had gone out, for the rows that repeat it.
        tx._last_sent = b"last response"
    tx.state = TransactionState(state)
    tx._intervals = {"A": 3.0, "E": 3.0, "G": 3.0}
    return tx


def feed(tx, given_input: str):
    statuses = {"1xx": 180, "2xx": 200, "3xx-6xx": 486, "final": 404}
    if given_input in statuses:
        response = response_to(tx.request, statuses[given_input], to_tag="b")
        return tx.receive(response) if isinstance(tx, ClientTransaction) else tx.respond(response)
    if given_input == "start":
        return tx.start()
    if given_input == "request":
        return tx.receive(tx.request)
    if given_input == "ACK":
        return tx.receive(request("ACK"))
    if given_input == "error":
        return tx.transport_error()
    return tx.timer(given_input.removeprefix("timer "))


def expected_effects(actions: str, next_state: str, flow: Flow) -> list[object]:
    """What the words of the doc stand for, as (kind, details)."""
    effects: list[object] = []
    for action in filter(None, (word.strip() for word in actions.split(","))):
        verb, _, operand = action.partition(" ")
        if verb == "send":
            effects.append(("send", operand))
        elif verb == "user":
            effects.append("user")
        elif verb == "fail":
            effects.append("fail")
        elif verb == "clear":
            effects.append(("clear", operand))
        elif verb == "set" and operand == "E to T2":
            effects.append(("set", "E", 4.0))
        elif verb == "set":
            first = FIRST[operand][1 if flow.reliable else 0]
            if first is not None:
                effects.append(("set", operand, first))
        elif verb == "repeat":
            effects.append(("set", operand, 6.0 if operand == "A" else 4.0))
    if next_state == "terminated":
        effects.append("terminated")
    return effects


def seen_effects(tx, effects) -> list[object]:
    seen: list[object] = []
    for effect in effects:
        match effect:
            case Send(data):
                method = data.split(b" ", 1)[0].decode()
                operand = {"ACK": "ACK"}.get(method, "100" if data.startswith(b"SIP/2.0 100") else "")
                seen.append(("send", operand))
            case SetTimer(timer, delay):
                seen.append(("set", timer, delay))
            case ClearTimer(timer):
                seen.append(("clear", timer))
            case ToUser():
                seen.append("user")
            case Fail():
                seen.append("fail")
            case Terminated():
                seen.append("terminated")
    return seen


def documented_timers() -> dict[str, tuple[float | None, float | None]]:
    values = {
        "T1": 0.5,
        "T4": 5.0,
        "64*T1": 32.0,
        "max(32 s, 64*T1)": 32.0,
        "0 s": 0.0,
        "0.2 s": 0.2,
        "none": None,
    }
    table = DOC.split("| timer | first value |")[1].split("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {row[0]: (values[row[1]], values[row[2]]) for row in rows}


FIRST = documented_timers()


def test_the_doc_names_every_timer_of_the_machines():
    assert sorted(FIRST) == ["100", "A", "B", "D", "E", "F", "G", "H", "I", "J", "K", "L", "M"]


@pytest.mark.parametrize("timer", sorted(FIRST))
def test_first_duration_of_each_timer(timer):
    assert (TIMING.first(timer, False), TIMING.first(timer, True)) == FIRST[timer]


def test_an_unknown_timer_has_no_duration():
    with pytest.raises(KeyError):
        TIMING.first("C", False)


@pytest.mark.parametrize("machine", CLASSES)
def test_the_doc_has_the_rows_of_the_code(machine):
    documented = {(row[0], row[1]): (row[2], row[3]) for row in documented_rows(machine)}
    coded = {
        (state.value, given_input): (row.next.value, ", ".join(row.actions))
        for (state, given_input), row in CLASSES[machine].TABLE.items()
    }
    assert documented == coded


@pytest.mark.parametrize("flow", [UDP, TCP], ids=["udp", "tcp"])
@pytest.mark.parametrize(("machine", "state", "given_input", "following", "actions"), ALL_ROWS)
def test_row(machine, state, given_input, following, actions, flow):
    tx = machine_in(machine, state, flow)
    effects = feed(tx, given_input)
    assert tx.state.value == following
    assert seen_effects(tx, effects) == expected_effects(actions, following, flow)


@pytest.mark.parametrize("machine", CLASSES)
def test_pairs_without_a_row_are_absorbed(machine):
    table = CLASSES[machine].TABLE
    inputs = {given_input for _, given_input in table}
    tried = 0
    for state in TransactionState:
        for given_input in sorted(inputs):
            if (state, given_input) in table:
                continue
            tx = machine_in(machine, state.value, UDP)
            assert feed(tx, given_input) == []
            assert tx.state is state
            tried += 1
    assert tried > 20


# The layer, by the clock


class World:
    """A layer whose core and user remember what they are told."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sent: list[tuple[float, Flow, bytes]] = []
        self.told: list[tuple[float, str]] = []
        self.incoming: list[ServerTransaction] = []
        self.timers = TimerHeap()
        self.layer = TransactionLayer(
            TIMING, self.timers, random.Random(1), lambda flow: Address("192.0.2.7", 5060), self, self._transmit
        )

    def _transmit(self, flow: Flow, data: bytes) -> None:
        self.sent.append((round(self.now, 3), flow, data))

    def on_request(self, tx, now):
        self.told.append((round(now, 3), f"request {tx.method}{' merged' if tx.merged else ''}"))
        self.incoming.append(tx)
        tx.user = self

    def on_ack(self, ack, flow, now):
        self.told.append((round(now, 3), "ack"))

    def on_stray_response(self, response, flow, now):
        self.told.append((round(now, 3), f"stray {response.status}"))

    def on_response(self, tx, response, now):
        self.told.append((round(now, 3), f"response {response.status}"))

    def on_failure(self, tx, cause, now):
        self.told.append((round(now, 3), f"failure {cause}"))

    def on_unacknowledged(self, tx, cause, now):
        self.told.append((round(now, 3), f"unacknowledged {cause}"))

    def run(self, until: float) -> None:
        while (at := self.timers.next()) is not None and at <= until:
            self.now = at
            self.timers.run(at)
        self.now = until

    def send(self, method: str, flow: Flow = UDP) -> ClientTransaction:
        message = request(method)
        message.headers.remove("Via")
        return self.layer.request(message, flow, self, self.now)

    def times(self, start: str) -> list[float]:
        return [at for at, _, data in self.sent if data.startswith(start.encode())]

    def answer(self, tx: ClientTransaction, status: int) -> None:
        self.layer.receive_response(response_to(tx.request, status, to_tag="b"), tx.flow, self.now)


def test_invite_over_udp_repeats_by_timer_a_and_ends_with_timer_b():
    world = World()
    world.send("INVITE")
    world.run(100)
    assert world.times("INVITE") == [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert world.told == [(32.0, "failure timeout")]
    assert (world.layer.live, len(world.timers)) == (0, 0)


def test_invite_over_tcp_is_sent_once():
    world = World()
    world.send("INVITE", TCP)
    world.run(100)
    assert world.times("INVITE") == [0]
    assert world.told == [(32.0, "failure timeout")]


def test_a_provisional_response_stops_timers_a_and_b_for_good():
    world = World()
    tx = world.send("INVITE")
    world.run(0.4)
    world.answer(tx, 180)
    world.run(1000)
    assert world.times("INVITE") == [0]
    assert tx.state is TransactionState.PROCEEDING


def test_timer_d_keeps_acknowledging_a_repeated_refusal_for_32_s():
    world = World()
    tx = world.send("INVITE")
    world.answer(tx, 486)
    world.run(31.9)
    world.answer(tx, 486)
    assert len(world.times("ACK")) == 2
    world.run(32.0)
    world.answer(tx, 486)
    assert [told for _, told in world.told] == ["response 486", "stray 486"]
    assert world.layer.live == 0


def test_the_ack_of_a_refusal_takes_branch_and_route_of_the_invite_and_to_of_the_response():
    world = World()
    tx = world.send("INVITE")
    world.answer(tx, 486)
    ack = parse_message(world.sent[-1][2])
    assert isinstance(ack, Request)
    assert (ack.method, ack.to.tag, ack.cseq.number) == ("ACK", "b", 1)
    assert ack.headers.get("Via") == tx.request.headers.get("Via")
    assert ack.headers.get("Route") == "<sip:192.0.2.9;lr>"


def test_every_2xx_of_an_invite_reaches_the_user_until_timer_m():
    world = World()
    tx = world.send("INVITE")
    world.answer(tx, 200)
    world.run(10)
    world.answer(tx, 200)
    world.run(32.0)
    world.answer(tx, 200)
    assert [told for _, told in world.told] == ["response 200", "response 200", "stray 200"]


def test_options_over_udp_repeats_by_timer_e_up_to_t2_and_ends_with_timer_f():
    world = World()
    world.send("OPTIONS")
    world.run(100)
    assert world.times("OPTIONS") == [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert world.told == [(32.0, "failure timeout")]


def test_options_that_proceeds_repeats_at_t2():
    world = World()
    tx = world.send("OPTIONS")
    world.run(0.4)
    world.answer(tx, 100)
    world.run(20)
    assert world.times("OPTIONS") == [0, 0.5, 4.5, 8.5, 12.5, 16.5]


def test_timer_k_absorbs_repeated_answers_for_t4():
    world = World()
    tx = world.send("OPTIONS")
    world.answer(tx, 200)
    world.run(4.9)
    world.answer(tx, 200)
    assert [told for _, told in world.told] == ["response 200"]
    world.run(5.0)
    assert world.layer.live == 0


def test_timers_d_and_k_are_nothing_over_tcp():
    world = World()
    world.answer(world.send("INVITE", TCP), 486)
    world.answer(world.send("OPTIONS", TCP), 200)
    world.run(0.0)
    assert world.layer.live == 0


def receive(world: World, message: Request, flow: Flow = UDP) -> ServerTransaction:
    world.layer.receive_request(parse_message(message.to_bytes()), flow, world.now)  # type: ignore[arg-type]
    return world.incoming[-1]


def test_an_unanswered_invite_gets_100_after_200_ms():
    world = World()
    receive(world, request("INVITE"))
    world.run(10)
    assert world.times("SIP/2.0 100") == [0.2]


def test_no_100_after_a_180():
    world = World()
    tx = receive(world, request("INVITE"))
    world.run(0.1)
    world.layer.respond(tx, response_to(tx.request, 180, to_tag="b"), world.now)
    world.run(10)
    assert (world.times("SIP/2.0 100"), world.times("SIP/2.0 180")) == ([], [0.1])


def test_a_repeated_invite_gets_the_last_response_and_never_a_second_call():
    world = World()
    tx = receive(world, request("INVITE"))
    world.layer.respond(tx, response_to(tx.request, 180, to_tag="b"), world.now)
    for _ in range(3):
        receive(world, request("INVITE"))
    assert world.told == [(0, "request INVITE")]
    assert len(world.times("SIP/2.0 180")) == 4


def test_a_repeated_invite_of_an_rfc_2543_peer_matches_too():
    world = World()
    receive(world, request("INVITE", branch="1"))
    receive(world, request("INVITE", branch="1"))
    receive(world, request("INVITE", branch="1", cseq=2))
    assert [told for _, told in world.told] == ["request INVITE", "request INVITE"]


def test_the_ack_of_an_rfc_2543_peer_matches_too():
    world = World()
    tx = receive(world, request("INVITE", branch="1"))
    world.layer.respond(tx, response_to(tx.request, 486, to_tag="b"), world.now)
    world.layer.receive_request(request("ACK", branch="1", to_tag="b"), UDP, world.now)
    assert tx.state is TransactionState.CONFIRMED


def test_a_refusal_repeats_by_timer_g_until_timer_h():
    world = World()
    tx = receive(world, request("INVITE"))
    world.layer.respond(tx, response_to(tx.request, 486, to_tag="b"), world.now)
    world.run(100)
    assert world.times("SIP/2.0 486") == [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert world.told[-1] == (32.0, "unacknowledged timeout")
    assert world.layer.live == 0


def test_timer_i_absorbs_repeated_acks_for_t4():
    world = World()
    tx = receive(world, request("INVITE"))
    world.layer.respond(tx, response_to(tx.request, 486, to_tag="b"), world.now)
    world.layer.receive_request(request("ACK", to_tag="b"), UDP, world.now)
    world.run(4.9)
    world.layer.receive_request(request("ACK", to_tag="b"), UDP, world.now)
    assert "ack" not in [told for _, told in world.told]
    world.run(5.0)
    assert world.layer.live == 0


def test_timer_l_absorbs_repeated_invites_after_a_2xx():
    world = World()
    tx = receive(world, request("INVITE"))
    world.layer.respond(tx, response_to(tx.request, 200, to_tag="b"), world.now)
    world.run(31.9)
    receive(world, request("INVITE"))
    assert world.times("SIP/2.0 200") == [0]
    world.run(32.0)
    assert world.layer.live == 0


def test_timer_j_answers_repeated_requests_for_32_s():
    world = World()
    tx = receive(world, request("OPTIONS"))
    world.layer.respond(tx, response_to(tx.request, 200, to_tag="b"), world.now)
    world.run(31.9)
    receive(world, request("OPTIONS"))
    assert len(world.times("SIP/2.0 200")) == 2
    world.run(32.0)
    assert world.layer.live == 0


def test_sent_by_is_part_of_the_key():
    world = World()
    receive(world, request("OPTIONS", host="192.0.2.1"))
    receive(world, request("OPTIONS", host="192.0.2.3", cseq=2))
    assert len(world.told) == 2


def test_the_same_request_by_two_paths_is_called_merged():
    world = World()
    receive(world, request("INVITE", branch="z9hG4bKa"))
    receive(world, request("INVITE", branch="z9hG4bKb"))
    receive(world, request("INVITE", branch="z9hG4bKc", to_tag="b"))
    assert [told for _, told in world.told] == ["request INVITE", "request INVITE merged", "request INVITE"]


def test_a_request_is_not_merged_once_the_other_is_gone():
    world = World()
    tx = receive(world, request("OPTIONS", branch="z9hG4bKa"))
    world.layer.respond(tx, response_to(tx.request, 200, to_tag="b"), world.now)
    world.run(40)
    receive(world, request("OPTIONS", branch="z9hG4bKb"))
    assert world.told[-1] == (40, "request OPTIONS")


def test_cancel_finds_its_invite_only_by_the_same_branch():
    world = World()
    tx = receive(world, request("INVITE"))
    assert world.layer.invite_of(request("CANCEL")) is tx
    assert world.layer.invite_of(request("CANCEL", branch="z9hG4bK2")) is None


def test_responses_go_to_the_source_with_rport_and_to_the_sent_by_port_without():
    source = Flow("udp", "198.51.100.1", 40000)
    assert response_flow(request("OPTIONS"), source) == source
    plain = parse_message(request("OPTIONS").to_bytes().replace(b";rport", b""))
    assert response_flow(plain, source) == Flow("udp", "198.51.100.1", 5060)  # type: ignore[arg-type]
    assert response_flow(plain, Flow("tcp", "198.51.100.1", 40000)).port == 40000  # type: ignore[arg-type]


def test_the_source_is_noted_in_the_top_via():
    world = World()
    tx = receive(world, request("OPTIONS"), Flow("udp", "198.51.100.1", 40000))
    via = tx.request.top_via
    assert (via.received, via.rport) == ("198.51.100.1", 40000)


def test_a_lost_connection_fails_what_waits_on_it_and_nothing_else():
    world = World()
    world.send("INVITE", TCP)
    other = world.send("OPTIONS", UDP)
    world.layer.flow_failed(TCP, "closed", 1.0)
    assert world.told == [(1.0, "failure transport")]
    assert other.live
    assert world.layer.live == 1


def test_a_response_whose_connection_is_gone_goes_to_the_sent_by_once():
    world = World()
    inbound = Flow("tcp", "192.0.2.1", 33333)
    tx = receive(world, request("INVITE"), inbound)
    world.layer.respond(tx, response_to(tx.request, 486, to_tag="b"), world.now)
    world.layer.flow_failed(inbound, "closed", world.now)
    assert [flow.port for _, flow, _ in world.sent] == [33333, 5060]
    world.layer.flow_failed(Flow("tcp", "192.0.2.1", 5060), "refused", world.now)
    assert len(world.sent) == 2


def test_an_abandoned_transaction_says_nothing_more():
    world = World()
    tx = world.send("INVITE")
    world.layer.abandon(tx)
    world.run(100)
    assert (world.told, world.layer.live, world.times("INVITE")) == ([], 0, [0])


def test_server_key_falls_back_for_a_bare_cookie():
    assert len(server_key(request("OPTIONS", branch="z9hG4bK"))) > 3


def test_repr_names_method_and_state():
    assert "INVITE calling udp:192.0.2.1:5060" in repr(World().send("INVITE"))


STATUSES = st.sampled_from([100, 180, 200, 202, 302, 401, 486, 503, 603])
STEPS = st.one_of(
    st.tuples(st.just("send"), st.sampled_from(["INVITE", "OPTIONS", "BYE"]), st.booleans()),
    st.tuples(st.just("receive"), st.sampled_from(["INVITE", "OPTIONS", "ACK", "CANCEL"]), st.integers(0, 3)),
    st.tuples(st.just("answer"), STATUSES, st.integers(0, 9)),
    st.tuples(st.just("respond"), STATUSES, st.integers(0, 9)),
    st.tuples(st.just("fail"), st.booleans(), st.just(0)),
    st.tuples(st.just("pass"), st.floats(0, 40), st.just(0)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_whatever_happens_every_transaction_ends(steps):
    world = World()
    outgoing: list[ClientTransaction] = []
    for verb, what, which in steps:
        if verb == "send":
            outgoing.append(world.send(what, TCP if which else UDP))
        elif verb == "receive":
            branch = f"z9hG4bK{which}" if which else "0"
            receive_any(world, request(what, branch=branch, to_tag="b" if what == "ACK" else ""))
        elif verb == "answer" and outgoing:
            world.answer(outgoing[which % len(outgoing)], what)
        elif verb == "respond" and world.incoming:
            tx = world.incoming[which % len(world.incoming)]
            if tx.live:
                world.layer.respond(tx, response_to(tx.request, what, to_tag="b"), world.now)
        elif verb == "fail":
            world.layer.flow_failed(TCP if what else UDP, "gone", world.now)
        elif verb == "pass":
            world.run(world.now + what)
    # What the user must end itself: invites that ring, requests not answered.
    for tx in world.incoming:
        if tx.live:
            world.layer.respond(tx, response_to(tx.request, 480, to_tag="b"), world.now)
    world.run(world.now + 64)
    for tx in outgoing:
        if tx.live:
            assert tx.state is TransactionState.PROCEEDING
            assert tx.method == "INVITE"
            world.layer.abandon(tx)
    world.run(world.now + 64)
    assert (world.layer.live, len(world.timers), world.timers.next()) == (0, 0, None)


def receive_any(world: World, message: Request) -> None:
    world.layer.receive_request(parse_message(message.to_bytes()), UDP, world.now)  # type: ignore[arg-type]


# Timers


class Clock:
    def __init__(self):
        self.fired = []

    def on_timer(self, timer, now):
        self.fired.append((timer, now))


def test_the_heap_fires_in_order_and_forgets_what_was_cancelled_or_set_again():
    heap, owner = TimerHeap(), Clock()
    heap.set(owner, "late", 5)
    heap.set(owner, "early", 1)
    heap.set(owner, "moved", 2)
    heap.set(owner, "moved", 3)
    heap.set(owner, "gone", 1)
    heap.cancel(owner, "gone")
    assert (heap.next(), len(heap), heap.is_set(owner, "gone")) == (1, 3, False)
    heap.run(4)
    assert owner.fired == [("early", 4), ("moved", 4)]
    heap.cancel_all(owner)
    assert (heap.next(), len(heap)) == (None, 0)


def test_a_timer_that_sets_itself_again_at_once_does_not_hang_the_run():
    heap = TimerHeap()

    class Restless:
        fired = 0

        def on_timer(self, timer, now):
            self.fired += 1
            heap.set(self, timer, now)

    owner = Restless()
    heap.set(owner, "again", 0)
    heap.run(1)
    heap.run(1)
    assert owner.fired == 2


def test_cancelled_timers_do_not_pile_up():
    heap, owner = TimerHeap(), Clock()
    for at in range(10_000):
        heap.set(owner, "B", at)
    assert len(heap._heap) < 200


def test_a_status_that_is_none_cannot_be_made():
    with pytest.raises(LocalError):
        Response(99)


def test_module_keeps_its_tables_by_machine():
    assert machines.INVITE_CLIENT is InviteClientTransaction.TABLE


def test_a_second_final_response_is_absorbed_and_the_first_stays_the_one_repeated():
    world = World()
    tx = receive(world, request("INVITE"))
    world.layer.respond(tx, response_to(tx.request, 486, to_tag="b"), world.now)
    world.layer.respond(tx, response_to(tx.request, 200, to_tag="b"), world.now)
    receive(world, request("INVITE"))
    assert [len(world.times("SIP/2.0 486")), len(world.times("SIP/2.0 200")), tx.final_status] == [2, 0, 486]
