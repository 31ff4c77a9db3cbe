"""A machine of the test's own: this one's files under an overlay, with systemd as PID 1 in namespaces of its own.

What is installed, enabled or written in it is gone with it. It has this machine's network.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from .processes import Program, Programs

_BOOT = """
set -e
base=$1
mount -t tmpfs tmpfs "$base"
mkdir "$base/upper" "$base/work" "$base/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" "$base/root"
root=$base/root
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mount --rbind /dev "$root/dev"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mkdir -p "$root/mnt"
mount --bind "$2" "$root/mnt"
cat >"$root/etc/systemd/system/machine.target" <<END
[Unit]
DefaultDependencies=no
Wants=systemd-journald.service
END
# The kernel is this machine's: nothing may set it up a second time.
for folder in lib etc; do
    rm -rf "$root/$folder/systemd/system/sysinit.target.wants" "$root/$folder/systemd/system/local-fs.target.wants"
done
rm -f "$root/usr/sbin/policy-rc.d"
mkdir "$root/before"
cd "$root"
pivot_root . before
umount -l /before
# Credentials come to a service by mount propagation, which a container's manager leaves to who made the container.
mount --make-rshared /
container=test exec /lib/systemd/systemd --system --unit=machine.target --log-target=journal
"""

_TRY = "mount -t tmpfs tmpfs /mnt && mkdir /mnt/u /mnt/w /mnt/r && mount -t overlay o -o {} /mnt/r".format(
    "lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w"
)


def can_boot() -> bool:
    """Whether this process may make namespaces and overlays."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-m", "sh", "-c", _TRY], capture_output=True).returncode == 0


class Machine:
    """Usage: `async with Machine(programs, shared) as machine: await machine.run("dpkg", "-i", "/mnt/x.deb")`."""

    def __init__(self, programs: Programs, shared: Path) -> None:
        """`shared` is /mnt in the machine."""
        self.root = programs.directory / "machine" / "root"
        """Its files, as this process reaches them once it runs."""
        self._programs = programs
        self._shared = shared
        self._program: Program | None = None
        self._init = 0

    async def __aenter__(self) -> Self:
        base = self._programs.directory / "machine"
        base.mkdir()
        boot = ["unshare", "-mpfuiC", "--kill-child", "sh", "-c", _BOOT, "boot", base, self._shared]
        self._program = self._programs.start("machine", boot)
        async with asyncio.timeout(30):
            while not await self._is_up():
                assert self._program.exit_status is None, self._program.tail()
                await asyncio.sleep(0.05)
        self.root = Path(f"/proc/{self._init}/root")
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if self._init:
            # PID 1 of a namespace takes all of it along
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._init, signal.SIGKILL)
        if self._program is not None:
            await asyncio.to_thread(self._program.stop)

    async def _is_up(self) -> bool:
        assert self._program is not None
        pid = self._program.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if not children or "systemd" not in Path(f"/proc/{children[0]}/comm").read_text():
            return False
        self._init = int(children[0])
        status, _ = await self.run("systemctl", "is-system-running")
        return status in (0, 1) and (await self.run("systemctl", "is-active", "machine.target"))[0] == 0

    async def start(self, *command: object) -> asyncio.subprocess.Process:
        """Begin a command in the machine; its standard error is on its standard output."""
        enter = ["nsenter", "-t", str(self._init), "-m", "-p", "-u", "-i", "-C", "-r", "-w"]
        return await asyncio.create_subprocess_exec(
            *enter,
            *map(str, command),
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def run(self, *command: object, timeout_s: float = 60.0) -> tuple[int, str]:
        """Run a command in the machine: exit status and what it wrote."""
        process = await self.start(*command)
        async with asyncio.timeout(timeout_s):
            output, _ = await process.communicate()
        return process.returncode or 0, output.decode()

    async def do(self, *command: object, timeout_s: float = 60.0) -> str:
        """Run a command that must succeed; what it wrote."""
        status, output = await self.run(*command, timeout_s=timeout_s)
        assert status == 0, f"{command} ended with {status}:\n{output}\n{await self.journal()}"
        return output

    async def show(self, key: str) -> str:
        """A property of the service."""
        return (await self.do("systemctl", "show", "--value", "-p", key, "trunkline.service")).strip()

    async def journal(self) -> str:
        """What the service and systemd said of it."""
        return (await self.run("journalctl", "--no-pager", "-o", "cat", "-u", "trunkline.service"))[1]
