"""A PJSIP phone at the same Kamailio: it calls the gateway and is called by it, and either side hangs up."""

import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.gateway import DIALLED, Gateway, registering
from support.kamailio import Kamailio
from support.pjsua import PjsuaPhone
from support.ports import Ports
from support.processes import Programs
from support.waiting import until

NUMBER = "15550301"
ALICE = "alice"


def loudest(path: Path) -> int:
    """The largest sample of a mono WAV."""
    with wave.open(str(path)) as file:
        samples = memoryview(file.readframes(file.getnframes())).cast("h")
    return max((abs(sample) for sample in samples), default=0)


@pytest.fixture(scope="module")
def kamailio(start_module_kamailio: Callable[..., Kamailio]) -> Kamailio:
    return start_module_kamailio(credentials={ALICE: "wonderland"}, numbers={NUMBER: ALICE})


@pytest.fixture(scope="module")
def gateway(
    module_programs: Programs, ports: Ports, agents: dict[str, dict[str, Any]], kamailio: Kamailio
) -> Iterator[Gateway]:
    gateway = Gateway(module_programs, ports, agents, {"carrier": registering(kamailio.port)}).start()
    yield gateway
    gateway.assert_no_traceback()


@pytest.fixture
def phone(kamailio: Kamailio, start_phone: Callable[..., PjsuaPhone]) -> PjsuaPhone:
    phone = start_phone(kamailio, ALICE, "wonderland")
    phone.registered()
    return phone


def has_talked(gateway: Gateway, call_id: str) -> bool:
    """True when the call's audio has flowed both ways for a while."""
    media = gateway.call(call_id)["media"]
    return media["received"]["packets"] > 100 and media["sent"]["packets"] > 100


def the_phone_calls(gateway: Gateway, kamailio: Kamailio, phone: PjsuaPhone) -> str:
    phone.call(f"sip:{DIALLED}@127.0.0.1:{kamailio.port}{';transport=tcp' if phone.tcp else ''}")
    phone.call_state("CONFIRMED")
    call_id = gateway.answered(ALICE)["id"]
    until(lambda: has_talked(gateway, call_id), 10, "audio both ways")
    return call_id


def the_phone_is_called(gateway: Gateway, phone: PjsuaPhone) -> str:
    call_id = gateway.place_call(NUMBER, "carrier")
    phone.call_state("CONFIRMED")
    until(lambda: has_talked(gateway, call_id), 10, "audio both ways")
    return call_id


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_the_phone_calls_and_hangs_up(
    gateway: Gateway, kamailio: Kamailio, start_phone: Callable[..., PjsuaPhone], tcp: bool
) -> None:
    phone = start_phone(kamailio, ALICE, "wonderland", tcp=tcp)
    phone.registered()
    call_id = the_phone_calls(gateway, kamailio, phone)
    phone.hang_up()
    record = gateway.over(call_id)
    assert (record["direction"], record["ended_by"], record["sip_status"]) == ("inbound", "caller", 200)
    assert record["media"]["received"]["lost"] == 0
    assert loudest(phone.recording) > 1000  # the agent's greeting


def test_the_phone_calls_and_the_gateway_hangs_up(gateway: Gateway, kamailio: Kamailio, phone: PjsuaPhone) -> None:
    call_id = the_phone_calls(gateway, kamailio, phone)
    gateway.hang_up(call_id)
    phone.call_state("DISCONNECTED")
    assert gateway.over(call_id)["ended_by"] == "operator"


def test_the_phone_is_called_and_hangs_up(gateway: Gateway, phone: PjsuaPhone) -> None:
    call_id = the_phone_is_called(gateway, phone)
    phone.hang_up()
    record = gateway.over(call_id)
    assert (record["direction"], record["ended_by"], record["sip_status"]) == ("outbound", "callee", 200)


def test_the_phone_is_called_and_the_gateway_hangs_up(gateway: Gateway, phone: PjsuaPhone) -> None:
    call_id = the_phone_is_called(gateway, phone)
    gateway.hang_up(call_id)
    phone.call_state("DISCONNECTED")
    assert gateway.over(call_id)["ended_by"] == "operator"
    assert loudest(phone.recording) > 1000


def test_the_phone_holds_resumes_and_dials(gateway: Gateway, kamailio: Kamailio, phone: PjsuaPhone) -> None:
    call_id = the_phone_calls(gateway, kamailio, phone)
    phone.hold()
    until(lambda: gateway.call(call_id)["live"]["state"] == "held", 5, "the gateway to be held")
    phone.resume()
    until(lambda: gateway.call(call_id)["live"]["state"] == "answered", 5, "the gateway to be taken back")
    packets = gateway.call(call_id)["media"]["received"]["packets"]
    until(lambda: gateway.call(call_id)["media"]["received"]["packets"] > packets + 50, 10, "audio after the hold")
    phone.dial("15#")
    until(lambda: gateway.call(call_id)["dtmf"] == ["1", "5", "#"], 10, "the three keys in the record")
    phone.hang_up()
    gateway.over(call_id)
