"""What watches the switch: one that fails stands in nobody's way."""

from inspect import getmembers, isfunction

from structlog.testing import capture_logs

from trunkline.gateway.observer import Observer, Observers
from trunkline.sip.flow import Address, Flow


class Broken(Observer):
    def __getattribute__(self, name):
        if name.startswith("on_"):
            raise KeyError(name)
        return super().__getattribute__(name)


class Listener(Observer):
    def __init__(self):
        self.heard = []

    def on_sip(self, received, flow, local, data):
        self.heard.append((received, flow, local, data))


async def test_a_fault_reaches_neither_the_others_nor_whoever_tells():
    listener = Listener()
    flow, local = Flow("udp", "192.0.2.1", 5060), Address("192.0.2.2", 5060)
    with capture_logs() as logs:
        Observers([Broken(), listener]).on_sip(True, flow, local, b"data")
    assert listener.heard == [(True, flow, local, b"data")]
    assert [(line["event"], line["observer"], line["told"]) for line in logs] == [
        ("observer failed", "Broken", "on_sip")
    ]


async def test_faults_do_not_fill_the_log():
    told = Observers([Broken()])
    with capture_logs() as logs:
        for _ in range(100):
            told.on_loop_lag(0.0)
    assert 0 < len(logs) < 10


def test_everything_that_can_be_heard_is_passed_on():
    names = {name for name, _ in getmembers(Observer, isfunction) if name.startswith("on_")}
    assert names == {name for name in vars(Observers) if name.startswith("on_")}
