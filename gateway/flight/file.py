"""A kept call as a file: `CALL_ID.tlf`. docs/trace.md describes the format.

Eight octets of name, two of version, then sections: four letters, stored octets, CRC-32 of these (32 bits each, network
order), and the octets, compressed by zlib (RFC 1950). `END!` is the last one. Who reads skips sections that he does not
know.
"""

import contextlib
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ..errors import FlightError
from ..record import CallRecord
from .entries import LegFlight
from .ladder import SipMessage

MAGIC = b"TLFLIGHT"
VERSION = 1
SUFFIX = ".tlf"
UNPACKED_MAX = 64 << 20
"""Octets of one section; a file that says more is not ours."""

_VERSION = struct.Struct("!H")
_SECTION = struct.Struct("!4sII")
_END = b"END!"
_UNIX_MAX = 32503680000.0
"""The year 3000."""
_T = TypeVar("_T")


class Header(msgspec.Struct):
    """Section `HEAD`, JSON."""

    call_id: str
    gateway: str
    """Name of the gateway."""
    kept_at: str
    """RFC 3339 in UTC."""
    reasons: list[str]
    """Why it was kept."""
    sip_dropped: int = 0
    """SIP messages that were not kept, for want of room."""


class Flight(msgspec.Struct):
    """All of a kept call."""

    header: Header
    record: CallRecord
    """Section `RECO`, JSON: the record as it was written."""
    sip: list[SipMessage]
    """Section `SIPM`, MessagePack."""
    legs: list[bytes]
    """Sections `MDIA`, MessagePack, one for each media leg that reported; see `leg_of`."""


def packed(flight: Flight) -> bytes:
    """The file's octets."""
    sections = [
        (b"HEAD", zlib.compress(msgspec.json.encode(flight.header))),
        (b"RECO", zlib.compress(msgspec.json.encode(flight.record))),
        (b"SIPM", zlib.compress(msgspec.msgpack.encode(flight.sip))),
        *((b"MDIA", leg) for leg in flight.legs),
        (_END, b""),
    ]
    parts = [MAGIC, _VERSION.pack(VERSION)]
    for name, data in sections:
        parts += [_SECTION.pack(name, len(data), zlib.crc32(data)), data]
    return b"".join(parts)


def read(path: Path) -> Flight:
    """Raises FlightError with one sentence for whatever is not a whole file of ours."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FlightError(f"{path}: cannot be read ({error.strerror or error})") from None
    try:
        return unpacked(data)
    except FlightError as error:
        raise FlightError(f"{path}: {error}") from None


def unpacked(data: bytes) -> Flight:
    """Raises FlightError."""
    found: dict[bytes, list[bytes]] = {}
    for name, section in _sections(data):
        found.setdefault(name, []).append(section)
    sip: list[SipMessage] = _messagepack(_one(found, b"SIPM"), list[SipMessage], "SIPM")
    if not all(0 <= message.at < _UNIX_MAX for message in sip):
        raise FlightError("the file is damaged: a SIP message has a time that cannot be")
    return Flight(
        header=_json(_one(found, b"HEAD"), Header, "HEAD"),
        record=_json(_one(found, b"RECO"), CallRecord, "RECO"),
        sip=sip,
        legs=found.get(b"MDIA", []),
    )


def leg_of(section: bytes) -> LegFlight:
    """A section `MDIA`. Raises FlightError."""
    leg: LegFlight = _messagepack(section, LegFlight, "MDIA")
    if not (-_UNIX_MAX < leg.unix < _UNIX_MAX and all(-_UNIX_MAX < note.at < _UNIX_MAX for note in leg.notes)):
        raise FlightError("the file is damaged: its packets have a time that cannot be")
    return leg


def _sections(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    if not data.startswith(MAGIC):
        raise FlightError("not a kept call of trunkline")
    offset = len(MAGIC) + _VERSION.size
    if len(data) < offset:
        raise FlightError("the file is cut off")
    (version,) = _VERSION.unpack_from(data, len(MAGIC))
    if version != VERSION:
        raise FlightError(f"written in format {version}; this trunkline reads format {VERSION}")
    while True:
        if len(data) - offset < _SECTION.size:
            raise FlightError("the file is cut off")
        name, length, checksum = _SECTION.unpack_from(data, offset)
        offset += _SECTION.size
        section = data[offset : offset + length]
        if len(section) < length:
            raise FlightError("the file is cut off")
        if zlib.crc32(section) != checksum:
            raise FlightError("the file is damaged: a checksum is wrong")
        if name == _END:
            return
        offset += length
        yield name, section


def _one(found: dict[bytes, list[bytes]], name: bytes) -> bytes:
    if name not in found:
        raise FlightError(f"the file is damaged: no section {name.decode()}")
    return found[name][0]


def _inflated(section: bytes, name: str) -> bytes:
    inflate = zlib.decompressobj()
    try:
        data = inflate.decompress(section, UNPACKED_MAX)
    except zlib.error:
        raise FlightError(f"the file is damaged: section {name} is not compressed data") from None
    if not inflate.eof:
        raise FlightError(f"the file is damaged: section {name} is too long or cut off")
    return data


def _json(section: bytes, kind: type[_T], name: str) -> _T:
    try:
        return msgspec.json.decode(_inflated(section, name), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise FlightError(f"the file is damaged: section {name} does not say what it should") from None


def _messagepack(section: bytes, kind: Any, name: str) -> Any:
    try:
        return msgspec.msgpack.decode(_inflated(section, name), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise FlightError(f"the file is damaged: section {name} does not say what it should") from None


def write(path: Path, data: bytes) -> None:
    """Whole or not at all. Raises OSError. Waits for the disk."""
    temporary = path.with_suffix(".tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
