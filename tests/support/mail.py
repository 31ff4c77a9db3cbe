"""An SMTP server (aiosmtpd) on the test's own loop, which keeps the mail that it takes."""

import asyncio
import email
import email.policy
import ssl
import warnings
from email.message import EmailMessage
from types import TracebackType
from typing import Any, Self, cast

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from .ports import HOST

USER, PASSWORD = "gateway", "mail-pw-recognisable"


class MailServer:
    """An asynchronous context manager. With `users` it wants a log-in, and offers that under TLS alone."""

    def __init__(
        self,
        *,
        starttls: ssl.SSLContext | None = None,
        tls: ssl.SSLContext | None = None,
        users: bool = False,
        refused: dict[str, str] | None = None,
        data: str = "250 OK",
    ) -> None:
        """`refused` has the answer to RCPT for each address that is not taken, `data` the answer to the message."""
        self.mails: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.encrypted: list[bool] = []
        self._starttls, self._tls, self._users = starttls, tls, users
        self._refused, self._data = refused or {}, data

    async def handle_RCPT(self, _server: SMTP, _session: Session, envelope: Envelope, to: str, _options: Any) -> str:
        if to in self._refused:
            return self._refused[to]
        envelope.rcpt_tos.append(to)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:
        if self._data.startswith("250"):
            message = email.message_from_bytes(cast(bytes, envelope.content), policy=email.policy.default)
            self.mails.append(cast(EmailMessage, message))
            self.recipients.append(list(envelope.rcpt_tos))
            self.encrypted.append(session.ssl is not None)
        return self._data

    def _authenticate(self, _server: SMTP, _session: Session, _envelope: Envelope, _how: str, given: Any) -> AuthResult:
        right = isinstance(given, LoginPassword) and (given.login, given.password) == (USER.encode(), PASSWORD.encode())
        return AuthResult(success=right, handled=False)

    def _protocol(self) -> SMTP:
        with warnings.catch_warnings():
            # it warns of a log-in without STARTTLS, also where TLS is there from the start
            warnings.simplefilter("ignore", UserWarning)
            return SMTP(
                self,
                hostname="mail.test",
                ident="mail.test",
                tls_context=self._starttls,
                require_starttls=self._starttls is not None,
                authenticator=self._authenticate if self._users else None,
                auth_required=self._users,
                auth_require_tls=self._tls is None,
                loop=asyncio.get_running_loop(),
            )

    async def __aenter__(self) -> Self:
        self._server = await asyncio.get_running_loop().create_server(self._protocol, HOST, 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._server.close()
        await self._server.wait_closed()
