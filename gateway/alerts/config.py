"""`[alerts]`: the rules, the channels, and who is called in which order."""

from typing import Annotated, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, model_validator

from ..config_tables import Table
from .channels.config import ChannelConfig, HttpUrl, SecretHttpUrl
from .hours import Hours
from .rules_config import RulesConfig

RUNGS_MOST = 8
"""Primary, secondary, and six fallbacks."""


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise ValueError(f"there is no time zone {name!r}; use a name such as Europe/Berlin") from None
    return name


class RungConfig(Table):
    """`[[alerts.on_call]]`: one person of the ladder."""

    name: str = Field(min_length=1, max_length=100)
    """Who it is: shown in alerts that this person owns."""
    channels: list[str] = Field(min_length=1)
    """Names of `[alerts.channels]`: all are used at once."""
    hours: list[Hours] = Field(default=[])
    """When this person is on duty; empty is always."""
    timezone: Annotated[str, AfterValidator(_known_zone)] = "UTC"
    """Of `hours`."""
    ack_timeout_s: float = Field(default=120.0, ge=5, le=3600)
    """Seconds to own the alert before the next person is told."""


class AlertsConfig(Table):
    """`[alerts]`: without a key of it there are alerts, but nobody is told."""

    enabled: bool = True
    """False: no rule is looked at at all."""
    rules: RulesConfig = Field(default_factory=RulesConfig)
    channels: dict[str, ChannelConfig] = Field(default={})
    on_call: list[RungConfig] = Field(default=[], max_length=RUNGS_MOST)
    """Who is paged, the first person first."""
    notify: list[str] = Field(default=[])
    """Channels that are told of every alert, and from which nothing is expected."""
    heartbeat_url: SecretHttpUrl | None = None
    """Asked for while the gateway is well: its silence is the alarm that this process cannot give."""
    heartbeat_s: float = Field(default=60.0, ge=5, le=3600)
    """Seconds between two heartbeats."""
    console_url: HttpUrl | None = None
    """Where a person reaches the console, for links in messages."""

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        known = ", ".join(sorted(self.channels)) or "none"
        used = [("notify", self.notify), *((f"on_call {rung.name!r}", rung.channels) for rung in self.on_call)]
        for where, name in ((where, name) for where, channels in used for name in channels):
            if name not in self.channels:
                raise ValueError(f"{where}: there is no [alerts.channels.{name}]; add it, or use one of: {known}")
        for where, channels in used:
            if len(set(channels)) < len(channels):
                raise ValueError(f"{where}: a channel is named twice; remove one")
        names = [rung.name for rung in self.on_call]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"on_call: two people are called {twice!r}; give each a name of their own")
        return self
