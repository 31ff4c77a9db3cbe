"""The values of digest authentication: challenges, credentials, and the hash that joins them.

RFC 7616 §3 and RFC 8760, with the older RFC 2617 and 2069 forms that trunks still speak.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from .errors import LocalError, ParseError
from .grammar import QUOTED, TCHARS, quote, unquote

_AUTH_PARAM = re.compile(rf'[\s,]*+({TCHARS})\s*+=\s*+("{QUOTED}"|[^\s,"]*+)\s*+(?=,|$)', re.DOTALL)

# Strongest first (RFC 8760 §2.4); the names are those of the IANA registry.
_HASHES = {"SHA-512-256": "sha512_256", "SHA-256": "sha256", "MD5": "md5"}
_STRENGTH = {name: rank for rank, name in enumerate(_HASHES)}


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
    return replace(unsigned, response=request_digest(unsigned, credentials.password, method))


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


def request_digest(given: DigestAuthorization, password: str, method: str) -> str:
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
    """The parameters of a `Digest` value: names in lower case, values without quotes; the first of a name wins."""
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
