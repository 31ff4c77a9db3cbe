"""The file of a kept call, and the directory of them: whole or not at all, and nothing but FlightError for the rest."""

import os
import random
import struct
import zlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trunkline.gateway.errors import FlightError
from trunkline.gateway.flight import file as file_module
from trunkline.gateway.flight.comparison import compare
from trunkline.gateway.flight.entries import LegFlight, Note, entries_of
from trunkline.gateway.flight.file import MAGIC, Flight, Header, leg_of, packed, read, unpacked, write
from trunkline.gateway.flight.ladder import SipMessage, ladder_of
from trunkline.gateway.flight.pcap import write_pcap
from trunkline.gateway.flight.replay import replay
from trunkline.gateway.flight.store import FlightStore
from trunkline.gateway.flight.trace_view import trace_lines
from trunkline.gateway.record import CallRecord

BAD_CALL = Path(__file__).parent / "bad_call.tlf"
DAY = 86400.0
NOW = 2_000_000_000.0


def call_id(number: int = 1) -> str:
    return f"019a0000-0000-7000-8000-{number:012x}"


def flight(number: int = 1, padding: int = 0) -> Flight:
    record = CallRecord(id=call_id(number), direction="inbound", started_at="2026-01-01T00:00:00.000Z")
    data = b"OPTIONS sip:x SIP/2.0\r\n\r\n" + random.Random(number).randbytes(padding)
    message = SipMessage(1.7e9, True, "udp", "192.0.2.1", 5060, "192.0.2.9", 5060, data)
    return Flight(Header(record.id, "gw", "2026-01-01T00:00:01Z", ["why"]), record, [message], [])


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tlf"
    write(path, packed(flight()))
    assert read(path) == flight()
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.tlf"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.tlf"
    path.write_bytes(b"before")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(file_module.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write(path, b"after")
    assert path.read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "not a kept call"),
        (b"\xd4\xc3\xb2\xa1" + bytes(100), "not a kept call"),
        (MAGIC, "cut off"),
        (MAGIC + b"\0\x02", "format 2"),
        (MAGIC + b"\0\x01", "cut off"),
        (MAGIC + b"\0\x01" + struct.pack("!4sII", b"END!", 0, 0), "no section"),
    ],
)
def test_what_is_no_kept_call_gets_one_sentence(tmp_path: Path, data: bytes, sentence: str) -> None:
    path = tmp_path / "x.tlf"
    path.write_bytes(data)
    with pytest.raises(FlightError, match=sentence) as raised:
        read(path)
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FlightError, match="cannot be read"):
        read(tmp_path / "none.tlf")


def test_a_file_cut_off_anywhere() -> None:
    data = packed(flight())
    for length in range(len(data)):
        with pytest.raises(FlightError):
            unpacked(data[:length])


def test_a_section_that_nobody_knows_is_skipped() -> None:
    data = packed(flight())
    section = struct.pack("!4sII", b"NEW!", 3, zlib.crc32(b"abc")) + b"abc"
    start = len(MAGIC) + 2
    assert unpacked(data[:start] + section + data[start:]) == flight()


def test_a_section_that_unpacks_to_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_module, "UNPACKED_MAX", 1000)
    with pytest.raises(FlightError, match="too long"):
        unpacked(packed(flight(padding=2000)))


def look_at(data: bytes) -> None:
    """Everything that the commands do with a file."""
    import io

    try:
        it = unpacked(data)
        ladder_of(it.sip)
        list(trace_lines(it))
        write_pcap(it, io.BytesIO())
        for section in it.legs:
            compare(it.record, replay(leg_of(section)))
    except FlightError:
        pass


@given(st.binary(max_size=300))
def test_garbage_raises_the_rooms_error_alone(garbage: bytes) -> None:
    look_at(garbage)
    look_at(MAGIC + b"\0\x01" + garbage)


@given(st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_a_damaged_octet_raises_the_rooms_error_alone(data: st.DataObject) -> None:
    octets = bytearray(packed(flight(padding=50)))
    octets[data.draw(st.integers(0, len(octets) - 1))] ^= data.draw(st.integers(1, 255))
    look_at(bytes(octets))


_leg = leg_of(read(BAD_CALL).legs[0])


@given(st.data())
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_packets_that_were_tampered_with_raise_the_rooms_error_alone(data: st.DataObject) -> None:
    """With checksums that are right again: what a program of somebody else might write."""
    whole = read(BAD_CALL)
    entries = bytearray(_leg.entries[:3000])
    for _ in range(data.draw(st.integers(0, 5))):
        entries[data.draw(st.integers(0, len(entries) - 1))] = data.draw(st.integers(0, 255))
    text = data.draw(st.sampled_from([_leg.notes[0].text, "", "{}", "null", _leg.notes[0].text.replace("8000", "0")]))
    at = data.draw(st.floats())
    leg = msgspec.structs.replace(
        _leg,
        entries=bytes(entries),
        notes=[Note(0, at, "media", text), *_leg.notes[1:]],
        sources=_leg.sources[: data.draw(st.integers(0, 1))],
        dropped=data.draw(st.integers(0, 1)),
        unix=data.draw(st.one_of(st.just(_leg.unix), st.floats())),
    )
    whole.legs = [zlib.compress(msgspec.msgpack.encode(leg))]
    look_at(packed(whole))


# The directory


def store(directory: Path, max_octets: int = 1 << 20, max_age_s: float = 10_000 * DAY) -> FlightStore:
    return FlightStore(directory, max_octets, max_age_s, lambda: NOW)


def keep(it: FlightStore, number: int, age_s: float, padding: int = 0) -> None:
    it.keep(flight(number, padding))
    os.utime(it.path(call_id(number)), (NOW - age_s, NOW - age_s))


def numbers(directory: Path) -> list[int]:
    return sorted(int(path.stem[-12:], 16) for path in directory.glob("*.tlf"))


def test_the_oldest_make_room(tmp_path: Path) -> None:
    it = store(tmp_path, max_octets=45_000)
    it.open()
    for number in range(1, 6):
        keep(it, number, 100 - number, padding=10_000)
    assert numbers(tmp_path) == [3, 4, 5]


def test_the_directory_is_not_read_for_each_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    it = store(tmp_path, max_octets=50 * 4096)
    it.open()
    reads: list[object] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: (reads.append(path), scandir(path))[1])
    for number in range(1, 201):
        it.keep(flight(number))
    # the 51st makes room for the next five, and so every sixth from then on
    assert len(reads) == 25
    assert 45 <= len(numbers(tmp_path)) <= 50


def test_the_old_are_removed(tmp_path: Path) -> None:
    it = store(tmp_path)
    it.open()
    keep(it, 1, DAY + 1)
    keep(it, 2, DAY - 1)
    store(tmp_path, max_age_s=DAY).open()
    assert numbers(tmp_path) == [2]


def test_what_a_crash_left_is_tidied_up(tmp_path: Path) -> None:
    (tmp_path / "half.tmp").write_bytes(b"x")
    (tmp_path / "README").write_bytes(b"not ours")
    store(tmp_path).open()
    assert [path.name for path in tmp_path.iterdir()] == ["README"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "x", call_id() + "/..", call_id().upper() + "\n"])
def test_only_an_identifier_names_a_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(FlightError, match="identifier"):
        store(tmp_path).read(name)


def test_a_call_that_is_not_kept(tmp_path: Path) -> None:
    assert store(tmp_path).read(call_id()) is None


def test_the_fixture_holds_no_payload_and_no_secret() -> None:
    whole = read(BAD_CALL)
    text = msgspec.json.encode(whole.record) + b"".join(message.data for message in whole.sip)
    assert b"sk-lab" not in text
    assert b"pw-" not in text
    assert len(list(entries_of(_leg))) > 1000
    # 24 s of speech both ways would be 380,000 octets
    assert len(_leg.entries) < 40_000
    assert isinstance(_leg, LegFlight)
