"""`[alerts.channels.NAME]`: one table a channel, told apart by `kind`."""

import ssl
from collections.abc import Mapping
from email.errors import MessageError
from email.headerregistry import Address
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from ...addresses import is_loopback
from ...config_problems import problem_error
from ...config_tables import Table
from .telephone import TelephoneConfig

PAGERDUTY_URL = "https://events.pagerduty.com/v2/enqueue"
_PORTS = {"starttls": 587, "tls": 465, "none": 25}


def _http_url(url: str) -> str:
    """An absolute http(s) address that holds no password: those have keys of their own."""
    if not _is_http_url(url):
        raise ValueError("expected an address such as https://host/path")
    if "@" in urlsplit(url).netloc:
        raise ValueError("the address holds a user or a password, which the channel would not send; remove them")
    return url


def _is_http_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return whole and all(character > " " for character in url)


def _secret_http_url(url: SecretStr) -> SecretStr:
    _http_url(url.get_secret_value())
    return url


def _long_enough(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value()) < 16:
        raise ValueError("is too short to sign with; use at least 16 characters")
    return secret


def _mail_address(address: str) -> str:
    try:
        parsed = Address(addr_spec=address)
    except (MessageError, ValueError, IndexError):
        parsed = None
    if parsed is None or not parsed.username or not parsed.domain or not address.isascii():
        raise ValueError("expected a mail address such as oncall@example.com, without a name")
    return address


def _integration_key(key: SecretStr) -> SecretStr:
    if len(key.get_secret_value()) != 32:
        raise ValueError("expected the integration key of an Events API v2 integration: 32 characters")
    return key


def _alertmanager_url(url: str) -> str:
    if urlsplit(_http_url(url)).path.rstrip("/").endswith("/api/v2/alerts"):
        raise ValueError("the path of the API is added by the gateway; remove /api/v2/alerts")
    return url


def _authorities(file: Path) -> Path:
    """Found out now rather than when the channel is opened."""
    try:
        ssl.create_default_context(cafile=file)
    except OSError as error:
        reason = "it holds no PEM certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise ValueError(f"{file}: {reason}; give a PEM file") from None
    return file


HttpUrl = Annotated[str, AfterValidator(_http_url)]
SecretHttpUrl = Annotated[SecretStr, AfterValidator(_secret_http_url)]
MailAddress = Annotated[str, AfterValidator(_mail_address)]


class TlsTable(Table):
    """How the far end's certificate is checked."""

    ca_file: Annotated[Path, AfterValidator(_authorities)] | None = None
    """PEM file of the authorities that may have signed it; None is those of the system."""
    verify_tls: bool = True
    """False takes any certificate: who can redirect the connection can then read and swallow the alerts."""


class PagerDutyConfig(TlsTable):
    """PagerDuty, Events API v2."""

    kind: Literal["pagerduty"]
    routing_key: Annotated[SecretStr, AfterValidator(_integration_key)]
    """Integration key of the service, or of an event orchestration."""
    url: HttpUrl = PAGERDUTY_URL
    """`https://events.eu.pagerduty.com/v2/enqueue` for accounts in the EU."""


class AlertmanagerConfig(TlsTable):
    """Alertmanager, API v2."""

    kind: Literal["alertmanager"]
    urls: list[Annotated[str, AfterValidator(_alertmanager_url)]] = Field(min_length=1)
    """Every member of a cluster, such as `http://127.0.0.1:9093`; each is told, and one that accepts is enough."""
    token: SecretStr | None = None
    """Bearer token, or else:"""
    username: str | None = Field(default=None, min_length=1)
    password: SecretStr | None = None

    @model_validator(mode="after")
    def _one_way_to_log_in(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password belong together; give both or none")
        if self.token is not None and self.username is not None:
            raise ValueError("give either token, or username and password")
        return self


class SlackConfig(TlsTable):
    """An incoming webhook of Slack, Mattermost or Rocket.Chat."""

    kind: Literal["slack"]
    url: SecretHttpUrl
    """The whole address: who has it can write to the channel."""


class WebhookConfig(TlsTable):
    """A signed POST to any address."""

    kind: Literal["webhook"]
    url: SecretHttpUrl
    secrets: list[Annotated[SecretStr, AfterValidator(_long_enough)]] = Field(min_length=1)
    """Keys of the signature, one each; give the old and the new one while the receiver changes over."""


class EmailConfig(TlsTable):
    """Mail by SMTP."""

    kind: Literal["email"]
    host: str = Field(min_length=1)
    port: int | None = Field(default=None, ge=1, le=65535)
    """None is 587 for `starttls`, 465 for `tls` and 25 for `none`."""
    security: Literal["starttls", "tls", "none"] = "starttls"
    """`starttls` insists on it: a server that does not offer it gets no mail."""
    username: str | None = Field(default=None, min_length=1)
    password: SecretStr | None = None
    sender: MailAddress
    to: list[MailAddress] = Field(min_length=1)

    @model_validator(mode="after")
    def _safe_log_in(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password belong together; give both or none")
        if self.password is not None and self.security == "none" and not is_loopback(self.host):
            raise ValueError('the password would cross the network in the clear; set security to "starttls" or "tls"')
        return self

    @property
    def server_port(self) -> int:
        """The port, given or usual."""
        return self.port or _PORTS[self.security]


KINDS = ("pagerduty", "alertmanager", "slack", "webhook", "email", "telephone")


def _known_kind(value: Any) -> Any:
    if isinstance(value, Mapping) and value.get("kind") not in KINDS:
        known = ", ".join(KINDS)
        if "kind" not in value:
            raise problem_error("channel", [((), f"the channel has no kind; add kind, one of: {known}")])
        raise problem_error("channel", [(("kind",), f"no such kind; use one of: {known}")])
    return value


ChannelConfig = Annotated[
    PagerDutyConfig | AlertmanagerConfig | SlackConfig | WebhookConfig | EmailConfig | TelephoneConfig,
    Field(discriminator="kind"),
    BeforeValidator(_known_kind),
]
"""Any channel's table."""
