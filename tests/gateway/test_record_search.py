"""Searching call records: what the database finds is what memory finds."""

import asyncio
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, select

from trunkline.gateway.ids import CallIds
from trunkline.gateway.record import CallRecord, Media, Received
from trunkline.gateway.record_export import COLUMNS, csv_header, csv_rows
from trunkline.gateway.record_search import RecordQuery
from trunkline.gateway.records import RecordStore
from trunkline.gateway.records_table import calls, row_of

IDS = CallIds()


def record(**fields) -> CallRecord:
    values = {"direction": "inbound", "started_at": "2026-01-02T03:04:05.678Z", "ended_at": "2026-01-02T03:05:00.000Z"}
    return CallRecord(id=IDS.new(), **(values | fields))


def scored(mos: float, **fields) -> CallRecord:
    return record(media=Media(received=Received(mos_cq=mos)), **fields)


async def stored(folder: Path, records: list[CallRecord]) -> RecordStore:
    store = RecordStore(f"sqlite+aiosqlite:///{folder / 'calls.db'}", state_dir=folder)
    await store.start()
    for one in records:
        store.write(one)
    while store.health.queued:
        await asyncio.sleep(0.01)
    return store


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (RecordQuery(), "abcd"),
        (RecordQuery(number="5550"), "ab"),
        (RecordQuery(number="%"), ""),
        (RecordQuery(mos_below=3.6), "b"),
        (RecordQuery(reason="AGENT"), "cd"),
        (RecordQuery(reason="hang"), "d"),
        (RecordQuery(since="2026-03-01"), "cd"),
        (RecordQuery(until="2026-03-01T01:00:00+01:00"), "ab"),
        (RecordQuery(since="2026-01-02T03:04:05.678Z", until="2026-01-02T03:04:05.679Z"), "ab"),
        (RecordQuery(direction="outbound"), "d"),
        (RecordQuery(trunk="vonage", mos_below=5.0), "a"),
    ],
    ids=repr,
)
async def test_conditions_find_the_same_in_the_database_and_in_memory(tmp_path, query, found):
    later = "2026-03-01T00:00:00.000Z"
    records = {
        "a": scored(4.2, trunk="vonage", from_="+15550123"),
        "b": scored(3.5, trunk="lab", to="15550777"),
        "c": record(ended_by="agent", started_at=later),
        "d": record(direction="outbound", end_reason="Agent wanted to HANG up", started_at=later),
    }
    wanted = {records[letter].id for letter in found}
    store = await stored(tmp_path, list(records.values()))
    try:
        assert {one.id for one in await store.list(query=query)} == wanted
    finally:
        await store.close()
    assert {one.id for one in records.values() if query.admits(row_of(one, "g"))} == wanted


letters = st.text("aA%_\\1", max_size=3)
some_records = st.lists(
    st.builds(
        record,
        from_=st.none() | letters,
        to=st.none() | letters,
        ended_by=st.sampled_from([None, "agent", "caller"]),
        end_reason=st.none() | letters,
        media=st.builds(Media, received=st.builds(Received, mos_cq=st.none() | st.floats(1, 4.5))),
    ),
    max_size=6,
)
queries = st.builds(
    RecordQuery, number=st.none() | letters, reason=st.none() | letters, mos_below=st.none() | st.floats(1, 5)
)


@settings(deadline=None)
@given(records=some_records, wanted=st.lists(queries, min_size=1, max_size=8))
def test_no_wildcard_or_case_makes_a_difference(records, wanted):
    with create_engine("sqlite://").begin() as connection:
        calls.create(connection)
        rows = [row_of(one, "g") for one in records]
        if rows:
            connection.execute(calls.insert(), rows)
        for query in wanted:
            found = set(connection.scalars(select(calls.c.id).where(*query.conditions())))
            assert found == {row["id"] for row in rows if query.admits(row)}, query


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "", "0001-01-01T00:00+14:00"])
def test_a_time_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match=r"is no time; write 2026-01-31"):
        RecordQuery(since=text)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"until": text}, RecordQuery)


def test_csv_has_a_column_for_each_figure_and_runs_no_formula():
    assert csv_header().rstrip().split(",") == list(COLUMNS)
    line = csv_rows([record(from_="+15550123", to="=cmd|' /C calc'!A0", end_reason='said "bye", left')])
    cells = line.rstrip("\r\n").split(",")
    assert "+15550123" in cells
    assert "'=cmd|' /C calc'!A0" in cells
    assert '"said ""bye"", left"' in line
