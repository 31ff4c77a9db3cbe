"""Session descriptions: reading, writing, attributes of audio."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.sip.errors import LocalError, ParseError
from trunkline.sip.sdp import (
    Attribute,
    Connection,
    Direction,
    MediaDescription,
    Origin,
    RtpMap,
    SdpLimits,
    SessionDescription,
)

# RFC 8866 §5, with more of everything
FULL = (
    b"v=0\r\n"
    b"o=jdoe 3724394400 3724394405 IN IP4 198.51.100.1\r\n"
    b"s=Call to John Smith\r\n"
    b"i=SDP Offer #1\r\n"
    b"u=http://www.jdoe.example.com/home.html\r\n"
    b"e=Jane Doe <jane@jdoe.example.com>\r\n"
    b"p=+1 617 555-6011\r\n"
    b"c=IN IP4 198.51.100.1\r\n"
    b"b=AS:64\r\n"
    b"t=0 0\r\n"
    b"t=2873397496 2873404696\r\n"
    b"r=7d 1h 0 25h\r\n"
    b"z=2882844526 -1h\r\n"
    b"k=prompt\r\n"
    b"a=group:BUNDLE 0 1\r\n"
    b"a=sendonly\r\n"
    b"m=audio 49170 RTP/AVP 0 96 101\r\n"
    b"i=audio media\r\n"
    b"c=IN IP6 2001:db8::2\r\n"
    b"b=TIAS:64000\r\n"
    b"k=prompt\r\n"
    b"a=rtpmap:96 opus/48000/2\r\n"
    b"a=fmtp:96 useinbandfec=1; stereo=1\r\n"
    b"a=rtpmap:101 telephone-event/8000\r\n"
    b"a=x-unknown:value:with:colons\r\n"
    b"a=ptime:30\r\n"
    b"a=maxptime:60.5\r\n"
    b"a=rtcp:53020 IN IP6 2001:db8::3\r\n"
    b"a=rtcp-mux\r\n"
    b"a=recvonly\r\n"
    b"m=video 51372/2 RTP/SAVP 99\r\n"
    b"c=IN IP4 233.252.0.1/127\r\n"
    b"c=IN IP4 233.252.0.2/127\r\n"
    b"a=rtpmap:99 h263-1998/90000\r\n"
)
MINIMAL = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\n"


def audio(*lines: str) -> MediaDescription:
    data = MINIMAL + b"m=audio 4000 RTP/AVP 0\r\n" + "".join(f"{line}\r\n" for line in lines).encode()
    return SessionDescription.parse(data).media[0]


def test_a_canonical_description_is_written_as_it_was_read():
    assert SessionDescription.parse(FULL).to_bytes() == FULL


def test_what_the_session_says():
    session = SessionDescription.parse(FULL)
    assert session.origin == Origin(3724394400, 3724394405, "198.51.100.1", "jdoe")
    assert session.name == "Call to John Smith"
    assert session.connection == Connection("198.51.100.1")
    assert ("b", "AS:64") in session.lines
    assert session.get("group") == "BUNDLE 0 1"
    assert session.own_direction is Direction.SENDONLY


def test_what_an_audio_section_says():
    session = SessionDescription.parse(FULL)
    media = session.media[0]
    assert (media.kind, media.port, media.port_count, media.protocol) == ("audio", 49170, 1, "RTP/AVP")
    assert media.formats == ["0", "96", "101"]
    assert media.payload_types == [0, 96, 101]
    assert media.rtpmap == {96: RtpMap("opus", 48000, 2), 101: RtpMap("telephone-event", 8000)}
    assert media.fmtp == {96: "useinbandfec=1; stereo=1"}
    assert (media.ptime_ms, media.maxptime_ms) == (30, 60)
    assert media.rtcp == (53020, "2001:db8::3")
    assert media.rtcp_mux
    assert media.get("x-unknown") == "value:with:colons"
    assert session.connection_of(media) == Connection("2001:db8::2", "IP6")
    assert session.direction_of(media) is Direction.RECVONLY


def test_what_the_session_says_holds_for_sections_that_are_silent():
    session = SessionDescription.parse(FULL.replace(b"c=IN IP4 233.252.0.1/127\r\nc=IN IP4 233.252.0.2/127\r\n", b""))
    video = session.media[1]
    assert (video.port, video.port_count, video.protocol) == (51372, 2, "RTP/SAVP")
    assert session.connection_of(video) == Connection("198.51.100.1")
    assert session.direction_of(video) is Direction.SENDONLY
    plain = SessionDescription.parse(MINIMAL + b"m=audio 4000 RTP/AVP 0\r\n")
    assert plain.direction_of(plain.media[0]) is Direction.SENDRECV
    assert plain.connection_of(plain.media[0]) is None


def test_tolerated_on_the_way_in_and_put_right_on_the_way_out():
    data = b"v=0\no=1 2 IN IP4 192.0.2.1\n\nt=0 0\nc=IN IP4 192.0.2.1\na=tool:x\nm=audio  4000  RTP/AVP  0  8 \ny=odd\n"
    assert SessionDescription.parse(data).to_bytes() == (
        b"v=0\r\no=- 1 2 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
        b"a=tool:x\r\nm=audio 4000 RTP/AVP 0 8\r\n"
    )


def test_iso_8859_1_is_read():
    assert SessionDescription.parse(MINIMAL.replace(b"s=-", b"s=M\xfcller")).name == "Müller"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (b"v=0", b"v=1", "SDP: does not begin with v=0 and o="),
        (b"o=jdoe", b"x=jdoe", "SDP: does not begin with v=0 and o="),
        (b"3724394400", b"-1", "o= session id: '-1' is not a number up to 18446744073709551615"),
        (b"3724394405", b"9" * 30, f"o= version: '{'9' * 30}' is not a number up to 18446744073709551615"),
        (b"IN IP4 198.51.100.1\r\ns", b"IN\r\ns", "o=: malformed origin 'jdoe 3724394400 3724394405 IN'"),
        (b"c=IN IP4 198", b"c=ATM IP4 198", "c=: malformed connection 'ATM IP4 198.51.100.1'"),
        (b"c=IN IP6 2001:db8::2", b"c=IN IP6", "c=: malformed connection 'IN IP6'"),
        (b"m=audio 49170", b"m=audio 65536", "m= port: '65536' is not a number up to 65535"),
        (b"m=audio 49170", b"m=audio -1", "m=: malformed media line 'audio -1 RTP/AVP 0 96 101'"),
        (b"i=audio media", b"audio media", "SDP: 'audio media' is not a line of the form x=value"),
        (b"i=audio media", b"i=a\rb", "SDP: 'i=a\\rb' is not a line of the form x=value"),
    ],
)
def test_broken_lines_are_named(old, new, sentence):
    with pytest.raises(ParseError) as caught:
        SessionDescription.parse(FULL.replace(old, new, 1))
    assert caught.value.reason == sentence
    assert caught.value.status == 400


def test_an_empty_description():
    with pytest.raises(ParseError, match="does not begin with v=0"):
        SessionDescription.parse(b"")


@pytest.mark.parametrize(
    ("limits", "status"),
    [
        (SdpLimits(max_octets=len(FULL) - 1), 413),
        (SdpLimits(max_lines=FULL.count(b"\n") - 1), 400),
        (SdpLimits(max_media=1), 400),
    ],
)
def test_limits(limits, status):
    assert len(SessionDescription.parse(FULL, SdpLimits(len(FULL), FULL.count(b"\n"), 2)).media) == 2
    with pytest.raises(ParseError) as caught:
        SessionDescription.parse(FULL, limits)
    assert caught.value.status == status


def test_malformed_attributes_count_as_absent():
    media = audio(
        "a=rtpmap:x opus/48000", "a=rtpmap:96 opus", "a=rtpmap:97 x/0", "a=fmtp:abc x", "a=ptime:soon", "a=rtcp:0"
    )
    assert (media.rtpmap, media.fmtp, media.ptime_ms, media.maxptime_ms, media.rtcp) == ({}, {}, None, None, None)
    assert audio("a=ptime:0").ptime_ms is None
    assert audio("a=ptime").ptime_ms is None
    assert audio("a=rtcp:4001").rtcp == (4001, None)
    assert audio("a=rtcp:70000").rtcp is None
    assert audio("a=rtpmap:96 a/8000", "a=rtpmap:96 b/8000").rtpmap == {96: RtpMap("a", 8000)}
    assert audio("a=rtpmap:96 opus/48000/2 ").rtpmap == {96: RtpMap("opus", 48000, 2)}


def test_formats_that_are_no_payload_types_are_passed_over():
    assert MediaDescription.parse("audio 9 RTP/AVP 0 t38 128 1234 8").payload_types == [0, 8]
    assert MediaDescription.parse("application 9 UDP/DTLS/SCTP webrtc-datachannel").payload_types == []


def test_direction_arithmetic():
    assert [direction.reversed for direction in Direction] == ["sendrecv", "recvonly", "sendonly", "inactive"]
    assert Direction.SENDRECV & Direction.RECVONLY is Direction.RECVONLY
    assert Direction.SENDONLY & Direction.RECVONLY is Direction.INACTIVE
    for direction in Direction:
        assert direction & Direction.SENDRECV is direction
        assert direction & Direction.INACTIVE is Direction.INACTIVE


def test_connection_to_an_address():
    assert str(Connection.to("192.0.2.1")) == "IN IP4 192.0.2.1"
    assert str(Connection.to("2001:db8::1")) == "IN IP6 2001:db8::1"
    assert str(RtpMap("opus", 48000, 2)) == "opus/48000/2"


def test_line_breaks_in_values_are_our_error():
    session = SessionDescription.parse(MINIMAL)
    session.attributes.append(Attribute("x", "a\r\nm=audio 1 RTP/AVP 0"))
    with pytest.raises(LocalError):
        session.to_bytes()


def _outcome(data: bytes) -> None:
    try:
        session = SessionDescription.parse(data)
    except ParseError:
        return
    again = SessionDescription.parse(session.to_bytes())
    assert again.to_bytes() == session.to_bytes()
    for media in session.media:
        _ = media.rtpmap, media.fmtp, media.ptime_ms, media.maxptime_ms, media.rtcp, media.payload_types
        _ = session.connection_of(media), session.direction_of(media)


@given(st.binary())
def test_any_octets_are_a_description_or_a_parse_error(data):
    _outcome(data)
    _outcome(MINIMAL + b"m=audio 4000 RTP/AVP 0\r\na=" + data)


@given(st.data())
def test_a_damaged_description_is_read_or_refused(data):
    damaged = bytearray(FULL)
    for _ in range(data.draw(st.integers(1, 6))):
        position = data.draw(st.integers(0, len(damaged) - 1))
        damaged[position : position + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    _outcome(bytes(damaged))


_word = st.text("abcXYZ09-.", min_size=1, max_size=6)
_media = st.builds(
    MediaDescription,
    kind=st.sampled_from(["audio", "video"]),
    port=st.integers(0, 65535),
    protocol=st.sampled_from(["RTP/AVP", "RTP/SAVPF"]),
    formats=st.lists(st.integers(0, 127).map(str), max_size=4),
    port_count=st.integers(1, 3),
    connection=st.none() | st.just(Connection.to("2001:db8::1")),
    attributes=st.lists(st.builds(Attribute, _word, st.none() | _word), max_size=4),
)


@given(st.lists(_media, max_size=3), st.lists(st.builds(Attribute, _word, st.none() | _word), max_size=3), _word)
def test_round_trip(media, attributes, name):
    session = SessionDescription(Origin(1, 2, "192.0.2.1"), name, None, attributes=attributes, media=media)
    assert SessionDescription.parse(session.to_bytes()) == session
