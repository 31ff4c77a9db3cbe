"""The worst lateness of each second."""

import pytest

from trunkline.gateway.loop_lag import EACH, INTERVAL, LoopLag


async def test_the_worst_of_each_second_is_reported():
    now = 50.0
    reports: list[float] = []
    lag = LoopLag(reports.append, lambda: now)
    lag.start()
    try:
        due = now + INTERVAL
        for late in [0.0] * (EACH - 2) + [0.03, 0.01]:
            lag.look(due + late)
        assert reports == [pytest.approx(0.03)]
        for _ in range(EACH):
            lag.look(due - 0.001)
        assert reports[1] == 0.0
    finally:
        lag.stop()
