"""The Debian package on a machine of its own: installed, started, called, reloaded, upgraded with a drain, purged."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.lab import API_KEY, NUMBER, PASSWORD, USER, LabGateway, eventually
from support.machine import Machine
from support.mail import MailServer
from support.peers import require
from support.ports import HOST, Ports
from support.processes import Programs
from support.unit import ROOT

from trunkline.gateway.lab.agent import AgentOptions

pytestmark = pytest.mark.packaging


class Built:
    """The package, and lintian at work on it."""

    def __init__(self, package: Path) -> None:
        self.package = package
        self.lintian = subprocess.Popen(
            ["lintian", "--no-cfg", "--allow-root", "--fail-on", "error", str(package)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    require("dpkg-deb", "lintian")
    folder = tmp_path_factory.mktemp("deb")
    environment = {**os.environ, "PIP": f"{sys.executable} -m pip", "COMPRESS": "-Zgzip -z1"}
    done = subprocess.run(
        [ROOT / "packaging" / "build-deb.sh", folder], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    one = Built(Path(done.stdout.split()[-1]))
    yield one
    one.lintian.kill()
    one.lintian.communicate()


async def test_the_package_lives_on_a_machine(built: Built, programs: Programs, ports: Ports) -> None:
    require("systemd", "machine")
    homer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    homer.bind((HOST, 0))
    homer.setblocking(False)
    async with (
        MailServer() as mail,
        LabGateway(programs, ports, AgentOptions(script=("greeting", "wait"))) as lab,
        Machine(programs, built.package.parent) as machine,
    ):
        deb = f"/mnt/{built.package.name}"
        settings = {
            "SIP__LISTEN": json.dumps([f"udp://{HOST}:{lab.sip_port}"]),
            "HTTP__LISTEN": f"{HOST}:{lab.http_port}",
            "GATEWAY__WORKERS": "1",
        }
        override = machine.root / "etc/systemd/system/trunkline.service.d"
        override.mkdir()
        lines = [f"Environment='TRUNKLINE_{key}={value}'" for key, value in settings.items()]
        (override / "test.conf").write_text("\n".join(["[Service]", "WatchdogSec=4", *lines, ""]))

        # Installed, it runs: without a trunk, without privileges.
        await machine.do("dpkg", "-i", deb, timeout_s=120)
        assert await machine.show("StatusText") == "no trunk is configured; 0 calls; 0 of 0 trunks up"
        assert (await machine.do("systemctl", "is-enabled", "trunkline")).strip() == "enabled"
        status = await _process_status(machine)
        assert status["Uid"].split()[0] not in ("0", "65534")
        assert (status["CapEff"], status["NoNewPrivs"], status["Seccomp"]) == ("0000000000000000", "1", "2")

        # Configured as its guide says, it takes a call inside its sandbox.
        configured = lab.write_config(trunks__lab={"password": "%trunk-password"}, gateway={"state_dir": None})
        text = configured.read_text().replace("$LAB_API_KEY", "%openai-key") + (
            f'[hep]\ncollector = "udp://{HOST}:{homer.getsockname()[1]}"\n'
            f'[alerts.channels.mail]\nkind = "email"\nhost = "{HOST}"\nport = {mail.port}\nsecurity = "none"\n'
            'sender = "edge1@example.com"\nto = ["voice-team@example.com"]\n'
        )
        installed = machine.root / "etc/trunkline/trunkline.toml"
        installed.write_text(text)
        secrets = machine.root / "etc/trunkline/credentials"
        assert secrets.stat().st_mode & 0o777 == 0o700
        assert "systemd credential trunk-password cannot be read" in (await machine.run("trunkline", "check"))[1]
        (secrets / "trunk-password").write_text(f"{PASSWORD}\n")
        (secrets / "openai-key").write_text(f"{API_KEY}\n")
        await machine.do("trunkline", "check")
        await machine.do("systemctl", "restart", "trunkline")
        caller = await lab.call()
        async with asyncio.timeout(5):
            while "taking calls; 1 call; 1 of 1 trunks up" not in await machine.show("StatusText"):
                await asyncio.sleep(0.1)

        # The journal finds the lines of a call by its identifier, the worker's among them.
        (live,) = await lab.calls()
        found = await machine.do("journalctl", "--no-pager", "-o", "json", f"TRUNKLINE_CALL={live['id']}")
        entries = [json.loads(line) for line in found.splitlines()]
        assert {"incoming call", "media source"} <= {entry["TRUNKLINE_EVENT"] for entry in entries}
        assert {(entry["PRIORITY"], entry["SYSLOG_IDENTIFIER"]) for entry in entries} == {("6", "trunkline")}
        assert {json.loads(entry["MESSAGE"])["call"] for entry in entries} == {live["id"]}
        assert len({entry["_PID"] for entry in entries}) == 2

        # What looks in and reaches out works in the sandbox: console, command line, collector, mail, kept calls.
        page = await lab.ask("GET", "/")
        assert (page.status, "15550100" in page.text) == (200, False)
        assert (await lab.ask("GET", "/static/console.css")).status == 200
        assert "  1 call  " in await machine.do("trunkline", "top", "--once")
        assert isinstance(json.loads(await machine.do("trunkline", "alerts", "--json")), list)
        assert "mail: delivered" in await machine.do("trunkline", "alerts", "test", "mail")
        assert len(mail.mails) == 1
        assert homer.recv(65536).startswith(b"HEP3")
        homer.close()
        placed = await lab.ask("POST", "/api/calls", {"to": "15559999", "agent": "reception"})
        refused = placed.json["id"]
        kept = machine.root / "var/lib/private/trunkline/flight" / f"{refused}.tlf"
        await eventually(kept.exists, 10, "the refused call to be kept")
        assert "480 Temporarily Unavailable" in await machine.do("trunkline", "trace", refused)

        # A reload under the call; a broken file is refused, by systemctl too.
        installed.write_text(text.replace("[trunks.lab]", "[trunks.lab]\nmax_calls = 5"))
        await machine.do("systemctl", "reload", "trunkline")
        installed.write_text(
            text.replace("max_calls", "max_cals").replace("[trunks.lab]", "[trunks.lab]\nmax_cals = 5")
        )
        assert (await machine.run("systemctl", "reload", "trunkline"))[0] != 0
        journal = await machine.journal()
        assert '"changed":["trunks.lab"]' in journal
        assert "trunks.lab.max_cals: unknown key; did you mean max_calls?" in journal
        assert await machine.show("ActiveState") == "active"
        installed.write_text(text)

        # An upgrade waits for the call, refuses the next, and keeps configuration and records.
        upgrade = await machine.start("dpkg", "-i", deb)
        async with asyncio.timeout(10):
            while "draining" not in await machine.show("StatusText"):
                await asyncio.sleep(0.05)
        assert upgrade.returncode is None
        await caller.hear_quiet()
        caller.hang_up()
        async with asyncio.timeout(90):
            output, _ = await upgrade.communicate()
        assert upgrade.returncode == 0, output.decode()
        assert installed.read_text() == text
        again = await lab.call("15550101")
        again.hang_up()
        await lab.ended(3)
        calls = json.loads(await machine.do("trunkline", "calls", "--json"))
        assert [(call["from"], call["to"], call["ended_by"]) for call in calls] == [
            ("15550101", NUMBER, "caller"),
            (USER, "15559999", "trunk"),
            ("15550100", NUMBER, "caller"),
        ]

        # A gateway that hangs is found by the watchdog and started anew.
        await machine.do("systemctl", "kill", "--kill-whom=main", "-s", "STOP", "trunkline")
        async with asyncio.timeout(40):
            while await machine.show("NRestarts") == "0" or await machine.show("ActiveState") != "active":
                await asyncio.sleep(0.2)
        assert "Watchdog timeout" in await machine.journal()

        # Stopped, it has taken its registration back; purged, nothing is left.
        await eventually(lambda: USER in lab.trunk.agent.bindings, 10, "the registration")
        journal = await machine.journal()
        await machine.do("dpkg", "--purge", "trunkline", timeout_s=120)
        await eventually(lambda: USER not in lab.trunk.agent.bindings, 5, "the registration to be taken back")
        left = ["opt/trunkline", "etc/trunkline", "var/lib/trunkline", "var/lib/private/trunkline", "usr/bin/trunkline"]
        assert [path for path in left if os.path.lexists(machine.root / path)] == []
        assert (await machine.run("systemctl", "cat", "trunkline"))[0] != 0
        assert PASSWORD not in journal
        assert API_KEY not in journal
        assert "Traceback" not in journal


async def test_installed_by_make_and_upgraded_and_uninstalled(built: Built, programs: Programs, ports: Ports) -> None:
    """What `make install` runs, with the package's files as those that it would have built."""
    require("systemd", "machine")
    await asyncio.to_thread(
        subprocess.run, ["dpkg-deb", "-x", built.package, built.package.parent / "stage"], check=True
    )
    script = built.package.parent / "install.sh"
    script.write_bytes((ROOT / "packaging" / "install.sh").read_bytes())
    script.chmod(0o755)
    install = ["env", "STAGE=/mnt/stage", "UNITDIR=/lib/systemd/system", "BINDIR=/usr/bin", "/mnt/install.sh"]
    async with (
        LabGateway(programs, ports, AgentOptions(script=("greeting", "wait"))) as lab,
        Machine(programs, built.package.parent) as machine,
    ):
        await machine.do(*install, "install")
        text = lab.write_config(gateway={"state_dir": None}).read_text()
        text = text.replace("$LAB_PASSWORD", "%trunk-password").replace("$LAB_API_KEY", "%openai-key")
        configuration = machine.root / "etc/trunkline/trunkline.toml"
        configuration.write_text(text)
        secrets = machine.root / "etc/trunkline/credentials"
        assert (secrets.stat().st_mode & 0o777, machine.root.stat().st_mode & 0o777) == (0o700, 0o755)
        (secrets / "trunk-password").write_text(PASSWORD)
        (secrets / "openai-key").write_text(API_KEY)
        await machine.do("systemctl", "enable", "--now", "trunkline")
        caller = await lab.call()

        upgrade = await machine.start(*install, "upgrade")
        async with asyncio.timeout(10):
            while "draining" not in await machine.show("StatusText"):
                await asyncio.sleep(0.05)
        caller.hang_up()
        async with asyncio.timeout(90):
            output, _ = await upgrade.communicate()
        assert upgrade.returncode == 0, output.decode()
        assert configuration.read_text() == text
        assert await machine.show("ActiveState") == "active"
        assert len(json.loads(await machine.do("trunkline", "calls", "--json"))) == 1

        kept = await machine.do(*install, "uninstall")
        assert "Kept: /etc/trunkline and /var/lib/trunkline" in kept
        assert configuration.exists()
        assert (await machine.run("systemctl", "cat", "trunkline"))[0] != 0
        assert not (machine.root / "opt/trunkline").exists()
        await machine.do("env", "PURGE=1", *install[1:], "uninstall")
        assert not configuration.exists()


async def _process_status(machine: Machine) -> dict[str, str]:
    """/proc/PID/status of the service's main process."""
    text = await machine.do("cat", f"/proc/{await machine.show('MainPID')}/status")
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def test_lintian_finds_no_error(built: Built) -> None:
    output, _ = built.lintian.communicate(timeout=300)
    assert built.lintian.returncode == 0, output
