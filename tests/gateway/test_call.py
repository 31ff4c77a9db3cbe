"""One call's story, told by a fake SIP session and a fake media worker."""

import asyncio
from typing import Any

import pytest

from trunkline.gateway.call import Call, OperatorHangUp, WorkerLost
from trunkline.gateway.config import Config
from trunkline.gateway.inbound import InboundCall
from trunkline.gateway.messages import (
    Answered,
    CallerKey,
    CloseLeg,
    HangUp,
    LegClosed,
    LegFailed,
    LegOpened,
    LegReady,
    LegStatus,
    MediaAlarm,
    OpenLeg,
    SetMedia,
)
from trunkline.gateway.outbound import OutboundCall
from trunkline.gateway.record import CallRecord, MediaReport, Turn
from trunkline.sip.errors import LocalError
from trunkline.sip.events import Answered as SipAnswered
from trunkline.sip.events import Confirmed, Ended, InfoReceived, Rejected, ReOffer, ReOfferWithdrawn

OFFER = (
    b"v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n"
    b"m=audio 4000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n"
)
CONFIG: dict[str, Any] = {
    "trunks": {"lab": {"peer": "sip:192.0.2.1", "username": "u", "codecs": ["PCMU", "PCMA"]}},
    "agents": {
        "desk": {"provider": "openai", "base_url": "ws://192.0.2.7/v1"},
        "spare": {"provider": "openai", "base_url": "ws://192.0.2.8/v1"},
    },
    "routes": [{"to": "100", "agent": "desk"}, {"to": "200", "agent": "desk", "fallback": "spare"}],
}


class FakeSession:
    """Notes what the call asks of SIP."""

    def __init__(self, offer: bytes | None = OFFER) -> None:
        self.call_id = "c1@far.example"
        self.remote_offer = offer
        self.said: list[Any] = []
        self.cancelled = False

    def ring(self, now: float) -> None:
        self.said.append("ring")

    def answer(self, sdp: bytes, now: float) -> bool:
        self.said.append("answer")
        return not self.cancelled

    def reject(self, status: int, now: float, *, headers: Any = (), warning: str | None = None) -> None:
        self.said.append(("reject", status, dict(headers)))
        self.warning = warning

    def bye(self, now: float, reason_header: str | None = None) -> None:
        self.said.append(("bye", reason_header))

    def hang_up(self, now: float, reason_header: str | None = None) -> None:
        self.said.append("hang_up")

    def accept_offer(self, sdp: bytes | None, now: float) -> None:
        self.said.append("accept_offer")

    def refuse_offer(self, status: int, now: float, reason: str | None = None) -> None:
        self.said.append(("refuse_offer", status))


class FakeTrunk:
    """A trunk that is simply there."""

    def __init__(self, config: Config) -> None:
        self.name = "lab"
        self.config = config.trunks["lab"]
        self.targets = ["somewhere"]
        self.reason = ""


class Lab:
    """The switch's part, and a worker that answers orders as told by `plan`; one leg a call, as the real one has it."""

    def __init__(self) -> None:
        self.config = Config(**CONFIG)
        self.name = "media-1"
        self.legs: set[str] = set()
        self.open = False
        self.orders: list[Any] = []
        self.records: list[CallRecord] = []
        self.forgotten: list[Call] = []
        self.call: Call | None = None
        self.plan: dict[str, list[Any]] = {"desk": [LegOpened("id", 20000), LegReady("id", 120.0)]}
        self.report = MediaReport(turns=[Turn(0, agent_said="hello")])
        self.worker_up = True
        self.session = FakeSession()

    # Services

    def open_leg(self, order: OpenLeg) -> Any:
        if not self.worker_up:
            return None
        self.legs.add(order.call_id)
        self.send(order)
        return self

    def media_host(self, session: Any, trunk: Any) -> str:
        return "198.51.100.1"

    def write_record(self, record: CallRecord) -> None:
        self.records.append(CallRecord(**{name: getattr(record, name) for name in record.__struct_fields__}))

    def forget(self, call: Call) -> None:
        self.forgotten.append(call)

    def invite(self, call: Call, number: str, sdp: bytes) -> Any:
        self.session.said.append("invite")
        return self.session

    # Worker

    def send(self, order: Any) -> None:
        self.orders.append(order)
        assert self.call is not None
        if isinstance(order, OpenLeg):
            assert not self.open, "leg is open already"
            self.open = True
            for fact in self.plan[order.agent]:
                self.call.deliver(fact)
        if isinstance(order, CloseLeg):
            self.open = False
            self.call.deliver(LegClosed("id", self.report))

    def inbound(self, number: str = "100", offer: bytes | None = OFFER) -> InboundCall:
        self.session = FakeSession(offer)
        route = next((route for route in self.config.routes if route.to == number), None)
        self.call = InboundCall("id", self.session, FakeTrunk(self.config), route, self, "200", number)  # pyright: ignore[reportArgumentType]
        return self.call

    def outbound(self) -> OutboundCall:
        self.call = OutboundCall("id", FakeTrunk(self.config), "desk", self, self, "300")  # pyright: ignore[reportArgumentType]
        return self.call

    def ordered(self, kind: type) -> list[Any]:
        return [order for order in self.orders if isinstance(order, kind)]


@pytest.fixture
def lab() -> Lab:
    return Lab()


async def lived(call: Call, *later: Any) -> CallRecord:
    """Run the call; deliver `later` once it is up."""
    task = asyncio.create_task(call.run())
    if later:
        await call.up.wait()
        for event in later:
            call.deliver(event)
    async with asyncio.timeout(2):
        await task
    return call.record


def ended(by: Any = "remote") -> Ended:
    return Ended(None, by, "bye")  # pyright: ignore[reportArgumentType]


async def test_inbound_rings_answers_when_ready_and_records(lab: Lab) -> None:
    record = await lived(lab.inbound(), ended())
    assert lab.session.said[:2] == ["ring", "answer"]
    assert [type(order) for order in lab.orders] == [OpenLeg, SetMedia, Answered, CloseLeg]
    assert (record.sip_status, record.ended_by, record.end_reason, record.codec) == (200, "caller", "bye", "PCMU")
    assert record.turns[0].agent_said == "hello"
    assert record.answered_at is not None
    assert record.duration_s is not None
    assert lab.forgotten == [lab.call]


async def test_a_record_exists_from_the_first_moment(lab: Lab) -> None:
    await lived(lab.inbound(), ended())
    assert lab.records[0].ended_at is None
    assert lab.records[-1].ended_at is not None


async def test_no_route_is_404(lab: Lab) -> None:
    record = await lived(lab.inbound("999"))
    assert lab.session.said == [("reject", 404, {})]
    assert (record.sip_status, record.end_reason) == (404, "no route for 999")
    assert not lab.orders


async def test_no_common_codec_is_488(lab: Lab) -> None:
    record = await lived(lab.inbound(offer=OFFER.replace(b"AVP 0 101", b"AVP 18 101")))
    assert lab.session.said == [("reject", 488, {})]
    assert record.sip_status == 488


async def test_refused_by_the_provider_is_503_and_never_answered(lab: Lab) -> None:
    lab.plan["desk"] = [LegOpened("id", 20000), LegFailed("id", 503, "refused the API key")]
    record = await lived(lab.inbound())
    assert "answer" not in lab.session.said
    assert lab.session.said[-1] == ("reject", 503, {})
    assert (record.ended_by, record.end_reason) == ("provider", "refused the API key")
    assert lab.ordered(CloseLeg)


async def test_the_fallback_agent_takes_over_before_the_answer(lab: Lab) -> None:
    lab.plan["desk"] = [LegOpened("id", 20000), LegFailed("id", 503, "unreachable")]
    lab.plan["spare"] = [LegOpened("id", 20002), LegReady("id", 80.0)]
    record = await lived(lab.inbound("200"), ended())
    assert [order.agent for order in lab.ordered(OpenLeg)] == ["desk", "spare"]
    assert (record.agent, record.sip_status) == ("spare", 200)
    assert [type(order) for order in lab.orders][:3] == [OpenLeg, CloseLeg, OpenLeg], "a call has one leg at a time"
    assert lab.legs == set()


async def test_the_fallback_agent_takes_over_from_one_that_cannot_be_opened(lab: Lab) -> None:
    lab.plan["desk"] = [LegFailed("id", 503, "agent 'desk': no such model")]
    lab.plan["spare"] = [LegOpened("id", 20002), LegReady("id", 80.0)]
    record = await lived(lab.inbound("200"), ended())
    assert (record.agent, record.sip_status) == ("spare", 200)


async def test_both_agents_refuse(lab: Lab) -> None:
    lab.plan["desk"] = [LegOpened("id", 20000), LegFailed("id", 503, "unreachable")]
    lab.plan["spare"] = [LegOpened("id", 20002), LegFailed("id", 503, "quota\nof sk-1234")]
    record = await lived(lab.inbound("200"))
    assert lab.session.said == ["ring", ("reject", 503, {})]
    assert lab.session.warning is None, "what the service says is not for the carrier"
    assert (record.agent, record.ended_by, record.end_reason) == ("spare", "provider", "quota\nof sk-1234")
    assert lab.legs == set()


async def test_a_cancel_between_two_agents_ends_the_call(lab: Lab) -> None:
    lab.plan["desk"] = [
        LegOpened("id", 20000),
        LegFailed("id", 503, "unreachable"),
        Ended(None, "remote", "cancelled", 487),  # pyright: ignore[reportArgumentType]
    ]
    record = await lived(lab.inbound("200"))
    assert (record.sip_status, record.end_reason) == (487, "cancelled")
    assert [type(order) for order in lab.orders] == [OpenLeg, CloseLeg]
    assert lab.legs == set()


async def test_all_ports_taken_is_503_with_retry_after(lab: Lab) -> None:
    lab.plan["desk"] = [LegFailed("id", 503, "no port", 5)]
    record = await lived(lab.inbound())
    assert lab.session.said[-1] == ("reject", 503, {"Retry-After": "5"})
    assert record.ended_by == "gateway"


async def test_no_worker_is_503(lab: Lab) -> None:
    lab.worker_up = False
    record = await lived(lab.inbound())
    assert lab.session.said[-1] == ("reject", 503, {"Retry-After": "5"})
    assert record.sip_status == 503


async def test_cancel_while_the_agent_gets_ready(lab: Lab) -> None:
    lab.plan["desk"] = [
        LegOpened("id", 20000),
        Ended(None, "remote", "cancelled", 487),  # pyright: ignore[reportArgumentType]
    ]
    record = await lived(lab.inbound())
    assert (record.sip_status, record.ended_by, record.end_reason) == (487, "caller", "cancelled")
    assert lab.ordered(CloseLeg)


async def test_delayed_offer_uses_the_answer_in_the_ack(lab: Lab) -> None:
    call = lab.inbound(offer=None)
    task = asyncio.create_task(call.run())
    while "answer" not in lab.session.said:
        await asyncio.sleep(0)
    assert not lab.ordered(SetMedia)
    call.deliver(Confirmed(None, OFFER))  # pyright: ignore[reportArgumentType]
    call.deliver(ended())
    await task
    assert lab.ordered(SetMedia)[0].parameters.remote_port == 4000


@pytest.mark.parametrize("answer", [None, b"", b"v=0", OFFER.replace(b"AVP 0 101", b"AVP 18")])
async def test_delayed_offer_with_no_use_in_the_ack_is_ended_with_bye(lab: Lab, answer: bytes | None) -> None:
    call = lab.inbound(offer=None)
    task = asyncio.create_task(call.run())
    while "answer" not in lab.session.said:
        await asyncio.sleep(0)
    call.deliver(Confirmed(None, answer))  # pyright: ignore[reportArgumentType]
    await task
    assert lab.session.said[-1][0] == "bye"
    assert (call.record.sip_status, call.record.answered_at, call.record.ended_by) == (200, None, "gateway")


@pytest.mark.parametrize("offer", [OFFER, None])
async def test_a_cancel_that_is_faster_than_the_answer(lab: Lab, offer: bytes | None) -> None:
    call = lab.inbound(offer=offer)
    lab.session.cancelled = True
    lab.plan["desk"].append(Ended(None, "remote", "cancelled", 487))  # pyright: ignore[reportArgumentType]
    record = await lived(call)
    assert "answer" in lab.session.said
    assert (record.sip_status, record.answered_at, record.end_reason) == (487, None, "cancelled")
    assert not lab.ordered(Answered)


async def test_a_request_for_our_offer_that_is_withdrawn_or_refused_leaves_the_next_offer_free(lab: Lab) -> None:
    empty = ReOffer(None, None)  # pyright: ignore[reportArgumentType]
    gone = ReOfferWithdrawn(None)  # pyright: ignore[reportArgumentType]
    hold = ReOffer(None, OFFER + b"a=sendonly\r\n")  # pyright: ignore[reportArgumentType]
    await lived(lab.inbound(), empty, gone, hold, ended())
    assert [order.parameters.direction for order in lab.ordered(SetMedia)] == ["sendrecv", "recvonly"]


async def test_a_call_that_cannot_be_settled_is_closed_all_the_same(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    call = lab.inbound("999")

    def broken(*arguments: Any, **more: Any) -> None:
        raise LocalError("200 is no refusal")

    monkeypatch.setattr(lab.session, "reject", broken)
    with pytest.raises(LocalError):
        await call.run()
    assert lab.forgotten == [call]
    assert lab.records[-1].ended_at is not None


async def test_hold_and_resume_reach_the_worker(lab: Lab) -> None:
    hold = ReOffer(None, OFFER + b"a=sendonly\r\n")  # pyright: ignore[reportArgumentType]
    resume = ReOffer(None, OFFER)  # pyright: ignore[reportArgumentType]
    await lived(lab.inbound(), hold, resume, ended())
    assert [order.parameters.direction for order in lab.ordered(SetMedia)] == ["sendrecv", "recvonly", "sendrecv"]
    assert lab.session.said.count("accept_offer") == 2


async def test_an_impossible_reoffer_is_488_and_the_call_goes_on(lab: Lab) -> None:
    bad = ReOffer(None, OFFER.replace(b"AVP 0 101", b"AVP 18"))  # pyright: ignore[reportArgumentType]
    record = await lived(lab.inbound(), bad, ended())
    assert ("refuse_offer", 488) in lab.session.said
    assert record.ended_by == "caller"


async def test_the_agent_hangs_up(lab: Lab) -> None:
    record = await lived(lab.inbound(), HangUp("id", "agent", "hang_up"))
    assert lab.session.said[-1] == ("bye", 'Q.850;cause=16;text="Normal call clearing"')
    assert (record.ended_by, record.end_reason) == ("agent", "hang_up")


async def test_a_lost_worker_ends_the_call_with_the_last_checkpoint(lab: Lab) -> None:
    checkpoint = LegStatus("id", "agent", None, None, 0.0, MediaReport(turns=[Turn(0, agent_said="checkpoint")]))
    call = lab.inbound()
    task = asyncio.create_task(call.run())
    await call.up.wait()
    call.deliver(checkpoint)
    lab.legs.clear()
    call.deliver(WorkerLost("killed by signal 9"))
    await task
    assert call.record.end_reason == "media worker lost: killed by signal 9"
    assert call.record.turns[0].agent_said == "checkpoint"
    assert lab.session.said[-1][0] == "bye"


async def test_the_operator_hangs_up(lab: Lab) -> None:
    record = await lived(lab.inbound(), OperatorHangUp("operator", "asked"))
    assert record.ended_by == "operator"
    assert lab.session.said[-1][0] == "bye"


async def test_alarms_stand_in_the_record(lab: Lab) -> None:
    record = await lived(lab.inbound(), MediaAlarm("id", "received", True, "nothing from 192.0.2.9:4000"), ended())
    assert [(alarm["direction"], alarm["dead"]) for alarm in record.alarms] == [("received", True)]


@pytest.mark.parametrize(
    ("content_type", "body", "digits"),
    [
        ("application/dtmf-relay", b"Signal=5\r\nDuration=160\r\n", ["5"]),
        ("application/dtmf", b"#", ["#"]),
        ("application/dtmf-relay", b"Signal=flash", []),
        ("application/json", b"5", []),
    ],
)
async def test_keys_by_info(lab: Lab, content_type: str, body: bytes, digits: list[str]) -> None:
    info = InfoReceived(None, content_type, body)  # pyright: ignore[reportArgumentType]
    await lived(lab.inbound(), info, ended())
    assert [order.digit for order in lab.ordered(CallerKey)] == digits


async def test_outbound_connects_when_both_are_ready(lab: Lab) -> None:
    call = lab.outbound()
    task = asyncio.create_task(call.run())
    while "invite" not in lab.session.said:
        await asyncio.sleep(0)
    call.deliver(SipAnswered(None, OFFER))  # pyright: ignore[reportArgumentType]
    await call.up.wait()
    call.deliver(ended())
    await task
    assert [type(order) for order in lab.orders] == [OpenLeg, SetMedia, Answered, CloseLeg]
    assert (call.record.direction, call.record.ended_by) == ("outbound", "callee")


async def test_outbound_busy_is_recorded_with_its_status(lab: Lab) -> None:
    call = lab.outbound()
    task = asyncio.create_task(call.run())
    while "invite" not in lab.session.said:
        await asyncio.sleep(0)
    call.deliver(Rejected(None, 486, "Busy Here"))  # pyright: ignore[reportArgumentType]
    await task
    assert (call.record.sip_status, call.record.ended_by, call.record.end_reason) == (486, "trunk", "486 Busy Here")


async def test_outbound_gives_up_ringing_when_the_provider_refuses(lab: Lab) -> None:
    lab.plan["desk"] = [LegOpened("id", 20000), LegFailed("id", 503, "unreachable")]
    record = await lived(lab.outbound())
    assert lab.session.said[-1] == "hang_up"
    assert (record.ended_by, record.answered_at) == ("provider", None)
