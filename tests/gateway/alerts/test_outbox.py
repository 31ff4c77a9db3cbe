"""What waits for one channel: order, back-off, and what is given up, with exact times."""

import random

import pytest

from trunkline.gateway.alerts.alert import Alert
from trunkline.gateway.alerts.channels.base import Action, Delivery, DeliveryError
from trunkline.gateway.alerts.outbox import EXPIRES_S, RETRY_AFTER_MOST_S, Outbox

AT = "2026-03-02T12:00:00.000Z"
DOWN = DeliveryError("no answer")
NEVER = DeliveryError("refused", permanent=True)


def delivery(
    name: str, alert_id: str = "a1", *, action: Action = "trigger", person: str | None = None, severity: str = "ticket"
) -> Delivery:
    alert = Alert(
        id=alert_id,
        rule="quality",
        subject="trunk vonage",
        severity=severity,
        summary="bad",
        started_at=AT,
        updated_at=AT,
    )
    return Delivery(id=name, alert=alert, action=action, channel="pager", person=person, created_at=AT)


class Even(random.Random):
    """Chance that favours nobody."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


@pytest.fixture
def box() -> Outbox:
    return Outbox(Even())


def fail(box: Outbox, now: float, error: DeliveryError = DOWN) -> str:
    assert box.take(now) is not None
    return box.failed(error, now)


def test_one_at_a_time_in_order(box):
    box.put(delivery("d1", "a1"), 0)
    box.put(delivery("d2", "a2"), 0)
    first = box.take(0)
    assert first is not None
    assert first.id == "d1"
    assert box.take(0) is None, "d1 is being made"
    assert len(box) == 2
    assert box.delivered() == "delivered"
    second = box.take(0)
    assert second is not None
    assert second.id == "d2"


def test_a_page_goes_before_tickets(box):
    box.put(delivery("d1", "a1"), 0)
    box.put(delivery("d2", "a2", severity="page"), 0)
    first = box.take(0)
    assert first is not None
    assert first.id == "d2"


def test_the_back_off_doubles_up_to_a_minute_and_ends_with_a_success(box):
    box.put(delivery("d1"), 0)
    now, pauses = 0.0, []
    for _ in range(8):
        assert fail(box, now) == "failed"
        due = box.next_time()
        assert due is not None
        assert box.take(due - 0.001) is None
        pauses.append(due - now)
        now = due
    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60]
    box.take(now)
    box.delivered()
    box.put(delivery("d2"), now)
    assert fail(box, now) == "failed"
    assert box.next_time() == now + 2


def test_chance_spreads_the_retries():
    pauses = set()
    for seed in range(20):
        box = Outbox(random.Random(seed))
        box.put(delivery("d1"), 0)
        fail(box, 0)
        pauses.add(box.next_time())
    assert len(pauses) == 20
    assert all(1.6 <= pause <= 2.4 for pause in pauses)


def test_a_channel_that_names_its_pause_gets_it_within_reason(box):
    box.put(delivery("d1"), 0)
    assert fail(box, 0, DeliveryError("slow down", retry_after_s=30)) == "failed"
    assert box.next_time() == 30
    assert fail(box, 30, DeliveryError("come back tomorrow", retry_after_s=86400)) == "failed"
    assert box.next_time() == 30 + RETRY_AFTER_MOST_S


def test_one_that_fails_does_not_hold_up_the_others(box):
    box.put(delivery("d1", "a1"), 0)
    box.put(delivery("d2", "a2"), 0)
    fail(box, 0)
    second = box.take(2)
    assert second is not None
    assert second.id == "d2"


def test_refused_for_good_is_not_tried_again_and_the_next_need_not_wait(box):
    box.put(delivery("d1", "a1"), 0)
    box.put(delivery("d2", "a2"), 0)
    assert fail(box, 0, NEVER) == "refused"
    second = box.take(0)
    assert second is not None
    assert second.id == "d2"
    assert len(box) == 1


def test_after_a_day_it_is_given_up_also_when_most_of_it_was_before_a_restart(box):
    box.put(delivery("d1"), 0, age_s=EXPIRES_S - 10)
    assert fail(box, 0) == "failed"
    assert fail(box, 10) == "expired"
    assert len(box) == 0


def test_a_clock_that_stepped_gives_nothing_up_at_once(box):
    box.put(delivery("d1"), 0, age_s=-1e9)
    assert fail(box, 0) == "failed"


def test_what_is_withdrawn_while_it_is_made_is_not_made_again(box):
    box.put(delivery("d1"), 0)
    box.take(0)
    assert box.withdraw("a1") == []
    assert box.withdrawn
    assert box.failed(DOWN, 0) == "withdrawn"
    assert (len(box), box.withdrawn) == (0, False)


def test_what_is_withdrawn_and_arrives_has_arrived(box):
    box.put(delivery("d1"), 0)
    box.take(0)
    box.withdraw("a1")
    assert box.delivered() == "delivered"
    box.put(delivery("d2"), 0)
    box.take(0)
    assert box.failed(DOWN, 0) == "failed", "another delivery was withdrawn"


def test_an_owned_alert_needs_nobody_woken_but_all_told(box):
    box.put(delivery("d1", person="Ada"), 0)
    box.put(delivery("d2"), 0)
    box.put(delivery("d3", "a2", person="Ada"), 0)
    assert [gone.id for gone in box.withdraw("a1", people_only=True)] == ["d1"]
    assert [gone.id for gone in box.withdraw("a1")] == ["d2"]
    assert len(box) == 1


def test_a_newer_delivery_replaces_the_one_that_waits(box):
    box.put(delivery("d1"), 0)
    fail(box, 0)
    replaced = box.put(delivery("d2", action="resolve"), 1)
    assert replaced is not None
    assert replaced.id == "d1"
    assert len(box) == 1


def test_an_acknowledgement_of_what_was_never_told_tells_it(box):
    box.put(delivery("d1"), 0)
    fail(box, 0)
    box.put(delivery("d2", action="acknowledge"), 1)
    made = box.take(2)
    assert made is not None
    assert (made.id, made.action) == ("d2", "trigger")


def test_what_is_not_to_be_tried_again_is_not(box):
    box.put(delivery("d1"), 0)
    box.take(0)
    assert box.failed(DOWN, 0, again=False) == "failed"
    assert len(box) == 0
