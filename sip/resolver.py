"""From a SIP URI to the flows to try, in order (RFC 3263, RFC 2782)."""

import asyncio
import ipaddress
import random
import socket
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import dns.asyncresolver
import dns.exception
import dns.name
import dns.resolver

from .errors import LocalError, ParseError, TransportError
from .flow import DEFAULT_PORT, Flow, Transport
from .uri import SipUri

_NAPTR_SERVICES: dict[str, Transport] = {"SIP+D2U": "udp", "SIP+D2T": "tcp", "SIPS+D2T": "tls"}
_SRV_PREFIX: dict[Transport, str] = {"udp": "_sip._udp", "tcp": "_sip._tcp", "tls": "_sips._tcp"}


class ResolutionError(TransportError):
    """A name leads nowhere; the sentence says which, and why."""


class Naptr(NamedTuple):
    """What of a NAPTR record counts here."""

    order: int
    preference: int
    service: str
    replacement: str


class Srv(NamedTuple):
    """An SRV record."""

    priority: int
    weight: int
    port: int
    target: str


def order_naptr(records: Iterable[Naptr], supported: Sequence[Transport]) -> list[tuple[Transport, str]]:
    """The supported transports with the names to ask SRV for, best first (RFC 3263 §4.1)."""
    known = [record for record in records if _NAPTR_SERVICES.get(record.service.upper()) in supported]
    known.sort(key=lambda record: (record.order, record.preference))
    return [(_NAPTR_SERVICES[record.service.upper()], record.replacement) for record in known]


def order_srv(records: Iterable[Srv], rng: random.Random) -> list[Srv]:
    """By priority; within one priority drawn by weight, those of weight 0 with a small chance (RFC 2782)."""
    ordered: list[Srv] = []
    by_priority: dict[int, list[Srv]] = {}
    for record in records:
        by_priority.setdefault(record.priority, []).append(record)
    for priority in sorted(by_priority):
        left = sorted(by_priority[priority], key=lambda record: record.weight)
        while left:
            mark = rng.randint(0, sum(record.weight for record in left))
            chosen = next(index for index in range(len(left)) if sum(r.weight for r in left[: index + 1]) >= mark)
            ordered.append(left.pop(chosen))
    return ordered


class Resolver:
    """Resolves next hops with NAPTR, SRV and address records; numeric hosts never touch the DNS."""

    def __init__(
        self,
        nameservers: Sequence[str] | None = None,
        timeout: float = 3.0,
        *,
        transports: Sequence[Transport] = ("udp", "tcp"),
        ipv6: bool = False,
        rng: random.Random | None = None,
        nameserver_port: int = 53,
    ) -> None:
        """`nameservers` None: the system's, and its hosts file; `timeout` seconds for one lookup; `transports`:
        those that we can use, in order of preference; `ipv6` asks for AAAA too; `rng` draws among weights."""
        self._resolver = dns.asyncresolver.Resolver(configure=nameservers is None)
        if nameservers is not None:
            self._resolver.nameservers = list(nameservers)
            self._resolver.port = nameserver_port
        self._resolver.cache = dns.resolver.LRUCache(1000)
        self._resolver.lifetime = timeout
        self._system = nameservers is None
        self._timeout = timeout
        self._transports = transports
        self._ipv6 = ipv6
        self._rng = rng or random.Random()

    def __repr__(self) -> str:
        return f"<Resolver {','.join(self._transports)} {'IPv4, IPv6' if self._ipv6 else 'IPv4'}>"

    async def resolve(self, uri: str) -> list[Flow]:
        """Every flow for `uri` (host, port, transport parameter), the one to try first at the head.
        Raises ResolutionError with the name and the reason when nothing is found, LocalError when it is no SIP URI."""
        try:
            parsed = SipUri.parse(uri)
        except ParseError as error:
            raise LocalError(error.reason) from error
        wanted = self._wanted(parsed)
        flows = await self._flows(parsed, wanted)
        return flows if wanted is None else [replace(flow, fixed=True) for flow in flows]

    async def _flows(self, parsed: SipUri, wanted: Transport | None) -> list[Flow]:
        if _is_numeric(parsed.host):
            transport = wanted or self._default(parsed)
            return [Flow(transport, parsed.host, parsed.port or DEFAULT_PORT[transport])]
        if parsed.port is not None:
            transport = wanted or self._default(parsed)
            return await self._addresses(parsed.host, parsed.port, transport)
        flows = await self._by_service(parsed, wanted)
        if flows:
            return flows
        transport = wanted or self._default(parsed)
        return await self._addresses(parsed.host, DEFAULT_PORT[transport], transport)

    def _wanted(self, uri: SipUri) -> Transport | None:
        """The transport that the URI itself demands."""
        named = uri.transport
        if uri.scheme == "sips" or named == "tls":
            return "tls"
        if named is None:
            return None
        for transport in ("udp", "tcp"):
            if named == transport:
                return transport
        raise ResolutionError(f"{uri}: transport {named!r} is not supported")

    def _default(self, uri: SipUri) -> Transport:
        """RFC 3263 §4.1: UDP when nothing says otherwise, as far as we speak it."""
        if uri.scheme == "sips":
            return "tls"
        return "udp" if "udp" in self._transports else self._transports[0]

    async def _by_service(self, uri: SipUri, wanted: Transport | None) -> list[Flow]:
        """NAPTR, then SRV (RFC 3263 §4.1, §4.2); empty when the name has neither."""
        services: list[tuple[Transport, str]] = []
        if wanted is None:
            services = order_naptr(await self._naptr(uri.host), self._transports)
        if not services:
            transports: Sequence[Transport] = self._transports if wanted is None else (wanted,)
            services = [(transport, f"{_SRV_PREFIX[transport]}.{uri.host}") for transport in transports]
        flows: list[Flow] = []
        for transport, name in services:
            for record in order_srv(await self._srv(name), self._rng):
                try:
                    flows += await self._addresses(record.target, record.port, transport)
                except ResolutionError:
                    # The next record stands in for a target that has no address.
                    continue
        return list(dict.fromkeys(flows))

    async def _naptr(self, host: str) -> list[Naptr]:
        return [
            Naptr(data.order, data.preference, data.service.decode("ascii", "replace"), data.replacement.to_text(True))
            for data in await self._query(host, "NAPTR")
        ]

    async def _srv(self, name: str) -> list[Srv]:
        records = [
            Srv(data.priority, data.weight, data.port, data.target.to_text(True))
            for data in await self._query(name, "SRV")
        ]
        # A single "." says that the service is decidedly not there.
        return [record for record in records if record.target not in ("", ".")]

    async def _query(self, name: str, kind: str) -> list[Any]:
        try:
            return list(await self._resolver.resolve(name, kind, search=False))
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except (dns.exception.DNSException, OSError) as error:
            if kind in ("A", "AAAA"):
                raise ResolutionError(f"{name}: {_sentence(error)}") from error
            # Some home routers drop what is not an address query.
            return []

    async def _addresses(self, host: str, port: int, transport: Transport) -> list[Flow]:
        if _is_numeric(host):
            return [Flow(transport, host, port)]
        found = await self._system_addresses(host) if self._system else await self._dns_addresses(host)
        if not found:
            raise ResolutionError(f"{host}: no address known for this name")
        return [Flow(transport, address, port) for address in found]

    async def _dns_addresses(self, host: str) -> list[str]:
        found = [data.address for data in await self._query(host, "A")]
        if self._ipv6:
            found += [data.address for data in await self._query(host, "AAAA")]
        return found

    async def _system_addresses(self, host: str) -> list[str]:
        family = socket.AF_UNSPEC if self._ipv6 else socket.AF_INET
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout):
                found = await loop.getaddrinfo(host, None, family=family, type=socket.SOCK_DGRAM)
        except TimeoutError as error:
            raise ResolutionError(f"{host}: no answer from the name service within {self._timeout:g} s") from error
        except (OSError, UnicodeError) as error:
            raise ResolutionError(f"{host}: {_sentence(error)}") from error
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
