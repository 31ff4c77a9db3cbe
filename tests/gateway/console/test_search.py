"""Search of past calls: the form, what it finds, and the files."""

import json

import pytest
from support.console import PAST, TOKEN, site

from trunkline.gateway.console.search import PAGE


async def test_the_form_finds_calls_and_keeps_what_was_asked(tmp_path):
    async with site(tmp_path) as console:
        _, everything = await console.get("/calls")
        assert f"/calls/{PAST}" in everything
        response, text = await console.get("/calls?trunk=nobody&mos_below=4.5")
        assert response.status == 200
        assert f"/calls/{PAST}" not in text
        assert "No call fits" in text
        assert 'value="nobody"' in text
        assert "/calls.csv?trunk=nobody&amp;mos_below=4.5" in text


@pytest.mark.parametrize("query", ["since=yesterday", "mos_below=good"])
async def test_a_field_that_cannot_be_read_is_named_beside_the_form(tmp_path, query):
    async with site(tmp_path) as console:
        response, text = await console.get(f"/calls?{query}")
        assert response.status == 400
        assert 'role="alert"' in text
        assert f'value="{query.partition("=")[2]}"' in text


async def test_older_calls_are_on_the_next_page(tmp_path):
    async with site(tmp_path) as console:
        first = console.records.rows[0]
        console.records.rows = [
            type(first)(id=f"{index:03}", direction="inbound", started_at=first.started_at, ended_at=first.ended_at)
            for index in range(PAGE + 3, 0, -1)
        ]
        _, newest = await console.get("/calls?direction=inbound")
        assert newest.count('role="rowheader"') == PAGE
        assert "/calls?direction=inbound&amp;before=004" in newest
        _, older = await console.get("/calls?direction=inbound&before=004")
        assert older.count('role="rowheader"') == 3
        assert "before=" not in older


@pytest.mark.parametrize("show", [False, True])
async def test_files_hide_the_numbers_that_the_pages_hide(tmp_path, show):
    async with site(tmp_path, show_numbers=show) as console:
        record = next(row for row in console.records.rows if row.id == PAST)
        assert record.from_
        for form in ("csv", "json"):
            response, text = await console.get(f"/calls.{form}")
            assert response.headers["Cache-Control"] == "no-store"
            assert "attachment" in response.headers["Content-Disposition"]
            assert (record.from_ in text) is show
            if form == "json":
                assert PAST in [row["id"] for row in json.loads(text)]


async def test_files_are_for_those_who_are_logged_in(tmp_path):
    async with site(tmp_path, token=TOKEN) as console:
        response, text = await console.get("/calls.csv")
        assert response.status == 303
        assert response.headers["Location"].startswith("/login")
        assert PAST not in text
