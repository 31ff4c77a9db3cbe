"""Peers for the interop tests. A missing one skips the test, see support.peers."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.baresip import Baresip, start_baresip
from support.gateway import DIALLED, PASSWORD, USER, Gateway
from support.kamailio import Kamailio
from support.lab_agent import LabAgent, start_lab_agent
from support.peers import SPEECH, require
from support.pjsua import PjsuaPhone, start_pjsua
from support.ports import Ports
from support.processes import Programs


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder starts foreign programs."""
    for item in items:
        if "interop" in item.path.parts:
            item.add_marker(pytest.mark.interop)


@pytest.fixture
def start_kamailio(programs: Programs, ports: Ports) -> Callable[..., Kamailio]:
    """Start a trunk that knows the gateway and its number, with further options."""
    require("kamailio")

    def start(**options: Any) -> Kamailio:
        credentials = {USER: PASSWORD, **options.pop("credentials", {})}
        numbers = {DIALLED: USER, **options.pop("numbers", {})}
        kamailio = Kamailio(programs, ports.take(), credentials, numbers, **options)
        kamailio.start()
        return kamailio

    return start


@pytest.fixture(scope="session")
def agent(session_programs: Programs, ports: Ports) -> LabAgent:
    """One speech service for all tests: each call is a session of its own."""
    return start_lab_agent(session_programs, ports)


@pytest.fixture
def start_gateway(programs: Programs, ports: Ports, agent: LabAgent) -> Iterator[Callable[..., Gateway]]:
    """Start a gateway with these trunks; at the end none may have written a traceback."""
    started: list[Gateway] = []

    def start(trunks: dict[str, dict[str, Any]], *, ready: bool = True, **options: Any) -> Gateway:
        gateway = Gateway(programs, ports, options.pop("agent_url", agent.url), trunks, **options)
        started.append(gateway)
        return gateway.start(ready=ready)

    yield start
    for gateway in started:
        assert not gateway.tracebacks(), gateway.program.output()


@pytest.fixture
def start_phone(programs: Programs, ports: Ports) -> Callable[..., PjsuaPhone]:
    """Start a PJSIP phone at a Kamailio; it plays human speech."""
    require("pjsua2", "speech")

    def start(kamailio: Kamailio, user: str, password: str, **options: Any) -> PjsuaPhone:
        play = SPEECH / "demo-congrats.wav"
        return start_pjsua(programs, ports, f"127.0.0.1:{kamailio.port}", user, password, play=play, **options)

    return start


@pytest.fixture
def baresip(programs: Programs, ports: Ports) -> Iterator[Callable[..., Baresip]]:
    """Start baresip with these codecs; it plays human speech."""
    require("baresip", "speech")
    started: list[Baresip] = []

    def start(codecs: str, **options: Any) -> Baresip:
        phone = start_baresip(programs, ports, play=SPEECH / "demo-congrats.wav", codecs=codecs, **options)
        started.append(phone)
        return phone

    yield start
    for phone in started:
        phone.close()
