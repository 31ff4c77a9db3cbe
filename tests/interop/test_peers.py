"""The peers among themselves: what the other tests stand on works without the gateway."""

from collections.abc import Callable

import pytest
from support.baresip import Baresip
from support.capture import rtp_packets, rtp_streams, start_capture
from support.kamailio import Kamailio
from support.peers import PEERS, SIPP_PCAP, Peer, require
from support.pjsua import PjsuaPhone
from support.ports import Ports
from support.processes import Programs
from support.sipp import start_sipp

ALICE = {"alice": "wonderland"}


@pytest.fixture
def trunk(start_kamailio: Callable[..., Kamailio]) -> Kamailio:
    return start_kamailio(credentials=ALICE, numbers={"15550101": "alice"})


def test_a_phone_registers_by_digest(trunk: Kamailio, start_phone: Callable[..., PjsuaPhone]) -> None:
    phone = start_phone(trunk, "alice", "wonderland")
    phone.registered()
    assert len(trunk.contacts("alice")) == 1
    assert len(trunk.requests("REGISTER", "alice")) == 2  # the first was challenged


def test_a_wrong_password_is_refused(trunk: Kamailio, start_phone: Callable[..., PjsuaPhone]) -> None:
    phone = start_phone(trunk, "alice", "looking glass")
    phone.registration(401)
    assert trunk.contacts("alice") == []


def test_a_call_through_the_trunk_and_back(
    trunk: Kamailio, start_phone: Callable[..., PjsuaPhone], programs: Programs, ports: Ports
) -> None:
    require("sipp", "raw sockets")
    phone = start_phone(trunk, "alice", "wonderland")
    phone.registered()
    caller = start_sipp(programs, ports, "caller_short", f"127.0.0.1:{trunk.port}", number="15550101", hold_ms=300)
    caller.finish(15)
    assert phone.call_state("DISCONNECTED")["status"] == 200
    assert "lr" in trunk.requests("BYE", "15550199")[0]  # the BYE came by the recorded route


def test_a_pcap_arrives_as_it_was_recorded(programs: Programs, ports: Ports) -> None:
    require("sipp", "g711a.pcap", "raw sockets", "tshark")
    callee = start_sipp(programs, ports, "callee_waits")
    capture = start_capture(programs, range(callee.media_port, callee.media_port + 1))
    caller = start_sipp(programs, ports, "caller_pcap", f"127.0.0.1:{callee.port}", hold_ms=1500)
    caller.finish(20)
    callee.finish(5)
    path = capture.stop()
    sent = b"".join(packet.payload for packet in rtp_packets(SIPP_PCAP, [5000]))
    heard = [packet for packet in rtp_packets(path, [callee.media_port]) if packet.destination == callee.media_port]
    assert 40 <= len(heard) <= 52  # 1.5 s in packets of 30 ms
    assert sent.startswith(b"".join(packet.payload for packet in heard))
    assert all(stream.lost == 0 and not stream.problems for stream in rtp_streams(path, [callee.media_port]))


def test_opus_between_two_baresips(baresip: Callable[..., Baresip]) -> None:
    callee = baresip("opus/48000/2", answer=True)
    caller = baresip("opus/48000/2")
    caller.dial(f"sip:baresip@127.0.0.1:{callee.port}")
    caller.event("CALL_ESTABLISHED")
    caller.hang_up()
    callee.event("CALL_CLOSED")


def test_a_missing_peer_skips_with_its_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PEERS, "sipp", Peer(lambda: False, "apt-get install sip-tester"))
    monkeypatch.delenv("TRUNKLINE_REQUIRE_PEERS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="sipp is not installed: apt-get install sip-tester"):
        require("sipp")


def test_a_missing_peer_fails_where_all_are_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PEERS, "sipp", Peer(lambda: False, "apt-get install sip-tester"))
    monkeypatch.setenv("TRUNKLINE_REQUIRE_PEERS", "1")
    with pytest.raises(pytest.fail.Exception, match="apt-get install sip-tester"):
        require("sipp")
