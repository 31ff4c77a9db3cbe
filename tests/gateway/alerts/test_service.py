"""The alert service: what is stored, what is told, what a restart and a reload do, and what one faulty channel does."""

import asyncio
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.alerts import FakeChannel, FakeEngine, an_alert

from trunkline.gateway.alerts import deliveries as deliveries_module
from trunkline.gateway.alerts import outbox as outbox_module
from trunkline.gateway.alerts import service as service_module
from trunkline.gateway.alerts.channels.base import DeliveryError
from trunkline.gateway.alerts.gauges import AlertGauges
from trunkline.gateway.alerts.journal_file import JournalFile
from trunkline.gateway.alerts.service import AlertService
from trunkline.gateway.alerts.state import TrunkState
from trunkline.gateway.config import Config
from trunkline.gateway.errors import AlertRefused, ConfigError
from trunkline.gateway.records import RecordsHealth

SIGNED = {"kind": "webhook", "url": "http://127.0.0.1:1/", "secrets": ["0123456789abcdef"]}
PHONE = {"kind": "telephone", "to": "15550100"}
ON_CALL: dict[str, Any] = {
    "channels": {"chat": SIGNED, "pager": SIGNED, "phone": PHONE},
    "notify": ["chat"],
    "on_call": [{"name": "Ada", "channels": ["pager"]}, {"name": "Bo", "channels": ["phone"]}],
}
SECRET = "hooks.example.com/T0KEN"


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(service_module, "LOOK_EVERY_S", 0.005)
    monkeypatch.setattr(outbox_module, "RETRY_FIRST_S", 0.01)
    monkeypatch.setattr(deliveries_module, "STOP_WITHIN_S", 0.2)


class Switch:
    """A gateway that is well."""

    def __init__(self) -> None:
        self.sick: str | None = None

    def stalled(self, now: float) -> str | None:
        return self.sick

    def trunks_up(self) -> list[str]:
        return []

    async def announce(self, *_: object) -> None:
        raise AssertionError("no fake channel calls")


async def eventually(condition: Callable[[], Any], what: str) -> Any:
    deadline = asyncio.get_running_loop().time() + 10
    while not (value := condition()):
        assert asyncio.get_running_loop().time() < deadline, f"still not: {what}"
        await asyncio.sleep(0.005)
    return value


class World:
    """A service between an engine that fires on demand and channels of the test."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.channels = {name: FakeChannel() for name in ON_CALL["channels"]}
        self.made: list[str] = []
        self.engine = FakeEngine()
        self.switch = Switch()

    def config(self, **alerts: Any) -> Config:
        return Config(gateway={"state_dir": self.state_dir, "name": "edge"}, alerts=ON_CALL | alerts)

    def _engine(self, rules: object, _state: object) -> FakeEngine:
        self.engine = FakeEngine(rules)
        return self.engine

    def _channel(self, name: str, *_: object) -> FakeChannel:
        self.made.append(name)
        return self.channels[name]

    @asynccontextmanager
    async def running(self, **alerts: Any):
        service = AlertService(self.config(**alerts), make_engine=self._engine, make=self._channel)
        await service.start(self.switch, object())
        service.watch()
        try:
            yield service
        finally:
            await service.stop()

    async def die(self, service: AlertService) -> None:
        """As a killed process: nothing is finished, nothing closed."""
        desk = service.desk
        assert desk is not None
        for task in asyncio.all_tasks():
            if task.get_name().startswith(("alert", "heartbeat")):
                task.cancel()
        await asyncio.sleep(0)
        service._desk = None

    def stored(self):
        return JournalFile(self.state_dir).read()[0]


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path)


TRIGGER, RESOLVE = ("trigger", None), ("resolve", None)


async def test_a_page_reaches_notify_and_the_first_person_and_its_end_as_well(world):
    async with world.running():
        world.engine.fire(an_alert())
        await eventually(lambda: world.channels["chat"].told and world.channels["pager"].told, "both to be told")
        world.engine.resolve("a1")
        await eventually(lambda: len(world.channels["pager"].told) == 2, "the resolution")
    assert world.channels["chat"].told == [TRIGGER, RESOLVE]
    assert world.channels["pager"].told == [("trigger", "Ada"), RESOLVE]
    assert world.channels["phone"].told == []
    assert all(channel.closed for channel in world.channels.values())


async def test_a_delivery_is_on_disk_before_the_channel_sees_it(world):
    seen: list[bool] = []
    world.channels["pager"].on_delivery = lambda delivery: seen.append(
        delivery.id in world.stored().deliveries and "pager" in world.stored().climbs["a1"].told
    )
    async with world.running():
        world.engine.fire(an_alert())
        await eventually(lambda: seen, "the delivery")
        await eventually(lambda: world.stored().deliveries == {}, "the delivery to be marked as made")
    assert seen == [True]


async def test_killed_between_storing_and_the_answer_it_is_delivered_once_more(world):
    world.channels["pager"].gate = asyncio.Event()
    async with world.running() as service:
        world.engine.fire(an_alert())
        first = (await eventually(lambda: world.channels["pager"].made, "the delivery"))[0]
        await world.die(service)
    world.channels["pager"] = FakeChannel()
    async with world.running():
        again = (await eventually(lambda: world.channels["pager"].made, "the delivery after the restart"))[0]
        assert world.engine.restored == ["a1"]
        await eventually(lambda: world.stored().deliveries == {}, "it to be marked as made")
    assert again.id == first.id
    assert len(world.channels["pager"].made) == 1
    async with world.running():
        await eventually(lambda: world.engine.polls > 3, "some looks")
    assert len(world.channels["pager"].made) == 1, "made once more after it was marked"


async def test_a_stop_leaves_what_is_not_delivered_for_the_next_start(world):
    world.channels["pager"].gate = asyncio.Event()
    async with world.running():
        world.engine.fire(an_alert())
        await eventually(lambda: world.channels["pager"].made, "the delivery")
    assert world.channels["pager"].cut_off == 1
    world.channels["pager"] = FakeChannel()
    async with world.running():
        await eventually(lambda: world.channels["pager"].told == [("trigger", "Ada")], "the delivery")


async def test_an_alert_that_was_resolved_while_nothing_ran_wakes_nobody(world):
    world.channels["pager"].gate = asyncio.Event()
    async with world.running() as service:
        world.engine.fire(an_alert())
        await eventually(lambda: world.channels["pager"].made, "the delivery")
        await world.die(service)
    kept = world.stored()
    journal = JournalFile(world.state_dir)
    kept.alerts["a1"].state = "resolved"
    journal.replace(kept.snapshot())
    world.channels["pager"] = FakeChannel()
    async with world.running():
        await eventually(lambda: world.channels["pager"].told == [RESOLVE], "the resolution alone")


async def test_a_dead_channel_delays_no_other_and_is_tried_again(world):
    world.channels["chat"].gate = asyncio.Event()
    world.channels["pager"].script = [DeliveryError("no answer"), DeliveryError("no answer")]
    async with world.running() as service:
        world.engine.fire(an_alert())
        await eventually(lambda: len(world.channels["pager"].made) == 3, "the third attempt")
        assert [delivery.attempts for delivery in world.channels["pager"].made] == [1, 2, 3]
        assert service.desk is not None
        await eventually(lambda: service.desk.deliveries.results["pager", "delivered"] == 1, "it to be counted")
        assert service.desk.deliveries.results["pager", "failed"] == 2
        assert len(world.channels["chat"].made) == 1


async def test_refused_for_good_the_next_person_is_told_at_once(world):
    world.channels["pager"].script = [DeliveryError("wrong key", permanent=True)]
    async with world.running():
        world.engine.fire(an_alert())
        await eventually(lambda: world.channels["phone"].told == [("trigger", "Bo")], "the next person")


async def test_a_fault_of_a_channel_is_a_failed_delivery_and_tells_no_secret(world):
    world.channels["pager"].script = [ValueError(f"bad address https://{SECRET}")]
    with capture_logs() as logs:
        async with world.running() as service:
            world.engine.fire(an_alert())
            await eventually(lambda: len(world.channels["pager"].made) == 2, "the second attempt")
            assert SECRET not in repr(service.parts())
    assert any(line["event"] == "alert channel failed" and line["error"] == "ValueError" for line in logs)
    assert SECRET not in repr(logs)


async def test_a_channel_that_never_answers_is_given_up(world, monkeypatch):
    monkeypatch.setattr(deliveries_module, "LONGEST_S", 0.02)
    world.channels["pager"].gate = asyncio.Event()
    async with world.running():
        world.engine.fire(an_alert())
        await eventually(lambda: len(world.channels["pager"].made) == 2, "the second attempt")


async def test_a_key_on_the_telephone_owns_the_alert(world):
    world.channels["pager"].script = ["next"]
    world.channels["phone"].script = ["acknowledged"]
    async with world.running() as service:
        world.engine.fire(an_alert())
        await eventually(lambda: service.get("a1").acknowledged_by == "Bo", "Bo to own it")
        await eventually(lambda: ("acknowledge", None) in world.channels["pager"].told, "the others to hear of it")
        assert world.stored().alerts["a1"].acknowledged_by == "Bo"


async def test_an_owner_elsewhere_ends_the_ringing_and_the_climbing(world):
    world.channels["phone"].gate = asyncio.Event()
    world.channels["pager"].script = ["next"]
    async with world.running() as service:
        world.engine.fire(an_alert())
        await eventually(lambda: world.channels["phone"].made, "the telephone to ring")
        world.channels["phone"].gate = None
        await service.acknowledge("a1", "console")
        await eventually(lambda: world.channels["phone"].cut_off == 1, "the ringing to end")
        desk = service.desk
        assert desk is not None
        climb = desk.ladder.climb("a1")
        assert climb is not None
        assert climb.phase == "owned"
        await eventually(lambda: world.stored().deliveries == {}, "nothing left to deliver")


async def test_what_other_channels_have_half_sent_is_not_cut_off(world):
    gate = world.channels["pager"].gate = asyncio.Event()
    async with world.running() as service:
        world.engine.fire(an_alert())
        await eventually(lambda: world.channels["pager"].made, "the delivery to begin")
        await service.acknowledge("a1", "console")
        gate.set()
        await eventually(lambda: world.channels["pager"].told[1:] == [("acknowledge", None)], "the acknowledgement")
    assert world.channels["pager"].cut_off == 0


async def test_who_asks_hears_who_owns_it(world):
    async with world.running() as service:
        world.engine.fire(an_alert())
        await eventually(lambda: service.open_alerts, "the alert")
        assert (await service.acknowledge("a1", "Ada")).acknowledged_by == "Ada"
        assert (await service.acknowledge("a1", "Bo")).acknowledged_by == "Ada", "the first owner stays"
        with pytest.raises(AlertRefused, match="no alert a2") as unknown:
            await service.acknowledge("a2", "Ada")
        world.engine.resolve("a1")
        await eventually(lambda: not service.open_alerts and service.list("all"), "the end")
        with pytest.raises(AlertRefused, match="resolved already") as late:
            await service.acknowledge("a1", "Ada")
        assert (unknown.value.status, late.value.status) == (404, 409)
        assert service.list("open") == []
        assert [alert.state for alert in service.list("all")] == ["resolved"]
        assert service.get("a1").state == "resolved"
        with pytest.raises(AlertRefused):
            service.get("a2")
    async with world.running() as service:
        assert [alert.id for alert in service.list("all")] == ["a1"], "history outlives a restart"


async def test_a_test_says_what_happened(world):
    world.channels["phone"].script = ["acknowledged"]
    world.channels["chat"].script = [DeliveryError("no route to host")]
    async with world.running() as service:
        heard, failed = await asyncio.gather(service.test("phone"), service.test("chat"))
        assert (heard.delivered, heard.answer, heard.reason) == (True, "acknowledged", None)
        assert (failed.delivered, failed.reason) == (False, "no route to host")
        assert world.channels["phone"].told == [("test", None)]
        with pytest.raises(AlertRefused, match="use one of: chat, pager, phone"):
            await service.test("fax")
        assert service.list("all") == []


async def test_a_test_of_a_channel_that_backs_off_does_not_wait(world, monkeypatch):
    monkeypatch.setattr(outbox_module, "RETRY_FIRST_S", 60.0)
    world.channels["pager"].script = [DeliveryError("no answer")]
    async with world.running() as service:
        world.engine.fire(an_alert())
        await eventually(lambda: service.parts().get("alert channel pager"), "the failure")
        assert service.parts()["alert channel pager"] == "failing: no answer"
        async with asyncio.timeout(10):
            assert (await service.test("pager")).delivered


async def test_a_channel_that_forgets_is_told_again_while_the_alert_is_open(world):
    world.channels["chat"].refresh_s = 0.02
    async with world.running() as service:
        world.engine.fire(an_alert())
        await eventually(lambda: world.channels["chat"].told[:3] == [TRIGGER] * 3, "it to be told again")
        await service.acknowledge("a1", "Ada")
        await eventually(lambda: world.channels["chat"].made[-1].alert.state == "acknowledged", "the new state")
        world.engine.resolve("a1")
        await eventually(lambda: world.channels["chat"].told[-1] == RESOLVE, "the end")
        count, polls = len(world.channels["chat"].made), world.engine.polls
        await eventually(lambda: world.engine.polls > polls + 10, "more looks")
        assert len(world.channels["chat"].made) == count
    assert world.channels["pager"].told.count(("trigger", "Ada")) == 1


async def test_a_full_disk_pages_all_the_same_and_is_said(world, monkeypatch):
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    async with world.running() as service:
        await eventually(lambda: world.engine.polls, "a look")
        monkeypatch.setattr(JournalFile, "append", full)
        world.engine.fire(an_alert())
        await eventually(lambda: world.channels["pager"].told == [("trigger", "Ada")], "the page")
        assert service.troubles() == ["alerts cannot be stored: No space left on device"]
        assert _metrics(service)["trunkline_alerts_storable"] == 0
        monkeypatch.undo()
        monkeypatch.setattr(deliveries_module, "STOP_WITHIN_S", 0.2)
        await eventually(lambda: not service.troubles(), "the disk to be well again")
        await eventually(lambda: "a1" in world.stored().alerts, "the alert to be stored")


async def test_a_fault_in_a_rule_is_logged_and_the_ladder_climbs_on(world):
    rungs = [ON_CALL["on_call"][0] | {"ack_timeout_s": 5}, ON_CALL["on_call"][1]]
    with capture_logs() as logs:
        async with world.running(on_call=rungs) as service:
            world.engine.fire(an_alert())
            await eventually(lambda: world.channels["pager"].made, "the page")
            world.engine.fault = ZeroDivisionError()
            desk = service.desk
            assert desk is not None
            desk._monotonic = lambda: time.monotonic() + 5
            await eventually(lambda: world.channels["phone"].made, "the next person")
            polls = world.engine.polls
            await eventually(lambda: world.engine.polls > polls + 5, "more looks")
    assert [line["event"] for line in logs].count("the rules of alerts failed") == 1


async def test_a_fault_of_the_gateway_delays_a_delivery_and_stops_no_other(world):
    async with world.running() as service:
        desk = service.desk
        assert desk is not None
        sending, faults = desk.sending, [RuntimeError("ours")]

        async def faulty(delivery):
            if delivery.channel == "pager" and faults:
                raise faults.pop()
            await sending(delivery)

        desk.sending = faulty
        world.engine.fire(an_alert())
        await eventually(lambda: world.channels["pager"].told == [("trigger", "Ada")], "the second attempt")


async def test_the_heartbeat_stops_while_the_rules_are_not_looked_at_or_a_media_clock_stands_still(world, monkeypatch):
    monkeypatch.setattr(service_module, "BLIND_AFTER_S", 0.2)
    async with world.running(heartbeat_url="http://127.0.0.1:1/") as service:
        heartbeat = service.heartbeat
        assert heartbeat is not None
        await eventually(lambda: heartbeat.results["failed"], "the first one, which nobody takes")
        assert heartbeat._sick() is None
        world.switch.sick = "media clock of media-1 stands still"
        assert heartbeat._sick() == "media clock of media-1 stands still"
        world.switch.sick = None
        world.engine.fault = ZeroDivisionError()
        await eventually(heartbeat._sick, "the fault to be noticed")
        assert heartbeat._sick() == "the rules of alerts are not looked at"
        world.engine.fault = None
        await eventually(lambda: heartbeat._sick() is None, "the looks to go on")
        assert service.parts()["heartbeat"] != "sent"
        service.reload(world.config())
        assert service.heartbeat is None


# Reload


async def test_a_reload_in_the_middle_goes_on_with_other_people_and_keeps_channels_that_are_the_same(world):
    world.channels["phone"].gate = asyncio.Event()
    world.channels["pager"].script = ["next"]
    async with world.running() as service:
        world.engine.fire(an_alert())
        await eventually(lambda: world.channels["phone"].made, "the telephone to ring")
        engine = world.engine
        world.channels["mail"] = FakeChannel()
        world.made.clear()
        channels = ON_CALL["channels"] | {"mail": SIGNED}
        service.reload(world.config(channels=channels, on_call=[{"name": "Cleo", "channels": ["mail"]}]))
        await eventually(lambda: world.channels["mail"].told == [("trigger", "Cleo")], "who is in Bo's place")
        assert world.made == ["mail"]
        assert world.engine is engine, "the engine keeps what it has counted"
        assert not world.channels["phone"].closed


async def test_a_channel_that_is_taken_away_climbs(world):
    world.channels["pager"].gate = asyncio.Event()
    async with world.running() as service:
        world.engine.fire(an_alert("a1", subject="trunk one"))
        world.engine.fire(an_alert("a2", subject="trunk two"))
        await eventually(lambda: world.channels["pager"].made, "the first page")
        channels = {name: table for name, table in ON_CALL["channels"].items() if name != "pager"}
        ladder = [{"name": "Ada", "channels": ["chat"]}, ON_CALL["on_call"][1]]
        service.reload(world.config(channels=channels, on_call=ladder))
        await eventually(lambda: ("trigger", "Bo") in world.channels["phone"].told, "the next person for a2")
        await eventually(lambda: world.channels["pager"].closed, "the channel to be closed")


async def test_a_channel_that_cannot_be_made_refuses_the_reload_and_changes_nothing(world):
    async with world.running() as service:
        before = service.desk

        def broken(name: str, *_: object) -> FakeChannel:
            raise ConfigError([f"alerts.channels.{name}: ca_file cannot be read"])

        service._make = broken
        changed = ON_CALL["channels"] | {"chat": SIGNED | {"url": "http://127.0.0.1:2/"}}
        with pytest.raises(ConfigError, match="ca_file"):
            service.reload(world.config(channels=changed))
        assert service.desk is before
        world.engine.fire(an_alert())
        await eventually(lambda: world.channels["chat"].made, "the old channel to be used")


async def test_alerts_are_turned_off_and_on_by_a_reload(world):
    async with world.running() as service:
        world.engine.fire(an_alert())
        await eventually(lambda: world.channels["pager"].made, "the page")
        service.reload(world.config(enabled=False))
        await eventually(lambda: service.desk is None, "alerts to be off")
        assert service.parts() == {"alerts": "off"}
        assert service.list("all") == []
        with pytest.raises(AlertRefused, match="enabled = true") as refused:
            await service.acknowledge("a1", "Ada")
        assert refused.value.status == 409
        service.on_loop_lag(1.0)
        service.reload(world.config())
        await eventually(lambda: service.desk, "alerts to be on")
        assert world.engine.restored == ["a1"]
        service.reload(world.config(enabled=False))
        service.reload(world.config())
        service.reload(world.config(enabled=False))
    assert all(channel.closed for channel in world.channels.values())


async def test_disabled_there_is_no_engine_and_no_journal(world):
    world.engine.polls = -1
    async with world.running(enabled=False) as service:
        assert service.desk is None
        assert world.engine.polls == -1
        assert _metrics(service) == {}
    assert not list(world.state_dir.iterdir())


# Metrics


def _metrics(service: AlertService) -> dict[str, float]:
    return {
        "".join([sample.name, *(f" {value}" for value in sample.labels.values())]): sample.value
        for family in AlertGauges(service).collect()
        for sample in family.samples
    }


async def test_metrics_of_channels_begin_at_zero_and_count(world):
    async with world.running() as service:
        assert _metrics(service)["trunkline_alert_deliveries_total pager delivered"] == 0
        world.engine.fire(an_alert())
        await eventually(
            lambda: _metrics(service)["trunkline_alert_deliveries_total pager delivered"] == 1, "the delivery"
        )
        figures = _metrics(service)
        assert figures["trunkline_alerts_open trunk_down page firing"] == 1
        assert figures["trunkline_alerts_open trunk_down ticket firing"] == 0
        assert figures["trunkline_alert_deliveries_waiting pager"] == 0
        assert figures["trunkline_alerts_storable"] == 1


class TrunkIsDown:
    """What the rules ask of a gateway whose trunk is down."""

    def __init__(self, service: AlertService) -> None:
        self.trunks = {"vonage": TrunkState(False, "failed", "403 Forbidden")}
        self.agents = ()
        self.records = RecordsHealth(writable=True, queued=0)
        self.workers_missing = 0
        self._service = service

    @property
    def alerting(self):
        return self._service.faults()


async def test_a_channel_that_fails_is_told_over_the_others_until_it_takes_alerts_again(world):
    pager, chat = world.channels["pager"], world.channels["chat"]
    pager.script = [DeliveryError("pager.example answered 500")] * 5
    at_once = {"for_s": 0, "hold_s": 0}
    rules = {"trunk_down": at_once, "alerting": at_once}
    service = AlertService(world.config(rules=rules), make=world._channel)
    await service.start(world.switch, TrunkIsDown(service))
    service.watch()
    try:

        def told(action: str) -> list[str]:
            return [made.alert.summary for made in chat.made if made.action == action and made.alert.rule == "alerting"]

        await eventually(lambda: told("trigger"), "the others are told")
        assert "alert channel pager fails: pager.example answered 500" in told("trigger")[0]
        await eventually(lambda: told("resolve"), "it is over with the first delivery that is taken")
        assert not pager.script
    finally:
        await service.stop()
