"""The quality report of a real call at a collector of its own: SIPp checks the digest, tshark the PUBLISH."""

import re

from support.capture import faults, sip_methods, start_capture
from support.lab import LabGateway, eventually
from support.peers import require
from support.ports import HOST, Ports
from support.processes import Programs
from support.sipp import start_sipp


def parsed(body: str) -> dict[str, dict[str, str]]:
    """Lines of `Name: value` or `Name:KEY=value …`, by section: `` (session), LocalMetrics, RemoteMetrics."""
    sections: dict[str, dict[str, str]] = {"": {}}
    section = ""
    for line in body.split("\r\n"):
        name, colon, value = line.partition(":")
        if not colon:
            continue
        if name in ("LocalMetrics", "RemoteMetrics"):
            section = name
            sections[section] = {}
            continue
        if name == "DialogID":
            section = ""
        pairs = re.findall(r"(\w+)=(\S+)", value) if "=" in value and name not in ("DialogID", "CallID") else []
        sections[section] |= {f"{name}.{key}": found for key, found in pairs} or {name: value.strip()}
    return sections


async def test_the_report_of_a_call_reaches_a_collector_that_asks_for_a_password(
    programs: Programs, ports: Ports
) -> None:
    require("sipp", "tshark", "raw sockets")
    port = ports.take()
    capture = start_capture(programs, range(port, port + 1))
    collector = start_sipp(programs, ports, "collector", port=port)
    table = {"collector": f"sip:vq@{HOST}:{port};transport=udp", "username": "vq", "password": "vq-secret"}
    async with LabGateway(programs, ports, quality_report=table) as lab:
        await lab.start()
        caller = await lab.call("15550144")
        await caller.hear_speech(1300)
        caller.hang_up()
        (record,) = await lab.ended()
        await eventually(lambda: collector.sent("SIP/2.0 200"), 10, "the collector to be satisfied")
        metrics = (await lab.ask("GET", "/metrics")).text
        lab.assert_sound()
        own_ports, sip_port = lab.rtp_ports, lab.sip_port
        assert "vq-secret" not in lab.program.output()
    collector.finish(10)
    assert 'trunkline_quality_reports_total{result="delivered"} 1.0' in metrics
    first, second = collector.received("PUBLISH")
    head, _, body = second.text.replace("\r\n", "\n").replace("\n", "\r\n").partition("\r\n\r\n")
    assert "Authorization" not in first.text.partition("\n\n")[0]
    headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:])
    assert (headers["Event"], headers["Content-Type"]) == ("vq-rtcpxr", "application/vq-rtcpxr")

    report = parsed(body)
    session, local = report[""], report["LocalMetrics"]
    assert (session["VQSessionReport"], session["CallID"]) == ("CallTerm", record["sip_call_id"])
    assert session["DialogID"].startswith(record["sip_call_id"] + ";to-tag=")
    assert session["LocalID"].startswith("<sip:")
    assert session["OrigID"] == session["RemoteID"]
    assert (session["LocalAddr.IP"], session["RemoteAddr.IP"]) == (HOST, HOST)
    assert int(session["LocalAddr.PORT"]) in own_ports
    assert re.fullmatch("0x[0-9a-f]{8}", session["RemoteAddr.SSRC"])
    assert local["Timestamps.START"] == record["answered_at"][:19] + "Z"
    assert (local["SessionDesc.PT"], local["SessionDesc.PD"], local["SessionDesc.SR"]) == ("0", "PCMU", "8000")
    assert (local["PacketLoss.NLR"], local["PacketLoss.JDR"], local["BurstGapLoss.GMIN"]) == ("0.0", "0.0", "16")
    received = record["media"]["received"]
    assert float(local["QualityEst.MOSLQ"]) == round(received["mos_lq"], 2)
    assert local["QualityEst.QoEEstAlg"] == "G.107"
    assert "RemoteMetrics" not in report

    path = capture.stop()
    assert faults(path, rtp=[], rtcp=[], sip=port) == []
    assert sip_methods(path, port) == ["PUBLISH", "401", "PUBLISH", "200"]
    assert sip_port != port
