"""Waiting for something to become true, with a deadline and without a blind sleep before an assert."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(condition: Callable[[], T], timeout_s: float, what: str, every_s: float = 0.02) -> T:
    """The first true value of `condition`; AssertionError naming `what` when `timeout_s` is over."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"after {timeout_s:g} s still not: {what} (last seen: {value!r})")
        time.sleep(every_s)
