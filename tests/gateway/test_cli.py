"""The command line as its users meet it: exit status, and one line for each mistake."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
from io import StringIO
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from trunkline.gateway import cli
from trunkline.gateway.__main__ import main as installed
from trunkline.gateway.config_tables import HttpConfig
from trunkline.gateway.errors import CallRefused
from trunkline.gateway.http import AdminServer, LiveCall, Readiness
from trunkline.gateway.live_check import Finding
from trunkline.gateway.record import CallRecord, Media, Received, Turn
from trunkline.gateway.record_view import calls_table
from trunkline.gateway.records import RecordsHealth, RecordStore

ENDED = CallRecord(
    id="0190-b",
    direction="inbound",
    trunk="vonage",
    from_="14155550100",
    to="14155550199",
    agent="reception",
    started_at="2026-01-02T03:04:05.678Z",
    answered_at="2026-01-02T03:04:06.000Z",
    ended_at="2026-01-02T03:05:00.000Z",
    duration_s=54.0,
    ended_by="caller",
    sip_status=200,
    media=Media(received=Received(packets=2700, mos_cq=4.123456)),
    turns=[Turn(index=0, caller_said="[red]Hi\x1b[31m", agent_said="Hello", latency_ms=512.5)],
    dtmf=["7"],
)


@pytest.fixture
def config(tmp_path) -> Path:
    path = tmp_path / "t.toml"
    path.write_text(
        f"[gateway]\nstate_dir = '{tmp_path}/state'\n"
        "[agents.reception]\nprovider = 'openai'\napi_key = '$NO_SUCH_KEY'\n"
        "[[routes]]\nto = '*'\nagent = 'reception'\n"
    )
    return path


@pytest.fixture
def trunkline(monkeypatch, capsys):
    """Run one command in this process: (exit status, standard output, standard error)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["trunkline", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        captured = capsys.readouterr()
        return int(caught.value.code or 0), captured.out, captured.err

    return run


def write_records(directory: Path, *records: CallRecord) -> None:
    async def write() -> None:
        store = RecordStore(f"sqlite+aiosqlite:///{directory}/calls.db", state_dir=directory)
        await store.start()
        for record in records:
            store.write(record)
        await store.close()

    asyncio.run(write())


def test_check_accepts(trunkline, config, monkeypatch):
    monkeypatch.setenv("NO_SUCH_KEY", "k")
    assert trunkline("check", "--config", config) == (0, f"{config}: valid: 0 trunks, 1 agent, 1 route\n", "")


def test_check_refuses_with_status_2_and_a_line_for_each_problem(trunkline, config):
    config.write_text(config.read_text() + "[http]\nlisten = '0.0.0.0:80'\n")
    status, out, err = trunkline("check", "--config", config)
    assert (status, out) == (2, "")
    lines = err.splitlines()
    assert lines[0].startswith(f"trunkline: {config}:5: agents.reception.api_key: environment variable NO_SUCH_KEY")
    assert lines[1].startswith(f"trunkline: {config}:9: http: ")
    assert len(lines) == 2


def test_run_refuses_a_bad_configuration_with_status_2(trunkline, tmp_path):
    status, _, err = trunkline("run", "--config", tmp_path / "none.toml")
    assert status == 2
    assert err.count("\n") == 1


@pytest.mark.parametrize(("ok", "status"), [(True, 0), (False, 1)])
def test_check_live_tells_how_each_part_stands(trunkline, config, monkeypatch, ok, status):
    async def check_live(_config):
        return [Finding("trunk vonage", True, "registered"), Finding("agent reception", ok, "a session")]

    monkeypatch.setenv("NO_SUCH_KEY", "k")
    monkeypatch.setattr("trunkline.gateway.live_check.check_live", check_live)
    given_status, out, _ = trunkline("check", "--config", config, "--live")
    assert given_status == status
    assert out.splitlines()[1] == "trunk vonage: ok: registered"
    assert out.splitlines()[2] == f"agent reception: {'ok' if ok else 'FAILED'}: a session"


def test_calls_lists_the_newest_first_without_the_secrets_of_other_tables(trunkline, config, tmp_path):
    write_records(tmp_path / "state", ENDED, msgspec.structs.replace(ENDED, id="0190-c"))
    status, out, _ = trunkline("calls", "--config", config)
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == ["id", "0190-c", "0190-b"]
    assert "4.123 / -" in out
    assert trunkline("calls", "list", "--config", config)[1] == out
    assert trunkline("calls", "--config", config, "list")[1] == out


@pytest.mark.parametrize(
    ("width", "shown"), [(80, ["14155550100"]), (100, ["4.123 / -"]), (170, ["inbound", "reception"])]
)
def test_a_narrow_terminal_shows_less_of_each_call_and_that_whole(width, shown):
    terminal = Console(file=StringIO(), width=width)
    terminal.print(calls_table([msgspec.structs.replace(ENDED, id="0" * 36)], width))
    _heading, row, *more = terminal.file.getvalue().splitlines()
    assert more == []
    assert all(text in row for text in ["0" * 36, "2026-01-02 03:04:05", *shown])


def test_calls_as_json_are_records(trunkline, config, tmp_path):
    write_records(tmp_path / "state", ENDED)
    _, out, _ = trunkline("calls", "list", "--json", "--config", config)
    assert msgspec.convert(json.loads(out), list[CallRecord]) == [ENDED]
    _, out, _ = trunkline("calls", "--json", "--config", config)
    assert msgspec.convert(json.loads(out), list[CallRecord]) == [ENDED]
    _, out, _ = trunkline("calls", "show", ENDED.id, "--json", "--config", config)
    assert msgspec.convert(json.loads(out), CallRecord) == ENDED


def test_show_prints_what_was_said_as_it_is_and_nothing_that_a_terminal_obeys(trunkline, config, tmp_path):
    write_records(tmp_path / "state", ENDED)
    status, out, _ = trunkline("calls", "show", ENDED.id, "--config", config)
    assert status == 0
    assert "[red]Hi [31m" in out
    assert "\x1b" not in out
    assert "512.5" in out


def test_show_of_an_unknown_call_fails(trunkline, config, tmp_path):
    write_records(tmp_path / "state", ENDED)
    assert trunkline("calls", "show", "x", "--config", config) == (1, "", "trunkline: there is no call x\n")


def test_calls_without_a_database_says_so_and_makes_none(trunkline, config, tmp_path):
    status, _, err = trunkline("calls", "--config", config)
    assert (status, err.count("\n")) == (1, 1)
    assert "there are no call records" in err
    assert not (tmp_path / "state").exists()


class Switchboard:
    """Stands for the switch: a call is live at the first look and ended at the second."""

    def __init__(self, ended: CallRecord) -> None:
        self.ended = ended
        self.looks = 0
        self.placed: list[tuple[str, str, str | None]] = []
        self.hung_up: list[str] = []
        self.refusal: CallRefused | None = None
        self.endless = False
        self.health = RecordsHealth(writable=True, queued=0)

    def readiness(self) -> Readiness:
        return Readiness()

    def live_calls(self) -> list[LiveCall]:
        self.looks += 1
        return [LiveCall(self.ended, state="answered")] if self.looks == 1 or self.endless else []

    async def place_call(self, to: str, agent: str, trunk: str | None) -> str:
        if self.refusal:
            raise self.refusal
        self.placed.append((to, agent, trunk))
        return self.ended.id

    def hang_up(self, call_id: str) -> bool:
        self.hung_up.append(call_id)
        return True

    async def get(self, _call_id: str) -> CallRecord:
        return self.ended

    async def list(self, *_arguments, **_filters) -> "list[CallRecord]":
        return [self.ended]


@pytest.fixture
def switchboard(config, monkeypatch):
    """A gateway's API in a thread of its own; `config` leads to it."""
    monkeypatch.setattr("trunkline.gateway.http_client.POLL_S", 0.01)
    board = Switchboard(ENDED)
    started = threading.Event()
    loop = asyncio.new_event_loop()
    port: list[int] = []

    async def serve(stop: asyncio.Event) -> None:
        server = AdminServer(HttpConfig.model_validate({"listen": "127.0.0.1:0"}), board, board)
        port.append(await server.start())
        started.set()
        await stop.wait()
        await server.stop()

    stop = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve(stop)))
    thread.start()
    assert started.wait(10)
    config.write_text(config.read_text() + f"[http]\nlisten = '127.0.0.1:{port[0]}'\n")
    yield board
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()


def test_call_follows_the_call_to_its_end(trunkline, config, switchboard):
    status, out, _ = trunkline("call", "+14155550199", "--trunk", "vonage", "--config", config, "--json")
    assert status == 0
    assert switchboard.placed == [("+14155550199", "reception", "vonage")]
    assert msgspec.convert(json.loads(out), CallRecord) == ENDED


def test_a_call_that_nobody_answered_fails(trunkline, config, switchboard):
    switchboard.ended = msgspec.structs.replace(ENDED, answered_at=None, sip_status=486)
    status, out, _ = trunkline("call", "1", "--config", config)
    assert status == 1
    assert "486" in out


def test_a_refused_call_says_why(trunkline, config, switchboard):
    switchboard.refusal = CallRefused(503, "all lines are in use", 5)
    assert trunkline("call", "1", "--config", config) == (1, "", "trunkline: all lines are in use\n")


def test_call_without_a_gateway_says_so(trunkline, config):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        config.write_text(config.read_text() + f"[http]\nlisten = '127.0.0.1:{free.getsockname()[1]}'\n")
        status, _, err = trunkline("call", "1", "--config", config)
    assert status == 1
    assert err.startswith("trunkline: no gateway answers at http://127.0.0.1:")


def test_call_asks_which_agent_when_there_are_several(trunkline, config):
    config.write_text(config.read_text() + "[agents.other]\nprovider = 'openai'\n")
    status, _, err = trunkline("call", "1", "--config", config)
    assert status == 2
    assert err.endswith("name the agent of this call with --agent; there are: reception, other\n")


def test_play_is_left_to_this_process(trunkline, config, monkeypatch, tmp_path):
    given = {}

    async def place(_config, target, **options):
        given.update(options, target=target)
        return ENDED

    monkeypatch.setenv("NO_SUCH_KEY", "k")
    monkeypatch.setattr("trunkline.gateway.place.place", place)
    wav = tmp_path / "in.wav"
    status, out, _ = trunkline("call", "1", "--play", wav, "--dtmf", "123#", "--config", config, "--json")
    assert (status, json.loads(out)["id"]) == (0, ENDED.id)
    assert given == {"target": "1", "agent": None, "trunk": None, "play": wav, "record": None, "dtmf": "123#"}


@pytest.mark.parametrize("arguments", [["call"], ["nothing"], ["check", "--nothing"], ["calls", "--limit", "0"]])
def test_a_wrong_command_is_status_2(trunkline, arguments):
    status, _, err = trunkline(*arguments)
    assert status == 2
    assert "Traceback" not in err


def test_the_program_as_installed():
    result = subprocess.run([sys.executable, "-m", "trunkline.gateway", "--version"], capture_output=True, text=True)
    assert result.returncode == 0
    assert result.stdout.startswith("trunkline 0.")
    assert result.stderr == ""


def test_ctrl_c_while_it_loads_is_status_130_without_a_word(monkeypatch, capsys):
    class Interrupted:
        @staticmethod
        def find_spec(name, _path=None, _target=None):
            if name == "trunkline.gateway.cli":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "trunkline.gateway.cli", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupted, *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        installed()
    assert (ended.value.code, capsys.readouterr()) == (130, ("", ""))
