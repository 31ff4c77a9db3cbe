"""Offer and answer for the audio of a call, after RFC 3264 and the examples of RFC 4317."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.sip.errors import LocalError, NegotiationError, SipError
from trunkline.sip.offer_answer import OPUS, PCMA, PCMU, AudioNegotiation, Codec, parse_fmtp
from trunkline.sip.sdp import Direction, SessionDescription

OURS, THEIRS = "192.0.2.1", "198.51.100.9"


def ours(*codecs: Codec, **options) -> AudioNegotiation:
    return AudioNegotiation(codecs or (OPUS, PCMU, PCMA), OURS, 16384, session_id=77, **options)


def description(*sections: str, address: str = THEIRS, session: str = "") -> SessionDescription:
    """A peer's description; sections hold their lines separated by blanks-free `|`."""
    version = "IP6" if ":" in address else "IP4"
    lines = ["v=0", f"o=peer 1 1 IN {version} {address}", "s=-", f"c=IN {version} {address}", "t=0 0"]
    lines.extend(line for line in session.split("|") if line)
    lines.extend(line for section in sections for line in section.split("|"))
    return SessionDescription.parse("".join(f"{line}\r\n" for line in lines).encode())


def lines(session: SessionDescription) -> list[str]:
    """What a description says from its first media section on."""
    text = session.to_bytes().decode().split("\r\n")[:-1]
    return text[5:]


def over_the_wire(session: SessionDescription) -> SessionDescription:
    return SessionDescription.parse(session.to_bytes())


# --- offers


def test_the_offer_lists_our_codecs_in_order():
    assert ours().create_offer().to_bytes().decode().split("\r\n")[:-1] == [
        "v=0",
        "o=- 77 1 IN IP4 192.0.2.1",
        "s=-",
        "c=IN IP4 192.0.2.1",
        "t=0 0",
        "m=audio 16384 RTP/AVP 111 0 8 110 101",
        "a=rtpmap:111 opus/48000/2",
        "a=fmtp:111 useinbandfec=0;stereo=0;sprop-stereo=0",
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:110 telephone-event/48000",
        "a=fmtp:110 0-16",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-16",
        "a=ptime:20",
        "a=sendrecv",
        "a=rtcp-mux",
    ]


def test_the_offer_of_a_plain_g711_trunk():
    offer = ours(PCMA, events=False, rtcp_mux=False, ptime_ms=30).create_offer()
    assert lines(offer) == ["m=audio 16384 RTP/AVP 8", "a=rtpmap:8 PCMA/8000", "a=ptime:30", "a=sendrecv"]
    odd = ours(PCMA, events=False, rtcp_mux=False, rtcp_port=20000).create_offer()
    assert lines(odd)[-1] == "a=rtcp:20000"
    even = ours(PCMA, events=False, rtcp_mux=False, rtcp_port=16385).create_offer()
    assert lines(even)[-1] == "a=sendrecv"


def test_an_ipv6_offer_and_answer():
    side = AudioNegotiation((PCMU,), "2001:db8::1", 4000, session_id=1)
    answer, agreed = side.answer(description("m=audio 5000 RTP/AVP 0", address="2001:db8::2"))
    assert "c=IN IP6 2001:db8::1" in answer.to_bytes().decode()
    assert (agreed.remote_address, agreed.remote_port) == ("2001:db8::2", 5000)


def test_an_answer_to_our_offer_maps_payload_types_both_ways():
    side = ours()
    side.create_offer()
    assert side.pending
    agreed = side.accept_answer(
        description(
            "m=audio 5000 RTP/AVP 96 100|a=rtpmap:96 OPUS/48000/2|a=fmtp:96 stereo=1; useinbandfec=1"
            "|a=rtpmap:100 telephone-event/48000|a=ptime:40"
        )
    )
    assert not side.pending
    assert (agreed.codec, agreed.send_payload_type, agreed.receive_payload_type) == (OPUS, 96, 111)
    assert (agreed.event_send_payload_type, agreed.event_receive_payload_type, agreed.event_clock_hz) == (
        100,
        110,
        48000,
    )
    assert (agreed.remote_address, agreed.remote_port) == (THEIRS, 5000)
    assert (agreed.remote_rtcp_address, agreed.remote_rtcp_port, agreed.rtcp_mux) == (THEIRS, 5001, False)
    assert agreed.remote_fmtp == {"stereo": "1", "useinbandfec": "1"}
    assert (agreed.ptime_ms, agreed.direction) == (40, Direction.SENDRECV)
    assert side.agreed is agreed


def test_an_answer_with_several_codecs_sends_the_first_and_receives_all():
    side = ours()
    side.create_offer()
    agreed = side.accept_answer(
        description("m=audio 5000 RTP/AVP 101 8 0|a=rtpmap:101 telephone-event/8000|a=rtcp-mux")
    )
    assert agreed.codec == PCMA
    assert agreed.receive_formats == ((8, PCMA), (0, PCMU))
    assert (agreed.event_send_payload_type, agreed.event_receive_payload_type) == (101, 101)
    assert (agreed.rtcp_mux, agreed.remote_rtcp_port) == (True, 5000)


def test_an_answer_without_rtpmap_means_the_number_we_offered():
    side = ours()
    side.create_offer()
    agreed = side.accept_answer(description("m=audio 5000 RTP/AVP 111"))
    assert (agreed.codec, agreed.send_payload_type) == (OPUS, 111)


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        ((), "the answer has no audio section where the offer has one"),
        (("m=video 5000 RTP/AVP 0",), "the answer has no audio section where the offer has one"),
        (("m=audio 0 RTP/AVP 0",), "the audio stream is refused or switched off (port 0)"),
        (("m=audio 5000 RTP/SAVP 0",), "transport RTP/SAVP is not supported"),
        (("m=audio 5000 RTP/AVP 18",), "the answer names no codec that was offered: G729/8000"),
        (("m=audio 5000 RTP/AVP 97",), "the answer names no codec that was offered: nothing known"),
        (
            ("m=audio 5000 RTP/AVP 101|a=rtpmap:101 telephone-event/8000",),
            "the answer names no codec that was offered: telephone-event/8000",
        ),
    ],
)
def test_useless_answers_leave_everything_as_it_was(sections, sentence):
    side = ours(PCMU)
    side.create_offer(direction=Direction.SENDONLY)
    with pytest.raises(NegotiationError) as caught:
        side.accept_answer(description(*sections))
    assert (caught.value.reason, caught.value.status) == (sentence, 488)
    assert (side.agreed, side.direction, side.pending) == (None, Direction.SENDRECV, False)


def test_offers_and_answers_come_in_turn():
    side = ours()
    with pytest.raises(LocalError, match="no offer to be answered"):
        side.accept_answer(description("m=audio 5000 RTP/AVP 0"))
    side.create_offer()
    with pytest.raises(LocalError, match="waiting for its answer"):
        side.create_offer()
    with pytest.raises(LocalError, match="waiting for its answer"):
        side.answer(description("m=audio 5000 RTP/AVP 0"))
    side.cancel_offer()
    side.cancel_offer()
    side.create_offer()
    assert repr(side) == "<AudioNegotiation local-offer codec=None direction=sendrecv>"
    with pytest.raises(LocalError, match="at least one codec"):
        AudioNegotiation((), OURS, 4000, session_id=1)


# --- answers


def test_the_answer_uses_the_numbers_of_the_offer():
    side = ours()
    answer, agreed = side.answer(
        description(
            "m=audio 5000 RTP/AVP 0 96 97 98|a=rtpmap:96 opus/48000/2|a=rtpmap:97 telephone-event/48000"
            "|a=rtpmap:98 telephone-event/8000|a=rtcp-mux|a=rtcp:5001"
        )
    )
    assert lines(answer) == [
        "m=audio 16384 RTP/AVP 96 97",
        "a=rtpmap:96 opus/48000/2",
        "a=fmtp:96 useinbandfec=0;stereo=0;sprop-stereo=0",
        "a=rtpmap:97 telephone-event/48000",
        "a=fmtp:97 0-16",
        "a=ptime:20",
        "a=sendrecv",
        "a=rtcp-mux",
    ]
    assert (agreed.send_payload_type, agreed.receive_payload_type, agreed.codec) == (96, 96, OPUS)
    assert (agreed.event_send_payload_type, agreed.event_receive_payload_type) == (97, 97)
    assert agreed.receive_formats == ((96, OPUS),)
    assert agreed.remote_rtcp_port == 5000


def test_our_order_of_codecs_decides():
    offer = description("m=audio 5000 RTP/AVP 0 8")
    assert ours(PCMA, PCMU).answer(offer)[1].codec == PCMA
    assert ours(PCMU, PCMA).answer(offer)[1].codec == PCMU


@pytest.mark.parametrize("rtpmap", ["opus/48000/2", "Opus/48000", "opus/48000/1"])
def test_opus_however_it_is_written(rtpmap):
    answer, agreed = ours().answer(description(f"m=audio 5000 RTP/AVP 120|a=rtpmap:120 {rtpmap}"))
    assert agreed.codec == OPUS
    assert "a=rtpmap:120 opus/48000/2" in lines(answer)


@pytest.mark.parametrize("rtpmap", ["PCMU/16000", "PCMU/8000/2", "L16/8000"])
def test_a_rtpmap_overrides_the_static_meaning(rtpmap):
    with pytest.raises(NegotiationError, match="no common codec"):
        ours(PCMU).answer(description(f"m=audio 5000 RTP/AVP 0|a=rtpmap:0 {rtpmap}"))


def test_a_dynamic_number_for_a_static_codec():
    agreed = ours().answer(description("m=audio 5000 RTP/AVP 99|a=rtpmap:99 pcma/8000/1"))[1]
    assert (agreed.codec, agreed.send_payload_type) == (PCMA, 99)


def test_events_at_8000_are_taken_with_opus_when_there_are_no_others():
    agreed = ours().answer(
        description("m=audio 5000 RTP/AVP 96 101|a=rtpmap:96 opus/48000/2|a=rtpmap:101 telephone-event/8000")
    )[1]
    assert (agreed.event_send_payload_type, agreed.event_clock_hz) == (101, 8000)
    none = ours(events=False).answer(description("m=audio 5000 RTP/AVP 0 101|a=rtpmap:101 telephone-event/8000"))
    assert none[1].event_send_payload_type is None
    assert lines(none[0])[0] == "m=audio 16384 RTP/AVP 0"


def test_events_at_a_clock_that_is_not_the_codecs_are_not_taken_with_g711():
    offer = description("m=audio 5000 RTP/AVP 0 101|a=rtpmap:101 telephone-event/48000")
    assert ours(PCMU).answer(offer)[1].event_send_payload_type is None


def test_further_sections_are_refused_in_their_order():
    # RFC 4317 §2.2: audio and video offered, audio taken
    answer, _ = ours().answer(
        description(
            "m=video 51372 RTP/AVP 31 32|a=rtpmap:31 H261/90000",
            "m=audio 5000 RTP/SAVP 0|a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x",
            "m=audio 5002 RTP/AVPF 8",
            "m=audio 5004 RTP/AVP 0",
            "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
        )
    )
    assert [line for line in lines(answer) if line.startswith("m=")] == [
        "m=video 0 RTP/AVP 31 32",
        "m=audio 0 RTP/SAVP 0",
        "m=audio 16384 RTP/AVPF 8",
        "m=audio 0 RTP/AVP 0",
        "m=application 0 UDP/DTLS/SCTP webrtc-datachannel",
    ]


@pytest.mark.parametrize(
    ("offer", "sentence"),
    [
        (description(), "the offer has no audio section"),
        (description("m=video 5000 RTP/AVP 31"), "the offer has no audio section"),
        (description("m=audio 0 RTP/AVP 0"), "the audio stream is refused or switched off (port 0)"),
        (description("m=audio 5000 UDP/TLS/RTP/SAVPF 0"), "transport UDP/TLS/RTP/SAVPF is not supported"),
        (
            description("m=audio 5000 RTP/AVP 18 97|a=rtpmap:97 iLBC/8000"),
            "no common codec: G729/8000, iLBC/8000 offered, opus, PCMU, PCMA configured",
        ),
        (
            description("m=audio 5000 RTP/AVP 0", address="2001:db8::5"),
            "connection address 2001:db8::5 is of another IP version than ours",
        ),
        (
            description("m=audio 5000 RTP/AVP 0|c=IN IP4 media.example.com"),
            "connection address media.example.com is not a unicast IP address",
        ),
        (
            description("m=audio 5000 RTP/AVP 0|c=IN IP4 224.2.1.1"),
            "connection address 224.2.1.1 is not a unicast IP address",
        ),
        (
            SessionDescription.parse(b"v=0\r\no=- 1 1 IN IP4 1.1.1.1\r\ns=-\r\nm=audio 5000 RTP/AVP 0\r\n"),
            "no connection address for the audio stream",
        ),
    ],
)
def test_useless_offers_give_488_and_the_reason(offer, sentence):
    side = ours()
    with pytest.raises(NegotiationError) as caught:
        side.answer(offer)
    assert (caught.value.reason, caught.value.status) == (sentence, 488)
    assert (side.agreed, side.local) == (None, None)


@pytest.mark.parametrize(
    ("attributes", "ptime_ms"),
    [
        ("a=ptime:20", 20),
        ("a=ptime:10", 10),
        ("a=ptime:60", 60),
        ("a=ptime:5", 10),
        ("a=ptime:25", 20),
        ("a=ptime:200", 60),
        ("a=x", 20),
        ("a=ptime:40|a=maxptime:30", 30),
        ("a=maxptime:10", 10),
        ("a=maxptime:1", 10),
    ],
)
def test_ptime_is_the_peers_wish_within_bounds(attributes, ptime_ms):
    answer, agreed = ours().answer(description(f"m=audio 5000 RTP/AVP 0|{attributes}"))
    assert agreed.ptime_ms == ptime_ms
    assert answer.media[0].ptime_ms == ptime_ms


@pytest.mark.parametrize(
    ("attributes", "address", "port"),
    [
        ("a=x", THEIRS, 5001),
        ("a=rtcp:53020", THEIRS, 53020),
        ("a=rtcp:53020 IN IP4 203.0.113.7", "203.0.113.7", 53020),
        ("a=rtcp:53020 IN IP4 host.example.com", THEIRS, 53020),
        ("a=rtcp:53020 IN IP4 0.0.0.0", THEIRS, 53020),
        ("a=rtcp:53020 IN IP6 2001:db8::1", THEIRS, 53020),
    ],
)
def test_where_rtcp_goes(attributes, address, port):
    agreed = ours().answer(description(f"m=audio 5000 RTP/AVP 0|{attributes}"))[1]
    assert (agreed.remote_rtcp_address, agreed.remote_rtcp_port) == (address, port)


def test_rtcp_mux_needs_both_sides():
    offer = description("m=audio 5000 RTP/AVP 0|a=rtcp-mux")
    answer, agreed = ours(rtcp_mux=False).answer(offer)
    assert (agreed.rtcp_mux, agreed.remote_rtcp_port, answer.media[0].rtcp_mux) == (False, 5001, False)
    assert ours().answer(offer)[1].rtcp_mux


# --- hold, resume, change


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [("sendrecv", "sendrecv"), ("sendonly", "recvonly"), ("recvonly", "sendonly"), ("inactive", "inactive")],
)
def test_the_peers_direction_is_mirrored(theirs, expected):
    answer, agreed = ours().answer(description(f"m=audio 5000 RTP/AVP 0|a={theirs}"))
    assert agreed.direction == expected
    assert answer.media[0].own_direction == expected
    assert agreed.direction.sends is (expected in ("sendrecv", "sendonly"))


def test_a_direction_for_the_whole_session_counts():
    assert ours().answer(description("m=audio 5000 RTP/AVP 0", session="a=sendonly"))[1].direction is Direction.RECVONLY


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [("sendrecv", "recvonly"), ("sendonly", "recvonly"), ("recvonly", "inactive"), ("inactive", "inactive")],
)
@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_the_unspecified_address_is_a_hold(theirs, expected, address):
    side = AudioNegotiation((PCMU,), OURS if address == "0.0.0.0" else "2001:db8::1", 4000, session_id=1)
    agreed = side.answer(description(f"m=audio 5000 RTP/AVP 0|a={theirs}", address=address))[1]
    assert agreed.direction == expected


def test_hold_and_resume_by_the_peer():
    side = ours()
    first, _ = side.answer(description("m=audio 5000 RTP/AVP 0"))
    held, on_hold = side.answer(description("m=audio 5000 RTP/AVP 0|a=sendonly"))
    resumed, again = side.answer(description("m=audio 5000 RTP/AVP 0|a=sendrecv"))
    assert [on_hold.direction, again.direction] == [Direction.RECVONLY, Direction.SENDRECV]
    assert [session.origin.version for session in (first, held, resumed)] == [1, 2, 3]
    assert {session.origin.session_id for session in (first, held, resumed)} == {77}


def test_hold_and_resume_by_us():
    side = ours(PCMU)
    side.answer(description("m=audio 5000 RTP/AVP 0"))
    hold = side.create_offer(direction=Direction.SENDONLY)
    assert hold.media[0].own_direction is Direction.SENDONLY
    agreed = side.accept_answer(description("m=audio 5000 RTP/AVP 0|a=recvonly"))
    assert agreed.direction is Direction.SENDONLY
    # While we hold, an offer of the peer does not end our hold.
    assert side.answer(description("m=audio 5000 RTP/AVP 0|a=sendrecv"))[1].direction is Direction.SENDONLY
    resume = side.create_offer(direction=Direction.SENDRECV)
    assert resume.media[0].own_direction is Direction.SENDRECV
    assert side.accept_answer(description("m=audio 5000 RTP/AVP 0")).direction is Direction.SENDRECV
    assert repr(side) == "<AudioNegotiation stable codec=PCMU direction=sendrecv>"


def test_an_answer_cannot_widen_what_we_offered():
    side = ours(PCMU)
    side.create_offer(direction=Direction.SENDONLY)
    assert side.accept_answer(description("m=audio 5000 RTP/AVP 0|a=sendrecv")).direction is Direction.SENDONLY


def test_a_rejected_hold_leaves_the_call_as_it_was():
    side = ours(PCMU)
    agreed = side.answer(description("m=audio 5000 RTP/AVP 0"))[1]
    side.create_offer(direction=Direction.INACTIVE)
    side.cancel_offer()
    assert (side.direction, side.agreed) == (Direction.SENDRECV, agreed)


def test_the_version_grows_only_with_a_change():
    side = ours(PCMU)
    offers = []
    for _ in range(2):
        offers.append(side.create_offer())
        side.accept_answer(description("m=audio 5000 RTP/AVP 0"))
    side.move("203.0.113.1", 20000)
    offers.append(side.create_offer())
    assert [offer.origin.version for offer in offers] == [1, 1, 2]
    assert (offers[-1].media[0].port, str(offers[-1].connection)) == (20000, "IN IP4 203.0.113.1")


def test_a_new_address_of_the_peer():
    side = ours()
    side.answer(description("m=audio 5000 RTP/AVP 0"))
    agreed = side.answer(description("m=audio 7000 RTP/AVP 0", address="203.0.113.50"))[1]
    assert (agreed.remote_address, agreed.remote_port) == ("203.0.113.50", 7000)


def test_the_running_codec_stays_while_the_peer_offers_it():
    side = ours()
    assert side.answer(description("m=audio 5000 RTP/AVP 8"))[1].codec == PCMA
    assert side.answer(description("m=audio 5000 RTP/AVP 96 0 8|a=rtpmap:96 opus/48000/2"))[1].codec == PCMA
    assert side.answer(description("m=audio 5000 RTP/AVP 0"))[1].codec == PCMU


def test_a_codec_change_by_us():
    side = ours()
    side.answer(description("m=audio 5000 RTP/AVP 8"))
    offer = side.create_offer(codecs=(PCMU,))
    assert offer.media[0].formats == ["0", "101"]
    assert side.accept_answer(description("m=audio 5000 RTP/AVP 0")).codec == PCMU


def test_a_later_offer_keeps_the_numbers_of_the_session():
    side = ours()
    side.answer(description("m=audio 5000 RTP/AVP 96 111|a=rtpmap:96 opus/48000/2|a=rtpmap:111 telephone-event/48000"))
    media = side.create_offer().media[0]
    assert media.rtpmap[96].name == "opus"
    assert media.rtpmap[111].name == "telephone-event"
    assert len(set(media.formats)) == len(media.formats)


def test_a_number_the_peer_gave_another_meaning_is_avoided():
    side = ours(PCMU)
    side.answer(description("m=audio 5000 RTP/AVP 0 101|a=rtpmap:101 speex/8000"))
    media = side.create_offer().media[0]
    assert {number: encoding.name for number, encoding in media.rtpmap.items()} == {0: "PCMU", 96: "telephone-event"}


def test_two_of_our_codecs_never_share_a_number():
    wide = Codec("L16", 16000, 111)
    media = ours(OPUS, wide).create_offer().media[0]
    assert [media.rtpmap[number].name for number in media.payload_types[:2]] == ["opus", "L16"]


def test_a_later_offer_repeats_the_refused_sections():
    side = ours(PCMU)
    side.answer(description("m=video 51372 RTP/AVP 31", "m=audio 5000 RTP/AVP 0"))
    offer = side.create_offer()
    assert [(media.kind, media.port) for media in offer.media] == [("video", 0), ("audio", 16384)]
    answer = description("m=video 0 RTP/AVP 31", "m=audio 6000 RTP/AVP 0")
    assert side.accept_answer(answer).remote_port == 6000


def test_the_running_section_is_preferred_in_a_new_offer():
    side = ours(PCMU)
    side.answer(description("m=video 1 RTP/AVP 31", "m=audio 5000 RTP/AVP 0"))
    again = description("m=audio 4000 RTP/AVP 0", "m=audio 5000 RTP/AVP 0")
    assert side.answer(again)[1].remote_port == 5000


def test_a_useless_offer_in_the_call_changes_nothing():
    side = ours()
    agreed = side.answer(description("m=audio 5000 RTP/AVP 0"))[1]
    local = side.local
    with pytest.raises(NegotiationError):
        side.answer(description("m=audio 5000 RTP/AVP 18"))
    assert (side.agreed, side.local) == (agreed, local)


# --- both ends


@given(
    left=st.permutations([OPUS, PCMU, PCMA]),
    right=st.lists(st.sampled_from([OPUS, PCMU, PCMA]), min_size=1, unique=True),
    wish=st.sampled_from(Direction),
)
def test_two_of_us_agree_on_the_same(left, right, wish):
    caller = ours(*left)
    callee = AudioNegotiation(tuple(right), THEIRS, 20000, session_id=5)
    answer, theirs = callee.answer(over_the_wire(caller.create_offer(direction=wish)))
    mine = caller.accept_answer(over_the_wire(answer))
    assert mine.codec == theirs.codec == right[0]
    assert mine.send_payload_type == theirs.receive_payload_type
    assert theirs.send_payload_type == mine.receive_payload_type
    assert mine.event_send_payload_type == theirs.event_receive_payload_type
    assert mine.direction == theirs.direction.reversed == wish
    assert (mine.remote_address, mine.remote_port) == (THEIRS, 20000)
    assert mine.rtcp_mux is theirs.rtcp_mux is True


_line = st.sampled_from(
    """
    m=audio 5000 RTP/AVP 0 8 96 101
    m=audio 0 RTP/AVP 0
    m=audio 65535 RTP/AVPF 96
    m=audio 4 RTP/AVP
    m=video 1 RTP/AVP 31
    c=IN IP4 0.0.0.0
    c=IN IP4 x
    c=IN IP6 ::1
    a=rtpmap:0 opus/48000
    a=rtpmap:8 PCMU/8000
    a=rtpmap:96 opus/48000/2
    a=rtpmap:96 PCMA/8000
    a=rtpmap:101 telephone-event/8000
    a=fmtp:96 ;;=;x
    a=sendonly
    a=inactive
    a=ptime:1
    a=maxptime:3
    a=rtcp:1 IN IP6 ::
    a=rtcp-mux
    """.strip().split("\n    ")
)


@given(st.lists(st.lists(_line, max_size=8), max_size=4), st.booleans())
def test_any_sequence_of_descriptions_is_settled_or_refused(rounds, offering):
    side = ours()
    for texts in rounds:
        try:
            remote = description(*texts)
            if offering:
                side.create_offer()
                agreed = side.accept_answer(remote)
            else:
                answer, agreed = side.answer(remote)
                assert len(answer.media) == len(remote.media)
                over_the_wire(answer)
        except SipError:
            side.cancel_offer()
            continue
        assert agreed.ptime_ms in range(10, 61, 10)
        assert 0 < agreed.remote_rtcp_port <= 65535


def test_parse_fmtp():
    assert parse_fmtp("useinbandfec=1; Stereo = 0;cbr;;") == {"useinbandfec": "1", "stereo": "0", "cbr": ""}
    assert parse_fmtp("") == {}
