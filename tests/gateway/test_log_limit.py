"""A flood writes a handful of lines and one that counts the rest."""

import pytest
from structlog.testing import capture_logs

from trunkline.gateway.log_limit import BURST, OTHERS, SOURCES, LogLimit


async def test_the_first_lines_of_a_source_pass_and_the_rest_is_counted() -> None:
    limit = LogLimit()
    assert [limit.allows("malformed message", "192.0.2.1") for _ in range(1000)].count(True) == BURST
    assert limit.allows("malformed message", "192.0.2.2"), "another source is held up"
    assert limit.allows("request refused", "192.0.2.1"), "another kind is held up"
    with capture_logs() as lines:
        limit.flush()
    assert [(line["of"], line["source"], line["count"]) for line in lines] == [
        ("malformed message", "192.0.2.1", 1000 - BURST)
    ]


async def test_a_new_window_lets_lines_pass_again(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = LogLimit()
    while limit.allows("malformed message", "192.0.2.1"):
        pass
    limit.flush()
    assert limit.allows("malformed message", "192.0.2.1")
    limit.flush()
    with capture_logs() as lines:
        limit.flush()
    assert lines == []


async def test_forged_sources_share_one_bucket() -> None:
    limit = LogLimit()
    passed = sum(limit.allows("request refused", f"198.51.100.{number}") for number in range(1000))
    assert passed == SOURCES + BURST
    with capture_logs() as lines:
        limit.flush()
    assert [(line["source"], line["count"]) for line in lines] == [(OTHERS, 1000 - SOURCES - BURST)]
