"""Digest authentication (RFC 7616, RFC 8760): who answers challenges, and who makes them.

Client side: one `DigestClient` per account remembers the nonces, one `DigestAttempt` per request decides whether a
challenge may be answered. The invariant that ends every loop: within an attempt a challenge of a realm is answered
once, and again only as often as the server calls the nonce stale (at most `MAX_STALE` times).

    attempt = client.attempt()
    attempt.authorize(request)              # credentials in advance where a nonce is known, else nothing
    if attempt.challenged(response):        # 401 or 407
        attempt.authorize(next_request)     # its CSeq and branch are the caller's
    else:
        attempt.refusal                     # one sentence: why there is no use in trying again

Server side: `DigestVerifier` makes challenges and checks credentials.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from .digest_values import (
    Credentials,
    DigestAuthorization,
    DigestChallenge,
    authorization,
    request_digest,
    strongest,
)
from .errors import ParseError
from .message import Request, Response

__all__ = [
    "MAX_STALE",
    "Credentials",
    "DigestAttempt",
    "DigestAuthorization",
    "DigestChallenge",
    "DigestClient",
    "DigestVerifier",
    "Verification",
    "authorization",
    "strongest",
]

MAX_STALE = 3


class DigestClient:
    """The nonces one account was given, by realm, for use in advance; shared by all its requests."""

    def __init__(self, credentials: Credentials, rng: Random) -> None:
        self.credentials = credentials
        self._rng = rng
        self._nonces: dict[tuple[str, str], _Nonce] = {}  # (header to send, realm)

    def attempt(self) -> DigestAttempt:
        """A guard for one request and its repetitions with credentials."""
        return DigestAttempt(self)

    def _remember(self, header: str, challenge: DigestChallenge) -> None:
        self._nonces[header, challenge.realm] = _Nonce(challenge)

    def _drop(self, header: str) -> None:
        self._nonces = {key: nonce for key, nonce in self._nonces.items() if key[0] != header}

    def _authorize(self, request: Request) -> None:
        for header in ("Authorization", "Proxy-Authorization"):
            request.headers.remove(header)
        for (header, _), nonce in self._nonces.items():
            nonce.count += 1
            value = authorization(
                self.credentials,
                nonce.challenge,
                request.method,
                str(request.uri),
                nc=nonce.count,
                cnonce=f"{self._rng.getrandbits(128):032x}",
            )
            request.headers.add(header, str(value))

    def __repr__(self) -> str:
        return f"<DigestClient {self.credentials.username} realms={[realm for _, realm in self._nonces]}>"


class DigestAttempt:
    """Decides, for one request of the user, whether a 401 or 407 justifies another try."""

    def __init__(self, client: DigestClient) -> None:
        self._client = client
        self._answered: set[tuple[str, str]] = set()
        self._stale = 0
        self.refusal: str | None = None

    def authorize(self, request: Request) -> None:
        """Set the credentials for every realm that has challenged us; the Request-URI must be final."""
        self._client._authorize(request)

    def challenged(self, response: Response) -> bool:
        """Take a 401 or 407 in; True when the request should be sent again with `authorize`, else see `refusal`."""
        proxy = response.status == 407
        header = "Proxy-Authorization" if proxy else "Authorization"
        values = response.headers.get_all("Proxy-Authenticate" if proxy else "WWW-Authenticate")
        chosen, problem = strongest(values)
        wanted = self._client.credentials.realm
        if wanted is not None:
            foreign = [challenge.realm for challenge in chosen if challenge.realm != wanted]
            chosen = [challenge for challenge in chosen if challenge.realm == wanted]
            problem = f"realm {foreign[0]!r} is not the configured {wanted!r}" if foreign else problem
        if not chosen:
            return self._refuse(header, problem)
        for challenge in chosen:
            if not self._may_answer(header, challenge):
                reason = (
                    "the server goes on calling the nonce stale" if challenge.stale else "user name or password refused"
                )
                return self._refuse(header, f"{reason} (realm {challenge.realm!r}, user {self._username!r})")
        for challenge in chosen:
            self._answered.add((header, challenge.realm))
            self._client._remember(header, challenge)
        self.refusal = None
        return True

    @property
    def _username(self) -> str:
        return self._client.credentials.username

    def _may_answer(self, header: str, challenge: DigestChallenge) -> bool:
        if (header, challenge.realm) not in self._answered:
            return True
        if not challenge.stale:
            return False
        self._stale += 1
        return self._stale <= MAX_STALE

    def _refuse(self, header: str, reason: str) -> bool:
        self.refusal = reason
        self._client._drop(header)
        return False


@dataclass(frozen=True, slots=True)
class Verification:
    """What `DigestVerifier` says of one request: `ok`, or why not; `stale` asks the client for a new nonce only."""

    ok: bool
    username: str | None = None
    stale: bool = False
    reason: str = ""


class DigestVerifier:
    """The server's side: hands out nonces, checks credentials, refuses replays (RFC 7616 §3.3, §5.4)."""

    def __init__(
        self,
        realm: str,
        password_of: Callable[[str], str | None],
        rng: Random,
        *,
        algorithms: tuple[str, ...] = ("SHA-256", "MD5"),
        qop: tuple[str, ...] = ("auth",),
        lifetime: float = 300.0,
        max_nonces: int = 10_000,
    ) -> None:
        """`password_of` maps a user name to its password, or None; `lifetime` of a nonce in seconds."""
        self._realm = realm
        self._password_of = password_of
        self._rng = rng
        self._algorithms = algorithms
        self._qop = qop
        self._lifetime = lifetime
        self._max_nonces = max_nonces
        self._issued: dict[str, _Issued] = {}  # oldest first

    def challenges(self, now: float, *, stale: bool = False) -> list[DigestChallenge]:
        """New challenges with one fresh nonce, in the order of the configured algorithms."""
        nonce = f"{self._rng.getrandbits(128):032x}"
        while len(self._issued) >= self._max_nonces:
            del self._issued[next(iter(self._issued))]
        self._issued[nonce] = _Issued(now + self._lifetime)
        return [
            DigestChallenge(realm=self._realm, nonce=nonce, algorithm=name, qop=self._qop, stale=stale)
            for name in self._algorithms
        ]

    def verify(self, value: str | None, method: str, now: float) -> Verification:
        """Check an Authorization value (None when the request has none)."""
        if value is None:
            return Verification(False, reason="no credentials")
        try:
            given = DigestAuthorization.parse(value)
        except ParseError as error:
            return Verification(False, reason=error.reason)
        problem = self._problem(given, method)
        if problem:
            return Verification(False, given.username, reason=problem)
        # Only who knows the password may learn that the nonce is stale.
        issued = self._issued.get(given.nonce)
        if issued is None or issued.expires <= now:
            return Verification(False, given.username, stale=True, reason="the nonce is unknown or too old")
        if given.nc is not None:
            if given.nc <= issued.last_nc:
                return Verification(False, given.username, stale=True, reason="the nonce count was used before")
            issued.last_nc = given.nc
        return Verification(True, given.username)

    def _problem(self, given: DigestAuthorization, method: str) -> str | None:
        if given.realm != self._realm:
            return f"realm {given.realm!r} is not {self._realm!r}"
        if (given.algorithm or "MD5") not in self._algorithms:
            return f"algorithm {given.algorithm or 'MD5'} was not offered"
        if given.qop != ("auth" if self._qop else None):
            return "qop was not offered, or left out"
        password = self._password_of(given.username)
        if password is None:
            return f"user {given.username!r} is unknown"
        if not hmac.compare_digest(
            request_digest(given, password, method).encode(), given.response.encode("utf-8", "replace")
        ):
            return f"wrong password for user {given.username!r}"
        return None


@dataclass(slots=True)
class _Nonce:
    challenge: DigestChallenge
    count: int = 0


@dataclass(slots=True)
class _Issued:
    expires: float
    last_nc: int = 0
