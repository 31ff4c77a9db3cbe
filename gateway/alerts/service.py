"""The alert service: what the rest of the gateway has of the alerts. It turns them on and off, hears what happens to
calls for the engine, looks at it once a second, and answers the console, the admin API and the command line."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import aiohttp
import structlog

from ..config import Config
from ..errors import AlertRefused
from ..ids import new_call_id
from ..messages import Fact, WorkerStatus
from ..observer import Observer
from ..record import CallRecord
from .alert import Alert
from .channels.base import Channel, Delivery
from .channels.config import ChannelConfig
from .channels.context import ChannelContext
from .channels.registry import make_channel
from .channels.telephone import Dial
from .deliveries import ChannelTest
from .desk import AlertDesk, utc_now
from .engine import AlertEngine
from .heartbeat import Heartbeat
from .ladder import rfc3339
from .rules_config import RulesConfig
from .state import GatewayState

LOOK_EVERY_S = 1.0
BLIND_AFTER_S = 15.0
"""With the rules not looked at for so long the gateway counts as sick."""

log = structlog.get_logger(__name__)


class Gateway(Dial, Protocol):
    """What is asked of the switch."""

    def stalled(self, now: float) -> str | None:
        """Why a media clock does not tick, None while all do."""
        ...


class AlertService(Observer):
    """`start`, `watch`, `reload`, `stop`. What is asked of it may raise AlertRefused."""

    def __init__(
        self,
        config: Config,
        *,
        make_engine: Callable[[RulesConfig, GatewayState], AlertEngine] = AlertEngine,
        make: Callable[[str, ChannelConfig, ChannelContext], Channel] = make_channel,
    ) -> None:
        self.heartbeat: Heartbeat | None = None
        self._config = config.alerts
        self._name = config.gateway.name
        self._state_dir: Path = config.gateway.state_dir
        self._make_engine = make_engine
        self._make = make
        self._desk: AlertDesk | None = None
        self._channels: dict[str, Channel] = {}
        self._gateway: Gateway | None = None
        self._state: GatewayState | None = None
        self._session: aiohttp.ClientSession | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._turning: asyncio.Task[None] | None = None
        self._watching = False

    def __repr__(self) -> str:
        return f"<AlertService {'on' if self._desk else 'off'} open={self.open_alerts}>"

    # Life

    async def start(self, gateway: Gateway, state: GatewayState) -> None:
        """Take up what is stored, and deliver what was not. Raises GatewayError when a channel cannot be made."""
        self._gateway, self._state = gateway, state
        if self._config.enabled:
            await self._turn_on(self._made(self._config.channels, self._config.console_url, {}))

    def watch(self) -> None:
        """The gateway is up: look at the rules from now on, and send heartbeats."""
        self._watching = True
        if self._desk is not None:
            self._look_at(self._desk)

    def reload(self, config: Config) -> None:
        """Another configuration from now on. Raises GatewayError when a channel cannot be made; then nothing has
        changed. Turning alerts on or off goes on after this returns."""
        before, wanted = self._config, config.alerts
        kept = {}
        if before.enabled and before.console_url == wanted.console_url:
            kept = {
                name: channel
                for name, channel in self._channels.items()
                if before.channels.get(name) == wanted.channels.get(name)
            }
        channels = self._made(wanted.channels, wanted.console_url, kept) if wanted.enabled else {}
        self._config = wanted
        if before.enabled and wanted.enabled and self._desk is not None:
            self._channels = channels
            self._desk.use(wanted, channels, self._ringing)
            if self._tasks and (before.heartbeat_url, before.heartbeat_s) != (wanted.heartbeat_url, wanted.heartbeat_s):
                self._beat()
        else:
            self._turning = asyncio.create_task(self._turn(self._turning, channels))

    async def stop(self) -> None:
        """Idempotent. What is not delivered goes out after the next start."""
        if self._turning is not None:
            await self._turning
        await self._turn_off()
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _turn(self, earlier: "asyncio.Task[None] | None", channels: dict[str, Channel]) -> None:
        if earlier is not None:
            await earlier
        try:
            await self._turn_off()
            if self._config.enabled:
                await self._turn_on(channels)
        except Exception:  # top frame: the gateway goes on without alerts, and says so in /readyz
            log.exception("alerts cannot be turned on or off")

    async def _turn_on(self, channels: dict[str, Channel]) -> None:
        if self._state is None:
            return
        desk = AlertDesk(self._config, self._make_engine(self._config.rules, self._state), self._state_dir)
        self._channels = channels
        try:
            await desk.start(channels, self._ringing)
        except BaseException:
            await desk.stop()
            raise
        self._desk = desk
        if self._watching:
            self._look_at(desk)
        log.debug("alerts are on", channels=sorted(channels), on_call=[rung.name for rung in self._config.on_call])

    async def _turn_off(self) -> None:
        desk, self._desk = self._desk, None
        tasks, self._tasks, self.heartbeat = self._tasks, [], None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if desk is not None:
            await desk.stop()
        self._channels = {}

    def _look_at(self, desk: AlertDesk) -> None:
        self._tasks = [asyncio.create_task(self._look(desk), name="alerts")]
        self._beat()

    async def _look(self, desk: AlertDesk) -> None:
        faults = 0
        while True:
            try:
                desk.look()
                faults = 0
            except Exception:  # top frame: a fault in one look is no reason to be blind for ever
                faults += 1
                if faults in (1, 60):
                    log.exception("the rules of alerts failed", times=faults)
            await asyncio.sleep(LOOK_EVERY_S)

    def _beat(self) -> None:
        """Begin the heartbeat of this configuration, in the place of the one before."""
        for task in self._tasks[1:]:
            task.cancel()
        self._tasks, self.heartbeat = self._tasks[:1], None
        url = self._config.heartbeat_url
        if url is not None:
            self.heartbeat = Heartbeat(url, self._config.heartbeat_s, self._http, self._sick)
            self._tasks.append(asyncio.create_task(self.heartbeat.run(), name="heartbeat"))

    def _sick(self) -> str | None:
        now = time.monotonic()
        if self._desk is None or now - self._desk.looked_at > BLIND_AFTER_S:
            return "the rules of alerts are not looked at"
        return None if self._gateway is None else self._gateway.stalled(now)

    # Channels

    def _made(
        self, wanted: Mapping[str, ChannelConfig], console_url: str | None, kept: Mapping[str, Channel]
    ) -> dict[str, Channel]:
        context = ChannelContext(gateway=self._name, console_url=console_url, http=self._http, dial=self._gateway)
        return {
            name: kept[name] if name in kept else self._make(name, table, context) for name, table in wanted.items()
        }

    @property
    def _ringing(self) -> set[str]:
        return {name for name, table in self._config.channels.items() if table.kind == "telephone"}

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        return self._session

    # What is asked

    @property
    def open_alerts(self) -> int:
        """How many alerts are firing or acknowledged."""
        return 0 if self._desk is None else len(self._desk.engine.alerts)

    def list(self, state: str = "open", limit: int = 50) -> list[Alert]:
        """The newest alerts first: those that are not resolved (`open`), or those and the last 500 resolved (`all`)."""
        return sorted(self._known(state == "all").values(), key=lambda alert: alert.id, reverse=True)[:limit]

    def get(self, alert_id: str) -> Alert:
        """One alert, open or of the last 500. Raises AlertRefused (404)."""
        alert = self._known(True).get(alert_id)
        if alert is None:
            raise AlertRefused(404, f"there is no alert {alert_id}")
        return alert

    async def acknowledge(self, alert_id: str, by: str) -> Alert:
        """Somebody owns it: nobody else is woken. Returns when it is stored; again is no error, the first owner stays.
        Raises AlertRefused (404 unknown, 409 resolved already)."""
        return await self._working().acknowledge(alert_id, by)

    async def test(self, channel: str) -> ChannelTest:
        """Send a test over one channel and say what happened. Raises AlertRefused (404 no such channel)."""
        desk = self._working()
        if channel not in self._channels:
            known = ", ".join(sorted(self._channels)) or "none"
            raise AlertRefused(404, f"there is no channel {channel!r}; use one of: {known}")
        try:
            return await desk.deliveries.test(_test_of(channel, self._name))
        except asyncio.CancelledError:
            if self._desk is desk and channel in self._channels:
                raise
            raise AlertRefused(409, f"channel {channel!r} went away while it was tested") from None

    def troubles(self) -> Sequence[str]:
        """Why alerts are not safe on disk; empty while they are."""
        if self._desk is None:
            return []
        health = self._desk.journal.health
        return [] if health.writable else [f"alerts cannot be stored: {health.reason}"]

    def faults(self) -> Sequence[str]:
        """Why alerts do not arrive, or would not outlive a restart."""
        if self._desk is None:
            return []
        failing = self._desk.deliveries.troubles()
        return [*(f"alert channel {name} fails: {why}" for name, why in failing.items()), *self.troubles()]

    def parts(self) -> dict[str, str]:
        """How each part stands, as /readyz tells it."""
        if self._desk is None:
            return {"alerts": "off"}
        failing = {f"alert channel {name}": f"failing: {why}" for name, why in self._desk.deliveries.troubles().items()}
        heartbeat = {} if self.heartbeat is None else {"heartbeat": self.heartbeat.trouble or "sent"}
        return {"alerts": f"{self.open_alerts} open"} | failing | heartbeat

    @property
    def desk(self) -> AlertDesk | None:
        """The parts at work; None while alerts are off."""
        return self._desk

    def _known(self, history: bool) -> dict[str, Alert]:
        if self._desk is None:
            return {}
        open_alerts = {alert.id: alert for alert in self._desk.engine.alerts}
        return self._desk.journal.kept.alerts | open_alerts if history else open_alerts

    def _working(self) -> AlertDesk:
        if self._desk is None:
            raise AlertRefused(409, "alerts are off; set [alerts] enabled = true")
        return self._desk

    # What the switch tells (Observer)

    def on_record(self, record: CallRecord) -> None:
        """For the engine."""
        if self._desk is not None:
            self._desk.engine.on_record(record)

    def on_fact(self, call_id: str, fact: Fact) -> None:
        """For the engine."""
        if self._desk is not None:
            self._desk.engine.on_fact(call_id, fact)

    def on_worker_status(self, worker: str, status: WorkerStatus) -> None:
        """For the engine."""
        if self._desk is not None:
            self._desk.engine.on_worker_status(worker, status)

    def on_worker_lost(self, worker: str) -> None:
        """For the engine."""
        if self._desk is not None:
            self._desk.engine.on_worker_lost(worker)

    def on_loop_lag(self, seconds: float) -> None:
        """For the engine."""
        if self._desk is not None:
            self._desk.engine.on_loop_lag(seconds)


def _test_of(channel: str, gateway: str) -> Delivery:
    now = rfc3339(utc_now())
    alert = Alert(
        id=new_call_id(),
        rule="test",
        subject="gateway",
        severity="page",
        summary=f"Test of alert channel {channel} by gateway {gateway}: nothing is wrong",
        started_at=now,
        updated_at=now,
    )
    return Delivery(id=new_call_id(), alert=alert, action="test", channel=channel, created_at=now)
