"""A gateway in the test's own loop, with trunks that lead to telephones, and alerts to page somebody with."""

import asyncio
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from trunkline.gateway.alerts.alert import Alert, Cause, Verdict
from trunkline.gateway.alerts.channels.base import Action, Answer, Delivery
from trunkline.gateway.alerts.channels.telephone import Telephone, TelephoneConfig
from trunkline.gateway.config import Config
from trunkline.gateway.observer import Observer
from trunkline.gateway.record import CallRecord
from trunkline.gateway.switch import Switch
from trunkline.sip.flow import Address, Flow

from .ports import HOST, Ports

NUMBER = "15550177"
"""Of the person on call."""


def alert(**changes: Any) -> Alert:
    """An alert about the trunk `vonage`."""
    keys: dict[str, Any] = {
        "id": "0199c0de-0000-7000-8000-000000000001",
        "rule": "quality",
        "subject": "trunk vonage",
        "trunk": "vonage",
        "severity": "page",
        "summary": "31 % of the calls over trunk vonage sound bad",
        "started_at": "2026-11-21T03:12:44Z",
        "updated_at": "2026-11-21T03:12:44Z",
        "verdict": Verdict([Cause("carrier", 1.0, ["loss 6.1 %"])], "the carrier or access network before us"),
    }
    return Alert(**{**keys, **changes})


def delivery(action: Action = "trigger", **changes: Any) -> Delivery:
    """One delivery of `alert(**changes)` to the person on call."""
    return Delivery(
        id="0199c0de-0000-7000-8000-000000000002",
        alert=alert(**changes),
        action=action,
        channel="phone",
        person="ana",
        created_at="2026-11-21T03:12:45Z",
    )


class Pager(Observer):
    """`async with Pager(ports, tmp_path, {"backup": peer_port}) as pager: await pager.page()`."""

    def __init__(
        self, ports: Ports, state_dir: Path, trunks: dict[str, int], *, codecs: str = "PCMU PCMA", **gateway: Any
    ) -> None:
        """`trunks`: name → port of the telephone, or of the trunk, that it leads to."""
        first = ports.take_range(40)
        self.config = Config(
            gateway={"name": "edge-1", "state_dir": state_dir, "workers": 0, **gateway},
            sip={"listen": [f"udp://{HOST}:0"]},
            rtp={"ports": f"{first}-{first + 39}", "bind": HOST},
            trunks={
                name: {"peer": f"sip:{HOST}:{port};transport=udp", "options_interval_s": 0, "codecs": codecs.split()}
                for name, port in trunks.items()
            },
            agents={"desk": {"provider": "wav"}},
        )
        self.written: dict[str, CallRecord] = {}
        self.requests: set[str] = set()
        """Methods of the SIP requests that came."""
        self.switch = Switch(self.config, self, [self])

    def write(self, record: CallRecord) -> None:
        """What the switch records."""
        self.written[record.id] = record

    def on_sip(self, received: bool, flow: Flow, local: Address, data: bytes) -> None:
        """One SIP message."""
        if received and not data.startswith(b"SIP/"):
            self.requests.add(data.split(b" ", 1)[0].decode())

    @property
    def records(self) -> list[CallRecord]:
        """One for each call, oldest first."""
        return list(self.written.values())

    async def __aenter__(self) -> Self:
        await self.switch.start()
        async with asyncio.timeout(10):
            while len(self.switch.trunks_up()) < len(self.config.trunks):
                await asyncio.sleep(0.01)
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        await self.switch.stop()

    def telephone(self, **config: Any) -> Telephone:
        """The channel of the person on call."""
        table = TelephoneConfig(**{"kind": "telephone", "to": NUMBER, "repeat": 1, **config})
        return Telephone("phone", table, self.config.gateway.name, self.switch)

    async def page(self, made: Delivery | None = None, **config: Any) -> Answer | None:
        """Call the person about an alert; raises DeliveryError."""
        return await self.telephone(**config).deliver(made or delivery())
