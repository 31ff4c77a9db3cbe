"""Mail to a real SMTP server: STARTTLS, TLS, log-in, threads, and what each refusal means."""

import email.utils
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.alert_messages import ALERT_ID, a_context, a_delivery, an_alert
from support.certificates import Authority
from support.mail import PASSWORD, USER, MailServer
from support.ports import HOST

from trunkline.gateway.alerts.channels.base import Channel, DeliveryError
from trunkline.gateway.alerts.channels.config import EmailConfig
from trunkline.gateway.alerts.channels.registry import make_channel
from trunkline.gateway.errors import ConfigError

TO = ["ana@example.com", "ben@example.com"]
LOGIN = {"username": USER, "password": PASSWORD}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def channel(server: MailServer, session: aiohttp.ClientSession, **table: Any) -> Channel:
    fields = {"kind": "email", "host": HOST, "port": server.port, "sender": "edge1@example.com", "to": TO}
    return make_channel("mail", EmailConfig.model_validate(fields | {"security": "none"} | table), a_context(session))


async def test_starttls_and_log_in(session: aiohttp.ClientSession, authority: Authority) -> None:
    async with MailServer(starttls=authority.server(), users=True) as server:
        table = LOGIN | {"security": "starttls", "ca_file": authority.ca_file}
        await channel(server, session, **table).deliver(a_delivery("trigger"))
    assert (server.encrypted, server.recipients) == ([True], [TO])


async def test_tls_from_the_first_octet(session: aiohttp.ClientSession, authority: Authority) -> None:
    async with MailServer(tls=authority.server(), users=True) as server:
        table = LOGIN | {"security": "tls", "ca_file": authority.ca_file}
        await channel(server, session, **table).deliver(a_delivery("trigger"))
    assert len(server.mails) == 1


async def test_a_wrong_password_is_final(session: aiohttp.ClientSession, authority: Authority) -> None:
    async with MailServer(starttls=authority.server(), users=True) as server:
        table = LOGIN | {"password": "wrong-recognisable", "security": "starttls", "ca_file": authority.ca_file}
        with pytest.raises(DeliveryError, match=r"refused username and password with 535$") as caught:
            await channel(server, session, **table).deliver(a_delivery("trigger"))
    assert caught.value.permanent
    assert server.mails == []


async def test_a_server_without_starttls_gets_neither_password_nor_mail(session: aiohttp.ClientSession) -> None:
    async with MailServer() as server:
        with pytest.raises(DeliveryError, match="offers no STARTTLS") as caught:
            await channel(server, session, security="starttls", **LOGIN).deliver(a_delivery("trigger"))
    assert caught.value.permanent
    assert server.mails == []


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_an_unknown_authority_is_final(
    session: aiohttp.ClientSession, authority: Authority, security: str
) -> None:
    context = authority.server()
    async with MailServer(**{security: context}, users=True) as server:
        with pytest.raises(DeliveryError, match="certificate is not trusted") as caught:
            await channel(server, session, security=security, **LOGIN).deliver(a_delivery("trigger"))
        assert caught.value.permanent
        assert server.mails == []
        await channel(server, session, security=security, verify_tls=False, **LOGIN).deliver(a_delivery("trigger"))
    assert len(server.mails) == 1, "the server is well but for its certificate"


async def test_the_message(session: aiohttp.ClientSession) -> None:
    async with MailServer() as server:
        await channel(server, session).deliver(a_delivery("trigger"))
    (mail,) = server.mails
    assert mail["From"] == "edge1@example.com"
    assert mail["To"] == ", ".join(TO)
    assert mail["Subject"] == "[edge1] trunk vonage: call quality"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Importance"] == "high"
    assert email.utils.parsedate_to_datetime(mail["Date"]).isoformat() == "2026-11-21T03:12:46+00:00"
    assert mail.get_content_type() == "text/plain"
    lines = mail.get_content().splitlines()
    assert lines[0] == "PAGE edge1: 31 % of calls over trunk vonage sound bad"
    assert f"trunkline alerts ack {ALERT_ID}" in lines


async def test_all_that_is_told_of_an_alert_is_one_thread(session: aiohttp.ClientSession) -> None:
    async with MailServer() as server:
        mailer = channel(server, session)
        for action in ("trigger", "acknowledge", "resolve"):
            await mailer.deliver(a_delivery(action))
        await mailer.deliver(a_delivery("resolve"))
    ids = [mail["Message-ID"] for mail in server.mails]
    assert len(set(ids)) == 3, "each message its own"
    assert ids[3] == ids[2], "one that is sent twice is shown once"
    assert {mail["References"] for mail in server.mails} == {f"<{ALERT_ID}@example.com>"}
    assert {mail["In-Reply-To"] for mail in server.mails} == {f"<{ALERT_ID}@example.com>"}
    assert {mail["Subject"].removeprefix("Re: ") for mail in server.mails} == {"[edge1] trunk vonage: call quality"}


@pytest.mark.parametrize("text", ["a\r\nBcc: eve@example.com", "ü" * 300, "\ud800", "x" * 5000])
async def test_nothing_in_an_alert_becomes_a_header(session: aiohttp.ClientSession, text: str) -> None:
    alert = an_alert(summary=text, subject=text, detail=[text], acknowledged_by=text)
    async with MailServer() as server:
        await channel(server, session).deliver(a_delivery("trigger", alert))
    (mail,) = server.mails
    assert mail["Bcc"] is None
    assert server.recipients == [TO]
    assert len(mail["Subject"]) <= 200


async def test_one_recipient_of_two_is_a_delivery(session: aiohttp.ClientSession) -> None:
    async with MailServer(refused={TO[0]: "550 no such user"}) as server:
        await channel(server, session).deliver(a_delivery("trigger"))
    assert server.recipients == [[TO[1]]]


@pytest.mark.parametrize(("first", "second", "permanent"), [(550, 550, True), (550, 450, False), (450, 451, False)])
async def test_no_recipient_is_none(session: aiohttp.ClientSession, first: int, second: int, permanent: bool) -> None:
    refused = {TO[0]: f"{first} no", TO[1]: f"{second} no"}
    async with MailServer(refused=refused) as server:
        with pytest.raises(DeliveryError, match="refused every recipient") as caught:
            await channel(server, session).deliver(a_delivery("trigger"))
    assert caught.value.permanent is permanent


@pytest.mark.parametrize(("code", "permanent"), [(451, False), (452, False), (552, True), (554, True)])
async def test_4xx_may_be_tried_again_and_5xx_not(session: aiohttp.ClientSession, code: int, permanent: bool) -> None:
    async with MailServer(data=f"{code} not this") as server:
        with pytest.raises(DeliveryError, match=rf"^mail: 127\.0\.0\.1: answered {code}$") as caught:
            await channel(server, session).deliver(a_delivery("trigger"))
    assert caught.value.permanent is permanent


def test_an_authority_file_that_went_away_is_named(
    session: aiohttp.ClientSession, tmp_path: Path, authority: Authority
) -> None:
    file = tmp_path / "none.pem"
    file.write_bytes(Path(authority.ca_file).read_bytes())
    table = {"kind": "email", "host": HOST, "sender": "a@b.example", "to": TO, "ca_file": file}
    config = EmailConfig.model_validate(table)
    file.unlink()
    with pytest.raises(ConfigError, match=r"alerts\.channels\.mail\.ca_file: .*none\.pem: No such file"):
        make_channel("mail", config, a_context(session))
