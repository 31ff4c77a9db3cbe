"""Trunks: whose signalling is whose, which number was dialled, and what their state says."""

import asyncio
from typing import Any

import pytest

from trunkline.gateway.config import Config
from trunkline.gateway.trunk import Trunk, trunk_of
from trunkline.sip.errors import SipError
from trunkline.sip.events import PeerReachable, PeerUnreachable, RegistrationChanged
from trunkline.sip.flow import Flow

TRUNKS: dict[str, Any] = {
    "registering": {"registrar": "sip:sip.example.com:5070", "username": "alice", "password": "pw"},
    "static": {"peer": "sip:192.0.2.20", "sources": ["203.0.113.0/24", "edge.example.com"], "caller_id": "15550199"},
}
ADDRESSES = {
    "sip:sip.example.com:5070": [Flow("udp", "192.0.2.10", 5070)],
    "sip:192.0.2.20": [Flow("udp", "192.0.2.20", 5060)],
    "sip:edge.example.com": [Flow("udp", "198.51.100.7", 5060)],
}


class FakeUserAgent:
    """Notes what a trunk asks for."""

    def __init__(self) -> None:
        self.registered: list[dict[str, Any]] = []
        self.probed: list[str] = []
        self.asked = asyncio.Event()

    def register(self, name: str, **arguments: Any) -> Any:
        self.registered.append({"name": name, **arguments})
        self.asked.set()
        return self

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
    found = trunk_of(trunks, Flow("udp", host, 5060), ())
    assert (found.name if found else None) == owner


async def test_trunks_on_one_address_are_told_apart_by_port_then_user() -> None:
    one, other = await resolved("registering", "registering")
    other.targets = [Flow("udp", "192.0.2.10", 5090)]
    assert trunk_of([one, other], Flow("udp", "192.0.2.10", 5090), ()) is other
    other.targets = one.targets
    object.__setattr__(other.config, "username", "bob")
    assert trunk_of([one, other], Flow("udp", "192.0.2.10", 5070), ("bob", None)) is other


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


def test_uris_of_a_trunk() -> None:
    assert trunk("registering").uri_for("15550100") == "sip:15550100@sip.example.com:5070"
    assert trunk("registering").uri_for("sip:bob@example.org") == "sip:bob@example.org"
    assert trunk("static").from_uri == "sip:15550199@192.0.2.20"
