"""Tokens, quoted strings, parameters and comma lists."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.sip.errors import ParseError
from trunkline.sip.grammar import Params, is_token, quote, split_list, unquote


def test_params_keep_order_and_spelling():
    params = Params.parse(";Branch=z9hG4bK1;rport;received=192.0.2.1", "Via")
    assert str(params) == ";Branch=z9hG4bK1;rport;received=192.0.2.1"
    assert list(params) == [("Branch", "z9hG4bK1"), ("rport", None), ("received", "192.0.2.1")]
    assert len(params) == 3


def test_params_compare_names_without_case():
    params = Params.parse("TAG=a;lr", "From")
    assert params.get("tag") == "a"
    assert "LR" in params
    assert params.get("lr") is None
    assert params.get("lr", "x") == "x"
    assert "none" not in params


def test_params_allow_blanks_and_quoted_values():
    params = Params.parse('; newparam =\t newvalue ; q = 0.33;text="a;b,c\\"d"', "Contact")
    assert params.get("newparam") == "newvalue"
    assert params.get("q") == "0.33"
    assert unquote(params.get("text") or "") == 'a;b,c"d'


def test_replace_and_without_leave_the_original_alone():
    params = Params.parse("a=1;b=2", "X")
    assert str(params.replace("A", "3")) == ";a=3;b=2"
    assert str(params.replace("c", None)) == ";a=1;b=2;c"
    assert str(params.without("A")) == ";b=2"
    assert str(params) == ";a=1;b=2"
    assert params == Params.parse("a=1;b=2", "X")
    assert hash(params) == hash(Params.parse("a=1;b=2", "X"))
    assert repr(params) == "Params(';a=1;b=2')"


@pytest.mark.parametrize("text", [";;", "a=1;;b", "=x", 'a="unterminated', "a b=c"])
def test_malformed_parameters_name_the_field(text):
    with pytest.raises(ParseError, match=r"^Via: malformed parameter at "):
        Params.parse(text, "Via")


def test_hostile_blanks_take_linear_time():
    # In quadratic time this would not end within the hour.
    with pytest.raises(ParseError):
        Params.parse(";a=" + " " * 1_000_000 + '"', "Via")
    with pytest.raises(ParseError):
        Params.parse(";a" + " " * 1_000_000 + "?", "Via")


def test_split_list_respects_quotes_and_angle_brackets():
    assert split_list('"a,b" <sip:x@y;p=1,2>;q=1 , <sip:z@y>,,') == ['"a,b" <sip:x@y;p=1,2>;q=1', "<sip:z@y>"]
    assert split_list("INVITE, ACK ,BYE") == ["INVITE", "ACK", "BYE"]
    assert split_list(" ") == []
    assert split_list('"open, <sip:a@b>') == ['"open', "<sip:a@b>"]


@given(st.lists(st.text(st.characters(exclude_characters=',"<> \t\r\n', exclude_categories=("C", "Z"))).filter(bool)))
def test_split_list_undoes_joining(items):
    assert split_list(", ".join(items)) == items


@given(st.text())
def test_unquote_undoes_quote(text):
    assert unquote(quote(text)) == text


def test_unquote_leaves_other_text_alone():
    assert unquote("plain") == "plain"
    assert unquote('"') == '"'


@pytest.mark.parametrize(
    ("text", "expected"),
    [("INVITE", True), ("x-%.!*_+`'~", True), ("a b", False), ("", False), ("é", False)],
)
def test_is_token(text, expected):
    assert bool(is_token(text)) is expected
