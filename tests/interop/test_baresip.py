"""baresip plays human speech to the agent, in G.711 and in Opus; the agent hears it as speech and answers."""

from collections.abc import Callable

import pytest
from support.baresip import Baresip
from support.capture import rtp_packets, start_capture
from support.gateway import Gateway
from support.peers import require
from support.processes import Programs
from support.waiting import until


@pytest.mark.parametrize(("offered", "codec"), [("PCMU/8000", "PCMU"), ("PCMA/8000", "PCMA"), ("opus/48000/2", "opus")])
def test_the_agent_hears_speech_and_answers(
    baresip: Callable[..., Baresip],
    direct: Gateway,
    programs: Programs,
    offered: str,
    codec: str,
) -> None:
    require("tshark", "raw sockets")
    phone = baresip(offered)
    capture = start_capture(programs, phone.rtp_ports)
    phone.dial(f"sip:reception@{direct.sip}")
    phone.event("CALL_ESTABLISHED")
    call_id = direct.answered("baresip")["id"]
    until(lambda: answered_turns(direct, call_id), 20, "the agent to answer what it heard", 0.1)
    phone.hang_up()
    phone.event("CALL_CLOSED")
    record = direct.over(call_id)
    assert (record["codec"], record["ended_by"]) == (codec, "caller")
    assert record["media"]["received"]["lost"] == 0
    packets = [
        packet for packet in rtp_packets(capture.stop(), phone.rtp_ports) if packet.destination in phone.rtp_ports
    ]
    assert packets, "baresip was sent nothing"
    assert len({packet.ssrc for packet in packets}) == 1


def answered_turns(gateway: Gateway, call_id: str) -> list[dict]:
    """The turns of which the caller has heard something in answer to speech."""
    return [turn for turn in gateway.call(call_id)["turns"] if turn["latency_ms"] is not None and turn["heard_ms"] > 0]
