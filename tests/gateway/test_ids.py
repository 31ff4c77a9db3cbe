"""Identifiers of calls (RFC 9562)."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from trunkline.gateway.ids import CallIds, new_call_id

MS = 1_000_000


def ids_at(*times_ns: int) -> list[uuid.UUID]:
    clock = iter(times_ns)
    ids = CallIds(clock=lambda: next(clock), random_bits=lambda bits: (1 << bits) - 1)
    return [uuid.UUID(ids.new()) for _ in times_ns]


def test_the_layout_is_that_of_version_7():
    (value,) = ids_at(0x017F22E279B0 * MS)
    assert (value.version, value.variant) == (7, uuid.RFC_4122)
    assert value.int >> 80 == 0x017F22E279B0
    assert str(value) == "017f22e2-79b0-7000-bfff-ffffffffffff"


def test_the_fraction_of_the_millisecond_follows():
    (value,) = ids_at(5 * MS + MS // 2)
    assert value.int >> 64 & 0xFFF == 0x800


@given(st.lists(st.integers(min_value=0, max_value=2**47 * MS), min_size=2))
def test_they_rise_whatever_the_clock_does(times):
    ids = [str(value) for value in ids_at(*times)]
    assert ids == sorted(set(ids))


def test_two_in_a_row_differ_and_rise():
    some = [new_call_id() for _ in range(5000)]
    assert some == sorted(set(some))
