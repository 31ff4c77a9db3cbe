"""Sends the quality report of each answered call to a SIP collector (`[quality_report]`, RFC 6035).

The call is over by then, and nothing of it waits. A report that is refused or gets no answer is tried once more; then
it is counted, said at a sane rate, and gone: the record has the same figures.
"""

import asyncio
import ipaddress
import time
from collections.abc import Iterator, Mapping
from typing import Protocol

import structlog
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from ..sip.dialog import Dialog
from ..sip.digest import Credentials
from ..sip.errors import SipError
from ..sip.events import PublishEnded
from ..sip.flow import Flow
from ..sip.uri import NameAddr, SipUri
from ..sip.user_agent import UserAgent
from .call import Call
from .config import Config
from .hep_mirror import LocalAddresses
from .log_limit import LogLimit
from .messages import Fact, LegClosed, MediaPath
from .observer import Observer
from .quality_report import CONTENT_TYPE, EVENT, Parties, session_report
from .record import CallRecord
from .trunk import Trunk
from .trunks import resolver_from

log = structlog.get_logger(__name__)

RESOLVE_EVERY = 300.0
"""Seconds for which the collector's addresses are believed."""
RETRY_AFTER = 5.0
"""Seconds before the second try, when the collector does not say."""
RETRY_AFTER_MOST = 60.0
RETRIED = frozenset({408, 480, 500, 503, 504})
MOST = 200
"""Reports under way at once; one more is dropped."""


class Switchboard(Protocol):
    """What is asked of the switch."""

    calls: dict[str, Call]

    @property
    def user_agent(self) -> UserAgent | None: ...


class QualityReporter(Observer):
    """Watches the switch. `start` before it, `stop` behind it."""

    def __init__(self, config: Config) -> None:
        """`config` names a collector."""
        table = config.quality_report
        if table.collector is None:
            raise ValueError("no collector")
        self.counts = {"delivered": 0, "failed": 0, "dropped": 0}
        self._collector = table.collector
        self._host = SipUri.parse(table.collector).host.lower()
        self._credentials: Credentials | None = None
        if table.username is not None and table.password is not None:
            self._credentials = Credentials(table.username, table.password.get_secret_value())
        self._name = config.gateway.name
        self._public = config.rtp_public_address
        self._sources = LocalAddresses(config.rtp.bind)
        self._resolver = resolver_from(config.sip.listen)
        self._targets: list[Flow] = []
        self._resolved_at = -RESOLVE_EVERY
        self._switch: Switchboard | None = None
        self._limit = LogLimit()
        self._paths: dict[str, MediaPath] = {}
        self._answers: dict[str, asyncio.Future[PublishEnded]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<QualityReporter {self._collector} {self.counts}>"

    def start(self, switch: Switchboard) -> None:
        """Whose calls are reported, and who sends."""
        self._switch = switch

    async def stop(self) -> None:
        """Idempotent. What is still under way is given up."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._limit.flush()

    # What the switch tells

    def on_fact(self, call_id: str, fact: Fact) -> None:
        if isinstance(fact, LegClosed) and fact.path is not None:
            self._paths[call_id] = fact.path

    def on_record(self, record: CallRecord) -> None:
        if record.ended_at is None:
            return
        path = self._paths.pop(record.id, None)
        call = self._switch.calls.get(record.id) if self._switch is not None else None
        if path is None or call is None or record.answered_at is None:
            return
        dialog = call.session.dialog if call.session is not None else None
        if dialog is None:
            return
        if len(self._tasks) >= MOST:
            self.counts["dropped"] += 1
            return
        body = session_report(record, path, self._parties(dialog, call.trunk, path))
        task = asyncio.create_task(self._deliver(record.id, body, call.trunk), name=f"quality report {record.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def on_published(self, event: PublishEnded) -> None:
        answer = self._answers.pop(event.name, None)
        if answer is not None and not answer.done():
            answer.set_result(event)

    # One report

    def _parties(self, dialog: Dialog, trunk: Trunk, path: MediaPath) -> Parties:
        return Parties(
            call_id=dialog.id.call_id,
            local=_uri(dialog.local),
            remote=_uri(dialog.remote),
            local_tag=dialog.id.local_tag,
            remote_tag=dialog.id.remote_tag,
            local_address=_numeric(self._public) or self._sources.towards(path.remote_host),
            local_group=self._name,
            remote_group=trunk.name,
        )

    async def _deliver(self, call_id: str, body: bytes, trunk: Trunk) -> None:
        outcome = await self._try(call_id, body, trunk)
        if outcome.status in RETRIED:
            await asyncio.sleep(min(outcome.retry_after or RETRY_AFTER, RETRY_AFTER_MOST))
            outcome = await self._try(call_id, body, trunk)
        delivered = 200 <= outcome.status < 300
        self.counts["delivered" if delivered else "failed"] += 1
        if not delivered and self._limit.allows("quality report not delivered", self._collector):
            log.warning(
                "quality report not delivered",
                call=call_id,
                collector=self._collector,
                status=outcome.status,
                reason=outcome.reason,
            )

    async def _try(self, call_id: str, body: bytes, trunk: Trunk) -> PublishEnded:
        user_agent = self._switch.user_agent if self._switch is not None else None
        if user_agent is None:
            return PublishEnded(call_id, 500, "the gateway is not up")
        answer = self._answers[call_id] = asyncio.get_running_loop().create_future()
        try:
            user_agent.publish(
                call_id,
                self._collector,
                from_=f"<{trunk.from_uri}>",
                targets=await self._resolved(),
                event=EVENT,
                content_type=CONTENT_TYPE,
                body=body,
                now=time.monotonic(),
                credentials=self._account(trunk),
            )
            return await answer
        except SipError as error:
            return PublishEnded(call_id, 503, str(error))
        finally:
            self._answers.pop(call_id, None)

    def _account(self, trunk: Trunk) -> Credentials | None:
        """A trunk's own account is for that trunk's server alone: an answer to a stranger's challenge would let the
        stranger try passwords."""
        own = self._host in (trunk.config.server.host.lower(), trunk.domain.strip("[]").lower())
        return self._credentials or (trunk.credentials if own else None)

    async def _resolved(self) -> list[Flow]:
        now = time.monotonic()
        if not self._targets or now - self._resolved_at >= RESOLVE_EVERY:
            self._targets = await self._resolver.resolve(self._collector)
            self._resolved_at = now
        return self._targets


class QualityReportCounters(Collector):
    """The reporter's own figures."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        self._counts = counts

    def describe(self) -> list[Metric]:
        """Nothing beforehand."""
        return []

    def collect(self) -> Iterator[Metric]:
        """One family."""
        family = CounterMetricFamily("trunkline_quality_reports", "Reports to the SIP collector.", labels=("result",))
        for result, count in self._counts.items():
            family.add_metric((result,), count)
        yield family


def _uri(address: NameAddr) -> str:
    return str(address.uri)


def _numeric(host: str | None) -> str | None:
    try:
        return str(ipaddress.ip_address(host or ""))
    except ValueError:
        return None
