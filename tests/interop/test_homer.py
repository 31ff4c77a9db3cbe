"""A real call mirrored to a collector: Kamailio's sipcapture decodes the HEP, tshark judges the SIP inside."""

import json
import re
import time

from support.capture import faults, sip_call_ids, write_udp_pcap
from support.homer import Homer, Packet
from support.lab import LabGateway, eventually
from support.peers import require
from support.ports import HOST, Ports
from support.processes import Programs

SIP, RTCP = 1, 5


async def test_a_call_is_mirrored_whole_to_homer(programs: Programs, ports: Ports) -> None:
    require("kamailio", "tshark")
    homer = Homer(programs, ports)
    hep = {"collector": homer.url, "capture_id": 77, "password": "hep-secret"}
    began = time.time()
    async with LabGateway(programs, ports, hep=hep) as lab:
        await lab.start()
        caller = await lab.call("15550142")
        caller.hang_up()
        (record,) = await lab.ended()
        call_id = record["sip_call_id"]
        rtcp = await eventually(
            lambda: [one for one in homer.packets() if one.kind == RTCP], 5, "RTCP at the collector"
        )
        lab.assert_sound()
        metrics = (await lab.ask("GET", "/metrics")).text
    packets = homer.packets()
    assert {(one.family, one.capture_id, one.password) for one in packets} == {(2, 77, "hep-secret")}
    assert all(began < one.at < time.time() for one in packets)
    gateway, trunk = (HOST, lab.sip_port), (HOST, lab.trunk_port)

    ladder = [one for one in packets if one.kind == SIP and one.correlation_id == call_id]
    assert [(name(one), one.source, one.destination) for one in ladder if name(one) not in ("100", "180")] == [
        ("INVITE", trunk, gateway),
        ("200", gateway, trunk),
        ("ACK", trunk, gateway),
        ("BYE", trunk, gateway),
        ("200", gateway, trunk),
    ]
    assert [one.at for one in ladder] == sorted(one.at for one in ladder)
    answers = [found for one in packets for found in re.findall(rb'response="(\w+)"', one.payload)]
    assert answers
    assert set(b"".join(answers)) == {ord("x")}

    assert {one.correlation_id for one in rtcp} == {call_id}
    ours = [json.loads(one.payload) for one in rtcp if one.source[1] in lab.rtp_ports]
    last = [report for report in ours if report["type"] == 200][-1]
    assert last["sender_information"]["packets"] == record["media"]["sent"]["packets"]
    assert [block["packets_lost"] for block in last["report_blocks"]] in ([], [0])
    assert 'trunkline_hep_packets_total{result="dropped"} 0.0' in metrics

    judged = [one for one in packets if one.kind == SIP]
    path = write_udp_pcap(
        programs.directory / "mirrored.pcap",
        [(one.at, one.source[1], one.destination[1], one.payload) for one in judged],
    )
    assert faults(path, rtp=[], rtcp=[], sip=lab.sip_port) == []
    assert sip_call_ids(path, lab.sip_port) == [one.correlation_id for one in judged]


async def test_a_collector_that_is_not_there_harms_no_call(programs: Programs, ports: Ports) -> None:
    hep = {"collector": f"udp://{HOST}:{ports.take()}"}
    async with LabGateway(programs, ports, hep=hep) as lab:
        await lab.start()
        caller = await lab.call("15550143")
        caller.hang_up()
        (record,) = await lab.ended()
        assert record["end_reason"] == "BYE" or record["ended_by"] == "caller"
        lab.assert_sound()
        assert [line["reason"] for line in lab.log("HEP packets are lost")] == ["it does not listen"]
        metrics = (await lab.ask("GET", "/metrics")).text
        assert 'trunkline_hep_packets_total{result="dropped"} 0.0' not in metrics


def name(packet: Packet) -> str:
    """Method or status."""
    first = packet.payload.split(b"\r\n", 1)[0].decode().split(" ")
    return first[1] if first[0].startswith("SIP/") else first[0]
