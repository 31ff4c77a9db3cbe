"""Retry-After, in both of its forms and in those that are neither."""

from datetime import UTC, datetime

import pytest

from trunkline.gateway.alerts.channels.http_post import RETRY_AFTER_MAX_S, retry_after

NOW = datetime(2026, 11, 21, 3, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("30", 30.0),
        ("0", 0.0),
        ("86400", RETRY_AFTER_MAX_S),
        ("9" * 5000, RETRY_AFTER_MAX_S),
        ("Sat, 21 Nov 2026 03:00:45 GMT", 45.0),
        ("Sat, 21 Nov 2026 02:00:00 GMT", 0.0),
        ("Sat, 21 Nov 2099 03:00:00 GMT", RETRY_AFTER_MAX_S),
        ("Sat, 21 Nov 99999 03:00:00 GMT", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("٣", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds
