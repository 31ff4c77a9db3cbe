"""`trunkline run`: everything up, signals, everything down.

SIGTERM or one SIGINT drains: new calls are refused with 503, running ones may finish for `drain_s`, then they are hung
up, the trunks de-register and the process exits with 0. A second SIGTERM ends the drain, a second SIGINT the process.
SIGHUP reads the configuration again (reload.py), and tries trunks that are down now, without waiting for their
back-off: after a password was put right at the carrier, say.
"""

import asyncio
import contextlib
import os
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog
import uvloop

from ..sip.errors import SipError
from .alerts.gauges import AlertGauges
from .alerts.service import AlertService
from .alerts.state import LiveState
from .config import Config, load_config
from .console.pages import Console
from .console.watch import CallWatch
from .errors import CallRefused, ConfigError, GatewayError
from .flight.recorder import FlightCounters, FlightRecorder
from .flight.store import flight_store
from .gauges import RecordsGauges
from .hep_mirror import HepCounters, HepMirror
from .http import AdminServer
from .logs import configure_logs
from .observer import Observer
from .quality_reporter import QualityReportCounters, QualityReporter
from .records import RecordStore
from .reload import Reload, plan
from .service import Service
from .switch import Switch

log = structlog.get_logger(__name__)

INTERRUPTED = 130
"""Exit status after the second SIGINT, as shells report it."""


class StopSignals:
    """Turns signals into events; the second SIGINT leaves at once."""

    def __init__(self, on_hang_up: Callable[[], None]) -> None:
        self.asked = asyncio.Event()
        self.insisted = asyncio.Event()
        """A second SIGTERM: calls are not to be waited for."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        loop.add_signal_handler(signal.SIGHUP, on_hang_up)

    def _on_signal(self, number: signal.Signals) -> None:
        if self.asked.is_set() and number == signal.SIGINT:
            os._exit(INTERRUPTED)
        if self.asked.is_set():
            self.insisted.set()
        self.asked.set()


class Application:
    """The gateway's parts in the order in which they start; they stop in the reverse order."""

    def __init__(self, config: Config, file: Path | None = None) -> None:
        """`file` is where the configuration comes from, and where a reload looks again."""
        self.config = config
        self.records = RecordStore(config.records_url, state_dir=config.gateway.state_dir, gateway=config.gateway.name)
        watch = CallWatch()
        observers: list[Observer] = [watch]
        self.mirror = HepMirror(config.hep, config.gateway.name, config.rtp.bind) if config.hep.collector else None
        if self.mirror is not None:
            observers.append(self.mirror)
        self.flight = FlightRecorder(config.flight, flight_store(config), config.gateway.name)
        observers.append(self.flight)
        self.reporter = QualityReporter(config) if config.quality_report.collector else None
        if self.reporter is not None:
            observers.append(self.reporter)
        self.alerts = AlertService(config)
        observers.append(self.alerts)
        self.switch = Switch(config, self.records, observers)
        self.switch.metrics.watch(RecordsGauges(self.records))
        self.switch.metrics.watch(AlertGauges(self.alerts))
        self.switch.metrics.watch(FlightCounters(self.flight))
        if self.mirror is not None:
            self.switch.metrics.watch(HepCounters(self.mirror))
        if self.reporter is not None:
            self.reporter.start(self.switch)
            self.switch.metrics.watch(QualityReportCounters(self.reporter.counts))
        console = Console(
            config.http,
            config.gateway.name,
            config.gateway.recordings_dir,
            self.switch,
            self.records,
            watch,
            alerts=self.alerts,
            ladder=self.flight,
        )
        self.http = AdminServer(config.http, self.switch, self.records, self.reload, console, self.alerts, self.flight)
        self.service = Service(self.switch, remarks=self._remarks)
        self._file = file

    async def start(self) -> None:
        """Raises GatewayError or SipError when a part cannot start; what had started is stopped again."""
        try:
            await self.records.start()
            await self.flight.start()
            # after the records: they hold the lock of the state directory
            await self.alerts.start(self.switch, LiveState(self.switch, self.records, self.alerts.faults))
            # before the switch: what cannot be bound is found before the trunks send calls
            await self.http.start()
            if self.mirror is not None:
                await self.mirror.start()
            await self.switch.start()
            self.alerts.watch()
        except BaseException:
            await self.stop()
            raise

    def reload(self) -> Reload:
        """Read the file again and use what has changed (reload.py). Raises ConfigError when it cannot be used, and
        CallRefused when the gateway is not up: the running configuration stays."""
        if self._file is None:
            raise CallRefused(409, "this gateway was not started from a configuration file")
        if not self.switch.up:
            raise CallRefused(503, "the gateway is starting or stopping")
        self.service.begin_reload()
        refused: str | None = "it failed; the log says why"
        try:
            outcome = plan(self.config, load_config(self._file))
            self._use(outcome)
            refused = None
        except ConfigError as error:
            refused = error.problems[0]
            log.error("reload refused, the running configuration stays", problems=error.problems)
            raise
        finally:
            self.service.end_reload(refused)
        return outcome

    def _remarks(self) -> Iterator[str]:
        """What the status line says besides the calls."""
        if self.alerts.open_alerts:
            yield f"{self.alerts.open_alerts} open alert{'' if self.alerts.open_alerts == 1 else 's'}"
        health = self.records.health
        if not health.writable:
            yield f"call records cannot be written: {health.reason}"
        if self.flight.trouble is not None:
            yield f"bad calls cannot be kept: {self.flight.trouble}"
        yield from self.alerts.troubles()

    def _use(self, outcome: Reload) -> None:
        # first, since it alone can still refuse
        self.alerts.reload(outcome.config)
        logs_before, self.config = self.config.gateway, outcome.config
        self.switch.reload(outcome.config)
        logs = outcome.config.gateway
        if (logs.log_level, logs.log_format) != (logs_before.log_level, logs_before.log_format):
            configure_logs(logs)
        log.info("configuration reloaded", changed=outcome.changed)
        if outcome.restart:
            log.warning("changes wait for a restart", keys=outcome.restart)

    def hang_up_signal(self) -> None:
        """SIGHUP: reload, and try again what is down."""
        try:
            self.reload()
        except ConfigError:
            return
        except CallRefused as refused:
            log.warning("no reload", reason=refused.reason)
            return
        self.switch.retry_trunks()

    async def stop(self) -> None:
        """Idempotent."""
        await self.http.stop()
        await self.alerts.stop()
        await self.switch.stop()
        await self.flight.close()
        if self.reporter is not None:
            await self.reporter.stop()
        if self.mirror is not None:
            await self.mirror.stop()
        await self.records.close()


async def _serve(config: Config, file: Path) -> None:
    application = Application(config, file)
    service = application.service
    signals = StopSignals(application.hang_up_signal)
    telling: asyncio.Task[None] | None = None
    if await _started(application, signals):
        telling = asyncio.create_task(service.run(), name="service manager")
        await signals.asked.wait()
    drain_s = application.config.gateway.drain_s
    service.begin_stop(drain_s)
    await _drained(application, drain_s, signals)
    service.end_drain()
    await application.stop()
    if telling is not None:
        telling.cancel()
    log.info("gateway has stopped")


async def _drained(application: Application, seconds: float, signals: StopSignals) -> None:
    """Return when the calls are over, their time is, or a second signal came."""
    drain = asyncio.create_task(application.switch.drain(seconds))
    insisted = asyncio.create_task(signals.insisted.wait())
    await asyncio.wait({drain, insisted}, return_when=asyncio.FIRST_COMPLETED)
    for task in (drain, insisted):
        task.cancel()


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
        uvloop.run(_serve(config, file))
    except (GatewayError, SipError) as error:
        log.error("gateway cannot start", reason=str(error), file=str(file))
        return 2 if isinstance(error, ConfigError) else 1
    return 0
