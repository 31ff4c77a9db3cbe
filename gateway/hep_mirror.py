"""The Homer mirror: every SIP message and every RTCP report of our calls, by HEP3 to a collector (`[hep]`).

It never waits. What the socket does not take, and what cannot be sent while the collector's name is not known, is
counted and lost; a line in the log says so once a minute.
"""

import asyncio
import contextlib
import ipaddress
import re
import socket
import time
from collections.abc import Iterator

import structlog
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from ..sip.flow import Address, Flow
from ..sip.message import is_keepalive
from ..sip.redact import without_credentials
from .config_tables import HepConfig
from .hep import HepEncoder, HepError, Protocol, Seen, rtcp_json
from .messages import Fact, RtcpSeen
from .observer import Observer
from .record import CallRecord

log = structlog.get_logger(__name__)

RESOLVE_EVERY = 300.0
"""Seconds between look-ups of the collector's name."""
RESOLVE_RETRY = 10.0
COMPLAIN_EVERY = 60.0
"""Seconds between two lines about lost packets."""
_SEND_BUFFER = 1 << 20
_CALL_ID = re.compile(rb"^(?:call-id|i)[ \t]*+:[ \t]*+([^\r\n]*+)", re.IGNORECASE | re.MULTILINE)


class HepMirror(Observer):
    """Watches the switch. `start` in the running loop, `stop` behind the switch."""

    def __init__(self, config: HepConfig, node: str, rtp_bind: str) -> None:
        """`config` names a collector; `node` is this gateway's name there, `rtp_bind` where the RTP sockets are."""
        if config.collector is None:
            raise ValueError("no collector")
        self._collector = config.collector
        password = config.password.get_secret_value() if config.password is not None else None
        self._encoder = HepEncoder(config.capture_id, node, password)
        self._sources = LocalAddresses(rtp_bind)
        self._socket: socket.socket | None = None
        self._address: tuple[str, int] | None = None
        self._resolving: asyncio.Task[None] | None = None
        self._call_ids: dict[str, str] = {}
        """Call-ID of the dialog of each call that is not over."""
        self.sent = 0
        self.dropped = 0
        self._complained_at = -COMPLAIN_EVERY
        self._complained_of = 0

    def __repr__(self) -> str:
        return f"<HepMirror {self._collector} sent={self.sent} dropped={self.dropped}>"

    async def start(self) -> None:
        """Find the collector, without waiting for it."""
        self._resolving = asyncio.create_task(self._keep_resolved(), name="HEP collector")

    async def stop(self) -> None:
        """Idempotent."""
        if self._resolving is not None:
            self._resolving.cancel()
            await asyncio.gather(self._resolving, return_exceptions=True)
            self._resolving = None
        self._close()

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = self._address = None

    # The collector

    async def _keep_resolved(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                found = await loop.getaddrinfo(self._collector.host, self._collector.port, type=socket.SOCK_DGRAM)
                family, _, _, _, address = found[0]
                self._use(family, (str(address[0]), self._collector.port))
            except (OSError, UnicodeError) as error:
                log.warning("the HEP collector is not found", collector=str(self._collector), reason=str(error))
                await asyncio.sleep(RESOLVE_RETRY)
            else:
                await asyncio.sleep(RESOLVE_EVERY)

    def _use(self, family: int, address: tuple[str, int]) -> None:
        if address == self._address:
            return
        opened = socket.socket(family, socket.SOCK_DGRAM)
        try:
            opened.setblocking(False)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            opened.connect(address)
        except OSError:
            opened.close()
            raise
        self._close()
        self._socket, self._address = opened, address
        log.info("SIP and RTCP are mirrored by HEP", collector=str(self._collector), address=address[0])

    # What is mirrored

    def on_sip(self, received: bool, flow: Flow, local: Address, data: bytes) -> None:
        if is_keepalive(data):
            return
        far_end = Address(flow.host, flow.port)
        source, destination = (far_end, local) if received else (local, far_end)
        payload = without_credentials(data)
        named = _CALL_ID.search(payload)
        call_id = named[1].strip().decode("utf-8", "replace") if named is not None else None
        self._send(Seen(Protocol.SIP, flow.reliable, source, destination, time.time(), payload, call_id))

    def on_fact(self, call_id: str, fact: Fact) -> None:
        if not isinstance(fact, RtcpSeen):
            return
        payload = rtcp_json(fact.data)
        if payload is None:
            return
        far_end = Address(fact.remote_host, fact.remote_port)
        local = Address(self._sources.towards(fact.remote_host), fact.local_port)
        source, destination = (far_end, local) if fact.received else (local, far_end)
        self._send(Seen(Protocol.RTCP_JSON, False, source, destination, fact.at, payload, self._call_ids.get(call_id)))

    def on_record(self, record: CallRecord) -> None:
        if record.ended_at is not None and record.id in self._call_ids:
            # the last word on the media, RTCP BYE among it, was before this
            del self._call_ids[record.id]
        elif record.ended_at is None and record.sip_call_id is not None:
            self._call_ids[record.id] = record.sip_call_id

    def _send(self, seen: Seen) -> None:
        try:
            packet = self._encoder.encode(seen)
        except HepError as error:
            self._drop(str(error))
            return
        if self._socket is None:
            self._drop("its address is not known")
            return
        try:
            try:
                self._socket.send(packet)
            except ConnectionRefusedError:
                # said of the packet before this one
                self._drop("it does not listen")
                self._socket.send(packet)
        except OSError as error:
            self._drop("the socket is full" if isinstance(error, BlockingIOError) else error.strerror or str(error))
        else:
            self.sent += 1

    def _drop(self, reason: str) -> None:
        self.dropped += 1
        now = time.monotonic()
        if now - self._complained_at >= COMPLAIN_EVERY:
            dropped = self.dropped - self._complained_of
            self._complained_at, self._complained_of = now, self.dropped
            log.warning("HEP packets are lost", collector=str(self._collector), reason=reason, count=dropped)


class HepCounters(Collector):
    """The mirror's own figures."""

    def __init__(self, mirror: HepMirror) -> None:
        self._mirror = mirror

    def describe(self) -> list[Metric]:
        """Nothing beforehand."""
        return []

    def collect(self) -> Iterator[Metric]:
        """One family."""
        family = CounterMetricFamily("trunkline_hep_packets", "Packets to the Homer collector.", labels=("result",))
        family.add_metric(("sent",), self._mirror.sent)
        family.add_metric(("dropped",), self._mirror.dropped)
        yield family


class LocalAddresses:
    """Our own address towards a far end, of sockets that are bound to `bind`."""

    def __init__(self, bind: str) -> None:
        self._bind: str | None = bind
        with contextlib.suppress(ValueError):
            self._bind = None if ipaddress.ip_address(bind).is_unspecified else bind
        self._known: dict[str, str] = {}

    def towards(self, host: str) -> str:
        """Numeric. Asks the kernel's routes; connecting a UDP socket sends nothing."""
        if self._bind is not None:
            return self._bind
        known = self._known.get(host)
        if known is None:
            if len(self._known) > 1000:
                self._known.clear()
            known = self._known[host] = _route_to(host)
        return known


def _route_to(host: str) -> str:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "::1" if family == socket.AF_INET6 else "127.0.0.1"
