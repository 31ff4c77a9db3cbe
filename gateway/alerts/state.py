"""What the rules ask for at each look, because it simply is so: trunks, agents, workers, records."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

import msgspec

from ..config import Config
from ..records import RecordsHealth
from ..trunk import Trunk
from ..workers import Worker


class TrunkState(msgspec.Struct, frozen=True):
    """One configured trunk."""

    up: bool
    state: str
    """`starting`, `registered`, `reachable`, `failed` or `unreachable`."""
    reason: str


class GatewayState(Protocol):
    """What is asked of the gateway, about once a second."""

    @property
    def trunks(self) -> Mapping[str, TrunkState]:
        """Every configured trunk by name."""
        ...

    @property
    def agents(self) -> Collection[str]:
        """Names of the configured agents."""
        ...

    @property
    def records(self) -> RecordsHealth: ...

    @property
    def alerting(self) -> Sequence[str]:
        """Why alerts do not arrive or cannot be stored, a sentence each."""
        ...

    @property
    def workers_missing(self) -> int:
        """Media workers that should be ready and are not."""
        ...


class SwitchState(Protocol):
    """What is asked of the switch."""

    config: Config

    @property
    def trunks(self) -> Mapping[str, Trunk]: ...

    @property
    def workers(self) -> list[Worker]: ...


class RecordsState(Protocol):
    """What is asked of the records."""

    @property
    def health(self) -> RecordsHealth: ...


class LiveState:
    """The state of a switch, its records, and of the alerts themselves."""

    def __init__(self, switch: SwitchState, records: RecordsState, faults: Callable[[], Sequence[str]]) -> None:
        """`faults` is why alerts do not arrive."""
        self._switch = switch
        self._records = records
        self._faults = faults

    @property
    def trunks(self) -> Mapping[str, TrunkState]:
        """Every configured trunk by name; one that the switch has not made yet is starting."""
        live = self._switch.trunks
        return {
            name: TrunkState(trunk.up, trunk.state, trunk.reason)
            if (trunk := live.get(name)) is not None
            else TrunkState(False, "starting", "not tried yet")
            for name in self._switch.config.trunks
        }

    @property
    def agents(self) -> Collection[str]:
        """Names of the configured agents."""
        return self._switch.config.agents

    @property
    def records(self) -> RecordsHealth:
        """Whether records are written."""
        return self._records.health

    @property
    def alerting(self) -> Sequence[str]:
        """Why alerts do not arrive."""
        return self._faults()

    @property
    def workers_missing(self) -> int:
        """Media workers that should be ready and are not."""
        wanted = max(1, self._switch.config.gateway.worker_count)
        return max(0, wanted - sum(worker.ready for worker in self._switch.workers))
