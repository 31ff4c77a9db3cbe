"""The gateway behind Kamailio: registration in all its moods, and calls both ways with Record-Route."""

import time
from collections.abc import Callable

import pytest
from support.gateway import DIALLED, USER, Gateway, registering
from support.kamailio import Kamailio
from support.peers import require
from support.ports import Ports
from support.processes import Programs
from support.sipp import start_sipp
from support.waiting import until

GRANTED_S = 4
"""A short registration, so that refreshes can be watched."""

StartKamailio = Callable[..., Kamailio]
StartGateway = Callable[..., Gateway]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_registers(start_kamailio: StartKamailio, start_gateway: StartGateway, transport: str) -> None:
    kamailio = start_kamailio()
    gateway = start_gateway({"carrier": registering(kamailio.port, transport)})
    assert kamailio.registrations(USER) == [transport]
    (contact,) = kamailio.contacts(USER)
    assert f"@127.0.0.1:{gateway.port}" in str(contact["Address"])
    assert ("transport=tcp" in str(contact["Address"]).lower()) == (transport == "tcp")
    assert 290 <= contact["Expires"] <= 300
    assert gateway.stop() == 0
    assert kamailio.contacts(USER) == []  # it took the binding back


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_registers_again_before_the_grant_is_over(
    start_kamailio: StartKamailio, start_gateway: StartGateway, transport: str
) -> None:
    kamailio = start_kamailio(max_expires=GRANTED_S)
    start_gateway({"carrier": registering(kamailio.port, transport)})

    def refreshed() -> bool:
        assert kamailio.contacts(USER), "the registration ran out"
        return len(kamailio.registrations(USER)) >= 3

    until(refreshed, 3 * GRANTED_S, "two refreshes", 0.1)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_survives_a_restart_of_the_registrar(
    start_kamailio: StartKamailio, start_gateway: StartGateway, transport: str
) -> None:
    kamailio = start_kamailio(max_expires=GRANTED_S)
    gateway = start_gateway({"carrier": registering(kamailio.port, transport)})
    kamailio.stop()
    kamailio.start()
    assert kamailio.contacts(USER) == []  # its memory is gone
    until(lambda: kamailio.contacts(USER), 15, "the gateway to register again")
    gateway.wait_ready()


def test_says_that_the_registrar_is_gone_and_recovers(
    start_kamailio: StartKamailio, start_gateway: StartGateway
) -> None:
    kamailio = start_kamailio(max_expires=GRANTED_S)
    gateway = start_gateway({"carrier": registering(kamailio.port, "tcp")})
    kamailio.stop()
    until(lambda: gateway.readiness()[0] == 503, 15, "the gateway not to be ready")
    assert "carrier" in str(gateway.readiness()[1]["reasons"])
    kamailio.start()
    gateway.wait_ready(30)
    assert kamailio.contacts(USER)


def test_asks_for_longer_after_423(start_kamailio: StartKamailio, start_gateway: StartGateway) -> None:
    kamailio = start_kamailio(min_expires=900)
    start_gateway({"carrier": registering(kamailio.port, expires=60)})
    (contact,) = kamailio.contacts(USER)
    assert 890 <= contact["Expires"] <= 900


def test_stale_nonces_do_not_interrupt_the_registration(
    start_kamailio: StartKamailio, start_gateway: StartGateway
) -> None:
    kamailio = start_kamailio(max_expires=GRANTED_S, nonce_expire=1)
    gateway = start_gateway({"carrier": registering(kamailio.port)})
    until(lambda: len(kamailio.registrations(USER)) >= 3, 3 * GRANTED_S, "two refreshes")
    assert gateway.readiness()[0] == 200


def test_a_wrong_password_is_said_and_not_tried_in_a_loop(
    start_kamailio: StartKamailio, start_gateway: StartGateway
) -> None:
    kamailio = start_kamailio()
    trunk = registering(kamailio.port) | {"password": "battery staple"}
    gateway = start_gateway({"carrier": trunk}, ready=False)
    until(lambda: "failed" in str(gateway.readiness()[1].get("parts")), 15, "the failed registration to be said")
    status, body = gateway.readiness()
    assert status == 503
    assert "carrier" in str(body["reasons"])
    assert len(kamailio.requests("REGISTER", USER)) == 2  # challenged once, refused once
    assert "battery" not in gateway.program.output()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_takes_calls_through_the_trunk(
    start_kamailio: StartKamailio, start_gateway: StartGateway, programs: Programs, ports: Ports, transport: str
) -> None:
    require("sipp", "raw sockets")
    kamailio = start_kamailio()
    gateway = start_gateway({"carrier": registering(kamailio.port, transport)})
    caller = start_sipp(programs, ports, "caller_short", f"127.0.0.1:{kamailio.port}", caller="15550199", hold_ms=500)
    caller.finish(15)
    (record,) = gateway.ended("15550199")
    assert (record["direction"], record["trunk"], record["to"]) == ("inbound", "carrier", DIALLED)
    assert (record["ended_by"], record["sip_status"], record["codec"]) == ("caller", 200, "PCMA")
    (answer,) = caller.received("SIP/2.0 200 OK\nVia")[:1]
    assert "Record-Route:" in answer.text


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_hangs_up_along_the_recorded_route(
    start_kamailio: StartKamailio, start_gateway: StartGateway, programs: Programs, ports: Ports, transport: str
) -> None:
    require("sipp", "raw sockets")
    kamailio = start_kamailio()
    gateway = start_gateway({"carrier": registering(kamailio.port, transport)})
    caller = start_sipp(programs, ports, "caller_waits", f"127.0.0.1:{kamailio.port}", caller="15550198")
    gateway.hang_up(gateway.answered("15550198")["id"])
    caller.finish(10)
    (record,) = gateway.ended("15550198")
    assert record["ended_by"] == "operator"
    (bye,) = kamailio.requests("BYE", DIALLED)
    assert ";lr" in bye
    assert f"{transport}:127.0.0.1:" in bye


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_places_calls_through_the_trunk(
    start_kamailio: StartKamailio, start_gateway: StartGateway, programs: Programs, ports: Ports, transport: str
) -> None:
    require("sipp", "raw sockets")
    callee = start_sipp(programs, ports, "callee_waits")
    kamailio = start_kamailio(numbers={"15550150": f"sip:127.0.0.1:{callee.port}"})
    gateway = start_gateway({"carrier": registering(kamailio.port, transport)})
    call_id = gateway.place_call("15550150")
    until(lambda: gateway.call(call_id)["answered_at"], 10, "the callee to answer")
    until(lambda: callee.received("ACK"), 5, "the ACK to arrive")
    gateway.hang_up(call_id)
    callee.finish(10)
    record = gateway.over(call_id)
    assert (record["direction"], record["to"], record["ended_by"]) == ("outbound", "15550150", "operator")
    assert (record["sip_status"], record["codec"]) == (200, "PCMA")
    assert len(kamailio.requests("INVITE", USER)) == 2  # the first was challenged
    assert ";lr" in kamailio.requests("BYE", USER)[0]


def test_the_callee_hangs_up(
    start_kamailio: StartKamailio, start_gateway: StartGateway, programs: Programs, ports: Ports
) -> None:
    require("sipp", "raw sockets")
    callee = start_sipp(programs, ports, "callee_hangs_up", hold_ms=500)
    kamailio = start_kamailio(numbers={"15550151": f"sip:127.0.0.1:{callee.port}"})
    gateway = start_gateway({"carrier": registering(kamailio.port)})
    call_id = gateway.place_call("15550151")
    callee.finish(15)
    record = gateway.over(call_id)
    assert record["ended_by"] == "callee"
    assert record["duration_s"] == pytest.approx(0.5, abs=0.4)


def test_a_busy_callee_is_recorded(
    start_kamailio: StartKamailio, start_gateway: StartGateway, programs: Programs, ports: Ports
) -> None:
    require("sipp")
    callee = start_sipp(programs, ports, "callee_busy")
    kamailio = start_kamailio(numbers={"15550152": f"sip:127.0.0.1:{callee.port}"})
    gateway = start_gateway({"carrier": registering(kamailio.port)})
    record = gateway.over(gateway.place_call("15550152"))
    callee.finish(5)
    assert (record["sip_status"], record["ended_by"], record["answered_at"]) == (486, "trunk", None)


def test_a_number_of_nobody_is_recorded(start_kamailio: StartKamailio, start_gateway: StartGateway) -> None:
    kamailio = start_kamailio()
    gateway = start_gateway({"carrier": registering(kamailio.port)})
    started = time.monotonic()
    record = gateway.over(gateway.place_call("15559999"))
    assert (record["sip_status"], record["answered_at"]) == (404, None)
    assert time.monotonic() - started < 8
