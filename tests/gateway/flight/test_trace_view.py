"""A kept call on a terminal."""

from trunkline.gateway.flight.file import Flight, Header
from trunkline.gateway.flight.ladder import SipMessage, ladder_of
from trunkline.gateway.flight.trace_view import live_lines, trace_lines
from trunkline.gateway.record import CallRecord, Moment, Timeline

ESCAPE = "\x1b]0;owned\x07\x9b2J\u202e"


def record() -> CallRecord:
    return CallRecord(
        id="019a0000-0000-7000-8000-000000000001",
        direction="inbound",
        from_=f"from{ESCAPE}",
        to=f"to{ESCAPE}",
        trunk="lab",
        codec=f"codec{ESCAPE}",
        started_at="2026-01-01T00:00:00.000Z",
        answered_at="2026-01-01T00:00:00.000Z",
        ended_at="2026-01-01T00:00:01.000Z",
        ended_by="provider",
        end_reason=f"reason{ESCAPE}",
        timeline=Timeline([], [Moment(0.5, "tool", f"tool{ESCAPE}")]),
    )


def messages() -> list[SipMessage]:
    text = f"INVITE sip:x{ESCAPE}@y SIP/2.0\r\nCSeq: 1 INVITE{ESCAPE}\r\n\r\n"
    return [SipMessage(1.0, True, "udp", "192.0.2.1", 5060, "192.0.2.9", 5060, text.encode())]


def test_nothing_that_the_far_end_says_commands_the_terminal() -> None:
    header = Header("019a", "gw", "2026-01-01T00:00:02.000Z", [f"because{ESCAPE}"])
    kept = list(trace_lines(Flight(header, record(), messages(), [])))
    live = list(live_lines(record(), ladder_of(messages())))
    for lines in (kept, live):
        page = "\n".join(lines)
        for word in ("from", "to", "codec", "reason", "tool", "1 INVITE"):
            assert word in page
        assert [line for line in lines if not line.isprintable()] == []
