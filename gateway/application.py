"""`trunkline run`: everything up, signals, everything down.

SIGTERM or one SIGINT drains: new calls are refused with 503, running ones may finish for `drain_s`, then they are hung
up, the trunks de-register and the process exits with 0. A second SIGINT ends at once.
"""

import asyncio
import os
import signal

import structlog
import uvloop

from ..sip.errors import SipError
from .config import Config
from .errors import GatewayError
from .http import AdminServer
from .notify import notify
from .records import RecordStore
from .switch import Switch

log = structlog.get_logger(__name__)

INTERRUPTED = 130
"""Exit status after the second SIGINT, as shells report it."""


class StopSignals:
    """Turns signals into one event; the second SIGINT leaves at once."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)

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
        self.http = AdminServer(config.http, self.switch, self.records)

    async def start(self) -> None:
        """Raises GatewayError or SipError when a part cannot start; what had started is stopped again."""
        try:
            await self.records.start()
            await self.switch.start()
            await self.http.start()
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
    await application.start()
    signals = StopSignals()
    notify("READY=1", "STATUS=taking calls")
    await signals.asked.wait()
    notify("STOPPING=1")
    await application.switch.drain(config.gateway.drain_s)
    await application.stop()
    log.info("gateway has stopped")


def run(config: Config) -> int:
    """Run until told to stop; the exit status."""
    try:
        uvloop.run(_serve(config))
    except (GatewayError, SipError) as error:
        log.error("gateway cannot start", reason=str(error))
        return 1
    return 0
