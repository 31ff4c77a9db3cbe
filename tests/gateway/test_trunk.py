"""Trunks: whose signalling is whose, which number was dialled, and what their state says."""

import asyncio
from typing import Any

import pytest

from trunkline.gateway.config import Config
from trunkline.gateway.errors import CallRefused
from trunkline.gateway.trunk import Trunk, trunk_of
from trunkline.gateway.trunks import resolver_from
from trunkline.sip.errors import SipError
from trunkline.sip.events import PeerReachable, PeerUnreachable, RegistrationChanged
from trunkline.sip.flow import Flow
from trunkline.sip.uri import parse_uri

TRUNKS: dict[str, Any] = {
    "registering": {"registrar": "sip:sip.example.com:5070", "username": "alice", "password": "pw"},
    "static": {"peer": "sip:192.0.2.20", "sources": ["203.0.113.0/24", "edge.example.com"], "caller_id": "15550199"},
}
ADDRESSES = {
    "sip:sip.example.com:5070": [Flow("udp", "192.0.2.10", 5070)],
    "sip:192.0.2.20": [Flow("udp", "192.0.2.20", 5060)],
    "sip:edge.example.com": [Flow("udp", "198.51.100.7", 5060)],
}


class FakeRegistration:
    """Notes what a trunk does with its registration."""

    def __init__(self) -> None:
        self.retried = 0
        self.target = Flow("udp", "192.0.2.10", 5070)
        self.service_route: list[str] = []

    def retry(self, _now: float) -> None:
        self.retried += 1

    def set_targets(self, targets: list[Flow], _now: float) -> None:
        assert targets


class FakeUserAgent:
    """Notes what a trunk asks for."""

    def __init__(self) -> None:
        self.registered: list[dict[str, Any]] = []
        self.registration = FakeRegistration()
        self.probed: list[str] = []
        self.asked = asyncio.Event()

    def register(self, name: str, **arguments: Any) -> Any:
        self.registered.append({"name": name, **arguments})
        self.asked.set()
        return self.registration

    def options(self, name: str, *arguments: Any, **more: Any) -> None:
        self.probed.append(name)
        self.asked.set()


class FakeResolver:
    def __init__(self, addresses: dict[str, list[Flow]]) -> None:
        self.addresses = addresses

    async def resolve(self, uri: str) -> list[Flow]:
        if uri not in self.addresses:
            raise SipError(f"{uri}: no such name")
        return self.addresses[uri]


def trunk(name: str, ua: Any = None, addresses: Any = None) -> Trunk:
    config = Config(trunks=TRUNKS).trunks[name]  # pyright: ignore[reportArgumentType]
    return Trunk(name, config, ua or FakeUserAgent(), FakeResolver(ADDRESSES if addresses is None else addresses))  # pyright: ignore[reportArgumentType]


async def resolved(*names: str) -> list[Trunk]:
    trunks = [trunk(name) for name in names]
    for one in trunks:
        task = asyncio.create_task(one.run())
        await one.resolved.wait()
        task.cancel()
    return trunks


@pytest.mark.parametrize(
    ("host", "owner"),
    [
        ("192.0.2.10", "registering"),
        ("192.0.2.20", "static"),
        ("203.0.113.77", "static"),
        ("198.51.100.7", "static"),
        ("192.0.2.99", None),
    ],
)
async def test_signalling_belongs_to_the_trunk_of_its_source(host: str, owner: str | None) -> None:
    trunks = await resolved("registering", "static")
    found = trunk_of(trunks, Flow("udp", host, 5060), (parse_uri("sip:100@192.0.2.1"),))
    assert (found.name if found else None) == owner


@pytest.mark.parametrize(
    ("differs", "source", "called"),
    [
        ({"username": "bob"}, Flow("udp", "192.0.2.10", 5070), "sip:bob@198.51.100.1:5060"),
        ({"target": Flow("udp", "192.0.2.10", 5090)}, Flow("udp", "192.0.2.10", 5090), "sip:15550100@198.51.100.1"),
        ({"target": Flow("tcp", "192.0.2.10", 5070)}, Flow("tcp", "192.0.2.10", 41234), "sip:15550100@198.51.100.1"),
        ({"domain": "two.example.com"}, Flow("udp", "192.0.2.10", 41234), "sip:15550100@TWO.example.com"),
        # The user that we registered says more than the port.
        (
            {"username": "bob", "target": Flow("udp", "192.0.2.10", 5090)},
            Flow("udp", "192.0.2.10", 5070),
            "sip:bob@198.51.100.1:5060",
        ),
    ],
)
async def test_trunks_on_one_address_are_told_apart(differs: dict[str, Any], source: Flow, called: str) -> None:
    one, other = await resolved("registering", "registering")
    other.targets = [differs.pop("target", one.targets[0])]
    other.config = other.config.model_copy(update=differs)
    asked = parse_uri(called), parse_uri("sip:somebody@sip.elsewhere.example")
    assert trunk_of([one, other], source, asked) is other
    assert trunk_of([other, one], source, asked) is other


@pytest.mark.parametrize(
    ("request_user", "to_user", "number"),
    [("15550100", "x", "15550100"), ("alice", "15550100", "15550100"), ("alice", "", "alice"), ("", "", "")],
)
def test_the_dialled_number(request_user: str, to_user: str, number: str) -> None:
    assert trunk("registering").dialled(request_user, to_user) == number


async def test_a_registering_trunk_registers_its_address_of_record() -> None:
    ua = FakeUserAgent()
    task = asyncio.create_task(trunk("registering", ua).run())
    await ua.asked.wait()
    task.cancel()
    (asked,) = ua.registered
    assert asked["aor"] == "sip:alice@sip.example.com"
    assert asked["contact_user"] == "alice"
    assert asked["targets"] == [Flow("udp", "192.0.2.10", 5070)]
    assert "pw" not in repr(asked)


async def test_what_answers_is_tried_first() -> None:
    one, two = Flow("udp", "192.0.2.20", 5060), Flow("udp", "192.0.2.21", 5060)
    static = trunk("static", addresses=ADDRESSES | {"sip:192.0.2.20": [one, two]})

    async def look_up() -> None:
        static.resolved.clear()
        task = asyncio.create_task(static.run())
        await static.resolved.wait()
        task.cancel()

    await look_up()
    assert static.targets == [one, two]
    static.on_event(PeerUnreachable("static", one, "no answer"))
    assert (static.targets, static.up) == ([two, one], False)
    static.on_event(PeerReachable("static", two, 200))
    await look_up()
    assert (static.targets, static.up) == ([two, one], True)
    static.on_event(PeerUnreachable("static", two, "503 Service Unavailable"))
    assert static.targets == [one, two]


async def test_calls_take_the_route_that_the_registrar_asked_for() -> None:
    ua = FakeUserAgent()
    one = trunk("registering", ua)
    assert one.route == []
    task = asyncio.create_task(one.run())
    await ua.asked.wait()
    task.cancel()
    ua.registration.service_route = ["<sip:edge.example;lr>"]
    assert one.route == ["<sip:edge.example;lr>"]


async def test_a_static_trunk_is_probed() -> None:
    ua = FakeUserAgent()
    task = asyncio.create_task(trunk("static", ua).run())
    await ua.asked.wait()
    task.cancel()
    assert ua.probed == ["static"]
    assert not ua.registered


async def test_a_name_that_does_not_resolve_is_the_state() -> None:
    one = trunk("registering", addresses={})
    task = asyncio.create_task(one.run())
    await one.changed.wait()
    task.cancel()
    assert (one.state, one.up) == ("failed", False)
    assert "no such name" in one.reason


@pytest.mark.parametrize("name", ["registering", "static"])
async def test_a_name_service_that_goes_away_does_not_take_the_trunk_down(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trunkline.gateway.trunk.RESOLVE_EVERY", 0.0)
    addresses = dict(ADDRESSES)
    one = trunk(name, addresses=addresses)
    one.config = one.config.model_copy(update={"options_interval_s": 0.0})
    task = asyncio.create_task(one.run())
    await one.resolved.wait()
    one.on_event(RegistrationChanged(name, "registered", "registered", expires=60.0))
    targets = one.targets
    addresses.clear()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    assert (one.up, one.targets) == (True, targets)


def test_a_registration_that_ran_out_is_down_until_it_is_renewed() -> None:
    one = trunk("registering")
    one.on_event(RegistrationChanged("registering", "registering", "asking udp:192.0.2.10:5070"))
    assert one.state == "starting"
    one.on_event(RegistrationChanged("registering", "registered", "registered", expires=60.0))
    one.on_event(RegistrationChanged("registering", "registering", "the registration ran out"))
    assert (one.up, one.state, one.reason) == (False, "failed", "the registration ran out")
    one.on_event(RegistrationChanged("registering", "registered", "registered", expires=60.0))
    assert one.up


def test_state_follows_events() -> None:
    one = trunk("registering")
    one.on_event(RegistrationChanged("registering", "registered", "registered", expires=60.0))
    assert one.up
    one.on_event(RegistrationChanged("registering", "failed", "wrong password (401 twice)", status=401))
    assert (one.up, one.reason) == (False, "wrong password (401 twice)")
    static = trunk("static")
    static.on_event(PeerReachable("static", Flow("udp", "192.0.2.20", 5060), 200))
    assert static.up
    static.on_event(PeerUnreachable("static", Flow("udp", "192.0.2.20", 5060), "no answer"))
    assert not static.up


@pytest.mark.parametrize(
    ("listen", "asks"),
    [
        (["tcp://0.0.0.0:5060", "udp://0.0.0.0:5060"], "<Resolver udp,tcp IPv4>"),
        (["tcp://192.0.2.1"], "<Resolver tcp IPv4>"),
        (["udp://0.0.0.0", "udp://[::]"], "<Resolver udp IPv4, IPv6>"),
    ],
)
def test_servers_are_looked_up_for_what_can_be_reached_from_the_sockets(listen: list[str], asks: str) -> None:
    assert repr(resolver_from(Config(sip={"listen": listen}).sip.listen)) == asks  # pyright: ignore[reportArgumentType]


def test_uris_of_a_trunk() -> None:
    assert trunk("registering").uri_for("15550100") == "sip:15550100@sip.example.com:5070"
    assert trunk("registering").uri_for("sip:bob@example.org") == "sip:bob@example.org"
    assert trunk("static").from_uri == "sip:15550199@192.0.2.20"


def test_a_registrar_that_has_not_answered_yet_is_named() -> None:
    one = trunk("registering")
    one.on_event(RegistrationChanged("registering", "registering", "asking udp:192.0.2.10:5070"))
    assert (one.state, one.reason) == ("starting", "asking udp:192.0.2.10:5070, no answer yet")


async def test_an_account_that_cannot_be_registered_is_the_state() -> None:
    class Refusing(FakeUserAgent):
        def register(self, name: str, **arguments: Any) -> Any:
            raise SipError("aor: malformed")

    one = trunk("registering", Refusing())
    task = asyncio.create_task(one.run())
    await one.changed.wait()
    assert not task.done()
    task.cancel()
    assert (one.state, one.reason) == ("failed", "aor: malformed")


def test_only_a_trunk_that_is_down_is_tried_again() -> None:
    one = trunk("registering")
    one.retry(1.0)
    one.registration = registration = FakeRegistration()  # pyright: ignore[reportAttributeAccessIssue]
    one.on_event(RegistrationChanged("registering", "failed", "403 Forbidden", 403, retry_in=200.0))
    one.retry(1.0)
    assert registration.retried == 1
    one.on_event(RegistrationChanged("registering", "registered", "registered", expires=60.0))
    one.retry(1.0)
    assert registration.retried == 1


@pytest.mark.parametrize("number", ["1\r\nX-Evil: y", "1 2", "sip:", "sip:a b@c"])
def test_what_is_no_number_is_refused_before_it_is_dialled(number: str) -> None:
    with pytest.raises(CallRefused, match="neither a number nor a SIP URI") as caught:
        trunk("static").check_number(number)
    assert caught.value.status == 400
