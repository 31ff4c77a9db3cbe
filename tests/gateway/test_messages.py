"""Messages between switch and worker survive any cut of the stream."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.gateway.messages import (
    Answered,
    CloseLeg,
    CodecSpec,
    Configure,
    HangUp,
    LegStatus,
    MediaParameters,
    OpenLeg,
    SetMedia,
    encode,
    fact_framer,
    order_framer,
)
from trunkline.gateway.record import MediaReport, Turn

PCMU = CodecSpec("PCMU")
ORDERS = [
    Configure({"a": {"provider": "openai", "tools": [1, None]}}, "127.0.0.1", 20000, 20099, "rec"),
    OpenLeg("id", "a", "inbound", None, "15550100", PCMU),
    SetMedia("id", MediaParameters(PCMU, "192.0.2.1", 4000, 4001, event_send_type=101)),
    Answered("id"),
    CloseLeg("id"),
]


@given(st.lists(st.integers(min_value=1, max_value=40), min_size=1, max_size=30))
def test_orders_survive_any_cut(cuts: list[int]) -> None:
    stream = b"".join(encode(order) for order in ORDERS)
    framer = order_framer()
    got: list[Any] = []
    position = 0
    for index in range(len(stream)):
        size = cuts[index % len(cuts)]
        if position >= len(stream):
            break
        got += framer.feed(stream[position : position + size])
        position += size
    assert got == ORDERS


def test_facts_round_trip() -> None:
    report = MediaReport(codec="PCMU", turns=[Turn(0, agent_said="hello", heard_ms=12.5)])
    facts = [HangUp("id", "agent", "hang_up"), LegStatus("id", "agent", None, -20.0, 40.0, report)]
    assert fact_framer().feed(b"".join(encode(fact) for fact in facts)) == facts


def test_foreign_octets_are_an_error() -> None:
    with pytest.raises(msgspec.DecodeError):
        order_framer().feed(b"\x00\x00\x00\x02hi")
