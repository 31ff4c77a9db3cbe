"""A call that this gateway places to announce an alert: a page, and no agent's call.

It counts against no limit of calls, since a gateway that is full must still be able to say so. The number is a
person's: the record has it, as of any call, and no log line has.
"""

import asyncio

import msgspec

from ..sip.events import Answered
from ..sip.session_state import SessionState
from .alerts.alert import ALERT_AGENT
from .call import OperatorHangUp, Services
from .messages import ANNOUNCEMENT, Announcement, CodecSpec, OpenLeg
from .outbound import Dialler, OutboundCall
from .trunk import Trunk

PATIENCE_S = 5.0
"""Seconds from the answer until the worker has the announcement ready; it takes milliseconds."""

TRUNK_PATIENCE_S = 8.0
"""Seconds for the trunk to say anything at all, be it 100 Trying; the INVITE has gone out five times by then (RFC 3261
section 17.1.1.2). Another trunk is better than ringing into the void."""


class AnnouncementCall(OutboundCall):
    """From the decision to call somebody to the record, which says which keys came."""

    counted = False

    def __init__(
        self,
        call_id: str,
        trunk: Trunk,
        services: Services,
        dialler: Dialler,
        to: str,
        announcement: Announcement,
        ring_s: float,
    ) -> None:
        super().__init__(call_id, trunk, ALERT_AGENT, services, dialler, to)
        self.record.provider = ANNOUNCEMENT
        self.ring_s = ring_s
        self._announcement = announcement

    def __repr__(self) -> str:
        return f"<AnnouncementCall {self.id} {self.state} {self._shown}>"

    @property
    def _shown(self) -> str:
        return masked(self.record.to or "")

    @property
    def _patience_s(self) -> float:
        return PATIENCE_S

    async def _wait_for_both(self) -> Answered:
        timer = asyncio.get_running_loop().call_later(TRUNK_PATIENCE_S, self._check_trunk)
        try:
            return await super()._wait_for_both()
        finally:
            timer.cancel()

    def _check_trunk(self) -> None:
        if self._outgoing is not None and self._outgoing.state is SessionState.CALLING:
            self.deliver(OperatorHangUp("gateway", "the trunk does not answer"))

    def _leg_order(self, agent: str, codec: CodecSpec) -> OpenLeg:
        return msgspec.structs.replace(super()._leg_order(agent, codec), announcement=self._announcement)


def masked(number: str) -> str:
    """Enough of a number to tell one from another."""
    return f"…{number[-2:]}" if number.lstrip("+").isdigit() else "…"
