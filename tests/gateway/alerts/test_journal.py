"""The journal: what was stored is there after a crash at any octet, and a full disk keeps nobody waiting."""

import asyncio
import os
import threading
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.gateway.alerts import journal as journal_module
from trunkline.gateway.alerts.alert import Alert
from trunkline.gateway.alerts.channels.base import Delivery
from trunkline.gateway.alerts.journal import Journal
from trunkline.gateway.alerts.journal_file import HISTORY, Entry, JournalFile, Kept, line_of
from trunkline.gateway.alerts.ladder import Climb

NAME = "alerts.journal.jsonl"


def alert(alert_id: str, **fields) -> Alert:
    times = {"started_at": "2026-03-02T12:00:00.000Z", "updated_at": "2026-03-02T12:00:00.000Z"}
    words = {"rule": "quality", "subject": "trunk vonage", "severity": "page", "summary": "calls are bad – “quoted”\n"}
    return Alert(id=alert_id, **(times | words | fields))


def delivery(delivery_id: str, alert_id: str = "a1") -> Delivery:
    return Delivery(
        id=delivery_id, alert=alert(alert_id), action="trigger", channel="pager", created_at="2026-03-02T12:00:00.000Z"
    )


def entry(kind: str, number: int) -> Entry:
    match kind:
        case "fires":
            return Entry(alert=alert(f"a{number}"))
        case "resolves":
            return Entry(alert=alert(f"a{number}", state="resolved"))
        case "delivery":
            return Entry(delivery=delivery(f"d{number}", f"a{number}"))
        case "settled":
            return Entry(settled=f"d{number}")
        case "climb":
            return Entry(climb=Climb(alert_id=f"a{number}", key="k", phase="paging", told=["pager"]))
    return Entry(climb=Climb(alert_id=f"a{number}", key="k", phase="forgotten"))


KINDS = ("fires", "resolves", "delivery", "settled", "climb", "forgotten")
BATCHES = st.lists(
    st.lists(st.builds(entry, st.sampled_from(KINDS), st.integers(0, 3)), min_size=1, max_size=4),
    min_size=1,
    max_size=6,
)


def kept_of(entries: list[Entry]) -> Kept:
    kept = Kept()
    for one in entries:
        kept.apply(one)
    return kept


@settings(max_examples=60, deadline=None)
@given(batches=BATCHES, data=st.data())
def test_a_crash_at_any_octet_keeps_all_that_was_stored(batches, data, tmp_path_factory):
    directory = tmp_path_factory.mktemp("journal")
    file = JournalFile(directory)
    sizes = [file.append(b"".join(line_of(one) for one in batch)) for batch in batches]
    whole = (directory / NAME).read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    (directory / NAME).write_bytes(whole[:cut])
    stored = sum(size <= cut for size in sizes)
    entries = [one for batch in batches for one in batch]
    least = sum(len(batch) for batch in batches[:stored])
    found, unreadable = JournalFile(directory).read()
    assert unreadable == [], "a torn last line is no fault"
    assert found in [kept_of(entries[:count]) for count in range(least, len(entries) + 1)]
    # and the one after the crash loses nothing either
    after = JournalFile(directory)
    before_more, _ = after.read()
    after.append(line_of(entry("fires", 9)))
    again, unreadable = JournalFile(directory).read()
    assert again.alerts.keys() == before_more.alerts.keys() | {"a9"}
    assert len(unreadable) <= 1


@settings(max_examples=60, deadline=None)
@given(batches=BATCHES)
def test_a_snapshot_comes_to_the_same(batches):
    kept = kept_of([one for batch in batches for one in batch])
    assert kept_of(list(kept.entries())) == kept


@settings(max_examples=60, deadline=None)
@given(garbage=st.binary(max_size=300))
def test_what_is_no_journal_is_kept_aside_and_what_is_around_it_is_read(garbage, tmp_path_factory):
    directory = tmp_path_factory.mktemp("journal")
    first, last = line_of(entry("fires", 1)), line_of(entry("fires", 2))
    (directory / NAME).write_bytes(first + garbage + b"\n" + last)
    found, unreadable = JournalFile(directory).read()
    assert {"a1", "a2"} <= found.alerts.keys()
    for line in unreadable:
        assert line.rstrip(b"\n") in garbage


def test_a_crash_while_it_is_compacted_leaves_the_old_one(tmp_path):
    file = JournalFile(tmp_path)
    file.append(line_of(entry("fires", 1)))
    (tmp_path / f"{NAME}.new").write_bytes(b'{"alert": {"id"')
    found, _ = JournalFile(tmp_path).read()
    assert list(found.alerts) == ["a1"]


def test_the_last_resolved_alerts_are_history_and_open_ones_are_never_dropped():
    kept = kept_of([Entry(alert=alert("open-1"))])
    for number in range(HISTORY + 20):
        kept.apply(Entry(alert=alert(f"r{number:04}", state="resolved")))
    assert len(kept.alerts) == HISTORY + 1
    assert "open-1" in kept.alerts
    assert "r0019" not in kept.alerts
    assert "r0020" in kept.alerts


def test_entries_of_a_newer_release_are_passed_over(tmp_path):
    (tmp_path / NAME).write_bytes(b'{"silence": {"until": "x"}}\n' + line_of(entry("fires", 1)))
    found, unreadable = JournalFile(tmp_path).read()
    assert (list(found.alerts), unreadable) == (["a1"], [])


async def reopened(directory: Path) -> Kept:
    journal = Journal(directory)
    kept = await journal.open()
    await journal.close()
    return kept


async def test_what_is_stored_is_there_after_the_process_died(tmp_path):
    journal = Journal(tmp_path)
    await journal.open()
    journal.put(entry("fires", 1), entry("delivery", 1))
    assert await journal.stored()
    # no close: the file is as a killed process leaves it
    found, _ = JournalFile(tmp_path).read()
    assert (list(found.alerts), list(found.deliveries)) == (["a1"], ["d1"])
    await journal.close()


async def test_unreadable_lines_are_kept_aside_once(tmp_path):
    (tmp_path / NAME).write_bytes(b"not json\n" + line_of(entry("fires", 1)))
    assert list((await reopened(tmp_path)).alerts) == ["a1"]
    assert (tmp_path / "alerts.unreadable.jsonl").read_bytes() == b"not json\n"
    await reopened(tmp_path)
    assert (tmp_path / "alerts.unreadable.jsonl").read_bytes() == b"not json\n"


async def test_closing_writes_what_waits(tmp_path):
    journal = Journal(tmp_path)
    await journal.open()
    journal.put(entry("fires", 1))
    await journal.close()
    assert list((await reopened(tmp_path)).alerts) == ["a1"]


class Disk:
    """fsync as the test wants it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        self.refused = 0
        self.fsync = os.fsync
        monkeypatch.setattr("os.fsync", self)

    def __call__(self, descriptor: int) -> None:
        if self.full:
            self.refused += 1
            raise OSError(28, "No space left on device")
        self.fsync(descriptor)


@pytest.fixture
def disk(monkeypatch) -> Disk:
    monkeypatch.setattr(journal_module, "RETRY_FIRST_S", 0.01)
    monkeypatch.setattr(journal_module, "RETRY_MOST_S", 0.02)
    return Disk(monkeypatch)


async def well(journal: Journal) -> None:
    async with asyncio.timeout(10):
        while not await journal.stored():
            await asyncio.sleep(0.01)


async def test_a_full_disk_keeps_nobody_waiting_and_loses_nothing(tmp_path, disk):
    journal = Journal(tmp_path)
    await journal.open()
    disk.full = True
    journal.put(entry("fires", 1))
    assert not await journal.stored()
    assert (journal.health.writable, journal.health.reason) == (False, "No space left on device")
    journal.put(entry("fires", 2))
    assert not await journal.stored(within_s=0.0), "at once, since it is known to be full"
    assert JournalFile(tmp_path).read()[0] == Kept(), "half an entry in the file"
    disk.full = False
    await well(journal)
    assert await journal.stored()
    assert list(JournalFile(tmp_path).read()[0].alerts) == ["a1", "a2"]
    await journal.close()


@pytest.mark.parametrize("left", [None, b"", b"another file\n"], ids=["removed", "emptied", "replaced"])
async def test_a_journal_that_is_removed_below_us_is_written_anew_with_all_that_it_had(tmp_path, left):
    journal = Journal(tmp_path)
    await journal.open()
    journal.put(entry("fires", 1))
    assert await journal.stored()
    (tmp_path / NAME).unlink()
    if left is not None:
        (tmp_path / NAME).write_bytes(left)
    journal.put(entry("fires", 2))
    assert await journal.stored()
    found, unreadable = JournalFile(tmp_path).read()
    assert (list(found.alerts), unreadable) == (["a1", "a2"], [])
    await journal.close()


async def test_memory_is_bounded_while_the_disk_is_full(tmp_path, disk, monkeypatch):
    monkeypatch.setattr(journal_module, "MEMORY_LIMIT", 5)
    journal = Journal(tmp_path)
    await journal.open()
    disk.full = True
    for number in range(50):
        journal.put(entry("fires", number % 4))
        await asyncio.sleep(0)
        assert journal.health.waiting <= 5
    refused = disk.refused
    async with asyncio.timeout(10):
        while disk.refused < refused + 3:
            await asyncio.sleep(0.01)
    disk.full = False
    await well(journal)
    assert set(JournalFile(tmp_path).read()[0].alerts) == {"a0", "a1", "a2", "a3"}
    await journal.close()


async def test_memory_is_bounded_when_much_was_put_while_a_writing_failed(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_module, "MEMORY_LIMIT", 5)
    monkeypatch.setattr(journal_module, "RETRY_FIRST_S", 60.0)
    journal = Journal(tmp_path)
    await journal.open()
    writing, go_on, append = threading.Event(), threading.Event(), JournalFile.append

    def fails(file: JournalFile, data: bytes) -> int:
        writing.set()
        go_on.wait(10)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(JournalFile, "append", fails)
    journal.put(*(entry("fires", number) for number in range(4)))
    assert await asyncio.to_thread(writing.wait, 10)
    journal.put(*(entry("fires", number) for number in range(4, 8)))
    go_on.set()
    assert not await journal.stored()
    assert journal.health.waiting <= 5
    monkeypatch.setattr(JournalFile, "append", append)
    await journal.close()
    assert len((await reopened(tmp_path)).alerts) == 8


async def test_it_is_compacted_when_it_has_grown_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_module, "COMPACT_FROM", 4000)
    journal = Journal(tmp_path)
    await journal.open()
    for number in range(200):
        journal.put(entry("delivery", number), entry("settled", number), entry("fires", number % 2))
        assert await journal.stored()
    assert (tmp_path / NAME).stat().st_size < 6000
    found = await reopened(tmp_path)
    assert (set(found.alerts), found.deliveries) == ({"a0", "a1"}, {})
    await journal.close()


async def test_a_journal_that_cannot_be_opened_is_said_and_the_gateway_starts(tmp_path):
    (tmp_path / NAME).mkdir()
    journal = Journal(tmp_path)
    assert await journal.open() == Kept()
    assert not journal.health.writable
    journal.put(entry("fires", 1))
    assert not await journal.stored()
    await journal.close()


def test_lines_hold_no_line_ends():
    line = line_of(Entry(alert=alert("a1", detail=["a\nb\r\u2028"])))
    assert line.count(b"\n") == 1
    assert msgspec.json.decode(line, type=Entry).alert == alert("a1", detail=["a\nb\r\u2028"])
