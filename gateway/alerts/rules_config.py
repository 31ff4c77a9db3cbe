"""`[alerts.rules]`: when an alert fires and when it is over. Shares are 0 to 1, times are seconds.

Every rule has a way in and a way out that differ, and a volume guard: the fewest calls (or seconds, turns, sessions)
that must show the trouble before anybody is told. A single bad call never is enough.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from ..config_tables import Table
from .alert import Severity

RuleName = Literal[
    "quality",
    "one_way_audio",
    "echo",
    "call_failures",
    "turn_latency",
    "first_audio",
    "provider_errors",
    "trunk_down",
    "records",
    "alerting",
    "host",
]


class BurnRateConfig(Table):
    """`[[alerts.rules.quality.burn_rates]]`: the objective's allowance of bad slices is used up this many times faster
    than allowed, over a long window (it matters) and over a short one (it goes on)."""

    severity: Severity
    burn_rate: float = Field(gt=0)
    """1 uses up exactly what the objective allows."""
    long_s: float = Field(gt=0)
    short_s: float = Field(gt=0)

    @model_validator(mode="after")
    def _long_is_longer(self) -> Self:
        if self.short_s > self.long_s:
            raise ValueError(f"short_s = {self.short_s:g} is more than long_s = {self.long_s:g}; exchange them")
        return self


class QualityConfig(Table):
    """`[alerts.rules.quality]`: how many 10 s slices of calls are bad, for each trunk and each agent."""

    objective: float = Field(default=0.98, gt=0, lt=1)
    """Share of slices that are to be good."""
    burn_rates: list[BurnRateConfig] = Field(
        default=[
            BurnRateConfig(severity="page", burn_rate=14.4, long_s=3600, short_s=300),
            BurnRateConfig(severity="page", burn_rate=6, long_s=21600, short_s=1800),
            BurnRateConfig(severity="ticket", burn_rate=1, long_s=259200, short_s=21600),
        ],
        min_length=1,
        max_length=6,
    )
    min_calls: int = Field(default=10, ge=2)
    """Calls with a bad slice that the long window must have."""
    min_slices: int = Field(default=360, ge=1)
    """Slices that the long window must have; 360 are an hour of calls."""
    leave_r: float = Field(default=75.0, ge=70, le=90)
    """A slice is bad below R 70; while the alert is open, one must reach this R to count as good again."""
    bad_underruns: int = Field(default=3, ge=1)
    """Breaks in the agent's speech that make a slice bad whatever its R: the caller hears it stutter."""
    hold_s: float = Field(default=600.0, ge=0)
    """The alert is over when it has been calm for so long."""

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        for rate in self.burn_rates:
            limit = rate.burn_rate * (1 - self.objective)
            if limit >= 1:
                raise ValueError(
                    f"burn_rate = {rate.burn_rate:g} with objective = {self.objective:g} asks for {100 * limit:.0f} % "
                    "bad slices: it could never fire; lower the burn rate, or raise the objective"
                )
        return self


class ShareConfig(Table):
    """A share of calls that show a trouble, within one window."""

    window_s: float = Field(default=900.0, gt=0)
    enter_share: float = Field(default=0.1, gt=0, le=1)
    """The alert fires above this share."""
    leave_share: float = Field(default=0.05, ge=0, le=1)
    """It may end at this share or below."""
    min_calls: int = Field(default=5, ge=2)
    """Calls that must show the trouble."""
    hold_s: float = Field(default=600.0, ge=0)
    """The alert is over when it has been calm for so long."""

    @model_validator(mode="after")
    def _enters_above(self) -> Self:
        if self.leave_share > self.enter_share:
            raise ValueError("leave_share is above enter_share: the alert could never stay; lower it")
        return self


class OneWayAudioConfig(ShareConfig):
    """`[alerts.rules.one_way_audio]`: answered calls in which a direction went dead, for each trunk."""

    min_calls: int = Field(default=3, ge=2)


class EchoConfig(ShareConfig):
    """`[alerts.rules.echo]`: calls in which the agent hears itself, for each trunk."""

    window_s: float = Field(default=1800.0, gt=0)
    enter_share: float = Field(default=0.2, gt=0, le=1)
    leave_share: float = Field(default=0.1, ge=0, le=1)


class CallFailuresConfig(ShareConfig):
    """`[alerts.rules.call_failures]`: calls that were refused, failed or dropped by the trunk, for each trunk. What the
    speech service ended is for `provider_errors`, what this gateway dropped for `host`."""


class LatencyConfig(Table):
    """One in twenty takes longer than a limit (the 95th percentile is above it), for each agent."""

    limit_s: float = Field(default=1.0, gt=0)
    leave_s: float = Field(default=0.8, gt=0)
    """The alert may end when the 95th percentile is below this."""
    window_s: float = Field(default=900.0, gt=0)
    min_count: int = Field(default=20, ge=2)
    """Measurements that the window must have."""
    min_calls: int = Field(default=3, ge=2)
    """Calls that must have been slow."""
    hold_s: float = Field(default=900.0, ge=0)

    @model_validator(mode="after")
    def _enters_above(self) -> Self:
        if self.leave_s > self.limit_s:
            raise ValueError("leave_s is above limit_s: the alert could never stay; lower it")
        return self


class FirstAudioConfig(LatencyConfig):
    """`[alerts.rules.first_audio]`: answer to the agent's first word."""

    limit_s: float = Field(default=2.0, gt=0)
    leave_s: float = Field(default=1.6, gt=0)
    min_count: int = Field(default=10, ge=2)


class ProviderErrorsConfig(ShareConfig):
    """`[alerts.rules.provider_errors]`: sessions that the speech service refused or lost for good (a page), and errors
    or reconnects that calls survive (a ticket), for each agent."""

    window_s: float = Field(default=600.0, gt=0)
    enter_share: float = Field(default=0.05, gt=0, le=1)
    leave_share: float = Field(default=0.02, ge=0, le=1)
    min_calls: int = Field(default=3, ge=2)
    errors: int = Field(default=10, ge=2)
    """So many errors and reconnects within the window, in `min_calls` calls or more, are a ticket."""


class TrunkDownConfig(Table):
    """`[alerts.rules.trunk_down]`: not registered, or without an answer to OPTIONS."""

    for_s: float = Field(default=120.0, ge=0)
    """A trunk that comes back sooner wakes nobody, unless it goes down again and again for so long in all."""
    hold_s: float = Field(default=60.0, ge=0)
    """It must be up again for so long."""


class RecordsConfig(Table):
    """`[alerts.rules.records]`: the database of call records takes nothing."""

    for_s: float = Field(default=60.0, ge=0)
    max_queued: int = Field(default=200, ge=1)
    """Rows that may wait in memory."""
    hold_s: float = Field(default=60.0, ge=0)


class AlertingConfig(Table):
    """`[alerts.rules.alerting]`: alerts do not reach a channel, or cannot be stored."""

    for_s: float = Field(default=300.0, ge=0)
    """Retries reach a channel that is away for a moment."""
    hold_s: float = Field(default=60.0, ge=0)


class HostConfig(Table):
    """`[alerts.rules.host]`: this machine does not keep up, or media workers die."""

    clock_late_ms: float = Field(default=20.0, gt=0)
    """A second in which a media clock was later than this is a late one: a page."""
    loop_lag_ms: float = Field(default=100.0, gt=0)
    """A second in which an event loop was held up for longer is a late one: a ticket."""
    enter_share: float = Field(default=0.05, gt=0, le=1)
    """Share of late seconds above which the alert fires."""
    leave_share: float = Field(default=0.02, ge=0, le=1)
    window_s: float = Field(default=300.0, gt=0)
    min_seconds: int = Field(default=15, ge=2)
    """Late seconds that the window must have."""
    dropped_calls: int = Field(default=3, ge=2)
    """Answered calls that the gateway itself dropped within the window, as a dead worker does: a page."""
    workers_down_s: float = Field(default=60.0, ge=0)
    """A media worker that is missing for so long is a page; one death is a ticket."""
    hold_s: float = Field(default=600.0, ge=0)

    @model_validator(mode="after")
    def _enters_above(self) -> Self:
        if self.leave_share > self.enter_share:
            raise ValueError("leave_share is above enter_share: the alert could never stay; lower it")
        return self


class FlappingConfig(Table):
    """`[alerts.rules.flapping]`: an alert that comes and goes stays, and says so."""

    times: int = Field(default=3, ge=2, le=20)
    """Fired so often within the period, it is flapping."""
    period_s: float = Field(default=3600.0, gt=0)
    calm_s: float = Field(default=1800.0, ge=0)
    """A flapping alert ends only after so long a calm."""


class RulesConfig(Table):
    """`[alerts.rules]`: each rule is a table, and each key has a default."""

    disabled: list[RuleName] = Field(default=[])
    """Rules that are not looked at."""
    quality: QualityConfig = QualityConfig()
    one_way_audio: OneWayAudioConfig = OneWayAudioConfig()
    echo: EchoConfig = EchoConfig()
    call_failures: CallFailuresConfig = CallFailuresConfig()
    turn_latency: LatencyConfig = LatencyConfig()
    first_audio: FirstAudioConfig = FirstAudioConfig()
    provider_errors: ProviderErrorsConfig = ProviderErrorsConfig()
    trunk_down: TrunkDownConfig = TrunkDownConfig()
    records: RecordsConfig = RecordsConfig()
    alerting: AlertingConfig = AlertingConfig()
    host: HostConfig = HostConfig()
    flapping: FlappingConfig = FlappingConfig()
