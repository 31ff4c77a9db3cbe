"""`trunkline run`: everything up, signals, everything down.

SIGTERM or one SIGINT drains: new calls are refused with 503, running ones may finish for `drain_s`, then they are hung
up, the trunks de-register and the process exits with 0. A second SIGINT ends at once. SIGHUP tries trunks that are down
again now, without waiting for their back-off: after a password was put right at the carrier, say.
"""

import asyncio
import contextlib
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import structlog
import uvloop

from ..sip.errors import SipError
from .config import Config
from .errors import GatewayError
from .gauges import RecordsGauges
from .http import AdminServer
from .notify import notify
from .records import RecordStore
from .switch import Switch

log = structlog.get_logger(__name__)

INTERRUPTED = 130
"""Exit status after the second SIGINT, as shells report it."""


class StopSignals:
    """Turns signals into one event; the second SIGINT leaves at once."""

    def __init__(self, on_hang_up: Callable[[], None]) -> None:
        self.asked = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        loop.add_signal_handler(signal.SIGHUP, on_hang_up)

    def _on_signal(self, number: signal.Signals) -> None:
        if self.asked.is_set() and number == signal.SIGINT:
            os._exit(INTERRUPTED)
        self.asked.set()


class Application:
    """The gateway's parts in the order in which they start; they stop in the reverse order."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.records = RecordStore(config.records_url, state_dir=config.gateway.state_dir, gateway=config.gateway.name)
        self.switch = Switch(config, self.records)
        self.switch.metrics.watch(RecordsGauges(self.records))
        self.http = AdminServer(config.http, self.switch, self.records)

    async def start(self) -> None:
        """Raises GatewayError or SipError when a part cannot start; what had started is stopped again."""
        try:
            await self.records.start()
            # before the switch: what cannot be bound is found before the trunks send calls
            await self.http.start()
            await self.switch.start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Idempotent."""
        await self.http.stop()
        await self.switch.stop()
        await self.records.close()


async def _serve(config: Config) -> None:
    application = Application(config)
    signals = StopSignals(application.switch.retry_trunks)
    if await _started(application, signals):
        notify("READY=1", "STATUS=taking calls")
        await signals.asked.wait()
    notify("STOPPING=1")
    await application.switch.drain(config.gateway.drain_s)
    await application.stop()
    log.info("gateway has stopped")


async def _started(application: Application, signals: StopSignals) -> bool:
    """True once the gateway is up; False when it was told to stop before that."""
    start = asyncio.create_task(application.start())
    asked = asyncio.create_task(signals.asked.wait())
    await asyncio.wait({start, asked}, return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    if not start.done():
        start.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await start
        return False
    start.result()
    return True


def _allow_many_files() -> None:
    """A call takes three descriptors and a TCP phone one; the usual soft limit of 1024 is there for select()."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def run(config: Config, file: Path) -> int:
    """Run until told to stop; the exit status. `file` is where the configuration comes from."""
    _allow_many_files()
    try:
        uvloop.run(_serve(config))
    except (GatewayError, SipError) as error:
        log.error("gateway cannot start", reason=str(error), file=str(file))
        return 1
    return 0
