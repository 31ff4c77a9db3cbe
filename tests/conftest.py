"""Shared by all tests: ports, programs that a test starts, and their logs beside a failure."""

from collections.abc import Iterator

import pytest
from support.ports import Ports
from support.processes import Programs

_PROGRAMS = pytest.StashKey[list[Programs]]()


@pytest.fixture(scope="session")
def ports() -> Iterator[Ports]:
    """Ports that belong to this test run."""
    block = Ports()
    yield block
    block.close()


def _programs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    programs = Programs(tmp_path_factory.mktemp("programs"))
    running = request.session.stash.setdefault(_PROGRAMS, [])
    running.append(programs)
    yield programs
    programs.stop()
    running.remove(programs)


@pytest.fixture
def programs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """Programs of one test, stopped at its end."""
    yield from _programs(request, tmp_path_factory)


@pytest.fixture(scope="module")
def module_programs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """Programs that all tests of a module share."""
    yield from _programs(request, tmp_path_factory)


@pytest.fixture(scope="session")
def session_programs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """Programs that the whole run shares."""
    yield from _programs(request, tmp_path_factory)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Put the logs of the programs that run beside a failure's traceback."""
    report = yield
    if report.failed:
        for programs in item.session.stash.get(_PROGRAMS, []):
            if programs.started:
                report.sections.append(("programs", programs.report()))
    return report
