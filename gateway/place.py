"""`trunkline call --play/--record/--dtmf`: one call made by this process, without the running gateway.

The trunk is used without registering (the running gateway keeps its binding): the INVITE is authenticated by itself.
"""

import asyncio
import contextlib
import shutil
import tempfile
from pathlib import Path

from .addresses import ListenUrl
from .bridges.wav import WavConfig
from .config import Config
from .errors import CallRefused, ConfigError, GatewayError
from .record import CallRecord
from .switch import Switch

AGENT = "call"
"""Name of the agent that this one call is made for."""
TARGETS_TIMEOUT = 10.0
"""Seconds to resolve the trunk's server."""
DTMF_DELAY = 1.0
"""Seconds between the answer and the first key: the far end's menu has to listen first."""


class _LastRecord:
    """Keeps what the switch writes."""

    def __init__(self) -> None:
        self.record: CallRecord | None = None

    def write(self, record: CallRecord) -> None:
        self.record = record


async def place(
    config: Config,
    target: str,
    *,
    agent: str | None,
    trunk: str | None,
    play: Path | None,
    record: Path | None,
    dtmf: str | None,
) -> CallRecord:
    """Place one call, wait for its end and return its record; being cancelled hangs up.

    Raises ConfigError, GatewayError or SipError.
    """
    if play is not None and agent is not None:
        raise ConfigError(["--play and --agent exclude each other: the file or the agent talks"])
    with tempfile.TemporaryDirectory(prefix="trunkline-") as folder:
        kept = _LastRecord()
        switch = Switch(_alone(config, Path(folder), agent, play), kept)
        await switch.start()
        try:
            call_id = await _dial(switch, target, trunk)
            await _until_over(switch, call_id, dtmf)
        finally:
            await switch.stop()
        if kept.record is None:
            raise GatewayError("the call left no record")
        _keep_recording(kept.record, record)
        return kept.record


def _alone(config: Config, folder: Path, agent: str | None, play: Path | None) -> Config:
    """The same configuration for one call beside a running gateway: own SIP port, no registration, one voice."""
    if agent is None:
        if play is not None and not play.is_file():
            raise ConfigError([f"--play {play}: there is no such file"])
        voice = WavConfig(play=play, recording=True)
    elif agent in config.agents:
        voice = config.agents[agent].model_copy(update={"recording": True})
    else:
        raise ConfigError([f"--agent {agent}: there is no [agents.{agent}]"])
    trunks = {
        name: trunk.model_copy(update={"registrar": None, "peer": trunk.server, "options_interval_s": 0.0})
        for name, trunk in config.trunks.items()
    }
    listen = [ListenUrl(transport=url.transport, host=url.host, port=0) for url in config.sip.listen]
    return config.model_copy(
        update={
            "gateway": config.gateway.model_copy(update={"workers": 0, "state_dir": folder}),
            "sip": config.sip.model_copy(update={"listen": listen}),
            "trunks": trunks,
            "agents": {AGENT: voice},
            "routes": [],
        }
    )


async def _dial(switch: Switch, target: str, trunk: str | None) -> str:
    """Wait for the trunk's address, then call."""
    candidates = [candidate for candidate in switch.trunks.values() if trunk in (None, candidate.name)]
    try:
        async with asyncio.timeout(TARGETS_TIMEOUT):
            for candidate in candidates:
                await candidate.resolved.wait()
    except TimeoutError:
        raise CallRefused(503, "; ".join(f"trunk {found.name}: {found.reason}" for found in candidates)) from None
    return await switch.place_call(target, AGENT, trunk)


async def _until_over(switch: Switch, call_id: str, dtmf: str | None) -> None:
    call = switch.calls.get(call_id)
    if call is None:
        raise CallRefused(503, "the call was over at once")
    over = asyncio.create_task(call.over.wait())
    if dtmf is not None:
        keys = asyncio.create_task(call.up.wait())
        await asyncio.wait({over, keys}, return_when=asyncio.FIRST_COMPLETED)
        keys.cancel()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(over), DTMF_DELAY)
        call.press(dtmf)
    try:
        await asyncio.shield(over)
    except asyncio.CancelledError:
        # Ctrl-C ends the call, not the command: its record and recording are still wanted
        switch.hang_up(call_id)
        await over


def _keep_recording(ended: CallRecord, wanted: Path | None) -> None:
    """Move the recording to where it was asked for; without a wish it goes with the temporary folder."""
    recording, ended.recording = ended.recording, None
    if wanted is None or recording is None:
        return
    try:
        shutil.copyfile(recording, wanted)
    except OSError as error:
        raise GatewayError(f"--record {wanted}: cannot be written ({error.strerror})") from None
    ended.recording = str(wanted)
