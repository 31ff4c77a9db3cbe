"""Prometheus and Alertmanager on a gateway whose calls go bad: the alert comes to who is on call, and resolves."""

import asyncio
import contextlib
import re
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from support.lab import LabGateway, eventually
from support.peers import require
from support.ports import HOST, Ports
from support.processes import Programs

from trunkline.gateway.lab.relay import Conditions, Network
from trunkline.rtp.ports import PortRange

CONF = Path(__file__).parents[2] / "conf"
RULES = CONF / "prometheus" / "trunkline.rules.yml"
TOKEN = "prometheus-7Hq2m"

# Hours become seconds, so that the test takes less than a minute; the expressions stay.
SCALED = {
    "[5m]": "[12s]",
    "[1h]": "[25s]",
    "> 360": "> 5",
    "increase1h > 9": "increase1h > 2",
    "for: 2m\n        keep_firing_for: 10m": "for: 1s\n        keep_firing_for: 2s",
}
"""What the fast burn's rule has → what it has here."""


def promtool(*arguments: str | Path, page: str | None = None) -> str:
    command = ["promtool", *map(str, arguments)]
    done = subprocess.run(command, input=page, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def amtool(*arguments: str) -> str:
    done = subprocess.run(["amtool", *arguments], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_rules_are_valid() -> None:
    require("prometheus")
    promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)
    promtool("check", "config", CONF / "prometheus" / "prometheus.yml")


@pytest.mark.parametrize("tests", sorted((CONF / "prometheus").glob("*.test.yml")), ids=lambda path: path.stem)
def test_rules_say_what_they_should(tests: Path) -> None:
    require("prometheus")
    promtool("test", "rules", tests)


def test_every_alert_is_proven() -> None:
    alerts = re.findall(r"- alert: (\w+)", RULES.read_text())
    proofs = "".join(path.read_text() for path in (CONF / "prometheus").glob("*.test.yml"))
    patterns = [re.compile(pattern) for pattern in re.findall(r'alertname=~"([^"]+)"', proofs)]
    unproven = [name for name in alerts if name not in proofs and not any(p.fullmatch(name) for p in patterns)]
    assert unproven == []


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (["alertname=TrunklineTrunkDown", "severity=page", "trunk=vonage"], "on-call"),
        (["alertname=TrunklineTurnsSlow", "severity=ticket"], "tickets"),
        (["alertname=Watchdog", "severity=heartbeat"], "heartbeat"),
    ],
)
def test_alerts_are_routed(labels: list[str], receiver: str) -> None:
    require("alertmanager")
    file = str(CONF / "alertmanager" / "alertmanager.yml")
    amtool("check-config", file)
    assert amtool("config", "routes", "test", f"--config.file={file}", *labels).strip() == receiver


def replaced(text: str, changes: dict[str, str]) -> str:
    """`text` with each of these changed; a change that finds nothing to change is a mistake of the test."""
    for before, after in changes.items():
        assert before in text, before
        text = text.replace(before, after)
    return text


class OnCall:
    """Who is told: keeps what Alertmanager posts."""

    def __init__(self) -> None:
        self.told: list[tuple[float, str, dict[str, Any]]] = []

    async def take(self, request: web.Request) -> web.Response:
        self.told.append((time.monotonic(), request.path, await request.json()))
        return web.Response()

    def alerts(self, path: str, status: str) -> list[dict[str, str]]:
        """The labels of the alerts that came with this status."""
        found = [alert for _, at, body in self.told if at == path for alert in body["alerts"]]
        return [alert["labels"] for alert in found if alert["status"] == status]

    def heard(self, status: str, labels: dict[str, str]) -> bool:
        """Whether a page with these labels came."""
        return any(labels.items() <= found.items() for found in self.alerts("/on-call", status))

    @asynccontextmanager
    async def listening(self, port: int) -> AsyncIterator[None]:
        application = web.Application()
        application.router.add_post("/{receiver}", self.take)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, HOST, port).start()
        try:
            yield
        finally:
            await runner.cleanup()


class Watching:
    """A Prometheus and an Alertmanager, with the configuration of conf/ and its times shortened."""

    def __init__(self, programs: Programs, ports: Ports, gateway_port: int, receiver_port: int) -> None:
        self.port, self.alertmanager_port = ports.take(), ports.take()
        self._programs = programs
        self._directory = programs.directory
        self._gateway_port = gateway_port
        self._receiver_port = receiver_port

    def start(self) -> None:
        self._start_alertmanager()
        self._start_prometheus()

    def _start_prometheus(self) -> None:
        token = self._write("token", TOKEN)
        self._write("trunkline.rules.yml", replaced(RULES.read_text(), SCALED))
        changes = {
            "_interval: 15s": "_interval: 1s",
            "127.0.0.1:9093": f"{HOST}:{self.alertmanager_port}",
            "127.0.0.1:8080": f"{HOST}:{self._gateway_port}",
            "# authorization:\n    #   credentials_file: /etc/prometheus/trunkline.token": (
                f"authorization:\n      credentials_file: {token}"
            ),
        }
        config = self._write("prometheus.yml", replaced((CONF / "prometheus" / "prometheus.yml").read_text(), changes))
        promtool("check", "config", config)
        arguments = [
            f"--config.file={config}",
            f"--storage.tsdb.path={self._directory / 'tsdb'}",
            f"--web.listen-address={HOST}:{self.port}",
            "--enable-feature=exemplar-storage",
            "--rules.alert.resend-delay=1s",
        ]
        self._programs.start("prometheus", ["prometheus", *arguments])

    def _start_alertmanager(self) -> None:
        changes = {
            "127.0.0.1:9095": f"{HOST}:{self._receiver_port}",
            "group_wait: 10s": "group_wait: 0s",
            "group_interval: 5m": "group_interval: 1s",
        }
        text = (CONF / "alertmanager" / "alertmanager.yml").read_text()
        config = self._write("alertmanager.yml", replaced(text, changes))
        arguments = [
            f"--config.file={config}",
            f"--storage.path={self._directory / 'alertmanager'}",
            f"--web.listen-address={HOST}:{self.alertmanager_port}",
            "--cluster.listen-address=",
        ]
        self._programs.start("alertmanager", ["prometheus-alertmanager", *arguments])

    def _write(self, name: str, text: str) -> Path:
        path = self._directory / name
        path.write_text(text)
        return path

    async def ask(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer of Prometheus' API."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{HOST}:{self.port}/api/v1/{path}", params=parameters) as response,
        ):
            body = await response.json()
            assert body["status"] == "success", body
            return body["data"]

    async def scraping(self, timeout_s: float = 15.0) -> None:
        """Wait until the gateway was scraped without an error."""
        async with asyncio.timeout(timeout_s):
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    targets = (await self.ask("targets"))["activeTargets"]
                    if [target["health"] for target in targets] == ["up"]:
                        return
                await asyncio.sleep(0.1)


@pytest.fixture
def network(ports: Ports) -> Network:
    first = ports.take_range(64)
    return Network(PortRange(first, first + 63, cooldown_s=0.0), seed=3)


async def test_calls_go_bad_and_who_is_on_call_is_told(programs: Programs, ports: Ports, network: Network) -> None:
    require("prometheus", "alertmanager")
    on_call, receiver_port = OnCall(), ports.take()
    async with LabGateway(programs, ports, http={"token": TOKEN}) as lab, on_call.listening(receiver_port):
        await lab.start()
        lab.trunk.relay = network.join
        network.impair(to_gateway=Conditions(loss=0.25, burst=2.0))
        watching = Watching(programs, ports, lab.http_port, receiver_port)
        watching.start()
        await watching.scraping()
        callers = [await lab.call(f"1555010{number}") for number in range(6)]

        bad = {"alertname": "TrunklineQualityBurnsFast", "trunk": "lab", "direction": "received", "severity": "page"}
        await eventually(lambda: on_call.heard("firing", bad), 25, "the page")
        await eventually(lambda: on_call.alerts("/heartbeat", "firing"), 10, "the heartbeat")

        # calls of a network that is well again
        for caller in callers:
            caller.hang_up()
        network.impair()
        callers = [await lab.call(f"1555020{number}") for number in range(3)]
        await eventually(lambda: on_call.heard("resolved", bad), 40, "its end")
        for caller in callers:
            assert not caller.ended.is_set()
            caller.hang_up()
        pages = on_call.alerts("/on-call", "firing")
        assert {labels["alertname"] for labels in pages} == {bad["alertname"]}
        assert {labels["direction"] for labels in pages} == {"received"}
        _, _, body = next(told for told in on_call.told if told[1] == "/on-call")
        assert (body["version"], body["receiver"]) == ("4", "on-call")
        assert "of received audio is bad" in body["alerts"][0]["annotations"]["summary"]

        answer = await lab.ask("GET", "/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        assert promtool("check", "metrics", page=answer.text) == ""
        await exemplars_lead_to_calls(watching, lab)
        lab.assert_sound()


async def exemplars_lead_to_calls(watching: Watching, lab: LabGateway) -> None:
    """What the alert counted leads to calls that the gateway knows."""
    query = 'trunkline_call_slices_total{quality="bad"}'
    now = time.time()
    series = await watching.ask("query_exemplars", query=query, start=str(now - 60), end=str(now))
    found = {exemplar["labels"]["call_id"] for one in series for exemplar in one["exemplars"]}
    answer = await lab.ask("GET", "/api/calls", headers={"Authorization": f"Bearer {TOKEN}"})
    assert found
    assert found <= {call["id"] for call in answer.json["calls"]}
