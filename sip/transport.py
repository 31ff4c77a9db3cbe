"""The asyncio shell: UDP and TCP sockets, one timer, and the drain loop around a UserAgent.

transport = await SipTransport.open(["udp://0.0.0.0:5060", "tcp://0.0.0.0:5060"])
ua = UserAgent(config, rng, transport.local_address, screen)
transport.run(ua, on_event)
...
await transport.close()
"""

from collections.abc import Callable, Sequence

from .events import Event
from .flow import Address, Flow
from .user_agent import UserAgent


class SipTransport:
    """Listens on several addresses, keeps one connection per TCP flow, and drives one UserAgent."""

    @classmethod
    async def open(cls, listen: Sequence[str]) -> "SipTransport":
        """Bind every `udp://host:port` and `tcp://host:port` (port 0: any). Raises TransportError with the address and
        the reason when one cannot be bound, and for tls:// which is not built yet."""
        raise NotImplementedError

    def local_address(self, flow: Flow) -> Address:
        """Our numeric address and listening port towards `flow`; never a wildcard."""
        raise NotImplementedError

    def run(self, ua: UserAgent, on_event: Callable[[Event], None]) -> None:
        """Start to drive `ua`; events reach `on_event` from the event loop, never from inside a UA call. Calls of the
        UA, its sessions and registrations are drained by themselves (`UserAgent.on_output`)."""
        raise NotImplementedError

    def flush(self) -> None:
        """Drain now instead of at the loop's next turn."""
        raise NotImplementedError

    @property
    def listening(self) -> list[str]:
        """What is bound, with the real ports: `udp://127.0.0.1:5060`."""
        raise NotImplementedError

    async def close(self) -> None:
        """Drain a last time, close every socket."""
        raise NotImplementedError
