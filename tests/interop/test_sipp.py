"""SIPp calls the gateway: the caller's octets, many short calls, and the awkward scenarios."""

import itertools
import socket
from collections.abc import Callable, Iterator

import pytest
from support.capture import RtpPacket, rtp_packets, start_capture, write_rtp_pcap
from support.gateway import Gateway, peered
from support.lab_agent import LabAgent, start_lab_agent
from support.peers import SIPP_PCAP, require
from support.ports import Ports
from support.processes import Programs
from support.sipp import Sipp, start_sipp
from support.waiting import until

LOST_ACK = "15550210"
PCMA_SILENCE = 0xD5

StartGateway = Callable[..., Gateway]


def pcap_payload() -> bytes:
    """What SIPp's own pcap says: 7 s of PCMA in packets of 30 ms."""
    return b"".join(packet.payload for packet in rtp_packets(SIPP_PCAP, [5000]))


@pytest.fixture(scope="module")
def gateway(module_programs: Programs, ports: Ports, agent: LabAgent) -> Iterator[Gateway]:
    """One gateway for the scenarios that do not look at its agent."""
    require("sipp", "g711a.pcap", "raw sockets", "tshark")
    gateway = Gateway(module_programs, ports, agent.url, {"carrier": peered()}, rtp_ports=300)
    yield gateway.start()
    assert not gateway.tracebacks(), gateway.program.output()


@pytest.fixture(scope="module", autouse=True)
def lost_ack(gateway: Gateway, module_programs: Programs, ports: Ports) -> Sipp:
    """A caller that never sends ACK. The gateway gives up after 64*T1 = 32 s, so it calls first and is read last."""
    return start_sipp(module_programs, ports, "caller_lost_ack", gateway.sip, caller=LOST_ACK)


@pytest.fixture
def own_agent(programs: Programs, ports: Ports) -> LabAgent:
    """A speech service with the sessions of one test alone."""
    return start_lab_agent(programs, ports)


def test_the_agent_hears_every_octet_in_order(
    start_gateway: StartGateway, own_agent: LabAgent, programs: Programs, ports: Ports
) -> None:
    spoken = pcap_payload()
    assert len(spoken) == 236 * 240
    gateway = start_gateway({"carrier": peered()}, agent_url=own_agent.url)
    caller = start_sipp(programs, ports, "caller_pcap", gateway.sip, caller="15550201", hold_ms=7300)
    caller.finish(20)
    (record,) = gateway.ended("15550201")
    received = record["media"]["received"]
    assert record["codec"] == "PCMA"
    assert received["packets"] == 236
    assert (received["lost"], received["discarded"], received["concealed"]) == (0, 0, 0)
    assert len(own_agent.sessions()) == 1
    heard = own_agent.audio(0)
    start = heard.find(spoken[:1600])
    assert start >= 0, f"the agent heard {len(heard)} octets, none of them as spoken"
    assert heard[start : start + len(spoken)] == spoken
    around = heard[:start] + heard[start + len(spoken) :]
    assert set(around) <= {PCMA_SILENCE}, "the agent heard something that nobody said"


def test_a_hundred_short_calls_all_succeed_and_are_recorded(gateway: Gateway, programs: Programs, ports: Ports) -> None:
    callers = start_sipp(
        programs, ports, "caller_short", gateway.sip, caller="15550202", calls=100, rate=20, hold_ms=1000
    )
    callers.finish(60)
    records = gateway.ended("15550202", 100)
    assert len(records) == 100
    assert len({record["id"] for record in records}) == 100
    assert {(record["sip_status"], record["ended_by"]) for record in records} == {(200, "caller")}
    assert [record["id"] for record in records] == sorted((record["id"] for record in records), reverse=True)


def test_a_caller_gives_up_while_it_rings(start_gateway: StartGateway, programs: Programs, ports: Ports) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the connection and never says a word
        gateway = start_gateway({"carrier": peered()}, agent_url=f"ws://127.0.0.1:{silent.getsockname()[1]}/v1")
        caller = start_sipp(programs, ports, "caller_cancel", gateway.sip, caller="15550203", hold_ms=300)
        caller.finish(15)
        (record,) = gateway.ended("15550203")
    assert (record["sip_status"], record["answered_at"], record["ended_by"]) == (487, None, "caller")


def test_a_retransmitted_invite_makes_one_call(gateway: Gateway, programs: Programs, ports: Ports) -> None:
    caller = start_sipp(programs, ports, "caller_retransmits", gateway.sip, caller="15550204", hold_ms=500)
    caller.finish(15)
    assert len(caller.sent("INVITE")) >= 3
    tags = {
        line.partition(";tag=")[2]
        for message in caller.received("SIP/2.0 ")
        for line in message.text.splitlines()
        if line.startswith("To:") and ";tag=" in line
    }
    assert len(tags) == 1
    assert len(gateway.ended("15550204")) == 1


def _voice(packets: list[RtpPacket], after: float) -> bytes:
    return b"".join(packet.payload for packet in packets if packet.at >= after)


def test_hold_and_resume_keep_audio_both_ways(
    start_gateway: StartGateway, own_agent: LabAgent, programs: Programs, ports: Ports
) -> None:
    spoken = pcap_payload()[: 8000 * 2]
    pcap = write_rtp_pcap(programs.directory / "two-seconds.pcap", spoken, payload_type=8)
    gateway = start_gateway({"carrier": peered()}, agent_url=own_agent.url, agent={"greeting": "Hello."})
    first = ports.take_range(2)
    capture = start_capture(programs, first, gateway.rtp_ports.stop)
    caller = start_sipp(programs, ports, "caller_holds", gateway.sip, caller="15550205", pcap=pcap)
    caller.finish(25)
    gateway.ended("15550205")
    path = capture.stop()

    heard = own_agent.audio(0)
    assert heard.count(spoken) == 3, "the agent did not hear the caller before, between and after the holds"

    def resumed_at(cseq: int) -> float:
        acks = [message.at for message in caller.sent("ACK") if f"CSeq: {cseq} ACK" in message.text]
        return acks[0]

    packets = rtp_packets(path, [caller.media_port, *gateway.rtp_ports])
    to_caller = [packet for packet in packets if packet.destination == caller.media_port]
    for start, end in ((resumed_at(3), resumed_at(4)), (resumed_at(5), resumed_at(5) + 2.4)):
        part = [packet for packet in to_caller if start <= packet.at < end]
        assert len(part) >= 0.9 * 50 * (end - start - 0.1), "the caller hears nothing after resuming"
    sequence = [packet.sequence for packet in to_caller]
    assert all((b - a) & 0xFFFF == 1 for a, b in itertools.pairwise(sequence)), "a gap in our sequence"
    assert len(_voice(to_caller, resumed_at(5)).strip(bytes([PCMA_SILENCE]))) > 0, "the caller hears only silence"


def test_a_lost_ack_ends_in_a_bye(gateway: Gateway, lost_ack: Sipp) -> None:
    lost_ack.finish(50)
    answers = lost_ack.received("SIP/2.0 200 OK")
    invite_answers = [answer for answer in answers if "INVITE" in answer.text]
    assert len(invite_answers) >= 8  # T1 doubling up to T2: 0, 0.5, 1.5, 3.5, 7.5, 11.5, … s
    assert len({answer.text for answer in invite_answers}) == 1
    (bye,) = lost_ack.received("BYE")
    assert bye.at - invite_answers[0].at == pytest.approx(32, abs=1.5)
    (record,) = gateway.ended(LOST_ACK)
    assert record["ended_by"] == "gateway"
    assert "ACK" in record["end_reason"]


def test_nothing_is_left_behind(gateway: Gateway) -> None:
    until(lambda: not [call for call in gateway.calls() if call.get("live")], 5, "all calls to be over")
