"""A media worker: legs, their sockets and one clock, under the switch's orders.

As a process: `python -m trunkline.gateway.media.worker FD`, orders and facts over the inherited stream socket; it ends
when that closes. With `workers = 0` a `LocalWorker` runs the same `MediaWorker` on the switch's own loop.
"""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random, SystemRandom
from typing import Any, cast

import aiohttp
import msgspec
import structlog
import uvloop
from pydantic import ValidationError

from ...codecs.errors import CodecError
from ...rtp.errors import RtpError
from ...rtp.ports import PortRange
from ...rtp.transport import RtpTransport
from ..bridges._announcement import AnnouncementBridge
from ..bridges.base import AgentConfig, Bridge, BridgeError, CallContext, load
from ..config_tables import GatewayConfig
from ..flight.packing import Packing
from ..logs import configure_logs
from ..loop_lag import LoopLag
from ..messages import (
    ANNOUNCEMENT,
    Answered,
    CallerKey,
    CloseLeg,
    Configure,
    Fact,
    LegClosed,
    LegFailed,
    LegOpened,
    OpenLeg,
    Order,
    SendDtmf,
    SetMedia,
    Shutdown,
    WorkerReady,
    WorkerStatus,
    encode,
    order_framer,
)
from ..record import MediaReport
from .clock import MediaClock
from .convert import preferred_format
from .functions import Functions
from .lateness import Lateness
from .leg import MediaLeg

log = structlog.get_logger(__name__)

STATUS_INTERVAL = 1.0
RETRY_AFTER_S = 5
"""What a caller is told when all ports are taken."""
CLOSE_TIMEOUT = 2.5
"""Seconds for legs to take leave at shutdown; the switch waits three."""


class MediaWorker:
    """Carries legs. `handle` takes orders, `on_fact` is told what happens; both on the loop that runs it."""

    def __init__(self, on_fact: Callable[[Fact], None], random: Random | None = None) -> None:
        self._on_fact = on_fact
        self._random = random or SystemRandom()  # SSRC and first numbers are not to be guessed
        self._clock = MediaClock()
        self._lag = LoopLag(self._lagged)
        self._lag_max = 0.0
        self._lateness = Lateness(self._clock.late_max_ms)
        self._legs: dict[str, MediaLeg] = {}
        self._agents: dict[str, AgentConfig] = {}
        self._agent_problems: dict[str, str] = {}
        self._ports: PortRange | None = None
        self._port_range: tuple[int, int] | None = None
        self._bind_host = ""
        self._recordings = Path()
        self._rtcp = False
        self._flight_octets = 0
        self._packing = Packing()
        self._closing: set[asyncio.Task[None]] = set()
        self._http: aiohttp.ClientSession | None = None
        """For the functions of agents."""
        self._status: asyncio.TimerHandle | None = None
        self.done = asyncio.Event()
        """Set after Shutdown, when the last leg is gone."""
        self._orders: dict[type, Callable[[Any], None]] = {
            Configure: self._configure,
            OpenLeg: self._open,
            SetMedia: self._set_media,
            Answered: self._answered,
            CloseLeg: self._close,
            SendDtmf: self._send_dtmf,
            CallerKey: self._caller_key,
            Shutdown: self._shut_down,
        }

    def __repr__(self) -> str:
        return f"<MediaWorker legs={len(self._legs)} {self._clock!r}>"

    def start(self) -> None:
        """Start the clock. It reports for duty when it is configured: loading what the agents need can take seconds."""
        self._clock.start()
        self._lag.start()
        self._status = asyncio.get_running_loop().call_later(STATUS_INTERVAL, self._tell_status)

    async def stop(self) -> None:
        """Close every leg and stop the clock; idempotent."""
        if self._status is not None:
            self._status.cancel()
        self._lag.stop()
        for call_id in list(self._legs):
            self._close(CloseLeg(call_id))
        if self._closing:
            await asyncio.wait(self._closing, timeout=CLOSE_TIMEOUT)
        if self._http is not None:
            await self._http.close()
        self._clock.stop()
        self.done.set()

    def handle(self, order: Order) -> None:
        """Carry out one order. Never raises: what goes wrong becomes a fact about the leg, and a log line."""
        call_id = getattr(order, "call_id", None)
        try:
            self._orders[type(order)](order)
        except Exception as error:  # top frame of every order: one call's trouble stays that call's
            log.exception("order failed", order=type(order).__name__, call=call_id)
            if call_id is not None:
                self._on_fact(LegFailed(call_id, 500, f"{type(order).__name__} failed: {type(error).__name__}"))

    # Orders

    def _configure(self, order: Configure) -> None:
        self._agents, self._agent_problems = {}, {}
        for name, table in order.agents.items():
            self._take_agent(name, table)
        if self._port_range != (order.port_first, order.port_last):
            self._port_range = (order.port_first, order.port_last)
            self._ports = PortRange(order.port_first, order.port_last, random=self._random)
        self._bind_host = order.bind_host
        self._recordings = Path(order.recordings_dir)
        self._rtcp = order.rtcp
        self._flight_octets = order.flight_octets
        self._on_fact(WorkerReady(os.getpid()))

    def _take_agent(self, name: str, table: dict[str, Any]) -> None:
        provider = table.get("provider")
        try:
            self._agents[name] = load(str(provider)).config.model_validate(table)
        except KeyError:
            self._agent_problems[name] = f"no speech service named {provider!r}"
        except ValidationError as error:
            where = "; ".join(
                f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
                for problem in error.errors(include_url=False, include_context=False, include_input=False)
            )
            self._agent_problems[name] = where
        if name in self._agent_problems:
            log.error("agent not usable", agent=name, reason=self._agent_problems[name])

    def _open(self, order: OpenLeg) -> None:
        if order.call_id in self._legs:
            log.warning("leg is open already", call=order.call_id)
            return
        config = self._agents.get(order.agent) if order.announcement is None else AgentConfig(provider=ANNOUNCEMENT)
        if config is None or self._ports is None:
            reason = self._agent_problems.get(order.agent, "not configured")
            self._on_fact(LegFailed(order.call_id, 503, f"agent {order.agent!r}: {reason}"))
            return
        try:
            transport = RtpTransport.open(self._ports, self._bind_host)
        except RtpError as error:
            self._on_fact(LegFailed(order.call_id, 503, str(error), RETRY_AFTER_S))
            return
        except OSError as error:
            reason = f"no RTP socket on {self._bind_host}: {error.strerror or error}"
            self._on_fact(LegFailed(order.call_id, 503, reason, RETRY_AFTER_S))
            return
        try:
            leg = self._leg(order, config, transport)
        except Exception as error:
            transport.close(time.monotonic())
            if not isinstance(error, CodecError | BridgeError):
                raise
            self._on_fact(LegFailed(order.call_id, 503, str(error)))
            return
        self._legs[order.call_id] = leg
        self._clock.add(leg)
        self._on_fact(LegOpened(order.call_id, transport.local_port))
        leg.start()

    def _leg(self, order: OpenLeg, config: AgentConfig, transport: RtpTransport) -> MediaLeg:
        context = CallContext(order.call_id, order.direction, order.from_, order.to, preferred_format(order.codec))
        return MediaLeg(
            order.call_id,
            order.codec,
            _bridge(order, config, context),
            transport,
            self._on_fact,
            self._random,
            patience_s=config.patience_s,
            recording=self._recordings / f"{order.call_id}.wav" if config.recording else None,
            functions=Functions(config.tools, context, self._http_session),
            lateness=self._lateness,
            rtcp=self._rtcp,
            flight_octets=self._flight_octets,
            packing=self._packing,
        )

    def _http_session(self) -> aiohttp.ClientSession:
        if self._http is None:
            self._http = aiohttp.ClientSession()
        return self._http

    def _set_media(self, order: SetMedia) -> None:
        leg = self._legs.get(order.call_id)
        if leg is None:
            return
        try:
            leg.set_media(order.parameters)
        except CodecError as error:
            leg.fail(488, str(error))

    def _answered(self, order: Answered) -> None:
        leg = self._legs.get(order.call_id)
        if leg is not None:
            leg.answered()

    def _send_dtmf(self, order: SendDtmf) -> None:
        leg = self._legs.get(order.call_id)
        if leg is not None:
            leg.send_dtmf(order.digits)

    def _caller_key(self, order: CallerKey) -> None:
        leg = self._legs.get(order.call_id)
        if leg is not None:
            leg.caller_key(order.digit)

    def _close(self, order: CloseLeg) -> None:
        leg = self._legs.pop(order.call_id, None)
        if leg is None:
            # refused before it was open: the switch still waits for the last word
            self._on_fact(LegClosed(order.call_id, MediaReport()))
            return
        self._clock.remove(leg)
        task = asyncio.create_task(leg.close(order.keep))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _shut_down(self, order: Shutdown) -> None:
        task = asyncio.create_task(self.stop())
        # its own set: stop() waits for the legs' tasks and must not wait for itself
        self._stopping = task

    def _lagged(self, seconds: float) -> None:
        self._lag_max = max(self._lag_max, seconds)

    def _tell_status(self) -> None:
        lag_ms, self._lag_max = self._lag_max * 1000, 0.0
        clock_late_ms = self._clock.take_late_max_ms()
        self._lateness.second(time.monotonic(), clock_late_ms, lag_ms)
        status = WorkerStatus(
            legs=len(self._legs),
            clock_late_max_ms=clock_late_ms,
            clock_skipped_ticks=self._clock.skipped_ticks,
            clock_ticks=self._clock.ticks,
            loop_lag_max_ms=lag_ms,
            cpu_s=time.process_time(),
        )
        self._on_fact(status)
        self._status = asyncio.get_running_loop().call_later(STATUS_INTERVAL, self._tell_status)


def _bridge(order: OpenLeg, config: AgentConfig, context: CallContext) -> Bridge:
    if order.announcement is not None:
        return AnnouncementBridge(order.announcement, context)
    return load(config.provider).bridge(config, context)


class LocalWorker(MediaWorker):
    """The worker of `workers = 0`, on the switch's own loop; `on_fact` may be called while an order is being given."""


class _SwitchLink(asyncio.Protocol):
    """The socket to the switch."""

    def __init__(self) -> None:
        self._framer = order_framer()
        self._transport: asyncio.WriteTransport | None = None
        self.worker = MediaWorker(self.send)
        self._configured = False
        self.closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's
        self._transport = cast(asyncio.WriteTransport, transport)
        self.worker.start()

    def data_received(self, data: bytes) -> None:
        while True:
            try:
                orders = self._framer.feed(data)
            except msgspec.DecodeError as error:
                log.error("order not understood", error=str(error))
            else:
                if not orders:
                    return
                for order in orders:
                    self._handle(order)
            data = b""

    def _handle(self, order: Order) -> None:
        if not isinstance(order, Configure):
            self.worker.handle(order)
            return
        # in a process of its own only: `workers = 0` has the switch's logs
        configure_logs(GatewayConfig.model_validate(order.gateway), worker=os.getpid())
        self.worker.handle(order)
        if not self._configured:
            self._configured = True
            # what the agents' services import stays as long as the process: the collector need not walk it, for 100 ms,
            # in the middle of calls. Only now, while there are none: what is frozen is never collected.
            gc.collect()
            gc.freeze()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()

    def send(self, fact: Fact) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(encode(fact))


def _configure_logs(table: dict[str, Any]) -> None:
    """This process logs as the switch does; by default until it says how."""
    try:
        config = GatewayConfig.model_validate(table)
    except ValidationError as error:
        log.error("log configuration not understood", problems=error.error_count())
    else:
        configure_logs(config, worker=os.getpid())


async def run(sock: socket.socket) -> None:
    """Carry legs until the switch says Shutdown or its socket closes."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        # a signal to the whole group is for the switch to decide on: calls may finish first
        loop.add_signal_handler(number, lambda: None)
    sock.setblocking(False)
    transport, link = await loop.create_unix_connection(_SwitchLink, sock=sock)
    waits = {asyncio.create_task(link.closed.wait()), asyncio.create_task(link.worker.done.wait())}
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    await link.worker.stop()
    transport.close()


def main() -> None:
    """`python -m trunkline.gateway.media.worker FD`."""
    if len(sys.argv) != 2 or not sys.argv[1].isdigit():
        sys.exit("usage: python -m trunkline.gateway.media.worker FD (started by `trunkline run`)")
    _configure_logs({})
    with socket.socket(fileno=int(sys.argv[1])) as sock, contextlib.suppress(KeyboardInterrupt):
        uvloop.run(run(sock))


if __name__ == "__main__":
    main()
