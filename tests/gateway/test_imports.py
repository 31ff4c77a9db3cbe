"""The walls between the rooms, read from the source: who may import whom, and who may know the time."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = {"codecs", "rtp", "sip", "gateway"}
RIM = {"sip/transport.py", "sip/connection.py", "sip/resolver.py", "rtp/transport.py"}
"""Modules outside the gateway that own sockets and timers."""
IO_MODULES = {"asyncio", "socket", "selectors", "threading", "multiprocessing", "subprocess", "uvloop", "aiohttp"}
CLOCKS = {"time", "random", "secrets", "datetime"}
PURE_NAMES = {"random.Random"}
"""What a core may take from these modules: the type of the generator that is given to it."""
LAZY_LAB = {"gateway/cli.py"}
"""May import the lab inside a function."""


def sources(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path, tree: ast.AST) -> Iterator[tuple[str, ast.stmt]]:
    """Each imported module as a dotted name; those of this project start with `trunkline.`."""
    package = ["trunkline", *path.relative_to(ROOT).parent.parts]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module, node
            for alias in node.names:
                yield f"{module}.{alias.name}", node


def room_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "trunkline" and len(parts) > 1 and parts[1] in ROOMS else None


def parsed(rooms: set[str]) -> Iterator[tuple[Path, ast.Module]]:
    for room in sorted(rooms):
        for path in sources(room):
            yield path, ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_every_room_has_sources(room):
    assert sources(room)


@pytest.mark.parametrize("room", ["codecs", "rtp", "sip"])
def test_a_room_imports_no_other_room(room):
    wrong = [
        f"{name_of(path)}:{node.lineno} imports {module}"
        for path, tree in parsed({room})
        for module, node in imports(path, tree)
        if room_of(module) not in (None, room)
    ]
    assert wrong == []


def test_imports_inside_the_rooms_are_relative():
    wrong = [
        f"{name_of(path)}:{node.lineno}"
        for path, tree in parsed(ROOMS)
        for module, node in imports(path, tree)
        if module.split(".")[0] == "trunkline" and not getattr(node, "level", 0)
    ]
    assert wrong == []


def test_only_the_rim_and_the_gateway_touch_sockets_and_loops():
    wrong = [
        f"{name_of(path)}:{node.lineno} imports {module}"
        for path, tree in parsed(ROOMS - {"gateway"})
        if name_of(path) not in RIM
        for module, node in imports(path, tree)
        if module.split(".")[0] in IO_MODULES
    ]
    assert wrong == []


def test_the_cores_know_neither_the_time_nor_chance():
    wrong = [
        f"{name_of(path)}:{node.lineno} uses {called}"
        for path, tree in parsed(ROOMS - {"gateway"})
        if name_of(path) not in RIM
        for called, node in clock_uses(path, tree)
    ]
    assert wrong == []


def clock_uses(path: Path, tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """`time.monotonic`, `from random import random` and the like, whatever they are called there."""
    modules: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.asname or alias.name: alias.name for alias in node.names if alias.name in CLOCKS}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module in CLOCKS:
            for alias in node.names:
                if f"{node.module}.{alias.name}" not in PURE_NAMES:
                    yield f"{node.module}.{alias.name}", node
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            used = f"{modules[node.value.id]}.{node.attr}"
            if used not in PURE_NAMES:
                yield used, node


def test_the_production_path_never_imports_the_lab():
    wrong = []
    for path, tree in parsed({"gateway"}):
        if path.is_relative_to(ROOT / "gateway" / "lab"):
            continue
        lazy = {node for function in functions(tree) for node in ast.walk(function)}
        for module, node in imports(path, tree):
            is_lab = module.startswith("trunkline.gateway.lab")
            if is_lab and not (name_of(path) in LAZY_LAB and node in lazy):
                wrong.append(f"{name_of(path)}:{node.lineno} imports {module}")
    assert wrong == []


def functions(tree: ast.Module) -> list[ast.AST]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_nobody_prints():
    wrong = [
        f"{name_of(path)}:{node.lineno}"
        for path, tree in parsed(ROOMS)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import time\ntime.monotonic()", ["time.monotonic"]),
        ("import random as r\nr.random()", ["random.random"]),
        ("from time import monotonic", ["time.monotonic"]),
        ("import random\ndef f(generator: random.Random): ...", []),
        ("from random import Random", []),
    ],
)
def test_the_check_for_clocks_itself(source, found):
    assert [used for used, _ in clock_uses(ROOT / "sip" / "x.py", ast.parse(source))] == found


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("from ..rtp.ring import FrameRing", "trunkline.rtp.ring"),
        ("from .. import rtp", "trunkline.rtp"),
        ("from . import uri", "trunkline.sip.uri"),
        ("import trunkline.gateway", "trunkline.gateway"),
    ],
)
def test_the_reader_of_imports_itself(source, module):
    assert module in [name for name, _ in imports(ROOT / "sip" / "x.py", ast.parse(source))]
