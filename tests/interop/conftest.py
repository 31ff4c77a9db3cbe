"""Peers for the interop tests. A missing one skips the test, see support.peers."""

import functools
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.baresip import Baresip, start_baresip
from support.gateway import DIALLED, PASSWORD, SILENT, USER, Gateway, lab_agent, peered
from support.kamailio import Kamailio
from support.lab_agent import LabAgent, start_lab_agent
from support.peers import require
from support.pjsua import PjsuaPhone, start_pjsua
from support.ports import HOST, Ports
from support.processes import Programs
from support.speech import write_speech


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder starts foreign programs."""
    for item in items:
        if "interop" in item.path.parts:
            item.add_marker(pytest.mark.interop)


def kamailio_at(programs: Programs, ports: Ports, **options: Any) -> Kamailio:
    """Start a trunk that knows the gateway and its number, with further options."""
    credentials = {USER: PASSWORD, **options.pop("credentials", {})}
    numbers = {DIALLED: USER, **options.pop("numbers", {})}
    kamailio = Kamailio(programs, ports.take(), credentials, numbers, **options)
    kamailio.start()
    return kamailio


@pytest.fixture
def start_kamailio(programs: Programs, ports: Ports) -> Callable[..., Kamailio]:
    """Start a trunk for one test."""
    require("kamailio")
    return functools.partial(kamailio_at, programs, ports)


@pytest.fixture(scope="module")
def start_module_kamailio(module_programs: Programs, ports: Ports) -> Callable[..., Kamailio]:
    """Start a trunk for a module."""
    require("kamailio")
    return functools.partial(kamailio_at, module_programs, ports)


@pytest.fixture(scope="session")
def agent(session_programs: Programs, ports: Ports) -> LabAgent:
    """One speech service for all tests: each call is a session of its own."""
    return start_lab_agent(session_programs, ports)


@pytest.fixture(scope="session")
def agents(agent: LabAgent) -> Iterator[dict[str, dict[str, Any]]]:
    """`reception` greets; `silent` takes the connection and never says a word."""
    with socket.create_server((HOST, 0), backlog=64) as silent:
        yield {
            "reception": lab_agent(agent.url, greeting="Hello."),
            "silent": lab_agent(f"ws://{HOST}:{silent.getsockname()[1]}/v1"),
        }


@pytest.fixture(scope="session")
def direct(session_programs: Programs, ports: Ports, agents: dict[str, dict[str, Any]]) -> Iterator[Gateway]:
    """A gateway whose trunk does not register: whoever calls from loopback is the trunk."""
    routes = {SILENT: "silent"}
    gateway = Gateway(session_programs, ports, agents, {"carrier": peered()}, routes=routes, rtp_ports=300).start()
    yield gateway
    gateway.assert_no_traceback()
    assert gateway.stop() == 0


@pytest.fixture
def start_gateway(
    programs: Programs, ports: Ports, agents: dict[str, dict[str, Any]]
) -> Iterator[Callable[..., Gateway]]:
    """Start a gateway of its own for one test, with these trunks."""
    started: list[Gateway] = []

    def start(trunks: dict[str, dict[str, Any]], *, ready: bool = True) -> Gateway:
        started.append(Gateway(programs, ports, agents, trunks))
        return started[-1].start(ready=ready)

    yield start
    for gateway in started:
        gateway.assert_no_traceback()


@pytest.fixture
def start_phone(programs: Programs, ports: Ports) -> Callable[..., PjsuaPhone]:
    """Start a PJSIP phone at a Kamailio; it plays human speech."""
    require("pjsua2", "speech")

    def start(kamailio: Kamailio, user: str, password: str, **options: Any) -> PjsuaPhone:
        play = write_speech(programs.directory / f"{user}.wav")
        return start_pjsua(programs, ports, f"127.0.0.1:{kamailio.port}", user, password, play=play, **options)

    return start


@pytest.fixture
def baresip(programs: Programs, ports: Ports) -> Iterator[Callable[..., Baresip]]:
    """Start baresip with these codecs; it plays human speech."""
    require("baresip", "speech")
    started: list[Baresip] = []

    def start(codecs: str, **options: Any) -> Baresip:
        play = write_speech(programs.directory / f"baresip-{len(started)}.wav")
        phone = start_baresip(programs, ports, play=play, codecs=codecs, **options)
        started.append(phone)
        return phone

    yield start
    for phone in started:
        phone.close()
