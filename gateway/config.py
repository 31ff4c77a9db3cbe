"""The configuration: one TOML file, overridden by `TRUNKLINE_…` environment variables.

`load_config(path)` gives a `Config`, or raises ConfigError that names file, line, key and remedy of each problem found.
Any string may be `"$ENV_NAME"` (environment) or `"%name"` (a systemd credential, `$CREDENTIALS_DIRECTORY/name`).
Secrets are `SecretStr`: they appear in no repr and in no error.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Self, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    SerializeAsAny,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from .alerts.alert import ALERT_AGENT
from .alerts.config import AlertsConfig
from .bridges.base import AgentConfig, load, providers
from .config_problems import Problem, describe, problem_error, problems_of, resolve_references
from .config_tables import (
    GatewayConfig,
    HepConfig,
    HttpConfig,
    QualityReportConfig,
    RecordsConfig,
    RouteConfig,
    RtpConfig,
    SipConfig,
    TrunkConfig,
)
from .errors import ConfigError
from .flight.config import FlightConfig
from .toml_lines import Location

__all__ = [
    "AlertsConfig",
    "Config",
    "FlightConfig",
    "GatewayConfig",
    "HepConfig",
    "HttpConfig",
    "QualityReportConfig",
    "RecordsConfig",
    "RouteConfig",
    "RtpConfig",
    "SipConfig",
    "TrunkConfig",
    "load_config",
    "load_tables",
    "names_in",
]

ENVIRONMENT_PREFIX = "TRUNKLINE_"

_ASYNC_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
_AT_LINE = re.compile(r" \(at line (\d+), column \d+\)| \(at end of document\)")


def _agent_config(value: Any) -> Any:
    """Let the provider's own model judge an agent."""
    if not isinstance(value, Mapping):
        return value
    known = ", ".join(providers())
    if "provider" not in value:
        raise problem_error("agent", [((), f"the agent has no provider; add provider, one of: {known}")])
    if value["provider"] not in providers():
        raise problem_error("agent", [(("provider",), f"no such provider; use one of: {known}")])
    return load(value["provider"]).config.model_validate(value)


Agent = Annotated[SerializeAsAny[AgentConfig], BeforeValidator(_agent_config)]


class _Environment(EnvSettingsSource):
    """Environment variables. What has a written form of its own (`127.0.0.1:8080`) need not be JSON."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """JSON where it looks like JSON, else the text, which the field's own model judges."""
        if isinstance(value, str) and not value.lstrip().startswith(("[", "{")):
            return value
        return super().decode_complex_value(field_name, field, value)


class Config(BaseSettings):
    """The whole file. Built by `load_config`, or in code: `Config(sip=…, agents={"a": {"provider": …}})`."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter="__",
    )

    gateway: GatewayConfig = Field(default_factory=GatewayConfig)
    sip: SipConfig = Field(default_factory=SipConfig)
    rtp: RtpConfig = Field(default_factory=RtpConfig)
    trunks: dict[str, TrunkConfig] = {}
    agents: dict[str, Agent] = {}
    routes: list[RouteConfig] = []
    http: HttpConfig = Field(default_factory=HttpConfig)
    records: RecordsConfig = Field(default_factory=RecordsConfig)
    flight: FlightConfig = Field(default_factory=FlightConfig)
    hep: HepConfig = Field(default_factory=HepConfig)
    quality_report: QualityReportConfig = Field(default_factory=QualityReportConfig)
    alerts: AlertsConfig = Field(default_factory=AlertsConfig)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment overrides the file; nothing else is asked."""
        return _Environment(settings_cls), init_settings

    @model_validator(mode="wrap")
    @classmethod
    def _all_problems_at_once(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(data, Mapping):
            return handler(data)
        problems: list[Problem] = []
        resolved = resolve_references(data, problems)
        unresolved = {location for location, _ in problems}
        problems += _dangling_names(resolved, unresolved)
        problems += _names_of_alerts(resolved)
        try:
            config = handler(resolved)
        except ValidationError as error:
            found = problems_of(error, resolved, lambda location: _known_keys(resolved, location))
            problems += [(location, sentence) for location, sentence in found if location not in unresolved]
            config = None
        else:
            problems += _too_few_ports(config)
        if config is None or problems:
            raise problem_error("configuration", problems)
        return config

    @property
    def records_url(self) -> str:
        """The SQLAlchemy URL of the call records, with its asynchronous driver; holds the password."""
        if self.records.url is None:
            return f"{_ASYNC_DRIVERS['sqlite']}:///{self.gateway.state_dir / 'calls.db'}"
        scheme, rest = self.records.url.get_secret_value().split(":", 1)
        return f"{_ASYNC_DRIVERS[scheme]}:{rest}"

    @property
    def rtp_public_address(self) -> str | None:
        """The address that SDP shows, None to show the learned or the local one."""
        return self.rtp.public_address or self.sip.public_address


def load_config(path: Path | str) -> Config:
    """Read and check one file. Raises ConfigError with every problem found."""
    text = _read(path)
    return _load(str(path), text, _parse(str(path), text))


def load_tables(path: Path | str, *tables: str) -> Config:
    """Only these tables of the file, for a command that must work without the secrets of the others."""
    text = _read(path)
    data = {key: value for key, value in _parse(str(path), text).items() if key in tables}
    return _load(str(path), text, data)


def names_in(path: Path | str, table: str) -> list[str]:
    """The names in one table of tables, such as the agents; nothing is checked but the syntax."""
    tables = _parse(str(path), _read(path)).get(table, {})
    return list(tables) if isinstance(tables, dict) else []


def _read(path: Path | str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read ({error.strerror}); give a file with --config"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: is not UTF-8 text; save it as UTF-8"]) from None


def _parse(file: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = _AT_LINE.search(str(error))
        line = f":{match[1]}" if match and match[1] else ""
        reason = _AT_LINE.sub("", str(error))
        raise ConfigError([f"{file}{line}: not valid TOML: {reason}; correct the syntax"]) from None


def _load(file: str, text: str, data: dict[str, Any]) -> Config:
    try:
        return Config(**data)
    except ValidationError as error:
        problems = [(detail["loc"], detail["msg"]) for detail in error.errors(include_url=False, include_input=False)]
        raise ConfigError(describe(file, text, problems, ENVIRONMENT_PREFIX)) from None
    except SettingsError as error:
        raise ConfigError([f"environment: {error}; write lists and tables as JSON"]) from None


def _dangling_names(data: Mapping[str, Any], unresolved: set[Location]) -> list[Problem]:
    """Routes that name an agent or a trunk which the file does not have."""
    routes = data.get("routes")
    problems: list[Problem] = []
    for index, route in enumerate(routes if isinstance(routes, list) else []):
        if not isinstance(route, Mapping):
            continue
        for key, table in (("agent", "agents"), ("fallback", "agents"), ("trunk", "trunks")):
            name, known = route.get(key), data.get(table, {})
            location = ("routes", index, key)
            if (
                isinstance(name, str)
                and isinstance(known, Mapping)
                and name not in known
                and location not in unresolved
            ):
                have = ", ".join(sorted(known)) or "none"
                problems.append((location, f"there is no [{table}.{name}]; add it, or use one of: {have}"))
    return problems


def _names_of_alerts(data: Mapping[str, Any]) -> list[Problem]:
    """An agent with the name that is kept for pages, and telephones whose trunk the file does not have."""
    problems: list[Problem] = []
    agents, trunks, alerts = data.get("agents"), data.get("trunks", {}), data.get("alerts")
    if isinstance(agents, Mapping) and ALERT_AGENT in agents:
        sentence = f"the name {ALERT_AGENT!r} is kept for calls that announce an alert; give the agent another name"
        problems.append((("agents", ALERT_AGENT), sentence))
    channels = alerts.get("channels") if isinstance(alerts, Mapping) else None
    for name, channel in channels.items() if isinstance(channels, Mapping) else ():
        trunk = channel.get("trunk") if isinstance(channel, Mapping) else None
        if isinstance(trunk, str) and isinstance(trunks, Mapping) and trunk not in trunks:
            have = ", ".join(sorted(trunks)) or "none"
            sentence = f"there is no [trunks.{trunk}]; add it, or use one of: {have}"
            problems.append((("alerts", "channels", name, "trunk"), sentence))
    return problems


def _too_few_ports(config: Config) -> list[Problem]:
    """Each worker has ports of its own."""
    workers, pairs = config.gateway.worker_count, config.rtp.ports.pairs
    if pairs >= workers:
        return []
    sentence = f"{pairs} port pair(s) cannot be shared by {workers} workers; widen the range, or set gateway.workers"
    return [(("rtp", "ports"), sentence)]


def _known_keys(data: Any, location: Location) -> Iterable[str]:
    """The keys that a table may have, for the hint beside an unknown one; none for a table of free names."""
    models: list[type[BaseModel]] = [Config]
    for part in location:
        data = data[part]
        fields = [model.model_fields[part] for model in models if isinstance(part, str) and part in model.model_fields]
        models = [inner for field in fields for inner in _models_in(field.annotation)] or models
        if AgentConfig in models and isinstance(data, Mapping) and data.get("provider") in providers():
            models = [load(data["provider"]).config]
        models = [model for model in models if _is_of_its_kind(model, data)] or models
    return {key for model in models for key in model.model_fields}


def _is_of_its_kind(model: type[BaseModel], data: Any) -> bool:
    """Whether what tells the tables of a union apart is that of this one."""
    tags = (tag for tag in ("kind", "type") if isinstance(data, Mapping) and tag in data and tag in model.model_fields)
    return all(data[tag] in get_args(model.model_fields[tag].annotation) for tag in tags)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models that a field's type mentions, through unions, lists and tables."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]
