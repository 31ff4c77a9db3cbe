"""What the bad network does to packets, and that calls pass through it."""

import asyncio
import random
import socket
from itertools import groupby
from pathlib import Path

import pytest
from support.ports import HOST, Ports

from trunkline.gateway.lab.relay import REORDERED_MS, Conditions, Impairment, Network, Relay
from trunkline.gateway.lab.rig import NUMBER, USER, Rig
from trunkline.rtp.ports import PortRange


def run(conditions: Conditions, packets: int = 20_000, seed: int = 1) -> list[list[float]]:
    """What becomes of packets 20 ms apart."""
    impairment = Impairment(random.Random(seed))
    impairment.conditions = conditions
    return [impairment.leaves(number * 0.02) for number in range(packets)]


def test_a_perfect_network_does_nothing():
    assert run(Conditions(), 100) == [[number * 0.02] for number in range(100)]


@pytest.mark.parametrize(("loss", "burst"), [(0.05, 1.0), (0.05, 3.0), (0.2, 2.0)])
def test_loss_has_its_share_and_its_bursts(loss, burst):
    lost = [not copies for copies in run(Conditions(loss=loss, burst=burst))]
    runs = [sum(1 for _ in group) for is_lost, group in groupby(lost) if is_lost]
    assert sum(lost) / len(lost) == pytest.approx(loss, rel=0.12)
    # G.107: mean length of a run over that of random loss, 1/(1 - loss)
    assert sum(runs) / len(runs) * (1 - loss) == pytest.approx(burst, rel=0.12)


def test_a_seed_has_one_outcome():
    conditions = Conditions(loss=0.1, burst=2.0, jitter_ms=30.0, duplicate=0.1, reorder=0.1)
    assert run(conditions, 500) == run(conditions, 500)
    assert run(conditions, 500) != run(conditions, 500, seed=2)


def test_jitter_keeps_the_order():
    departures = [copies[0] for copies in run(Conditions(delay_ms=40.0, jitter_ms=60.0), 2000)]
    delays = [departure - number * 0.02 for number, departure in enumerate(departures)]
    assert departures == sorted(departures)
    assert min(delays) >= 0.04 - 1e-9
    assert 0.09 < max(delays) <= 0.1 + 1e-9


def test_reordered_packets_are_overtaken():
    departures = [copies[0] for copies in run(Conditions(reorder=0.1), 2000)]
    late = [number for number, departure in enumerate(departures) if departure - number * 0.02 > REORDERED_MS / 2000]
    assert len(late) / 2000 == pytest.approx(0.1, rel=0.2)
    assert all(departures[number] > (number + 1) * 0.02 for number in late)


def test_duplicates():
    copies = [len(leaves) for leaves in run(Conditions(duplicate=0.1))]
    assert set(copies) == {1, 2}
    assert copies.count(2) / len(copies) == pytest.approx(0.1, rel=0.12)


def test_a_blocked_direction_passes_nothing():
    assert not any(run(Conditions(blocked=True), 100))


@pytest.fixture
def pairs(ports: Ports) -> PortRange:
    first = ports.take_range(16)
    return PortRange(first, first + 15, cooldown_s=0.0)


def phone() -> tuple[socket.socket, bytes]:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind((HOST, 0))
    port = sock.getsockname()[1]
    return sock, f"v=0\r\nm=audio {port} RTP/AVP 0\r\na=rtcp:{port}\r\n".encode()


def audio_port(sdp: bytes) -> int:
    return int(sdp.split(b"m=audio ")[1].split()[0])


async def test_packets_pass_both_ways_and_ports_come_back(pairs: PortRange):
    loop = asyncio.get_running_loop()
    free = pairs.free
    relay = Relay(pairs, random.Random(1))
    (near, near_sdp), (far, far_sdp) = phone(), phone()
    with near, far:
        offered, answered = relay.offered(near_sdp), relay.answered(far_sdp)
        assert b"a=rtcp:%d" % (audio_port(offered) + 1) in offered
        near.sendto(b"to the gateway", (HOST, audio_port(answered)))
        packet, source = await asyncio.wait_for(loop.sock_recvfrom(far, 100), 5)
        assert (packet, source[1]) == (b"to the gateway", audio_port(offered))
        far.sendto(b"to the phone", source)
        packet, source = await asyncio.wait_for(loop.sock_recvfrom(near, 100), 5)
        assert (packet, source[1]) == (b"to the phone", audio_port(answered))
    relay.close()
    assert pairs.free == free


async def test_a_call_through_a_bad_network_knows_it(tmp_path: Path, pairs: PortRange):
    network = Network(pairs, seed=7)
    network.impair(to_gateway=Conditions(loss=0.2, burst=2.0, duplicate=0.05))
    async with Rig(tmp_path, gateway={"workers": 0}) as rig:
        rig.trunk.relay = network.join
        caller = rig.caller()
        await caller.dial(USER, NUMBER)
        await caller.hear_speech(400)
        await asyncio.sleep(2)
        (relay,) = network.relays
        # a burst at the very end would go unnoticed: nothing comes after it
        network.impair()
        await asyncio.sleep(0.2)
        caller.hang_up()
        (record,) = await rig.records()
        assert network.relays == []
    received, impairment = record.media.received, relay.to_gateway[0]
    assert impairment.lost > 10
    assert 0 <= impairment.lost - received.lost <= 5
    assert received.duplicated > 0
    assert received.mos_lq is not None
    assert received.mos_lq < 3.6
