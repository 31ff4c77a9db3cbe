"""`trunkline check --live`: register each trunk (or ask it with OPTIONS) and open a session of each agent.

A switch of its own on free ports does it, so that a running gateway is not disturbed; its bindings are taken back.
"""

import asyncio
from typing import NamedTuple

from .addresses import ListenUrl
from .bridges.base import AgentConfig, AudioFormat, BridgeError, CallContext, load
from .config import Config
from .ids import new_call_id
from .record import CallRecord
from .switch import Switch
from .trunk import Trunk

TRUNK_TIMEOUT_S = 40.0
"""Longer than a SIP transaction lives (Timer F is 32 s): a trunk that does not answer is reported as such."""


class Finding(NamedTuple):
    """How one part stands."""

    part: str
    ok: bool
    detail: str


class _NoRecords:
    """No call is made, so none is recorded."""

    def write(self, record: CallRecord) -> None:
        """Forget it."""


async def check_live(config: Config) -> list[Finding]:
    """All trunks and all agents at once. Raises SipError, GatewayError when nothing can be tried at all."""
    switch = Switch(_beside_a_running_gateway(config), _NoRecords())
    await switch.start()
    try:
        trunks = [_check_trunk(trunk) for trunk in switch.trunks.values()]
        agents = [_check_agent(name, agent) for name, agent in config.agents.items()]
        return list(await asyncio.gather(*trunks, *agents))
    finally:
        await switch.stop()


def _beside_a_running_gateway(config: Config) -> Config:
    listen = [ListenUrl(transport=url.transport, host=url.host, port=0) for url in config.sip.listen]
    return config.model_copy(
        update={
            "gateway": config.gateway.model_copy(update={"workers": 0}),
            "sip": config.sip.model_copy(update={"listen": listen}),
        }
    )


async def _check_trunk(trunk: Trunk) -> Finding:
    try:
        async with asyncio.timeout(TRUNK_TIMEOUT_S):
            while trunk.state == "starting":
                await trunk.changed.wait()
                trunk.changed.clear()
    except TimeoutError:
        return Finding(f"trunk {trunk.name}", False, f"{trunk.config.server} does not answer")
    return Finding(f"trunk {trunk.name}", trunk.up, f"{trunk.state}, {trunk.reason}")


async def _check_agent(name: str, config: AgentConfig) -> Finding:
    call_id = new_call_id()
    context = CallContext(
        call_id=call_id, direction="inbound", from_=None, to=None, preferred=AudioFormat("pcmu", 8000)
    )
    bridge = load(config.provider).bridge(config, context)
    try:
        async with asyncio.timeout(config.patience_s):
            await bridge.open()
    except BridgeError as error:
        return Finding(f"agent {name}", False, error.reason)
    except TimeoutError:
        return Finding(f"agent {name}", False, f"no session within patience_s = {config.patience_s:g}")
    finally:
        await bridge.close()
    return Finding(f"agent {name}", True, f"{config.provider} opened a session")
