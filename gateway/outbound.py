"""A call that this gateway places: the agent gets ready while the far end rings."""

import time
from typing import Protocol

from ..sip.events import Answered, Progress
from ..sip.session_uac import OutgoingSession
from .call import Call, CallOver, Services, refusal_of
from .messages import LegFailed, LegReady
from .trunk import Trunk

RING_LIMIT = 180.0
"""Seconds that the far end may ring."""


class Dialler(Protocol):
    """Sends the INVITE."""

    def invite(self, call: Call, number: str, sdp: bytes) -> OutgoingSession: ...


class OutboundCall(Call):
    """From the wish to call to the record."""

    direction = "outbound"
    far_end = "callee"
    ring_s = RING_LIMIT

    def __init__(self, call_id: str, trunk: Trunk, agent: str, services: Services, dialler: Dialler, to: str) -> None:
        super().__init__(call_id, trunk, agent, services, trunk.config.caller_id or trunk.config.username, to)
        self._dialler = dialler
        self._outgoing: OutgoingSession | None = None

    @property
    def _shown(self) -> str | None:
        """Who is called, for the log."""
        return self.record.to

    @property
    def _patience_s(self) -> float:
        return self._config.agents[self.record.agent or ""].patience_s

    async def _script(self) -> None:
        agent = self.record.agent or ""
        self._log.info("placing a call", to=self._shown, agent=agent)
        if not self.trunk.targets:
            raise CallOver("gateway", f"trunk {self.trunk.name} has no address yet: {self.trunk.reason}")
        failed = await self._open_leg(agent, self._negotiation.expect(None))
        if failed is not None:
            raise refusal_of(failed)
        self._outgoing = self._dialler.invite(self, self.record.to or "", self._negotiation.offer())
        self.session = self._outgoing
        answered = await self._wait_for_both()
        self._use(self._negotiation.accept(answered.sdp))
        self._answered()
        await self._talk()

    async def _wait_for_both(self) -> Answered:
        """The far end's answer, whichever way round it and the agent's readiness come."""
        ready = False
        answered: Answered | None = None
        deadline = time.monotonic() + self.ring_s
        while answered is None or not ready:
            left = deadline - time.monotonic()
            late = CallOver("gateway", "the far end does not answer" if answered is None else "agent not ready", 408)
            event = await self._wait((Answered, Progress, LegReady, LegFailed), left, late)
            match event:
                case LegFailed():
                    raise refusal_of(event)
                case LegReady():
                    ready = True
                case Progress(status=status):
                    self._log.info("far end rings", status=status)
                case Answered():
                    answered = event
                    deadline = time.monotonic() + self._patience_s
        return answered

    def _end_session(self, over: CallOver) -> None:
        if self._outgoing is not None:
            self._outgoing.hang_up(time.monotonic(), reason_header=self._reason_header(over))
