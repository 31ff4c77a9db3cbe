"""Which calls a gateway keeps, and what is in them: calls through a bad network, refused ones, a lost worker's, good
ones. One gateway has them all, and the commands look at what it left."""

import asyncio
import json
import os
import re
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.lab import API_KEY, NUMBER, PASSWORD, USER, LabGateway, RawSip, eventually, offer
from support.ports import Ports
from support.processes import Programs
from typer.testing import CliRunner, Result

from trunkline.gateway.cli import app
from trunkline.gateway.cli_flight import replay_file
from trunkline.gateway.errors import FlightError
from trunkline.gateway.flight.entries import Packet, entries_of
from trunkline.gateway.flight.file import Flight, leg_of, read
from trunkline.gateway.lab.relay import Conditions, Network
from trunkline.gateway.lab.trunk import RegistrarAgent
from trunkline.gateway.lab.voice import speech
from trunkline.rtp.ports import PortRange
from trunkline.sip.flow import Flow
from trunkline.sip.message import Request, parse_message, response_to

TERRIBLE = Conditions(loss=0.20, burst=2.0, jitter_ms=15.0, delay_ms=20.0, duplicate=0.02, reorder=0.08)
BAD, GOOD, LOST, BROKEN = "15550101", "15550102", "15550103", "16660000"


@dataclass
class Scene:
    """What happened, and where it was kept."""

    lab: LabGateway
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By caller; of the calls that were refused by Call-ID."""
    live_trace: tuple[int, str, str] = (0, "", "")
    """Of the good call, while the gateway ran."""

    def path(self, name: str) -> Path:
        return self.lab.state_dir / "flight" / f"{self.records[name]['id']}.tlf"

    def flight(self, name: str) -> Flight:
        return read(self.path(name))

    def command(self, *arguments: object) -> Result:
        """`trunkline` with the gateway's configuration, in this process."""
        environment = {"TRUNKLINE_CONFIG": str(self.lab.config)}
        return CliRunner().invoke(app, list(map(str, arguments)), env=environment)


def challenge_invites(agent: RegistrarAgent) -> list[bytes]:
    """The trunk asks for a digest on each INVITE; what it was given."""
    receive, answered = agent.receive, []

    def challenging(data: bytes, source: Flow, now: float) -> None:
        if not data.startswith(b"INVITE "):
            receive(data, source, now)
        elif b"Proxy-Authorization" in data:
            answered.append(data)
            receive(data, source, now)
        else:
            request = parse_message(data)
            assert isinstance(request, Request)
            response = response_to(request, 407, to_tag="x")
            for challenge in agent._verifier.challenges(now):
                response.headers.add("Proxy-Authenticate", str(challenge))
            agent._answers.append((source, response.to_bytes()))
            if agent.on_output is not None:
                agent.on_output()

    agent.receive = challenging
    return answered


async def bad_call(lab: LabGateway, network: Network) -> None:
    lab.trunk.relay = network.join
    network.impair(to_gateway=TERRIBLE, to_phone=TERRIBLE)
    caller = lab.caller(BAD)
    dialling = asyncio.create_task(caller.dial(USER, NUMBER))
    await asyncio.sleep(0)
    lab.trunk.relay = None
    await dialling
    await caller.hear_speech(400)
    caller.say(speech("caller_interruption", "pcmu"))
    await asyncio.sleep(10.5)
    caller.hang_up()


async def good_call(lab: LabGateway) -> None:
    caller = await lab.call(GOOD)
    caller.hang_up()


async def refused_calls(lab: LabGateway, scene: Scene) -> None:
    sdp = offer()
    with RawSip(lab.sip_port) as phone:
        for name, options in {
            "404": {"user": "4930999", "body": sdp},
            "488": {"body": sdp.replace(b"m=audio", b"m=video")},
            "503": {"user": BROKEN, "body": sdp},
        }.items():
            data, call_id = phone.request("INVITE", **options)
            phone.send(data)
            response = await phone.final(call_id)
            ack, _ = phone.request(
                "ACK", call_id=call_id, to_tag=response.to.tag, branch=re.search(rb"branch=([^\r;]+)", data)[1].decode()
            )
            phone.send(ack)
            scene.records[name] = {"sip_call_id": call_id}


async def outbound_call(lab: LabGateway) -> None:
    answer = await lab.ask("POST", "/api/calls", {"to": "+15550177", "agent": "reception", "trunk": "lab"})
    assert answer.status == 201, answer.text


async def lost_worker(lab: LabGateway) -> None:
    await lab.call(LOST)
    os.kill(lab.workers[0], signal.SIGKILL)


async def play(scene: Scene, network: Network) -> None:
    lab = scene.lab
    async with lab:
        lab.write_config(agents__broken={"provider": "openai", "base_url": "http://127.0.0.1:1/v1", "api_key": "x"})
        with lab.config.open("a") as file:
            file.write(f'[[routes]]\nto = "{BROKEN}"\nagent = "broken"\n')
        await lab.start()
        answered = challenge_invites(lab.trunk.agent)
        bad = asyncio.create_task(bad_call(lab, network))
        await good_call(lab)
        await refused_calls(lab, scene)
        await outbound_call(lab)
        await bad
        await lost_worker(lab)
        ended = await lab.ended(7)
        for name, record in scene.records.items():
            (scene.records[name],) = [it for it in ended if it["sip_call_id"] == record["sip_call_id"]]
        for name in (BAD, GOOD, LOST):
            (scene.records[name],) = [it for it in ended if it["from"] == name]
        (scene.records["out"],) = [it for it in ended if it["direction"] == "outbound"]
        assert (await lab.ask("GET", "/api/calls/none/trace")).status == 404
        scene.live_trace = await lab.command("trace", scene.records[GOOD]["id"])
        scene.records["digest"] = {"response": re.search(rb'response="([0-9a-f]+)"', answered[0])[1].decode()}
        await eventually(lambda: scene.path(LOST).exists(), 10, "the last call to be kept")
        lab.assert_sound()
    network.close()


@pytest.fixture(scope="module")
def scene(module_programs: Programs, ports: Ports) -> Scene:
    first = ports.take_range(64)

    async def run() -> Scene:
        played = Scene(LabGateway(module_programs, ports))
        await play(played, Network(PortRange(first, first + 63, cooldown_s=0.0), seed=5))
        return played

    return asyncio.run(run())


def test_only_bad_and_failed_calls_are_kept(scene: Scene) -> None:
    files = {path.stem for path in (scene.lab.state_dir / "flight").iterdir()}
    expected = {scene.records[name]["id"] for name in (BAD, LOST, "404", "488", "503", "out")}
    assert files == expected
    assert scene.records[GOOD]["answered_at"]


def test_the_bad_call_says_why_and_has_its_packets(scene: Scene) -> None:
    flight = scene.flight(BAD)
    assert any("received: " in reason and "bad slice" in reason for reason in flight.header.reasons)
    assert flight.record.media.received.packets == scene.records[BAD]["media"]["received"]["packets"]
    (leg,) = [leg_of(section) for section in flight.legs]
    assert leg.dropped == 0
    received = [entry for entry in entries_of(leg) if isinstance(entry, Packet) and entry.received]
    assert len(received) == flight.record.media.received.packets
    sent = [entry for entry in entries_of(leg) if isinstance(entry, Packet) and not entry.received]
    assert len(sent) == flight.record.media.sent.packets


def test_the_bad_call_is_replayed(scene: Scene) -> None:
    done = scene.command("replay", scene.path(BAD))
    assert done.exit_code == 0, done.output
    assert re.search(r"(\d+) of \1 figures are the same", done.stdout)
    as_json = json.loads(scene.command("replay", scene.path(BAD), "--json").stdout)
    assert as_json["same"] is True
    assert as_json["whole"] is True


def test_a_record_that_says_otherwise_is_seen(scene: Scene, tmp_path: Path) -> None:
    from trunkline.gateway.flight.file import packed

    flight = scene.flight(BAD)
    flight.record.media.received.lost += 1
    path = tmp_path / "other.tlf"
    path.write_bytes(packed(flight))
    done = scene.command("replay", path)
    assert done.exit_code == 1
    assert re.search(r"received lost .*DIFFERENT", done.stdout)


def test_the_bad_call_is_traced(scene: Scene) -> None:
    done = scene.command("trace", scene.records[BAD]["id"])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    first = next(line for line in lines if "INVITE sip:" in line)
    assert first.split()[0] == "0.000"
    assert "<---" in first
    ladder = [line for line in lines if "---" in line]
    assert [line.rpartition("  ")[2] for line in ladder][:3] == ["1 INVITE", "1 INVITE", "1 INVITE"]
    assert "BYE" in ladder[-2]
    assert "200 OK" in ladder[-1]
    whats = {line[11:].lstrip("!").split()[0] for line in lines if re.match(r" +\d+\.\d{3} [ !]\w", line)}
    assert {"media", "answered", "AudioDelta", "SpeechStarted", "flushed", "concealed", "rtcp", "slice"} <= whats
    assert any(line[11:12] == "!" and "slice" in line for line in lines)


def test_a_trace_as_json(scene: Scene) -> None:
    document = json.loads(scene.command("trace", scene.records[BAD]["id"], "--json").stdout)
    assert document["call"]["id"] == scene.records[BAD]["id"]
    assert document["ladder"][0]["summary"].startswith("INVITE sip:")
    assert document["timeline"] == sorted(document["timeline"], key=lambda line: line["at_s"])


@pytest.mark.parametrize("status", ["404", "488", "503"])
def test_a_refused_call_is_kept_with_its_ladder(scene: Scene, status: str) -> None:
    flight = scene.flight(status)
    assert flight.header.reasons[0].startswith(f"not answered: {status}")
    starts = [message.data.split(b"\r\n")[0] for message in flight.sip]
    assert starts[0].startswith(b"INVITE ")
    assert any(start.startswith(f"SIP/2.0 {status} ".encode()) for start in starts)
    assert starts[-1].startswith(b"ACK ")
    done = scene.command("trace", flight.header.call_id)
    assert done.exit_code == 0
    assert f" {status} " in done.stdout


def test_a_placed_call_is_kept_without_its_digest(scene: Scene) -> None:
    flight = scene.flight("out")
    starts = [message.data.split(b"\r\n")[0] for message in flight.sip]
    assert [start for start in starts if start.startswith(b"SIP/2.0 407")]
    assert sum(start.startswith(b"INVITE ") for start in starts) == 2
    text = b"".join(message.data for message in flight.sip)
    assert b"Proxy-Authorization: Digest" in text
    assert scene.records["digest"]["response"].encode() not in text


def test_no_secret_in_any_file(scene: Scene) -> None:
    for path in (scene.lab.state_dir / "flight").glob("*.tlf"):
        flight = read(path)
        text = b"".join(message.data for message in flight.sip) + repr(flight.record).encode()
        for leg in flight.legs:
            text += repr(leg_of(leg)).encode()
        assert PASSWORD.encode() not in text
        assert API_KEY.encode() not in text


def test_a_lost_worker_leaves_the_sip(scene: Scene) -> None:
    flight = scene.flight(LOST)
    assert flight.legs == []
    assert flight.header.reasons[0].startswith("ended by gateway: media worker lost")
    starts = [message.data.split(b" ")[0] for message in flight.sip]
    assert starts[0] == b"INVITE"
    assert b"BYE" in starts
    done = scene.command("trace", flight.header.call_id)
    assert "lost with their worker" in done.stdout
    with pytest.raises(FlightError, match="nothing to replay"):
        replay_file(scene.path(LOST), False)


def test_a_good_call_is_not_there_and_trace_says_so(scene: Scene) -> None:
    """No gateway runs any more."""
    for call_id, sentence in {
        scene.records[GOOD]["id"]: "was not kept",
        "019a0000-0000-7000-8000-000000000000": "there is no call",
        "nonsense": "is not the identifier of a call",
    }.items():
        done = scene.command("trace", call_id)
        assert isinstance(done.exception, FlightError)
        assert sentence in str(done.exception)


def test_the_running_gateway_has_the_ladder_of_a_good_call(scene: Scene) -> None:
    status, out, err = scene.live_trace
    assert (status, err) == (0, "")
    assert "not kept: from the running gateway" in out
    assert [line.split()[-1] for line in out.splitlines() if "---" in line][-2:] == ["BYE", "BYE"]
    assert "turn " in out


async def test_the_commands_say_it_in_one_line(scene: Scene) -> None:
    status, out, err = await scene.lab.command("replay", scene.path(BAD))
    assert (status, err) == (0, "")
    assert re.search(r"(\d+) of \1 figures are the same", out)
    status, out, err = await scene.lab.command("replay", scene.lab.config)
    assert (status, out) == (1, "")
    assert err == f"trunkline: {scene.lab.config}: not a kept call of trunkline\n"
