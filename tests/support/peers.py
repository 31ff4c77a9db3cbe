"""Which foreign programs the interop tests need, and what to say when one is missing.

A missing program skips the test with its install command; with TRUNKLINE_REQUIRE_PEERS=1 (as CI sets it) the
test fails instead.
"""

import importlib.util
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from .machine import can_boot

SIPP_PCAP = Path("/usr/share/sip-tester/g711a.pcap")
SPEECH = Path("/usr/share/asterisk/sounds/en_US_f_Allison")
BARESIP_MODULES = Path("/usr/lib/baresip/modules")
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), Path("/usr/lib/libfaketime.so.1"))


@dataclass(frozen=True)
class Peer:
    """A foreign program: how to see that it is here and how to install it."""

    present: Callable[[], bool]
    install: str


def _program(name: str) -> Callable[[], bool]:
    return lambda: shutil.which(name) is not None or Path("/usr/sbin", name).exists()


PEERS = {
    "kamailio": Peer(_program("kamailio"), "apt-get install kamailio"),
    "sipp": Peer(_program("sipp"), "apt-get install sip-tester"),
    "g711a.pcap": Peer(SIPP_PCAP.exists, "apt-get install sip-tester"),
    "baresip": Peer(
        lambda: _program("baresip")() and (BARESIP_MODULES / "opus.so").exists(), "apt-get install baresip-core"
    ),
    "speech": Peer(SPEECH.is_dir, "apt-get install asterisk-core-sounds-en-wav"),
    "espeak-ng": Peer(_program("espeak-ng"), "apt-get install espeak-ng"),
    "tshark": Peer(_program("tshark"), "apt-get install tshark"),
    "prometheus": Peer(lambda: _program("prometheus")() and _program("promtool")(), "apt-get install prometheus"),
    "alertmanager": Peer(
        lambda: _program("prometheus-alertmanager")() and _program("amtool")(),
        "apt-get install prometheus-alertmanager",
    ),
    "pjsua2": Peer(lambda: importlib.util.find_spec("pjsua2") is not None, "pip install pjsua2-pybind11"),
    "chromium": Peer(_program("chromium"), "apt-get install chromium"),
    "libfaketime": Peer(FAKETIME.exists, "apt-get install libfaketime"),
    "systemd-analyze": Peer(_program("systemd-analyze"), "apt-get install systemd"),
    "systemd": Peer(Path("/lib/systemd/systemd").exists, "apt-get install systemd"),
    "machine": Peer(can_boot, "run as root where namespaces and overlays may be made (systemd is booted in one)"),
    "dpkg-deb": Peer(_program("dpkg-deb"), "apt-get install dpkg"),
    "lintian": Peer(_program("lintian"), "apt-get install lintian"),
    "raw sockets": Peer(lambda: os.geteuid() == 0, "run as root (SIPp plays a pcap and tshark captures by raw socket)"),
}


def require(*names: str) -> None:
    """Skip the test, or fail it under TRUNKLINE_REQUIRE_PEERS=1, when one of these peers is not installed."""
    for name in names:
        if PEERS[name].present():
            continue
        reason = f"{name} is not installed: {PEERS[name].install}"
        if os.environ.get("TRUNKLINE_REQUIRE_PEERS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
