"""Sessions and attempts, on a clock of the test's own."""

import pytest

from trunkline.gateway.console.login import (
    ATTEMPT_EVERY_S,
    ATTEMPTS,
    IDLE_S,
    KEPT_S,
    PLACES,
    SESSIONS,
    Attempts,
    Browsers,
    Sessions,
    knows,
)


def test_a_session_is_found_by_its_secret_alone():
    sessions = Sessions()
    secret, session = sessions.open(0.0)
    other, _ = sessions.open(0.0)
    assert sessions.find(secret, 1.0) is session
    assert secret != other
    assert len(secret) >= 43
    assert sessions.find("", 1.0) is None
    assert sessions.find(secret[:-1], 1.0) is None
    assert secret not in repr(sessions.__dict__)


def test_a_session_that_is_not_used_ends():
    sessions = Sessions()
    secret, session = sessions.open(0.0)
    assert sessions.find(secret, IDLE_S - 1) is session
    assert sessions.find(secret, 2 * IDLE_S - 2) is session
    assert sessions.find(secret, 3 * IDLE_S) is None
    assert len(sessions) == 0


def test_a_session_ends_however_it_is_used():
    sessions = Sessions()
    secret, session = sessions.open(0.0)
    for now in range(0, int(KEPT_S) + 1, int(IDLE_S)):
        assert sessions.find(secret, float(now)) is session
    assert sessions.find(secret, KEPT_S + 1) is None


def test_a_session_that_was_closed_is_gone():
    sessions = Sessions()
    secret, _ = sessions.open(0.0)
    sessions.close(secret)
    sessions.close(secret)
    assert sessions.find(secret, 0.0) is None


def test_sessions_are_bounded_and_the_idlest_ends():
    sessions = Sessions()
    secrets = [sessions.open(float(number))[0] for number in range(SESSIONS)]
    sessions.find(secrets[0], 1000.0)
    sessions.open(1001.0)
    assert len(sessions) == SESSIONS
    assert sessions.find(secrets[0], 1002.0) is not None
    assert sessions.find(secrets[1], 1002.0) is None


def test_only_the_forms_of_a_session_are_its_own():
    _, session = Sessions().open(0.0)
    _, other = Sessions().open(0.0)
    assert session.owns(session.form_token)
    assert not session.owns(other.form_token)
    assert not session.owns("")
    assert not session.owns("\udcff")


def test_after_some_wrong_tokens_a_place_waits_and_others_do_not():
    attempts = Attempts(lambda size: bytes(size))
    for _ in range(ATTEMPTS):
        assert attempts.wait_s("192.0.2.1", 100.0) == 0
        attempts.failed("192.0.2.1", 100.0)
    assert attempts.wait_s("192.0.2.1", 100.0) == pytest.approx(ATTEMPT_EVERY_S)
    assert attempts.wait_s("192.0.2.7", 100.0) == 0
    assert attempts.wait_s("192.0.2.1", 100.0 + ATTEMPT_EVERY_S) == 0


def test_the_hosts_of_one_ipv6_network_are_one_place():
    attempts = Attempts()
    for host in range(ATTEMPTS):
        attempts.failed(f"2001:db8::{host:x}", 0.0)
    assert attempts.wait_s("2001:db8::ffff", 0.0) > 0


def test_attempts_take_the_same_memory_from_however_many_places():
    attempts = Attempts()
    for number in range(5000):
        attempts.failed(f"10.0.{number // 256}.{number % 256}", 0.0)
    assert len(attempts._spent) == len(attempts._since) == PLACES


def test_a_browser_is_known_by_what_this_token_gave_it_alone():
    browsers = Browsers("a token")
    mark, other = browsers.mark(), browsers.mark()
    assert mark != other
    assert browsers.known(mark) == mark.partition(".")[0]
    assert Browsers("another").known(mark) is None
    for wrong in ("", ".", "x", mark[:-1], "x." + mark.partition(".")[2], "\udcff.\udcff"):
        assert browsers.known(wrong) is None


def test_the_token_is_compared_whole():
    assert knows("a token", "a token")
    assert not knows("a toke", "a token")
    assert not knows("", "a token")
    assert not knows("\udcff", "a token")
