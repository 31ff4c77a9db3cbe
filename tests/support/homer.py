"""Kamailio's sipcapture as a Homer collector: the decoder of the people who made HEP."""

import re
from dataclasses import dataclass

from .ports import HOST, Ports
from .processes import Programs

_CONFIGURATION = """#!KAMAILIO
debug=2
log_stderror=yes
fork=yes
children=1
disable_tcp=yes
auto_aliases=no
dns=no
rev_dns=no
listen=udp:{host}:{port}

loadmodule "pv.so"
loadmodule "xlog.so"
loadmodule "db_text.so"
loadmodule "sipcapture.so"

modparam("xlog", "buf_size", 65536)
modparam("sipcapture", "db_url", "text://{directory}")
modparam("sipcapture", "capture_on", 1)
modparam("sipcapture", "hep_capture_on", 1)
modparam("sipcapture", "nonsip_hook", 1)

request_route {{
    exit;
}}

onreply_route {{
    drop;
}}

event_route[sipcapture:request] {{
    xlog("L_NOTICE", "HEP|{chunks}|\\n");
}}
"""
_CHUNKS = (0x01, 0x02, 0x03, 0x04, 0x07, 0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x0E, 0x11)


@dataclass(frozen=True)
class Packet:
    """One HEP packet as Kamailio decoded it."""

    family: int
    protocol: int
    source: tuple[str, int]
    destination: tuple[str, int]
    at: float
    kind: int
    capture_id: int
    password: str
    correlation_id: str
    payload: bytes


class Homer:
    """A collector that writes down what it decodes."""

    def __init__(self, programs: Programs, ports: Ports) -> None:
        self.port = ports.take()
        directory = programs.directory / f"homer-{self.port}"
        directory.mkdir()
        chunks = "|".join(f"$hep({chunk:#05x})" for chunk in _CHUNKS) + "|$(hep(0x00f){s.encode.hexa})"
        path = directory / "kamailio.cfg"
        text = _CONFIGURATION.format(host=HOST, port=self.port, directory=directory, chunks="CHUNKS")
        path.write_text(text.replace("CHUNKS", chunks))
        self._program = programs.start("homer", ["kamailio", "-f", path, "-DD", "-E", "-Y", directory])
        self._program.wait_for(r"Listening on", 15)

    @property
    def url(self) -> str:
        """What `[hep] collector` names."""
        return f"udp://{HOST}:{self.port}"

    def packets(self) -> list[Packet]:
        """All so far, in the order in which they came."""
        return [_packet(line.split("|")) for line in re.findall(r"HEP\|(.*)\|$", self._program.output(), re.MULTILINE)]


def _packet(values: list[str]) -> Packet:
    family, protocol, source, destination, source_port, destination_port, seconds, micros, *rest = values
    kind, capture_id, password, correlation_id, payload = rest
    return Packet(
        int(family),
        int(protocol),
        (source, int(source_port)),
        (destination, int(destination_port)),
        int(seconds) + int(micros) / 1_000_000,
        int(kind),
        int(capture_id),
        password,
        correlation_id,
        bytes.fromhex(payload),
    )
