"""tshark as capturer and judge of RTP streams, and pcap files of our own for SIPp to play."""

import socket
import struct
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .ports import HOST
from .processes import Programs
from .waiting import until

_PCAP_HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
_END = b"the end of this capture"
_FIELDS = ("frame.time_epoch", "udp.srcport", "udp.dstport", "rtp.ssrc", "rtp.p_type", "rtp.seq", "rtp.timestamp")


@dataclass(frozen=True)
class RtpPacket:
    """One RTP packet as tshark read it."""

    at: float
    """Seconds since the epoch."""
    source: int
    destination: int
    ssrc: int
    payload_type: int
    sequence: int
    timestamp: int
    marker: bool
    payload: bytes


@dataclass(frozen=True)
class RtpStream:
    """One line of tshark's own RTP stream analysis."""

    source: int
    destination: int
    ssrc: int
    payload: str
    packets: int
    lost: int
    max_delta_ms: float
    mean_jitter_ms: float
    max_jitter_ms: float
    problems: bool


class Capture:
    """A running capture of loopback, written to `path`."""

    def __init__(self, programs: Programs, ports: str) -> None:
        # What is captured is written some time later, and what waits at the end is lost: a last packet of our own
        # in the file says that everything before it is there too.
        self._last = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._last.bind((HOST, 0))
        self.path = programs.directory / f"capture-{len(programs.started)}.pcap"
        wanted = f"{ports} or udp port {self._last.getsockname()[1]}"
        self._program = programs.start("dumpcap", ["dumpcap", "-q", "-i", "lo", "-P", "-f", wanted, "-w", self.path])
        self._program.wait_for(r"^File: ", 15)

    def stop(self) -> Path:
        """End the capture when all that was sent before is in the file."""
        self._last.sendto(_END, self._last.getsockname())
        until(lambda: _END in self.path.read_bytes(), 10, "the capture to be written")
        self._last.close()
        self._program.stop()
        return self.path


def start_capture(programs: Programs, *ports: range) -> Capture:
    """Capture the UDP of these ports on loopback."""
    return Capture(programs, " or ".join(f"udp portrange {part.start}-{part.stop - 1}" for part in ports))


def _tshark(path: Path, *arguments: str) -> str:
    command = ["tshark", "-n", "-r", str(path), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def _as_rtp(ports: Iterable[int]) -> list[str]:
    return [argument for port in ports for argument in ("-d", f"udp.port=={port},rtp")]


def rtp_packets(path: Path, ports: Iterable[int]) -> list[RtpPacket]:
    """All packets from or to `ports` that are RTP, in the order of capture."""
    fields = [argument for field in (*_FIELDS, "rtp.marker", "rtp.payload") for argument in ("-e", field)]
    lines = _tshark(path, *_as_rtp(ports), "-Y", "rtp.version == 2", "-T", "fields", *fields).splitlines()
    packets = []
    for line in lines:
        at, source, destination, ssrc, kind, sequence, timestamp, marker, payload = line.split("\t")
        packets.append(
            RtpPacket(
                float(at),
                int(source),
                int(destination),
                int(ssrc, 16),
                int(kind),
                int(sequence),
                int(timestamp),
                marker in ("1", "True"),
                bytes.fromhex(payload),
            )
        )
    return packets


def faults(path: Path, *, rtp: Iterable[int], rtcp: Iterable[int], sip: int) -> list[str]:
    """What tshark's dissectors object to: malformed packets, and whatever they call an error."""
    decode = [*_as_rtp(rtp), *(argument for port in rtcp for argument in ("-d", f"udp.port=={port},rtcp"))]
    objections = "_ws.malformed || _ws.expert.severity >= error"
    return _tshark(path, *decode, "-d", f"udp.port=={sip},sip", "-Y", objections).splitlines()


def sender_reports(path: Path, rtcp: Iterable[int]) -> list[tuple[int, int]]:
    """Source port and SSRC of every RTCP sender report of the given ports."""
    decode = [argument for port in rtcp for argument in ("-d", f"udp.port=={port},rtcp")]
    fields = ["-T", "fields", "-e", "udp.srcport", "-e", "rtcp.senderssrc"]
    lines = _tshark(path, *decode, "-Y", "rtcp.pt == 200", *fields).splitlines()
    return [(int(port), int(ssrc.split(",")[0], 16)) for port, ssrc in (line.split("\t") for line in lines)]


def rtp_streams(path: Path, ports: Iterable[int]) -> list[RtpStream]:
    """tshark's verdict on every RTP stream from or to `ports`."""
    streams = []
    for line in _tshark(path, *_as_rtp(ports), "-q", "-z", "rtp,streams").splitlines():
        words = line.split()
        if "0x" not in line or len(words) < 13:
            continue
        ssrc = next(index for index, word in enumerate(words) if word.startswith("0x"))
        payload_end = next(index for index in range(len(words) - 1, ssrc, -1) if words[index].endswith("%)"))
        streams.append(_stream(words, ssrc, payload_end))
    return streams


def _stream(words: list[str], ssrc: int, lost_share: int) -> RtpStream:
    # … source port, destination address, destination port, SSRC, payload name (one word or more), packets, lost,
    # (share), then min/mean/max delta, min/mean/max jitter, and an X where tshark saw a problem.
    figures = [float(word) for word in words[lost_share + 1 : lost_share + 7]]
    return RtpStream(
        source=int(words[ssrc - 3]),
        destination=int(words[ssrc - 1]),
        ssrc=int(words[ssrc], 16),
        payload=" ".join(words[ssrc + 1 : lost_share - 2]),
        packets=int(words[lost_share - 2]),
        lost=int(words[lost_share - 1]),
        max_delta_ms=figures[2],
        mean_jitter_ms=figures[4],
        max_jitter_ms=figures[5],
        problems=words[-1] == "X",
    )


def sip_call_ids(path: Path, port: int) -> list[str]:
    """The Call-ID of each SIP message from or to `port`."""
    return _tshark(path, "-d", f"udp.port=={port},sip", "-Y", "sip", "-T", "fields", "-e", "sip.Call-ID").splitlines()


def sip_methods(path: Path, port: int) -> list[str]:
    """Method or status of each SIP message from or to `port`."""
    fields = ["-T", "fields", "-e", "sip.Method", "-e", "sip.Status-Code"]
    return [line.strip() for line in _tshark(path, "-d", f"udp.port=={port},sip", "-Y", "sip", *fields).splitlines()]


def write_udp_pcap(path: Path, packets: Iterable[tuple[float, int, int, bytes]]) -> Path:
    """A pcap of datagrams on loopback: Unix time, source port, destination port, payload."""
    with path.open("wb") as file:
        file.write(_PCAP_HEADER)
        for at, source, destination, payload in packets:
            frame = _frame(source, destination, payload)
            seconds, micros = divmod(round(at * 1_000_000), 1_000_000)
            file.write(struct.pack("<IIII", seconds, micros, len(frame), len(frame)) + frame)
    return path


def _frame(source: int, destination: int, payload: bytes) -> bytes:
    """An Ethernet frame with one datagram on loopback."""
    udp = struct.pack("!HHHH", source, destination, 8 + len(payload), 0) + payload
    ip = struct.pack("!BBHHHBBHII", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, 0x7F000001, 0x7F000001) + udp
    return bytes(12) + b"\x08\x00" + ip


def write_rtp_pcap(
    path: Path,
    payload: bytes,
    *,
    payload_type: int,
    ssrc: int = 0x5EED,
    first_sequence: int = 0,
    first_timestamp: int = 0,
    octets: int = 160,
) -> Path:
    """A pcap of one talk spurt of 8 kHz G.711 in packets of `octets`, for SIPp to play."""
    with path.open("wb") as file:
        file.write(_PCAP_HEADER)
        for number in range(len(payload) // octets):
            body = payload[number * octets : (number + 1) * octets]
            kind = payload_type | (0x80 if number == 0 else 0)
            sequence = (first_sequence + number) & 0xFFFF
            rtp = struct.pack("!BBHII", 0x80, kind, sequence, first_timestamp + number * octets, ssrc) + body
            frame = _frame(5004, 5004, rtp)
            micros = number * octets * 125
            file.write(struct.pack("<IIII", micros // 1_000_000, micros % 1_000_000, len(frame), len(frame)) + frame)
    return path
