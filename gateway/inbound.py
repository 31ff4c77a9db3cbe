"""A call from the trunk: ring while the agent gets ready, answer when it is."""

import time

from ..sip.errors import SipError
from ..sip.events import Confirmed
from ..sip.session_uas import IncomingSession
from .call import Call, CallOver, Services, refusal_of
from .config import RouteConfig
from .messages import CodecSpec, LegFailed, LegReady
from .trunk import Trunk

ACK_TIMEOUT = 40.0
"""The user agent itself gives up after 64*T1 = 32 s."""
READY_MARGIN = 10.0
"""The worker keeps the agent's patience; this much later, seconds, the switch no longer believes in the worker."""


class InboundCall(Call):
    """From INVITE to record."""

    direction = "inbound"
    far_end = "caller"

    def __init__(
        self,
        call_id: str,
        session: IncomingSession,
        trunk: Trunk,
        route: RouteConfig | None,
        services: Services,
        from_: str,
        to: str,
    ) -> None:
        super().__init__(call_id, trunk, route.agent if route else None, services, from_, to)
        self.session = session
        self.record.sip_call_id = session.call_id
        self._incoming = session
        self._route = route
        self._accepted = False

    async def _script(self) -> None:
        self._log.info("incoming call", from_=self.record.from_, to=self.record.to, agent=self.record.agent)
        if self._route is None:
            raise CallOver("gateway", f"no route for {self.record.to}", 404)
        offer = self._incoming.remote_offer
        try:
            codec = self._negotiation.expect(offer)
        except SipError as error:
            raise CallOver("gateway", str(error), getattr(error, "status", 488)) from None
        self._incoming.ring(time.monotonic())
        await self._ready_agent(self._route, codec)
        if offer is None:
            await self._answer_with_offer()
        else:
            answer, parameters = self._negotiation.answer(offer)
            self._use(parameters)
            await self._accept(answer)
            self._answered()
        await self._talk()

    async def _ready_agent(self, route: RouteConfig, codec: CodecSpec) -> None:
        """Wait until the route's agent can speak; its fallback gets one chance when the agent's service refuses."""
        failed = await self._try_agent(route.agent, codec)
        if failed is None:
            return
        if failed.retry_after_s is not None:
            # Not the agent is at fault: there is no room.
            raise refusal_of(failed)
        if not isinstance(route.fallback, str):
            self._log.error("agent cannot take the call", agent=route.agent, reason=failed.reason)
            status = route.fallback if isinstance(route.fallback, int) else failed.status
            raise CallOver("provider", failed.reason, status)
        self._log.warning("falling back", agent=route.agent, fallback=route.fallback, reason=failed.reason)
        await self._drop_leg()
        self.record.agent, self.record.provider = route.fallback, self._provider(route.fallback)
        failed = await self._try_agent(route.fallback, codec)
        if failed is not None:
            raise refusal_of(failed)

    async def _try_agent(self, agent: str, codec: CodecSpec) -> LegFailed | None:
        failed = await self._open_leg(agent, codec)
        if failed is not None:
            return failed
        patience = self._config.agents[agent].patience_s
        stuck = CallOver("gateway", "media worker does not get the agent ready")
        outcome = await self._wait((LegReady, LegFailed), patience + READY_MARGIN, stuck)
        return outcome if isinstance(outcome, LegFailed) else None

    async def _answer_with_offer(self) -> None:
        """Delayed offer: ours goes out in the 200, the answer comes in the ACK (RFC 3261 section 13.2.1)."""
        await self._accept(self._negotiation.offer())
        confirmed = await self._wait(Confirmed, ACK_TIMEOUT, CallOver("gateway", "no ACK"))
        self._use(self._negotiation.accept(confirmed.sdp))
        self._answered()

    async def _accept(self, sdp: bytes) -> None:
        """200 OK, unless a CANCEL was faster: its event waits in the mailbox and ends the call."""
        if not self._incoming.answer(sdp, time.monotonic()):
            await self._talk()
        self._accepted = True
        self.record.sip_status = 200

    def _end_session(self, over: CallOver) -> None:
        if self._accepted:
            self._incoming.bye(time.monotonic(), reason_header=self._reason_header(over))
            return
        headers = [("Retry-After", str(over.retry_after))] if over.retry_after is not None else []
        # What the agent's service said is for our log, not for the carrier.
        warning = over.reason if over.by == "gateway" else None
        self._incoming.reject(over.status, time.monotonic(), headers=headers, warning=warning)
        if over.by != self.far_end:
            self._log.warning("call refused", status=over.status, reason=over.reason)
