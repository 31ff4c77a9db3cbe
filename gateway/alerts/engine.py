"""The built-in alert engine: it hears what happens to calls, looks once a second, and says what fired, changed, ended.

engine = AlertEngine(config.alerts.rules, LiveState(switch, records, faults))
engine.restore(alerts that were open when the process ended)
engine.poll(time.monotonic())      # about once a second
for alert in engine.changes(): …   # to be stored and told

Rules (rules*.py) count and assess, the arbiter (arbiter.py) makes alerts of that. Memory is bounded by the trunks and
agents of the configuration, the calls that are up, and constants.
"""

import time
from collections.abc import Callable, Iterable

from ..call import timestamp
from ..call_meter import SERVICE_REFUSED
from ..ids import new_call_id
from ..messages import Fact, LegClosed, LegCounts, LegFailed, LegReady, LegStatus, SliceEnded, WorkerStatus
from ..observer import Observer
from ..record import CallRecord, MediaReport
from .alert import ALERT_AGENT, Alert
from .arbiter import Arbiter
from .host_seconds import HostSeconds
from .open_alerts import OpenAlerts
from .rules import GATEWAY, Rule, agents_of, trunks_of
from .rules_audio import Echo, OneWayAudio, Quality
from .rules_calls import CallFailures, FirstAudio, ProviderErrors, TurnLatency
from .rules_config import RulesConfig
from .rules_gateway import Alerting, Host, Records, TrunkDown
from .state import GatewayState
from .symptoms import SymptomLog
from .watched_call import WatchedCall


class AlertEngine(Observer):
    """Sans-IO: monotonic times are given, the wall clock is only read for the timestamps of alerts."""

    def __init__(
        self,
        rules: RulesConfig,
        state: GatewayState,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        timestamp: Callable[[], str] = timestamp,
        new_id: Callable[[], str] = new_call_id,
    ) -> None:
        """`monotonic` dates what an observer hears; `timestamp` is the wall clock, RFC 3339; `new_id` gives UUIDv7."""
        self._config = rules
        self._state = state
        self._monotonic = monotonic
        self._calls: dict[str, WatchedCall] = {}
        self._log = SymptomLog(rules)
        self._open = OpenAlerts(timestamp, new_id)
        self._arbiter = Arbiter(rules, self._open, self._log)
        host = HostSeconds(rules.host)
        self._rules: list[Rule] = [
            # what is said more exactly goes first: bad quality of the same slices is folded into it
            OneWayAudio(rules, self._log),
            Echo(rules, self._log),
            Quality(rules, self._log),
            CallFailures(rules),
            TurnLatency(rules, host),
            FirstAudio(rules, host),
            ProviderErrors(rules),
            TrunkDown(rules),
            Records(rules),
            Alerting(rules),
            Host(rules, host),
        ]

    def __repr__(self) -> str:
        return f"<AlertEngine open={len(self.alerts)} calls={len(self._calls)}>"

    # What its owner asks

    @property
    def alerts(self) -> list[Alert]:
        """Those that are open (firing or acknowledged), the oldest first, with their latest figures."""
        return self._open.alerts

    def restore(self, alerts: Iterable[Alert]) -> None:
        """Take back what was open when the process ended, before the first `poll`. An alert that is still true stays
        the same one; one that is not resolves after its hold, one without a rule or subject any more at the first
        poll."""
        self._arbiter.restore(alerts)

    def use(self, rules: RulesConfig) -> None:
        """Other rules from the next poll on (a reload). What was counted stays where the windows are the same; alerts
        of rules, trunks and agents that went away resolve."""
        self._config = rules
        self._log.use(rules)
        self._arbiter.use(rules)
        for rule in self._rules:
            rule.use(rules)

    def poll(self, now: float) -> None:
        """Look at every rule; about once a second."""
        known = {GATEWAY, *trunks_of(self._state), *agents_of(self._state)}
        self._log.forget_others(known)
        for rule in self._rules:
            rule.forget_others(known)
        enabled = [rule for rule in self._rules if rule.name not in self._config.disabled]
        self._arbiter.look([item for rule in enabled for item in rule.assess(self._state, now)], now)

    def changes(self) -> list[Alert]:
        """What fired, changed (severity, cause or state) or resolved since the last call, in order. New figures alone
        are no change. An acknowledgement is one, also when it came by `acknowledge`."""
        return self._open.changes()

    def acknowledge(self, alert_id: str, by: str, at: str) -> Alert | None:
        """Somebody owns it (`at`: RFC 3339); the alert as it is then. The first owner stays. None: not open."""
        return self._open.acknowledge(alert_id, by, at)

    # What it hears

    def on_record(self, record: CallRecord) -> None:
        """A call began, was answered or is over. One that announces an alert is not counted."""
        if record.agent == ALERT_AGENT:
            return
        now = self._monotonic()
        call = self._calls.get(record.id)
        if call is None:
            call = self._calls[record.id] = WatchedCall(record)
        if record.answered_at is not None and call.first("answered"):
            for rule in self._rules:
                rule.answered(call, now)
        if record.ended_at is not None:
            del self._calls[record.id]
            for rule in self._rules:
                rule.ended(call, now)

    def on_fact(self, call_id: str, fact: Fact) -> None:
        """What a media worker says of a call; a call that is over is not known any more."""
        call = self._calls.get(call_id)
        if call is None:
            return
        now = self._monotonic()
        match fact:
            case LegStatus(report=report, counts=counts):
                self._reported(call, report, counts, now, last=False)
            case LegClosed(report=report, counts=counts):
                self._reported(call, report, counts, now, last=True)
            case SliceEnded(slice=part):
                self._log.add(call, part, now)
                for rule in self._rules:
                    rule.slice_ended(call, part, now)
            case LegReady():
                self._session(call, False, now)
            case LegFailed(status=status, retry_after_s=None) if status == SERVICE_REFUSED:
                self._session(call, True, now)
            case _:
                pass

    def _session(self, call: WatchedCall, failed: bool, now: float) -> None:
        if call.record.answered_at is None:
            for rule in self._rules:
                rule.session(call, failed, now)

    def _reported(self, call: WatchedCall, report: MediaReport, counts: LegCounts, now: float, *, last: bool) -> None:
        first_audio = call.new_first_audio(report)
        turns = list(call.new_turns(report, last=last))
        errors, lost = call.new_errors(counts), call.newly_lost(counts)
        for rule in self._rules:
            if first_audio is not None:
                rule.first_audio(call, first_audio, now)
            for latency in turns:
                rule.turn(call, latency, now)
            if errors:
                rule.service_errors(call, errors, now)
            if lost:
                rule.service_lost(call, now)

    def on_worker_status(self, worker: str, status: WorkerStatus) -> None:
        """Once a second from each worker. A clock that is late while nobody listens disturbs nobody."""
        clock_late_ms = status.clock_late_max_ms if status.legs else 0.0
        self._second(worker, clock_late_ms, status.loop_lag_max_ms)

    def on_worker_lost(self, worker: str) -> None:
        """It died."""
        now = self._monotonic()
        for rule in self._rules:
            rule.worker_lost(worker, now)

    def on_loop_lag(self, seconds: float) -> None:
        """Once a second: how late the switch's own loop was at worst."""
        self._second("switch", 0.0, 1000 * seconds)

    def _second(self, process: str, clock_late_ms: float, loop_lag_ms: float) -> None:
        now = self._monotonic()
        for rule in self._rules:
            rule.process_second(process, clock_late_ms, loop_lag_ms, now)
