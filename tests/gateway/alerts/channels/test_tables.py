"""The tables of the channels: what is taken, what is refused and in which words, and what they become."""

from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr, TypeAdapter, ValidationError
from support.alert_messages import a_context

from trunkline.gateway.alerts.channels.config import KINDS, ChannelConfig, EmailConfig
from trunkline.gateway.alerts.channels.registry import make_channel
from trunkline.gateway.errors import GatewayError

TABLE: TypeAdapter[Any] = TypeAdapter(ChannelConfig)
GOOD: dict[str, dict[str, Any]] = {
    "pagerduty": {"routing_key": "e93facc04764012d7bfb002500d5d1a6"},
    "alertmanager": {"urls": ["http://127.0.0.1:9093"]},
    "slack": {"url": "https://hooks.slack.com/services/T0/B0/XX"},
    "webhook": {"url": "https://alerts.example.com/hook", "secrets": ["sixteen letters!"]},
    "email": {"host": "mail.example.com", "sender": "edge1@example.com", "to": ["ana@example.com"]},
    "telephone": {"to": "+14155550100"},
}


def problem(kind: str | None, changes: dict[str, Any]) -> str:
    """What is said of a good table with these changes."""
    table = {"kind": kind, **GOOD.get(kind or "", {}), **changes}
    with pytest.raises(ValidationError) as caught:
        TABLE.validate_python({key: value for key, value in table.items() if value is not None})
    return "; ".join(f"{detail['loc'][-1:]} {detail['msg']}" for detail in caught.value.errors())


def test_every_kind_is_shown_here() -> None:
    assert set(GOOD) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
async def test_the_least_that_a_channel_needs(kind: str, session: aiohttp.ClientSession) -> None:
    config = TABLE.validate_python({"kind": kind, **GOOD[kind]})
    assert config.kind == kind
    if kind != "telephone":
        way = make_channel("c", config, a_context(session))
        assert (way.refresh_s is not None) == (kind == "alertmanager")
        await way.close()


@pytest.mark.parametrize("kind", KINDS)
def test_no_secret_is_shown(kind: str) -> None:
    table = TABLE.validate_python({"kind": kind, **GOOD[kind]})
    shown = repr(table) + str(table) + table.model_dump_json()
    for value in GOOD[kind].values():
        for text in value if isinstance(value, list) else [value]:
            if not any(text in str(field) for field in dict(table).values()):
                assert text not in shown


@pytest.mark.parametrize("key", ["routing_key", "password", "token", "secrets", "url"])
def test_what_is_secret_is_kept_so(key: str) -> None:
    holders = {
        "routing_key": ("pagerduty", GOOD["pagerduty"]),
        "password": ("alertmanager", {"username": "u", "password": "p"}),
        "token": ("alertmanager", {"token": "t"}),
        "secrets": ("webhook", {}),
        "url": ("slack", {}),
    }
    kind, more = holders[key]
    value = getattr(TABLE.validate_python({"kind": kind, **GOOD[kind], **more}), key)
    assert all(isinstance(one, SecretStr) for one in (value if isinstance(value, list) else [value]))


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        (None, {}, "the channel has no kind; add kind, one of: pagerduty, alertmanager"),
        ("pager", {}, "no such kind; use one of: pagerduty, alertmanager"),
        ("pagerduty", {"routing_key": "short"}, "32 characters"),
        ("pagerduty", {"url": "events.pagerduty.com"}, "such as https://host/path"),
        ("pagerduty", {"url": "ftp://events.pagerduty.com/"}, "such as https://host/path"),
        ("alertmanager", {"urls": []}, "at least 1"),
        ("alertmanager", {"urls": ["http://u:p@127.0.0.1:9093"]}, "remove them"),
        ("alertmanager", {"username": "u"}, "give both or none"),
        ("alertmanager", {"username": "u", "password": "p", "token": "t"}, "either token, or username"),
        ("slack", {"url": "https://hooks.slack.com:99999/x"}, "such as https://host/path"),
        ("slack", {"url": "https://hooks.slack.com/a b"}, "such as https://host/path"),
        ("slack", {"channel": "#ops"}, "Extra inputs"),
        ("webhook", {"secrets": []}, "at least 1"),
        ("webhook", {"secrets": ["short"]}, "at least 16 characters"),
        ("email", {"to": []}, "at least 1"),
        ("email", {"to": ["Ana <ana@example.com>"]}, "such as oncall@example.com"),
        ("email", {"sender": "edge1@example.com\r\nBcc: eve@example.com"}, "such as oncall@example.com"),
        ("email", {"password": "p"}, "give both or none"),
        ("email", {"username": "u", "password": "p", "security": "none"}, "in the clear"),
    ],
)
def test_what_is_refused(kind: str | None, changes: dict[str, Any], words: str) -> None:
    assert words in problem(kind, changes)


@pytest.mark.parametrize(("security", "port"), [("starttls", 587), ("tls", 465), ("none", 25)])
def test_the_usual_ports_of_mail(security: str, port: int) -> None:
    config = EmailConfig.model_validate({"kind": "email", **GOOD["email"], "security": security})
    assert config.server_port == port
    assert EmailConfig.model_validate({"kind": "email", **GOOD["email"], "port": 2525}).server_port == 2525


@pytest.mark.parametrize(
    "to", ["", "ask ana", "+1 415 555 0100", "tel:+14155550100", "ana@example.com", "sip:", "sip:a b"]
)
def test_a_number_that_cannot_be_dialled_is_refused_unshown(to: str) -> None:
    said = problem("telephone", {"to": to})
    assert "expected a number such as +14155550100" in said
    assert len(to) < 6 or to not in said


@pytest.mark.parametrize("to", ["+14155550100", "112", "ana", "sip:ana@example.com", "sip:*9@127.0.0.1:5070"])
def test_what_can_be_dialled(to: str) -> None:
    assert TABLE.validate_python({"kind": "telephone", "to": to}).to.get_secret_value() == to


async def test_only_the_running_gateway_calls(session: aiohttp.ClientSession) -> None:
    telephone = TABLE.validate_python({"kind": "telephone", **GOOD["telephone"]})
    with pytest.raises(GatewayError, match="only the running gateway can call"):
        make_channel("phone", telephone, a_context(session))
