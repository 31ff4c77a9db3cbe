"""Registration against a scripted registrar, in virtual time."""

import random

import pytest
from support.sip_network import Network, Node, lose

from trunkline.sip.digest import Credentials, DigestVerifier
from trunkline.sip.errors import LocalError
from trunkline.sip.events import RegistrationChanged
from trunkline.sip.flow import Address, Flow
from trunkline.sip.message import Request, Response, is_keepalive, parse_message, response_to
from trunkline.sip.registration import Backoff

GATEWAY, TRUNK, TRUNK2 = "192.0.2.1", "192.0.2.10", "192.0.2.11"


class Registrar:
    """A node that answers REGISTER as it is told."""

    def __init__(self, net: Network, host: str = TRUNK, password: str | None = None) -> None:
        self.node = net.add(host)
        self.node.ua.receive = self.receive  # type: ignore[method-assign]
        self.net = net
        self.verifier = DigestVerifier("trunk", {"bob": password}.get, random.Random(7)) if password else None
        self.script: list[tuple[int, dict[str, str]]] = []
        self.requests: list[Request] = []
        self.times: list[float] = []
        self.granted = 600
        self.silent = False
        self.received: tuple[str, int] | None = None
        self.one_contact = True

    def receive(self, data: bytes, source: Flow, now: float) -> None:
        if is_keepalive(data):
            return
        request = parse_message(data)
        assert isinstance(request, Request)
        self.requests.append(request)
        self.times.append(now)
        if self.silent:
            return
        if self.received is not None:
            via = request.top_via.received_from(*self.received)
            request.headers.remove_first("Via")
            request.headers.insert_first("Via", str(via))
        self.node.ua._transmit(source, self.answer(request, now).to_bytes())

    def answer(self, request: Request, now: float) -> Response:
        if self.script:
            status, headers = self.script.pop(0)
            response = response_to(request, status, to_tag="r")
            for name, value in headers.items():
                response.headers.add(name, value)
            return response
        if self.verifier is not None:
            verdict = self.verifier.verify(request.headers.get("Authorization"), "REGISTER", now)
            if not verdict.ok:
                response = response_to(request, 401, to_tag="r")
                for challenge in self.verifier.challenges(now, stale=verdict.stale):
                    response.headers.add("WWW-Authenticate", str(challenge))
                return response
        response = response_to(request, 200, to_tag="r")
        asked = int(request.contacts[0].params.get("expires") or 0)
        if asked:
            uri = request.contacts[0].uri
            response.headers.add("Contact", f"<{uri}>;expires={min(asked, self.granted)}")
        return response


class World:
    def __init__(self, password: str | None = None, given: str | None = None, **config) -> None:
        self.net = Network()
        self.gateway: Node = self.net.add(GATEWAY, **config)
        self.registrar = Registrar(self.net, TRUNK, password)
        self.credentials = Credentials("bob", given or password) if password else None

    def register(self, targets=(TRUNK,), transport="udp", **more):
        self.registration = self.gateway.ua.register(
            "vonage",
            registrar="sip:trunk.example",
            aor="sip:bob@trunk.example",
            targets=[Flow(transport, host, 5060) for host in targets],
            credentials=self.credentials,
            now=self.net.now,
            **more,
        )
        return self.registration

    @property
    def states(self) -> list[str]:
        return [event.state for event in self.gateway.of(RegistrationChanged)]

    @property
    def last(self) -> RegistrationChanged:
        return self.gateway.of(RegistrationChanged)[-1]


def test_register_refresh_unregister():
    world = World()
    world.register(expires=600)
    world.net.run(1)
    assert world.states == ["registering", "registered"]
    assert (world.last.name, world.last.expires, world.last.status) == ("vonage", 600, 200)
    world.net.run(2000)
    gaps = [later - earlier for earlier, later in zip(world.registrar.times, world.registrar.times[1:], strict=False)]
    assert all(0.69 * 600 < gap < 0.86 * 600 for gap in gaps)
    assert world.states == ["registering", "registered"]
    world.registration.unregister(world.net.now)
    world.net.run(1)
    assert world.states[-2:] == ["unregistering", "unregistered"]
    assert world.registrar.requests[-1].headers.get("Expires") == "0"
    world.net.settle()
    assert (world.gateway.ua.live_transactions, world.gateway.ua.next_timer()) == (0, None)


def test_one_call_id_and_a_rising_cseq():
    world = World()
    world.register(expires=60)
    world.net.run(300)
    requests = world.registrar.requests
    assert len(requests) > 4
    assert len({request.call_id for request in requests}) == 1
    assert [request.cseq.number for request in requests] == list(range(1, len(requests) + 1))
    assert str(requests[0].uri) == "sip:trunk.example"
    assert requests[0].to.tag is None


def test_the_granted_expiry_counts_not_the_asked_one():
    world = World()
    world.registrar.granted = 60
    world.register(expires=3600)
    world.net.run(100)
    assert world.last.expires == 60
    assert 42 < world.registrar.times[1] < 52


@pytest.mark.parametrize(
    ("headers", "granted"),
    [
        ({"Contact": f"<sip:bob@{GATEWAY}:5060>;expires=77, <sip:bob@192.0.2.99>;expires=5"}, 77),
        ({"Contact": "<sip:other@192.0.2.99>;expires=5"}, 5),
        ({"Expires": "88"}, 88),
        ({}, 600),
        ({"Contact": "<sip:a@1.1.1.1>;expires=5, <sip:b@1.1.1.2>;expires=6", "Expires": "99"}, 99),
        ({"Expires": "soon"}, 600),
    ],
)
def test_where_the_granted_expiry_stands(headers, granted):
    world = World()
    world.registrar.script = [(200, headers)]
    world.register(expires=600)
    world.net.run(0.1)
    assert world.last.expires == granted


def test_a_challenge_is_answered_and_later_requests_carry_credentials():
    world = World("secret")
    world.register(expires=60)
    world.net.run(100)
    assert world.last.state == "registered"
    assert ["Authorization" in request.headers for request in world.registrar.requests] == [False, True, True, True]


def test_a_wrong_password_ends_after_two_registers_with_a_slow_back_off():
    world = World("secret", given="wrong")
    world.register()
    world.net.run(100)
    assert len(world.registrar.requests) == 2
    assert world.states == ["registering", "failed"]
    assert "password refused" in world.last.reason
    assert "wrong" not in world.last.reason
    assert 150 <= world.last.retry_in <= 300
    world.net.run(250)
    assert len(world.registrar.requests) == 4


def test_a_stale_nonce_is_replaced_without_a_failure():
    world = World("secret")
    world.registrar.verifier._lifetime = 30.0
    world.register(expires=60)
    world.net.run(200)
    assert set(world.states) == {"registering", "registered"}
    assert len([state for state in world.states if state == "registered"]) == 1


def test_an_endless_stale_ends():
    world = World("secret")
    challenge = 'Digest realm="trunk", nonce="{}", stale=true, qop="auth"'
    world.registrar.script = [(401, {"WWW-Authenticate": challenge.format(number)}) for number in range(50)]
    world.register()
    world.net.run(60)
    assert "stale" in world.last.reason
    assert len(world.registrar.requests) < 8


def test_407_is_answered_too():
    world = World("secret")
    world.registrar.verifier = None
    world.registrar.script = [(407, {"Proxy-Authenticate": 'Digest realm="p", nonce="n", qop="auth"'})]
    world.register()
    world.net.run(1)
    assert world.last.state == "registered"
    assert "Proxy-Authorization" in world.registrar.requests[1].headers


def test_a_challenge_without_credentials_fails_with_its_reason():
    world = World("secret")
    world.credentials = None
    world.register()
    world.net.run(1)
    assert "none is configured" in world.last.reason


def test_423_raises_the_expiry_once():
    world = World()
    world.registrar.script = [(423, {"Min-Expires": "1800"})]
    world.registrar.granted = 1800
    world.register(expires=60)
    world.net.run(1)
    assert world.last.expires == 1800
    assert [request.headers.get("Expires") for request in world.registrar.requests] == ["60", "1800"]


@pytest.mark.parametrize("headers", [{"Min-Expires": "30"}, {}, {"Min-Expires": "x"}])
def test_a_423_that_helps_nothing_is_a_failure(headers):
    world = World()
    world.registrar.script = [(423, headers)]
    world.register(expires=60)
    world.net.run(1)
    assert (world.last.state, world.last.status) == ("failed", 423)


def test_423_over_and_over_ends():
    world = World()
    world.registrar.script = [(423, {"Min-Expires": str(1000 * number)}) for number in range(1, 20)]
    world.register(expires=60)
    world.net.run(1)
    assert len(world.registrar.requests) == 2
    assert world.last.state == "failed"


def test_the_back_off_doubles_is_random_and_capped():
    backoff = Backoff(first=5, cap=300)
    rng = random.Random(1)
    for failures, full in [(1, 5), (2, 10), (3, 20), (4, 40), (5, 80), (6, 160), (7, 300), (50, 300)]:
        drawn = [backoff.delay(failures, False, rng) for _ in range(50)]
        assert all(full / 2 <= delay <= full for delay in drawn)
        assert len(set(drawn)) > 40


def test_a_vanished_registrar_is_tried_again_and_recovers():
    world = World()
    world.registrar.silent = True
    world.register()
    world.net.run(600)
    waits = [event.retry_in for event in world.gateway.of(RegistrationChanged) if event.state == "failed"]
    assert len(waits) >= 4
    assert all(2.5 * 2**n <= wait <= 5 * 2**n for n, wait in enumerate(waits))
    assert world.last.status == 408 or world.last.state == "registering"
    world.registrar.silent = False
    world.net.run(600)
    assert world.last.state == "registered"
    # Success forgets the failures.
    world.registrar.silent = True
    world.net.run(600)
    failed = [event for event in world.gateway.of(RegistrationChanged) if event.state == "failed"]
    assert failed[len(waits)].retry_in <= 5


def test_a_registration_ends_with_its_granted_time_whatever_the_refresh_waits_for():
    world = World()
    world.registrar.granted = 40
    world.register(expires=40)
    world.net.run(1)
    world.registrar.silent = True
    world.net.run(39.2)
    assert world.registrar.times[-1] > 28, "the refresh runs, and its Timer F does for longer than the binding"
    assert (world.last.state, world.last.expires) == ("registering", None)
    assert world.last.reason == "the registration ran out, its refresh is not answered"
    world.registrar.silent = False
    world.net.run(4)
    assert world.states[-2:] == ["registering", "registered"]
    world.net.run(600)
    assert world.last.state == "registered"


def test_the_reason_names_who_did_not_answer():
    world = World()
    world.registrar.silent = True
    world.register()
    world.net.run(33)
    assert world.last.reason == f"no answer from udp:{TRUNK}:5060"


def test_retry_after_is_kept():
    world = World()
    world.registrar.script = [(503, {"Retry-After": "120"})]
    world.register()
    world.net.run(100)
    assert world.last.state == "failed"
    assert 120 <= world.last.retry_in <= 132
    world.net.run(40)
    assert world.last.state == "registered"


def test_a_refusal_for_good_waits_longer_than_a_hiccup():
    world = World()
    world.registrar.script = [(403, {})]
    world.register()
    world.net.run(1)
    assert world.last.retry_in >= 150
    assert world.last.reason == f"403 Forbidden from udp:{TRUNK}:5060"


def test_the_next_target_is_tried_before_anything_fails():
    world = World()
    second = Registrar(world.net, TRUNK2)
    world.registrar.silent = True
    world.register(targets=(TRUNK, TRUNK2))
    world.net.run(40)
    assert world.states == ["registering", "registered"]
    assert len(second.requests) == 1
    assert str(world.registration.target) == f"udp:{TRUNK2}:5060"


def test_a_refresh_begins_with_the_registrar_that_answered():
    world = World()
    second = Registrar(world.net, TRUNK2)
    world.registrar.silent = True
    world.register(targets=(TRUNK, TRUNK2), expires=60)
    world.net.run(1000)
    assert world.states == ["registering", "registered"]
    assert len(set(world.registrar.times)) < 12, "asked in the first attempt alone"
    second.silent = True
    world.registrar.silent = False
    world.net.run(100)
    assert world.last.state == "registered"
    assert world.registration.target == Flow("udp", TRUNK, 5060)


def test_503_moves_to_the_next_target_at_once():
    world = World()
    Registrar(world.net, TRUNK2)
    world.registrar.script = [(503, {})]
    world.register(targets=(TRUNK, TRUNK2))
    world.net.run(1)
    assert world.states == ["registering", "registered"]


def test_newly_resolved_targets_are_used():
    world = World()
    second = Registrar(world.net, TRUNK2)
    world.register(expires=60)
    world.net.run(1)
    world.registration.set_targets([Flow("udp", TRUNK2, 5060)], world.net.now)
    world.registration.set_targets([], world.net.now)
    world.net.run(60)
    assert len(second.requests) == 1


def test_retry_ends_the_wait():
    world = World()
    world.registrar.script = [(403, {})]
    world.register()
    world.net.run(1)
    world.registration.retry(world.net.now)
    world.net.run(1)
    assert world.last.state == "registered"


def test_behind_a_nat_the_contact_becomes_the_address_that_the_registrar_sees():
    world = World()
    world.registrar.received = ("203.0.113.5", 40404)
    world.register()
    world.net.run(1)
    requests = world.registrar.requests
    assert [request.contacts[0].uri.hostport for request in requests] == [f"{GATEWAY}:5060", "203.0.113.5:40404"]
    # The private address is taken back in the same request.
    assert [contact.params.get("expires") for contact in requests[1].contacts] == ["600", "0"]
    assert requests[1].contacts[1].uri.hostport == f"{GATEWAY}:5060"
    assert world.last.learned == Address("203.0.113.5", 40404)
    assert world.registration.learned == world.gateway.ua.advertised(Flow("udp", TRUNK, 5060))


def keepalives(world: World) -> list[float]:
    return [round(packet.at) for packet in world.net.wire if packet.data == b"\r\n\r\n"]


def test_a_nat_is_kept_open_while_the_registration_lasts():
    world = World()
    world.registrar.received = ("203.0.113.5", 40404)
    world.register(expires=600)
    world.net.run(1)
    for _ in range(3):
        world.net.run(25)
    assert keepalives(world) == [0, 25, 50, 75]
    world.net.run(2000)
    assert len(keepalives(world)) == 2076 // 25 + 1, "one clock, whatever is refreshed meanwhile"
    world.registration.unregister(world.net.now)
    world.net.run(100)
    assert len(keepalives(world)) == 2076 // 25 + 1
    assert world.gateway.ua.next_timer() is None


@pytest.mark.parametrize(
    ("config", "transport", "received"),
    [
        ({}, "udp", (GATEWAY, 5060)),
        ({"public_host": "203.0.113.5"}, "udp", ("203.0.113.5", 5060)),
        ({}, "tcp", ("203.0.113.5", 40404)),
    ],
)
def test_without_a_nat_or_over_tcp_nothing_is_kept_open(config, transport, received):
    world = World(**config)
    world.registrar.received = received
    world.register(transport=transport)
    world.net.run(100)
    assert world.last.state == "registered"
    assert keepalives(world) == []


def test_a_nat_that_moves_on_every_request_does_not_loop():
    world = World()
    port = iter(range(40000, 50000))
    answer = world.registrar.answer

    def moving(request, now):
        world.registrar.received = ("203.0.113.5", next(port))
        return answer(request, now)

    world.registrar.received = ("203.0.113.5", 39999)
    world.registrar.answer = moving
    world.register(expires=600)
    world.net.run(10)
    assert len(world.registrar.requests) == 2


def test_the_challenge_already_tells_the_address():
    world = World("secret")
    world.registrar.received = ("203.0.113.5", 40404)
    world.register()
    world.net.run(1)
    assert len(world.registrar.requests) == 2
    assert world.registrar.requests[1].contacts[0].uri.hostport == "203.0.113.5:40404"


def test_a_configured_address_is_never_replaced():
    world = World(public_host="198.51.100.7", public_port=5080)
    world.registrar.received = ("203.0.113.5", 40404)
    world.register()
    world.net.run(1)
    (request,) = world.registrar.requests
    assert request.contacts[0].uri.hostport == "198.51.100.7:5080"
    assert request.top_via.sent_by == "198.51.100.7:5080"


def test_over_tcp_without_nat_the_contact_keeps_the_listening_port():
    world = World()
    world.registrar.received = (GATEWAY, 33333)
    world.register(transport="tcp")
    world.net.run(1)
    assert [str(request.contacts[0].uri) for request in world.registrar.requests] == [
        f"sip:bob@{GATEWAY}:5060;transport=tcp"
    ]


def test_a_broken_connection_registers_again_soon():
    world = World()
    world.register(transport="tcp", expires=600)
    world.net.run(10)
    world.gateway.ua.flow_failed(Flow("tcp", TRUNK, 5060), "closed", world.net.now)
    world.net.run(3)
    assert len(world.registrar.requests) == 2
    assert world.states == ["registering", "registered"]


def test_unregister_without_an_answer_ends_too():
    world = World()
    world.register()
    world.net.run(1)
    world.registrar.silent = True
    world.registration.unregister(world.net.now)
    world.registration.unregister(world.net.now)
    world.net.run(40)
    assert world.states[-2:] == ["unregistering", "unregistered"]
    assert world.gateway.ua.next_timer() is None


def test_unregister_while_failed_sends_nothing():
    world = World()
    world.registrar.script = [(403, {})]
    world.register()
    world.net.run(1)
    world.registration.unregister(world.net.now)
    world.net.run(1000)
    assert (len(world.registrar.requests), world.states[-1]) == (1, "unregistered")


def test_unregister_answers_a_challenge():
    world = World("secret")
    world.register()
    world.net.run(1)
    world.registrar.verifier._issued.clear()
    world.registration.unregister(world.net.now)
    world.net.run(1)
    assert world.last.state == "unregistered"
    assert [request.headers.get("Expires") for request in world.registrar.requests][-2:] == ["0", "0"]


def test_unregister_while_the_first_attempt_runs():
    world = World()
    world.net.faults.append(lose("REGISTER", 1))
    world.register()
    world.net.run(0.1)
    world.registration.unregister(world.net.now)
    world.net.run(40)
    assert world.last.state == "unregistered"


def test_a_granted_zero_is_a_failure():
    world = World()
    world.registrar.script = [(200, {"Expires": "0"})]
    world.register()
    world.net.run(1)
    assert world.last.reason == "the registrar granted no time"


def test_service_route_is_kept():
    world = World()
    world.registrar.script = [(200, {"Service-Route": "<sip:edge.example;lr>"})]
    world.register()
    world.net.run(1)
    assert world.registration.service_route == ["<sip:edge.example;lr>"]


def test_repr_is_one_line_of_live_state():
    world = World()
    assert repr(world.register()).startswith("<Registration vonage registering")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"registrar": "tel:1"}, "no SIP URI"),
        ({"aor": "nonsense"}, "URI"),
        ({"targets": []}, "no target"),
    ],
)
def test_bad_arguments_are_local_errors(arguments, message):
    world = World()
    whole = {"registrar": "sip:t", "aor": "sip:b@t", "targets": [Flow("udp", TRUNK, 5060)], "now": 0.0} | arguments
    with pytest.raises(LocalError, match=message):
        world.gateway.ua.register("x", **whole)
