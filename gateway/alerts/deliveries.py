"""Deliveries: one at a time for each channel, again with back-off when one fails."""

import msgspec

from .channels.base import Answer


class Tested(msgspec.Struct, kw_only=True, frozen=True):
    """What became of a test."""

    channel: str
    delivered: bool
    answer: Answer | None = None
    """What the person said, on a channel that hears them."""
    reason: str | None = None
    """Why it was not delivered."""
    took_ms: float
