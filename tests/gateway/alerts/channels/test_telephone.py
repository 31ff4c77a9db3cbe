"""The telephone: which trunk, which key, what went wrong. A person's phone is the lab's."""

import asyncio
import socket
import time
from pathlib import Path

import pytest
import structlog
from pydantic import SecretStr
from support.paging import NUMBER, Pager, delivery
from support.ports import HOST, Ports

from trunkline.gateway import announcement_call
from trunkline.gateway.alerts import speech
from trunkline.gateway.alerts.alert import ALERT_AGENT
from trunkline.gateway.alerts.announcement import Wording
from trunkline.gateway.alerts.channels.base import Action, DeliveryError
from trunkline.gateway.alerts.channels.telephone import Telephone, TelephoneConfig, candidates
from trunkline.gateway.alerts.speech import prompt
from trunkline.gateway.bridges import _announcement
from trunkline.gateway.config import load_config
from trunkline.gateway.errors import CallRefused, ConfigError
from trunkline.gateway.lab.caller import LabCaller
from trunkline.gateway.lab.trunk import LabTrunk
from trunkline.gateway.media.clock import MediaClock
from trunkline.gateway.messages import Announcement
from trunkline.gateway.record import CallRecord
from trunkline.rtp.ports import PortRange
from trunkline.sip.events import IncomingInvite

CONFIG = TelephoneConfig(kind="telephone", to=SecretStr(NUMBER))


class FakeDial:
    """Has these trunks; a call leaves this record, and without one none is to be placed."""

    def __init__(self, up: list[str], record: CallRecord | None = None) -> None:
        self.up = up
        self.record = record

    def trunks_up(self) -> list[str]:
        return self.up

    async def announce(self, to: str, trunk: str, announcement: Announcement, ring_s: float) -> CallRecord:
        assert self.record is not None, "nobody was to be called"
        return self.record


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """An announcement of one word and no patience, where the waiting is not what is tested; its octets. Prompts are as
    short."""
    said = prompt("alert")

    async def spoken(wording: Wording) -> bytes:
        return said

    monkeypatch.setattr(speech, "spoken", spoken)
    monkeypatch.setattr(speech, "prompt", lambda name: prompt(name)[:1600])
    for name in ("LEAD_S", "PAUSE_S", "PATIENCE_S"):
        monkeypatch.setattr(_announcement, name, 0.1)
    return said


class Person:
    """Somebody behind a trunk of their own: takes the call and presses keys by SIP INFO, or does not."""

    def __init__(self, ports: Ports, keys: str = "", status: int = 200) -> None:
        self.keys = keys
        self.status = status
        self.called: list[str] = []
        self.trunk = LabTrunk({})
        self.trunk.on_call = self._called
        self.port = ports.take()
        self.heard = bytearray()
        self.phone: LabCaller | None = None
        self._rtp = ports.take_range(8)
        self._clock = MediaClock()

    async def __aenter__(self) -> "Person":
        await self.trunk.start(port=self.port)
        self._clock.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._clock.stop()
        await self.trunk.stop()

    def _called(self, event: IncomingInvite) -> None:
        self.called.append(event.request.uri.user or "")
        now = time.monotonic()
        if self.status == 180:
            event.session.ring(now)
        elif self.status != 200:
            event.session.reject(self.status, now)
        else:
            self.phone = LabCaller(self.trunk, self._clock, PortRange(self._rtp, self._rtp + 7))
            self.phone.take(event)
            self.press = asyncio.create_task(self._press(event, self.phone))

    async def answering(self) -> LabCaller:
        """The telephone once it is answered."""
        async with asyncio.timeout(10):
            while self.phone is None:
                await asyncio.sleep(0.01)
            await self.phone.answered.wait()
        return self.phone

    def hang_up(self) -> None:
        """End the call, and wait for another."""
        assert self.phone is not None
        self.phone.hang_up()
        self.phone = None

    async def _press(self, event: IncomingInvite, phone: LabCaller) -> None:
        if self.keys:
            await phone.hear_speech(200)
        for key in self.keys:
            event.session.info("application/dtmf-relay", f"Signal={key}\r\nDuration=160\r\n".encode(), time.monotonic())


async def test_key_1_acknowledges_and_is_thanked(ports: Ports, tmp_path: Path) -> None:
    async with Person(ports, "1") as person, Pager(ports, tmp_path, {"vonage": person.port}) as pager:
        assert await pager.page() == "acknowledged"
        assert person.phone is not None
        assert prompt("acknowledged") in bytes(person.phone.received)
    (record,) = pager.records
    assert (record.agent, record.provider, record.direction) == (ALERT_AGENT, "announcement", "outbound")
    assert (record.dtmf, record.ended_by, record.end_reason) == (["1"], "agent", "acknowledged by key 1")
    assert "31 % of the calls over trunk vonage sound bad" in (record.turns[0].agent_said or "")
    assert (person.called, record.to) == ([NUMBER], NUMBER)


async def test_key_2_is_the_next_person(ports: Ports, tmp_path: Path, brief: bytes) -> None:
    async with Person(ports, "2") as person, Pager(ports, tmp_path, {"vonage": person.port}) as pager:
        assert await pager.page() == "next"
        assert person.phone is not None
        assert prompt("next")[:1600] in bytes(person.phone.received)


async def test_who_presses_nothing_has_not_answered(ports: Ports, tmp_path: Path, brief: bytes) -> None:
    async with Person(ports) as person, Pager(ports, tmp_path, {"vonage": person.port}) as pager:
        assert await pager.page(repeat=2) is None
        assert person.phone is not None
        heard = bytes(person.phone.received)
    assert heard.count(brief) == 2
    assert heard.index(prompt("farewell")[:1600]) > heard.rindex(brief)
    assert pager.records[0].end_reason == "no key was pressed"


async def test_who_hangs_up_has_not_answered(ports: Ports, tmp_path: Path) -> None:
    async with Person(ports) as person, Pager(ports, tmp_path, {"vonage": person.port}) as pager:
        paging = asyncio.create_task(pager.page())
        await (await person.answering()).hear_speech(200)
        person.hang_up()
        assert await paging is None
    assert pager.records[0].ended_by == "callee"


@pytest.mark.parametrize(
    ("status", "reason"),
    [(486, "busy"), (600, "busy"), (480, "nobody answered"), (603, "603 Decline"), (404, "404"), (503, "503")],
)
async def test_a_call_that_is_not_taken_is_tried_again_later(
    ports: Ports, tmp_path: Path, brief: bytes, status: int, reason: str
) -> None:
    async with Person(ports, status=status) as person, Pager(ports, tmp_path, {"vonage": person.port}) as pager:
        with pytest.raises(DeliveryError, match=f"phone: trunk vonage: {reason}") as failed:
            await pager.page()
    assert not failed.value.permanent
    assert len(pager.records) == 1


async def test_who_does_not_take_the_call_is_not_rung_for_ever(ports: Ports, tmp_path: Path, brief: bytes) -> None:
    async with Person(ports, status=180) as person, Pager(ports, tmp_path, {"vonage": person.port}) as pager:
        telephone = pager.telephone()
        telephone._config = telephone._config.model_copy(update={"ring_s": 0.3})
        with pytest.raises(DeliveryError, match="nobody answered"):
            await telephone.deliver(delivery())
    assert pager.records[0].sip_status == 408


def after_an_answer(ended_by: str, dtmf: list[str]) -> FakeDial:
    """A call that was answered, and ended so."""
    record = CallRecord(
        id="c1",
        direction="outbound",
        started_at="2026-11-21T03:12:45Z",
        answered_at="2026-11-21T03:12:50Z",
        ended_by=ended_by,
        end_reason="media worker lost: killed by signal 9",
        dtmf=dtmf,
    )
    return FakeDial(["a", "b"], record)


async def test_a_key_counts_although_the_call_was_cut_off(brief: bytes) -> None:
    telephone = Telephone("phone", CONFIG, "edge-1", after_an_answer("gateway", ["1"]))
    assert await telephone.deliver(delivery()) == "acknowledged"


async def test_a_call_that_a_dying_worker_cut_off_is_made_again(brief: bytes) -> None:
    with pytest.raises(DeliveryError, match="phone: trunk a: the call was cut off: media worker lost") as failed:
        await Telephone("phone", CONFIG, "edge-1", after_an_answer("gateway", [])).deliver(delivery())
    assert not failed.value.permanent


async def test_a_call_that_the_operator_ended_is_not_made_again(brief: bytes) -> None:
    assert await Telephone("phone", CONFIG, "edge-1", after_an_answer("operator", [])).deliver(delivery()) is None


# Trunks


def test_the_trunk_of_the_alert_comes_last_and_the_preferred_one_first() -> None:
    up = ["a", "b", "c"]
    assert candidates(up, None, {None}) == ["a", "b", "c"]
    assert candidates(up, "c", {None}) == ["c", "a", "b"]
    assert candidates(up, "b", {"a"}) == ["b", "c", "a"]
    assert candidates(up, "a", {"a"}) == ["b", "c", "a"]
    assert candidates(up, "a", {None, "a", "b"}) == ["c", "a", "b"]
    assert candidates(["a"], "b", {"a"}) == ["a"]


async def test_the_trunk_that_the_alert_is_about_is_not_used(ports: Ports, tmp_path: Path, brief: bytes) -> None:
    async with (
        Person(ports, "2") as sick,
        Person(ports, "1") as well,
        Pager(ports, tmp_path, {"vonage": sick.port, "backup": well.port}) as pager,
    ):
        assert await pager.page(trunk="vonage") == "acknowledged"
        assert (sick.called, well.called) == ([], [NUMBER])


async def test_a_trunk_that_fails_leaves_it_to_the_next_and_a_busy_person_does_not(
    ports: Ports, tmp_path: Path, brief: bytes
) -> None:
    async with (
        Person(ports, status=503) as failing,
        Person(ports, status=486) as busy,
        Person(ports, "1") as unasked,
        Pager(ports, tmp_path, {"a": failing.port, "b": busy.port, "c": unasked.port}) as pager,
    ):
        with pytest.raises(DeliveryError, match=r"trunk a: 503 .*; trunk b: busy"):
            await pager.page()
        assert unasked.called == []


async def test_a_trunk_that_says_nothing_leaves_it_to_the_next(
    ports: Ports, tmp_path: Path, brief: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcement_call, "TRUNK_PATIENCE_S", 0.3)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((HOST, 0))
        trunks = {"a": silent.getsockname()[1]}
        async with Person(ports, "1") as person, Pager(ports, tmp_path, {**trunks, "b": person.port}) as pager:
            assert await pager.page() == "acknowledged"
    first, second = pager.records
    assert (first.trunk, first.end_reason, first.sip_status) == ("a", "the trunk does not answer", 503)
    assert (second.trunk, second.end_reason) == ("b", "acknowledged by key 1")


async def test_without_a_trunk_nobody_is_called(brief: bytes) -> None:
    dial = FakeDial([])
    with pytest.raises(DeliveryError, match="phone: no trunk is up") as failed:
        await Telephone("phone", CONFIG, "edge-1", dial).deliver(delivery())
    assert not failed.value.permanent


# The gateway


async def test_a_full_gateway_can_still_page_and_a_page_takes_no_room(
    ports: Ports, tmp_path: Path, brief: bytes
) -> None:
    async with (
        Person(ports) as caller,
        Person(ports) as person,
        Pager(ports, tmp_path, {"lab": caller.port, "backup": person.port}, max_calls=1) as pager,
    ):
        paging = asyncio.create_task(pager.page(trunk="backup"))
        await person.answering()
        await pager.switch.place_call("15550100", "desk", "lab")
        await caller.answering()
        with pytest.raises(CallRefused, match="all lines are in use"):
            await pager.switch.place_call("15550101", "desk", "lab")
        person.hang_up()
        assert await paging is None
        person.keys = "1"
        assert await pager.page(trunk="backup") == "acknowledged"


async def test_a_gateway_that_stops_calls_nobody(ports: Ports, tmp_path: Path, brief: bytes) -> None:
    async with Person(ports) as person, Pager(ports, tmp_path, {"vonage": person.port}) as pager:
        await pager.switch.drain(1)
        with pytest.raises(DeliveryError, match="the gateway is stopping") as failed:
            await pager.page()
        assert (failed.value.permanent, person.called) == (False, [])


async def test_a_page_that_the_gateway_cuts_off_is_made_again(ports: Ports, tmp_path: Path) -> None:
    async with Person(ports) as person, Pager(ports, tmp_path, {"vonage": person.port}) as pager:
        paging = asyncio.create_task(pager.page())
        await (await person.answering()).hear_speech(200)
        await pager.switch.stop()
        with pytest.raises(DeliveryError, match="the call was cut off: gateway stops"):
            await paging


async def test_a_page_that_is_not_wanted_any_more_hangs_up(ports: Ports, tmp_path: Path) -> None:
    async with Person(ports) as person, Pager(ports, tmp_path, {"vonage": person.port}) as pager:
        paging = asyncio.create_task(pager.page())
        phone = await person.answering()
        paging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await paging
        async with asyncio.timeout(10):
            await phone.ended.wait()


@pytest.mark.parametrize("action", ["acknowledge", "resolve"])
async def test_nobody_is_called_about_what_needs_nobody(action: Action) -> None:
    assert await Telephone("phone", CONFIG, "edge-1", FakeDial(["vonage"])).deliver(delivery(action)) is None


async def test_a_test_really_calls(ports: Ports, tmp_path: Path, brief: bytes) -> None:
    async with Person(ports, "1") as person, Pager(ports, tmp_path, {"vonage": person.port}) as pager:
        assert await pager.page(delivery("test")) == "acknowledged"
    assert "This is a test." in (pager.records[0].turns[0].agent_said or "")


# The number


async def test_no_log_shows_the_number(
    ports: Ports, tmp_path: Path, brief: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    structlog.reset_defaults()  # a command that ran before in this process may have set a level
    async with Person(ports, status=486) as person, Pager(ports, tmp_path, {"vonage": person.port}) as pager:
        with pytest.raises(DeliveryError) as failed:
            await pager.page()
        shown = capsys.readouterr().out
        assert "placing a call" in shown
        assert NUMBER not in shown + str(failed.value) + repr(pager.telephone()) + repr(pager.telephone()._config)


async def test_a_number_that_the_switch_refuses_is_no_use_to_try_again(
    ports: Ports, tmp_path: Path, brief: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Person(ports) as person, Pager(ports, tmp_path, {"vonage": person.port}) as pager:
        trunk = pager.switch.trunks["vonage"]
        monkeypatch.setattr(trunk, "uri_for", lambda number: f"sip:@@ {number}")
        with pytest.raises(DeliveryError, match="to is neither a number nor a SIP URI") as failed:
            await pager.page(to="15550177")
    assert failed.value.permanent
    assert "15550177" not in str(failed.value)


# The configuration


def problems_of(tmp_path: Path, text: str) -> str:
    file = tmp_path / "trunkline.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_config(file)
    return "\n".join(refused.value.problems)


def test_a_telephone_on_an_unknown_trunk_is_refused(tmp_path: Path) -> None:
    text = '[trunks.a]\npeer = "sip:192.0.2.1"\n[alerts.channels.p]\nkind = "telephone"\nto = "1"\ntrunk = "b"\n'
    assert "there is no [trunks.b]; add it, or use one of: a" in problems_of(tmp_path, text)


def test_no_agent_may_have_the_name_of_pages(tmp_path: Path) -> None:
    text = '[agents.alert]\nprovider = "wav"\n'
    assert "trunkline.toml:1" in problems_of(tmp_path, text)
    assert "kept for calls that announce an alert" in problems_of(tmp_path, text)


def test_no_agent_can_name_the_announcement_as_its_provider(tmp_path: Path) -> None:
    for provider in ("announcement", "_announcement"):
        assert "no such provider" in problems_of(tmp_path, f'[agents.a]\nprovider = "{provider}"\n')
