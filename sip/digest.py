"""HTTP digest authentication for SIP: RFC 7616 and 8760, with the older RFC 2617 and 2069 forms that trunks still speak.

Client side: one `DigestClient` per account remembers the nonces, one `DigestAttempt` per request decides whether a
challenge may be answered. The invariant that ends every loop: within an attempt, a challenge of a realm is answered once,
and again only as often as the server calls the nonce stale (at most `MAX_STALE`).

    attempt = client.attempt()
    attempt.authorize(request)              # credentials in advance where a nonce is known; sends nothing otherwise
    if attempt.challenged(response):        # 401 or 407
        attempt.authorize(next_request)     # new CSeq and branch are the caller's
    else:
        attempt.refusal                     # one sentence: why there is no use in trying again

Server side: `DigestVerifier` makes challenges and checks credentials.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from random import Random

from .errors import LocalError, ParseError
from .grammar import QUOTED, TCHARS, quote, unquote
from .message import Request, Response

_AUTH_PARAM = re.compile(rf'[\s,]*({TCHARS})\s*=\s*("{QUOTED}"|[^\s,"]*)\s*(?=,|$)', re.DOTALL)

# Strongest first (RFC 8760 §2.4); the names are those of the IANA registry.
_HASHES = {"SHA-512-256": "sha512_256", "SHA-256": "sha256", "MD5": "md5"}
_STRENGTH = {name: rank for rank, name in enumerate(_HASHES)}
MAX_STALE = 3


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user name and password; with `realm`, only for that realm. The password is kept out of `repr`."""

    username: str
    password: str = field(repr=False)
    realm: str | None = None


@dataclass(frozen=True, slots=True)
class DigestChallenge:
    """One WWW-Authenticate or Proxy-Authenticate value (RFC 7616 §3.3).

    `realm`, `nonce` and `opaque` are the quoted text as it came, since the hash is made over exactly that.
    """

    realm: str
    nonce: str
    algorithm: str | None = None
    qop: tuple[str, ...] = ()
    opaque: str | None = None
    stale: bool = False

    @classmethod
    def parse(cls, value: str) -> DigestChallenge:
        """Read a header value; ParseError when it is no digest challenge."""
        params = _auth_params(value, "challenge")
        if "realm" not in params or "nonce" not in params:
            raise ParseError("challenge: realm or nonce missing")
        algorithm = params.get("algorithm")
        return cls(
            realm=params["realm"],
            nonce=params["nonce"],
            algorithm=_canonical_algorithm(algorithm) if algorithm else None,
            qop=tuple(option.strip().lower() for option in params.get("qop", "").split(",") if option.strip()),
            opaque=params.get("opaque"),
            stale=params.get("stale", "").lower() == "true",
        )

    @property
    def base_algorithm(self) -> str:
        """The algorithm without `-sess`; MD5 when none is named."""
        return (self.algorithm or "MD5").removesuffix("-sess")

    @property
    def is_session(self) -> bool:
        """Whether the key is bound to the first nonce and cnonce (`-sess`)."""
        return self.algorithm is not None and self.algorithm.endswith("-sess")

    @property
    def supported(self) -> bool:
        """Whether we can answer: a known hash, and qop absent or with `auth`."""
        return self.base_algorithm in _HASHES and (not self.qop or "auth" in self.qop)

    def __str__(self) -> str:
        parts = [f'realm="{self.realm}"', f'nonce="{self.nonce}"']
        if self.opaque is not None:
            parts.append(f'opaque="{self.opaque}"')
        if self.algorithm:
            parts.append(f"algorithm={self.algorithm}")
        if self.qop:
            parts.append(f'qop="{",".join(self.qop)}"')
        if self.stale:
            parts.append("stale=true")
        return "Digest " + ", ".join(parts)


@dataclass(frozen=True, slots=True)
class DigestAuthorization:
    """One Authorization or Proxy-Authorization value (RFC 7616 §3.4). `nc` is None without qop."""

    username: str
    realm: str
    nonce: str
    uri: str
    response: str
    algorithm: str | None = None
    cnonce: str | None = None
    nc: int | None = None
    qop: str | None = None
    opaque: str | None = None

    @classmethod
    def parse(cls, value: str) -> DigestAuthorization:
        """Read a header value; ParseError naming what is missing."""
        params = _auth_params(value, "credentials")
        for name in ("username", "realm", "nonce", "uri", "response"):
            if name not in params:
                raise ParseError(f"credentials: {name} missing")
        algorithm, nc, qop = params.get("algorithm"), params.get("nc"), params.get("qop")
        if nc is not None and re.fullmatch("[0-9A-Fa-f]{8}", nc) is None:
            raise ParseError("credentials: nc is not 8 hexadecimal digits")
        if qop is not None and (nc is None or "cnonce" not in params):
            raise ParseError("credentials: qop without nc or cnonce")
        return cls(
            username=unquote(f'"{params["username"]}"'),
            realm=params["realm"],
            nonce=params["nonce"],
            uri=params["uri"],
            response=params["response"].lower(),
            algorithm=_canonical_algorithm(algorithm) if algorithm else None,
            cnonce=params.get("cnonce"),
            nc=None if nc is None else int(nc, 16),
            qop=qop.lower() if qop else None,
            opaque=params.get("opaque"),
        )

    def __str__(self) -> str:
        parts = [
            f"username={quote(self.username)}",
            f'realm="{self.realm}"',
            f'nonce="{self.nonce}"',
            f'uri="{self.uri}"',
            f'response="{self.response}"',
        ]
        if self.algorithm:
            parts.append(f"algorithm={self.algorithm}")
        if self.cnonce is not None:
            parts.append(f'cnonce="{self.cnonce}"')
        if self.qop:
            parts.append(f"qop={self.qop}")
        if self.nc is not None:
            parts.append(f"nc={self.nc:08x}")
        if self.opaque is not None:
            parts.append(f'opaque="{self.opaque}"')
        return "Digest " + ", ".join(parts)


def authorization(
    credentials: Credentials, challenge: DigestChallenge, method: str, uri: str, *, nc: int = 1, cnonce: str = ""
) -> DigestAuthorization:
    """The credentials that answer `challenge` for one request.

    `nc` counts the requests made with this nonce, from 1; `cnonce` is fresh randomness (both unused without qop).
    LocalError when the challenge is not `supported`.
    """
    if not challenge.supported:
        raise LocalError(f"digest algorithm {challenge.algorithm}, qop {','.join(challenge.qop)} cannot be answered")
    qop = "auth" if challenge.qop else None
    client_nonce = cnonce if qop or challenge.is_session else None
    unsigned = DigestAuthorization(
        username=credentials.username,
        realm=challenge.realm,
        nonce=challenge.nonce,
        uri=uri,
        response="",
        algorithm=challenge.algorithm,
        cnonce=client_nonce,
        nc=nc if qop else None,
        qop=qop,
        opaque=challenge.opaque,
    )
    return replace(unsigned, response=_response(unsigned, credentials.password, method))


class DigestClient:
    """The nonces one account was given, by realm, for use in advance; shared by all its requests."""

    def __init__(self, credentials: Credentials, rng: Random) -> None:
        self.credentials = credentials
        self._rng = rng
        self._nonces: dict[tuple[str, str], _Nonce] = {}  # (header to send, realm)

    def attempt(self) -> DigestAttempt:
        """A guard for one request and its repetitions with credentials."""
        return DigestAttempt(self)

    def forget(self) -> None:
        """Drop all nonces, as after a change of registrar."""
        self._nonces.clear()

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


def strongest(values: Iterable[str]) -> tuple[list[DigestChallenge], str]:
    """The strongest challenge we can answer of each realm, and why the others were passed over (RFC 8760 §2.4)."""
    best: dict[str, DigestChallenge] = {}
    problem = "no digest challenge in the response"
    for value in values:
        try:
            challenge = DigestChallenge.parse(value)
        except ParseError as error:
            problem = error.reason
            continue
        if not challenge.supported:
            problem = f"algorithm {challenge.algorithm}, qop {','.join(challenge.qop) or 'none'} is not supported"
            continue
        known = best.get(challenge.realm)
        if known is None or _STRENGTH[challenge.base_algorithm] < _STRENGTH[known.base_algorithm]:
            best[challenge.realm] = challenge
    return list(best.values()), problem


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
            _response(given, password, method).encode(), given.response.encode("utf-8", "replace")
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


def _response(given: DigestAuthorization, password: str, method: str) -> str:
    """The request-digest of RFC 7616 §3.4.1; without qop that of RFC 2069."""
    algorithm = given.algorithm or "MD5"
    name = _HASHES[algorithm.removesuffix("-sess")]

    def digest(text: str) -> str:
        return hashlib.new(name, text.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()

    secret = digest(f"{given.username}:{given.realm}:{password}")
    if algorithm.endswith("-sess"):
        secret = digest(f"{secret}:{given.nonce}:{given.cnonce or ''}")
    request = digest(f"{method}:{given.uri}")
    if given.qop is None:
        return digest(f"{secret}:{given.nonce}:{request}")
    return digest(f"{secret}:{given.nonce}:{given.nc or 0:08x}:{given.cnonce or ''}:{given.qop}:{request}")


def _canonical_algorithm(name: str) -> str:
    base, session = (name[:-5], "-sess") if name.lower().endswith("-sess") else (name, "")
    return base.upper() + session


def _auth_params(value: str, what: str) -> dict[str, str]:
    """The parameters of a `Digest` value, names in lower case, values without their quotes; the first of a name wins."""
    scheme, _, rest = value.strip().partition(" ")
    if scheme.lower() != "digest":
        raise ParseError(f"{what}: scheme {scheme[:20]!r} is not Digest")
    params: dict[str, str] = {}
    position = 0
    while rest[position:].strip(" \t,"):
        match = _AUTH_PARAM.match(rest, position)
        if match is None:
            raise ParseError(f"{what}: malformed parameter at {rest[position : position + 20]!r}")
        text = match[2]
        params.setdefault(match[1].lower(), text[1:-1] if text.startswith('"') else text)
        position = match.end()
    return params
