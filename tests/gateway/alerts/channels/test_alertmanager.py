"""Alertmanager: the real program takes what is posted, shows it, tells its receiver, and hears of the end."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.alert_messages import CONSOLE, a_context, a_delivery, an_alert, resolved
from support.lab import eventually
from support.peers import require
from support.ports import HOST, Ports
from support.processes import Programs
from support.receiver import Receiver

from trunkline.gateway.alerts.channels.base import Action, Channel, DeliveryError
from trunkline.gateway.alerts.channels.config import AlertmanagerConfig
from trunkline.gateway.alerts.channels.registry import make_channel

CONFIG = """
global:
  resolve_timeout: 3s
route:
  receiver: on-call
  group_by: [alertname, trunk, agent]
  group_wait: 0s
  group_interval: 1s
receivers:
  - name: on-call
    webhook_configs:
      - url: {url}
        send_resolved: true
"""


SHIPPED = Path(__file__).parents[4] / "conf/alertmanager/alertmanager.yml"


def channel(session: aiohttp.ClientSession, *urls: str, **table: Any) -> Channel:
    config = AlertmanagerConfig.model_validate({"kind": "alertmanager", "urls": urls, **table})
    return make_channel("am", config, a_context(session))


class Alertmanager:
    """The program, and whom it tells."""

    def __init__(self, session: aiohttp.ClientSession, port: int, on_call: Receiver) -> None:
        self.url = f"http://{HOST}:{port}"
        self._session = session
        self._on_call = on_call

    async def alerts(self) -> dict[str, dict[str, Any]]:
        """What its API shows, by name."""
        return {alert["labels"]["alertname"]: alert for alert in await self._shown()}

    async def inhibited(self) -> set[str]:
        """What it silences since something else explains it: severity, gateway, rule and subject."""
        return {
            " ".join(alert["labels"].get(key, "-") for key in ("severity", "gateway", "rule", "trunk", "agent"))
            for alert in await self._shown()
            if alert["status"]["inhibitedBy"]
        }

    async def _shown(self) -> list[dict[str, Any]]:
        async with self._session.get(f"{self.url}/api/v2/alerts") as response:
            return await response.json()

    def told(self, name: str, status: str) -> dict[str, Any] | None:
        """What its receiver heard of this alert with this status."""
        sent = [alert for request in self._on_call.requests for alert in request.json["alerts"]]
        return next((one for one in sent if one["labels"]["alertname"] == name and one["status"] == status), None)


async def started(
    programs: Programs, ports: Ports, session: aiohttp.ClientSession, config: str, on_call: Receiver
) -> Alertmanager:
    require("alertmanager")
    port, file = ports.take(), programs.directory / "alertmanager.yml"
    file.write_text(config)
    arguments = [
        f"--config.file={file}",
        f"--storage.path={programs.directory}",
        f"--web.listen-address={HOST}:{port}",
        "--cluster.listen-address=",
    ]
    program = programs.start("alertmanager", ["prometheus-alertmanager", *arguments])
    await eventually(lambda: "Listening" in program.output(), 10, "Alertmanager to listen")
    return Alertmanager(session, port, on_call)


@pytest.fixture
async def alertmanager(programs: Programs, ports: Ports, session: aiohttp.ClientSession) -> AsyncIterator[Alertmanager]:
    async with Receiver() as on_call:
        yield await started(programs, ports, session, CONFIG.format(url=on_call.url("/on-call")), on_call)


async def test_an_alert_is_shown_told_and_resolved(alertmanager: Alertmanager, session: aiohttp.ClientSession) -> None:
    told = channel(session, alertmanager.url)
    await told.deliver(a_delivery("trigger"))
    name = "TrunklineQuality"
    shown = (await alertmanager.alerts())[name]
    assert shown["labels"] == {
        "alertname": name,
        "rule": "quality",
        "severity": "page",
        "gateway": "edge1",
        "trunk": "vonage",
    }
    assert shown["startsAt"] == "2026-11-21T03:12:44.250Z"
    assert shown["generatorURL"] == f"{CONSOLE}/alerts#a-{an_alert().id}"
    assert shown["annotations"]["summary"] == "31 % of calls over trunk vonage sound bad"
    assert "16 of 51 slices are below R 70" in shown["annotations"]["description"]
    assert "loss 6.1 % in 14 of 16 bad slices" in shown["annotations"]["cause"]
    await eventually(lambda: alertmanager.told(name, "firing"), 10, "the alert at the receiver")

    await told.deliver(a_delivery("resolve"))
    end = await eventually(lambda: alertmanager.told(name, "resolved"), 10, "its end at the receiver")
    assert end["endsAt"] == "2026-11-21T03:24:50Z"
    assert name not in await alertmanager.alerts()


async def test_one_that_is_told_again_lasts_and_one_that_is_not_is_forgotten(
    alertmanager: Alertmanager, session: aiohttp.ClientSession
) -> None:
    told = channel(session, alertmanager.url)
    assert told.refresh_s is not None
    assert told.refresh_s <= 300 / 2, "the usual resolve_timeout allows one to be lost"
    forgotten = an_alert(rule="trunk_down", subject="gateway")
    await told.deliver(a_delivery("trigger", forgotten))
    lasting = a_delivery("trigger")
    await told.deliver(lasting)

    async with asyncio.timeout(20):
        while alertmanager.told("TrunklineTrunkDown", "resolved") is None:
            # what the service does every refresh_s
            await told.deliver(lasting)
            await asyncio.sleep(0.2)
    assert list(await alertmanager.alerts()) == ["TrunklineQuality"]
    assert alertmanager.told("TrunklineQuality", "resolved") is None


async def test_the_program_takes_what_steps_of_the_clock_make(
    alertmanager: Alertmanager, session: aiohttp.ClientSession
) -> None:
    told = channel(session, alertmanager.url)
    await told.deliver(a_delivery("trigger"))
    await told.deliver(a_delivery("resolve", resolved(resolved_at="2026-11-21T01:00:00Z")))
    assert await alertmanager.alerts() == {}


async def test_the_program_takes_any_text(alertmanager: Alertmanager, session: aiohttp.ClientSession) -> None:
    told = channel(session, alertmanager.url)
    texts = ["é" * 9000, 'a\nb\x00"{}"', ""]
    actions: list[Action] = ["trigger", "acknowledge", "resolve", "test"]
    for text, action in itertools.product(texts, actions):
        alert = resolved(summary=text, subject=f"agent {text}", detail=[text], calls=[text])
        await told.deliver(a_delivery(action, alert))
    assert list(await alertmanager.alerts()) == ["TrunklineTest"], "the others are resolved"


async def test_every_member_of_a_cluster_is_told(session: aiohttp.ClientSession) -> None:
    async with Receiver() as one, Receiver() as two:
        await channel(session, one.url("/am"), two.url("/")).deliver(a_delivery("trigger"))
    assert [one.requests[0].path, two.requests[0].path] == ["/am/api/v2/alerts", "/api/v2/alerts"]
    assert one.requests[0].body == two.requests[0].body


async def test_one_member_that_accepts_is_enough(session: aiohttp.ClientSession, ports: Ports) -> None:
    dead = f"http://{HOST}:{ports.take()}"
    async with Receiver() as well, Receiver((500, {}, b"")) as ill:
        await channel(session, dead, well.url(), ill.url()).deliver(a_delivery("trigger"))
    assert len(well.requests) == 1


async def test_when_none_accepts_each_is_named(session: aiohttp.ClientSession) -> None:
    async with Receiver((400, {}, b"")) as one, Receiver((503, {"Retry-After": "9"}, b"")) as two:
        with pytest.raises(DeliveryError, match=r"answered 400; am: 127\.0\.0\.1: answered 503") as caught:
            await channel(session, one.url(), two.url()).deliver(a_delivery("trigger"))
    assert not caught.value.permanent, "the second may take it later"
    async with Receiver((400, {}, b"")) as one, Receiver((401, {}, b"")) as two:
        with pytest.raises(DeliveryError) as caught:
            await channel(session, one.url(), two.url()).deliver(a_delivery("trigger"))
    assert caught.value.permanent


@pytest.mark.parametrize(
    ("table", "header"),
    [
        ({"token": "token-recognisable"}, "Bearer token-recognisable"),
        ({"username": "edge1", "password": "pass"}, "Basic ZWRnZTE6cGFzcw=="),
        ({}, None),
    ],
)
async def test_who_asks_says_who_it_is(
    session: aiohttp.ClientSession, table: dict[str, str], header: str | None
) -> None:
    async with Receiver() as receiver:
        await channel(session, receiver.url(), **table).deliver(a_delivery("trigger"))
    assert receiver.requests[0].headers.get("Authorization") == header


async def test_a_test_is_no_alert_of_a_trunk(session: aiohttp.ClientSession) -> None:
    async with Receiver() as receiver:
        await channel(session, receiver.url()).deliver(a_delivery("test"))
    labels = receiver.requests[0].json[0]["labels"]
    assert labels == {"alertname": "TrunklineTest", "rule": "test", "severity": "page", "gateway": "edge1"}


async def test_the_shipped_configuration_inhibits_what_is_explained(
    programs: Programs, ports: Ports, session: aiohttp.ClientSession
) -> None:
    async with Receiver() as on_call:
        config = SHIPPED.read_text().replace("http://127.0.0.1:9095", on_call.url(""))
        program = await started(programs, ports, session, config, on_call)
        for gateway, alerts in {
            "edge1": [
                ("page", "trunk_down", "trunk vonage"),
                ("page", "one_way_audio", "trunk vonage"),
                ("page", "one_way_audio", "trunk other"),
                ("page", "call_failures", "trunk vonage"),
                ("ticket", "quality", "trunk other"),
                ("page", "quality", "trunk other"),
                ("page", "quality", "trunk vonage"),
                ("page", "provider_errors", "gateway"),
                ("page", "provider_errors", "agent reception"),
                ("ticket", "provider_errors", "agent sales"),
            ],
            "edge2": [
                ("page", "one_way_audio", "trunk vonage"),
                ("ticket", "quality", "trunk other"),
                ("page", "provider_errors", "agent reception"),
            ],
        }.items():
            context = a_context(session, gateway=gateway)
            table = AlertmanagerConfig.model_validate({"kind": "alertmanager", "urls": [program.url]})
            told = make_channel("am", table, context)
            for severity, rule, subject in alerts:
                trunk = subject.removeprefix("trunk ") if subject.startswith("trunk") else None
                alert = an_alert(severity=severity, rule=rule, subject=subject, trunk=trunk)
                await told.deliver(a_delivery("trigger", alert))
        expected = {
            "page edge1 one_way_audio vonage -",
            "page edge1 call_failures vonage -",
            "page edge1 quality vonage -",
            "ticket edge1 quality other -",
            "page edge1 provider_errors - reception",
        }
        async with asyncio.timeout(10):
            while (await program.inhibited()) != expected:
                await asyncio.sleep(0.1)
