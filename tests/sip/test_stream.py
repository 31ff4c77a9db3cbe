"""Cutting a byte stream into messages."""

from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.sip.message import KEEPALIVE, Limits, Request, parse_message
from trunkline.sip.stream import StreamFramer


def message(body: bytes, length: bytes | None = None, name: bytes = b"Content-Length") -> bytes:
    stated = b"%d" % len(body) if length is None else length
    return (
        b"MESSAGE sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP c;branch=z9hG4bK1\r\nFrom: <sip:x@y>;tag=1\r\nTo: <sip:a@b>\r\n"
        b"Call-ID: q\r\nCSeq: 1 MESSAGE\r\n" + name + b": " + stated + b"\r\n\r\n" + body
    )


ONE, TWO = message(b"hello\r\n\r\n"), message(b"")


def test_two_messages_and_the_beginning_of_a_third():
    framer = StreamFramer()
    assert framer.feed(ONE + TWO + ONE[:40]) == [ONE, TWO]
    assert framer.pending == 40
    assert framer.feed(ONE[40:]) == [ONE]
    assert framer.pending == 0
    assert framer.error is None


def test_one_octet_at_a_time():
    framer = StreamFramer()
    got = [found for octet in ONE + KEEPALIVE + TWO for found in framer.feed(bytes([octet]))]
    assert got == [ONE, KEEPALIVE, TWO]


@given(
    st.lists(st.sampled_from([ONE, TWO, KEEPALIVE, message(b"x" * 300, name=b"l  ")]), max_size=5),
    st.lists(st.integers(1, 400), min_size=1, max_size=8),
)
def test_however_it_is_cut(messages, sizes):
    stream = b"".join(messages)
    framer, got = StreamFramer(), []
    for size in cycle(sizes):
        got += framer.feed(stream[:size])
        stream = stream[size:]
        if not stream:
            break
    assert got == messages
    assert framer.error is None


def test_single_line_ends_between_messages_are_skipped():
    framer = StreamFramer()
    assert framer.feed(b"\r\n" + ONE + b"\r\n") == [ONE]
    assert framer.feed(TWO + b"\n" + TWO) == [TWO, TWO]


def test_a_keepalive_in_pieces():
    framer = StreamFramer()
    assert framer.feed(b"\r\n\r") == []
    assert framer.feed(b"\n\r\n\r\n") == [KEEPALIVE, KEEPALIVE]


def test_a_folded_and_a_repeated_length():
    folded = ONE.replace(b"Content-Length: ", b"Content-Length :\r\n  ")
    repeated = ONE.replace(b"CSeq", b"Content-Length: 9\r\nCSeq")
    assert StreamFramer().feed(folded + repeated) == [folded, repeated]


@pytest.mark.parametrize(
    ("data", "status", "sentence"),
    [
        (TWO.replace(b"Content-Length: 0\r\n", b""), 400, "Content-Length: missing on a stream"),
        (message(b"", b"0\r\nl: 4"), 400, "Content-Length: two different values"),
        (message(b"", b"-1"), 400, "Content-Length: '-1' is not a number"),
        (message(b"", b"99999999999"), 400, "Content-Length: '99999999999' is not a number"),
        (
            message(b"", b"70000"),
            513,
            f"Content-Length: a message of {len(message(b'', b'70000')) + 70000} octets is too large",
        ),
    ],
)
def test_lost_framing_is_answerable_and_final(data, status, sentence):
    framer = StreamFramer()
    assert framer.feed(ONE + data) == [ONE]
    assert framer.error is not None
    assert (framer.error.status, framer.error.reason) == (status, sentence)
    assert isinstance(framer.error.request, Request)
    assert framer.error.request.call_id == "q"
    assert framer.feed(ONE) == []
    assert framer.pending == 0


def test_a_broken_response_has_no_answer():
    framer = StreamFramer()
    framer.feed(b"SIP/2.0 200 OK\r\nVia: x\r\n\r\n")
    assert framer.error is not None
    assert framer.error.request is None
    whole = StreamFramer()
    whole.feed(TWO.replace(b"MESSAGE sip:a@b SIP/2.0", b"SIP/2.0 200 OK").replace(b"Content-Length: 0\r\n", b""))
    assert whole.error is not None
    assert whole.error.request is None


def test_headers_without_end_are_given_up():
    framer = StreamFramer(Limits(max_message_octets=1000))
    assert framer.feed(b"INVITE sip:a@b SIP/2.0\r\n" + b"X: y\r\n" * 100) == []
    assert framer.error is None
    assert framer.feed(b"X: y\r\n" * 100) == []
    assert framer.error is not None
    assert framer.error.status == 513


@given(st.lists(st.binary()))
def test_any_octets_never_raise(pieces):
    framer = StreamFramer(Limits(max_message_octets=2000))
    for piece in pieces:
        for found in framer.feed(piece):
            assert len(found) <= 2000


def test_what_comes_out_can_be_parsed():
    assert parse_message(StreamFramer().feed(ONE)[0]).body == b"hello\r\n\r\n"
