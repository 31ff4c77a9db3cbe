"""Who may come in, and whether there is room: judged before any state is made for a request.

Refusals name the check that failed, in the SIP answer and in the call's record.
"""

from collections.abc import Callable, Mapping
from ipaddress import ip_address

from ..sip.events import Refusal
from ..sip.flow import Flow
from ..sip.message import Request
from ..sip.uri import Uri
from .call import Call, timestamp
from .config import Config
from .ids import new_call_id
from .record import CallRecord
from .trunk import Trunk, trunk_of

RETRY_AFTER = 5
"""Seconds in Retry-After when the gateway or a trunk is full."""
RETRY_AFTER_STOP = 30
"""Seconds in Retry-After when the gateway stops: a restart takes less."""


class Admission:
    """Knows the sources of the trunks and counts the calls that are up."""

    def __init__(
        self,
        config: Config,
        trunks: Mapping[str, Trunk],
        calls: Mapping[str, Call],
        on_refused: Callable[[CallRecord], None],
    ) -> None:
        """`trunks` and `calls` are looked at as they are at each request; `on_refused` keeps the records of calls that
        had no room."""
        self.config = config
        self.draining = False
        """No new calls."""
        self._trunks = trunks
        self._calls = calls
        self._on_refused = on_refused

    def screen(self, request: Request, source: Flow) -> Refusal | None:
        """Judge a request outside a dialog."""
        allowed = self.config.sip.allow
        if allowed and not any(ip_address(source.host) in network for network in allowed):
            return Refusal(403, "Source not in sip.allow", stateless=True)
        trunk = self.trunk_of(request, source)
        if trunk is None:
            return Refusal(403, "Source belongs to no trunk", stateless=True)
        if request.method != "INVITE":
            return None
        if self.draining:
            return self._no_room(request, trunk, "Gateway is stopping", RETRY_AFTER_STOP)
        full = self.full(trunk)
        return None if full is None else self._no_room(request, trunk, full, RETRY_AFTER)

    def trunk_of(self, request: Request, source: Flow) -> Trunk | None:
        """The trunk that a request comes from."""
        return trunk_of(list(self._trunks.values()), source, (request.uri, request.to.uri))

    def full(self, trunk: Trunk) -> str | None:
        """What has no room for one more call, None when there is room. Calls that announce an alert take none."""
        most, limit = self.config.gateway.max_calls, trunk.config.max_calls
        # by name: a reload may have put another trunk in the place of the one that a call began on
        counted = [call.trunk.name for call in self._calls.values() if call.counted]
        if len(counted) >= most:
            return f"Gateway is full ({most} calls)"
        if limit is not None and counted.count(trunk.name) >= limit:
            return f"Trunk is full ({limit} calls)"
        return None

    def _no_room(self, request: Request, trunk: Trunk, reason: str, retry_after: int) -> Refusal:
        now = timestamp()
        record = CallRecord(
            id=new_call_id(),
            direction="inbound",
            sip_call_id=request.call_id,
            trunk=trunk.name,
            from_=user_of(request.from_.uri),
            to=trunk.dialled(user_of(request.uri), user_of(request.to.uri)),
            started_at=now,
            ended_at=now,
            ended_by="gateway",
            end_reason=reason[0].lower() + reason[1:],
            sip_status=503,
        )
        self._on_refused(record)
        # a stranger need not know how many calls there are
        return Refusal(503, reason.partition(" (")[0], (("Retry-After", str(retry_after)),))


def user_of(uri: Uri) -> str:
    """The user part for routes, records and logs: unescaped, and without what does not print."""
    return "".join(character for character in uri.unescaped_user if character.isprintable())
