"""The journal's native protocol: fields that can be searched for, and a line that is not lost without need."""

import io
import json
import logging
import os
import socket
import struct
from pathlib import Path

import pytest
import structlog
from support.lab import LabGateway
from support.ports import Ports
from support.processes import Programs

from trunkline.gateway import journal, logs
from trunkline.gateway.config_tables import GatewayConfig


@pytest.fixture
def server(tmp_path, monkeypatch):
    """What journald does: a socket to read entries from."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        path = str(tmp_path / "socket")
        bound.bind(path)
        bound.setblocking(False)
        monkeypatch.setattr(journal.Journal.__init__, "__defaults__", (path,))
        yield bound


@pytest.fixture
def configured():
    root = logging.getLogger()
    handlers, level = root.handlers, root.level

    def configure(stream: io.TextIOBase, **keys: str) -> None:
        logs.configure_logs(GatewayConfig.model_validate({"name": "edge-1", **keys}), stream, worker=7)

    yield configure
    for handler in root.handlers:
        if isinstance(handler, journal.JournalHandler):
            handler.close()
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def fields_of(data: bytes) -> dict[str, str]:
    """As systemd's documentation of the native protocol has it."""
    found = {}
    while data:
        line, _, data = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (length,) = struct.unpack_from("<Q", data)
            value, data = data[8 : 8 + length], data[9 + length :]
        found[name.decode()] = value.decode()
    return found


def test_a_line_of_a_call_is_found_by_its_call(server, configured):
    stream = io.StringIO()
    configured(stream, log_format="journal")
    structlog.get_logger().bind(call="0190-b", trunk="vonage").warning("media dead", direction="received")
    fields = fields_of(server.recv(65536))
    line = json.loads(fields.pop("MESSAGE"))
    assert (line["event"], line["call"], line["direction"], line["level"]) == (
        "media dead",
        "0190-b",
        "received",
        "warning",
    )
    assert fields == {
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "trunkline",
        "TRUNKLINE_EVENT": "media dead",
        "TRUNKLINE_CALL": "0190-b",
        "TRUNKLINE_TRUNK": "vonage",
        "TRUNKLINE_WORKER": "7",
        "TRUNKLINE_GATEWAY": "edge-1",
    }
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("level", "priority"), [("info", "6"), ("error", "3"), ("critical", "2"), ("exception", "3"), ("debug", "7")]
)
def test_levels_are_priorities(server, configured, level, priority):
    configured(io.StringIO(), log_format="journal", log_level="debug")
    getattr(structlog.get_logger(), level)("x")
    assert fields_of(server.recv(65536))["PRIORITY"] == priority


def test_a_value_with_line_ends_stays_one_field(server, configured):
    configured(io.StringIO(), log_format="journal")
    structlog.get_logger().info("two\nPRIORITY=0", call="a\nTRUNKLINE_CALL=b")
    fields = fields_of(server.recv(65536))
    assert (fields["PRIORITY"], fields["TRUNKLINE_CALL"]) == ("6", "a\nTRUNKLINE_CALL=b")
    assert fields["TRUNKLINE_EVENT"] == "two\nPRIORITY=0"


def test_libraries_and_exceptions_come_out_alike(server, configured):
    configured(io.StringIO(), log_format="journal")
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("aiohttp").exception("it %s", "failed")
    fields = fields_of(server.recv(65536))
    assert (fields["TRUNKLINE_EVENT"], fields["PRIORITY"]) == ("it failed", "3")
    assert json.loads(fields["MESSAGE"])["exception"][0]["exc_value"] == "broken"


def test_without_a_journal_the_line_goes_to_standard_error(configured, monkeypatch, tmp_path):
    monkeypatch.setattr(journal.Journal.__init__, "__defaults__", (str(tmp_path / "nobody"),))
    stream = io.StringIO()
    configured(stream, log_format="journal")
    structlog.get_logger().info("here", call="0190-b")
    assert [json.loads(line)["call"] for line in stream.getvalue().splitlines()] == ["0190-b"]


def test_an_entry_too_long_for_a_datagram_goes_to_standard_error(server, configured):
    stream = io.StringIO()
    configured(stream, log_format="journal")
    structlog.get_logger().info("long", text="x" * 5_000_000)
    assert len(json.loads(stream.getvalue())["text"]) == 5_000_000


def test_a_journal_that_is_behind_is_not_waited_for(server, configured):
    stream = io.StringIO()
    configured(stream, log_format="journal")
    for _ in range(5000):
        structlog.get_logger().info("x")
    assert stream.getvalue() == ""
    assert fields_of(server.recv(65536))["TRUNKLINE_EVENT"] == "x"


def test_the_journal_is_chosen_where_standard_error_leads_to_it(server, configured, monkeypatch, tmp_path):
    with (tmp_path / "log").open("w") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        configured(stream)
        structlog.get_logger().info("in the journal")
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino + 1}")
        configured(stream)
        structlog.get_logger().info("in the file")
    assert fields_of(server.recv(65536))["TRUNKLINE_EVENT"] == "in the journal"
    assert json.loads((tmp_path / "log").read_text())["event"] == "in the file"


async def test_every_line_about_a_call_names_it(programs: Programs, ports: Ports, tmp_path: Path) -> None:
    async with LabGateway(programs, ports, gateway={"log_level": "debug"}) as lab:
        await lab.start()
        caller = await lab.call("15550146")
        caller.hang_up()
        (record,) = await lab.ended()
        lines = lab.log()
        events = [line["event"] for line in lines]
        of_call = lines[events.index("incoming call") : events.index("call over") + 1]
        named = [line for line in of_call if line.get("call") == record["id"]]
        assert {"incoming call", "media", "media source", "call over"} <= {line["event"] for line in named}
        assert {line.get("worker") is not None for line in named} == {True, False}
        traces = (record["id"], record["sip_call_id"], "15550146")
        strays = [line for line in of_call if line not in named and any(trace in str(line) for trace in traces)]
        assert strays == []
