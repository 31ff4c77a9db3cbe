"""The admin API: health, readiness, call records, placing and ending calls. Errors are RFC 9457 problem documents."""

from typing import Protocol

import msgspec

from .record import CallRecord


class Readiness(msgspec.Struct):
    """Whether the gateway can take calls, and of each part how it stands."""

    reasons: list[str] = []
    """Why it is not ready, one sentence each; empty when it is."""
    parts: dict[str, str] = {}
    """For each part one word or address: `{"trunk vonage": "registered", "worker 1": "alive"}`."""


class LiveCall(msgspec.Struct):
    """A call that has not ended, as it stands now."""

    record: CallRecord
    state: str
    """`ringing`, `answered`, `held` or `ending`."""
    speaker: str | None = None
    """`caller`, `agent`, `both` or `nobody`; None before the first status of its worker."""
    caller_dbov: float | None = None
    agent_dbov: float | None = None
    queued_ms: float | None = None
    """Agent audio that waits to be played, ms."""


class Gateway(Protocol):
    """What the API asks of the switch."""

    def readiness(self) -> Readiness:
        """Sockets bound, trunks registered or reachable, workers alive. The records' health is added by the API."""
        ...

    def live_calls(self) -> list[LiveCall]:
        """Every call that has not ended, in any order."""
        ...

    async def place_call(self, to: str, agent: str, trunk: str | None) -> str:
        """Start an outbound call and return its identifier at once. Raises CallRefused (404 unknown agent or trunk,
        409 several trunks and none named, 503 full or stopping)."""
        ...

    def hang_up(self, call_id: str) -> bool:
        """Begin to end a live call on the operator's word; False when there is no such live call."""
        ...
