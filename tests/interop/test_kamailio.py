"""The gateway behind Kamailio: registration in all its moods, and calls both ways with Record-Route."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.gateway import DIALLED, PASSWORD, USER, Gateway, registering
from support.kamailio import Kamailio
from support.peers import require
from support.ports import Ports
from support.processes import Programs
from support.sipp import start_sipp
from support.waiting import until

WAITS, HANGS_UP, BUSY, NOBODY = "15550150", "15550151", "15550152", "15550153"

USERS = {"udp": "trunkline-udp", "tcp": "trunkline-tcp"}
"""Two trunks on one host are told apart by the user that they call."""

StartKamailio = Callable[..., Kamailio]
StartGateway = Callable[..., Gateway]
Trunks = dict[str, Kamailio]


@pytest.fixture(scope="module")
def callees(ports: Ports) -> dict[str, int]:
    """The port of each callee: the trunks must know it before the tests start the callee."""
    require("sipp", "raw sockets")
    return {number: ports.take() for number in (WAITS, HANGS_UP, BUSY)}


@pytest.fixture(scope="module")
def trunks(start_module_kamailio: StartKamailio, callees: dict[str, int]) -> Trunks:
    """Two trunks, named after the transport that the gateway registers over."""
    numbers = {number: f"sip:127.0.0.1:{port}" for number, port in callees.items()}
    return {
        transport: start_module_kamailio(credentials={user: PASSWORD}, numbers={**numbers, DIALLED: user})
        for transport, user in USERS.items()
    }


@pytest.fixture(scope="module")
def gateway(
    module_programs: Programs, ports: Ports, agents: dict[str, dict[str, Any]], trunks: Trunks
) -> Iterator[Gateway]:
    """One gateway, registered at both."""
    tables = {name: registering(kamailio.port, name, username=USERS[name]) for name, kamailio in trunks.items()}
    gateway = Gateway(module_programs, ports, agents, tables).start()
    yield gateway
    gateway.assert_no_traceback()


over_both = pytest.mark.parametrize("transport", ["udp", "tcp"])


@over_both
def test_registers(gateway: Gateway, trunks: Trunks, transport: str) -> None:
    kamailio = trunks[transport]
    assert kamailio.registrations(USERS[transport]) == [transport]
    (contact,) = kamailio.contacts(USERS[transport])
    address = str(contact["Address"]).lower()
    assert f"@127.0.0.1:{gateway.port}" in address
    assert ("transport=tcp" in address) == (transport == "tcp")
    assert 200 < contact["Expires"] <= 300


@over_both
def test_takes_calls_through_the_trunk(
    gateway: Gateway, trunks: Trunks, programs: Programs, ports: Ports, transport: str
) -> None:
    caller_number = {"udp": "15550160", "tcp": "15550161"}[transport]
    trunk = f"127.0.0.1:{trunks[transport].port}"
    caller = start_sipp(programs, ports, "caller_short", trunk, caller=caller_number, hold_ms=500)
    caller.finish(15)
    (record,) = gateway.ended(caller_number)
    assert (record["direction"], record["trunk"], record["to"]) == ("inbound", transport, DIALLED)
    assert (record["ended_by"], record["sip_status"], record["codec"]) == ("caller", 200, "PCMA")
    answers = [message for message in caller.received("SIP/2.0 200") if "INVITE" in message.text]
    assert "Record-Route:" in answers[0].text


@over_both
def test_hangs_up_along_the_recorded_route(
    gateway: Gateway, trunks: Trunks, programs: Programs, ports: Ports, transport: str
) -> None:
    caller_number = {"udp": "15550162", "tcp": "15550163"}[transport]
    kamailio = trunks[transport]
    caller = start_sipp(programs, ports, "caller_waits", f"127.0.0.1:{kamailio.port}", caller=caller_number)
    gateway.hang_up(gateway.answered(caller_number)["id"])
    caller.finish(10)
    (record,) = gateway.ended(caller_number)
    assert record["ended_by"] == "operator"
    bye = kamailio.requests("BYE", DIALLED)[-1]
    assert ";lr" in bye
    assert f" {transport}:127.0.0.1:" in bye


@over_both
def test_places_calls_through_the_trunk(
    gateway: Gateway,
    trunks: Trunks,
    callees: dict[str, int],
    programs: Programs,
    ports: Ports,
    transport: str,
) -> None:
    kamailio = trunks[transport]
    callee = start_sipp(programs, ports, "callee_waits", port=callees[WAITS])
    call_id = gateway.place_call(WAITS, transport)
    until(lambda: callee.received("ACK"), 10, "the ACK to arrive")
    gateway.hang_up(call_id)
    callee.finish(10)
    record = gateway.over(call_id)
    assert (record["direction"], record["to"], record["ended_by"]) == ("outbound", WAITS, "operator")
    assert (record["sip_status"], record["codec"]) == (200, "PCMA")
    assert len(kamailio.requests("INVITE", USERS[transport])) == 2  # the first was challenged
    assert ";lr" in kamailio.requests("BYE", USERS[transport])[-1]


def test_the_callee_hangs_up(gateway: Gateway, callees: dict[str, int], programs: Programs, ports: Ports) -> None:
    callee = start_sipp(programs, ports, "callee_hangs_up", port=callees[HANGS_UP], hold_ms=500)
    call_id = gateway.place_call(HANGS_UP, "udp")
    callee.finish(15)
    record = gateway.over(call_id)
    assert record["ended_by"] == "callee"
    assert 0.2 < record["duration_s"] < 2


def test_a_busy_callee_is_recorded(gateway: Gateway, callees: dict[str, int], programs: Programs, ports: Ports) -> None:
    callee = start_sipp(programs, ports, "callee_busy", port=callees[BUSY])
    record = gateway.over(gateway.place_call(BUSY, "udp"))
    callee.finish(5)
    assert (record["sip_status"], record["ended_by"], record["answered_at"]) == (486, "trunk", None)


def test_a_number_of_nobody_is_recorded(gateway: Gateway) -> None:
    record = gateway.over(gateway.place_call(NOBODY, "tcp"))
    assert (record["sip_status"], record["ended_by"], record["answered_at"]) == (404, "trunk", None)


def test_registers_again_before_the_grant_is_over(start_kamailio: StartKamailio, start_gateway: StartGateway) -> None:
    granted_s = 8  # Kamailio counts whole seconds: less would be too exact
    carriers = {
        "udp": start_kamailio(max_expires=granted_s),
        "tcp": start_kamailio(max_expires=granted_s),
        "stale-nonces": start_kamailio(max_expires=granted_s, nonce_expire=1),
    }
    start_gateway(
        {name: registering(carrier.port, name[:3].replace("sta", "udp")) for name, carrier in carriers.items()}
    )

    def refreshed() -> bool:
        for name, carrier in carriers.items():
            assert carrier.contacts(USER), f"the registration over {name} ran out"
        return all(len(carrier.registrations(USER)) >= 2 for carrier in carriers.values())

    until(refreshed, 2 * granted_s, "a refresh at every registrar", 0.1)


def test_says_that_a_registrar_is_gone_and_recovers(start_kamailio: StartKamailio, start_gateway: StartGateway) -> None:
    carriers = {transport: start_kamailio(max_expires=5) for transport in ("udp", "tcp")}
    gateway = start_gateway({name: registering(carrier.port, name) for name, carrier in carriers.items()})
    for carrier in carriers.values():
        carrier.stop()

    def both_lost() -> bool:
        status, readiness = gateway.readiness()
        return status == 503 and all(f"trunk {name} " in str(readiness["reasons"]) for name in carriers)

    until(both_lost, 15, "both trunks to be lost with their granted time, long before Timer F over UDP")
    for carrier in carriers.values():
        carrier.start()
        assert carrier.contacts(USER) == []  # its memory is gone
    for transport, carrier in carriers.items():
        until(lambda carrier=carrier: carrier.contacts(USER), 30, f"the registration over {transport} to come back")
    gateway.wait_ready()


def test_refused_registrations_and_deregistration(start_kamailio: StartKamailio, start_gateway: StartGateway) -> None:
    patient, strict = start_kamailio(min_expires=900), start_kamailio()
    wrong = registering(strict.port) | {"password": "battery staple"}
    gateway = start_gateway({"patient": registering(patient.port, expires=60), "wrong": wrong}, ready=False)

    until(lambda: patient.contacts(USER), 15, "the registration that was first too brief")
    (contact,) = patient.contacts(USER)
    assert 890 <= contact["Expires"] <= 900

    until(lambda: "trunk wrong is failed" in str(gateway.readiness()[1].get("reasons")), 15, "the refusal to be said")
    assert gateway.readiness()[0] == 503
    assert len(strict.requests("REGISTER", USER)) == 2  # challenged once, refused once, no loop
    assert "battery" not in gateway.program.output()

    assert gateway.stop() == 0
    assert patient.contacts(USER) == []  # it took the binding back
