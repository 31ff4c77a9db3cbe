"""The systemd unit: verified, sandboxed, consistent with the code, and started by its own command line."""

import asyncio
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.lab import PASSWORD, USER, LabGateway, eventually
from support.notify import NotifySocket
from support.peers import require
from support.ports import Ports
from support.processes import Programs
from support.unit import REALTIME, ROOT, UNIT, assignment, assignments

from trunkline.gateway.config_tables import GatewayConfig
from trunkline.gateway.lab.agent import AgentOptions
from trunkline.gateway.service import READY_WITHIN, STOP_MARGIN
from trunkline.gateway.workers import READY_TIMEOUT, STUCK_AFTER

EXPOSURE = 20
"""Ten times the exposure level that `systemd-analyze security` may find; a bare unit has 96."""


def installed_here(unit: Path, directory: Path) -> Path:
    """The unit as it would be with /opt/trunkline at this test's own environment: systemd looks for the program."""
    directory.mkdir(exist_ok=True)
    copy = directory / unit.name
    copy.write_text(unit.read_text().replace("/opt/trunkline/bin", str(Path(sys.executable).parent)))
    return copy


def analyze(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *map(str, arguments)], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("realtime", [False, True], ids=["as shipped", "with the realtime drop-in"])
def test_systemd_finds_nothing_wrong(tmp_path: Path, realtime: bool) -> None:
    require("systemd-analyze")
    unit = installed_here(UNIT, tmp_path)
    if realtime:
        installed_here(REALTIME, tmp_path / "trunkline.service.d")
    verdict = analyze("verify", unit)
    assert (verdict.stdout, verdict.stderr, verdict.returncode) == ("", "", 0)


def test_verify_would_tell(tmp_path: Path) -> None:
    require("systemd-analyze")
    unit = installed_here(UNIT, tmp_path)
    unit.write_text(unit.read_text().replace("WatchdogSec=20", "WatchdogSec=soon"))
    assert "Failed to parse" in analyze("verify", unit).stderr


def test_the_sandbox_is_tight(tmp_path: Path) -> None:
    require("systemd-analyze")
    verdict = analyze("security", "--offline=true", f"--threshold={EXPOSURE}", installed_here(UNIT, tmp_path))
    assert verdict.returncode == 0, verdict.stdout[-4000:]
    assert verdict.stderr == ""


def test_times_fit_the_code() -> None:
    assert float(assignment("TimeoutStopSec")) >= GatewayConfig().drain_s + STOP_MARGIN
    assert float(assignment("TimeoutStartSec")) >= READY_TIMEOUT + READY_WITHIN + 30
    # A stuck worker is replaced before the watchdog takes the whole gateway down.
    assert float(assignment("WatchdogSec")) / 2 > STUCK_AFTER + 2


def test_each_credential_can_be_missing_and_is_documented() -> None:
    names = [value.partition(":")[0] for value in assignments("LoadCredential")]
    assert assignments("SetCredential") == [f"{name}:\\n" for name in names]
    assert assignments("LoadCredential") == [f"{name}:/etc/trunkline/credentials/{name}" for name in names]
    guide = (ROOT / "docs" / "operations.md").read_text()
    assert [name for name in names if f"`{name}`" not in guide] == []


async def test_the_command_line_of_the_unit_tells_systemd_everything_in_order(programs: Programs, ports: Ports) -> None:
    async with LabGateway(programs, ports, AgentOptions(script=("greeting", "wait"))) as lab:
        credentials = lab.directory / "credentials"
        credentials.mkdir()
        (credentials / "trunk-password").write_text(PASSWORD + "\n")
        lab.write_config(trunks__lab={"password": "%trunk-password"})
        (command,) = assignments("ExecStart")
        hang_up, check = assignments("ExecReload")
        here = {"/opt/trunkline/bin/": f"{Path(sys.executable).parent}/", "/etc/trunkline/": f"{lab.directory}/"}

        def words(line: str) -> list[str]:
            for installed, mine in here.items():
                line = line.replace(installed, mine)
            return shlex.split(line.replace("$MAINPID", str(lab.program.pid) if lab._program else ""))

        with NotifySocket(lab.directory / "notify") as heard:
            lab.env |= {
                "NOTIFY_SOCKET": str(heard.path),
                "WATCHDOG_USEC": "1000000",
                "CREDENTIALS_DIRECTORY": str(credentials),
            }
            await lab.start(command=words(command), ready=False)
            await eventually(lambda: heard.times("READY"), 30, "READY=1")
            assert USER in lab.trunk.agent.bindings, "ready before the trunk was registered"
            await lab.until_ready()

            caller = await lab.call()
            await eventually(lambda: "taking calls; 1 call; 1 of 1 trunks up" in heard.statuses()[-1], 5, "one call")
            await eventually(lambda: len(heard.times("WATCHDOG")) >= 4, 5, "the watchdog to be fed")

            lab.write_config(trunks__lab={"password": "%trunk-password", "max_calls": 9})
            environment = {**os.environ, **lab.env}
            for line in (hang_up, check):
                process = await asyncio.create_subprocess_exec(*words(line), env=environment)
                assert await process.wait() == 0
            await eventually(lambda: len(heard.times("READY")) == 2, 5, "READY=1 after the reload")
            assert not caller.ended.is_set()

            # A credential that is an empty line, as SetCredential= leaves it, is named.
            (credentials / "trunk-password").write_text("\n")
            process = await asyncio.create_subprocess_exec(
                *words(check), env=environment, stderr=asyncio.subprocess.PIPE
            )
            _, mistakes = await process.communicate()
            assert process.returncode == 2
            assert b"trunks.lab.password: systemd credential trunk-password is empty" in mistakes
            lab.program.signal(signal.SIGHUP)
            await eventually(lambda: "last reload refused: " in heard.statuses()[-1], 5, "the refusal in the status")

            lab.program.signal(signal.SIGTERM)
            await eventually(lambda: heard.times("STOPPING"), 5, "STOPPING=1")
            assert heard.statuses()[-1].startswith("draining for at most 5 s; 1 call")
            caller.hang_up()
            assert await lab.wait() == 0
        lab_log = lab.program.output()
    order = ["READY", "WATCHDOG", "RELOADING", "STOPPING"]
    first = [heard.times(key)[0] for key in order]
    assert first == sorted(first), dict(zip(order, first, strict=True))
    assert "STATUS" in heard.messages[first[0]]
    begun = heard.messages[heard.times("RELOADING")[0]]
    assert int(begun["MONOTONIC_USEC"]) > 0
    assert heard.times("RELOADING")[0] < heard.times("READY")[1], "the end of the reload came before its beginning"
    assert int(heard.messages[heard.times("STOPPING")[0]]["EXTEND_TIMEOUT_USEC"]) == (5 + STOP_MARGIN) * 1e6
    assert PASSWORD not in str(heard.messages) + lab_log
    assert shutil.which(words(hang_up)[0]), "procps is not installed"


async def test_a_second_sigterm_ends_the_drain(programs: Programs, ports: Ports) -> None:
    async with LabGateway(programs, ports, AgentOptions(script=("greeting", "wait")), gateway={"drain_s": 600}) as lab:
        await lab.start()
        caller = await lab.call()
        lab.program.signal(signal.SIGTERM)
        await eventually(lambda: lab.log("draining"), 5, "the drain")
        lab.program.signal(signal.SIGTERM)
        assert await lab.wait() == 0
        async with asyncio.timeout(5):
            await caller.ended.wait()
        (record,) = lab.stored()
    assert (record["ended_by"], record["end_reason"]) == ("gateway", "gateway stops")
