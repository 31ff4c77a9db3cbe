"""Call records in a real PostgreSQL, started for this module: what SQLite's tests cannot prove."""

import asyncio
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from trunkline.gateway import records
from trunkline.gateway.errors import RecordsError
from trunkline.gateway.ids import CallIds
from trunkline.gateway.record import CallRecord, Media, Received, Turn
from trunkline.gateway.record_search import RecordQuery
from trunkline.gateway.records import STOPPED_UNEXPECTEDLY, RecordStore
from trunkline.gateway.records_reader import RecordReader

IDS = CallIds()


def binary(name: str) -> str | None:
    """Debian keeps the server's programs off the path."""
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(installed[-1]) if installed else None)


def as_server_user() -> dict[str, int]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("postgres")
    return {"user": user.pw_uid, "group": user.pw_gid}


class Server:
    """A PostgreSQL that can be stopped, started again, and silenced."""

    def __init__(self, arguments: list[str | Path], base: Path, port: int) -> None:
        self.url = f"postgresql+asyncpg://trunkline@127.0.0.1:{port}/postgres"
        self._arguments = arguments
        self._base = base
        self.start()

    def start(self) -> None:
        log = self._base / "log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                self._arguments, stdout=output, stderr=output, cwd=self._base, **as_server_user()
            )
        for _ in range(400):
            assert self._process.poll() is None, log.read_text(errors="replace")
            if "ready to accept connections" in log.read_text(errors="replace"):
                return
            time.sleep(0.05)
        pytest.fail(f"PostgreSQL does not listen: {log.read_text(errors='replace')}")

    def stop(self) -> None:
        """At once, whoever is connected."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(20)

    def silence(self, silent: bool) -> None:
        """It takes what it is sent and answers nothing. Its processes lead groups of their own."""
        parent = self._process.pid
        listed = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        for pid in (parent, *map(int, listed)):
            os.kill(pid, signal.SIGSTOP if silent else signal.SIGCONT)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    initdb, postgres = binary("initdb"), binary("postgres")
    if initdb is None or postgres is None:
        reason = "postgres is not installed: apt-get install postgresql"
        if os.environ.get("TRUNKLINE_REQUIRE_PEERS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    identity = as_server_user()
    base = Path(tempfile.mkdtemp(prefix="trunkline-postgresql-"))  # pytest's folders are closed to other users
    if identity:
        shutil.chown(base, identity["user"], identity["group"])
    data = base / "data"
    options = ["--auth=trust", "--username=trunkline", "--no-sync", "--encoding=UTF8", "--locale=C"]
    subprocess.run([initdb, "-D", data, *options], check=True, capture_output=True, cwd=base, **identity)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Server([postgres, "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", "", "-F"], base, port)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(base)


@pytest.fixture
def url(server: Server) -> str:
    return server.url


async def until(check: Callable[[], bool]) -> None:
    for _ in range(1000):
        if check():
            return
        await asyncio.sleep(0.02)
    pytest.fail("it did not happen within 20 s")


def record(**changes) -> CallRecord:
    whole = CallRecord(
        id=IDS.new(),
        direction="inbound",
        trunk="vonage",
        from_="14155550100",
        agent="reception",
        started_at="2026-01-02T03:04:05.678Z",
        ended_at="2026-01-02T03:05:05.678Z",
        end_reason="BYE",
        media=Media(received=Received(packets=3000, mos_cq=4.2)),
        turns=[Turn(index=0, caller_said="Grüß Gott", latency_ms=480.5)],
    )
    return msgspec.structs.replace(whole, **changes)


async def test_records_come_back_and_the_end_wins(url, tmp_path):
    store = RecordStore(url, state_dir=tmp_path)
    await store.start()
    ended = record()
    begun = msgspec.structs.replace(ended, ended_at=None, end_reason=None)
    store.write(begun)
    await store.close()

    store = RecordStore(url, state_dir=tmp_path, gateway="another")
    await store.start()
    store.write(ended)
    await store.close()

    store = RecordStore(url, state_dir=tmp_path)
    await store.start()
    store.write(begun)
    await store.close()
    assert not list(tmp_path.glob("records.spool*"))

    reader = RecordReader(url)
    assert await reader.get(ended.id) == ended
    assert (await reader.list(1, query=RecordQuery(trunk="vonage")))[0] == ended
    await reader.close()


async def test_calls_of_a_gateway_that_died_are_closed_and_those_of_others_are_not(url, tmp_path):
    east = RecordStore(url, state_dir=tmp_path, gateway="east")
    await east.start()
    unfinished = record(ended_at=None, end_reason=None)
    east.write(unfinished)
    await east.close()
    for gateway, reason in (("west", None), ("east", STOPPED_UNEXPECTEDLY)):
        store = RecordStore(url, state_dir=tmp_path, gateway=gateway)
        await store.start()
        found = await store.get(unfinished.id)
        assert found is not None
        assert found.end_reason == reason
        await store.close()


async def test_records_wait_for_a_server_that_is_stopped(server, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RETRY_MOST_S", 0.2)
    store = RecordStore(server.url, state_dir=tmp_path)
    await store.start()
    await asyncio.to_thread(server.stop)
    late = record()
    store.write(late)
    await until(lambda: not store.health.writable)
    assert store.health.queued == 1
    await asyncio.to_thread(server.start)
    await until(lambda: store.health.writable and not store.health.queued)
    assert await store.get(late.id) == late
    await store.close()


async def test_a_server_that_is_silent_is_said_and_what_waits_is_spooled(server, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "SILENT_AFTER_S", 0.1)
    monkeypatch.setattr(records, "WRITE_WITHIN_S", 0.5)
    monkeypatch.setattr(records, "RETRY_MOST_S", 0.2)
    monkeypatch.setattr(records, "MEMORY_LIMIT", 2)
    store = RecordStore(server.url, state_dir=tmp_path)
    await store.start()
    first = record()
    store.write(first)
    await until(lambda: not store.health.queued)
    server.silence(True)
    try:
        late = [record() for _ in range(5)]
        for one in late:
            store.write(one)
        await until(lambda: store.health.reason == "the database does not answer")
        await until(lambda: (tmp_path / "records.spool.jsonl").exists())
    finally:
        server.silence(False)
    await until(lambda: store.health.writable and not store.health.queued)
    for one in late:
        assert await store.get(one.id) == one
    await store.close()
    assert not list(tmp_path.glob("records.spool*"))


async def test_a_nul_from_the_network_is_stored(url, tmp_path):
    store = RecordStore(url, state_dir=tmp_path)
    await store.start()
    odd = record(from_="a\0b", turns=[Turn(index=0, caller_said="c\0d")])
    store.write(odd)
    await store.close()
    assert not list(tmp_path.glob("records.spool*"))


async def test_a_database_that_is_not_there_is_named(url):
    reader = RecordReader(url.replace("/postgres", "/nothing"))
    with pytest.raises(RecordsError, match='database "nothing" does not exist'):
        await reader.list()
    await reader.close()
