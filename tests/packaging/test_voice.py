"""The service's sandbox lets espeak-ng speak: a page must not fall back to prompts because of it."""

from pathlib import Path

import pytest
from support.machine import Machine
from support.peers import require
from support.processes import Programs

pytestmark = pytest.mark.packaging
UNIT = Path(__file__).parents[2] / "conf" / "trunkline.service"
SANDBOX_BEGINS = "NoNewPrivileges="


async def test_espeak_ng_speaks_in_the_sandbox_of_the_unit(programs: Programs, tmp_path: Path) -> None:
    require("machine", "systemd", "espeak-ng")
    text = UNIT.read_text()
    sandbox = text[text.index(SANDBOX_BEGINS) : text.index("[Install]")]
    assert "SystemCallFilter=" in sandbox
    service = (
        "[Service]\nType=oneshot\nDynamicUser=yes\nStateDirectory=trunkline-voice\nStandardInput=data\n"
        "StandardInputText=Call quality is bad\nStandardOutput=truncate:/run/spoken.wav\n"
        "ExecStart=/usr/bin/espeak-ng -v en-us -s 150 --stdin --stdout\n"
    )
    (tmp_path / "trunkline-voice.service").write_text(service + sandbox)
    async with Machine(programs, tmp_path) as machine:
        await machine.do("cp", "/mnt/trunkline-voice.service", "/etc/systemd/system/")
        await machine.do("systemctl", "daemon-reload")
        await machine.do("systemctl", "start", "trunkline-voice")
        size = await machine.do("stat", "-c", "%s", "/run/spoken.wav")
    assert int(size) > 22050
