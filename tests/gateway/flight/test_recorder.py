"""What the recorder in the switch keeps: bounded, without credentials, and never at a call's cost."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from trunkline.gateway.flight import recorder as recorder_module
from trunkline.gateway.flight.config import FlightConfig
from trunkline.gateway.flight.file import Flight, read
from trunkline.gateway.flight.ladder import SipMessage
from trunkline.gateway.flight.ladders import (
    ENDED_MAX,
    ENDED_OCTETS_MAX,
    FIRST,
    MESSAGES_MAX,
    OCTETS_MAX,
    STRANGERS_MAX,
    STRANGERS_OCTETS_MAX,
    Ladders,
    sip_call_id,
)
from trunkline.gateway.flight.recorder import WAITING_MAX, WAITING_OCTETS_MAX, FlightRecorder
from trunkline.gateway.flight.store import FlightStore
from trunkline.gateway.flight.verdict import keep_leg, reasons_to_keep
from trunkline.gateway.messages import FlightRing
from trunkline.gateway.record import CallRecord, Media, Moment, Received, Slice, StreamSlice, Timeline
from trunkline.sip.digest import DigestVerifier
from trunkline.sip.flow import Address, Flow

FLOW, LOCAL = Flow("udp", "192.0.2.1", 5060), Address("192.0.2.9", 5060)


def call_id(number: int = 1) -> str:
    return f"019a0000-0000-7000-8000-{number:012x}"


def message(sip: str, first: str = "INVITE sip:x@y SIP/2.0", headers: str = "", body: str = "") -> bytes:
    return f"{first}\r\nCall-ID: {sip}\r\nCSeq: 1 INVITE\r\n{headers}\r\n{body}".encode()


def record(number: int = 1, *, ended: bool = True, status: int = 503, sip: str | None = "a@b") -> CallRecord:
    return CallRecord(
        id=call_id(number),
        direction="inbound",
        sip_call_id=sip,
        started_at="2026-01-01T00:00:00.000Z",
        ended_at="2026-01-01T00:00:01.000Z" if ended else None,
        ended_by="gateway" if ended else None,
        end_reason="no agent",
        sip_status=status,
    )


def answered(**changes: object) -> CallRecord:
    it = record(status=200)
    it.answered_at, it.ended_by, it.end_reason = it.started_at, "caller", "bye"
    for name, value in changes.items():
        setattr(it, name, value)
    return it


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "LINGER_S", 0.0)


@asynccontextmanager
async def recorder(directory: Path, **config: object) -> AsyncIterator[FlightRecorder]:
    store = FlightStore(directory / "flight", 1 << 30, 1e9)
    it = FlightRecorder(FlightConfig.model_validate(config), store, "gw", wallclock=lambda: 1.8e9)
    await it.start()
    try:
        yield it
    finally:
        await it.close()


def kept(directory: Path) -> list[int]:
    return sorted(int(path.stem[-12:], 16) for path in (directory / "flight").glob("*.tlf"))


async def test_a_failed_call_is_kept_with_what_came_after_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "LINGER_S", 0.05)
    async with recorder(tmp_path) as it:
        it.on_sip(True, FLOW, LOCAL, message("a@b"))
        it.on_record(record(ended=False))
        it.on_sip(False, FLOW, LOCAL, message("a@b", "SIP/2.0 503 Service Unavailable"))
        it.on_record(record())
        it.on_sip(True, FLOW, LOCAL, message("a@b", "ACK sip:x@y SIP/2.0"))
        async with asyncio.timeout(5):
            while not it.kept:
                await asyncio.sleep(0.01)
    flight = read(tmp_path / "flight" / f"{call_id()}.tlf")
    assert [entry.data.split(b" ")[0] for entry in flight.sip] == [b"INVITE", b"SIP/2.0", b"ACK"]
    assert flight.header.reasons == ["not answered: 503 no agent"]
    assert flight.record == record()


async def test_a_good_call_is_not_kept_but_its_ladder_is_there_for_a_while(tmp_path: Path) -> None:
    async with recorder(tmp_path) as it:
        it.on_sip(True, FLOW, LOCAL, message("a@b"))
        it.on_record(answered(ended_at=None))
        live = await it.ladder(call_id())
        it.on_record(answered())
        over = await it.ladder(call_id())
    assert kept(tmp_path) == []
    assert live is not None
    assert [line.summary for line in live] == ["INVITE sip:x@y"]
    assert over == live


async def test_keep_all_and_none(tmp_path: Path) -> None:
    async with recorder(tmp_path / "all", keep="all") as it:
        it.on_record(answered())
    async with recorder(tmp_path / "none", keep="none") as it:
        it.on_record(record())
    assert kept(tmp_path / "all") == [1]
    assert kept(tmp_path / "none") == []


async def test_what_the_leg_found_bad_is_kept(tmp_path: Path) -> None:
    async with recorder(tmp_path) as it:
        it.on_fact(call_id(), FlightRing(call_id(), b"ring"))
        it.on_record(answered())
    assert read(tmp_path / "flight" / f"{call_id()}.tlf").legs == [b"ring"]


async def test_the_ladder_of_a_kept_call_is_read_from_its_file(tmp_path: Path) -> None:
    async with recorder(tmp_path) as it:
        it.on_sip(True, FLOW, LOCAL, message("a@b", body="v=0\r\n"))
        it.on_record(record())
    async with recorder(tmp_path) as it:
        ladder = await it.ladder(call_id())
        none = await it.ladder(call_id(2))
        nonsense = await it.ladder("../../x")
    assert ladder is not None
    line = ladder[0]
    assert (line.received, line.far_end, line.cseq, line.sdp) == (True, "udp 192.0.2.1:5060", "1 INVITE", True)
    assert line.at == "2027-01-15T08:00:00.000Z"
    assert none is None
    assert nonsense is None


async def test_a_placed_call_has_its_invite(tmp_path: Path) -> None:
    async with recorder(tmp_path) as it:
        placed = record(ended=False, sip=None)
        it.on_record(placed)
        placed.sip_call_id = "out@us"
        it.on_sip(False, FLOW, LOCAL, message("out@us"))
        assert await it.ladder(call_id())


async def test_no_credential_is_kept(tmp_path: Path) -> None:
    verifier = DigestVerifier("realm", {"user": "secret-password"}.get, random.Random(1))
    challenge = verifier.challenges(0.0)[0]
    digest = "0123456789abcdef0123456789abcdef"
    authorization = (
        f'Digest username="user", realm="realm", nonce="{challenge.nonce}", uri="sip:x", response="{digest}"'
    )
    crypto = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"
    headers = (
        f"Authorization: {authorization}\r\nProxy-Authorization: {authorization}\r\nAuthorization: Bearer tok-en\r\n"
    )
    body = f"v=0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{crypto}|2^20|1:4\r\n"
    async with recorder(tmp_path) as it:
        it.on_sip(True, FLOW, LOCAL, message("a@b", headers=headers, body=body))
        it.on_record(record())
        shown = await it.ladder(call_id())
    text = b"".join(entry.data for entry in read(tmp_path / "flight" / f"{call_id()}.tlf").sip)
    assert b"Proxy-Authorization" in text
    assert shown is not None
    for secret in (digest, crypto, "tok-en", "secret-password"):
        assert secret.encode() not in text
        assert secret not in shown[0].text


async def test_a_full_disk_is_said_once_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocker = tmp_path / "flight"
    blocker.write_bytes(b"a file where the directory should be")
    async with recorder(tmp_path) as it:
        for number in range(1, 4):
            it.on_record(record(number))
    assert (it.kept, it.failed) == (0, 3)
    assert capsys.readouterr().out.count("bad calls cannot be kept") == 1


async def test_a_disk_that_works_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocker = tmp_path / "flight"
    blocker.write_bytes(b"")
    async with recorder(tmp_path) as it:
        it.on_record(record(1))
        async with asyncio.timeout(5):
            while it.failed < 1:
                await asyncio.sleep(0.01)
        blocker.unlink()
        it.on_record(record(2))
    assert kept(tmp_path) == [2]
    assert "kept again" in capsys.readouterr().out


async def test_readyz_is_told_how_it_stands(tmp_path: Path) -> None:
    (tmp_path / "flight").write_bytes(b"")
    async with recorder(tmp_path) as it:
        assert it.parts()["flight recorder"].startswith("failing: ")
        (tmp_path / "flight").unlink()
        it.on_record(record(1))
        async with asyncio.timeout(5):
            while not it.kept:
                await asyncio.sleep(0.01)
        assert it.parts() == {"flight recorder": "writable"}


async def test_a_flood_of_refused_calls_is_not_written_without_end(tmp_path: Path) -> None:
    async with recorder(tmp_path) as it:
        for number in range(1, WAITING_MAX + 51):
            it.on_record(record(number, sip=f"{number}@x"))
        assert it.dropped == 50
        await it.close()
    assert len(kept(tmp_path)) == WAITING_MAX


async def test_a_directory_that_somebody_removes_is_made_anew(tmp_path: Path) -> None:
    async with recorder(tmp_path) as it:
        (tmp_path / "flight").rmdir()
        it.on_record(record(1))
    assert kept(tmp_path) == [1]


async def test_packets_that_wait_for_the_disk_are_bounded(tmp_path: Path) -> None:
    async with recorder(tmp_path) as it:
        for number in range(1, 6):
            it.on_fact(call_id(number), FlightRing(call_id(number), bytes(WAITING_OCTETS_MAX // 4)))
            it.on_record(record(number, sip=f"{number}@x"))
        assert it.dropped == 1
    assert kept(tmp_path) == [1, 2, 3, 4]


async def test_what_nobody_foresaw_ends_one_writing_and_not_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = FlightStore.keep

    def broken(store: FlightStore, flight: Flight) -> None:
        if flight.header.call_id == call_id(1):
            raise RuntimeError("can't start new thread")
        real(store, flight)

    monkeypatch.setattr(FlightStore, "keep", broken)
    async with recorder(tmp_path) as it:
        it.on_record(record(1))
        it.on_record(record(2))
    assert (it.failed, it.kept, kept(tmp_path)) == (1, 1, [2])


async def test_a_call_that_waits_for_the_disk_keeps_its_ladder(tmp_path: Path) -> None:
    async with recorder(tmp_path) as it:
        it.on_sip(True, FLOW, LOCAL, message("first@x"))
        it.on_record(record(1, ended=False, sip="first@x"))
        for number in range(1, ENDED_MAX + 10):
            it.on_record(record(number, sip="first@x" if number == 1 else f"{number}@x"))
    assert len(read(tmp_path / "flight" / f"{call_id(1)}.tlf").sip) == 1


# Ladders


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"INVITE x SIP/2.0\r\nCall-ID: a@b\r\n\r\n", b"a@b"),
        (b"INVITE x SIP/2.0\r\ni:a@b \r\n\r\n", b"a@b"),
        (b"INVITE x SIP/2.0\r\nCALL-ID \t:\ta@b\r\n", b"a@b"),
        (b"INVITE x SIP/2.0\r\nVia: x\r\n\r\nCall-ID: in@body\r\n", None),
        (b"\r\n\r\n", None),
        (b"INVITE x SIP/2.0\r\nX-Call-ID: a@b\r\n\r\n", None),
        (b"INVITE x SIP/2.0\r\nCall-ID: " + b"x" * 9000 + b"\r\n\r\n", b"x" * 256),
    ],
)
def test_the_call_id_of_a_message(data: bytes, expected: bytes | None) -> None:
    assert sip_call_id(data) == expected


def sip(size: int = 500) -> SipMessage:
    return SipMessage(1.0, True, "udp", "192.0.2.1", 5060, "192.0.2.9", 5060, b"x" * size)


def test_strangers_are_bounded_and_calls_are_not_pushed_out() -> None:
    ladders = Ladders()
    ladders.bind("call", b"ours")
    ladders.add(b"ours", sip())
    for number in range(10 * STRANGERS_MAX):
        ladders.add(b"%d" % number, sip(60_000))
    assert ladders.octets <= STRANGERS_OCTETS_MAX + OCTETS_MAX
    ladder = ladders.of("call")
    assert ladder is not None
    assert len(ladder.messages) == 1


def test_one_call_is_bounded_and_keeps_its_beginning() -> None:
    ladders = Ladders()
    ladders.bind("call", b"ours")
    for size in range(2000):
        ladders.add(b"ours", sip(1000 + size))
    ladder = ladders.of("call")
    assert ladder is not None
    assert ladder.octets <= OCTETS_MAX
    assert len(ladder.messages) <= MESSAGES_MAX
    assert [len(message.data) for message in ladder.messages[:FIRST]] == list(range(1000, 1000 + FIRST))
    assert len(ladder.messages[-1].data) == 2999
    assert ladder.dropped == 2000 - len(ladder.messages)


def test_ended_calls_make_room() -> None:
    ladders = Ladders()
    for number in range(3 * ENDED_MAX):
        name = f"call-{number}"
        ladders.bind(name, name.encode())
        for _ in range(3):
            ladders.add(name.encode(), sip(30_000))
        ladders.ended(name)
    assert ladders.octets <= ENDED_OCTETS_MAX
    assert ladders.of("call-0") is None
    assert ladders.of(f"call-{3 * ENDED_MAX - 1}") is not None


# The verdict


def slices(*parts: StreamSlice) -> Timeline:
    return Timeline([Slice(start_s=10.0 * index, length_s=10.0, received=part) for index, part in enumerate(parts)])


@pytest.mark.parametrize(
    ("it", "reason"),
    [
        (answered(), None),
        (answered(timeline=slices(StreamSlice(mos=4.2))), None),
        (answered(ended_by="agent", end_reason="hang_up"), None),
        (answered(ended_by="operator"), None),
        (answered(timeline=slices(StreamSlice(mos=4.2), StreamSlice(mos=2.0, bad=True))), "1 bad slice of 2"),
        (answered(media=Media(received=Received(mos_min=3.0))), "MOS fell to 3.0"),
        (answered(alarms=[{"direction": "received", "dead": True}]), "received: dead"),
        (answered(ended_by="gateway", end_reason="media worker lost"), "ended by gateway: media worker lost"),
        (answered(ended_by="provider", end_reason="gone"), "ended by provider: gone"),
        (answered(timeline=Timeline(moments=[Moment(1.0, "reconnected")])), "lost and regained"),
        (record(status=404), "not answered: 404"),
        (record(status=487), "not answered: 487"),
    ],
)
def test_which_calls_are_bad(it: CallRecord, reason: str | None) -> None:
    reasons = reasons_to_keep(it)
    assert (reasons == []) if reason is None else reason in "; ".join(reasons)
    assert keep_leg("bad", it) == ("bad" if reason is None else "all")
    assert keep_leg("none", it) == "none"
    assert keep_leg("all", it) == "all"
