"""`trunkline top`: what the screen says of a gateway."""

from datetime import UTC, datetime
from io import StringIO
from typing import Any

import msgspec
import pytest
from rich.console import Console

from trunkline.gateway.http import LiveCall
from trunkline.gateway.http_client import Snapshot
from trunkline.gateway.record import CallRecord, Media, Received, Sent
from trunkline.gateway.top import HISTORY, Top, sparkline

NOW = datetime(2026, 1, 2, 3, 5, 9, tzinfo=UTC)


def call(call_id: str = "01", *, mos: float | None = 4.3, sent: float | None = 4.2, **fields) -> dict[str, Any]:
    """As the API has a live call."""
    media = Media(received=Received(mos_cq=mos, jitter_ms=3.4, lost=2, discarded=1), sent=Sent(mos_lq=sent))
    values = {"direction": "inbound", "started_at": "2026-01-02T03:04:05.000Z", "media": media, "trunk": "vonage"}
    record = CallRecord(id=call_id, **(values | fields))
    body = msgspec.to_builtins(LiveCall(record, state="answered", speaker="agent", queued_ms=1400.0))
    del body["record"]["timeline"]
    return body.pop("record") | {"live": body}


def snapshot(*calls: dict[str, Any], **fields) -> Snapshot:
    return Snapshot(**({"ready": True, "reasons": [], "parts": {}, "calls": list(calls), "alerts": []} | fields))


def screen(top: Top, shown: Snapshot, height: int = 40, width: int = 200) -> str:
    console = Console(file=StringIO(), width=width)
    console.print(top.view(shown, NOW, console, height))
    return console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


def test_a_call_has_its_time_its_parties_and_both_scores():
    seen = screen(Top(), snapshot(call(from_="+15550123", to="15550777", answered_at="2026-01-02T03:04:07.000Z")))
    for expected in ("answered", "1:02", "+15550123", "15550777", "vonage", "4.30", "4.20", "3 ms", "1.4 s"):
        assert expected in seen


def test_a_gateway_that_is_not_ready_says_why_and_alerts_come_first():
    alert = {
        "severity": "page",
        "subject": "trunk vonage",
        "summary": "calls sound bad",
        "acknowledged_by": "Ada",
        "verdict": {"summary": "the carrier before us: loss 6 %"},
    }
    seen = screen(Top(), snapshot(call(), ready=False, reasons=["trunk vonage is failed: 403"], alerts=[alert]))
    lines = [line for line in seen.splitlines() if line.strip()]
    assert "not ready" in lines[0]
    positions = [
        next(index for index, line in enumerate(lines) if text in line)
        for text in ("trunk vonage is failed: 403", "calls sound bad (taken by Ada)", "loss 6 %", "answered")
    ]
    assert positions == sorted(positions)


def test_calls_that_do_not_fit_are_counted():
    alerts = [
        {"severity": "page", "subject": "gateway", "summary": "word " * 50, "acknowledged_by": None, "verdict": None}
        for _ in range(7)
    ]
    calls = [call(f"{index:02}") for index in range(30)]
    assert "and 14 more" in (seen := screen(Top(), snapshot(*calls), height=20))
    assert len(seen.splitlines()) == 20
    seen = screen(Top(), snapshot(*calls, alerts=alerts), height=30)
    assert "and 2 more alerts" in seen
    assert len(seen.splitlines()) == 30


def test_calls_in_trouble_stand_on_top():
    seen = screen(Top(), snapshot(call("01", from_="fine"), call("02", from_="bad", sent=3.5)))
    assert seen.index("bad") < seen.index("fine")


@pytest.mark.parametrize("width", [60, 80, 100, 110, 120, 130, 140, 160, 200])
def test_no_figure_is_cut_off_in_a_narrow_terminal(width):
    top = Top()
    parties = {"from_": "+155501234567890123456", "to": "sip:somebody@somewhere.example", "agent": "reception"}
    calls = [call(f"{index}", answered_at="2026-01-01T03:04:07.000Z", codec="PCMU", **parties) for index in range(3)]
    for _ in range(HISTORY):
        seen = screen(top, snapshot(*calls), width=width)
    heading, *rows = seen.splitlines()[-4:]
    assert "MOS in" in heading
    assert "…" not in heading
    for row in rows:
        assert all(figure in row.split() for figure in ("24:01:02", "4.30", "4.20")), row
        assert row.rstrip().endswith("█" * 12)


def test_scores_of_a_call_are_remembered_while_it_lives():
    top = Top()
    for mos in (4.4, None, 1.0):
        seen = screen(top, snapshot(call(mos=mos, sent=None)))
    assert "█ ▁" in seen
    screen(top, snapshot())
    assert "█" not in screen(top, snapshot(call(mos=1.0, sent=None)))


def test_the_worse_direction_is_drawn_and_no_more_than_the_width():
    top = Top()
    for _ in range(HISTORY + 5):
        seen = screen(top, snapshot(call(mos=4.4, sent=1.0)))
    assert seen.count("▁") == HISTORY


@pytest.mark.parametrize(("mos", "colour"), [(4.1, "green"), (3.9, "yellow"), (3.5, "red")])
def test_bars_have_the_colour_of_their_category(mos, colour):
    assert [span.style for span in sparkline([mos]).spans] == [colour]


def test_a_caller_cannot_draw_on_the_terminal():
    seen = screen(Top(), snapshot(call(from_="[bold]\x1b[2Jx")))
    assert "\x1b" not in seen
    assert "[bold] [2Jx" in seen
