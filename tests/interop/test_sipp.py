"""SIPp calls the gateway: the caller's octets, many short calls, and the awkward scenarios."""

import itertools

import pytest
from support.capture import RtpPacket, rtp_packets, start_capture, write_rtp_pcap
from support.gateway import SILENT, Gateway
from support.lab_agent import LabAgent
from support.peers import SIPP_PCAP, require
from support.ports import Ports
from support.processes import Programs
from support.sipp import Sipp, start_sipp
from support.waiting import until

LOST_ACK = "15550210"
PCMA_SILENCE = 0xD5


def pcap_payload() -> bytes:
    """What SIPp's own pcap says: 7 s of PCMA in packets of 30 ms."""
    return b"".join(packet.payload for packet in rtp_packets(SIPP_PCAP, [5000]))


@pytest.fixture(scope="module", autouse=True)
def lost_ack(direct: Gateway, module_programs: Programs, ports: Ports) -> Sipp:
    """A caller that never sends ACK. The gateway gives up after 64*T1 = 32 s, so it calls first and is read last."""
    require("sipp", "g711a.pcap", "raw sockets", "tshark")
    caller = start_sipp(module_programs, ports, "caller_lost_ack", direct.sip, caller=LOST_ACK)
    direct.answered(LOST_ACK)
    return caller


def test_the_agent_hears_every_octet_in_order(
    direct: Gateway, agent: LabAgent, programs: Programs, ports: Ports
) -> None:
    spoken = pcap_payload()
    assert len(spoken) == 236 * 240
    session = len(agent.sessions())
    caller = start_sipp(programs, ports, "caller_pcap", direct.sip, caller="15550201", hold_ms=7300)
    caller.finish(20)
    (record,) = direct.ended("15550201")
    received = record["media"]["received"]
    assert record["codec"] == "PCMA"
    assert received["packets"] == 236
    assert (received["lost"], received["discarded"], received["concealed"]) == (0, 0, 0)
    heard = agent.audio(session)
    start = heard.find(spoken[:1600])
    assert start >= 0, f"the agent heard {len(heard)} octets, none of them as spoken"
    assert heard[start : start + len(spoken)] == spoken
    around = heard[:start] + heard[start + len(spoken) :]
    assert set(around) <= {PCMA_SILENCE}, "the agent heard something that nobody said"


def test_a_hundred_short_calls_all_succeed_and_are_recorded(direct: Gateway, programs: Programs, ports: Ports) -> None:
    callers = start_sipp(
        programs, ports, "caller_short", direct.sip, caller="15550202", calls=100, rate=20, hold_ms=1000
    )
    callers.finish(60)
    records = direct.ended("15550202", 100)
    assert len(records) == 100
    assert len({record["id"] for record in records}) == 100
    assert {(record["sip_status"], record["ended_by"]) for record in records} == {(200, "caller")}
    assert [record["id"] for record in records] == sorted((record["id"] for record in records), reverse=True)


def test_a_caller_gives_up_while_it_rings(direct: Gateway, programs: Programs, ports: Ports) -> None:
    caller = start_sipp(programs, ports, "caller_cancel", direct.sip, caller="15550203", number=SILENT, hold_ms=300)
    caller.finish(15)
    (record,) = direct.ended("15550203")
    assert (record["sip_status"], record["answered_at"], record["ended_by"]) == (487, None, "caller")


def test_a_retransmitted_invite_makes_one_call(direct: Gateway, programs: Programs, ports: Ports) -> None:
    caller = start_sipp(programs, ports, "caller_retransmits", direct.sip, caller="15550204", hold_ms=500)
    caller.finish(15)
    assert len(caller.sent("INVITE")) >= 3
    tags = {
        line.partition(";tag=")[2]
        for message in caller.received("SIP/2.0 ")
        for line in message.text.splitlines()
        if line.startswith("To:") and ";tag=" in line
    }
    assert len(tags) == 1
    assert len(direct.ended("15550204")) == 1


def _voice(packets: list[RtpPacket], after: float) -> bytes:
    return b"".join(packet.payload for packet in packets if packet.at >= after)


def test_hold_and_resume_keep_audio_both_ways(
    direct: Gateway, agent: LabAgent, programs: Programs, ports: Ports
) -> None:
    spoken = pcap_payload()[: 8000 * 2]
    spurts = [
        (0x5EED, 100, 0),
        (0x5EED, 200, 8000 * 3),  # after the first hold the stream goes on
        (0xBEEF, 9000, 777),  # after the second it is a new one, as some phones do
    ]
    pcaps = [
        write_rtp_pcap(
            programs.directory / f"spurt-{sequence}.pcap",
            spoken,
            payload_type=8,
            ssrc=ssrc,
            first_sequence=sequence,
            first_timestamp=timestamp,
        )
        for ssrc, sequence, timestamp in spurts
    ]
    session = len(agent.sessions())
    capture = start_capture(programs, direct.rtp_ports)
    caller = start_sipp(programs, ports, "caller_holds", direct.sip, caller="15550205", pcaps=pcaps)
    caller.finish(25)
    direct.ended("15550205")
    path = capture.stop()

    heard = agent.audio(session)
    assert heard.count(spoken) == 3, "the agent did not hear the caller before, between and after the holds"

    def resumed_at(cseq: int) -> float:
        acks = [message.at for message in caller.sent("ACK") if f"CSeq: {cseq} ACK" in message.text]
        return acks[0]

    packets = rtp_packets(path, [caller.media_port, *direct.rtp_ports])
    to_caller = [packet for packet in packets if packet.destination == caller.media_port]
    for start, end in ((resumed_at(3), resumed_at(4)), (resumed_at(5), resumed_at(5) + 2.4)):
        part = [packet for packet in to_caller if start <= packet.at < end]
        assert len(part) >= 0.9 * 50 * (end - start - 0.1), "the caller hears nothing after resuming"
    sequence = [packet.sequence for packet in to_caller]
    assert all((b - a) & 0xFFFF == 1 for a, b in itertools.pairwise(sequence)), "a gap in our sequence"
    assert len(_voice(to_caller, resumed_at(5)).strip(bytes([PCMA_SILENCE]))) > 0, "the caller hears only silence"


def test_a_lost_ack_ends_in_a_bye(direct: Gateway, lost_ack: Sipp) -> None:
    lost_ack.finish(50)
    answers = lost_ack.received("SIP/2.0 200 OK")
    invite_answers = [answer for answer in answers if "INVITE" in answer.text]
    assert len(invite_answers) >= 8  # T1 doubling up to T2: 0, 0.5, 1.5, 3.5, 7.5, 11.5, … s
    assert len({answer.text for answer in invite_answers}) == 1
    (bye,) = lost_ack.received("BYE")
    assert bye.at - invite_answers[0].at == pytest.approx(32, abs=1.5)
    (record,) = direct.ended(LOST_ACK)
    assert record["ended_by"] == "gateway"
    assert "ACK" in record["end_reason"]


def test_no_call_is_left_behind(direct: Gateway) -> None:
    until(lambda: not [call for call in direct.calls() if call.get("live")], 5, "all calls to be over")
