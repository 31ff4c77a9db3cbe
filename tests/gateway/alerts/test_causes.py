"""Each cause produced for real: calls through the gateway's processes, over sockets, and what the alerts then say.

One gateway has a trunk for each trouble, all at once, and a healthy one beside them; another has a machine that is
late. It all happens once; the tests look at what was told.
"""

import asyncio
import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvloop
from support.ports import Ports
from support.processes import Programs
from support.trouble import RULES, History, Line, Site, stalled

from trunkline.gateway.lab.agent import AgentOptions, AgentServer, Faults
from trunkline.gateway.lab.caller import CallFailed, Echo
from trunkline.gateway.lab.relay import Conditions

LOSSY = Conditions(loss=0.15, burst=1.2, delay_ms=15.0, jitter_ms=30.0)
TERRIBLE = Conditions(loss=0.4)
BLOCKED = Conditions(blocked=True)
WELL = Conditions()
SPEECH = "+".join(["address", "hours"] * 5)
"""A minute and more."""
TALKING = AgentOptions(script=(SPEECH,))
STUTTERING = AgentOptions(script=(SPEECH,), speed=0.8)
"""Audio comes a quarter slower than it is heard."""
REFUSING = AgentOptions(faults=Faults(refuse_status=503))
EXPECTED = {
    ("quality", "trunk carrier"),
    ("quality", "trunk exit"),
    ("quality", "trunk mixed"),
    ("quality", "agent slow"),
    ("one_way_audio", "trunk mute"),
    ("echo", "trunk echoing"),
    ("provider_errors", "agent gone"),
    ("trunk_down", "trunk backup"),
}


@dataclass
class Seen:
    """What the gateways told, and what the relays did to the calls until then."""

    network: Site
    host: Site
    lost: dict[str, float] = field(default_factory=dict)
    """By line: share of the packets that its relays dropped, of those to the gateway, or, for `exit`, to the phone."""


def _lost(line: Line) -> float:
    way = [(relay.to_phone if line.name == "exit" else relay.to_gateway)[0] for relay in line.network.relays]
    impaired = [each for each in way if each.lost]
    return sum(each.lost for each in impaired) / sum(each.lost + each.passed for each in impaired)


async def _bad_only(line: Line, site: Site, calls: int, conditions: Conditions) -> None:
    """More calls over a line, which are bad; those that are up stay as they are."""
    before = list(line.network.relays)
    line.network.impair(to_gateway=conditions)
    for relay in before:
        relay.impair(WELL, WELL)
    await site.calls(line, calls)


async def _refused(site: Site, line: Line, number: str) -> None:
    with suppress(CallFailed):
        await site.calls(line, 1, number)


async def _network(seen: Seen) -> None:
    site = seen.network
    late, refusing = AgentServer(options=STUTTERING), AgentServer(options=REFUSING)
    await site.agents(AgentServer(options=TALKING), "fine", "bank", "shop", "club", "hall", "desk", "calm")
    await site.agents(late, "slow", "slower")
    await site.agents(refusing, "gone")
    clear, carrier, exit_ = (
        await site.line("clear", "fine"),
        await site.line("carrier", "bank"),
        await site.line("exit", "shop"),
    )
    mute, echoing = await site.line("mute", "club"), await site.line("echoing", "hall")
    service, mixed = await site.line("service", "slow"), await site.line("mixed", "desk")
    calm = await site.line("calm", "calm")
    backup, backup_port = await site.peer("backup")
    async with site.running():
        carrier.network.impair(to_gateway=LOSSY)
        exit_.network.impair(to_phone=LOSSY)
        many = (clear, carrier, exit_, mute, echoing, service)
        await asyncio.gather(
            *(site.calls(line, 3) for line in many),
            site.calls(calm, 1),
            site.calls(mixed, 3, site.number_of("slower")),
            backup.stop(),
        )
        await _bad_only(mixed, site, 3, LOSSY)
        await _bad_only(clear, site, 1, TERRIBLE)
        mute.network.impair(to_gateway=BLOCKED)
        for caller in echoing.callers:
            caller.echo = Echo()
        await asyncio.gather(*(_refused(site, clear, site.number_of("gone")) for _ in range(3)))
        await site.until(lambda: all(site.about(subject, rule) for rule, subject in EXPECTED), 45)
        seen.lost = {line.name: _lost(line) for line in (carrier, exit_, mixed)}

        for line in site.lines.values():
            line.network.impair()
        for caller in echoing.callers:
            caller.echo = None
        for session in late.sessions:
            session.options = TALKING
        refusing.options = TALKING
        (served,) = await site.calls(clear, 1, site.number_of("gone"))
        served.hang_up()
        await backup.start(port=backup_port)
        await site.until(lambda: not site.open(), 45)
        await backup.stop()


async def _host(seen: Seen) -> None:
    site = seen.host
    await site.agents(AgentServer(options=TALKING), "desk", "shop")
    first, second = await site.line("first", "desk"), await site.line("second", "shop")
    async with site.running():
        await asyncio.gather(site.calls(first, 3), site.calls(second, 3))
        stalling = asyncio.create_task(stalled(site.lab.workers, every_s=1.0, for_s=0.25))
        await site.until(lambda: site.about("gateway", "quality"), 30)
        # long enough for the rule of the host to be true as well
        await asyncio.sleep(6)
        stalling.cancel()
        await site.until(lambda: not site.open(), 45)


@pytest.fixture(scope="module")
def seen(module_programs: Programs, ports: Ports) -> Seen:
    async def happen() -> Seen:
        seen = Seen(Site(module_programs, ports, RULES), Site(module_programs, ports, RULES))
        # a group: when one fails, the other is ended properly
        async with asyncio.timeout(180), asyncio.TaskGroup() as scenes:
            scenes.create_task(_network(seen))
            scenes.create_task(_host(seen))
        return seen

    return uvloop.run(happen())


def alert_of(site: Site, subject: str, rule: str = "quality") -> History:
    """The one alert of its kind."""
    (history,) = site.about(subject, rule)
    return history


def first_verdict(history: History) -> dict[str, Any]:
    """As of when the trouble was there for sure."""
    return next(alert["verdict"] for alert in history if alert["verdict"])


def causes(history: History) -> list[str]:
    return [cause["name"] for cause in first_verdict(history)["causes"]]


def evidence(history: History, name: str) -> str:
    (cause,) = [cause for cause in first_verdict(history)["causes"] if cause["name"] == name]
    return "; ".join(cause["evidence"])


def figure(pattern: str, text: str) -> float:
    """The number in a sentence."""
    found = re.search(pattern, text)
    assert found, f"{pattern!r} is not in {text!r}"
    return float(found[1])


def assert_calls(site: Site, history: History, line: str, count: int) -> None:
    """It names the line's calls, and no others."""
    named = next(alert["calls"] for alert in history if alert["calls"])
    assert len(named) == count
    assert set(named) <= {record["id"] for record in site.of(line)}


def test_carrier(seen: Seen) -> None:
    history = alert_of(seen.network, "trunk carrier")
    assert causes(history) == ["carrier"]
    said = evidence(history, "carrier")
    assert figure(r"([\d.]+) % of the packets lost before us", said) == pytest.approx(100 * seen.lost["carrier"], abs=3)
    assert figure(r"carrier (\d+) %[^;]*of their slices bad inbound", said) == 100
    assert re.search(r"exit 0 %.*of their slices bad inbound", said)
    assert "3 calls of 3 different numbers: no single phone" in said
    assert history[0]["severity"] == "page"
    assert history[0]["summary"] == ("trunk carrier: 100 % of the audio is bad; cause: carrier or access network")
    assert_calls(seen.network, history, "carrier", 3)


def test_way_out(seen: Seen) -> None:
    history = alert_of(seen.network, "trunk exit")
    assert causes(history) == ["way_out"]
    said = evidence(history, "way_out")
    assert re.search(r"our stream is bad in (\d+) of \1 bad slices, while what we receive is fine", said)
    assert figure(r"([\d.]+) % of the packets lost on the way", said) == pytest.approx(100 * seen.lost["exit"], abs=3)
    assert "trunk exit alone" in said
    assert_calls(seen.network, history, "exit", 3)


def test_provider(seen: Seen) -> None:
    history = alert_of(seen.network, "agent slow")
    assert causes(history) == ["provider"]
    said = evidence(history, "provider")
    # a delta of 100 ms each 125 ms: at most eight breaks a second
    breaks, slices = figure(r"speech broke (\d+) times", said), figure(r"times in (\d+) of \1 bad slices", said)
    assert 30 <= breaks / slices <= 85
    assert f"the network was fine in {slices:.0f} of these" in said
    assert first_verdict(history)["summary"].startswith("the speech service (openai): ")
    assert_calls(seen.network, history, "service", 3)
    assert any(sentence.startswith("trunk service, too: ") for sentence in history[0]["detail"])


def test_echo(seen: Seen) -> None:
    history = alert_of(seen.network, "trunk echoing", "echo")
    assert causes(history) == ["echo"]
    said = evidence(history, "echo")
    assert figure(r"resembles what the agent had said \(([\d.]+) of 1", said) >= 0.75
    assert "trunk echoing alone" in said
    assert set(history[0]["calls"]) <= {record["id"] for record in seen.network.of("echoing")}


def test_one_way_audio(seen: Seen) -> None:
    history = alert_of(seen.network, "trunk mute", "one_way_audio")
    assert causes(history) == ["carrier"]
    assert re.search(r"no media from the far end in (\d+) of \1 bad slices", evidence(history, "carrier"))
    assert_calls(seen.network, history, "mute", 3)


def test_mixed(seen: Seen) -> None:
    history = alert_of(seen.network, "trunk mixed")
    verdict = first_verdict(history)
    assert sorted(causes(history)) == ["carrier", "provider"]
    assert verdict["summary"].startswith("mixed: ")
    assert history[0]["summary"].endswith("; cause: mixed, carrier or access network and speech service")
    for cause in verdict["causes"]:
        assert 0.3 <= cause["share"] <= 0.7
    said = evidence(history, "carrier")
    assert figure(r"([\d.]+) % of the packets lost before us", said) == pytest.approx(100 * seen.lost["mixed"], abs=3)
    assert "agent slower" in evidence(history, "provider")


def test_host(seen: Seen) -> None:
    """Stalls of 250 ms each second: one alert for the machine, and none for trunks, agents, or the host rule beside."""
    assert {(history[0]["rule"], history[0]["subject"]) for history in seen.host.alerts.values()} == {
        ("quality", "gateway")
    }
    history = alert_of(seen.host, "gateway")
    assert causes(history) == ["host"]
    said = evidence(history, "host")
    assert figure(r"media clock was up to (\d+) ms late", said) >= 240
    assert 8 <= figure(r"it sent nothing in (\d+) % of the time", said) <= 45
    assert "on trunks first, second" in said
    assert history[0]["severity"] == "page"


def test_one_bad_call_is_no_alert(seen: Seen) -> None:
    assert not seen.network.about("trunk clear")
    assert not seen.network.about("agent fine")
    slices = [part for record in seen.network.of("clear") for part in record["timeline"]["slices"]]
    assert any(part["received"]["bad"] for part in slices)


def test_a_service_that_refuses_is_blamed_and_the_trunk_is_not(seen: Seen) -> None:
    history = alert_of(seen.network, "agent gone", "provider_errors")
    assert causes(history) == ["provider"]
    assert "3 of 3 sessions refused or lost (limit 5.0 %)" in evidence(history, "provider")
    gone = [record for record in seen.network.of("clear") if record["agent"] == "gone"]
    refused = [record for record in gone if record["answered_at"] is None]
    assert set(history[0]["calls"]) == {record["id"] for record in refused}


def test_a_trunk_that_is_gone(seen: Seen) -> None:
    (alert, *_) = alert_of(seen.network, "trunk backup", "trunk_down")
    assert alert["summary"].startswith("trunk backup: down: unreachable, ")
    assert alert["trunk"] == "backup"


def test_nothing_else_was_told(seen: Seen) -> None:
    told = {(history[0]["rule"], history[0]["subject"]) for history in seen.network.alerts.values()}
    # the machine that runs the tests may really be late
    assert told - {("host", "gateway")} == EXPECTED


def test_alerts_end_with_their_trouble(seen: Seen) -> None:
    histories = [*seen.network.alerts.values(), *seen.host.alerts.values()]
    still = [
        alert[-1]["summary"] for alert in histories if alert[-1]["state"] != "resolved" and alert[0]["rule"] != "host"
    ]
    assert still == []
