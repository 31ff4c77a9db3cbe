"""A call from the trunk: ring while the agent gets ready, answer when it is."""

import time

from ..sip.errors import SipError
from ..sip.events import Confirmed
from ..sip.session_uas import IncomingSession
from .call import Call, CallOver, Services
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
        self._incoming = session
        self._route = route

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
            self._incoming.answer(answer, time.monotonic())
            self._answered()
        await self._talk()

    async def _ready_agent(self, route: RouteConfig, codec: CodecSpec) -> None:
        """Wait until the route's agent can speak; its fallback gets one chance when the agent's service refuses."""
        failed = await self._try_agent(route.agent, codec)
        if failed is None:
            return
        if not isinstance(route.fallback, str):
            self._log.error("agent cannot take the call", agent=route.agent, reason=failed.reason)
            status = route.fallback if isinstance(route.fallback, int) else failed.status
            raise CallOver("provider", failed.reason, status, failed.retry_after_s)
        self._log.warning("falling back", agent=route.agent, fallback=route.fallback, reason=failed.reason)
        self.record.agent, self.record.provider = route.fallback, self._provider(route.fallback)
        failed = await self._try_agent(route.fallback, codec)
        if failed is not None:
            raise CallOver("provider", failed.reason, failed.status, failed.retry_after_s)

    async def _try_agent(self, agent: str, codec: CodecSpec) -> LegFailed | None:
        await self._open_leg(agent, codec)
        patience = self._services.config.agents[agent].patience_s
        stuck = CallOver("gateway", "media worker does not get the agent ready")
        outcome = await self._wait((LegReady, LegFailed), patience + READY_MARGIN, stuck)
        return outcome if isinstance(outcome, LegFailed) else None

    async def _answer_with_offer(self) -> None:
        """Delayed offer: ours goes out in the 200, the answer comes in the ACK (RFC 3261 section 13.2.1)."""
        self._incoming.answer(self._negotiation.offer(), time.monotonic())
        confirmed = await self._wait(Confirmed, ACK_TIMEOUT, CallOver("gateway", "no ACK"))
        self._use(self._negotiation.accept(confirmed.sdp))
        self._answered()

    def _end_session(self, over: CallOver) -> None:
        if self._answered_at is not None or self.record.sip_status == 200:
            self._incoming.bye(time.monotonic(), reason_header=self._reason_header(over))
            return
        headers = [("Retry-After", str(over.retry_after))] if over.retry_after is not None else []
        self._incoming.reject(over.status, time.monotonic(), headers=headers, warning=over.reason)
        if over.by != self.far_end:
            self._log.warning("call refused", status=over.status, reason=over.reason)
