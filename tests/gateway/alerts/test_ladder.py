"""The on-call ladder, with exact times: who is told, in which order, and when it stops."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from trunkline.gateway.alerts.alert import Alert
from trunkline.gateway.alerts.channels.base import Delivery
from trunkline.gateway.alerts.config import AlertsConfig
from trunkline.gateway.alerts.ladder import CALM_S, ROUND_PAUSE_S, Climb, Ladder

START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
"""A Monday."""
SIGNED = {"kind": "webhook", "url": "http://127.0.0.1:1/", "secrets": ["0123456789abcdef"]}
PHONE = {"kind": "telephone", "to": "15550100"}
CHANNELS = {"chat": SIGNED, "pager": SIGNED, "mail": SIGNED, "ada-phone": PHONE, "bo-phone": PHONE}
ADA = {"name": "Ada", "channels": ["pager", "ada-phone"]}
BO = {"name": "Bo", "channels": ["bo-phone"]}


def configured(*rungs: dict, notify: tuple[str, ...] = ("chat",)) -> AlertsConfig:
    return AlertsConfig.model_validate({"channels": CHANNELS, "notify": list(notify), "on_call": list(rungs)})


def alert(alert_id: str = "a1", severity: str = "page", subject: str = "trunk vonage", **fields) -> Alert:
    times = {"started_at": "2026-03-02T12:00:00.000Z", "updated_at": "2026-03-02T12:00:00.000Z"}
    return Alert(
        id=alert_id, rule="quality", subject=subject, severity=severity, summary="calls are bad", **(times | fields)
    )


class World:
    """A ladder, its clock, and what it had delivered: `told` is (action, channel, person)."""

    def __init__(self, config: AlertsConfig, at: datetime = START) -> None:
        self.config = config
        self.now, self.at = 1000.0, at
        self.count = 0
        self.ladder = Ladder(config, self._new_id)
        self.sent: list[Delivery] = []
        self.stored: dict[str, Climb] = {}
        self.alerts: dict[str, Alert] = {}

    def _new_id(self) -> str:
        self.count += 1
        return f"d{self.count:03}"

    def told(self, attempted: bool = True) -> list[tuple[str, str, str | None]]:
        """What is to be delivered since the last time; every channel gets to its first attempt."""
        deliveries = self.ladder.deliveries()
        for delivery in deliveries if attempted else ():
            self.ladder.sending(delivery, self.now, self.at)
        self.sent += deliveries
        # through its stored form, as a restart would see it
        for climb in self.ladder.changed():
            self.stored[climb.alert_id] = msgspec.json.decode(msgspec.json.encode(climb), type=Climb)
        return [(delivery.action, delivery.channel, delivery.person) for delivery in deliveries]

    def update(self, changed: Alert) -> list[tuple[str, str, str | None]]:
        self.alerts[changed.id] = changed
        self.ladder.update(changed, self.now, self.at)
        return self.told()

    def after(self, seconds: float) -> list[tuple[str, str, str | None]]:
        self.now += seconds
        self.at += timedelta(seconds=seconds)
        self.ladder.poll(self.now, self.at)
        return self.told()

    def refuse(self, channel: str, person: str | None) -> list[tuple[str, str, str | None]]:
        delivery = next(made for made in reversed(self.sent) if (made.channel, made.person) == (channel, person))
        self.ladder.refused(delivery, self.now, self.at)
        return self.told()

    def restart(self, down_s: float, config: AlertsConfig | None = None) -> None:
        """Another process, whose monotonic clock has nothing to do with this one's."""
        self.at += timedelta(seconds=down_s)
        self.now = 5.0
        self.ladder = Ladder(config or self.config, self._new_id)
        self.ladder.restore(list(self.stored.values()), self.alerts, self.now, self.at)


TO_CHAT = ("trigger", "chat", None)
TO_ADA = [("trigger", "pager", "Ada"), ("trigger", "ada-phone", "Ada")]
TO_BO = [("trigger", "bo-phone", "Bo")]


def test_a_page_tells_notify_and_the_first_person_and_climbs_after_the_time_out():
    world = World(configured(ADA, BO))
    assert world.update(alert()) == [TO_CHAT, *TO_ADA]
    assert world.after(119.9) == []
    assert world.after(0.1) == TO_BO
    assert world.after(1000 - 880.1) == []


def test_each_person_has_a_time_out_of_their_own():
    world = World(configured({**ADA, "ack_timeout_s": 30}, {**BO, "ack_timeout_s": 300}))
    world.update(alert())
    assert world.after(30) == TO_BO
    assert world.after(299) == []


def test_after_the_last_person_it_pauses_and_begins_again_from_the_first_until_somebody_owns_it():
    world = World(configured(ADA, BO))
    world.update(alert())
    world.after(120)
    for _ in range(3):
        assert world.after(120) == [], "the pause begins"
        assert world.after(ROUND_PAUSE_S - 0.1) == []
        assert world.after(0.1) == TO_ADA, "notify was told already"
        assert world.after(120) == TO_BO
    world.update(alert(state="acknowledged"))
    assert [world.after(3600) for _ in range(3)] == [[], [], []]


def test_an_acknowledgement_stops_the_climbing_and_every_channel_that_was_told_hears_of_it_once():
    world = World(configured(ADA, BO))
    world.update(alert())
    assert world.update(alert(state="acknowledged", acknowledged_by="Ada")) == [
        ("acknowledge", "chat", None),
        ("acknowledge", "pager", None),
        ("acknowledge", "ada-phone", None),
    ]
    assert world.update(alert(state="acknowledged", acknowledged_by="Ada")) == []
    assert world.after(3600) == []


def test_a_resolution_reaches_every_channel_that_was_told_and_ends_the_ladder():
    world = World(configured(ADA, BO))
    world.update(alert())
    world.after(120)
    assert [(action, channel) for action, channel, _ in world.update(alert(state="resolved"))] == [
        ("resolve", "chat"),
        ("resolve", "pager"),
        ("resolve", "ada-phone"),
        ("resolve", "bo-phone"),
    ]
    assert world.after(3600) == []


def test_who_was_never_tried_hears_of_no_resolution():
    world = World(configured(ADA))
    world.ladder.update(alert(), world.now, world.at)
    for delivery in world.ladder.deliveries():
        if delivery.channel == "pager":
            world.ladder.sending(delivery, world.now, world.at)
    assert world.update(alert(state="resolved")) == [("resolve", "pager", None)]


def test_a_ticket_goes_to_notify_only():
    world = World(configured(ADA, BO))
    assert world.update(alert(severity="ticket")) == [TO_CHAT]
    assert world.after(7200) == []


def test_a_ticket_without_notify_goes_to_the_first_person_but_rings_nobody():
    world = World(configured(ADA, BO, notify=()))
    assert world.update(alert(severity="ticket")) == [("trigger", "pager", None)]


def test_a_ticket_that_becomes_a_page_begins_the_ladder_at_once():
    world = World(configured(ADA, BO))
    world.update(alert(severity="ticket"))
    assert world.after(10) == []
    assert world.update(alert(severity="page")) == [TO_CHAT, *TO_ADA]
    assert world.after(120) == TO_BO


def test_without_anybody_on_call_only_notify_is_told():
    world = World(configured())
    assert world.update(alert()) == [TO_CHAT]
    assert world.after(7200) == []
    assert world.update(alert(state="resolved")) == [("resolve", "chat", None)]


def test_refused_for_good_on_all_channels_of_a_person_climbs_at_once_and_on_some_does_not():
    world = World(configured(ADA, BO))
    world.update(alert())
    assert world.refuse("pager", "Ada") == []
    assert world.refuse("pager", "Ada") == []
    assert world.refuse("chat", None) == [], "nobody waits for notify"
    assert world.refuse("ada-phone", "Ada") == TO_BO
    assert world.refuse("ada-phone", "Ada") == [], "Ada has been passed already"


def test_all_refuse_for_good_the_ladder_pauses_and_begins_again():
    world = World(configured(BO, notify=()))
    world.update(alert())
    assert world.refuse("bo-phone", "Bo") == []
    assert world.after(ROUND_PAUSE_S) == TO_BO


def test_next_passes_the_alert_on_and_a_late_one_passes_nobody():
    world = World(configured(ADA, BO))
    world.update(alert())
    world.ladder.pass_on("a1", "Ada", world.now, world.at)
    assert world.told() == TO_BO
    world.ladder.pass_on("a1", "Ada", world.now, world.at)
    assert world.told() == []
    world.ladder.pass_on("a1", None, world.now, world.at)
    world.ladder.pass_on("unknown", "Bo", world.now, world.at)
    assert world.told() == []


def test_people_outside_their_hours_are_passed_over():
    weekend = {**ADA, "hours": ["Sat,Sun"]}
    world = World(configured(weekend, BO))
    assert world.update(alert()) == [TO_CHAT, *TO_BO]
    assert world.after(120) == []
    assert world.after(ROUND_PAUSE_S) == TO_BO


def test_nobody_on_duty_means_everybody_is():
    rungs = [{**ADA, "hours": ["Sat,Sun"]}, {**BO, "hours": ["Tue 08:00-09:00"]}]
    world = World(configured(*rungs))
    assert world.update(alert()) == [TO_CHAT, *TO_ADA]
    assert world.after(120) == TO_BO


def test_duty_is_looked_at_when_the_turn_comes():
    world = World(configured({**ADA, "ack_timeout_s": 600}, {**BO, "hours": ["Mon 12:10-12:20"]}))
    world.update(alert())
    assert world.after(599) == []
    assert world.after(1) == TO_BO


@pytest.mark.parametrize(
    ("at", "on_duty"),
    [
        # Berlin changes to summer time on 2026-03-29 at 01:00 UTC: 08:00 there is 07:00 UTC before, 06:00 UTC after
        ("2026-03-28T06:59:00+00:00", False),
        ("2026-03-28T07:00:00+00:00", True),
        ("2026-03-29T05:59:00+00:00", False),
        ("2026-03-29T06:00:00+00:00", True),
        # and back on 2026-10-25
        ("2026-10-25T06:30:00+00:00", False),
        ("2026-10-25T07:00:00+00:00", True),
    ],
)
def test_duty_follows_the_summer_time_of_the_person(at, on_duty):
    berlin = {**ADA, "hours": ["08:00-18:00"], "timezone": "Europe/Berlin"}
    world = World(configured(berlin, BO, notify=()), datetime.fromisoformat(at))
    assert world.update(alert()) == (TO_ADA if on_duty else TO_BO)


@pytest.mark.parametrize(
    ("at", "on_duty"),
    [
        ("2026-03-06T21:30:00+00:00", True),  # Friday 22:30 in Berlin
        ("2026-03-07T04:59:00+00:00", True),  # Saturday 05:59
        ("2026-03-07T05:00:00+00:00", False),
        ("2026-03-06T20:59:00+00:00", False),
    ],
)
def test_a_night_duty_in_another_time_zone(at, on_duty):
    night = {**ADA, "hours": ["Fri 22:00-06:00"], "timezone": "Europe/Berlin"}
    world = World(configured(night, BO, notify=()), datetime.fromisoformat(at))
    assert world.update(alert()) == (TO_ADA if on_duty else TO_BO)


def test_a_clock_that_steps_delays_no_climbing():
    world = World(configured(ADA, BO))
    world.update(alert())
    world.at -= timedelta(days=1)
    assert world.after(120) == TO_BO


def test_trouble_that_flaps_pages_again_only_after_the_calm_time_and_only_if_it_still_is():
    world = World(configured(ADA))
    world.update(alert("a1"))
    world.update(alert("a1", state="resolved"))
    world.after(60)
    assert world.update(alert("a2")) == []
    world.after(60)
    assert world.update(alert("a2", state="resolved")) == [], "nobody was told of it"
    assert world.update(alert("a3")) == []
    assert world.after(CALM_S - 120 - 0.1) == []
    assert world.after(0.1) == [TO_CHAT, *TO_ADA]


def test_the_same_rule_about_another_trunk_is_not_kept_calm():
    world = World(configured(ADA))
    world.update(alert("a1"))
    world.update(alert("a1", state="resolved"))
    assert world.update(alert("a2", subject="trunk other")) == [TO_CHAT, *TO_ADA]


def test_a_ticket_before_it_does_not_keep_a_page_calm():
    world = World(configured(ADA))
    world.update(alert("a1", severity="ticket"))
    world.update(alert("a1", severity="ticket", state="resolved"))
    assert world.update(alert("a2")) == [TO_CHAT, *TO_ADA]


def test_what_is_over_and_calm_is_forgotten():
    world = World(configured(ADA))
    world.update(alert())
    world.update(alert(state="resolved"))
    world.after(CALM_S)
    assert world.stored["a1"].phase == "forgotten"
    assert world.ladder.climb("a1") is None
    assert world.update(alert("a2")) == [TO_CHAT, *TO_ADA]


def test_a_restart_goes_on_where_it_stood():
    world = World(configured(ADA, BO))
    world.update(alert())
    world.after(50)
    world.restart(down_s=30)
    assert world.told() == []
    assert world.after(39) == []
    assert world.after(1) == TO_BO
    world.restart(down_s=600)
    assert world.after(0) == [], "the pause"
    assert world.after(ROUND_PAUSE_S) == TO_ADA


def test_a_restart_remembers_who_was_told():
    world = World(configured(ADA))
    world.update(alert())
    world.restart(down_s=5)
    assert [channel for _, channel, _ in world.update(alert(state="resolved"))] == ["chat", "pager", "ada-phone"]


def test_a_restart_keeps_flapping_trouble_calm():
    world = World(configured(ADA))
    world.update(alert("a1"))
    world.update(alert("a1", state="resolved"))
    world.restart(down_s=60)
    assert world.update(alert("a2")) == []
    assert world.after(CALM_S - 60) == [TO_CHAT, *TO_ADA]


def test_what_changed_while_the_ladder_was_not_stored_is_caught_up():
    world = World(configured(ADA, BO))
    world.update(alert())
    world.alerts["a1"] = alert(state="acknowledged")
    world.alerts["a2"] = alert("a2", subject="agent reception")
    world.restart(down_s=1)
    assert world.told() == [
        ("acknowledge", "chat", None),
        ("acknowledge", "pager", None),
        ("acknowledge", "ada-phone", None),
        TO_CHAT,
        *TO_ADA,
    ]


def test_a_clock_that_was_set_back_while_the_gateway_was_down_delays_a_climb_for_an_hour_at_most():
    world = World(configured(ADA, BO))
    world.update(alert())
    world.restart(down_s=-86400)
    assert world.after(3600) == TO_BO


def test_a_reload_in_the_middle_keeps_the_time_of_the_person_who_is_waited_for():
    world = World(configured(ADA, BO))
    world.update(alert())
    world.after(100)
    zoe = {"name": "Zoe", "channels": ["mail"]}
    world.ladder.use(configured(zoe, ADA, BO), world.now)
    assert world.after(0) == []
    assert world.after(20) == TO_BO, "Zoe is before Ada, whose turn it was"


def test_a_reload_that_takes_the_person_away_tells_the_one_in_their_place_at_once():
    world = World(configured(ADA, BO))
    world.update(alert())
    world.ladder.use(configured(BO), world.now)
    assert world.after(0) == TO_BO


def test_a_reload_that_takes_the_last_person_away_begins_with_the_first():
    world = World(configured(ADA, BO))
    world.update(alert())
    world.after(120)
    world.ladder.use(configured(ADA), world.now)
    assert world.after(0) == TO_ADA


def test_a_reload_that_names_the_first_person_begins_pages_that_had_none():
    world = World(configured())
    world.update(alert())
    world.ladder.use(configured(BO), world.now)
    assert world.after(0) == TO_BO


def test_eight_rungs_and_no_more():
    rungs = [{"name": f"P{index}", "channels": ["mail"], "ack_timeout_s": 10} for index in range(8)]
    world = World(configured(*rungs, notify=()))
    told = world.update(alert())
    for _ in range(7):
        told += world.after(10)
    assert [person for _, _, person in told] == [f"P{index}" for index in range(8)]
    with pytest.raises(ValueError, match="at most 8"):
        configured(*rungs, ADA)


def test_two_people_of_one_name_are_a_mistake():
    with pytest.raises(ValueError, match="two people are called 'Ada'"):
        configured(ADA, ADA)
