"""The table and what it is held against."""

from rich.console import Console
from rich.table import Table

from .analysis import Result, Spread

Target = tuple[str, bool, str]


def targets(result: Result) -> list[Target]:
    """What, whether it is met, and the measured figure beside the wanted one."""
    lost = result.sent_lost + result.caller_frames_lost + result.agent_frames_lost
    share = result.worker_percent_per_call
    memory = result.worker_mb_per_call + result.switch_mb_per_call
    rate = result.packets_per_s_per_call
    checks: list[Target] = [
        ("every call answered", result.answered == result.calls, f"{result.answered} of {result.calls}"),
        ("no frame lost", lost == 0, f"{lost} lost"),
        ("in step with the clock", abs(rate - 50) < 0.05, f"{rate:.2f} packets/s a call, wanted 50"),
        ("worker ≤ 0.25 % of a core a call", share <= 0.25, f"{share:.3f} %"),
        ("memory ≤ 1 MB a call", memory <= 1, f"{memory:.2f} MB"),
    ]
    for name, spread, figure, limit in (
        ("gap", result.gap_ms, "p99", 25.0),
        ("added latency up", result.up_ms, "p50", 1.0),
        ("added latency up", result.up_ms, "p99", 5.0),
        ("added latency down", result.down_ms, "p50", 12.0),
        ("added latency down", result.down_ms, "p99", 25.0),
    ):
        value = getattr(spread, figure)
        met = value is not None and value <= limit
        checks.append((f"{name} {figure} ≤ {limit:g} ms", met, "nothing measured" if value is None else f"{value} ms"))
    return checks


def _ms(spread: Spread, *figures: str) -> str:
    values = [getattr(spread, figure) for figure in figures]
    return " / ".join("–" if value is None else f"{value:.1f}" for value in values)


def _exact(spread: Spread) -> str:
    return " / ".join("–" if value is None else f"{value:.2f}" for value in (spread.p50, spread.p99))


def show(console: Console, results: list[Result]) -> None:
    """One column for each number of calls."""
    table = Table(title="G.711 both ways, the agent talking")
    table.add_column("calls")
    rows: list[tuple[str, list[str]]] = [
        ("worker, % of a core a call", [f"{r.worker_percent_per_call:.3f}" for r in results]),
        ("switch, % of a core a call", [f"{r.switch_percent_per_call:.3f}" for r in results]),
        ("bare UDP echo, the same", [f"{r.floor_percent_per_call:.3f}" for r in results]),
        ("worker, % of its core", [f"{r.worker_percent:.1f}" for r in results]),
        ("MB a call, worker + switch", [f"{r.worker_mb_per_call:.2f} + {r.switch_mb_per_call:.2f}" for r in results]),
        ("gap p50, ms", [_ms(r.gap_ms, "p50") for r in results]),
        ("gap p99 / max, ms", [_ms(r.gap_ms, "p99", "max") for r in results]),
        ("packets a second a call", [f"{r.packets_per_s_per_call:.2f}" for r in results]),
        ("our packets lost", [str(r.sent_lost) for r in results]),
        ("caller's frames lost", [str(r.caller_frames_lost) for r in results]),
        ("agent's frames lost", [str(r.agent_frames_lost) for r in results]),
        ("replies with a break", [str(r.replies_broken) for r in results]),
        ("latency up p50 / p99, ms", [_exact(r.up_ms) for r in results]),
        ("latency down p50 / p99, ms", [_exact(r.down_ms) for r in results]),
        ("echo, there and back, ms", [_exact(r.floor_ms) for r in results]),
        ("set-up p50 / p95, ms", [f"{r.setup_p50_ms} / {r.setup_p95_ms}" for r in results]),
        ("generator late p99, ms", [_ms(r.late_ms, "p99") for r in results]),
        ("callers + agent, % of a core", [f"{r.callers_percent} + {r.agent_percent}" for r in results]),
    ]
    for index, result in enumerate(results):
        widest = max(len(cells[index]) for _, cells in rows)
        table.add_column(str(result.calls), justify="right", no_wrap=True, min_width=widest)
    for name, cells in rows:
        table.add_row(name, *cells)
    console.print(table)
    for result in results:
        for note in result.notes:
            console.print(f"[yellow]{result.calls} calls: {note}")
    for name, met, figure in targets(results[-1]):
        console.print(f"{'[green]✓' if met else '[red]✗'}[/] {results[-1].calls} calls: {name}: {figure}")
