"""When is the send direction dead?"""

from trunkline.gateway.media.sending import SendWatch
from trunkline.rtp.events import FarEndReport

TO = ("192.0.2.7", 4000)


def report(highest: int) -> FarEndReport:
    return FarEndReport(fraction_lost=0.0, lost=0, jitter_ms=1.0, rtt_ms=None, highest_sequence=highest)


def test_a_healthy_stream_is_silent():
    watch = SendWatch()
    assert [watch.check(TO, 50 * n, 0, report(50 * n)) for n in range(1, 10)] == [None] * 9


def test_refused_packets_two_seconds_in_a_row_and_recovery():
    watch = SendWatch()
    assert watch.check(TO, 50, 0, None) is None
    assert watch.check(TO, 100, 49, None) is None
    dead, detail = watch.check(TO, 150, 98, None)
    assert dead
    assert detail == "49 of 50 packets to 192.0.2.7:4000 were refused (port unreachable)"
    assert watch.check(TO, 200, 147, None) is None
    assert watch.check(TO, 250, 147, None) == (False, "audio reaches 192.0.2.7:4000 again")


def test_one_bad_second_is_no_alarm():
    watch = SendWatch()
    watch.check(TO, 50, 50, None)
    assert watch.check(TO, 100, 50, None) is None


def test_no_address_to_send_to():
    watch = SendWatch()
    watch.check(None, 50, 0, None)
    dead, detail = watch.check(None, 100, 0, None)
    assert dead
    assert "no address" in detail


def test_reports_that_stand_still_mean_that_nothing_arrives():
    watch = SendWatch()
    watch.check(TO, 50, 0, report(48))
    assert watch.check(TO, 300, 0, report(48)) is None
    dead, detail = watch.check(TO, 350, 0, watch._report)
    assert dead
    assert detail == "the far end reports that none of 250 packets to 192.0.2.7:4000 arrived"
    assert watch.check(TO, 600, 0, report(590)) == (False, "audio reaches 192.0.2.7:4000 again")


def test_hold_forgets_what_was_missed():
    watch = SendWatch()
    watch.check(None, 50, 0, None)
    watch.pause()
    assert watch.check(None, 100, 0, None) is None
