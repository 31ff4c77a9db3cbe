"""RFC 3263 against a name server on loopback that counts what it is asked."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from trunkline.sip.errors import LocalError
from trunkline.sip.flow import Flow
from trunkline.sip.resolver import Naptr, ResolutionError, Resolver, Srv, order_naptr, order_srv

ZONE = {
    ("trunk.test.", "NAPTR"): [
        '20 50 "s" "SIP+D2U" "" _sip._udp.trunk.test.',
        '10 50 "s" "SIP+D2T" "" _sip._tcp.trunk.test.',
        '5 50 "s" "SIPS+D2T" "" _sips._tcp.trunk.test.',
    ],
    ("_sip._tcp.trunk.test.", "SRV"): ["10 0 5070 a.test.", "20 0 5071 b.test."],
    ("_sip._udp.trunk.test.", "SRV"): ["10 0 5072 a.test."],
    ("a.test.", "A"): ["192.0.2.1"],
    ("two.test.", "A"): ["192.0.2.1", "192.0.2.2"],
    ("b.test.", "A"): ["192.0.2.3"],
    ("b.test.", "AAAA"): ["2001:db8::3"],
    ("srv.test.", "A"): ["192.0.2.9"],
    ("_sip._udp.srv.test.", "SRV"): ["10 0 5080 gone.test.", "20 0 5081 b.test."],
    ("none.test.", "A"): ["192.0.2.8"],
    ("_sip._udp.none.test.", "SRV"): ["0 0 0 ."],
}


class NameServer(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.silent = False
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name, kind = question.name.to_text().lower(), question.rdtype.name
        self.asked[f"{name} {kind}"] += 1
        if self.silent:
            return
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if (name, kind) in ZONE:
            response.answer.append(dns.rrset.from_text(name, 60, "IN", kind, *ZONE[name, kind]))
        elif not any(known == name for known, _ in ZONE):
            response.set_rcode(dns.rcode.NXDOMAIN)
        self.transport.sendto(response.to_wire(), addr)


@asynccontextmanager
async def name_server() -> AsyncIterator[NameServer]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", 0))
    try:
        yield server
    finally:
        transport.close()


def resolver(server: NameServer, **more) -> Resolver:
    port = server.transport.get_extra_info("sockname")[1]
    return Resolver(["127.0.0.1"], 1.0, rng=random.Random(1), nameserver_port=port, **more)


async def resolve(uri: str, **more) -> list[str]:
    async with name_server() as server:
        return [str(flow) for flow in await resolver(server, **more).resolve(uri)]


@pytest.mark.parametrize(
    ("uri", "flows"),
    [
        ("sip:192.0.2.5", ["udp:192.0.2.5:5060"]),
        ("sip:x@192.0.2.5:5070;transport=tcp", ["tcp:192.0.2.5:5070"]),
        ("sips:[2001:db8::1]", ["tls:[2001:db8::1]:5061"]),
    ],
)
async def test_numeric_hosts_never_touch_the_dns(uri, flows):
    async with name_server() as server:
        assert [str(flow) for flow in await resolver(server).resolve(uri)] == flows
        assert not server.asked


@pytest.mark.parametrize(
    ("uri", "flows"),
    [
        # NAPTR by its order, then SRV by priority, then addresses; TLS is not ours to use.
        (
            "sip:trunk.test",
            [
                "tcp:192.0.2.1:5070",
                "tcp:192.0.2.3:5071",
                "udp:192.0.2.1:5072",
            ],
        ),
        ("sip:trunk.test;transport=udp", ["udp:192.0.2.1:5072"]),
        # A port asks for addresses alone (RFC 3263 §4.2).
        ("sip:a.test:5099", ["udp:192.0.2.1:5099"]),
        # SRV counts although the name has an address of its own; a target without one is passed over.
        ("sip:srv.test", ["udp:192.0.2.3:5081"]),
        # The target "." says that there is no such service.
        ("sip:none.test", ["udp:192.0.2.8:5060"]),
        ("sip:a.test;transport=tcp", ["tcp:192.0.2.1:5060"]),
        ("sip:b.test", ["udp:192.0.2.3:5060"]),
    ],
)
async def test_names(uri, flows):
    assert await resolve(uri) == flows


async def test_every_address_of_a_name_is_a_target():
    assert sorted(await resolve("sip:two.test")) == ["udp:192.0.2.1:5060", "udp:192.0.2.2:5060"]


async def test_ipv6_when_asked_for():
    assert await resolve("sip:b.test", ipv6=True) == ["udp:192.0.2.3:5060", "udp:[2001:db8::3]:5060"]


@pytest.mark.parametrize(
    ("uri", "flows"),
    [
        ("sip:192.0.2.5", ["tcp:192.0.2.5:5060"]),
        ("sip:b.test:5070", ["tcp:192.0.2.3:5070"]),
        ("sip:b.test:5070;transport=udp", ["udp:192.0.2.3:5070"]),
        ("sip:trunk.test", ["tcp:192.0.2.1:5070", "tcp:192.0.2.3:5071"]),
    ],
)
async def test_where_udp_is_not_spoken_tcp_is_the_default(uri, flows):
    assert await resolve(uri, transports=["tcp"]) == flows


async def test_answers_are_remembered():
    async with name_server() as server:
        names = resolver(server)
        first, second = await names.resolve("sip:trunk.test"), await names.resolve("sip:trunk.test")
        assert sorted(map(str, first)) == sorted(map(str, second))
        assert server.asked["trunk.test. NAPTR"] == 1


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("sip:nowhere.test", "nowhere.test: no address known"),
        ("sip:a.test;transport=sctp", "transport 'sctp' is not supported"),
    ],
)
async def test_what_cannot_be_resolved_says_why(uri, message):
    with pytest.raises(ResolutionError, match=message):
        await resolve(uri)


async def test_a_silent_name_server_is_an_error_not_a_hang():
    async with name_server() as server:
        server.silent = True
        names = resolver(server)
        names._resolver.lifetime = 0.1
        with pytest.raises(ResolutionError, match=r"a\.test"):
            await names.resolve("sip:a.test:5060")


async def test_what_is_no_sip_uri_is_a_local_error():
    with pytest.raises(LocalError):
        await Resolver(["127.0.0.1"]).resolve("mailto:x@y")


async def test_the_hosts_file_is_read_with_the_system_resolver():
    assert await Resolver().resolve("sip:localhost:5060") == [Flow("udp", "127.0.0.1", 5060)]


def test_naptr_by_order_then_preference():
    records = [
        Naptr(20, 1, "SIP+D2U", "c"),
        Naptr(10, 9, "sip+d2u", "b"),
        Naptr(10, 1, "SIP+D2T", "a"),
        Naptr(1, 1, "SIPS+D2T", "tls"),
        Naptr(1, 1, "E2U+sip", "enum"),
    ]
    assert order_naptr(records, ("udp", "tcp")) == [("tcp", "a"), ("udp", "b"), ("udp", "c")]


def test_srv_by_priority_then_drawn_by_weight():
    records = [Srv(20, 0, 1, "last"), Srv(10, 90, 1, "heavy"), Srv(10, 10, 1, "light"), Srv(10, 0, 1, "zero")]
    rng = random.Random(4)
    firsts = Counter(order_srv(records, rng)[0].target for _ in range(2000))
    assert firsts["last"] == 0
    assert 0.84 < firsts["heavy"] / 2000 < 0.95
    assert 0 < firsts["zero"] < 60
    ordered = order_srv(records, rng)
    assert ordered[-1].target == "last"
    assert sorted(ordered) == sorted(records)


@pytest.mark.parametrize(
    ("uri", "fixed"),
    [
        ("sip:192.0.2.1;transport=udp", True),
        ("sip:192.0.2.1", False),
        ("sip:two.test:5060;transport=tcp", True),
        ("sip:srv.test;transport=udp", True),
        ("sip:trunk.test", False),
    ],
)
async def test_a_flow_knows_whether_the_uri_named_its_transport(uri, fixed):
    async with name_server() as server:
        assert {flow.fixed for flow in await resolver(server).resolve(uri)} == {fixed}
