"""Call records: the row, the writer behind it, and what happens when the database does not take it."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import OperationalError

from trunkline.gateway import records
from trunkline.gateway.errors import RecordsError
from trunkline.gateway.ids import CallIds
from trunkline.gateway.record import CallRecord, Media, Received, Sent, Setup, Turn
from trunkline.gateway.record_search import RecordQuery
from trunkline.gateway.records import STOPPED_UNEXPECTEDLY, RecordStore
from trunkline.gateway.records_reader import RecordReader
from trunkline.gateway.records_table import record_of, row_of, upsert

IDS = CallIds()


def url_of(directory: Path) -> str:
    return f"sqlite+aiosqlite:///{directory}/calls.db"


@asynccontextmanager
async def opened(directory: Path, gateway: str = "trunkline", state_dir: Path | None = None):
    store = RecordStore(url_of(directory), state_dir=state_dir or directory, gateway=gateway)
    await store.start()
    try:
        yield store
    finally:
        await store.close()


async def until(check: Callable[[], bool]) -> None:
    """Wait for what another task or thread does."""
    for _ in range(2000):
        if check():
            return
        await asyncio.sleep(0.005)
    pytest.fail("it did not happen within 10 s")


async def written(store: RecordStore) -> None:
    """Until nothing waits for the database."""
    await until(lambda: store.health.writable and not store.health.queued)


def whole_record(**changes: object) -> CallRecord:
    record = CallRecord(
        id=IDS.new(),
        direction="inbound",
        trunk="vonage",
        from_="14155550100",
        to="14155550199",
        agent="reception",
        provider="openai",
        codec="PCMU",
        started_at="2026-01-02T03:04:05.678Z",
        answered_at="2026-01-02T03:04:06.000Z",
        ended_at="2026-01-02T03:04:16.000Z",
        duration_s=10.0,
        ended_by="caller",
        end_reason="BYE",
        sip_status=200,
        setup=Setup(provider_ms=212.5, answer_to_first_audio_ms=20.0),
        media=Media(received=Received(packets=500, mos_cq=4.1), sent=Sent(packets=499, lost=3, mos_cq=3.9)),
        turns=[Turn(index=0, agent_said="Hello"), Turn(index=1, caller_said="Hi", latency_ms=480.0, interrupted=True)],
        dtmf=["1", "#"],
        tools=[{"name": "hang_up", "arguments": {}}],
        usage={"input_tokens": 12},
        recording="/var/lib/trunkline/recordings/x.wav",
    )
    return msgspec.structs.replace(record, **changes)


async def test_a_record_comes_back_as_it_was_written(tmp_path):
    record = whole_record()
    async with opened(tmp_path) as store:
        store.write(record)
        await written(store)
        assert await store.get(record.id) == record
        assert await store.list() == [record]


async def test_the_row_has_the_columns_of_the_contract(tmp_path):
    record = whole_record()
    async with opened(tmp_path) as store:
        store.write(record)
        await written(store)
    with sqlite3.connect(tmp_path / "calls.db") as database:
        row = database.execute(
            'SELECT id, "from", "to", mos, gateway, json_extract(media, \'$.sent.lost\') FROM calls'
        ).fetchone()
    database.close()
    assert row == (record.id, "14155550100", "14155550199", 3.9, "trunkline", 3)


async def test_a_record_that_waits_is_already_found(tmp_path):
    async with opened(tmp_path) as store:
        record = whole_record()
        store.write(record)
        assert store.health.queued == 1
        assert await store.get(record.id) == record
        assert await store.list() == [record]


async def test_a_record_written_while_the_list_is_read_is_not_missed(tmp_path, monkeypatch):
    async with opened(tmp_path) as store:
        ended = whole_record()
        store.write(msgspec.structs.replace(ended, ended_at=None, end_reason=None))
        await written(store)
        read = RecordReader.list

        async def slow(reader: RecordReader, *arguments: object, **filters: object) -> list[CallRecord]:
            found = await read(reader, *arguments, **filters)  # pyright: ignore[reportArgumentType]
            await written(store)
            return found

        monkeypatch.setattr(RecordReader, "list", slow)
        store.write(ended)
        assert await store.list() == [ended]


async def test_the_end_replaces_the_beginning_and_never_the_reverse(tmp_path):
    ended = whole_record()
    begun = msgspec.structs.replace(ended, ended_at=None, end_reason=None, duration_s=None)
    async with opened(tmp_path) as store:
        store.write(begun)
        await written(store)
        store.write(ended)
        store.write(begun)
        await written(store)
        store.write(begun)
        await written(store)
        assert await store.get(ended.id) == ended


async def test_the_list_pages_by_identifier_and_filters(tmp_path):
    all_records = [whole_record(trunk="a" if index % 2 else "b", agent=f"agent{index}") for index in range(6)]
    async with opened(tmp_path) as store:
        for record in all_records:
            store.write(record)
        await written(store)
        newest = list(reversed(all_records))
        assert await store.list(2) == newest[:2]
        assert await store.list(2, before=newest[1].id) == newest[2:4]
        assert await store.list(query=RecordQuery(trunk="a")) == [record for record in newest if record.trunk == "a"]
        assert await store.list(query=RecordQuery(agent="agent3")) == [all_records[3]]


async def test_calls_of_a_gateway_that_died_are_closed_at_the_next_start(tmp_path):
    mine = whole_record(ended_at=None, end_reason=None, ended_by=None, duration_s=None)
    other = msgspec.structs.replace(mine, id=IDS.new())
    async with opened(tmp_path, "east") as east, opened(tmp_path, "west", tmp_path / "west") as west:
        east.write(mine)
        west.write(other)
        await written(east)
        await written(west)
    async with opened(tmp_path, "east") as store:
        closed = await store.get(mine.id)
        assert closed is not None
        assert (closed.ended_by, closed.end_reason, closed.ended_at) == ("gateway", STOPPED_UNEXPECTEDLY, None)
        assert await store.get(other.id) == other


async def test_a_second_gateway_leaves_the_state_of_the_first_alone(tmp_path):
    running = whole_record(ended_at=None, end_reason=None, ended_by=None, duration_s=None)
    async with opened(tmp_path) as store:
        store.write(running)
        await written(store)
        second = RecordStore(url_of(tmp_path), state_dir=tmp_path)
        with pytest.raises(RecordsError, match="another gateway runs with state_dir"):
            await second.start()
        await second.close()
        assert await store.get(running.id) == running
    async with opened(tmp_path):
        pass


async def test_records_wait_while_the_database_is_locked(tmp_path, monkeypatch):
    monkeypatch.setattr("trunkline.gateway.records_reader.LOCK_WAIT_S", 0.01)
    monkeypatch.setattr(records, "RETRY_FIRST_S", 0.01)
    async with opened(tmp_path) as store:
        lock = sqlite3.connect(tmp_path / "calls.db", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        some = [whole_record() for _ in range(3)]
        for record in some:
            store.write(record)
        await until(lambda: not store.health.writable)
        assert store.health.queued == 3
        assert "locked" in (store.health.reason or "")
        lock.execute("ROLLBACK")
        lock.close()
        await written(store)
        assert {record.id for record in await store.list()} == {record.id for record in some}


class Broken(RecordStore):
    """Its database takes nothing while `full` is set."""

    full = True

    async def _upsert(self, rows):
        if self.full:
            raise OperationalError("INSERT", {}, Exception("database or disk is full"))
        await super()._upsert(rows)


async def test_beyond_the_memory_limit_records_are_spooled_and_replayed(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "MEMORY_LIMIT", 5)
    monkeypatch.setattr(records, "RETRY_FIRST_S", 0.01)
    store = Broken(url_of(tmp_path), state_dir=tmp_path)
    await store.start()
    some = [whole_record() for _ in range(20)]
    for record in some:
        store.write(record)
    await until(lambda: not store.health.queued)
    assert not store.health.writable
    assert len((tmp_path / "records.spool.jsonl").read_bytes().splitlines()) == 20
    store.full = False
    await written(store)
    assert await store.list() == list(reversed(some))
    await store.close()
    assert not list(tmp_path.glob("records.spool*"))


@pytest.mark.parametrize("left", [(), ("-wal", "-shm")], ids=["whole", "log left behind"])
async def test_a_database_that_is_removed_is_written_anew_with_all_that_it_had(tmp_path, left):
    async with opened(tmp_path) as store:
        before, after = whole_record(), whole_record()
        store.write(before)
        await written(store)
        for path in tmp_path.glob("calls.db*"):
            if not path.name.endswith(left or "none"):
                path.unlink()
        store.write(after)
        await until(lambda: (tmp_path / "calls.db").exists() and store.health.writable and not store.health.queued)
        assert await store.list() == [after, before]
    async with opened(tmp_path) as again:
        assert await again.list() == [after, before]
    with closing(sqlite3.connect(tmp_path / "calls.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_a_database_that_is_removed_while_nothing_is_written_is_missed_and_at_the_end_as_well(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(records, "LOOK_EVERY_S", 0.01)
    store = RecordStore(url_of(tmp_path), state_dir=tmp_path)
    await store.start()
    record = whole_record()
    store.write(record)
    await written(store)
    for path in tmp_path.glob("calls.db*"):
        path.unlink()
    await until((tmp_path / "calls.db").exists)
    monkeypatch.setattr(records, "LOOK_EVERY_S", 3600.0)
    await asyncio.sleep(0.05)
    for path in tmp_path.glob("calls.db*"):
        path.unlink()
    await store.close()
    async with opened(tmp_path) as again:
        assert await again.list() == [record]


async def test_a_database_that_is_replaced_is_used_as_it_is(tmp_path):
    async with opened(tmp_path / "other"):
        pass
    async with opened(tmp_path) as store:
        store.write(whole_record())
        await written(store)
        (tmp_path / "calls.db-wal").unlink()
        (tmp_path / "calls.db-shm").unlink()
        (tmp_path / "other" / "calls.db").replace(tmp_path / "calls.db")
        record = whole_record()
        store.write(record)
        await until(lambda: store.health.written == 2)
        assert await store.list() == [record]


async def test_while_the_directory_is_away_records_wait_and_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RETRY_FIRST_S", 0.01)
    monkeypatch.setattr(records, "RETRY_MOST_S", 0.01)
    home, away = tmp_path / "home", tmp_path / "away"
    async with opened(home) as store:
        record = whole_record()
        home.rename(away)
        store.write(record)
        await until(lambda: not store.health.writable)
        assert store.health.queued == 1
        away.rename(home)
        await written(store)
        assert await store.list() == [record]


async def test_what_cannot_be_written_at_the_end_is_written_at_the_next_start(tmp_path):
    store = Broken(url_of(tmp_path), state_dir=tmp_path)
    await store.start()
    record = whole_record()
    store.write(record)
    await store.close()
    async with opened(tmp_path) as next_store:
        assert await next_store.get(record.id) == record


async def test_an_older_line_of_the_spool_does_not_undo_a_newer_row(tmp_path):
    ended = whole_record()
    begun = msgspec.structs.replace(ended, ended_at=None, end_reason=None)
    store = Broken(url_of(tmp_path), state_dir=tmp_path)
    await store.start()
    store.write(begun)
    await store.close()
    spool = (tmp_path / "records.spool.jsonl").read_bytes()
    async with opened(tmp_path) as second:
        second.write(ended)
    (tmp_path / "records.spool.jsonl").write_bytes(spool + b"{half a line")
    async with opened(tmp_path) as third:
        assert await third.get(ended.id) == ended


async def test_when_nothing_takes_records_memory_stays_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "LAST_RESORT", 10)
    store = Broken(url_of(tmp_path), state_dir=tmp_path)
    await store.start()
    for _ in range(50):
        store.write(whole_record())
    assert store.health.queued == 10
    await store.close()


def test_a_failed_append_leaves_no_half_line(tmp_path, monkeypatch):
    spool = records.Spool(tmp_path)
    spool.append([{"id": "1"}])

    def no_space(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        spool.append([{"id": "2"}])
    assert spool.path.read_bytes() == b'{"id":"1"}\n'


async def test_a_store_that_never_started_can_be_closed_twice(tmp_path):
    store = RecordStore(url_of(tmp_path), state_dir=tmp_path)
    await store.close()
    await store.close()
    assert not store.health.writable


async def test_a_database_that_cannot_be_opened_is_named(tmp_path):
    (tmp_path / "calls.db").write_bytes(b"this is no database, whatever its name says" * 100)
    store = RecordStore(url_of(tmp_path), state_dir=tmp_path)
    with pytest.raises(RecordsError, match=r"calls\.db cannot be opened: file is not a database"):
        await store.start()


async def test_a_database_of_a_newer_release_is_left_alone(tmp_path):
    async with opened(tmp_path):
        pass
    with sqlite3.connect(tmp_path / "calls.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    with pytest.raises(RecordsError, match="newer release"):
        await RecordStore(url_of(tmp_path), state_dir=tmp_path).start()


async def test_the_password_of_the_database_is_in_no_error():
    reader = RecordReader("postgresql+asyncpg://me:s3cret@127.0.0.1:1/calls")
    with pytest.raises(RecordsError, match="cannot be read") as caught:
        await reader.list()
    await reader.close()
    assert "s3cret" not in str(caught.value)


async def test_a_reader_creates_nothing(tmp_path):
    with pytest.raises(RecordsError, match="there are no call records"):
        RecordReader(url_of(tmp_path))
    assert list(tmp_path.iterdir()) == []


async def test_a_reader_sees_rows_while_the_gateway_writes(tmp_path):
    async with opened(tmp_path) as store:
        record = whole_record()
        store.write(record)
        await written(store)
        reader = RecordReader(url_of(tmp_path))
        assert await reader.list() == [record]
        await reader.close()


def test_the_upsert_is_postgresql_too():
    text = str(upsert("postgresql").compile(dialect=postgresql.dialect()))
    assert "ON CONFLICT (id) DO UPDATE" in text
    assert "WHERE calls.ended_at IS NULL OR excluded.ended_at IS NOT NULL" in text


@given(st.text(), st.text())
def test_any_text_from_the_network_can_be_stored(from_, said):
    record = whole_record(from_=from_ + "\udcff\0", turns=[Turn(index=0, caller_said=said + "\ud800")])
    row = row_of(record, "g")
    msgspec.json.encode(row)
    assert "\0" not in row["from"]
    assert record_of(row).turns[0].caller_said == said.replace("\0", "\N{REPLACEMENT CHARACTER}") + "?"
