"""A gateway in the middle of a call, and everything that the network may throw at it.

One process and one call for the whole module; the last tests look at what is left of both.
"""

import asyncio
import os
import random
import resource
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from support.conversation import converse
from support.lab import API_KEY, HOST, PASSWORD, LabGateway, RawSip, eventually, offer
from support.ports import Ports
from support.processes import Programs

from trunkline.gateway.lab.agent import AgentOptions
from trunkline.gateway.lab.caller import LabCaller
from trunkline.sip.message import Response

pytestmark = pytest.mark.asyncio(loop_scope="module")

FOREIGN = "127.0.0.9"
"""An address that is no trunk's."""
FLOOD = 10_000
ANSWER = "goodbye"
TURNS = AgentOptions(script=("greeting", ANSWER))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(module_programs: Programs, ports: Ports) -> AsyncIterator[LabGateway]:
    async with LabGateway(module_programs, ports, TURNS, rtp_ports=16, gateway={"drain_s": 0}) as lab:
        await lab.start()
        yield lab


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def caller(lab: LabGateway) -> LabCaller:
    caller = await lab.call()
    await caller.hear_quiet()
    return caller


@pytest.fixture
def raw(lab: LabGateway) -> Iterator[RawSip]:
    """A peer at the trunk's address."""
    with RawSip(lab.sip_port) as peer:
        yield peer


@pytest.fixture
def stranger(lab: LabGateway) -> Iterator[RawSip]:
    """A peer at an address that is no trunk's."""
    with RawSip(lab.sip_port, FOREIGN) as peer:
        yield peer


async def conversation(lab: LabGateway, caller: LabCaller, *, late: int = 0) -> None:
    """Both directions to the octet; `late` frames of the phone's own may be missing."""
    await converse(lab, caller, [ANSWER], late=late)


def refused_calls(lab: LabGateway) -> list[dict[str, Any]]:
    return [record for record in lab.stored() if record["from"] == "raw" and record["ended_at"]]


async def test_each_refusal_has_the_code_that_is_true(lab: LabGateway, caller: LabCaller, raw: RawSip) -> None:
    sdp = offer()
    expected = {
        "no route": (404, {"user": "4930999", "body": sdp}),
        "SDP that is none": (400, {"body": b"\x00\xffnonsense"}),
        "SDP without audio": (488, {"body": sdp.replace(b"m=audio", b"m=video")}),
        "no common codec": (488, {"body": offer(formats="3 18")}),
        "unknown Require": (420, {"body": sdp, "headers": ["Require: teleport"]}),
        "no hops left": (483, {"body": sdp, "max_forwards": 0}),
        "no dialog": (481, {"method": "BYE"}),
        "unknown dialog": (481, {"method": "BYE", "to_tag": "none"}),
        "method we know and do not do": (405, {"method": "SUBSCRIBE"}),
        "unknown method": (501, {"method": "TELEPORT"}),
        "scheme": (416, {"uri": "http://127.0.0.1/"}),
        "content type": (415, {"headers": ["Content-Type: text/plain"], "content": b"hello"}),
    }
    for name, (status, options) in expected.items():
        method = str(options.pop("method", "INVITE"))
        response = await raw.ask(method, **options)
        assert response.status == status, f"{name}: {response.status} {response.reason}"
        if status == 420:
            assert response.headers.get("Unsupported") == "teleport"
        if status in (405, 501):
            assert "INVITE" in (response.headers.get("Allow") or "")
    await eventually(lambda: len(refused_calls(lab)) == 4, 5, "the records of what the calls themselves refused")
    refused = refused_calls(lab)
    by_status = sorted((record["sip_status"], bool(record["end_reason"])) for record in refused)
    assert by_status == [(400, True), (404, True), (488, True), (488, True)]
    assert [line["status"] for line in lab.log("call refused")] == [404, 400, 488, 488]
    assert all(line["reason"] for line in lab.log("call refused"))
    lab.assert_sound()


async def test_a_stranger_gets_403_and_one_line_that_names_the_check(lab: LabGateway, stranger: RawSip) -> None:
    response = await stranger.ask("INVITE", body=offer())
    assert (response.status, response.reason) == (403, "Source belongs to no trunk")
    source = f"udp:{FOREIGN}:{stranger.port}"
    (line,) = await eventually(
        lambda: [line for line in lab.log("request refused") if line["source"] == source], 10, "the refusal in the log"
    )
    assert (line["method"], line["status"], line["check"]) == ("INVITE", 403, "Source belongs to no trunk")
    assert await stranger.before_answer() == [], "the refusal was repeated to a stranger that sent no ACK"


async def test_a_repeated_invite_is_one_call(lab: LabGateway, raw: RawSip) -> None:
    known = len(await lab.calls())
    data, call_id = raw.request("INVITE", body=offer())
    for _ in range(5):
        raw.send(data)
    answered = await raw.final(call_id)
    raw.send(data)
    assert answered.status == 200
    assert len(await lab.calls()) == known + 1
    tag = answered.to.tag
    ack, _ = raw.request("ACK", call_id=call_id, to_tag=tag)
    raw.send(ack)
    bye, _ = raw.request("BYE", call_id=call_id, to_tag=tag)
    raw.send(bye.replace(b"CSeq: 1 ", b"CSeq: 2 "))
    while (ended := await raw.final(call_id)).cseq.method != "BYE":
        assert ended.to.tag == tag, "a repeated INVITE made a second dialog"
    assert ended.status == 200


async def test_malformed_messages_are_answered_or_dropped_and_logged(lab: LabGateway, raw: RawSip) -> None:
    invite, _ = raw.request("INVITE", body=offer())
    broken = {
        "two different Call-IDs": (invite.replace(b"Max-Forwards: 70", b"Max-Forwards: 70\r\nCall-ID: x"), 400),
        "CSeq of another method": (invite.replace(b"CSeq: 1 INVITE", b"CSeq: 1 BYE"), 400),
        "CSeq beyond 32 bits": (invite.replace(b"CSeq: 1 ", b"CSeq: 99999999999 "), 400),
        "no Max-Forwards number": (invite.replace(b"Max-Forwards: 70", b"Max-Forwards: many"), 400),
        "another version": (invite.replace(b"SIP/2.0\r\nVia", b"SIP/7.0\r\nVia"), 505),
        "body cut short": (invite[:-20], 400),
    }
    for name, (data, status) in broken.items():
        raw.send(data)
        answer = await raw.receive_octets()
        assert answer.startswith(b"SIP/2.0 %d " % status), f"{name}: {answer}"
    generator = random.Random(4475)
    for cut in range(1, len(invite), 7):
        raw.send(invite[:cut])
    for _ in range(300):
        raw.send(generator.randbytes(generator.randint(1, 1400)))
        position = generator.randrange(len(invite))
        raw.send(invite[:position] + generator.randbytes(4) + invite[position + 4 :])
    for answer in await raw.before_answer():
        assert answer.startswith((b"SIP/2.0 100", b"SIP/2.0 180", b"SIP/2.0 2", b"SIP/2.0 4", b"SIP/2.0 5")), answer
    assert lab.log("malformed message")
    lab.assert_sound()


async def test_broken_streams_are_closed_and_do_no_harm(lab: LabGateway, raw: RawSip) -> None:
    invite, _ = raw.request("INVITE", body=offer(), transport="TCP")
    _, writer = await asyncio.open_connection(HOST, lab.sip_port)
    writer.write(invite[: len(invite) // 2])
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    for head in (
        invite.replace(b"Content-Length: ", b"Content-Length: 9999999"),
        invite.replace(b"Content-Length: ", b"Content-Length: -"),
        invite.partition(b"Content-Length")[0] + b"\r\n",
    ):
        reader, writer = await asyncio.open_connection(HOST, lab.sip_port)
        writer.write(head)
        async with asyncio.timeout(5):
            answer = await reader.read()
        assert answer.split(b" ")[1] in (b"400", b"513"), answer
        writer.close()
        await writer.wait_closed()
    reader, writer = await asyncio.open_connection(HOST, lab.sip_port)
    writer.write(b"\x16\x03\x01" + os.urandom(90_000))
    async with asyncio.timeout(5):
        assert await _rest(reader) == b""
    writer.close()
    lab.assert_sound()


async def _rest(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


async def test_more_connections_than_a_usual_limit_of_files(lab: LabGateway, raw: RawSip) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4000:
        pytest.skip("this machine does not allow so many open files")
    sockets: list[socket.socket] = []
    try:
        for _ in range(1500):
            sockets.append(socket.create_connection((HOST, lab.sip_port)))
            if len(sockets) % 100 == 0:
                await asyncio.sleep(0)
        assert (await lab.ask("GET", "/healthz")).status == 200
        assert (await raw.ask("OPTIONS")).status == 200
    finally:
        for one in sockets:
            one.close()
    lab.assert_sound()


async def test_garbage_on_the_admin_port_is_no_traceback(lab: LabGateway) -> None:
    for data in (
        b"\x00\xff" * 400,
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /api/calls HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    ):
        reader, writer = await asyncio.open_connection(HOST, lab.http_port)
        writer.write(data)
        async with asyncio.timeout(5):
            await _rest(reader)
        writer.close()
    assert (await lab.ask("GET", "/healthz")).status == 200
    lab.assert_sound()


async def test_floods_leave_the_call_its_audio_and_the_log_its_size(
    lab: LabGateway, caller: LabCaller, raw: RawSip, stranger: RawSip
) -> None:
    rtp_port = caller._rtp.destination[1]
    before, memory = len(lab.log()), _resident(lab)
    invite, _ = stranger.request("INVITE", body=offer())
    # the phone shares its process, and the machine's two cores, with those who flood: it is late itself now and then
    talk = asyncio.create_task(conversation(lab, caller, late=4))
    await asyncio.gather(
        _flood(FOREIGN, lab.sip_port, lambda number: os.urandom(200)),
        _flood(FOREIGN, lab.sip_port, lambda number: invite.replace(b"z9hG4bK", b"z9hG4bK%d" % number), FLOOD // 2),
        _flood(HOST, lab.sip_port, lambda number: b"INVITE sip:x SIP/2.0\r\nVia: %d\r\n\r\n" % number, FLOOD // 4),
        _flood(FOREIGN, rtp_port, _rtp),
        _flood(HOST, rtp_port, _rtp),
        _flood(FOREIGN, rtp_port + 1, lambda number: b"\x81\xc9\x00\x07" + os.urandom(28)),
        _flood(HOST, rtp_port + 1, lambda number: b"\x80\xc8\x00\x06" + os.urandom(24), FLOOD // 4),
    )
    await talk
    assert (await raw.ask("OPTIONS")).status == 200
    await conversation(lab, caller)
    assert len(lab.log()) - before < 100, "a flood fills the log"
    assert _resident(lab) - memory < 40_000, "a flood fills the memory (kB)"
    assert not caller.ended.is_set()
    lab.assert_sound()


def _rtp(number: int) -> bytes:
    """A packet that could be the call's: PCMU, in sequence, of a foreign SSRC."""
    return struct.pack("!BBHII", 0x80, 0, number & 0xFFFF, number * 160, 0xBADBAD) + os.urandom(160)


async def _flood(source: str, port: int, make, count: int = FLOOD) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.bind((source, 0))
        for number in range(count):
            try:
                sender.sendto(make(number), (HOST, port))
            except (BlockingIOError, ConnectionRefusedError):
                await asyncio.sleep(0.001)
            if number % 20 == 0:
                # the callers' own clock is in this loop
                await asyncio.sleep(0)


def _resident(lab: LabGateway) -> int:
    """Memory of the switch and its workers, kB."""
    total = 0
    for pid in (lab.program.pid, *lab.workers):
        status = Path(f"/proc/{pid}/status").read_text()
        total += int(status.partition("VmRSS:")[2].split()[0])
    return total


async def test_rtp_ports_that_are_used_up_are_503_with_retry_after(lab: LabGateway, raw: RawSip) -> None:
    async def refused() -> Response:
        """The first call that finds no port: eight pairs, one of them with the call of this module."""
        for _ in range(8):
            response = await raw.ask("INVITE", user="1555777", body=offer())
            if response.status != 200:
                return response
        raise AssertionError("more calls than ports")

    response = await refused()
    assert (response.status, response.headers.get("Retry-After")) == (503, "5")
    (record,) = await eventually(
        lambda: [record for record in lab.stored() if record["sip_status"] == 503], 5, "the record of the refused call"
    )
    assert "no free RTP port pair" in record["end_reason"]
    assert record["ended_by"] == "gateway"


async def test_the_call_went_on_through_it_all(lab: LabGateway, caller: LabCaller) -> None:
    await caller.hear_quiet()
    caller.hang_up()
    record = await eventually(
        lambda: [record for record in lab.stored() if record["from"] == "15550100" and record["ended_at"]],
        10,
        "the record of the call",
    )
    assert (record[0]["ended_by"], record[0]["sip_status"]) == ("caller", 200)
    assert '"lost":0' in record[0]["media"]


async def test_no_secret_is_anywhere(lab: LabGateway) -> None:
    pids = [lab.program.pid, *lab.workers]
    places = {f"/proc/{pid}/cmdline": Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids}
    places |= {str(path): path.read_bytes() for path in lab.state_dir.rglob("*") if path.is_file()}
    places["the log"] = lab.program.output().encode()
    for path in ("/readyz", "/healthz", "/metrics", "/api/calls?limit=1000"):
        places[path] = (await lab.ask("GET", path)).text.encode()
    assert any(path.endswith("calls.db") for path in places)
    for place, content in places.items():
        for secret in (PASSWORD, API_KEY):
            assert secret.encode() not in content, f"a secret is in {place}"
