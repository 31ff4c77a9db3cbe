"""All trunks of one gateway: brought up, changed by a reload, taken down."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import structlog

from ..sip.events import PeerReachable, PeerUnreachable, RegistrationChanged
from ..sip.flow import Transport
from ..sip.resolver import Resolver
from ..sip.user_agent import UserAgent
from .addresses import ListenUrl
from .config import TrunkConfig
from .trunk import Trunk

log = structlog.get_logger(__name__)

UNREGISTER_TIMEOUT = 2.0
"""Seconds for a registrar to answer that a binding is taken back."""

TrunkEvent = RegistrationChanged | PeerReachable | PeerUnreachable


def resolver_from(listen: Sequence[ListenUrl]) -> Resolver:
    """Finds servers by the transports and IP versions of these sockets."""
    here = {url.transport for url in listen}
    transports: list[Transport] = [transport for transport in ("udp", "tcp") if transport in here]
    return Resolver(transports=transports, ipv6=any(":" in url.host for url in listen))


class Trunks(Mapping[str, Trunk]):
    """The trunks by name. A trunk that a reload takes away lives on as an object for the calls that it carries."""

    def __init__(self, listen: Sequence[ListenUrl]) -> None:
        """`listen`: where the gateway does; a server is looked up for what can be reached from there."""
        self._trunks: dict[str, Trunk] = {}
        self._by_key: dict[str, Trunk] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._resolver = resolver_from(listen)
        self._made = 0

    def __repr__(self) -> str:
        return f"<Trunks {list(self._trunks.values())!r}>"

    def __getitem__(self, name: str) -> Trunk:
        return self._trunks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._trunks)

    def __len__(self) -> int:
        return len(self._trunks)

    # Life

    def prepare(self, configs: Mapping[str, TrunkConfig], ua: UserAgent) -> None:
        """Make the trunks; nothing is sent yet."""
        for name, config in configs.items():
            self._make(name, config, ua)

    def start(self) -> None:
        """Bring them up."""
        for trunk in self._trunks.values():
            self._run(trunk)

    def _make(self, name: str, config: TrunkConfig, ua: UserAgent) -> Trunk:
        self._made += 1
        trunk = Trunk(name, config, ua, self._resolver, key=f"{name}#{self._made}")
        self._trunks[name] = self._by_key[trunk.key] = trunk
        return trunk

    def _run(self, trunk: Trunk) -> None:
        self._tasks[trunk.key] = asyncio.create_task(trunk.run(), name=f"trunk {trunk.name}")

    def _halt(self, trunk: Trunk) -> None:
        task = self._tasks.pop(trunk.key, None)
        if task is not None:
            task.cancel()

    def retry(self, now: float) -> None:
        """Try every trunk that is down again at once."""
        for trunk in self._trunks.values():
            trunk.retry(now)

    def reload(self, configs: Mapping[str, TrunkConfig], ua: UserAgent) -> None:
        """Take over other configurations. A trunk whose server and account stay keeps its registration; one with new
        credentials registers over its binding; one that goes elsewhere takes its binding back."""
        for name in [name for name in self._trunks if name not in configs]:
            log.info("trunk removed", trunk=name)
            self._leave(self._trunks.pop(name))
        for name, config in configs.items():
            old = self._trunks.get(name)
            if old is None:
                self._run(self._make(name, config, ua))
            elif old.config != config:
                self._replace(old, config, ua)

    def _replace(self, old: Trunk, config: TrunkConfig, ua: UserAgent) -> None:
        self._halt(old)
        if old.adopt(config):
            self._run(old)
            return
        new = self._make(old.name, config, ua)
        new.inherit(old)
        if new.binding is not None and new.binding == old.binding:
            old.release()
            del self._by_key[old.key]
        else:
            self._leave(old)
        self._run(new)

    def _leave(self, trunk: Trunk) -> None:
        """Take the binding back behind everything else."""
        self._halt(trunk)
        task = asyncio.create_task(self._take_back(trunk))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _take_back(self, trunk: Trunk) -> None:
        if trunk.registration is not None:
            trunk.changed.clear()
            trunk.close(time.monotonic())
            try:
                async with asyncio.timeout(UNREGISTER_TIMEOUT):
                    while trunk.state != "unregistered":
                        await trunk.changed.wait()
                        trunk.changed.clear()
            except TimeoutError:
                log.warning("registrar does not take the binding back", trunk=trunk.name)
            trunk.release()
        self._by_key.pop(trunk.key, None)

    async def close(self) -> None:
        """Take every binding back, for two seconds at most."""
        for trunk in self._trunks.values():
            self._leave(trunk)
        if self._leaving:
            await asyncio.wait(self._leaving)

    # Events

    def on_event(self, event: TrunkEvent) -> TrunkEvent | None:
        """Tell the trunk what the user agent found out; the event under the trunk's name, None when it is gone."""
        trunk = self._by_key.get(event.name)
        if trunk is None:
            return None
        trunk.on_event(event)
        return replace(event, name=trunk.name)
