"""baresip as a phone that plays a WAV: configured in a directory of its own, driven over its ctrl_tcp module."""

import contextlib
import json
import socket
from pathlib import Path
from typing import Any

from .peers import BARESIP_MODULES
from .ports import HOST, Ports
from .processes import Program, Programs
from .waiting import until

RTP_PORTS = 20

_CONFIGURATION = """poll_method epoll
sip_listen {host}:{port}
module_path {modules}
audio_source aufile,{play}
audio_player aubridge,nowhere
audio_alert aubridge,nowhere
ausrc_srate 8000
ausrc_channels 1
auplay_srate 8000
auplay_channels 1
rtp_ports {rtp_first}-{rtp_last}
rtcp_mux no
net_interface {host}
module g711.so
module opus.so
module aufile.so
module aubridge.so
module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen {host}:{control}
call_max_calls 2
"""


class Baresip:
    """One baresip, reached by its own SIP port."""

    def __init__(self, program: Program, port: int, rtp_ports: range, control: int) -> None:
        self.program = program
        self.port = port
        self.rtp_ports = rtp_ports
        self._control = socket.create_connection((HOST, control), 5)
        self._control.settimeout(0.01)
        self._received = b""
        self._messages: list[dict[str, Any]] = []

    def dial(self, uri: str) -> None:
        """Place a call."""
        self._do("dial", uri)

    def hang_up(self) -> None:
        """End the call."""
        self._do("hangup")

    def press(self, digits: str) -> None:
        """Press keys in the call (RFC 4733)."""
        self._do("sndcode", digits)

    def event(self, kind: str, timeout_s: float = 20) -> dict[str, Any]:
        """Wait for an event of this type, such as CALL_ESTABLISHED or CALL_CLOSED."""

        def seen() -> list[dict[str, Any]]:
            self._read()
            return [message for message in self._messages if message.get("type") == kind]

        return until(seen, timeout_s, f"baresip's {kind}")[0]

    def close(self) -> None:
        """Close the control connection."""
        self._control.close()

    def _do(self, command: str, parameters: str = "") -> None:
        body = json.dumps({"command": command, "params": parameters, "token": command}).encode()
        self._control.sendall(b"%d:%s," % (len(body), body))

    def _read(self) -> None:
        with contextlib.suppress(TimeoutError):
            self._received += self._control.recv(65536)
        while b":" in self._received:
            length, _, rest = self._received.partition(b":")
            size = int(length)
            if len(rest) < size + 1:
                return
            self._messages.append(json.loads(rest[:size]))
            self._received = rest[size + 1 :]


def start_baresip(programs: Programs, ports: Ports, *, play: Path, codecs: str, answer: bool = False) -> Baresip:
    """Start a baresip that offers `codecs` (as `PCMA/8000` or `opus/48000/2`) and plays `play` (8 kHz mono WAV)."""
    port, control, rtp_first = ports.take_range(4), ports.take(), ports.take_range(RTP_PORTS)
    directory = programs.directory / f"baresip-{port}"
    directory.mkdir()
    text = _CONFIGURATION.format(
        host=HOST,
        port=port,
        control=control,
        modules=BARESIP_MODULES,
        play=play,
        rtp_first=rtp_first,
        rtp_last=rtp_first + RTP_PORTS,
    )
    (directory / "config").write_text(text)
    mode = "auto" if answer else "manual"
    account = f"<sip:baresip@{HOST}:{port}>;regint=0;answermode={mode};audio_codecs={codecs}\n"
    (directory / "accounts").write_text(account)
    (directory / "contacts").write_text("")
    program = programs.start("baresip", ["baresip", "-f", directory, "-v", "-s"])
    program.wait_for("baresip is ready", 15)
    return Baresip(program, port, range(rtp_first, rtp_first + RTP_PORTS), control)
