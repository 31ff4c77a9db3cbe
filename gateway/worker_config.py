"""What a media worker is told of the configuration: its own part, as plain tables."""

from pathlib import Path
from typing import Any

from pydantic import SecretStr

from .config import Config
from .messages import Configure


def configuration_of(config: Config) -> Configure:
    """The first message to a worker. It holds the agents' secrets: only ever for the socket to that worker."""
    return Configure(
        agents={name: _revealed(agent.model_dump()) for name, agent in config.agents.items()},
        bind_host=config.rtp.bind,
        port_first=config.rtp.ports.first,
        port_last=config.rtp.ports.last,
        recordings_dir=str(config.gateway.recordings_dir),
        gateway=config.gateway.model_dump(mode="json"),
        flight_octets=config.flight.call_kb * 1024 if config.flight.keep != "none" else 0,
        rtcp=config.hep.collector is not None,
    )


def _revealed(value: Any) -> Any:
    """A dumped model as plain tables, secrets in clear."""
    match value:
        case dict():
            return {key: _revealed(item) for key, item in value.items()}
        case list() | tuple():
            return [_revealed(item) for item in value]
        case SecretStr():
            return value.get_secret_value()
        case Path():
            return str(value)
    return value
