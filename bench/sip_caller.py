"""The least of a SIP caller: INVITE, ACK and BYE of many calls over one UDP socket, and how long set-up took."""

import socket
import struct
import time
from dataclasses import dataclass

from .batch import SO_TIMESTAMPNS, wall_clock_offset_ns

RETRANSMIT_NS = 500_000_000
_STAMP = struct.Struct("qq")


@dataclass(slots=True)
class Leg:
    """One call as its caller sees it."""

    number: int
    rtp_port: int
    call_id: str
    state: str = "new"
    """new, inviting, up, ending, over."""
    invited_ns: int = 0
    sent_ns: int = 0
    provisional: bool = False
    setup_ms: float | None = None
    status: int = 0
    to: str = ""
    target: str = ""
    remote: tuple[str, int] | None = None
    ended_by_gateway: bool = False


class SipCaller:
    """Owns the socket; `poll` reads it and returns the legs that were answered just now."""

    def __init__(self, host: str, gateway: tuple[str, int]) -> None:
        self._host = host
        self._gateway = gateway
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.setblocking(False)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._sock.bind((host, 0))
        self.port: int = self._sock.getsockname()[1]
        self.legs: dict[str, Leg] = {}
        self._offset_ns = wall_clock_offset_ns()

    def invite(self, number: int, rtp_port: int) -> None:
        """Begin a call that wants its RTP on this port."""
        leg = Leg(number, rtp_port, f"{number}-{time.monotonic_ns()}@{self._host}", "inviting")
        self.legs[leg.call_id] = leg
        leg.invited_ns = time.monotonic_ns()
        self._send_invite(leg)

    def bye(self, leg: Leg) -> None:
        """End an answered call; again, to retransmit."""
        leg.state = "ending"
        leg.sent_ns = time.monotonic_ns()
        self._send(f"BYE {leg.target} SIP/2.0", leg, "BYE", 2, leg.to)

    def poll(self) -> list[Leg]:
        """Read everything that came; the legs that are up since."""
        answered: list[Leg] = []
        while True:
            try:
                data, ancillary, _, source = self._sock.recvmsg(4096, 64)
            except BlockingIOError:
                break
            except ConnectionRefusedError:
                continue
            stamp = next((_STAMP.unpack(item) for _, kind, item in ancillary if kind == SO_TIMESTAMPNS), None)
            arrived = stamp[0] * 1_000_000_000 + stamp[1] - self._offset_ns if stamp else time.monotonic_ns()
            leg = self._take(data.decode("utf-8", "replace"), source, arrived)
            if leg is not None:
                answered.append(leg)
        self._retransmit()
        return answered

    def _retransmit(self) -> None:
        now = time.monotonic_ns()
        for leg in self.legs.values():
            if leg.state == "inviting" and not leg.provisional and now - leg.sent_ns > RETRANSMIT_NS:
                self._send_invite(leg)
            elif leg.state == "ending" and now - leg.sent_ns > RETRANSMIT_NS:
                self.bye(leg)

    def _take(self, text: str, source: tuple[str, int], arrived: int) -> Leg | None:
        head, _, body = text.partition("\r\n\r\n")
        first, *lines = head.split("\r\n")
        headers: dict[str, str] = {}
        vias: list[str] = []
        for line in lines:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            if name == "via":
                vias.append(value.strip())
            headers[name] = value.strip()
        leg = self.legs.get(headers.get("call-id", ""))
        if leg is None:
            return None
        if not first.startswith("SIP/2.0"):
            self._request(first, vias, headers, leg, source)
            return None
        status = int(first.split()[1])
        if headers["cseq"].endswith("BYE"):
            leg.state = "over"
            return None
        return self._response(leg, status, headers, body, arrived)

    def _response(self, leg: Leg, status: int, headers: dict[str, str], body: str, arrived: int) -> Leg | None:
        if status < 200:
            leg.provisional = True
            return None
        leg.to = headers["to"]
        if status >= 300:
            self._send(f"ACK {self._uri(leg)} SIP/2.0", leg, "ACK", 1, leg.to, f"z9hG4bK-{leg.number}-1")
            leg.state, leg.status = "over", status
            return None
        leg.target = headers["contact"].partition("<")[2].partition(">")[0] or headers["contact"]
        self._send(f"ACK {leg.target} SIP/2.0", leg, "ACK", 1, leg.to, f"z9hG4bK-{leg.number}-ack")
        if leg.state != "inviting":
            return None
        leg.state, leg.status = "up", status
        leg.setup_ms = (arrived - leg.invited_ns) / 1e6
        leg.remote = _media_address(body)
        return leg

    def _request(self, first: str, vias: list[str], headers: dict[str, str], leg: Leg, source: tuple[str, int]) -> None:
        """The gateway ends the call, or probes it: 200 to all."""
        if first.startswith("BYE"):
            leg.ended_by_gateway = leg.state == "up"
            leg.state = "over"
        if first.startswith("ACK"):
            return
        lines = ["SIP/2.0 200 OK", *(f"Via: {via}" for via in vias)]
        lines += [f"{name}: {headers[name.lower()]}" for name in ("From", "To", "Call-ID", "CSeq")]
        self._sock.sendto("\r\n".join([*lines, "Content-Length: 0", "", ""]).encode(), source)

    def _uri(self, leg: Leg) -> str:
        return f"sip:15550{leg.number:04d}@{self._gateway[0]}:{self._gateway[1]}"

    def _send_invite(self, leg: Leg) -> None:
        leg.sent_ns = time.monotonic_ns()
        session = (
            f"v=0\r\no=- {leg.number} 1 IN IP4 {self._host}\r\ns=-\r\nc=IN IP4 {self._host}\r\nt=0 0\r\n"
            f"m=audio {leg.rtp_port} RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\n"
            "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\n"
        )
        self._send(f"INVITE {self._uri(leg)} SIP/2.0", leg, "INVITE", 1, f"<{self._uri(leg)}>", body=session)

    def _send(
        self, first: str, leg: Leg, method: str, sequence: int, to: str, branch: str | None = None, body: str = ""
    ) -> None:
        branch = branch or f"z9hG4bK-{leg.number}-{sequence}"
        lines = [
            first,
            f"Via: SIP/2.0/UDP {self._host}:{self.port};branch={branch};rport",
            "Max-Forwards: 70",
            f"From: <sip:caller{leg.number}@{self._host}>;tag=bench{leg.number}",
            f"To: {to}",
            f"Call-ID: {leg.call_id}",
            f"CSeq: {sequence} {method}",
            f"Contact: <sip:caller@{self._host}:{self.port}>",
        ]
        if body:
            lines.append("Content-Type: application/sdp")
        lines += [f"Content-Length: {len(body)}", "", body]
        self._sock.sendto("\r\n".join(lines).encode(), self._gateway)


def _media_address(sdp: str) -> tuple[str, int]:
    host, port = "", 0
    for line in sdp.splitlines():
        if line.startswith("c="):
            host = line.split()[-1]
        elif line.startswith("m=audio"):
            port = int(line.split()[1])
    return host, port
