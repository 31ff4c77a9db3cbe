"""Logs: one JSON object a line, ours and the libraries' alike."""

import contextvars
import io
import json
import logging

import pytest
import structlog

from trunkline.gateway.config_tables import GatewayConfig
from trunkline.gateway.logs import configure_logs


@pytest.fixture
def lines(monkeypatch):
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    stream = io.StringIO()

    def configured(**keys) -> io.StringIO:
        configure_logs(GatewayConfig.model_validate({"name": "edge-1", **keys}), stream, worker=2)
        return stream

    yield configured
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def test_a_line_is_json_with_time_level_gateway_and_call(lines):
    stream = lines()
    structlog.get_logger(call_id="0190-b").info("call answered", to="14155550100", odd=b"\xff")
    event = json.loads(stream.getvalue())
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "call answered",
        "level": "info",
        "gateway": "edge-1",
        "worker": 2,
        "call_id": "0190-b",
        "to": "14155550100",
        "odd": "b'\\xff'",
    }


def test_the_level_holds(lines):
    stream = lines(log_level="warning")
    structlog.get_logger().info("not this")
    structlog.get_logger().warning("this")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["this"]


def test_libraries_come_out_alike_from_warning_up(lines):
    stream = lines(log_level="debug")
    logging.getLogger("aiohttp").info("not %s", "this")
    logging.getLogger("aiohttp").warning("this %s", "one")
    (event,) = map(json.loads, stream.getvalue().splitlines())
    assert (event["event"], event["level"], event["gateway"]) == ("this one", "warning", "edge-1")


def test_an_exception_is_one_line(lines):
    stream = lines()
    try:
        raise ValueError("broken")
    except ValueError:
        structlog.get_logger().exception("it failed")
    (event,) = map(json.loads, stream.getvalue().splitlines())
    assert event["exception"][0]["exc_value"] == "broken"


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_an_exception_does_not_show_variables(lines, log_format):
    stream = lines(log_format=log_format)

    def fail(password: str) -> None:
        raise ValueError(len(password))

    try:
        fail("".join(("hun", "ter2")))
    except ValueError:
        structlog.get_logger().exception("it failed")
        logging.getLogger("library").exception("it failed, too")
    assert "it failed, too" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()


def test_console_is_text(lines):
    stream = lines(log_format="console")
    structlog.get_logger().info("gateway is up")
    assert "gateway is up" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_a_line_logged_from_elsewhere_names_the_gateway_too(lines):
    stream = lines()
    contextvars.Context().run(structlog.get_logger().info, "from a callback")
    event = json.loads(stream.getvalue())
    assert (event["gateway"], event["worker"]) == ("edge-1", 2)


class Full(io.StringIO):
    """A disk without room."""

    def write(self, _text: str) -> int:
        raise OSError(28, "No space left on device")

    def flush(self) -> None:
        raise BrokenPipeError


def test_a_log_that_cannot_be_written_disturbs_nobody(lines, monkeypatch):
    monkeypatch.setattr(io, "StringIO", Full)
    lines()
    structlog.get_logger().error("lost")
    logging.getLogger("aiohttp").error("lost as well")
