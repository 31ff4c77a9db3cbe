"""The built-in alert engine: it hears what happens to calls, looks once a second, and says what fired, changed, ended.

engine = AlertEngine(config.alerts.rules, LiveState(switch, records))
engine.restore(alerts that were open when the process ended)
engine.poll(time.monotonic())      # about once a second
for alert in engine.changes(): …   # to be stored and told
"""

import time
from collections.abc import Callable, Iterable

from ..call import timestamp
from ..ids import new_call_id
from ..observer import Observer
from .alert import Alert
from .rules_config import RulesConfig
from .state import GatewayState


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
        raise NotImplementedError

    @property
    def alerts(self) -> list[Alert]:
        """Those that are open (firing or acknowledged), the oldest first, with their latest figures."""
        raise NotImplementedError

    def restore(self, alerts: Iterable[Alert]) -> None:
        """Take back what was open when the process ended, before the first `poll`. An alert that is still true stays
        the same one; one that is not resolves after its hold, one without a rule or subject any more at the first
        poll."""
        raise NotImplementedError

    def use(self, rules: RulesConfig) -> None:
        """Other rules from the next poll on (a reload). What was counted stays where the windows are the same; alerts
        of rules, trunks and agents that went away resolve."""
        raise NotImplementedError

    def poll(self, now: float) -> None:
        """Look at every rule; about once a second."""
        raise NotImplementedError

    def changes(self) -> list[Alert]:
        """What fired, changed (severity, cause or state) or resolved since the last call, in order. New figures alone
        are no change. An acknowledgement is one, also when it came by `acknowledge`."""
        raise NotImplementedError

    def acknowledge(self, alert_id: str, by: str, at: str) -> Alert | None:
        """Somebody owns it (`at`: RFC 3339); the alert as it is then. The first owner stays. None: not open."""
        raise NotImplementedError
