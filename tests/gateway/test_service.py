"""What systemd hears: the order of its lines, the status line, and a watchdog that a dead clock does not feed."""

from dataclasses import dataclass, field

import pytest

from trunkline.gateway.http import Readiness
from trunkline.gateway.notify import notify, watchdog_seconds
from trunkline.gateway.record import CallRecord, Media, Received, Sent
from trunkline.gateway.service import Service


@dataclass
class Trunk:
    up: bool


@dataclass
class Call:
    record: CallRecord


@dataclass
class Switch:
    """As much of a switch as a status line shows."""

    calls: dict[str, Call] = field(default_factory=dict)
    trunks: dict[str, Trunk] = field(default_factory=lambda: {"vonage": Trunk(up=False)})
    reasons: list[str] = field(default_factory=lambda: ["trunk vonage is starting: not tried yet"])
    stall: str | None = None

    def readiness(self) -> Readiness:
        return Readiness(reasons=self.reasons)

    def stalled(self, now: float) -> str | None:
        return self.stall

    def come_up(self) -> None:
        self.trunks["vonage"].up = True
        self.reasons = []


class Manager:
    """The service manager's ear."""

    def __init__(self) -> None:
        self.datagrams: list[tuple[str, ...]] = []

    def __call__(self, *lines: str) -> None:
        self.datagrams.append(lines)

    def take(self) -> list[tuple[str, ...]]:
        taken, self.datagrams = self.datagrams, []
        return taken


def call(name: str, received: float | None = None, sent: float | None = None, listening: float | None = None) -> Call:
    media = Media(received=Received(mos_lq=listening, mos_cq=received), sent=Sent(mos_cq=sent))
    return Call(CallRecord(id=name, direction="inbound", started_at="2026-01-02T03:04:05Z", media=media))


@pytest.fixture
def manager() -> Manager:
    return Manager()


def service(switch: Switch, manager: Manager, watchdog_s: float = 0) -> Service:
    if watchdog_s:
        return Service(switch, tell=manager, watchdog_s=watchdog_s, ready_within=15.0, now=100.0)
    return Service(switch, tell=manager, ready_within=15.0, now=100.0)


def test_ready_when_the_trunks_are_up(manager: Manager) -> None:
    switch = Switch()
    told = service(switch, manager)
    told.beat(100.0)
    assert manager.take() == [("STATUS=starting: trunk vonage is starting: not tried yet; 0 calls; 0 of 1 trunks up",)]
    told.beat(100.1)
    assert manager.take() == [], "nothing has changed"
    switch.come_up()
    told.beat(100.2)
    assert manager.take() == [("READY=1", "STATUS=taking calls; 0 calls; 1 of 1 trunks up")]


def test_after_a_stated_time_it_is_ready_but_degraded(manager: Manager) -> None:
    switch = Switch(reasons=["trunk vonage is failed: 403 Forbidden"])
    told = service(switch, manager)
    told.beat(114.9)
    assert manager.take()[-1][0].startswith("STATUS=starting: ")
    told.beat(115.0)
    assert manager.take() == [
        ("READY=1", "STATUS=degraded: trunk vonage is failed: 403 Forbidden; 0 calls; 0 of 1 trunks up")
    ]
    switch.come_up()
    told.beat(116.0)
    assert manager.take() == [("STATUS=taking calls; 0 calls; 1 of 1 trunks up",)]


def test_the_status_counts_calls_and_names_the_worst(manager: Manager) -> None:
    switch = Switch()
    switch.come_up()
    told = service(switch, manager)
    told.beat(100.0)
    manager.take()
    switch.calls = {"a": call("a", 4.3, 4.2), "b": call("b", 4.1, 3.14), "c": call("c")}
    told.beat(101.0)
    assert manager.take() == [("STATUS=taking calls; 3 calls; 1 of 1 trunks up; worst MOS 3.1",)]
    switch.calls = {"a": call("a", listening=2.9)}
    told.beat(102.0)
    assert manager.take() == [("STATUS=taking calls; 1 call; 1 of 1 trunks up; worst MOS 2.9",)]


def test_a_status_is_one_line(manager: Manager) -> None:
    switch = Switch(reasons=["trunk x is failed: bad\nREADY=1\nWATCHDOG=1"])
    service(switch, manager).beat(100.0)
    ((line,),) = manager.take()
    assert "\n" not in line


def test_the_watchdog_is_fed_at_half_of_its_time_and_only_while_clocks_tick(manager: Manager) -> None:
    switch = Switch()
    switch.come_up()
    told = service(switch, manager, watchdog_s=20)
    fed: list[float] = []
    for second in range(100, 180):
        switch.stall = "the media clock of media-1 stands still" if 125 <= second < 150 else None
        told.beat(float(second))
        fed += [second] * manager.take().count(("WATCHDOG=1",))
    assert fed == [100, 110, 120, 150, 160, 170]


def test_the_watchdog_begins_with_ready(manager: Manager) -> None:
    told = service(Switch(), manager, watchdog_s=2)
    told.beat(100.0)
    told.beat(114.0)
    assert ("WATCHDOG=1",) not in manager.take()
    told.beat(115.0)
    assert [lines[0] for lines in manager.take()] == ["READY=1", "WATCHDOG=1"]


def test_without_a_watchdog_none_is_fed(manager: Manager) -> None:
    told = service(Switch(), manager)
    for second in range(100, 200):
        told.beat(float(second))
    assert ("WATCHDOG=1",) not in manager.take()


def test_reload_begins_with_the_clock_and_ends_with_ready(manager: Manager) -> None:
    switch = Switch()
    switch.come_up()
    told = service(switch, manager)
    told.beat(100.0)
    manager.take()
    told.begin_reload()
    ((state, clock),) = manager.take()
    assert state == "RELOADING=1"
    assert int(clock.removeprefix("MONOTONIC_USEC=")) > 0
    told.end_reload("trunkline.toml:3: sip.listen: must be a list")
    assert manager.take() == [
        (
            "READY=1",
            "STATUS=taking calls; 0 calls; 1 of 1 trunks up; "
            "last reload refused: trunkline.toml:3: sip.listen: must be a list",
        )
    ]
    told.end_reload()
    assert manager.take() == [("READY=1", "STATUS=taking calls; 0 calls; 1 of 1 trunks up")]


def test_a_reload_does_not_make_a_starting_gateway_ready(manager: Manager) -> None:
    told = service(Switch(), manager)
    told.begin_reload()
    told.end_reload()
    assert not any("READY=1" in lines for lines in manager.take())


def test_stopping_asks_for_the_time_of_the_drain(manager: Manager) -> None:
    told = service(Switch(calls={"a": call("a")}), manager)
    told.begin_stop(300)
    assert manager.take() == [
        (
            "STOPPING=1",
            "EXTEND_TIMEOUT_USEC=320000000",
            "STATUS=draining for at most 300 s; 1 call; 0 of 1 trunks up",
        )
    ]


def test_the_watchdog_of_another_process_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "20000000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert watchdog_seconds() is None
    monkeypatch.delenv("WATCHDOG_PID")
    assert watchdog_seconds() == 20.0
    monkeypatch.setenv("WATCHDOG_USEC", "soon")
    assert watchdog_seconds() is None


@pytest.mark.parametrize("path", ["/nowhere/notify", "@trunkline-nobody-listens", "relative", "/" + "x" * 200])
def test_a_broken_notify_socket_disturbs_nobody(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    notify("READY=1")


def test_remarks_end_the_status_line(manager: Manager) -> None:
    switch = Switch()
    switch.come_up()
    remarks: list[str] = []
    told = Service(switch, tell=manager, ready_within=15.0, now=100.0, remarks=lambda: remarks)
    told.beat(100.0)
    manager.take()
    remarks += ["2 open alerts", "call records cannot be written: disk full"]
    told.beat(101.0)
    assert manager.take() == [
        ("STATUS=taking calls; 0 calls; 1 of 1 trunks up; 2 open alerts; call records cannot be written: disk full",)
    ]
