"""`python -m bench`: how much of a machine a call costs, and what the gateway adds to it in time."""

import argparse
import os
import sys
from dataclasses import asdict
from pathlib import Path

import msgspec
from rich.console import Console

from .agent import Task
from .analysis import Result, judge
from .report import show, targets
from .rig import Layout, RigError, measure_floor, measure_gateway

OUTPUT = Path(__file__).parent / "out"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--calls", default="10,100,300", help="numbers of calls, one measurement each (%(default)s)")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of the window (%(default)s)")
    parser.add_argument("--floor-seconds", type=float, default=8.0, help="the same for the bare echo (%(default)s)")
    parser.add_argument("--rate", type=float, default=20.0, help="calls begun each second (%(default)s)")
    parser.add_argument("--json", type=Path, default=OUTPUT / "bench.json", help="where the figures go (%(default)s)")
    return parser.parse_args()


def main() -> int:
    """The exit status is 0 when it could be measured, whatever came out."""
    arguments = _arguments()
    console = Console()
    OUTPUT.mkdir(exist_ok=True)
    results: list[Result] = []
    try:
        layout = Layout.of_this_machine()
        os.sched_setaffinity(0, layout.others)
        for calls in map(int, arguments.calls.split(",")):
            console.print(f"[dim]{calls} calls: the floor, then the gateway …")
            floor = measure_floor(layout, calls, arguments.floor_seconds, OUTPUT)
            run = measure_gateway(layout, calls, arguments.seconds, arguments.rate, OUTPUT)
            results.append(judge(run, floor, layout, Task("").reply_frames))
    except RigError as error:
        Console(stderr=True).print(f"[red]{error}")
        return 1
    finally:
        if results:
            show(console, results)
            body = [asdict(result) | {"targets": targets(result)} for result in results]
            arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(body)))
            console.print(f"[dim]all figures: {arguments.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
