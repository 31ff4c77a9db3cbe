"""Mail by SMTP: one message for each delivery, and all messages about one alert in one thread.

A message has the delivery's identifier, so that one which is sent twice is shown once, and refers to the alert's.
"""

import asyncio
import contextlib
import os
import socket
import ssl
from datetime import datetime
from email.message import EmailMessage

import aiosmtplib
import structlog

from .base import Answer, Channel, Delivery, DeliveryError
from .config import EmailConfig
from .context import ChannelContext
from .text import clipped, plain, words
from .tls import tls_context

SUBJECT_MAX = 200
QUIT_TIMEOUT_S = 1.0
"""Seconds that the server has to say goodbye."""

log = structlog.get_logger(__name__)


class EmailChannel(Channel):
    """One mail server, and those who are told through it."""

    def __init__(self, name: str, config: EmailConfig, context: ChannelContext) -> None:
        self._name = name
        self._config = config
        self._context = context
        self._tls = tls_context(name, config)

    async def deliver(self, delivery: Delivery) -> Answer | None:
        """Hand one message to the server; it is delivered when the server takes it for at least one recipient."""
        mail = message(delivery, self._config, self._context)
        client: aiosmtplib.SMTP | None = None
        try:
            client = self._client()
            async with asyncio.timeout(self._context.timeout_s):
                await client.connect()
                refused, _ = await client.send_message(mail)
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            reason, permanent = _explained(error)
            raise self._failure(reason, permanent=permanent) from None
        else:
            # it is delivered: how the parting goes does not matter
            with contextlib.suppress(aiosmtplib.SMTPException, OSError):
                await client.quit(timeout=QUIT_TIMEOUT_S)
        finally:
            if client is not None:
                client.close()
        if refused:
            codes = sorted({code for code, _ in refused.values()})
            log.warning("mail refused for some recipients", channel=self._name, refused=len(refused), codes=codes)
        return None

    async def close(self) -> None:
        """No connection outlives its message."""

    def _client(self) -> aiosmtplib.SMTP:
        config = self._config
        return aiosmtplib.SMTP(
            hostname=config.host,
            port=config.server_port,
            use_tls=config.security == "tls",
            start_tls=config.security == "starttls",
            tls_context=self._tls,
            username=config.username,
            password=config.password.get_secret_value() if config.password else None,
            # its default asks the resolver, and waits for it
            local_hostname=socket.gethostname(),
            timeout=self._context.timeout_s,
        )

    def _failure(self, reason: str, *, permanent: bool) -> DeliveryError:
        return DeliveryError(f"{self._name}: {self._config.host}: {reason}", permanent=permanent)


def _explained(error: Exception) -> tuple[str, bool]:
    """What went wrong, without the server's words, which may quote what it was sent; and whether it stays so."""
    match error:
        case TimeoutError():
            return "not done in time", False
        case aiosmtplib.SMTPRecipientsRefused():
            code = min((refused.code for refused in error.recipients), default=550)
            return f"refused every recipient with {code}", code >= 500
        case aiosmtplib.SMTPResponseException() if error.code < 200:
            return "does not speak SMTP", False
        case aiosmtplib.SMTPAuthenticationError():
            return f"refused username and password with {error.code}", error.code >= 500
        case aiosmtplib.SMTPResponseException():
            return f"answered {error.code}", error.code >= 500
    cause = error.__cause__ if isinstance(error, aiosmtplib.SMTPConnectError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return "its certificate is not trusted; renew it, or set ca_file", True
    if isinstance(cause, socket.gaierror):
        return "its name cannot be resolved", False
    if type(error) is aiosmtplib.SMTPException:
        return "offers no STARTTLS or no log-in, which the channel insists on", True
    if isinstance(cause, OSError) and cause.errno and not isinstance(cause, ssl.SSLError):
        return f"cannot be reached: {os.strerror(cause.errno)}", False
    return f"the exchange failed: {type(cause).__name__}", False


def message(delivery: Delivery, config: EmailConfig, context: ChannelContext) -> EmailMessage:
    """The mail. Its subject is the same for all that is told of an alert: threads are made by it, too."""
    told = words(delivery, context)
    domain = config.sender.rpartition("@")[2]
    mail = EmailMessage()
    mail["From"] = config.sender
    mail["To"] = ", ".join(config.to)
    first = delivery.action in ("trigger", "test")
    mail["Subject"] = clipped(f"{'' if first else 'Re: '}{told.topic}", SUBJECT_MAX)
    mail["Date"] = datetime.fromisoformat(delivery.created_at)
    mail["Message-ID"] = f"<{delivery.id}@{domain}>"
    mail["In-Reply-To"] = mail["References"] = f"<{delivery.alert.id}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    if delivery.action == "trigger" and delivery.alert.severity == "page":
        mail["Importance"] = "high"
    mail.set_content(f"{told.title}\n\n{plain(told)}", cte="quoted-printable")
    return mail
