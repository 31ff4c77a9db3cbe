"""What the kernel knows of processes, cores and sockets (/proc)."""

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def cpu_s(pid: int) -> float:
    """User and system time of all threads of a process, s."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory_mb(pid: int) -> float:
    """Resident memory of a process, MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE / (1 << 20)


def cores_s() -> list[tuple[float, float]]:
    """For each core, how long it was busy since boot, and of that stolen by the hypervisor, s."""
    cores: list[tuple[float, float]] = []
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith("cpu") and line[3].isdigit():
            user, nice, system, _idle, _wait, irq, softirq, steal, *_ = (int(field) for field in line.split()[1:])
            cores.append(((user + nice + system + irq + softirq + steal) / _TICKS, steal / _TICKS))
    return cores


def udp_drops(ports: set[int]) -> int:
    """Datagrams that the sockets on these local ports had no room for, since they were made."""
    drops = 0
    for line in Path("/proc/net/udp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) in ports:
            drops += int(fields[-1])
    return drops


def child_running(parent: int, module: str) -> int | None:
    """The child of `parent` that runs `python -m module`."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent and module in (entry / "cmdline").read_text().split("\0"):
                return int(entry.name)
        except OSError:
            continue  # it ended meanwhile
    return None


def pin(pid: int, cores: set[int]) -> None:
    """Let every thread of a process run on these cores only."""
    for entry in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(entry.name), cores)


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds at one moment."""

    processes: dict[str, float]
    cores: list[tuple[float, float]]

    @classmethod
    def now(cls, processes: dict[str, int]) -> "Usage":
        return cls({name: cpu_s(pid) for name, pid in processes.items()}, cores_s())
